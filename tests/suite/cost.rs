//! What operations cost in requests, counted between the engine and a memory backend.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use repo_core::backend::{
    Backend, BackendError, Counters, Listed, MemoryBackend, Operation, Properties, RecordBackend,
};
use repo_core::id::{FileId, FileKind};
use repo_core::repository::{KeyLabel, OpenOptions, Password, Repository};
use repo_core::snapshots;
use repo_core::walk::Walk;
use tempfile::TempDir;
use tests::fixtures::PASSWORD;
use tests::repo::{backup, context, in_memory, open};
use tests::tree::{Tree, dir, file, noise};

fn source() -> Tree {
    let folder = |number: u64| {
        dir((0..20)
            .map(|at| (format!("file-{at}"), file(noise(3000, number * 100 + at))))
            .collect::<Vec<_>>())
    };
    dir((0..10).map(|number| (format!("folder-{number}"), folder(number))).collect::<Vec<_>>())
}

/// The costs of two backups in a row, the second one after `change`.
fn second_backup(change: impl FnOnce(&Path)) -> Counters {
    let folder = tempfile::tempdir().unwrap();
    source().build(folder.path());
    let counted = Arc::new(RecordBackend::new(Arc::new(in_memory(2))));
    let repository = open(counted.clone());
    backup(&repository, folder.path()).unwrap();
    change(folder.path());
    let before = counted.counters();
    backup(&repository, folder.path()).unwrap();
    &counted.counters() - &before
}

fn requests(counters: &Counters, operation: Operation, kind: FileKind) -> u64 {
    counters.of(operation, kind).requests
}

#[test]
fn unchanged_backup_uploads_one_snapshot_and_no_pack() {
    let cost = second_backup(|_| {});
    let writes = |kind| requests(&cost, Operation::Write, kind);
    assert_eq!(writes(FileKind::Snapshot), 1, "{cost}");
    assert_eq!(writes(FileKind::Pack), 0, "{cost}");
    assert_eq!(writes(FileKind::Index), 0, "{cost}");
    assert_eq!(writes(FileKind::Lock), 1, "{cost}");
    assert_eq!(cost.total(Operation::Write).requests, 2, "{cost}");
    assert_eq!(cost.total(Operation::Remove).requests, 1, "the lock alone is removed\n{cost}");
}

/// Every tree of the parent is read once: eleven here, however many files there are. Nothing else is fetched twice.
#[test]
fn unchanged_backup_reads_each_tree_of_the_parent_once() {
    let cost = second_backup(|_| {});
    let reads = |kind| requests(&cost, Operation::Read, kind);
    assert!(reads(FileKind::Pack) <= 11, "{cost}");
    assert_eq!(reads(FileKind::Index), 1, "{cost}");
    assert_eq!(reads(FileKind::Snapshot), 1, "{cost}");
}

#[test]
fn backup_with_one_changed_file_uploads_one_data_pack_one_tree_pack_and_one_index_file() {
    let cost = second_backup(|folder| std::fs::write(folder.join("folder-3/file-5"), "changed").unwrap());
    let writes = |kind| requests(&cost, Operation::Write, kind);
    assert_eq!(writes(FileKind::Pack), 2, "{cost}");
    assert_eq!(writes(FileKind::Index), 1, "{cost}");
    assert_eq!(writes(FileKind::Snapshot), 1, "{cost}");
}

/// Files of a few bytes share packs: the number of uploads does not grow with the number of files.
#[test]
fn first_backup_of_many_small_files_uploads_few_packs() {
    let folder = tempfile::tempdir().unwrap();
    source().build(folder.path());
    let counted = Arc::new(RecordBackend::new(Arc::new(in_memory(2))));
    let repository = open(counted.clone());
    let before = counted.counters();
    backup(&repository, folder.path()).unwrap();
    let cost = &counted.counters() - &before;
    assert!(requests(&cost, Operation::Write, FileKind::Pack) <= 4, "{cost}");
    assert_eq!(requests(&cost, Operation::Write, FileKind::Index), 1, "{cost}");
}

// ── with a cache ───────────────────────────────────────────────────────────────────────────────────────────

/// A repository that several backups have given several snapshots, index files and packs of trees; and a folder
/// for caches.
struct Remote {
    source: TempDir,
    base: TempDir,
    memory: Arc<MemoryBackend>,
}

/// So many backups were made.
const BACKUPS: u64 = 5;

