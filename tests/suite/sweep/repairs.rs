//! Scenarios that mend, or look whether there is anything to mend.

use std::sync::Arc;

use repo_core::backend::{Backend, MemoryBackend};
use repo_core::id::{BlobKind, PackId};
use repo_core::ops::check::{CheckOptions, ReadData, check};
use repo_core::ops::recover::{RECOVERED, plan_recover};
use repo_core::ops::repair::{
    OldSnapshots, RepairIndexOptions, plan_fetch, plan_repair_packs, plan_repair_snapshots, repair_index,
};
use repo_core::repository::{LockGuard, LockKind, LockOptions, LockOwner, Repository, WriterOptions};
use repo_core::snapshots;
use tests::repo::{backup, context, in_memory, open};
use tests::tree::{dir, file, noise};

use super::{Ground, Scenario, said};
use crate::prune::packs as packs_of;
use crate::repair::{history, index_files, junk};

fn locked(ground: &Ground, repository: &Repository, kind: LockKind) -> Result<LockGuard, String> {
    repository.lock(&ground.context, kind, &LockOptions::default()).map_err(said)
}

fn repair_of_index(start: &MemoryBackend, read_all_packs: bool) -> Scenario {
    let run = move |ground: &Ground| {
        let options = RepairIndexOptions { read_all_packs, ..RepairIndexOptions::default() };
        let report = repair_index(&ground.context, &ground.open()?, &options).map_err(said)?;
        if report.unreadable.is_empty() { Ok(()) } else { Err(format!("{:?}", report.unreadable)) }
    };
    Scenario::new(start, run)
        .done(|found, _| found.broken.is_empty() && found.dangling.is_empty() && found.foreign.is_empty())
}

/// One of the index files is lost.
pub(super) fn lost_index() -> Scenario {
    let history = history();
    history.memory.remove(index_files(&history.memory)[0]).unwrap();
    repair_of_index(&history.memory, false)
}

/// A file in `index/` is junk, another one lists a pack that never was; every pack is read.
pub(super) fn bad_index() -> Scenario {
    let history = history();
    let (file, bytes) = junk();
    history.memory.insert(file, bytes);
    history.stale_entry(9);
    repair_of_index(&history.memory, true)
}

/// A pack without a readable header, of which every blob can be saved.
pub(super) fn packs() -> Scenario {
    let history = history();
    let bad = packs_of(&history.memory)[0];
    history.memory.tamper(bad, |bytes| {
        let at = bytes.len() - 10;
        bytes[at] ^= 0x80;
    });
    let run = move |ground: &Ground| {
        let repository = ground.open()?;
        let lock = locked(ground, &repository, LockKind::Exclusive)?;
        let there = ground.memory.files().contains_key(&bad);
        let wanted: Vec<PackId> = there.then_some(PackId(bad.id)).into_iter().collect();
        let plan = plan_repair_packs(&ground.context, &repository, &wanted).map_err(said)?;
        if let Some(lost) = plan.lost().next() {
            return Err(format!("{lost:?} seems to be lost"));
        }
        let report = plan.execute(&ground.context, &lock, WriterOptions::default(), &mut |_, _| Ok(()));
        let left = report.map_err(said)?.not_removed.into_iter().next();
        left.map_or(Ok(()), |(pack, error)| Err(format!("{pack}: {}", said(error))))
    };
    Scenario::new(&history.memory, run)
        .done(move |found, memory| found.broken.is_empty() && !memory.files().contains_key(&bad))
}

