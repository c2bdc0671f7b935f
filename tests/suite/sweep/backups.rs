//! Scenarios that add, or only read: backups of every kind, copies, a restore.

use std::path::Path;
use std::sync::Arc;

use repo_core::backend::{Backend, MemoryBackend};
use repo_core::fs::source::{LocalSource, StreamSource};
use repo_core::ops::archive::{ArchiveOptions, Destination, Report, archive, archive_several};
use repo_core::ops::copy::{CopyOptions, CopyOutcome, copy};
use repo_core::ops::restore::{RestoreOptions, restore};
use repo_core::repository::{LockGuard, LockKind, LockOptions, Repository};
use repo_core::snapshots;
use repo_core::time::Timestamp;
use tempfile::TempDir;
use tests::meddle::MeddledBackend;
use tests::repo::{backup, in_memory, open, options};
use tests::tree::{assert_same, dir, empty_dir, file, noise, symlink};

use super::judge::{Content, Found, look};
use super::{Ground, Scenario, said};
use crate::prune::History;

/// A small tree, with a file of more than one chunk.
fn source() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    dir([
        ("large", file(noise(700_000, 5))),
        ("small", file("small")),
        ("sub", dir([("link", symlink("../small")), ("other", file(noise(2000, 6)))])),
    ])
    .build(folder.path());
    folder
}

fn found(memory: &Arc<MemoryBackend>) -> Found {
    look(&memory.files(), open(memory.clone()).key())
}

/// What a snapshot of the folder must hold, from a backup that nothing disturbed.
fn expected(folder: &Path) -> Content {
    let memory = Arc::new(in_memory(2));
    backup(&open(memory.clone()), folder).unwrap();
    found(&memory).contents().into_iter().next().unwrap().clone()
}

fn whole(report: &Report) -> Result<(), String> {
    if report.skipped.is_empty() { Ok(()) } else { Err(format!("{:?}", report.skipped)) }
}

fn back_up(ground: &Ground, folder: &Path) -> Result<(), String> {
    let repository = ground.open()?;
    let report = archive(&ground.context, &repository, &LocalSource::new(), &[".".into()], &options(folder));
    report.map_err(said).and_then(|report| whole(&report))
}

fn backup_of(start: &MemoryBackend, folder: TempDir) -> Scenario {
    let expected = expected(folder.path());
    let run = move |ground: &Ground| back_up(ground, folder.path());
    Scenario::new(start, run).done(move |found, _| found.contents().contains(&expected))
}

/// A first backup of a small tree.
pub(super) fn first(version: u32) -> Scenario {
    backup_of(&in_memory(version), source())
}

/// A backup with a parent, after a change.
pub(super) fn later() -> Scenario {
    let (folder, memory) = (source(), Arc::new(in_memory(2)));
    backup(&open(memory.clone()), folder.path()).unwrap();
    std::fs::write(folder.path().join("small"), "changed").unwrap();
    backup_of(&memory, folder)
}

/// A backup with a parent that holds all of it.
pub(super) fn unchanged() -> Scenario {
    let (folder, memory) = (source(), Arc::new(in_memory(2)));
    backup(&open(memory.clone()), folder.path()).unwrap();
    backup_of(&memory, folder)
}

/// A backup of an empty folder: trees, and no data.
pub(super) fn empty() -> Scenario {
    let folder = tempfile::tempdir().unwrap();
    dir([("nothing", empty_dir())]).build(folder.path());
    backup_of(&in_memory(2), folder)
}

/// A backup during which another one of the same files begins and ends.
pub(super) fn beside() -> Scenario {
    let folder = Arc::new(source());
    let expected = expected(folder.path());
    let run = move |ground: &Ground| {
        let (memory, beside) = (ground.memory.clone(), folder.clone());
        let other = move || drop(backup(&open(memory), beside.path()));
        // Somewhere after the index was loaded, before anything was uploaded.
        let storage: Arc<dyn Backend> = Arc::new(MeddledBackend::new(ground.storage.clone(), 8, other));
        let ground = Ground { context: ground.context.clone(), storage, memory: ground.memory.clone() };
        back_up(&ground, folder.path())
    };
    Scenario::new(&in_memory(2), run).done(move |found, _| found.contents().contains(&expected))
}

/// A backup of what can be read only once.
pub(super) fn stream() -> Scenario {
    let run = |ground: &Ground| {
        let repository = ground.open()?;
        let time = Timestamp { seconds: 1_700_000_000, nanos: 0 };
        let source = StreamSource::new("/dump", &b"what a database said"[..], time, (0, 0));
        let result =
            archive(&ground.context, &repository, &source, &["/dump".into()], &ArchiveOptions::default());
        result.map_err(said).and_then(|report| whole(&report))
    };
    Scenario::new(&in_memory(2), run).done(|found, _| {
        let dump: Vec<_> =
            found.contents().into_iter().filter(|content| content.contains_key(&b"/dump"[..])).collect();
        !dump.is_empty()
    })
}

