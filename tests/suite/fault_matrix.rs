//! Bad lines and misbehaving servers: an operation goes through in the end, or ends with a clear error; either way
//! the repository is sound and holds every snapshot that it held.
//!
//! Goal: no blob that a snapshot refers to is ever lost. Method: a real server on loopback, trouble between it and
//! us that a seed repeats, a backup and a restore through it; then the files the server keeps are looked at
//! directly, by us (every byte) and by restic. Pauses between repeats take no time here.

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
use repo_core::ops::restore::{RestoreOptions, restore};
use repo_core::repository::{OpenOptions, Password, Repository};
use tempfile::TempDir;
use tests::fixtures::{PASSWORD, empty_repository};
use tests::http_proxy::{HttpProxy, Misdeed, Request};
use tests::proxy::{Direction, End, Line, Proxy, Trouble};
use tests::repo;
use tests::restic::restic;
use tests::servers::{Place, Rclone, Sshd};
use tests::tree::{Snapshot, assert_same, dir, file, noise};
use tests::trouble::{bad_line, bad_server, for_seeds, hurried};

/// So long may a request make no progress on a bad line. Real time, so it is short; not so short that a busy machine
/// needs longer to answer. The watches over it look every fraction of it, which [`hurried`] must not skip.
const STALL_TIMEOUT: Duration = Duration::from_secs(3);

type Failure = Box<dyn Error + Send + Sync>;

/// The way to a repository of that name through a listener.
type Through = dyn Fn(SocketAddr, &str) -> Place + std::panic::RefUnwindSafe;

/// A server under test: where it listens, where it keeps files, how to reach a repository through something else.
struct Bench {
    address: SocketAddr,
    storage: PathBuf,
    through: Box<Through>,
    /// A repository with one snapshot, to start each case from.
    template: TempDir,
    first: SnapshotId,
}

impl Bench {
    fn new(
        address: SocketAddr,
        storage: PathBuf,
        through: impl Fn(SocketAddr, &str) -> Place + std::panic::RefUnwindSafe + 'static,
    ) -> Self {
        let template = tempfile::tempdir().unwrap();
        let repository = template.path().join("repository");
        empty_repository(2, &repository);
        let source = template.path().join("source");
        build(&source, 0);
        let report = repo::backup(&repo::open(repo::on_disk(&repository)), &source).unwrap();
        Self { address, storage, through: Box::new(through), template, first: report.id.unwrap() }
    }

    fn sftp(server: Sshd) -> Self {
        Self::new(server.address(), server.storage(), move |address, name| {
            server.place_through(address, name)
        })
    }

    fn rclone(server: Rclone) -> Self {
        Self::new(server.address(), server.storage(), move |address, name| {
            server.place_through(address, name)
        })
    }

