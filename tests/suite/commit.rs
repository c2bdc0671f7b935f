//! The commit barrier: whatever a backup relies on may be removed at any moment, and success still means that the
//! snapshot is whole.
//!
//! Locks are taken away and everything that no visible snapshot needs is removed, right before call N of a backup, for
//! every N.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use repo_core::backend::{Backend, MemoryBackend};
use repo_core::context::{Cancel, Cancelled, Clock, Context};
use repo_core::format::{IndexFile, MarkedPack, Snapshot};
use repo_core::fs::source::{LocalSource, StreamSource};
use repo_core::id::{FileId, FileKind, Id, SnapshotId};
use repo_core::ops::archive::{ArchiveError, ArchiveOptions, Problem, archive};
use repo_core::ops::prune::{MaxUnused, PruneOptions, prune};
use repo_core::repository::{LockKind, LockOptions};
use repo_core::snapshots;
use repo_core::time::Timestamp;
use tests::meddle::MeddledBackend;
use tests::repo::{assert_complete, backup, context, in_memory, open, options};
use tests::tree::{dir, file, noise};

fn source(folder: &Path) {
    dir([
        ("large", file(noise(1 << 20, 5))),
        ("small", file("small")),
        ("sub", dir([("other", file(noise(2000, 6)))])),
    ])
    .build(folder);
}

/// A repository with a backup of the folder, and then a changed file in the folder.
fn start(folder: &Path) -> MemoryBackend {
    source(folder);
    let memory = Arc::new(in_memory(2));
    backup(&open(memory.clone()), folder).unwrap();
    std::fs::write(folder.join("sub/new"), noise(3000, 7)).unwrap();
    memory.copy()
}

/// Somebody who respects no lock forgets every snapshot there is and frees all that is not needed any more.
fn wipe(memory: &Arc<MemoryBackend>) {
    let repository = open(memory.clone());
    repository.remove_all_locks().unwrap();
    for id in repository.list::<Snapshot>().unwrap() {
        snapshots::remove(&repository, id).unwrap();
    }
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    prune(&context(), &repository, &options).unwrap();
}

/// Every index file is merged into one: nothing is lost, but nothing is where it was.
fn merge(memory: &Arc<MemoryBackend>) {
    let repository = open(memory.clone());
    let files = repository.list::<IndexFile>().unwrap();
    let packs = files.iter().flat_map(|id| repository.load::<IndexFile>(*id).unwrap().packs).collect();
    repository.save(&context(), &IndexFile { packs, ..IndexFile::default() }).unwrap();
    for id in files {
        memory.remove(id.into()).unwrap();
    }
}

fn sweep(deed: fn(&Arc<MemoryBackend>), snapshot_may_be_forgotten: bool) {
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path());
    let clean = Arc::new(MeddledBackend::new(Arc::new(start.copy()), 0, || ()));
    let repository = open(clean.clone());
    let opening = clean.calls();
    backup(&repository, folder.path()).unwrap();
    let last = clean.calls();
    assert!(last > opening + 15, "{}", clean.log().join("\n"));
    for number in opening + 1..=last {
        let memory = Arc::new(start.copy());
        let storage = {
            let memory = memory.clone();
            Arc::new(MeddledBackend::new(memory.clone(), number, move || deed(&memory)))
        };
        let report = backup(&open(storage.clone()), folder.path());
        let story = || format!("before call {number}\n{}", storage.log().join("\n"));
        let report = report.unwrap_or_else(|error| panic!("{error:?}\n{}", story()));
        let healed = |problem: &Problem| matches!(problem, Problem::Healed { .. });
        assert!(
            report.skipped.iter().all(|skipped| healed(&skipped.problem)),
            "{:?}\n{}",
            report.skipped,
            story()
        );
        let visible = assert_complete(memory.clone());
        let id = report.id.unwrap();
        assert!(visible.contains(&id) || snapshot_may_be_forgotten, "{}", story());
    }
}

#[test]
fn whatever_is_removed_during_a_backup_it_makes_a_whole_snapshot() {
    sweep(wipe, true);
}

#[test]
fn an_index_that_is_merged_during_a_backup_does_no_harm() {
    sweep(merge, false);
}

/// Does a deed right before the first writing of a snapshot.
fn before_the_snapshot(
    memory: &Arc<MemoryBackend>,
    folder: &Path,
    deed: fn(&Arc<MemoryBackend>),
) -> Arc<MeddledBackend> {
    let clean = Arc::new(MeddledBackend::new(Arc::new(memory.copy()), 0, || ()));
    backup(&open(clean.clone()), folder).unwrap();
    let log = clean.log();
    let list = log.iter().rposition(|line| line.starts_with("write snap")).unwrap() - 1;
    assert!(log[list].starts_with("list Index"), "the look before: {}", log.join("\n"));
    let memory = memory.clone();
    Arc::new(MeddledBackend::new(memory.clone(), list + 1, move || deed(&memory)))
}

