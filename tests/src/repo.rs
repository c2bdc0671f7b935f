//! Repositories for tests: in memory, with a cheap key, looked at from outside.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backends::{Location, Options};
use repo_core::backend::{Backend, MemoryBackend, layout};
use repo_core::context::{Cancel, Cancelled, Clock, Context, SystemClock};
use repo_core::format::{Node, NodeKind, Snapshot};
use repo_core::fs::source::LocalSource;
use repo_core::hash::sha256;
use repo_core::id::{BlobId, BlobKind, FileId, FileKind, SnapshotId, TreeId};
use repo_core::ops::archive::{ArchiveError, ArchiveOptions, Origin, Report, archive};
use repo_core::ops::restore::{self, RestoreOptions};
use repo_core::repository::{OpenOptions, Password, Reader, Repository};
use repo_core::walk;

use sha2::{Digest, Sha256};

use crate::fixtures::{PASSWORD, empty_repository};
use crate::tree;

/// The machine's clock and randomness; pauses of a second or less take no time.
pub fn context() -> Context {
    let mut context = Context::new();
    context.clock = Arc::new(Hasty(SystemClock::new()));
    context
}

/// A clock whose short pauses are over at once. Long ones are real: they wait for the end of a test.
struct Hasty(SystemClock);

impl Clock for Hasty {
    fn now(&self) -> repo_core::time::Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        if span <= Duration::from_secs(1) { cancel.check() } else { self.0.sleep(span, cancel) }
    }
}

/// The storage in a folder.
pub fn on_disk(folder: &Path) -> Arc<dyn Backend> {
    let location = Location::parse(folder.as_os_str()).expect("a path is a location");
    backends::open(&Context::new(), &location, &Options::default()).expect("a folder opens")
}

/// An empty repository of that version in memory.
pub fn in_memory(version: u32) -> MemoryBackend {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let repository = folder.path().join("repository");
    empty_repository(version, &repository);
    load(&repository)
}

/// The files of a repository in a folder, taken into memory.
pub fn load(folder: &Path) -> MemoryBackend {
    let disk = on_disk(folder);
    let kinds = [
        FileKind::Config,
        FileKind::Key,
        FileKind::Snapshot,
        FileKind::Index,
        FileKind::Lock,
        FileKind::Pack,
    ];
    let mut files = Vec::new();
    for kind in kinds {
        for listed in disk.list(kind).expect("a folder can be listed") {
            let file = FileId { kind, id: listed.id };
            let mut content = Vec::new();
            disk.read_all(file, listed.size, &mut content).expect("a file can be read");
            files.push((file, content));
        }
    }
    MemoryBackend::with_files(files)
}

/// Writes the files as they are into a folder, so that restic can look at them.
pub fn save(memory: &MemoryBackend, folder: &Path) {
    for (file, content) in memory.files() {
        let path = folder.join(layout::path(file));
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("a folder can be made");
        std::fs::write(path, content).expect("a file can be written");
    }
}

/// Opens a repository with the password of the fixtures.
pub fn open(backend: Arc<dyn Backend>) -> Repository {
    let opened = Repository::open(&context(), backend, &Password::new(PASSWORD), &OpenOptions::default());
    opened.unwrap_or_else(|error| panic!("the repository does not open: {error}"))
}

/// Options of a backup of what is in a folder, its entries on the top level.
pub fn options(folder: &Path) -> ArchiveOptions {
    let origin = Origin { hostname: "host".into(), username: "user".into(), uid: 1, gid: 1 };
    ArchiveOptions { cwd: folder.to_owned(), origin, ..ArchiveOptions::default() }
}

/// Makes a backup of what is in a folder.
pub fn backup(repository: &Repository, folder: &Path) -> Result<Report, Box<ArchiveError>> {
    archive(&context(), repository, &LocalSource::new(), &[".".into()], &options(folder)).map_err(Box::new)
}