    /// Puts the repository with one snapshot on the server, under a name of its own, as any client would.
    fn place(&self, name: &str) -> PathBuf {
        let patience = Network::default().stall_timeout;
        let good = (self.through)(self.address, name);
        let storage = connect(&repo::context(), &good, patience).unwrap();
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

    /// One case: a backup and a restore through `address`, then a close look at what the server has.
    ///
    /// `seed` makes the files that are new in this backup. Says what the backup and the restore came to.
    fn run(&self, name: &str, address: SocketAddr, seed: u64, restic_looks: bool) -> Result<(), Failure> {
        let files = self.place(name);
        let source = self.template.path().join(format!("source-{name}"));
        build(&source, seed);
        let place = (self.through)(address, name);
        let result = live(&hurried(), &place, &source, STALL_TIMEOUT);
        self.look(&files, &source, result.as_ref().ok(), restic_looks);

        // Whatever happened: on a good line everything goes on, beside whatever lock was left.
        let good = (self.through)(self.address, name);
        let patient = Network::default().stall_timeout;
        let again = live(&repo::context(), &good, &source, patient)
            .unwrap_or_else(|error| panic!("{name}, afterwards: {}", chain(&*error)));
        self.look(&files, &source, Some(&again), false);
        fs::remove_dir_all(&source).unwrap();
        result.map(drop)
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

fn connect(context: &Context, place: &Place, patience: Duration) -> Result<Arc<dyn Backend>, Failure> {
    let mut options = place.options();
    options.network.stall_timeout = patience;
    Ok(backends::open(context, &place.parsed(), &options)?)
}

/// A backup, and a restore of it that is compared with the source.
fn live(context: &Context, place: &Place, source: &Path, patience: Duration) -> Result<SnapshotId, Failure> {
    let storage = connect(context, place, patience)?;
    let repository = Repository::open(context, storage, &Password::new(PASSWORD), &OpenOptions::default())?;
    let options = repo::options(source);
    let report = archive(context, &repository, &LocalSource::new(), &[".".into()], &options)?;
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    let id = report.id.expect("a snapshot is always wanted");

    // By another connection, as on another day.
    let storage = connect(context, place, patience)?;
    let repository = Repository::open(context, storage, &Password::new(PASSWORD), &OpenOptions::default())?;
    let target = tempfile::tempdir()?;
    let report = restore(
        context,
        &repository,
        &repository.load::<Record>(id)?,
        target.path(),
        &RestoreOptions::default(),
    )?;
    if let Some(skipped) = report.skipped.first() {
        return Err(format!("{skipped:?}").into());
    }
    assert_same(&Snapshot::of(target.path()), &Snapshot::of(source));
    Ok(id)
}

/// An error with all of its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Trouble that ends must not end an operation.
fn must_succeed(name: &str, result: Result<(), Failure>) {
    result.unwrap_or_else(|error| panic!("{name}: {}", chain(&*error)));
}

fn bad_lines(test: &str, bench: &Bench, seeds: std::ops::Range<u64>) {
    for_seeds(test, seeds, |seed| {
        let proxy = bad_line(seed, bench.address);
        let name = format!("line-{seed}");
        must_succeed(&name, bench.run(&name, proxy.address(), seed, seed % 5 == 0));
    });
}

fn bad_servers(test: &str, bench: &Bench, seeds: std::ops::Range<u64>) {
    for_seeds(test, seeds, |seed| {
        let proxy = bad_server(seed, bench.address);
        let name = format!("server-{seed}");
        must_succeed(&name, bench.run(&name, proxy.address(), seed, seed % 5 == 0));
        assert!(proxy.requests() > 5, "{name} went another way");
    });
}

#[test]
fn sftp_over_bad_lines() {
    bad_lines("sftp_over_bad_lines", &Bench::sftp(Sshd::start()), 0..60);
}

#[test]
fn s3_on_bad_servers() {
    bad_servers("s3_on_bad_servers", &Bench::rclone(Rclone::serve_s3()), 200..270);
}

/// Every kind of trouble by its name, at the first, a middle and a later connection.
fn named_line_troubles(bench: &Bench) {
    let cut = |direction, after, end| Trouble::Cut { direction, after, end };
    let cases = [
        ("reset-in-upload", cut(Direction::Up, 100_000, End::Reset)),
        ("reset-in-download", cut(Direction::Down, 20_000, End::Reset)),
        ("early-end-in-upload", cut(Direction::Up, 100_000, End::Close)),
        ("early-end-in-download", cut(Direction::Down, 20_000, End::Close)),
        ("stall-in-upload", cut(Direction::Up, 100_000, End::Stall)),
        ("stall-in-download", cut(Direction::Down, 20_000, End::Stall)),
        ("reset-at-once", cut(Direction::Up, 10, End::Reset)),
        ("away", Trouble::Refuse),
    ];
    for (seed, (name, trouble)) in (1000..).zip(cases) {
        let proxy =
            Proxy::start(bench.address, Line::default(), move |number| (number < 3).then_some(trouble));
        must_succeed(name, bench.run(name, proxy.address(), seed, false));
    }
    // A line that is slow, but goes on, is no reason to give up.
    let slow = Line { one_way: Duration::from_millis(5), bytes_per_second: Some(1 << 20) };
    let proxy = Proxy::quiet(bench.address, slow);
    must_succeed("slow", bench.run("slow", proxy.address(), 1100, true));
    assert!(proxy.accepted() > 0);
}

#[test]
fn sftp_with_each_trouble_of_a_line() {
    named_line_troubles(&Bench::sftp(Sshd::start()));
}

#[test]
fn s3_with_each_trouble_of_a_line() {
    named_line_troubles(&Bench::rclone(Rclone::serve_s3()));
}

/// Every misdeed of a server by its name, for three requests in a row of each method.
fn named_misdeeds(bench: &Bench) {
    let cases = [
        ("500", Misdeed::Answer(500, None)),
        ("503", Misdeed::Answer(503, Some(3))),
        ("429", Misdeed::Answer(429, Some(1))),
        ("reset", Misdeed::Reset),
        ("lost-answer", Misdeed::LoseAnswer),
        ("twice", Misdeed::Twice),
        ("truncated", Misdeed::Truncate),
        ("stalled", Misdeed::Stall),
        ("late", Misdeed::Late(Duration::from_millis(100))),
    ];
    for (seed, (name, misdeed)) in (2000..).zip(cases) {
        let mut seen = std::collections::BTreeMap::<String, u32>::new();
        let proxy = HttpProxy::start(bench.address, move |request: &Request| {
            let count = seen.entry(request.method.clone()).or_default();
            *count += 1;
            (2..5).contains(count).then_some(misdeed)
        });
        must_succeed(name, bench.run(name, proxy.address(), seed, false));
        assert!(proxy.misdeeds() > 3, "{name}: {}", proxy.misdeeds());
    }
    // A server that lies about a length cannot be worked with, but it does no harm, and is told apart from damage
    // of what it stores only on a good line.
    let proxy = HttpProxy::start(bench.address, |request: &Request| {
        (request.method == "GET" && request.path.contains("/data/")).then_some(Misdeed::Shorten)
    });
    let error = bench.run("wrong-length", proxy.address(), 2100, true).unwrap_err();
    assert!(!chain(&*error).is_empty());
}

#[test]
fn s3_with_each_misdeed_of_a_server() {
    named_misdeeds(&Bench::rclone(Rclone::serve_s3()));
}

/// The server itself dies in the middle, and comes back: the line to it is cut and refused for a while.
#[test]
fn sftp_server_that_dies_for_good_ends_with_an_error_in_the_promised_time() {
    let bench = Bench::sftp(Sshd::start());
    let proxy = Proxy::start(bench.address, Line::default(), |number| {
        let cut = Trouble::Cut { direction: Direction::Up, after: 60_000, end: End::Reset };
        Some(if number == 0 { cut } else { Trouble::Refuse })
    });
    let error = bench.run("dead", proxy.address(), 3000, true).unwrap_err();
    assert!(chain(&*error).len() > 20, "{}", chain(&*error));
}

/// Wrong credentials, a wrong host, a missing bucket: a clear error at once, nothing repeated for minutes.
#[test]
fn whoever_is_refused_is_told_so_and_not_kept_waiting() {
    let sshd = Sshd::start();
    let s3 = Rclone::serve_s3();
    let check = |what: &str, place: &Place| {
        let context = hurried();
        let before = context.clock.elapsed();
        let opened = connect(&context, place, STALL_TIMEOUT).and_then(|storage| {
            Ok(Repository::open(&context, storage, &Password::new(PASSWORD), &OpenOptions::default())?)
        });
        let error = opened.map(drop).expect_err(what);
        let spent = context.clock.elapsed().saturating_sub(before);
        assert!(spent < Duration::from_mins(1), "{what} took {spent:?}: {}", chain(&*error));
        let text = chain(&*error);
        assert!(!text.contains("larder-test-secret"), "{what}: {text}");
        text
    };
    let mut wrong_secret = s3.place("none");
    wrong_secret.variables[1].1 = "another secret".to_owned();
    check("wrong secret", &wrong_secret);
    let mut no_bucket = s3.place("none");
    no_bucket.location = no_bucket.location.replace("/bucket/", "/no-bucket/");
    check("missing bucket", &no_bucket);
    check("no repository", &s3.place("none"));

    check("no repository", &sshd.place("none"));
    let key = fs::read(sshd.client_key()).unwrap();
    fs::remove_file(sshd.client_key()).unwrap();
    check("no key", &sshd.place("none"));
    fs::write(sshd.client_key(), key).unwrap();
    let known = fs::read_to_string(sshd.known_hosts()).unwrap();
    fs::write(sshd.known_hosts(), known.replacen("AAAA", "AAAB", 1)).unwrap();
    let told = check("wrong host key", &sshd.place("none"));
    assert!(told.to_lowercase().contains("host key") || told.contains("ssh"), "{told}");
}
