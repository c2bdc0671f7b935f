//! Snapshots without what is lost: the same trees that restic makes of them, and never less than there was.

#![expect(clippy::result_large_err, reason = "errors of tests are looked at, not passed on")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use repo_core::backend::{Backend, ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::format::{Node, NodeKind, Snapshot, TreeWriter};
use repo_core::hash::sha256;
use repo_core::id::{BlobId, BlobKind, DataId, FileId, FileKind, Id, SnapshotId, TreeId};
use repo_core::ops::check::{CheckOptions, check};
use repo_core::ops::repair::{
    Fate, OldSnapshots, RepairSnapshotsError, SnapshotsPlan, plan_repair_snapshots,
};
use repo_core::repository::{BlobWriter, LockKind, LockOptions, Repository, Writer, WriterOptions};
use repo_core::snapshots::{self, PROTECTED, Stored};
use repo_core::time::{Time, Timestamp};
use tests::fixtures::{Damaged, FinalSnapshot, Fixture};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::repo::{context, in_memory, load, open, save};
use tests::restic::restic;

use super::{history, index_files, lose_index, repair as repair_index};
use crate::prune::History;

fn plan(repository: &Repository) -> Result<SnapshotsPlan, RepairSnapshotsError> {
    let all = snapshots::list(&context(), repository).unwrap();
    plan_repair_snapshots(&context(), repository, all)
}

fn repair(repository: &Repository, old: OldSnapshots) -> Result<(), RepairSnapshotsError> {
    let lock = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap();
    plan(repository)?.execute(&context(), &lock, old, WriterOptions::default(), |_, outcome| {
        assert!(outcome.failed.is_none(), "{outcome:?}");
    })
}

/// Everything about the snapshots but their own names.
fn described(repository: &Repository) -> BTreeSet<FinalSnapshot> {
    let all = snapshots::list(&context(), repository).unwrap().into_iter();
    let text = |stored: Stored| FinalSnapshot {
        tags: Some(stored.snapshot.tags).filter(|tags| !tags.is_empty()),
        tree: stored.snapshot.tree.to_string(),
        original: stored.snapshot.original.map(|id| id.to_string()),
    };
    all.map(text).collect()
}

// ── the fixtures ───────────────────────────────────────────────────────────────────────────────────────────

/// Lines of restic's and of ours that must be there whatever the order in which snapshots are taken: which one, what is
/// cut, and how many are changed. What several snapshots share is told once.
fn essence<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let varies = ["saved new snapshot", "removed old snapshot"];
    lines
        .map(|line| varies.iter().find(|start| line.starts_with(**start)).map_or(line, |start| start))
        .filter(|line| !line.is_empty())
        // Which of two snapshots with the same folder comes first is a matter of chance.
        .map(|line| line.replace("\"/i deep/", "\"/again/"))
        .collect()
}

#[test]
fn damaged_fixtures_are_repaired_as_restic_repairs_them() {
    let (fixture, manifest) = (Fixture::unpack("damaged"), Damaged::manifest());
    let mut repaired = 0;
    for (name, case) in &manifest.cases {
        let (folder, repository) = (tempfile::tempdir().unwrap(), fixture.case(name));
        for step in case.steps.iter().filter(|step| step.command.starts_with("repair ")) {
            if name == "orphan-pack" {
                continue; // what is no pack is told by ours
            }
            let ran = larder().on(&repository).within(folder.path()).args(step.command.split(' ')).run();
            assert_eq!(ran.code, step.exit, "{name}\n{ran}");
            if step.command.starts_with("repair snapshots") {
                let expected = essence(step.stdout.iter().map(String::as_str));
                assert_eq!(essence(ran.stdout.lines()), expected, "{name}\n{ran}");
                repaired += 1;
            } else if step.command.starts_with("repair packs") {
                for line in &step.stdout {
                    assert!(ran.stdout.contains(line), "{name}: {line}\n{ran}");
                }
            }
        }
        let Some(expected) = case.final_snapshots.as_ref().filter(|all| !all.is_empty()) else { continue };
        let expected: BTreeSet<_> = expected.iter().cloned().collect();
        assert_eq!(described(&open(Arc::new(load(&repository)))), expected, "{name}");
        restic().on(&repository).args(["check", "--read-data"]).ok();
    }
    assert!(repaired >= 6, "only {repaired} repairs were compared");
}

