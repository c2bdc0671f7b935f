//! The machine stops at every call of a prune, or the answer to it gets lost: every snapshot stays whole, and the next
//! prune ends what this one began.

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_core::backend::{ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::id::BlobId;
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
fn start() -> History {
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

fn sweep(start: &MemoryBackend, needed: &BTreeSet<BlobId>, options: &PruneOptions, faults: &[Fault]) {
    let clean = Arc::new(FaultBackend::new(Arc::new(start.copy()), []));
    let repository = open(clean.clone());
    let opening = clean.calls();
    prune(&context(), &repository, options).unwrap();
    let last = clean.calls();
    assert!(last > opening + 20, "there is something to do:\n{}", clean.log().join("\n"));
    for number in opening + 1..=last {
        for fault in faults {
            let memory = Arc::new(start.copy());
            let faulty = Arc::new(FaultBackend::new(memory.clone(), [Rule::nth(number, *fault)]));
            let story = || format!("{fault:?} at call {number}\n{}", faulty.log().join("\n"));
            let result = prune(&context(), &open(faulty.clone()), options);
            if faulty.is_frozen() && number < last {
                assert!(result.is_err(), "{}", story());
            }
            // What somebody without a lock relied on is whole once the next prune has brought it back.
            if options.mode == PruneMode::Instant {
                open(memory.clone()).remove_all_locks().unwrap();
                assert_complete(memory.clone());
            } else {
                open(memory.clone()).remove_all_locks().unwrap();
                let again = prune(&context(), &open(memory.clone()), options);
                again.unwrap_or_else(|error| panic!("the next prune fails: {error}\n{}", story()));
                assert_sound(&memory, needed, &story);
            }
            check_what_is_left(&memory, needed, &story);
        }
    }
}

/// After the next prune every snapshot is whole, and nothing is left that nobody needs.
fn check_what_is_left(memory: &Arc<MemoryBackend>, needed: &BTreeSet<BlobId>, story: &dyn Fn() -> String) {
    open(memory.clone()).remove_all_locks().unwrap();
    let again = prune(&context(), &open(memory.clone()), &options(false));
    again.unwrap_or_else(|error| panic!("the next prune fails: {error}\n{}", story()));
    assert_sound(memory, needed, story);
    assert_eq!(listed(&open(memory.clone())), needed.iter().copied().collect::<Vec<_>>(), "{}", story());
}

#[test]
fn prune_may_stop_anywhere() {
    let history = start();
    sweep(&history.memory, &history.needed(), &options(false), &[Fault::FreezeBefore, Fault::FreezeAfter]);
}

/// Something of everything that a run beside others meets: packs to mark, to keep marked, to bring back, to remove.
fn start_beside() -> History {
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

#[test]
fn prune_beside_others_may_stop_anywhere() {
    let history = start_beside();
    sweep(&history.memory, &history.needed(), &beside(), &[Fault::FreezeBefore, Fault::FreezeAfter]);
}

#[test]
fn prune_beside_others_may_meet_any_failing_call() {
    let history = start_beside();
    let faults = [Fault::FailBefore(ErrorKind::Transient), Fault::FailAfter(ErrorKind::Transient)];
    sweep(&history.memory, &history.needed(), &beside(), &faults);
}

#[test]
fn prune_may_meet_any_failing_call() {
    let history = start();
    let faults = [Fault::FailBefore(ErrorKind::Transient), Fault::FailAfter(ErrorKind::Transient)];
    sweep(&history.memory, &history.needed(), &options(false), &faults);
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
    let denied = Rule::every(Fault::FailBefore(ErrorKind::Denied))
        .on(Operation::Remove)
        .of(repo_core::id::FileKind::Pack);
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
    let full = Rule::every(Fault::FailBefore(ErrorKind::Full))
        .on(Operation::Write)
        .of(repo_core::id::FileKind::Pack);
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
