//! Repairs: what is lost comes back if it is anywhere, the rest is saved, and nothing becomes worse, whenever the machine
//! stops. Here the index; below packs and snapshots.

mod anything; // random damages of every fixture, mended as check says
mod fetch; // what is lost comes back from another repository
mod packs; // what is sound of damaged packs is saved
mod snapshots; // snapshots without what is lost, as restic makes them

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_core::backend::{Backend, ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::id::{BlobId, BlobKind, FileId, FileKind, Id, IndexId, PackId};
use repo_core::ops::check::{CheckOptions, ReadData, check};
use repo_core::ops::prune::{MaxUnused, PruneError, PruneOptions, prune};
use repo_core::ops::repair::{RepairIndexOptions, RepairIndexReport, repair_index};
use tests::repo::{assert_complete, context, open, save};
use tests::restic::restic;

use crate::prune::{History, assert_sound, listed, packs};

/// Three snapshots that share something, the packs of each in an index file of their own.
pub(crate) fn history() -> History {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3, 4], false);
    history.back_up(&[3, 4, 5, 6, 7], false);
    history.back_up(&[1, 2, 8, 9], true);
    history
}

pub(crate) fn index_files(memory: &MemoryBackend) -> Vec<FileId> {
    memory.files().into_keys().filter(|file| file.kind == FileKind::Index).collect()
}

fn lose_index(memory: &MemoryBackend) {
    for file in index_files(memory) {
        memory.remove(file).unwrap();
    }
}

fn repair(memory: &Arc<MemoryBackend>, read_all_packs: bool) -> RepairIndexReport {
    let options = RepairIndexOptions { read_all_packs, ..RepairIndexOptions::default() };
    repair_index(&context(), &open(memory.clone()), &options).unwrap()
}

/// Bytes that no key has sealed, under their right name.
pub(crate) fn junk() -> (FileId, Vec<u8>) {
    let bytes = b"no index at all, but some bytes".to_vec();
    (IndexId(repo_core::hash::sha256(&bytes)).into(), bytes)
}

#[test]
fn index_comes_back_from_the_packs_whatever_of_it_is_lost() {
    let check = |name: &str, damage: &dyn Fn(&History)| {
        for read_all in [false, true] {
            let history = history();
            let before = listed(&history.repository);
            damage(&history);
            repair(&history.memory, read_all);
            assert_sound(&history.memory, &history.needed(), &|| name.to_owned());
            assert_eq!(listed(&open(history.memory.clone())), before, "{name}");
            assert_eq!(repair(&history.memory, false).files_removed, 0, "{name}: now there is nothing to do");
        }
    };
    check("nothing", &|_| {});
    check("one file is lost", &|history| history.memory.remove(index_files(&history.memory)[0]).unwrap());
    check("all files are lost", &|history| {
        lose_index(&history.memory);
    });
    check("a file is junk", &|history| {
        history.memory.remove(index_files(&history.memory)[1]).unwrap();
        let (file, bytes) = junk();
        history.memory.insert(file, bytes);
    });
    check("a file is empty", &|history| {
        let file = index_files(&history.memory)[0];
        history.memory.tamper(file, Vec::clear);
    });
    check("a pack that is listed never was", &|history| history.stale_entry(3));
    check("everything is listed twice", &|history| history.list_again());
}

#[test]
fn an_index_that_is_as_it_should_be_is_left_alone() {
    let history = history();
    let before = history.memory.files();
    assert!(repair(&history.memory, false).is_unchanged());
    assert_eq!(history.memory.files(), before);
}

/// The index says where blobs lie that may still be readable; the lost header does not.
#[test]
fn a_pack_without_a_readable_header_stays_listed() {
    let history = history();
    let before = listed(&history.repository);
    let pack = packs(&history.memory)[0];
    history.memory.tamper(pack, |bytes| bytes.truncate(bytes.len() - 10));
    for read_all in [false, true] {
        let report = repair(&history.memory, read_all);
        let unreadable: Vec<PackId> = report.unreadable.iter().map(|(pack, _)| *pack).collect();
        assert_eq!(unreadable, [PackId(pack.id)]);
        assert_eq!(listed(&open(history.memory.clone())), before);
    }
}

