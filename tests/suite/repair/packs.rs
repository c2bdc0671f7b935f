//! Damaged packs: what is sound of them is saved, whatever is damaged and whenever the machine stops.

#![expect(clippy::result_large_err, reason = "errors of tests are looked at, not passed on")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::Arc;

use repo_core::backend::{ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::id::{BlobId, FileId, FileKind, PackId};
use repo_core::ops::repair::{PacksPlan, PacksReport, RepairPacksError, plan_repair_packs};
use repo_core::repository::{LockKind, LockOptions, Reader, Repository, WriterOptions};
use tests::fixtures::{Damaged, Fixture};
use tests::larder::larder;
use tests::repo::{context, load, open, save};
use tests::restic::restic;

use super::{history, index_files};
use crate::prune::{History, packs};

fn plan(repository: &Repository, packs: &[FileId]) -> Result<PacksPlan, RepairPacksError> {
    let packs: Vec<PackId> = packs.iter().map(|pack| PackId(pack.id)).collect();
    plan_repair_packs(&context(), repository, &packs)
}

fn execute(repository: &Repository, plan: PacksPlan) -> Result<PacksReport, RepairPacksError> {
    let lock = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap();
    plan.execute(&context(), &lock, WriterOptions::default(), &mut |_, _| Ok(()))
}

fn repair(repository: &Repository, packs: &[FileId]) -> Result<PacksReport, RepairPacksError> {
    execute(repository, plan(repository, packs)?)
}

/// Every listed blob that can be had from any pack.
fn readable(memory: &Arc<MemoryBackend>) -> BTreeSet<BlobId> {
    let repository = open(memory.clone());
    let index = repository.load_index(&context()).unwrap();
    let reader = Reader::new(&repository, index.clone());
    index.iter().map(|(blob, _)| blob).filter(|blob| reader.blob(blob).is_ok()).collect()
}

/// A kind of damage.
type Damage = (&'static str, fn(&mut Vec<u8>));

const DAMAGES: [Damage; 7] = [
    ("nothing", |_| {}),
    ("the first blob", |bytes| bytes[40] ^= 1),
    ("a blob in the middle", |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 8;
    }),
    ("the header", |bytes| {
        let at = bytes.len() - 10;
        bytes[at] ^= 0x80;
    }),
    ("the end", |bytes| bytes.truncate(bytes.len() - 5)),
    ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
    ("all of it", Vec::clear),
];

fn damaged(damage: Damage, at: usize) -> (History, FileId) {
    let history = history();
    let pack = packs(&history.memory)[at];
    history.memory.tamper(pack, damage.1);
    (history, pack)
}

#[test]
fn whatever_is_readable_is_saved_and_the_pack_goes() {
    for damage in DAMAGES {
        for at in 0..packs(&history().memory).len() {
            let (history, pack) = damaged(damage, at);
            let before = readable(&history.memory);
            let content = history.memory.files()[&pack].clone();
            let plan = plan(&history.repository, &[pack]).unwrap();
            let lost: BTreeSet<BlobId> = plan.lost().map(|lost| lost.blob).collect();
            let lock = history.repository.lock(&context(), LockKind::Exclusive, &LockOptions::default());
            let mut kept = BTreeMap::new();
            let mut keep = |pack: PackId, bytes: &[u8]| {
                kept.insert(FileId::from(pack), bytes.to_vec());
                Ok(())
            };
            plan.execute(&context(), &lock.unwrap(), WriterOptions::default(), &mut keep).unwrap();
            assert_eq!(kept, BTreeMap::from([(pack, content)]), "{}: it is kept as it was", damage.0);
            assert!(!packs(&history.memory).contains(&pack), "{}", damage.0);
            assert_eq!(readable(&history.memory), before, "{}", damage.0);
            let all: BTreeSet<BlobId> = crate::prune::listed(&history.repository).into_iter().collect();
            assert_eq!(all, before, "{}: what cannot be read is not listed", damage.0);
            assert!(lost.is_disjoint(&before), "{}", damage.0);
            assert_eq!(
                history.needed().difference(&before).collect::<Vec<_>>(),
                lost.iter().collect::<Vec<_>>()
            );
        }
    }
}

/// The header of a pack that no index file lists is enough, and so is what the index says where the header is lost.
#[test]
fn a_pack_that_is_listed_nowhere_is_saved_by_its_header() {
    let (history, pack) = damaged(DAMAGES[1], 0);
    super::lose_index(&history.memory);
    let others: Vec<FileId> = packs(&history.memory).into_iter().filter(|other| *other != pack).collect();
    repair(&history.repository, &[pack]).unwrap();
    assert!(packs(&history.memory).len() >= others.len());
    super::repair(&history.memory, false);
    let report =
        repo_core::check(&context(), &history.repository, &repo_core::CheckOptions::default()).unwrap();
    assert!(report.broken_packs().is_empty(), "{:?}", report.findings);
}

/// The same damage, repaired by restic and by us: the same blobs are left.
#[test]
fn what_is_saved_is_what_restic_saves() {
    let (fixture, manifest) = (Fixture::unpack("damaged"), Damaged::manifest());
    for (case, tag) in [("flip-data-blob", "s1"), ("flip-pack-header", "s2"), ("truncated-pack", "s3")] {
        let original = load(&fixture.case(case));
        let pack = &manifest.packs_of[tag].data;
        let blobs = [restic(), larder()].map(|program| {
            let (folder, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            save(&original, folder.path());
            program.on(folder.path()).within(here.path()).args(["repair", "packs", pack]).ok();
            let kept = fs::read(here.path().join(format!("pack-{pack}"))).unwrap();
            let file = FileId::from(pack.parse::<PackId>().unwrap());
            assert_eq!(kept, original.files()[&file], "{case}: {}", program.name());
            let said = restic().on(folder.path()).args(["list", "blobs"]).ok();
            said.stdout.lines().map(str::to_owned).collect::<BTreeSet<_>>()
        });
        assert_eq!(blobs[1], blobs[0], "{case}");
        assert!(blobs[0].len() > 5, "{case}");
    }
}

#[test]
fn the_program_says_what_restic_says() {
    let (fixture, manifest) = (Fixture::unpack("damaged"), Damaged::manifest());
    let pack = &manifest.packs_of["s1"].data;
    let original = load(&fixture.case("flip-data-blob"));
    let folder = tempfile::tempdir().unwrap();
    save(&original, folder.path());
    let here = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| larder().on(folder.path()).within(here.path()).args(words).run();

    assert_eq!(run(&["repair", "packs"]).code, 1);
    assert!(run(&["repair", "packs"]).stderr.contains("no ids specified"));
    assert_eq!(run(&["repair", "packs", &pack[..8]]).code, 1, "an id is typed in full");
    let nowhere = "0".repeat(63) + "1";
    assert_eq!(run(&["repair", "packs", &nowhere]).code, 1);
    let dry = run(&["repair", "packs", "--dry-run", pack]);
    assert!(dry.stdout.contains("would save 2 blobs, 1 are damaged"), "{dry}");
    assert_eq!(load(folder.path()).files(), original.files(), "a dry run changes nothing");
    let json = run(&["repair", "packs", "--dry-run", "--json", pack]);
    let messages = json.messages();
    assert_eq!(messages[0]["lost"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!((&messages[1]["blobs_lost"], &messages[1]["dry_run"]), (&1.into(), &true.into()), "{json}");
    assert!(tests::fixtures::files_in(here.path()).is_empty(), "nothing is kept in a dry run");

    fs::write(here.path().join(format!("pack-{pack}")), "something else").unwrap();
    let refused = run(&["repair", "packs", pack]);
    assert!(refused.code == 1 && refused.stderr.contains("exists already"), "{refused}");
    fs::remove_file(here.path().join(format!("pack-{pack}"))).unwrap();
    let ran = run(&["repair", "packs", pack]);
    assert!(ran.stderr.contains("Use `larder repair snapshots --forget` to remove"), "{ran}");
    assert!(ran.stdout.contains("1 / 1 pack files"), "{ran}");
    assert_eq!(ran.code, 0, "{ran}");
}

#[test]
fn a_pack_that_changes_under_the_repair_ends_it() {
    let (history, pack) = damaged(DAMAGES[2], 0);
    let plan = plan(&history.repository, &[pack]).unwrap();
    history.memory.tamper(pack, |bytes| bytes[40] ^= 1);
    let error = execute(&history.repository, plan).unwrap_err();
    assert!(matches!(error, RepairPacksError::Unsteady { .. }), "{error:?}");
    assert!(packs(&history.memory).contains(&pack));
    let listed = crate::prune::listed(&history.repository);
    assert!(listed.len() > 10, "the index is as it was");
}

#[test]
fn who_cannot_keep_a_copy_or_read_a_pack_changes_nothing() {
    let (history, pack) = damaged(DAMAGES[2], 0);
    let before = history.memory.files();
    let plan = plan(&history.repository, &[pack]).unwrap();
    let lock = history.repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap();
    let mut keep = |_, _: &[u8]| Err(io::Error::from(io::ErrorKind::StorageFull));
    let error = plan.execute(&context(), &lock, WriterOptions::default(), &mut keep).unwrap_err();
    assert!(matches!(error, RepairPacksError::Keep { .. }), "{error:?}");
    drop(lock);
    assert_eq!(history.memory.files(), before);

    let fails = Rule::every(Fault::FailBefore(ErrorKind::Transient)).on(Operation::Read).of(FileKind::Pack);
    let faulty = Arc::new(FaultBackend::new(history.memory.clone(), [fails]));
    let error = repair(&open(faulty), &[pack]).unwrap_err();
    assert!(matches!(error, RepairPacksError::Read { .. }), "{error:?}");
    history.repository.remove_all_locks().unwrap();
    assert_eq!(history.memory.files(), before);
}

fn stops_everywhere(damages: &[(usize, Damage)]) {
    let history = history();
    let all = packs(&history.memory);
    for (at, damage) in damages {
        history.memory.tamper(all[*at], damage.1);
    }
    let wanted: Vec<FileId> = damages.iter().map(|(at, _)| all[*at]).collect();
    let known = readable(&history.memory);
    let clean = Arc::new(FaultBackend::new(Arc::new(history.memory.copy()), []));
    let repository = open(clean.clone());
    let opening = clean.calls();
    repair(&repository, &wanted).unwrap();
    let last = clean.calls();
    for number in opening + 1..=last {
        for fault in [
            Fault::FreezeBefore,
            Fault::FreezeAfter,
            Fault::TearAndFreeze(20),
            Fault::FailAfter(ErrorKind::Transient),
        ] {
            let memory = Arc::new(history.memory.copy());
            let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [Rule::nth(number, fault)]));
            let story = || format!("{fault:?} at call {number}\n{}", faulty.log().join("\n"));
            let stopped = open(faulty.clone());
            if let Ok(lock) = stopped.lock(&context(), LockKind::Exclusive, &LockOptions::default())
                && let Ok(plan) = plan(&stopped, &wanted)
            {
                let _ = plan.execute(&context(), &lock, WriterOptions::default(), &mut |_, _| Ok(()));
            }
            open(memory.clone()).remove_all_locks().unwrap();
            assert!(readable(&memory).is_superset(&known), "something cannot be read any more\n{}", story());
            // The same again, for what is still there.
            let left: Vec<FileId> = packs(&memory).into_iter().filter(|pack| wanted.contains(pack)).collect();
            repair(&open(memory.clone()), &left).unwrap();
            assert!(readable(&memory).is_superset(&known), "something cannot be read any more\n{}", story());
            assert!(!packs(&memory).iter().any(|pack| wanted.contains(pack)), "{}", story());
        }
    }
    assert!(index_files(&history.memory).len() > 1);
}

#[test]
fn repair_of_packs_may_stop_anywhere() {
    stops_everywhere(&[(0, DAMAGES[1])]);
    stops_everywhere(&[(1, DAMAGES[4]), (3, DAMAGES[2])]);
}

/// Where a header is lost, only the index knows what is in the pack; a listing that left out that file is found out before
/// the pack goes.
#[test]
fn an_index_file_that_a_listing_left_out_ends_the_repair() {
    let (history, pack) = damaged(DAMAGES[3], 0);
    let before = readable(&history.memory);
    let files = history.memory.files().into_keys().filter(|file| file.kind == FileKind::Index).count();
    let mut refused = 0;
    for which in 0..files as u64 {
        let memory = Arc::new(history.memory.copy());
        let rule = Rule::nth(1, Fault::LeaveOut(which)).on(Operation::List).of(FileKind::Index);
        let faulty = Arc::new(FaultBackend::new(memory.clone(), [rule]));
        let result = repair(&open(faulty), &[pack]);
        refused += usize::from(matches!(result, Err(RepairPacksError::NewIndex { .. })));
        assert!(readable(&memory).is_superset(&before), "{which}: {result:?}");
    }
    assert_eq!(refused, files);
}
