use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Barrier, Mutex};
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::backend::conformance::{self, Scale, Subject};
use crate::backend::{Count, MemoryBackend, RecordBackend, layout};
use crate::parallel;

const REPOSITORY: Id = Id::new([7; 32]);

/// A storage, and a cache in a folder of its own.
struct Place {
    base: TempDir,
    storage: Arc<MemoryBackend>,
    counted: Arc<RecordBackend>,
}

impl Place {
    fn new() -> Self {
        let storage = Arc::new(MemoryBackend::new());
        storage.create().unwrap();
        let counted = Arc::new(RecordBackend::new(storage.clone()));
        Self { base: tempfile::tempdir().unwrap(), storage, counted }
    }

    /// As another process would open it.
    fn open(&self) -> CacheBackend {
        self.open_with(&Context::new())
    }

    fn open_with(&self, context: &Context) -> CacheBackend {
        CacheBackend::open(context, self.counted.clone(), self.base.path(), &REPOSITORY).unwrap()
    }

    /// Puts a file into the storage alone.
    fn stored(&self, kind: FileKind, content: &[u8]) -> FileId {
        let file = named(kind, content);
        self.storage.insert(file, content);
        file
    }

    /// Where its entry lies.
    fn entry(&self, file: FileId) -> PathBuf {
        let folder = self.base.path().join(REPOSITORY.to_string()).join(file.kind.folder());
        folder.join(layout::shard(&file.id)).join(file.id.to_string())
    }

    fn reads(&self, kind: FileKind) -> Count {
        self.counted.counters().of(Operation::Read, kind)
    }
}

fn named(kind: FileKind, content: &[u8]) -> FileId {
    FileId { kind, id: sha256(content) }
}

fn whole(backend: &CacheBackend, file: FileId) -> Vec<u8> {
    let mut buffer = b"old".to_vec();
    backend.read_all(file, 1 << 20, &mut buffer).unwrap();
    buffer
}

fn inside(backend: &CacheBackend, file: FileId, range: Range<u64>) -> Vec<u8> {
    let mut buffer = b"old".to_vec();
    backend.read(file, range, &mut buffer).unwrap();
    buffer
}

const RECORD: [u8; 100] = [b'r'; 100];
const PACK: [u8; 1000] = [b'p'; 1000];

#[test]
fn a_cache_keeps_the_promises_of_a_backend() {
    let bases = Mutex::new(Vec::new());
    let make = |hints: bool| {
        let base = tempfile::tempdir().unwrap();
        let memory = Arc::new(MemoryBackend::new());
        let cache = CacheBackend::open(&Context::new(), memory, base.path(), &REPOSITORY).unwrap();
        bases.lock().unwrap().push(base);
        if hints { Subject::new(Arc::new(AllTrees(cache))) } else { Subject::new(Arc::new(cache)) }
    };
    conformance::check(|| make(false), Scale::Quick);
    conformance::check(|| make(true), Scale::Quick);
}

/// Takes every pack for one of trees.
#[derive(Debug)]
struct AllTrees(CacheBackend);

impl AllTrees {
    fn hint(&self, file: FileId) {
        if file.kind == FileKind::Pack {
            self.0.hint_trees(&[PackId(file.id)]);
        }
    }
}

impl Backend for AllTrees {
    fn properties(&self) -> Properties {
        self.0.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.0.create()
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.hint(file);
        self.0.write(file, content)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.hint(file);
        self.0.read(file, range, buffer)
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.0.read_all(file, limit, buffer)
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.0.size(file)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        self.0.list(kind)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.0.remove(file)
    }
}

#[test]
fn records_are_fetched_once_for_all_processes() {
    for kind in [FileKind::Snapshot, FileKind::Index] {
        let place = Place::new();
        let file = place.stored(kind, &RECORD);
        for _ in 0..3 {
            let process = place.open();
            assert_eq!(whole(&process, file), RECORD);
            assert_eq!(whole(&process, file), RECORD);
        }
        assert_eq!(place.reads(kind).requests, 1, "{kind}");
    }
}

#[test]
fn a_pack_of_trees_is_fetched_whole_and_once() {
    let place = Place::new();
    let file = place.stored(FileKind::Pack, &PACK);
    for _ in 0..3 {
        let process = place.open();
        process.hint_trees(&[file.id.into()]);
        for start in 0..10 {
            assert_eq!(inside(&process, file, start * 100..start * 100 + 7), [b'p'; 7]);
        }
    }
    assert_eq!(place.reads(FileKind::Pack), Count { requests: 1, failures: 0, bytes: 1000 });
}

