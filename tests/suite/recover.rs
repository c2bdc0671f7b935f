//! Snapshots of what nobody refers to any more: restic's tree where restic can make one, and nothing lost on the way.

#![expect(clippy::result_large_err, reason = "errors of tests are looked at, not passed on")]

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_core::backend::{Backend, ErrorKind, Fault, FaultBackend, MemoryBackend, Rule};
use repo_core::format::Snapshot;
use repo_core::id::{FileId, FileKind, SnapshotId, TreeId};
use repo_core::ops::check::{CheckOptions, ReadData, check};
use repo_core::ops::recover::{RECOVERED, RecoverError, plan_recover};
use repo_core::repository::{LockKind, LockOptions, LockOwner, Reader, Repository, WriterOptions};
use repo_core::snapshots::{self, Stored};
use tests::fixtures::Fixture;
use tests::larder::larder;
use tests::repo::{assert_complete, context, load, open, save};
use tests::restic::restic;

use crate::prune::History;

fn recover(repository: &Repository) -> Result<Option<SnapshotId>, RecoverError> {
    let lock = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default())?;
    let owner = LockOwner::this_process();
    plan_recover(&context(), repository)?.execute(&context(), &lock, &owner, WriterOptions::default())
}

/// The roots in a recovered snapshot, by its entries.
fn roots(repository: &Repository, id: SnapshotId) -> BTreeSet<TreeId> {
    let snapshot = repository.load::<Snapshot>(id).unwrap();
    assert_eq!(
        (&snapshot.tags[..], &snapshot.paths[..]),
        (&[RECOVERED.to_owned()][..], &["/recover".to_owned()][..])
    );
    let reader = Reader::new(repository, repository.load_index(&context()).unwrap());
    let tree = reader.tree(snapshot.tree).unwrap();
    for node in &tree.nodes {
        let (name, subtree) = (String::from_utf8(node.name.clone()).unwrap(), node.subtree.unwrap());
        assert!(subtree.to_string().starts_with(&name) && name.len() >= 8, "{name}");
        assert_eq!(node.mode.0, 0o755);
    }
    tree.nodes.iter().filter_map(|node| node.subtree).collect()
}

/// Four snapshots, and the trees of those that `forget` names.
fn history(forget: &[usize]) -> (History, BTreeSet<TreeId>) {
    let mut history = History::new(2);
    for number in 0..4_u8 {
        history.back_up(&[number, number + 1, 10 + number], false);
    }
    let all: Vec<Stored> = snapshots::list(&context(), &history.repository).unwrap();
    let lost = forget.iter().map(|at| all[*at].snapshot.tree).collect();
    for at in forget {
        snapshots::remove(&history.repository, all[*at].id).unwrap();
    }
    (history, lost)
}

#[test]
fn every_root_without_a_snapshot_is_found_and_nothing_else() {
    for forget in [&[][..], &[2], &[0, 3], &[0, 1, 2, 3]] {
        let (history, lost) = history(forget);
        let saved = recover(&history.repository).unwrap();
        assert_eq!(saved.is_some(), !lost.is_empty());
        let Some(id) = saved else { continue };
        assert_eq!(roots(&history.repository, id), lost);
        assert_complete(history.memory.clone());
        assert_eq!(recover(&history.repository).unwrap(), None, "now all have one");
    }
}

#[test]
fn the_tree_of_one_root_is_restic_s() {
    let fixture = Fixture::unpack("v2-r019");
    let original = load(&fixture.repo());
    let oldest = snapshots::list(&context(), &open(Arc::new(original.copy()))).unwrap().remove(0);
    original.remove(oldest.id.into()).unwrap();
    let recovered = [restic(), larder()].map(|program| {
        let folder = tempfile::tempdir().unwrap();
        save(&original, folder.path());
        let ran = program.on(folder.path()).arg("recover").ok();
        for line in [
            "ensuring index is complete",
            "load index files",
            "load snapshots",
            "done",
            "found 1 unreferenced roots",
        ] {
            assert!(ran.stdout.lines().any(|said| said == line), "{line}\n{ran}");
        }
        let repository = open(Arc::new(load(folder.path())));
        let all = snapshots::list(&context(), &repository).unwrap();
        let new = all.iter().find(|stored| stored.snapshot.tags == [RECOVERED]).unwrap().clone();
        assert!(ran.stdout.contains(&format!("saved new snapshot {}", new.id.short())), "{ran}");
        restic().on(folder.path()).arg("check").ok();
        let found = roots(&repository, new.id);
        let Snapshot { program_version, paths, tags, excludes, summary, original, .. } = new.snapshot;
        (found, program_version, paths, tags, excludes, summary, original)
    });
    let [theirs, ours] = recovered;
    assert_eq!(ours, theirs);
    assert_eq!(ours.0, BTreeSet::from([oldest.snapshot.tree]));
}