/// Restores a snapshot into a folder; fails if anything was left out.
pub fn restore(
    repository: &Repository,
    id: SnapshotId,
    target: &Path,
    options: &RestoreOptions,
) -> restore::Report {
    let snapshot = repository.load::<Snapshot>(id).unwrap_or_else(|error| panic!("snapshot {id}: {error}"));
    let report = restore::restore(&context(), repository, &snapshot, target, options);
    let report = report.unwrap_or_else(|error| panic!("snapshot {id}: {error}"));
    assert!(report.skipped.is_empty(), "snapshot {id}: {:#?}", report.skipped);
    report
}

/// Checks that every visible snapshot has all of its blobs, each under its right name; returns the snapshots.
pub fn assert_complete(backend: Arc<dyn Backend>) -> Vec<SnapshotId> {
    let repository = open(backend);
    let snapshots = repository.list::<Snapshot>().expect("snapshots can be listed");
    let index = repository.load_index(&context()).expect("the index can be loaded");
    let reader = Reader::new(&repository, index);
    for id in &snapshots {
        let snapshot =
            repository.load::<Snapshot>(*id).unwrap_or_else(|error| panic!("snapshot {id}: {error}"));
        let check = |reached: walk::Reached| {
            let tree = reached.tree.as_ref().unwrap_or_else(|error| panic!("snapshot {id}: {error}"));
            for data in tree.nodes.iter().filter_map(|node| node.content.as_ref()).flatten() {
                let blob = BlobId { kind: BlobKind::Data, id: (*data).into() };
                let plain = reader.blob(&blob).unwrap_or_else(|error| panic!("snapshot {id}: {error}"));
                assert_eq!(sha256(&plain), blob.id, "snapshot {id}");
            }
        };
        walk::reach(&context(), &reader, [snapshot.tree], &std::sync::Mutex::default(), check)
            .expect("nobody stops it");
    }
    snapshots
}

/// Everything below a stored tree as it would lie on disk, every byte of content read and hashed.
///
/// Much simpler than a restore, and so a second opinion on one.
pub fn contents(reader: &Reader, root: TreeId) -> tree::Snapshot {
    let mut entries = BTreeMap::new();
    let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    for entry in walk::Walk::new(reader, root, "") {
        let entry = entry.unwrap_or_else(|error| panic!("{error}"));
        let path = entry.path.as_os_str().as_bytes();
        let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
        let node = entry.node;
        let mut same_as = None;
        if node.links > 1 && !node.is_dir() {
            let first = first_names.entry((node.device_id, node.inode)).or_insert_with(|| path.clone());
            same_as = Some(first.clone()).filter(|first| *first != path);
        }
        let xattrs = node.xattrs.iter().map(|one| (one.name.clone(), one.value.clone().unwrap_or_default()));
        let time = node.mtime.instant;
        let on_disk = tree::Entry {
            kind: kind(reader, &node),
            mode: if node.kind == NodeKind::Symlink { 0 } else { node.mode.unix_permissions() },
            uid: node.uid,
            gid: node.gid,
            mtime_ns: i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos),
            same_as,
            xattrs: xattrs.collect(),
        };
        entries.insert(path, on_disk);
    }
    tree::Snapshot(entries)
}

fn kind(reader: &Reader, node: &Node) -> tree::Kind {
    match &node.kind {
        NodeKind::File => {
            let mut hash = Sha256::new();
            let mut len = 0;
            for data in node.content.iter().flatten() {
                let blob = BlobId { kind: BlobKind::Data, id: (*data).into() };
                let plain = reader.blob(&blob).unwrap_or_else(|error| panic!("{error}"));
                len += plain.len() as u64;
                hash.update(plain);
            }
            assert_eq!(len, node.size, "the size on record is that of the content");
            tree::Kind::File { len, sha256: tree::hex(&hash.finalize()) }
        }
        NodeKind::Dir => tree::Kind::Dir,
        NodeKind::Symlink => tree::Kind::Symlink(node.link_target.clone()),
        NodeKind::Fifo => tree::Kind::Fifo,
        NodeKind::Device => tree::Kind::Block(rustix::fs::major(node.device), rustix::fs::minor(node.device)),
        NodeKind::CharDevice => {
            tree::Kind::Char(rustix::fs::major(node.device), rustix::fs::minor(node.device))
        }
        other => panic!("no test makes a node of kind {other:?}"),
    }
}