// ── everything that can be wrong ───────────────────────────────────────────────────────────────────────────

/// Stores blobs and snapshots by hand.
struct Hand {
    repository: Repository,
    blobs: BlobWriter,
    writer: Writer,
    snapshots: Vec<Snapshot>,
}

impl Hand {
    fn new(memory: &Arc<MemoryBackend>) -> Self {
        let repository = open(memory.clone());
        let writer = Writer::start(&context(), &repository, Arc::default(), WriterOptions::default());
        Self { blobs: writer.blob_writer(), writer, repository, snapshots: Vec::new() }
    }

    fn data(&mut self, text: &str) -> DataId {
        let id = sha256(text.as_bytes());
        self.blobs.save(&BlobId { kind: BlobKind::Data, id }, text.as_bytes()).unwrap();
        DataId(id)
    }

    fn tree(&mut self, nodes: &[Node]) -> TreeId {
        let mut tree = TreeWriter::new();
        for node in nodes {
            tree.push(node).unwrap();
        }
        let plain = tree.finish();
        let id = sha256(&plain);
        self.blobs.save(&BlobId { kind: BlobKind::Tree, id }, &plain).unwrap();
        TreeId(id)
    }

    fn snapshot(&mut self, tree: TreeId, tags: &[&str]) {
        let seconds = 1_700_000_000 + i64::try_from(self.snapshots.len()).unwrap();
        let time = Time { instant: Timestamp { seconds, nanos: 0 }, ..Time::ZERO };
        let mut snapshot = Snapshot::new(time, tree, vec!["/some where".into()]);
        (snapshot.hostname, snapshot.username) = ("host".into(), "user".into());
        snapshot.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.snapshots.push(snapshot);
    }

    fn finish(self) -> Vec<SnapshotId> {
        self.blobs.flush();
        self.writer.finish().unwrap();
        let save = |snapshot: &Snapshot| self.repository.save(&context(), snapshot).unwrap();
        self.snapshots.iter().map(save).collect()
    }
}

fn file(name: &str, content: &[DataId], size: u64) -> Node {
    Node { size, content: Some(content.to_vec()), ..Node::new(name, NodeKind::File) }
}

fn folder(name: &str, subtree: Option<TreeId>) -> Node {
    Node { subtree, ..Node::new(name, NodeKind::Dir) }
}

const NOWHERE: Id = Id::new([7; 32]);

/// Four snapshots: much damage, a root that is nowhere, none, and one that shares a damaged folder with the first.
fn odd(memory: &Arc<MemoryBackend>, tags: &[&str]) -> Vec<SnapshotId> {
    let mut hand = Hand::new(memory);
    let (milk, eggs) = (hand.data("milk"), hand.data("some eggs"));
    let deep = hand.tree(&[
        file("deep\n\u{e9}", &[milk, DataId(NOWHERE), eggs, DataId(NOWHERE)], 99),
        file("fine", &[eggs, milk], 13),
    ]);
    let whole = hand.tree(&[file("x", &[milk], 4), Node::new("y", NodeKind::Fifo)]);
    let root = hand.tree(&[
        file("a lost chunk", &[milk, DataId(NOWHERE)], 5),
        file("b wrong size", &[milk, eggs], 12),
        Node::new("c no list", NodeKind::File),
        folder("d lost tree", Some(TreeId(NOWHERE))),
        folder("e no tree", None),
        Node::new("f irregular", NodeKind::Irregular),
        Node::new("g nothing", NodeKind::Other(String::new())),
        folder("i deep", Some(deep)),
        folder("j whole", Some(whole)),
        Node { link_target: b"milk".to_vec(), ..Node::new("k link", NodeKind::Symlink) },
        Node::new("s socket", NodeKind::Socket),
    ]);
    hand.snapshot(root, tags);
    hand.snapshot(TreeId(NOWHERE), tags);
    hand.snapshot(whole, tags);
    let shares = hand.tree(&[folder("again", Some(deep)), folder("the other", Some(whole))]);
    hand.snapshot(shares, &[tags, &["shared"]].concat());
    hand.finish()
}