/// restic 0.19.1 fails on both.
#[test]
fn several_roots_and_unreadable_snapshots_are_no_obstacle() {
    let fixture = Fixture::unpack("damaged");
    let ran = larder().on(&fixture.case("flip-snapshot")).args(["recover", "--json"]).ok();
    let summary = ran.summary();
    assert_eq!(summary["roots"].as_array().unwrap().len(), 1, "the unreadable snapshot's: {ran}");
    let repository = fixture.case("base");
    let all = larder().on(&repository).args(["snapshots", "--json"]).ok().json();
    for stored in all.as_array().unwrap() {
        larder().on(&repository).args(["forget", stored["id"].as_str().unwrap()]).ok();
    }
    let dry = larder().on(&repository).args(["recover", "--dry-run"]).ok();
    assert!(dry.stdout.contains("found 3 unreferenced roots") && dry.stdout.contains("would save"), "{dry}");
    larder().on(&repository).arg("recover").ok();
    restic().on(&repository).arg("check").ok();
    let listed = restic().on(&repository).args(["ls", "latest"]).ok();
    assert_eq!(listed.stdout.lines().filter(|line| line.ends_with("/fixture")).count(), 3, "{listed}");
}

#[test]
fn what_cannot_be_read_is_told_and_left_out() {
    let (history, _) = history(&[0, 1]);
    let lost: Vec<FileId> = crate::prune::packs(&history.memory);
    let index = history.repository.load_index(&context()).unwrap();
    let trees = |pack: &FileId| index.packs().iter().any(|one| one.id.0 == pack.id && one.tree_blobs > 0);
    let pack = lost.into_iter().find(trees).unwrap();
    history.memory.tamper(pack, |bytes| bytes[40] ^= 1);
    let plan = plan_recover(&context(), &history.repository).unwrap();
    assert_eq!(plan.unreadable.len(), 1, "{plan:?}");
    assert!(!plan.roots.contains(&plan.unreadable[0].0));
}

#[test]
fn a_recovery_may_stop_anywhere() {
    let (history, lost) = history(&[1, 2]);
    let before: BTreeSet<FileId> = history.memory.files().into_keys().collect();
    let clean = Arc::new(FaultBackend::new(Arc::new(history.memory.copy()), []));
    let repository = open(clean.clone());
    let opening = clean.calls();
    recover(&repository).unwrap();
    for number in opening + 1..=clean.calls() {
        for fault in [Fault::FreezeBefore, Fault::FreezeAfter, Fault::FailAfter(ErrorKind::Transient)] {
            let memory: Arc<MemoryBackend> = Arc::new(history.memory.copy());
            let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [Rule::nth(number, fault)]));
            let _ = recover(&open(faulty.clone()));
            let story = || format!("{fault:?} at call {number}\n{}", faulty.log().join("\n"));
            let repository = open(memory.clone());
            repository.remove_all_locks().unwrap();
            let now: BTreeSet<FileId> = memory.files().into_keys().collect();
            assert!(now.is_superset(&before), "nothing goes\n{}", story());
            recover(&repository).unwrap();
            let all = assert_complete(memory.clone());
            let found: BTreeSet<TreeId> = all
                .into_iter()
                .filter(|id| repository.load::<Snapshot>(*id).unwrap().tags == [RECOVERED])
                .flat_map(|id| roots(&repository, id))
                .collect();
            assert_eq!(found, lost, "{}", story());
        }
    }
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    assert!(check(&context(), &history.repository, &options).unwrap().is_sound());
    assert!(before.iter().any(|file| file.kind == FileKind::Snapshot));
}