impl Remote {
    fn new(files_per_folder: u64) -> Self {
        let folder = |number: u64| {
            dir((0..files_per_folder)
                .map(|at| (format!("file-{at}"), file(noise(100, number * 1000 + at))))
                .collect::<Vec<_>>())
        };
        let remote = Self {
            source: tempfile::tempdir().unwrap(),
            base: tempfile::tempdir().unwrap(),
            memory: Arc::new(in_memory(2)),
        };
        let tree =
            dir((0..BACKUPS).map(|number| (format!("folder-{number}"), folder(number))).collect::<Vec<_>>());
        tree.build(remote.source.path());
        for number in 0..BACKUPS {
            let new = remote.source.path().join(format!("folder-{number}/new"));
            std::fs::write(new, noise(100, number)).unwrap();
            backup(&open(remote.memory.clone()), remote.source.path()).unwrap();
        }
        let count = |kind| remote.memory.list(kind).unwrap().len() as u64;
        assert_eq!([FileKind::Snapshot, FileKind::Index].map(count), [BACKUPS; 2]);
        remote
    }

    /// The cost of a run from the first request to the last, as the program makes it.
    fn cost<T>(&self, run: impl FnOnce(&Repository) -> T) -> Counters {
        let counted = Arc::new(RecordBackend::with_log(self.memory.clone()));
        let options = OpenOptions { cache: Some(self.base.path().to_owned()), ..OpenOptions::default() };
        let found = Repository::find(counted.clone(), &options).unwrap();
        run(&found.open(&context(), &Password::new(PASSWORD)).unwrap());
        counted.counters()
    }

    fn backup(&self) -> Counters {
        self.cost(|repository| backup(repository, self.source.path()).unwrap())
    }

    fn packs_of_trees(&self) -> u64 {
        let index = open(self.memory.clone()).load_index(&context()).unwrap();
        index.packs().iter().filter(|pack| pack.tree_blobs > 0).count() as u64
    }
}

/// Config, key; locks, lock, locks; snapshots, index; index, the new snapshot, locks, index: nothing was removed
/// meanwhile; the lock goes.
#[test]
fn unchanged_backup_with_a_warm_cache_makes_twelve_requests_for_any_number_of_files() {
    for files_per_folder in [2, 200] {
        let remote = Remote::new(files_per_folder);
        remote.backup();
        for _ in 0..2 {
            let cost = remote.backup();
            assert_eq!(cost.requests(), 12, "{cost}");
            assert_eq!(requests(&cost, Operation::Read, FileKind::Pack), 0, "{cost}");
        }
    }
}

#[test]
fn first_backup_with_a_cache_fetches_each_record_and_each_pack_of_trees_once() {
    let remote = Remote::new(50);
    let cost = remote.backup();
    let reads = |kind| requests(&cost, Operation::Read, kind);
    assert_eq!([reads(FileKind::Snapshot), reads(FileKind::Index)], [BACKUPS; 2], "{cost}");
    assert!((1..=remote.packs_of_trees()).contains(&reads(FileKind::Pack)), "{cost}");
    assert_eq!(requests(&cost, Operation::List, FileKind::Key), 1, "nobody knows yet which key fits\n{cost}");
}

/// What a backup writes is in the cache at once: the next one fetches nothing.
#[test]
fn backup_after_a_changed_one_fetches_nothing() {
    let remote = Remote::new(20);
    remote.backup();
    std::fs::write(remote.source.path().join("folder-1/file-1"), "changed").unwrap();
    let changed = remote.backup();
    assert_eq!(requests(&changed, Operation::Write, FileKind::Pack), 2, "{changed}");
    assert_eq!(
        changed.requests(),
        17,
        "two packs and an index file more, and two looks at the packs\n{changed}"
    );
    let unchanged = remote.backup();
    assert_eq!(unchanged.requests(), 12, "{unchanged}");
}

#[test]
fn listing_snapshots_makes_three_requests_and_one_for_each_new_snapshot() {
    let remote = Remote::new(2);
    let list = || remote.cost(|repository| snapshots::list(&context(), repository).unwrap());
    let first = list();
    assert_eq!(first.requests(), 4 + BACKUPS, "the keys are listed once\n{first}");
    let again = list();
    assert_eq!(again.requests(), 3, "{again}");
    // From another machine.
    backup(&open(remote.memory.clone()), remote.source.path()).unwrap();
    let one_more = list();
    assert_eq!(one_more.requests(), 3 + 1, "{one_more}");
}