#[test]
fn readers_of_one_pack_at_the_same_time_fetch_it_once() {
    let place = Place::new();
    let file = place.stored(FileKind::Pack, &PACK);
    let process = place.open();
    process.hint_trees(&[file.id.into()]);
    let start = Barrier::new(8);
    parallel::scope(|scope| {
        for _ in 0..8 {
            scope.spawn("reader", || {
                start.wait();
                assert_eq!(inside(&process, file, 5..9), b"pppp");
            });
        }
    });
    assert_eq!(place.reads(FileKind::Pack).requests, 1);
}

#[test]
fn what_is_written_is_kept_and_what_is_removed_goes() {
    let place = Place::new();
    let process = place.open();
    for kind in [FileKind::Snapshot, FileKind::Index, FileKind::Pack] {
        let file = named(kind, &RECORD);
        if kind == FileKind::Pack {
            process.hint_trees(&[file.id.into()]);
        }
        process.write(file, &RECORD).unwrap();
        assert_eq!(fs::read(place.entry(file)).unwrap(), RECORD);
        assert_eq!(inside(&process, file, 0..100), RECORD);
        process.remove(file).unwrap();
        assert!(!place.entry(file).exists());
    }
}

#[test]
fn keys_locks_the_config_and_packs_of_data_are_never_kept() {
    let place = Place::new();
    let process = place.open();
    for kind in [FileKind::Key, FileKind::Lock, FileKind::Pack] {
        let file = named(kind, &RECORD);
        process.write(file, &RECORD).unwrap();
        assert_eq!(whole(&process, file), RECORD);
        assert_eq!(inside(&process, file, 3..8), b"rrrrr");
        assert_eq!(process.list(kind).unwrap().len(), 1);
    }
    process.write(FileId::CONFIG, &RECORD).unwrap();
    assert_eq!(whole(&process, FileId::CONFIG), RECORD);
    let names: Vec<_> = folder::children(process.path()).collect();
    assert_eq!(names, [process.path().join("version")]);
}

/// Whoever reads a pack from end to end checks the storage; the cache must not answer for it.
#[test]
fn whole_packs_come_from_the_storage() {
    let place = Place::new();
    let file = place.stored(FileKind::Pack, &PACK);
    let process = place.open();
    process.hint_trees(&[file.id.into()]);
    assert_eq!(inside(&process, file, 0..9).len(), 9);
    place.storage.tamper(file, |bytes| bytes[0] = b'x');
    assert_eq!(whole(&process, file)[0], b'x');
}

#[test]
fn damaged_entries_are_fetched_again_once() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("a changed bit", |bytes| bytes[50] ^= 1),
        ("cut short", |bytes| bytes.truncate(40)),
        ("too long", |bytes| bytes.push(b'p')),
        ("empty", Vec::clear),
    ];
    for kind in [FileKind::Snapshot, FileKind::Index, FileKind::Pack] {
        for (name, damage) in damages {
            let place = Place::new();
            let file = place.stored(kind, &PACK);
            let read = |expected_requests: u64| {
                let process = place.open();
                process.hint_trees(&[file.id.into()]);
                let content = match kind {
                    FileKind::Pack => inside(&process, file, 0..1000),
                    _ => whole(&process, file),
                };
                assert_eq!(content, PACK, "{kind}: {name}");
                assert_eq!(place.reads(kind).requests, expected_requests, "{kind}: {name}");
            };
            read(1);
            let mut bytes = fs::read(place.entry(file)).unwrap();
            damage(&mut bytes);
            fs::write(place.entry(file), bytes).unwrap();
            read(2);
            read(2);
        }
    }
}

#[test]
fn a_pack_that_is_damaged_in_the_storage_is_read_there_in_parts() {
    let place = Place::new();
    let file = place.stored(FileKind::Pack, &PACK);
    place.storage.tamper(file, |bytes| bytes[0] = b'x');
    let process = place.open();
    process.hint_trees(&[file.id.into()]);
    assert_eq!(inside(&process, file, 0..2), b"xp");
    assert_eq!(inside(&process, file, 1..3), b"pp");
    assert_eq!(place.reads(FileKind::Pack).requests, 3, "once whole, then in parts");
    assert!(!place.entry(file).exists());
}