fn say(program: &Program, repository: &Path, line: &str) -> Ran {
    program.on(repository).env("LARDER_COMPATIBILITY", "strict").args(line.split(' ')).run()
}

#[test]
fn whatever_is_wrong_the_new_trees_are_those_of_restic() {
    let memory = Arc::new(in_memory(2));
    odd(&memory, &["some"]);
    for line in ["repair snapshots", "repair snapshots --forget", "repair snapshots --tag shared --forget"] {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let programs = [restic(), larder()];
        let mut ends = Vec::new();
        for (program, folder) in programs.iter().zip(&folders) {
            save(&memory, folder.path());
            let dry = say(program, folder.path(), &format!("{line} --dry-run"));
            assert_eq!(load(folder.path()).files(), memory.files(), "a dry run changes nothing");
            let ran = say(program, folder.path(), line);
            let after = described(&open(Arc::new(load(folder.path()))));
            ends.push((ran.code, essence(dry.stdout.lines()), essence(ran.stdout.lines()), after));
        }
        let [theirs, ours] = &ends[..] else { unreachable!() };
        assert_eq!(ours, theirs, "{line}");
    }
}

/// Random packs of random histories go: whoever repairs, the trees are the same, and both are content.
#[test]
fn whatever_is_lost_the_new_trees_are_those_of_restic() {
    for seed in 0..8_u8 {
        let history = lossy_history(seed);
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let programs = [restic(), larder()];
        let [theirs, ours] = [0, 1].map(|at| {
            save(&history.memory, folders[at].path());
            programs[at].on(folders[at].path()).args(["repair", "snapshots", "--forget"]).ok();
            described(&open(Arc::new(load(folders[at].path()))))
        });
        assert_eq!(ours, theirs, "{seed}");
        restic().on(folders[1].path()).args(["check", "--read-data"]).ok();
    }
}

/// Snapshots of which one pack in three is lost, as the index says.
fn lossy_history(seed: u8) -> History {
    let mut history = History::new(1 + u32::from(seed % 2));
    for number in 0..4 {
        let first = seed.wrapping_mul(31).wrapping_add(number * 5);
        history.back_up(&[first, first + 1, first + 2, first + 6, 250], number == 2);
    }
    for (at, pack) in crate::prune::packs(&history.memory).into_iter().enumerate() {
        if at % 3 == usize::from(seed) % 3 {
            history.memory.remove(pack).unwrap();
        }
    }
    repair_index(&history.memory, false);
    history
}

#[test]
fn a_second_repair_finds_nothing_to_do() {
    for old in [OldSnapshots::Keep, OldSnapshots::RemoveLost, OldSnapshots::Remove] {
        let memory = Arc::new(in_memory(2));
        odd(&memory, &[]);
        repair(&open(memory.clone()), old).unwrap();
        let (before, first) = (described(&open(memory.clone())), memory.files());
        repair(&open(memory.clone()), old).unwrap();
        assert_eq!(described(&open(memory.clone())), before, "{old:?}");
        let named = |files: &std::collections::BTreeMap<FileId, Vec<u8>>| {
            files.keys().copied().filter(|file| file.kind == FileKind::Snapshot).collect::<BTreeSet<_>>()
        };
        assert_eq!(named(&memory.files()), named(&first), "{old:?}: no snapshot is made twice");
    }
}