#[test]
fn a_storage_that_fails_ends_the_repair_with_the_old_index() {
    let history = history();
    history.memory.remove(index_files(&history.memory)[0]).unwrap();
    let before = index_files(&history.memory);
    let fails = Rule::every(Fault::FailBefore(ErrorKind::Transient)).on(Operation::Read).of(FileKind::Pack);
    let faulty = Arc::new(FaultBackend::new(history.memory.clone(), [fails]));
    repair_index(&context(), &open(faulty), &RepairIndexOptions::default()).unwrap_err();
    assert_eq!(index_files(&history.memory), before);
}

fn stops_everywhere(damage: impl Fn(&History), read_all_packs: bool) {
    let history = history();
    damage(&history);
    let needed: BTreeSet<BlobId> = history.needed();
    let known: BTreeSet<BlobId> = readable(&history.memory);
    let options = RepairIndexOptions { read_all_packs, ..RepairIndexOptions::default() };
    let clean = Arc::new(FaultBackend::new(Arc::new(history.memory.copy()), []));
    let repository = open(clean.clone());
    let opening = clean.calls();
    repair_index(&context(), &repository, &options).unwrap();
    for number in opening + 1..=clean.calls() {
        for fault in [
            Fault::FreezeBefore,
            Fault::FreezeAfter,
            Fault::TearAndFreeze(20),
            Fault::FailAfter(ErrorKind::Transient),
        ] {
            let memory = Arc::new(history.memory.copy());
            let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [Rule::nth(number, fault)]));
            let _ = repair_index(&context(), &open(faulty.clone()), &options);
            let story = || format!("{fault:?} at call {number}\n{}", faulty.log().join("\n"));
            open(memory.clone()).remove_all_locks().unwrap();
            assert!(readable(&memory).is_superset(&known), "something is not known any more\n{}", story());
            repair(&memory, read_all_packs);
            assert_sound(&memory, &needed, &story);
        }
    }
}

/// What the readable index files list in packs that exist.
fn readable(memory: &Arc<MemoryBackend>) -> BTreeSet<BlobId> {
    let packs = packs(memory);
    let index = open(memory.clone()).load_index(&context()).unwrap();
    index.copies().filter(|copy| packs.contains(&copy.place.pack.into())).map(|copy| copy.blob).collect()
}

#[test]
fn repair_of_the_index_may_stop_anywhere() {
    stops_everywhere(|history| history.memory.remove(index_files(&history.memory)[0]).unwrap(), false);
    stops_everywhere(
        |history| {
            let (file, bytes) = junk();
            history.memory.insert(file, bytes);
            history.stale_entry(9);
        },
        true,
    );
}

/// An index file that is torn or junk lists nobody knows what: its packs must not seem to be of no use.
#[test]
fn prune_refuses_before_the_index_is_repaired_and_works_after() {
    let mut history = history();
    history.forget(0);
    history.memory.tamper(index_files(&history.memory)[0], |bytes| bytes.truncate(40));
    let before = packs(&history.memory);
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    let error = prune(&context(), &history.repository, &options).unwrap_err();
    assert!(matches!(error, PruneError::IndexFile { .. }), "{error:?}");
    assert_eq!(packs(&history.memory), before);
    repair(&history.memory, false);
    prune(&context(), &history.repository, &options).unwrap();
    assert_sound(&history.memory, &history.needed(), &String::new);
}

/// Whatever is missing, prune ends before it changes anything.
#[test]
fn prune_refuses_when_something_in_use_is_missing() {
    let check = |name: &str, damage: &dyn Fn(&mut History)| {
        let mut history = history();
        history.forget(0);
        damage(&mut history);
        let before = history.memory.files();
        let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
        let error = prune(&context(), &history.repository, &options).expect_err(name);
        let now = history.memory.files();
        assert_eq!(now, before, "{name}: {error}");
    };
    let newest = |history: &History, kind: BlobKind| {
        let index = history.repository.load_index(&context()).unwrap();
        let only_here = |blob: &BlobId| blob.kind == kind && index.places(blob).count() == 1;
        let needed = history.needed();
        let blob = needed.iter().find(|blob| only_here(blob)).unwrap();
        FileId::from(index.place_of(blob).unwrap().pack)
    };
    for kind in [BlobKind::Data, BlobKind::Tree] {
        check("a pack is lost", &|history| history.memory.remove(newest(history, kind)).unwrap());
        check("a pack is cut", &|history| {
            history.memory.tamper(newest(history, kind), |bytes| bytes.truncate(bytes.len() - 1));
        });
    }
    check("all index files are lost", &|history| {
        lose_index(&history.memory);
    });
    check("a snapshot is unreadable", &|history| {
        history.memory.insert(repo_core::id::SnapshotId(Id::new([5; 32])).into(), b"junk".to_vec());
    });
}

