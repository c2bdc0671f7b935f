//! The machine stops at operation N, for every N: what is visible is complete, and the next run goes through.
//!
//! Counts the storage's calls in a clean run, then repeats the run and stops it before, after, or in the middle of
//! each of them; drops everything but the stored files, looks at them, and goes on.

use std::path::Path;
use std::sync::Arc;

use repo_core::backend::{Backend, Fault, FaultBackend, MemoryBackend, Rule};
use repo_core::hash::sha256;
use repo_core::id::{FileId, FileKind};
use tests::repo::{assert_complete, backup, in_memory, open, save};
use tests::restic::restic;
use tests::tree::{dir, file, noise, symlink};

/// A small tree with a file of several chunks.
fn source(folder: &Path) {
    dir([
        ("large", file(noise(3 << 20, 5))),
        ("small", file("small")),
        ("sub", dir([("link", symlink("../small")), ("other", file(noise(2000, 6)))])),
    ])
    .build(folder);
}

/// What one backup from a given state may meet, and what must hold afterwards.
fn check_every_stop(start: &MemoryBackend, folder: &Path) {
    let clean = FaultBackend::new(Arc::new(start.copy()), []);
    let clean = Arc::new(clean);
    let repository = open(clean.clone());
    let opening = clean.calls();
    backup(&repository, folder).unwrap();
    let last = clean.calls();
    assert!(last > opening + 5, "a backup does something:\n{}", clean.log().join("\n"));
    let snapshots_before = snapshots(start);

    for number in opening + 1..=last {
        for fault in
            [Fault::FreezeBefore, Fault::FreezeAfter, Fault::TearAndFreeze(0), Fault::TearAndFreeze(20)]
        {
            let memory = Arc::new(start.copy());
            let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [Rule::nth(number, fault)]));
            let result = backup(&open(faulty.clone()), folder);
            let story = || format!("{fault:?} at call {number}\n{}", faulty.log().join("\n"));
            assert_eq!(faulty.is_frozen(), result.is_err() || number == last, "{}", story());
            check_what_is_left(&memory, folder, snapshots_before, &story);
        }
    }
}

/// What is visible is complete; the same command again goes through and makes a complete snapshot.
fn check_what_is_left(memory: &Arc<MemoryBackend>, folder: &Path, before: usize, story: &dyn Fn() -> String) {
    let whole = without_torn(memory, FileKind::Snapshot);
    let visible = assert_complete(whole).len();
    assert!(visible == before || visible == before + 1, "{}", story());
    if !torn(memory, FileKind::Lock).is_empty() {
        // Nobody knows what a torn lock allows, so a writer respects it until the user removes it.
        open(memory.clone()).remove_all_locks().unwrap();
    }
    let again = backup(&open(memory.clone()), folder);
    let report = again.unwrap_or_else(|error| panic!("the next backup fails: {error}\n{}", story()));
    assert!(report.skipped.is_empty(), "{}", story());
    // A torn snapshot stays until somebody removes it; all others are whole.
    let complete = assert_complete(without_torn(memory, FileKind::Snapshot));
    assert!(complete.contains(&report.id.expect("a snapshot was saved")), "{}", story());
}

fn snapshots(memory: &MemoryBackend) -> usize {
    memory.files().keys().filter(|file| file.kind == FileKind::Snapshot).count()
}

/// Files whose content does not hash to their name.
fn torn(memory: &MemoryBackend, kind: FileKind) -> Vec<FileId> {
    let files = memory.files().into_iter();
    let torn = files.filter(|(file, content)| file.kind == kind && sha256(content) != file.id);
    torn.map(|(file, _)| file).collect()
}

fn without_torn(memory: &MemoryBackend, kind: FileKind) -> Arc<MemoryBackend> {
    let copy = memory.copy();
    for file in torn(memory, kind) {
        copy.remove(file).unwrap();
    }
    Arc::new(copy)
}

#[test]
fn first_backup_may_stop_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path());
    check_every_stop(&in_memory(2), folder.path());
}

#[test]
fn first_backup_into_version_1_may_stop_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path());
    check_every_stop(&in_memory(1), folder.path());
}

#[test]
fn later_backup_may_stop_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path());
    let memory = Arc::new(in_memory(2));
    backup(&open(memory.clone()), folder.path()).unwrap();
    std::fs::write(folder.path().join("small"), "changed").unwrap();
    check_every_stop(&memory, folder.path());
}

#[test]
fn unchanged_backup_may_stop_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path());
    let memory = Arc::new(in_memory(2));
    backup(&open(memory.clone()), folder.path()).unwrap();
    check_every_stop(&memory, folder.path());
}

/// The real restic finds nothing wrong with what a stopped backup leaves; locks are taken away first, as a user would.
#[test]
fn restic_accepts_what_a_stopped_backup_leaves() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path());
    let start = in_memory(2);
    let clean = Arc::new(FaultBackend::new(Arc::new(start.copy()), []));
    let repository = open(clean.clone());
    let opening = clean.calls();
    backup(&repository, folder.path()).unwrap();
    for number in opening + 1..=clean.calls() {
        let memory = Arc::new(start.copy());
        let faulty = Arc::new(FaultBackend::new(memory.clone(), [Rule::nth(number, Fault::FreezeAfter)]));
        let _ = backup(&open(faulty), folder.path());
        let left = tempfile::tempdir().unwrap();
        save(&memory, left.path());
        let restic = restic();
        restic.on(left.path()).args(["unlock", "--remove-all"]).ok();
        restic.on(left.path()).args(["check", "--read-data"]).ok();
    }
}