#[test]
fn a_pack_that_is_longer_than_most_is_kept_too() {
    for len in [COMMON_BYTES_MAX, COMMON_BYTES_MAX + 1] {
        let place = Place::new();
        let file = place.stored(FileKind::Pack, &vec![b'p'; usize::try_from(len).unwrap()]);
        let process = place.open();
        process.hint_trees(&[file.id.into()]);
        assert_eq!(inside(&process, file, len - 3..len), b"ppp");
        assert_eq!(inside(&process, file, 0..2), b"pp");
        assert!(place.entry(file).exists());
        assert_eq!(place.reads(FileKind::Pack).bytes, len);
        assert_eq!(process.has_long_packs.load(Ordering::Relaxed), len > COMMON_BYTES_MAX);
    }
}

#[test]
fn a_damaged_record_of_the_storage_is_not_kept() {
    let place = Place::new();
    let file = place.stored(FileKind::Index, &RECORD);
    place.storage.tamper(file, |bytes| bytes[0] = b'x');
    assert_eq!(whole(&place.open(), file)[0], b'x');
    assert!(!place.entry(file).exists());
    place.storage.insert(file, RECORD);
    assert_eq!(whole(&place.open(), file), RECORD);
}

#[test]
fn entries_that_are_not_listed_go() {
    for kind in [FileKind::Snapshot, FileKind::Index, FileKind::Pack] {
        let place = Place::new();
        let process = place.open();
        let files = [b"1", b"2"].map(|number| {
            let content = number.repeat(100);
            let file = named(kind, &content);
            process.hint_trees(&[file.id.into()]);
            process.write(file, &content).unwrap();
            file
        });
        // Another machine removes one of them.
        place.storage.remove(files[0]).unwrap();
        assert_eq!(place.open().list(kind).unwrap().len(), 1);
        assert_eq!(files.map(|file| place.entry(file).exists()), [false, true], "{kind}");
    }
}

#[test]
fn packs_that_no_index_lists_go_after_a_day() {
    let place = Place::new();
    let process = place.open();
    let files = [b"1", b"2", b"3"].map(|number| {
        let content = number.repeat(100);
        let file = named(FileKind::Pack, &content);
        process.hint_trees(&[file.id.into()]);
        process.write(file, &content).unwrap();
        file
    });
    for old in &files[..2] {
        set_age(&place.entry(*old), Duration::from_hours(25));
    }
    let left_behind = place.entry(files[0]).with_file_name("tmp-1");
    fs::write(&left_behind, "torn").unwrap();
    set_age(&left_behind, Duration::from_hours(25));
    place.open().keep_packs(&[files[0].id.into()]);
    assert_eq!(files.map(|file| place.entry(file).exists()), [true, false, true]);
    assert!(!left_behind.exists());
}

fn set_age(path: &Path, age: Duration) {
    #[expect(clippy::disallowed_methods, reason = "files bear the machine's time")]
    let now = SystemTime::now();
    File::options().write(true).open(path).unwrap().set_modified(now - age).unwrap();
}

/// Folders that cannot be written look different for root and for others; a file in the way is the same for all.
#[test]
fn a_cache_that_cannot_be_written_is_told_once() {
    let place = Place::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = told.clone();
    let context = Context::new().with_observer(Arc::new(move |event: &Event<'_>| {
        if let Event::Warning { error } = event {
            hear.lock().unwrap().push(error.to_string());
        }
    }));
    let process = place.open_with(&context);
    for name in ["snapshots", "index", "data"] {
        fs::write(process.path().join(name), "in the way").unwrap();
    }
    for kind in [FileKind::Snapshot, FileKind::Index] {
        let file = named(kind, &RECORD);
        process.write(file, &RECORD).unwrap();
        assert_eq!(whole(&process, file), RECORD);
        assert_eq!(process.list(kind).unwrap().len(), 1);
    }
    let pack = place.stored(FileKind::Pack, &PACK);
    process.hint_trees(&[pack.id.into()]);
    for _ in 0..3 {
        assert_eq!(inside(&process, pack, 3..8), b"ppppp");
    }
    assert_eq!(place.reads(FileKind::Pack).bytes, 15, "nothing is fetched that cannot be kept");
    let expected = format!("cannot add to the cache in {}", process.path().display());
    assert_eq!(*told.lock().unwrap(), [expected]);
}

