//! Bad lines, misbehaving servers, servers that die or are full: an operation goes through in the end, or ends with a
//! clear error; either way the repository is sound and holds every snapshot that nobody forgot.
//!
//! Goal: no blob that a snapshot refers to is ever lost. Method: a real server on loopback, trouble between it and
//! us that a seed repeats; a backup, a restore, a forget and a prune through it; then the files the server keeps are
//! looked at directly, by us (every byte) and by restic. Pauses between repeats take no time here.

mod lines; // what befalls connections
mod servers; // what befalls requests
mod gone; // servers that die, come back, have no space
mod refused; // what no repeat can mend

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backends::Network;
use repo_core::backend::Backend;
use repo_core::context::Context;
use repo_core::format::Snapshot as Record;
use repo_core::fs::source::LocalSource;
use repo_core::id::{FileId, FileKind, SnapshotId};
use repo_core::ops::archive::archive;
use repo_core::ops::check::{CheckOptions, ReadData, check};
use repo_core::ops::forget;
use repo_core::ops::prune::{self, MaxUnused, PruneOptions};
use repo_core::ops::restore::{RestoreOptions, restore};
use repo_core::repository::{LockKind, LockOptions, OpenOptions, Password, Repository};
use repo_core::snapshots;
use tempfile::TempDir;
use tests::fixtures::{PASSWORD, empty_repository};
use tests::repo;
use tests::rest_server::{Manners, RestServer};
use tests::restic::restic;
use tests::servers::{Place, Rclone, Sshd};
use tests::tree::{Snapshot, assert_same, dir, file, noise};
use tests::trouble::hurried;

/// So long may a request make no progress on a bad line. Real time, so it is short; not so short that a busy machine
/// needs longer to answer. The watches over it look every fraction of it, which [`hurried`] must not skip.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// The way to a repository of that name through a listener.
type Through = dyn Fn(SocketAddr, &str) -> Place + Send + Sync + std::panic::RefUnwindSafe;

/// A server under test: where it listens, where it keeps files, how to reach a repository through something else.
pub(crate) struct Bench {
    pub(crate) address: SocketAddr,
    storage: PathBuf,
    through: Box<Through>,
    /// A repository with two snapshots, to start each case from.
    template: TempDir,
    /// Nobody forgets it.
    first: SnapshotId,
    /// It is forgotten, and what it alone needs is pruned.
    old: SnapshotId,
}

impl Bench {
    pub(crate) fn new(
        address: SocketAddr,
        storage: PathBuf,
        through: impl Fn(SocketAddr, &str) -> Place + Send + Sync + std::panic::RefUnwindSafe + 'static,
    ) -> Self {
        let template = tempfile::tempdir().unwrap();
        let repository = template.path().join("repository");
        empty_repository(2, &repository);
        let source = template.path().join("source");
        let back_up = |seed| {
            build(&source, seed);
            let report = repo::backup(&repo::open(repo::on_disk(&repository)), &source).unwrap();
            fs::remove_dir_all(&source).unwrap();
            report.id.unwrap()
        };
        let (old, first) = (back_up(1_000_000), back_up(1_000_001));
        Self { address, storage, through: Box::new(through), template, first, old }
    }

    pub(crate) fn sftp(server: Sshd) -> Self {
        let straight = server.address();
        Self::new(straight, server.storage(), move |address, name| {
            // Each connection is an ssh, which takes longest of all here; one is enough where nothing happens.
            let connections = if address == straight { 1 } else { 3 };
            server.place_through(address, name).option(format!("sftp.connections={connections}"))
        })
    }

    /// S3, REST or `WebDAV`, whichever role this rclone plays.
    pub(crate) fn rclone(server: Rclone) -> Self {
        Self::new(server.address(), server.storage(), move |address, name| {
            server.place_through(address, name)
        })
    }

    /// The strict REST server.
    pub(crate) fn rest() -> Self {
        let server = RestServer::start(Manners::default());
        let storage = server.folder("");
        let address = server.address();
        Self::new(address, storage, |address, name| Place::new(format!("rest:http://{address}/{name}/")))
    }

    /// A child whose own way to its storage, a `WebDAV` server, is the one with trouble.
    pub(crate) fn rclone_child() -> Self {
        let server = Rclone::serve_webdav();
        Self::new(server.address(), server.storage(), move |address, name| {
            server.child_through(address, name)
        })
    }