/// A copy that is damaged must not be the one that stays. Nothing sound is removed in its favour.
#[test]
fn a_sound_copy_never_goes_for_a_damaged_one() {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3, 4], false);
    let sound = packs(&history.memory);
    history.back_up(&[1, 2, 3, 4], true);
    for pack in packs(&history.memory).into_iter().filter(|pack| !sound.contains(pack)) {
        history.memory.tamper(pack, |bytes| bytes[40] ^= 1);
    }
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    let result = prune(&context(), &history.repository, &options);
    assert_complete(history.memory.clone());
    if let Err(error) = result {
        assert!(matches!(error, PruneError::Copy { .. }), "{error:?}");
    }
}

#[test]
fn restic_is_content_with_a_repaired_index() {
    let history = history();
    lose_index(&history.memory);
    repair(&history.memory, false);
    let folder = tempfile::tempdir().unwrap();
    save(&history.memory, folder.path());
    let said = restic().on(folder.path()).args(["check", "--read-data"]).ok();
    assert!(said.stdout.contains("no errors were found"), "{said}");
}

#[test]
fn check_asks_for_a_repair_that_then_helps() {
    let history = history();
    history.memory.remove(index_files(&history.memory)[0]).unwrap();
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let report = check(&context(), &history.repository, &options).unwrap();
    assert!(report.remedies().contains(&repo_core::ops::check::Remedy::RepairIndex), "{:?}", report.findings);
    repair(&history.memory, false);
    assert!(check(&context(), &history.repository, &options).unwrap().is_sound());
}

/// What is lost and met again is stored anew: packs of either kind go, the index is repaired, and the next backup of the same
/// files makes every snapshot whole again.
#[test]
fn the_next_backup_brings_back_what_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    tests::tree::dir([
        ("large", tests::tree::file(tests::tree::noise(3 << 20, 5))),
        ("small", tests::tree::file("small")),
        ("sub", tests::tree::dir([("other", tests::tree::file(tests::tree::noise(2000, 6)))])),
    ])
    .build(folder.path());
    let start = Arc::new(tests::repo::in_memory(2));
    tests::repo::backup(&open(start.clone()), folder.path()).unwrap();
    let sound = |memory: &Arc<MemoryBackend>| {
        let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
        check(&context(), &open(memory.clone()), &options).unwrap().is_sound()
    };
    for pack in packs(&start) {
        let memory = Arc::new(start.copy());
        memory.remove(pack).unwrap();
        repair(&memory, false);
        assert!(!sound(&memory), "something is lost with {pack}");
        tests::repo::backup(&open(memory.clone()), folder.path()).unwrap();
        assert_eq!(memory.files().keys().filter(|file| file.kind == FileKind::Snapshot).count(), 2);
        assert!(sound(&memory), "{pack} is still missed");
        assert_complete(memory);
    }
}

/// What the index forgets, snapshots lose: a pack is missing when the storage says so by name.
#[test]
fn a_pack_that_a_listing_left_out_stays_in_the_index() {
    let history = history();
    history.memory.remove(index_files(&history.memory)[0]).unwrap();
    for which in 0..packs(&history.memory).len() as u64 {
        let memory = Arc::new(history.memory.copy());
        let rule = Rule::nth(1, Fault::LeaveOut(which)).on(Operation::List).of(FileKind::Pack);
        let faulty = Arc::new(FaultBackend::new(memory.clone(), [rule]));
        let before = readable(&memory);
        repair_index(&context(), &open(faulty), &RepairIndexOptions::default()).unwrap();
        assert!(readable(&memory).is_superset(&before), "pack {which} is forgotten");
    }
}