/// The key that opened the repository is gone, or the password is another one: the others are found as ever.
#[test]
fn another_password_is_found_although_another_key_is_remembered() {
    let remote = Remote::new(1);
    let options = OpenOptions { cache: Some(remote.base.path().to_owned()), ..OpenOptions::default() };
    let with = |password: &str| {
        let counted = Arc::new(RecordBackend::new(remote.memory.clone()));
        let password = Password::new(password);
        let repository = Repository::open(&context(), counted.clone(), &password, &options);
        (repository, requests(&counted.counters(), Operation::List, FileKind::Key))
    };
    let (first, lists) = with(PASSWORD);
    assert_eq!(lists, 1);
    let params = Some(repo_core::crypto::ScryptParams { n: 2, r: 8, p: 1 });
    let first = first.unwrap();
    let second = first.add_key(&context(), &"other".into(), &KeyLabel::default(), params).unwrap();
    for (password, expected) in [(PASSWORD, 0), ("other", 1), ("other", 0), (PASSWORD, 1), ("other", 1)] {
        let (repository, lists) = with(password);
        assert_eq!(repository.unwrap().key_id() == second, password == "other");
        assert_eq!(lists, expected, "{password}");
    }
    first.remove_key(second).unwrap();
    assert!(with("other").0.is_err());
    assert_eq!(with(PASSWORD).1, 1);
}

#[test]
fn looking_through_a_snapshot_fetches_each_pack_of_trees_once() {
    let remote = Remote::new(5);
    let look = || {
        remote.cost(|repository| {
            let latest = snapshots::list(&context(), repository).unwrap().pop().unwrap();
            let reader = repository.reader(&context()).unwrap();
            let mut walk = Walk::new(&reader, latest.snapshot.tree, "/").reading_ahead();
            assert!(walk.all(|entry| entry.is_ok()));
        })
    };
    let cold = look();
    assert!(requests(&cold, Operation::Read, FileKind::Pack) <= remote.packs_of_trees(), "{cold}");
    let warm = look();
    assert_eq!(warm.requests(), 4, "{warm}");
}

/// The walk is on its way to the first folder while the packs of the others are fetched already. Each fetch waits
/// until another one is under way, or until it is clear that none comes.
#[test]
fn packs_of_trees_are_fetched_side_by_side_although_a_walk_has_an_order() {
    let remote = Remote::new(5);
    let meeting =
        Arc::new(Meeting { inner: remote.memory.clone(), state: Mutex::default(), changed: Condvar::new() });
    let options = OpenOptions { cache: Some(remote.base.path().to_owned()), ..OpenOptions::default() };
    let repository =
        Repository::open(&context(), meeting.clone(), &Password::new(PASSWORD), &options).unwrap();
    let latest = snapshots::list(&context(), &repository).unwrap().pop().unwrap();
    let reader = repository.reader(&context()).unwrap();
    let mut walk = Walk::new(&reader, latest.snapshot.tree, "/").reading_ahead();
    assert!(walk.all(|entry| entry.is_ok()));
    drop(walk);
    let state = meeting.state.lock().unwrap();
    assert!(state.most > 1, "one pack after the other");
    assert_eq!(state.fetched, remote.packs_of_trees(), "each once");
}

/// A storage that counts how many packs are fetched at a time.
#[derive(Debug)]
struct Meeting {
    inner: Arc<MemoryBackend>,
    state: Mutex<Met>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Met {
    now: u64,
    most: u64,
    fetched: u64,
}

impl Meeting {
    /// The first fetch, of the root, is alone; from then on each waits for company.
    fn meet(&self) {
        let mut state = self.state.lock().unwrap();
        state.now += 1;
        state.fetched += 1;
        state.most = state.most.max(state.now);
        self.changed.notify_all();
        let alone = |state: &mut Met| state.fetched > 1 && state.most == 1;
        let waited = self.changed.wait_timeout_while(state, Duration::from_secs(10), alone);
        waited.unwrap().0.now -= 1;
    }
}

impl Backend for Meeting {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.inner.create()
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.inner.write(file, content)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.inner.read(file, range, buffer)
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        if file.kind == FileKind::Pack {
            self.meet();
        }
        self.inner.read_all(file, limit, buffer)
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.inner.size(file)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        self.inner.list(kind)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.inner.remove(file)
    }
}