    /// Puts the repository with two snapshots on the server, under a name of its own, as any client would.
    /// Returns where its files are.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        let storage = connect(&repo::context(), &self.way(self.address, name), patient()).unwrap();
        storage.create().unwrap();
        let template = repo::on_disk(&self.template.path().join("repository"));
        let mut content = Vec::new();
        for kind in FileKind::ALL {
            for listed in template.list(kind).unwrap() {
                let file = FileId { kind, id: listed.id };
                template.read_all(file, u64::MAX, &mut content).unwrap();
                storage.write(file, &content).unwrap();
            }
        }
        self.storage.join(name)
    }

    /// The way to that repository through a listener.
    pub(crate) fn way(&self, address: SocketAddr, name: &str) -> Place {
        (self.through)(address, name)
    }

    /// One case: a life through `address`, then a close look at what the server has.
    ///
    /// `seed` makes the files that are new in this backup, and says whether what is old goes before it or after. Says
    /// what the life came to.
    pub(crate) fn run(
        &self,
        name: &str,
        address: SocketAddr,
        seed: u64,
        restic_looks: bool,
    ) -> Result<(), Failure> {
        self.place(name);
        let result = self.try_live(&hurried(), name, &self.way(address, name), seed, restic_looks);
        self.recover(name, seed);
        result
    }

    /// The first part of a case: the life, and the look.
    pub(crate) fn try_live(
        &self,
        context: &Context,
        name: &str,
        place: &Place,
        seed: u64,
        restic_looks: bool,
    ) -> Result<(), Failure> {
        let (files, source) = (self.storage.join(name), self.source(name, seed));
        let result = self.live(context, place, &source, STALL_TIMEOUT, seed.is_multiple_of(2));
        self.look(&files, &source, result.as_ref().ok(), restic_looks);
        result.map(drop)
    }

    /// The second part: whatever happened, on a good line everything goes on.
    pub(crate) fn recover(&self, name: &str, seed: u64) {
        let (files, source) = (self.storage.join(name), self.source(name, seed));
        let straight = self.way(self.address, name);
        // Whoever is left alone with the locks of a run that failed removes them.
        let storage = connect(&repo::context(), &straight, patient()).unwrap();
        repo::open(storage).remove_all_locks().unwrap();
        let again = self
            .live(&repo::context(), &straight, &source, patient(), true)
            .unwrap_or_else(|error| panic!("{name}, afterwards: {}", chain(&*error)));
        self.look(&files, &source, Some(&again), false);
        fs::remove_dir_all(&source).unwrap();
        fs::remove_dir_all(&files).unwrap();
    }

    fn source(&self, name: &str, seed: u64) -> PathBuf {
        let source = self.template.path().join(format!("source-{name}"));
        if !source.exists() {
            build(&source, seed);
        }
        source
    }

    /// A backup, a restore of it that is compared with the source, and the end of what is old, before or after.
    fn live(
        &self,
        context: &Context,
        place: &Place,
        source: &Path,
        patience: Duration,
        old_goes_first: bool,
    ) -> Result<SnapshotId, Failure> {
        let open = || -> Result<Repository, Failure> {
            let storage = connect(context, place, patience)?;
            Ok(Repository::open(context, storage, &Password::new(PASSWORD), &OpenOptions::default())?)
        };
        let repository = open()?;
        if old_goes_first {
            self.clean(context, &repository)?;
        }
        let options = repo::options(source);
        let report = archive(context, &repository, &LocalSource::new(), &[".".into()], &options)?;
        assert!(report.skipped.is_empty(), "{:?}", report.skipped);
        let id = report.id.expect("a snapshot is always wanted");

        // By another connection, as on another day.
        let repository = open()?;
        let target = tempfile::tempdir()?;
        let snapshot = repository.load::<Record>(id)?;
        let report = restore(context, &repository, &snapshot, target.path(), &RestoreOptions::default())?;
        if let Some(skipped) = report.skipped.first() {
            return Err(format!("{skipped:?}").into());
        }
        assert_same(&Snapshot::of(target.path()), &Snapshot::of(source));
        if !old_goes_first {
            self.clean(context, &repository)?;
        }
        Ok(id)
    }

    /// The old snapshot is forgotten and what it alone needs is pruned, under one lock.
    fn clean(&self, context: &Context, repository: &Repository) -> Result<(), Failure> {
        let lock = repository.lock(context, LockKind::Exclusive, &LockOptions::default())?;
        let mut stored = snapshots::list(context, repository)?;
        stored.retain(|one| one.id == self.old);
        let report = forget::plan_named(stored).execute(context, repository, &lock)?;
        if let Some((_, error)) = report.failed.into_iter().next() {
            return Err(error.into());
        }
        let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
        prune::plan(context, repository, lock, &options)?.execute(context)?;
        Ok(())
    }

    /// What the server has is sound, the first snapshot is there, and `made` is there and right.
    fn look(&self, files: &Path, source: &Path, made: Option<&SnapshotId>, restic_looks: bool) {
        let storage = repo::on_disk(files);
        let snapshots = repo::assert_complete(storage.clone());
        assert!(snapshots.contains(&self.first), "the snapshot that was there is gone");
        let repository = repo::open(storage);
        let options = CheckOptions { lock: None, read_data: ReadData::All, ..CheckOptions::default() };
        let report = check(&repo::context(), &repository, &options).unwrap();
        assert!(report.is_sound(), "{report:#?}");
        if let Some(made) = made {
            let target = tempfile::tempdir().unwrap();
            repo::restore(&repository, *made, target.path(), &RestoreOptions::default());
            assert_same(&Snapshot::of(target.path()), &Snapshot::of(source));
            assert!(!snapshots.contains(&self.old), "the snapshot that was forgotten is there");
        }
        if restic_looks {
            restic().on(files).args(["check", "--read-data", "--no-lock"]).ok();
        }
    }
}

/// Small files, one that all cases share and some of this seed.
fn build(source: &Path, seed: u64) {
    dir([
        ("shared", file(noise(60_000, 1))),
        ("own", file(noise(150_000 + 1000 * usize::try_from(seed % 100).unwrap(), seed + 10))),
        ("sub", dir([("small", file(format!("number {seed}"))), ("tiny", file(noise(3000, seed + 20)))])),
    ])
    .build(source);
}

pub(crate) fn connect(
    context: &Context,
    place: &Place,
    patience: Duration,
) -> Result<Arc<dyn Backend>, Failure> {
    let mut options = place.options();
    options.network.stall_timeout = patience;
    Ok(backends::open(context, &place.parsed(), &options)?)
}

/// How long a request may make no progress on a good line.
fn patient() -> Duration {
    Network::default().stall_timeout
}

/// An error with all of its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Trouble that ends must not end an operation. Only an rclone that gives up before it serves ends it at once, with what
/// rclone says: nobody can tell whether its settings are wrong.
pub(crate) fn must_succeed(name: &str, result: Result<(), Failure>) {
    let told = result.err().map(|error| chain(&*error)).unwrap_or_default();
    assert!(
        told.is_empty() || told.contains("cannot reach the repository through rclone: "),
        "{name}: {told}"
    );
}