/// Packs that another program will remove one day are not relied on; what lies in them is stored anew, without a look
/// at the source.
fn mark_everything(memory: &Arc<MemoryBackend>) {
    let repository = open(memory.clone());
    let files = repository.list::<IndexFile>().unwrap();
    for id in files {
        let file = repository.load::<IndexFile>(id).unwrap();
        let marked = |pack| MarkedPack { pack, time: Some(context().now()), unknown: Vec::new() };
        let marks = file.packs.into_iter().map(marked).collect();
        repository.save(&context(), &IndexFile { packs_to_delete: marks, ..IndexFile::default() }).unwrap();
        memory.remove(id.into()).unwrap();
    }
}

#[test]
fn packs_that_were_marked_meanwhile_are_not_relied_on() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(start(folder.path()));
    let storage = before_the_snapshot(&memory, folder.path(), mark_everything);
    let report = backup(&open(storage.clone()), folder.path()).unwrap();
    assert!(report.skipped.is_empty(), "nothing of the source was lost: {:?}", report.skipped);
    // The first snapshot is whole only once the marks are taken back; ours must not need that.
    let id = report.id.unwrap();
    memory.files().into_keys().filter(|file| file.kind == FileKind::Snapshot && file.id != id.0).for_each(
        |file| {
            memory.remove(file).unwrap();
        },
    );
    assert_eq!(assert_complete(memory), [id]);
    let twice = storage.log().iter().filter(|line| line.starts_with("list Index")).count();
    assert!(twice >= 3, "{}", storage.log().join("\n"));
}

fn stream(memory: Arc<dyn Backend>, text: &'static [u8]) -> Result<SnapshotId, Box<ArchiveError>> {
    let source = StreamSource::new("/dump", text, Timestamp { seconds: 1_700_000_000, nanos: 0 }, (0, 0));
    let report = archive(&context(), &open(memory), &source, &["/dump".into()], &ArchiveOptions::default());
    report.map_err(Box::new).map(|report| report.id.unwrap())
}

/// A pipe is read once: what is marked is copied, what is gone cannot be had again, and then there is no snapshot.
#[test]
fn a_stream_whose_bytes_were_removed_meanwhile_makes_no_snapshot() {
    let snapshots = |memory: &MemoryBackend| memory.list(FileKind::Snapshot).unwrap().len();
    for (deed, works) in [(mark_everything as fn(&Arc<MemoryBackend>), true), (wipe, false)] {
        for number in 1.. {
            let memory = Arc::new(in_memory(2));
            stream(memory.clone(), b"what a database said").unwrap();
            let deed_on = memory.clone();
            let storage = Arc::new(MeddledBackend::new(memory.clone(), number, move || deed(&deed_on)));
            let result = stream(storage.clone(), b"what a database said");
            if storage.calls() < number {
                break;
            }
            let log = storage.log();
            let at = |start: &str| log.iter().rposition(|line| line.starts_with(start));
            match result {
                // Nobody marks what a visible snapshot needs.
                Ok(_) if works && at("──") > at("write snap") => {}
                Ok(id) if works => {
                    let others =
                        memory.list(FileKind::Snapshot).unwrap().into_iter().filter(|it| it.id != id.0);
                    others.for_each(|it| {
                        memory.remove(FileId { kind: FileKind::Snapshot, id: it.id }).unwrap();
                    });
                    assert_complete(memory);
                }
                Ok(_) => drop(assert_complete(memory)),
                Err(error) => {
                    assert!(
                        !works && matches!(*error, ArchiveError::Lost(_)),
                        "{error:?} at {number}\n{}",
                        storage.log().join("\n")
                    );
                    assert_eq!(snapshots(&memory), 0, "{}", storage.log().join("\n"));
                }
            }
        }
    }
}

/// Time that passes only in pauses.
#[derive(Default)]
struct Pauses(std::sync::Mutex<(Duration, Vec<Duration>)>);

impl Clock for Pauses {
    fn now(&self) -> Timestamp {
        Timestamp { seconds: 1_700_000_000, nanos: 0 }.saturating_add(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        if span == Duration::from_mins(5) {
            return cancel.wait(Duration::from_hours(1)); // who renews the lock, until it is released
        }
        let mut state = self.0.lock().unwrap();
        state.0 += span;
        state.1.push(span);
        cancel.check()
    }
}

/// Somebody who holds the repository alone although we are at work is waited for, and not for ever.
#[test]
fn whoever_works_alone_is_waited_for_after_the_snapshot_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(start(folder.path()));
    let storage = before_the_snapshot(&memory, folder.path(), |memory| {
        let repository = open(memory.clone());
        repository.remove_all_locks().unwrap();
        std::mem::forget(repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap());
    });
    let clock = Arc::new(Pauses::default());
    let context = Context { clock: clock.clone(), ..Context::new() };
    let result =
        archive(&context, &open(storage), &LocalSource::new(), &[".".into()], &options(folder.path()));
    assert!(matches!(result, Err(ArchiveError::Unsettled { .. })), "{result:?}");
    assert!(clock.elapsed() > Duration::from_mins(45), "{:?}", clock.elapsed());
    assert_eq!(assert_complete(memory).len(), 2, "the snapshot stays");
    let _: Id = Id::new([0; 32]);
}