/// Packs of data are lost for good, and with them parts of snapshots.
pub(super) fn snapshots(forget: bool) -> Scenario {
    let history = history();
    let index = history.repository.load_index(&context()).unwrap();
    let data = index.iter().find(|(blob, _)| blob.kind == BlobKind::Data && index.places(blob).count() == 1);
    history.memory.remove(data.unwrap().1.pack.into()).unwrap();
    repair_index(&context(), &history.repository, &RepairIndexOptions::default()).unwrap();
    let old = if forget { OldSnapshots::Remove } else { OldSnapshots::Keep };
    let run = move |ground: &Ground| {
        let (context, repository) = (&ground.context, ground.open()?);
        let lock = locked(ground, &repository, LockKind::Exclusive)?;
        let all = snapshots::list(context, &repository).map_err(said)?;
        let plan = plan_repair_snapshots(context, &repository, all).map_err(said)?;
        let mut failed = None;
        plan.execute(context, &lock, old, WriterOptions::default(), |_, outcome| {
            failed = failed.take().or_else(|| outcome.failed.as_ref().map(|error| format!("{error:?}")));
        })
        .map_err(said)?;
        failed.map_or(Ok(()), Err)
    };
    let scenario = Scenario::new(&history.memory, run).done(move |found, _| {
        let replaced = |old| found.whole.values().any(|(snapshot, _)| snapshot.original == Some(old));
        if forget { found.broken.is_empty() } else { found.broken.keys().all(|old| replaced(*old)) }
    });
    Scenario { replaces: forget, ..scenario }
}

/// What is lost comes back from a repository with the same files.
pub(super) fn from_another() -> Scenario {
    let folder = tempfile::tempdir().unwrap();
    dir([("small", file("small")), ("sub", dir([("other", file(noise(2000, 6))), ("more", file("more"))]))])
        .build(folder.path());
    let [here, there] = [2, 1].map(|version| {
        let memory = Arc::new(in_memory(version));
        backup(&open(memory.clone()), folder.path()).unwrap();
        memory
    });
    for pack in packs_of(&here) {
        here.remove(pack).unwrap();
    }
    repair_index(&context(), &open(here.clone()), &RepairIndexOptions::default()).unwrap();
    let run = move |ground: &Ground| {
        let repository = ground.open()?;
        let lock = locked(ground, &repository, LockKind::Shared)?;
        let plan = plan_fetch(&ground.context, &repository, &open(there.clone())).map_err(said)?;
        if let Some(lost) = plan.nowhere.first() {
            return Err(format!("{lost:?} is nowhere"));
        }
        plan.execute(&ground.context, &lock, WriterOptions::default()).map_err(said)?;
        // The root was lost, and names more that was lost.
        let plan = plan_fetch(&ground.context, &repository, &open(there.clone())).map_err(said)?;
        plan.execute(&ground.context, &lock, WriterOptions::default()).map(drop).map_err(said)
    };
    Scenario::new(&here, run).done(|found, _| found.broken.is_empty())
}

/// Trees whose snapshots were forgotten get one.
pub(super) fn recover_forgotten() -> Scenario {
    let mut history = history();
    let all = snapshots::list(&context(), &history.repository).unwrap();
    history.forget(0);
    history.forget(0);
    let left = snapshots::list(&context(), &history.repository).unwrap();
    // A recovery names each root by its first digits.
    let names: Vec<String> = all
        .into_iter()
        .filter(|stored| !left.contains(stored))
        .map(|stored| format!("/{}", &stored.snapshot.tree.to_string()[..8]))
        .collect();
    let run = |ground: &Ground| {
        let repository = ground.open()?;
        let lock = locked(ground, &repository, LockKind::Exclusive)?;
        let plan = plan_recover(&ground.context, &repository).map_err(said)?;
        if let Some((tree, error)) = plan.unreadable.first() {
            return Err(format!("{tree}: {error}"));
        }
        let owner = LockOwner::this_process();
        plan.execute(&ground.context, &lock, &owner, WriterOptions::default()).map(drop).map_err(said)
    };
    Scenario::new(&history.memory, run).done(move |found, _| {
        let recovered = || found.whole.values().filter(|(snapshot, _)| snapshot.tags == [RECOVERED]);
        names.iter().all(|name| recovered().any(|(_, content)| content.contains_key(name.as_bytes())))
    })
}

/// A check of every byte: sound repositories are called sound, and what could not be read is told.
pub(super) fn check_all() -> Scenario {
    let run = |ground: &Ground| {
        let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
        let report = check(&ground.context, &ground.open()?, &options).map_err(said)?;
        if report.is_sound() { Ok(()) } else { Err(format!("{:?}", report.findings)) }
    };
    Scenario::new(&history().memory, run)
}