#[test]
fn the_folder_is_laid_out_as_restic_does() {
    let place = Place::new();
    let process = place.open();
    let file = named(FileKind::Index, &RECORD);
    process.write(file, &RECORD).unwrap();
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(
        read(&place.base.path().join("CACHEDIR.TAG")),
        "Signature: 8a477f597d28d172789f06886806bc55\n"
    );
    assert_eq!(process.path(), place.base.path().join("07".repeat(32)));
    assert_eq!(read(&process.path().join("version")), "1");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(process.path()), 0o700);
    assert_eq!(mode(&place.entry(file)), 0o600);
    assert_eq!(mode(place.entry(file).parent().unwrap()), 0o700);
    assert!(process.is_new() && !place.open().is_new());
}

#[test]
fn unknown_versions_are_left_alone() {
    for (version, known) in [("1", true), ("1\n", true), ("", true), ("0", true), ("2", false), ("x", false)]
    {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join(REPOSITORY.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("version"), version).unwrap();
        let memory = Arc::new(MemoryBackend::new());
        let opened = CacheBackend::open(&Context::new(), memory, base.path(), &REPOSITORY);
        assert_eq!(opened.is_ok(), known, "{version:?}");
    }
}

#[test]
fn every_use_is_seen_in_the_time_of_the_folder() {
    let place = Place::new();
    let path = place.open().path().to_owned();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::open(&path).unwrap().set_modified(at(1_000_000)).unwrap();
    let now = Context::new().clock.now();
    let all = CacheFolder::all(place.base.path()).unwrap();
    assert!(all[0].is_older_than(Duration::from_hours(24 * 30), now));
    place.open();
    let all = CacheFolder::all(place.base.path()).unwrap();
    assert!(!all[0].is_older_than(Duration::from_hours(1), now));
}

#[test]
fn caches_are_found_measured_and_removed() {
    let place = Place::new();
    let process = place.open();
    process.write(named(FileKind::Index, &RECORD), &RECORD).unwrap();
    for name in ["restic-check-cache-123", "restic-check-cache-x", "last-keys", "other"] {
        fs::create_dir(place.base.path().join(name)).unwrap();
    }
    let mut all = CacheFolder::all(place.base.path()).unwrap();
    all.sort_by_key(CacheFolder::is_temporary);
    let names: Vec<_> = all.iter().map(|cache| cache.name.as_str()).collect();
    assert_eq!(names, ["07".repeat(32).as_str(), "restic-check-cache-123"]);
    assert_eq!(all[0].size().unwrap(), 101, "the entry and the version");
    all[0].remove().unwrap();
    assert_eq!(CacheFolder::all(place.base.path()).unwrap().len(), 1);
    assert_eq!(CacheFolder::all(&place.base.path().join("missing")).unwrap(), []);
}

/// Two processes on one folder, one of which lists and so removes what the other has just used.
#[test]
fn processes_that_share_a_folder_never_see_anything_but_the_truth() {
    let place = Place::new();
    let files: Vec<_> = (0..20_u8)
        .map(|number| {
            let kind = if number % 2 == 0 { FileKind::Pack } else { FileKind::Index };
            (place.stored(kind, &[number; 500]), number)
        })
        .collect();
    let packs: Vec<PackId> = files.iter().map(|(file, _)| file.id.into()).collect();
    let left = AtomicUsize::new(4);
    parallel::scope(|scope| {
        for _ in 0..4 {
            scope.spawn("process", || {
                for _ in 0..5 {
                    let process = place.open();
                    process.hint_trees(&packs);
                    for (file, number) in &files {
                        let content = match file.kind {
                            FileKind::Pack => inside(&process, *file, 0..500),
                            _ => whole(&process, *file),
                        };
                        assert_eq!(content, [*number; 500]);
                    }
                }
                left.fetch_sub(1, Ordering::Relaxed);
            });
        }
        scope.spawn("vandal", || {
            let mut turn: usize = 0;
            while left.load(Ordering::Relaxed) > 0 {
                let (file, _) = files[turn % files.len()];
                turn += 1;
                let entry = place.entry(file);
                if turn.is_multiple_of(3) {
                    let _ = fs::remove_file(&entry);
                } else if entry.exists() {
                    // As a program would that shares the folder: whole, by a rename, and yet wrong.
                    let torn = entry.with_extension("torn");
                    let _ = fs::write(&torn, [0xee; 77]).and_then(|()| fs::rename(&torn, &entry));
                }
            }
        });
    });
}