#[test]
fn nothing_goes_that_nobody_asked_to_remove() {
    let memory = Arc::new(in_memory(2));
    let all = odd(&memory, &[]);
    repair(&open(memory.clone()), OldSnapshots::Keep).unwrap();
    assert!(all.iter().all(|id| memory.files().contains_key(&(*id).into())));

    let memory = Arc::new(in_memory(2));
    let all = odd(&memory, &[PROTECTED]);
    repair(&open(memory.clone()), OldSnapshots::Remove).unwrap();
    assert!(all.iter().all(|id| memory.files().contains_key(&(*id).into())), "they are protected");
    let new = described(&open(memory.clone()));
    assert_eq!(new.iter().filter(|one| one.original.is_some()).count(), 2, "{new:?}");
}

// ── what only seems to be lost ─────────────────────────────────────────────────────────────────────────────

#[test]
fn nothing_is_cut_that_only_the_index_does_not_know() {
    let history = history();
    history.memory.remove(index_files(&history.memory)[0]).unwrap();
    let before = history.memory.files();
    let error = repair(&history.repository, OldSnapshots::Remove).unwrap_err();
    assert!(matches!(error, RepairSnapshotsError::NotLost { .. }), "{error:?}");
    history.repository.remove_all_locks().unwrap();
    assert_eq!(history.memory.files(), before);
    lose_index(&history.memory);
    let error = repair(&history.repository, OldSnapshots::Remove).unwrap_err();
    assert!(matches!(error, RepairSnapshotsError::NotLost { .. }), "{error:?}");
    repair_index(&history.memory, false);
    let plan = plan(&history.repository).unwrap();
    assert!(plan.snapshots.iter().all(|one| matches!(one.fate, Fate::Whole)));
}

#[test]
fn nothing_is_called_whole_because_the_index_lists_what_is_not_there() {
    let history = history();
    history.memory.remove(crate::prune::packs(&history.memory)[0]).unwrap();
    let error = plan(&history.repository).unwrap_err();
    assert!(matches!(error, RepairSnapshotsError::PacksMissing { count: 1, .. }), "{error:?}");
    let folder = tempfile::tempdir().unwrap();
    save(&history.memory, folder.path());
    let ran = larder().on(folder.path()).args(["repair", "snapshots"]).run();
    assert!(ran.code == 1 && ran.stderr.contains("larder repair index"), "{ran}");
}

#[test]
fn a_storage_that_fails_is_no_loss() {
    let history = lossy_history(1);
    let fails = Rule::every(Fault::FailBefore(ErrorKind::Transient)).on(Operation::Read).of(FileKind::Pack);
    let before = described(&history.repository);
    let faulty = Arc::new(FaultBackend::new(history.memory.clone(), [fails]));
    let error = repair(&open(faulty), OldSnapshots::Remove).unwrap_err();
    assert!(matches!(error, RepairSnapshotsError::Read { .. }), "{error:?}");
    assert_eq!(described(&history.repository), before);
}

/// A bit that is wrong on its way once is no damage: what is read again and sound then is kept.
#[test]
fn a_single_bad_read_costs_no_snapshot() {
    let history = history();
    let before = described(&history.repository);
    for number in 1.. {
        let memory = Arc::new(history.memory.copy());
        let rule = Rule::nth(number, Fault::FlipBit(300)).on(Operation::Read).of(FileKind::Pack);
        let faulty = Arc::new(FaultBackend::new(memory.clone(), [rule]));
        repair(&open(faulty.clone()), OldSnapshots::Remove).unwrap();
        assert_eq!(described(&open(memory)), before, "read {number}");
        if !faulty.log().iter().any(|line| line.contains("FlipBit")) {
            assert!(number > 3, "there is something to read");
            break;
        }
    }
}

