//! What operations cost in requests, counted between the engine and a memory backend.

use std::sync::Arc;

use repo_core::backend::{Counters, Operation, RecordBackend};
use repo_core::id::FileKind;
use tests::repo::{backup, in_memory, open};
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
fn second_backup(change: impl FnOnce(&std::path::Path)) -> Counters {
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
