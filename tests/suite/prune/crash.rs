//! Repositories with something of everything for a prune, which `sweep/` stops at every call; and storage that is full, loses
//! answers, or does not let packs go.

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_core::backend::{Backend, ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::id::{BlobId, FileKind};
use repo_core::ops::prune::{MaxUnused, Postponed, PruneMode, PruneOptions, prune};
use tests::repo::{assert_complete, context, open};

use super::{History, assert_sound, listed};

fn options(no_space: bool) -> PruneOptions {
    PruneOptions {
        max_unused: MaxUnused::Bytes(0),
        recover_no_free_space: no_space,
        ..PruneOptions::default()
    }
}

fn beside() -> PruneOptions {
    PruneOptions { mode: PruneMode::BESIDE, ..options(false) }
}

/// A repository with something of everything: packs to keep, to repack and to remove, copies, leftovers.
pub(crate) fn start() -> History {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3, 4], false);
    history.back_up(&[3, 4, 5, 6, 7], false);
    history.back_up(&[1, 2, 8, 9], true);
    history.back_up(&[20, 21], false);
    history.odd_pack(&[0, 1, 2, 2, 9], false, false);
    history.stale_entry(7);
    history.forget(0);
    history.forget(2);
    history
}

/// After the next prune every snapshot is whole, and nothing is left that nobody needs.
fn check_what_is_left(memory: &Arc<MemoryBackend>, needed: &BTreeSet<BlobId>, story: &dyn Fn() -> String) {
    open(memory.clone()).remove_all_locks().unwrap();
    let again = prune(&context(), &open(memory.clone()), &options(false));
    again.unwrap_or_else(|error| panic!("the next prune fails: {error}\n{}", story()));
    assert_sound(memory, needed, story);
    assert_eq!(listed(&open(memory.clone())), needed.iter().copied().collect::<Vec<_>>(), "{}", story());
}

/// Something of everything that a run beside others meets: packs to mark, to keep marked, to bring back, to remove.
pub(crate) fn start_beside() -> History {
    let mut history = start();
    let index = history.repository.load_index(&context()).unwrap();
    prune(&context(), &history.repository, &beside()).unwrap();
    history.clock.wind(std::time::Duration::from_hours(30));
    // Somebody whose lock was lost relied on what left the index.
    history.back_up_with(index, &[20, 21]);
    history.back_up(&[40, 41, 42], false);
    history.odd_pack(&[0, 1, 2, 2, 9], false, false);
    history.forget(1);
    history
}

/// A removal that was done although its answer got lost is no failure.
#[test]
fn removals_whose_answers_get_lost_are_done() {
    let history = start();
    let lost = Rule::every(Fault::FailAfter(ErrorKind::Transient)).on(Operation::Remove);
    let faulty = Arc::new(FaultBackend::new(history.memory.clone(), [lost]));
    let report = prune(&context(), &open(faulty), &options(false)).unwrap();
    assert!(report.not_removed.is_empty());
    assert_sound(&history.memory, &history.needed(), &String::new);
}

/// What cannot be removed stays, is named, and goes with the next prune.
#[test]
fn packs_that_cannot_be_removed_are_named_and_go_next_time() {
    let history = start();
    let denied = Rule::every(Fault::FailBefore(ErrorKind::Denied)).on(Operation::Remove).of(FileKind::Pack);
    let faulty = Arc::new(FaultBackend::new(history.memory.clone(), [denied]));
    let report = prune(&context(), &open(faulty), &options(false)).unwrap();
    assert!(!report.not_removed.is_empty());
    assert_eq!(report.packs_removed, 0);
    assert_complete(history.memory.clone());
    check_what_is_left(&history.memory, &history.needed(), &String::new);
}

/// Storage that takes no pack any more: what can go without being copied goes, and that makes room.
#[test]
fn full_storage_is_pruned_without_copying() {
    let history = start();
    let full = Rule::every(Fault::FailBefore(ErrorKind::Full)).on(Operation::Write).of(FileKind::Pack);
    let faulty = Arc::new(FaultBackend::new(history.memory.clone(), [full]));
    let report = prune(&context(), &open(faulty), &options(false)).unwrap();
    assert!(matches!(report.postponed, Some(Postponed::Full)), "{report:?}");
    assert!(report.packs_removed > 0 && report.packs_written == 0, "{report:?}");
    assert_complete(history.memory.clone());
    assert_complete(history.memory.clone());
    check_what_is_left(&history.memory, &history.needed(), &String::new);
}

/// Without room for anything: index first. Nothing is copied, so what lies beside something in use stays.
#[test]
fn recovery_without_free_space_frees_whole_packs() {
    let history = start();
    let report = prune(&context(), &history.repository, &options(true)).unwrap();
    assert_eq!(report.packs_written, 0);
    assert!(report.packs_removed > 0);
    assert_sound(&history.memory, &history.needed(), &String::new);
}

/// A listing that left out an index file makes its packs look like leftovers; that is found out before anything goes.
#[test]
fn an_index_file_that_a_listing_left_out_ends_the_prune() {
    let history = start();
    let files = history.memory.list(FileKind::Index).unwrap().len();
    for which in 0..files as u64 {
        let memory = Arc::new(history.memory.copy());
        let rule = Rule::nth(1, Fault::LeaveOut(which)).on(Operation::List).of(FileKind::Index);
        let faulty = Arc::new(FaultBackend::new(memory.clone(), [rule]));
        let before = super::packs(&memory);
        prune(&context(), &open(faulty), &options(false)).expect_err("it does not know all of the index");
        assert_eq!(super::packs(&memory), before, "index file {which}");
    }
}