/// One backup into a repository with faults and one without: the other one never suffers.
pub(super) fn several() -> Scenario {
    let folder = source();
    let expected = expected(folder.path());
    let wanted = expected.clone();
    let run = move |ground: &Ground| {
        let sound = Arc::new(in_memory(2));
        let (here, there) = (ground.open()?, open(sound.clone()));
        let options = options(folder.path());
        let destinations =
            [&here, &there].map(|repository| Destination::new(&ground.context, repository, &options));
        let results =
            archive_several(&ground.context, &destinations, &LocalSource::new(), &[".".into()], &options);
        let [here, there] = <[_; 2]>::try_from(results).unwrap();
        assert!(whole(&there.unwrap()).is_ok(), "nothing was wrong there");
        assert!(found(&sound).contents().contains(&wanted));
        here.map_err(said).and_then(|report| whole(&report))
    };
    Scenario::new(&in_memory(2), run).done(move |found, _| found.contents().contains(&expected))
}

// ── copies ─────────────────────────────────────────────────────────────────────────────────────────────────

fn three_snapshots() -> Arc<MemoryBackend> {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3, 4], false);
    history.back_up(&[3, 4, 5, 6, 7], false);
    history.back_up(&[1, 2, 8, 9], false);
    history.memory
}

fn copy_all(ground: &Ground, from: &Repository, to: &Repository) -> Result<(), String> {
    let context = &ground.context;
    let locked = |repository: &Repository| {
        repository.lock(context, LockKind::Shared, &LockOptions::default()).map_err(said)
    };
    let (_held, lock): (LockGuard, LockGuard) = (locked(from)?, locked(to)?);
    let mut all = snapshots::list(context, from).map_err(said)?;
    all.retain(|stored| stored.snapshot.hostname == "host"); // a backup that came later is no concern of ours
    let report = copy(context, from, to, &lock, &all, &CopyOptions::default(), |_, _| ()).map_err(said)?;
    let there =
        |outcome: &CopyOutcome| matches!(outcome, CopyOutcome::Copied { .. } | CopyOutcome::Present { .. });
    match report.snapshots.iter().find(|(_, outcome)| !there(outcome)) {
        Some(left_out) => Err(format!("{left_out:?}")),
        None => Ok(()),
    }
}

fn contents(memory: &Arc<MemoryBackend>) -> Vec<Content> {
    found(memory).contents().into_iter().cloned().collect()
}

/// All snapshots into another repository, in which the faults are.
pub(super) fn copy_to() -> Scenario {
    let from = three_snapshots();
    let expected = contents(&from);
    let run = move |ground: &Ground| copy_all(ground, &open(from.clone()), &ground.open()?);
    Scenario::new(&in_memory(2), run)
        .done(move |found, _| expected.iter().all(|content| found.contents().contains(content)))
}

/// All snapshots out of a repository with faults: what arrives is whole.
pub(super) fn copy_from() -> Scenario {
    let start = three_snapshots();
    let expected = contents(&start);
    let run = move |ground: &Ground| {
        let to = Arc::new(in_memory(2));
        let result = copy_all(ground, &ground.open()?, &open(to.clone()));
        let there = found(&to);
        assert!(there.broken.is_empty(), "what is copied is not whole: {:?}", there.broken);
        let all = there.contents().into_iter().all(|content| expected.contains(content));
        // A listing that leaves out a snapshot cannot be told from one without it.
        assert!(all && (result.is_err() || there.whole.len() >= expected.len() - 1), "something is missing");
        result
    };
    Scenario::new(&start, run)
}

// ── reading ────────────────────────────────────────────────────────────────────────────────────────────────

/// A restore: success means that every byte is right.
pub(super) fn restore_all() -> Scenario {
    let (folder, memory) = (source(), Arc::new(in_memory(2)));
    backup(&open(memory.clone()), folder.path()).unwrap();
    let original = tests::tree::Snapshot::of(folder.path());
    let run = move |ground: &Ground| {
        let repository = ground.open()?;
        let all = snapshots::list(&ground.context, &repository).map_err(said)?;
        let only = all.iter().find(|stored| stored.snapshot.hostname == "host").ok_or("there is none")?;
        let target = tempfile::tempdir().unwrap();
        let result =
            restore(&ground.context, &repository, &only.snapshot, target.path(), &RestoreOptions::default());
        let report = result.map_err(said)?;
        if !report.skipped.is_empty() {
            return Err(format!("{:?}", report.skipped));
        }
        assert_same(&tests::tree::Snapshot::of(target.path()), &original);
        Ok(())
    };
    Scenario::new(&memory, run)
}