// ── the machine stops ──────────────────────────────────────────────────────────────────────────────────────

/// Whatever was there is there or has its new version, all of which is readable; the next repair ends the same.
fn stops_everywhere(start: &Arc<MemoryBackend>, old: OldSnapshots) {
    let clean = Arc::new(FaultBackend::new(Arc::new(start.copy()), []));
    let repository = open(clean.clone());
    let opening = clean.calls();
    repair(&repository, old).unwrap();
    let (last, expected) = (clean.calls(), described(&repository));
    let before: BTreeSet<SnapshotId> = snapshots::list(&context(), &open(start.clone()))
        .unwrap()
        .into_iter()
        .map(|stored| stored.id)
        .collect();
    let lost: BTreeSet<SnapshotId> = plan(&open(start.clone()))
        .unwrap()
        .snapshots
        .iter()
        .filter(|one| matches!(one.fate, Fate::Lost))
        .map(|one| one.stored.id)
        .collect();
    for number in opening + 1..=last {
        for fault in [
            Fault::FreezeBefore,
            Fault::FreezeAfter,
            Fault::TearAndFreeze(20),
            Fault::FailAfter(ErrorKind::Transient),
        ] {
            let memory = Arc::new(start.copy());
            let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [Rule::nth(number, fault)]));
            let story = || format!("{fault:?} at call {number}\n{}", faulty.log().join("\n"));
            let stopped = open(faulty.clone());
            if let Ok(lock) = stopped.lock(&context(), LockKind::Exclusive, &LockOptions::default())
                && let Ok(plan) = plan_of(&stopped)
            {
                let _ = plan.execute(&context(), &lock, old, WriterOptions::default(), |_, _| {});
            }
            let repository = open(memory.clone());
            repository.remove_all_locks().unwrap();
            let (now, torn) = snapshots::list_with_report(&context(), &repository).unwrap();
            for (id, _) in torn {
                memory.remove(id.into()).unwrap(); // as `check` says to do
            }
            let covered: BTreeSet<SnapshotId> =
                now.iter().flat_map(|stored| [Some(stored.id), stored.snapshot.original]).flatten().collect();
            let gone: Vec<_> = before.difference(&covered).filter(|id| !lost.contains(id)).collect();
            assert!(gone.is_empty(), "{gone:?} are gone\n{}", story());
            new_ones_are_whole(&repository, &before, &story);
            repair(&repository, old).unwrap();
            assert_eq!(described(&repository), expected, "{}", story());
        }
    }
}

fn plan_of(repository: &Repository) -> Result<SnapshotsPlan, ()> {
    let all = snapshots::list(&context(), repository).map_err(drop)?;
    plan_repair_snapshots(&context(), repository, all).map_err(drop)
}

fn new_ones_are_whole(repository: &Repository, before: &BTreeSet<SnapshotId>, story: &dyn Fn() -> String) {
    let all = snapshots::list(&context(), repository).unwrap();
    let new: Vec<Stored> = all.into_iter().filter(|stored| !before.contains(&stored.id)).collect();
    let plan = plan_repair_snapshots(&context(), repository, new).unwrap();
    for one in &plan.snapshots {
        assert!(matches!(one.fate, Fate::Whole), "{one:?}\n{}", story());
    }
}

#[test]
fn repair_of_snapshots_may_stop_anywhere() {
    let memory = Arc::new(in_memory(2));
    odd(&memory, &["some"]);
    stops_everywhere(&memory, OldSnapshots::Keep);
    stops_everywhere(&memory, OldSnapshots::Remove);
    stops_everywhere(&lossy_history(2).memory, OldSnapshots::Remove);
}

/// After the whole way that `check` names nothing is wrong any more.
#[test]
fn check_is_content_after_repairs() {
    let history = lossy_history(0);
    repair(&history.repository, OldSnapshots::Remove).unwrap();
    let report = check(&context(), &history.repository, &CheckOptions::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}
