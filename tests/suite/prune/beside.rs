//! Prunes beside others: what is marked, when it goes, and what a backup may rely on that began and ended at any moment.
//!
//! The other backup here is one of restic: it takes a shared lock, loads the index, believes it for as long as it runs,
//! looks at nothing in the end, and knows nothing of marks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use repo_core::id::BlobId;
use repo_core::index::Index;
use repo_core::ops::prune::{MaxUnused, Postponed, PruneMode, PruneOptions, PruneReport, prune};
use repo_core::repository::{LockGuard, LockKind, LockOptions, Repository};
use tests::meddle::MeddledBackend;
use tests::repo::{assert_complete, context, open};

use super::{History, assert_sound, listed, packs};

const GRACE: Duration = Duration::from_hours(23);

fn options() -> PruneOptions {
    PruneOptions {
        mode: PruneMode::Beside { grace: GRACE },
        max_unused: MaxUnused::Bytes(0),
        ..PruneOptions::default()
    }
}

fn run(history: &History) -> PruneReport {
    prune(&context(), &history.repository, &options()).unwrap()
}

fn exactly_what_is_needed(history: &History) {
    let needed = history.needed();
    assert_sound(&history.memory, &needed, &String::new);
    assert_eq!(listed(&history.repository), needed.into_iter().collect::<Vec<_>>());
}

/// Two snapshots that share something, of which the first goes.
fn start() -> History {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3, 4, 5, 6], false);
    history.back_up(&[2, 3, 4, 5], false);
    history.back_up(&[20, 21, 22], false);
    history.forget(0);
    history.forget(1);
    history
}

#[test]
fn what_nobody_needs_leaves_the_index_first_and_goes_after_the_time_of_grace() {
    let history = start();
    let before = packs(&history.memory).len();
    let first = run(&history);
    assert!(first.packs_marked > 0 && first.packs_removed == 0, "{first:?}");
    exactly_what_is_needed(&history);
    assert!(packs(&history.memory).len() >= before, "nothing is gone yet");

    history.clock.wind(GRACE.saturating_sub(Duration::from_secs(1)));
    let early = run(&history);
    assert_eq!((early.packs_removed, early.packs_marked), (0, 0), "{early:?}");
    history.clock.wind(Duration::from_secs(1));
    let late = run(&history);
    assert_eq!(late.packs_removed, first.packs_marked, "{late:?}");
    exactly_what_is_needed(&history);
    let index = history.repository.load_index(&context()).unwrap();
    assert_eq!(packs(&history.memory).len(), index.packs().len(), "only what the index lists is left");
    assert!(run(&history).packs_marked == 0);
}

#[test]
fn whoever_wants_the_space_now_gets_it() {
    let history = start();
    let marked = run(&history).packs_marked;
    let instant = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    assert_eq!(prune(&context(), &history.repository, &instant).unwrap().packs_removed, marked);
    exactly_what_is_needed(&history);
}

/// A pack that nobody lists may be an upload of somebody who lists it in a minute.
#[test]
fn a_pack_that_nobody_lists_is_not_removed_at_first_sight() {
    let mut history = start();
    history.odd_pack(&[1, 2, 3], true, false);
    let before = packs(&history.memory);
    run(&history);
    assert!(before.iter().all(|pack| packs(&history.memory).contains(pack)));
    history.clock.wind(GRACE);
    run(&history);
    let index = history.repository.load_index(&context()).unwrap();
    assert_eq!(packs(&history.memory).len(), index.packs().len());
}

fn lock(repository: &Repository) -> LockGuard {
    repository.lock(&context(), LockKind::Shared, &LockOptions::default()).unwrap()
}

/// As long as anybody works the index lists all that it did; but what is in use moves already.
#[test]
fn nothing_leaves_the_index_while_somebody_works() {
    let history = start();
    let before: BTreeSet<BlobId> = listed(&history.repository).into_iter().collect();
    let other = lock(&history.repository);
    let report = run(&history);
    assert!(matches!(report.postponed, Some(Postponed::AtWork(_))), "{report:?}");
    assert_eq!(listed(&history.repository).into_iter().collect::<BTreeSet<_>>(), before);
    history.clock.wind(GRACE * 2);
    assert_eq!(run(&history).packs_removed, 0, "what is listed is never removed");
    drop(other);
    let report = run(&history);
    assert!(report.postponed.is_none() && report.packs_marked > 0, "{report:?}");
    assert_eq!(report.packs_written, 0, "what was moved once is not moved again");
    exactly_what_is_needed(&history);
}

/// A stopped process whose lock is still there may go on with its upload after days.
#[test]
fn an_unlisted_pack_stays_while_an_old_lock_is_there() {
    let mut history = start();
    history.odd_pack(&[1, 2, 3], true, false);
    run(&history);
    let pack_count = packs(&history.memory).len();
    std::mem::forget(lock(&history.repository));
    history.clock.wind(GRACE);
    let report = run(&history);
    assert_eq!(packs(&history.memory).len(), pack_count - usize::try_from(report.packs_removed).unwrap());
    let index = history.repository.load_index(&context()).unwrap();
    assert!(packs(&history.memory).len() > index.packs().len(), "the unlisted one is left");
    history.repository.remove_all_locks().unwrap();
    run(&history);
    let index = history.repository.load_index(&context()).unwrap();
    assert_eq!(packs(&history.memory).len(), index.packs().len());
}

/// What another backup has in hand.
struct Other {
    index: Arc<Index>,
    lock: Option<LockGuard>,
}

/// One run beside a backup that begins before call `begin` and ends before call `end`; whether it came that far.
///
/// With `lose` its lock is lost as soon as it has the index: then a prune may take from the index what it relies on, and
/// the next one has to bring it back.
fn beside_a_backup(start: &History, begin: usize, end: usize, lose: bool) -> bool {
    let memory = Arc::new(start.memory.copy());
    let other: Arc<Mutex<Option<Other>>> = Arc::default();
    let began = {
        let (memory, other) = (memory.clone(), other.clone());
        move || {
            let repository = open(memory);
            // Turned away for a moment: it would have to come again.
            let Ok(lock) = repository.lock(&context(), LockKind::Shared, &LockOptions::default()) else {
                return;
            };
            let index = repository.load_index(&context()).unwrap();
            *other.lock().unwrap() = Some(Other { index, lock: Some(lock).filter(|_| !lose) });
        }
    };
    let made: Arc<Mutex<BTreeSet<BlobId>>> = Arc::default();
    let ended = {
        let (memory, other, made) = (memory.clone(), other.clone(), made.clone());
        move || {
            let Some(Other { index, lock }) = other.lock().unwrap().take() else { return };
            let mut history = History::over(memory);
            history.back_up_with(index, &[1, 2, 3, 21, 22, 23]);
            made.lock().unwrap().extend(history.needed());
            drop(lock);
        }
    };
    let inner = Arc::new(MeddledBackend::new(memory.clone(), begin, began));
    let storage = Arc::new(MeddledBackend::new(inner, end, ended));
    let result = prune(&context(), &open(storage.clone()), &options());
    let story = || format!("begin {begin}, end {end}, lose {lose}\n{}", storage.log().join("\n"));
    if let Err(error) = result {
        panic!("{error}\n{}", story());
    }
    let reached = storage.calls() >= end;
    if let Some(Other { index, lock }) = other.lock().unwrap().take() {
        let mut history = History::over(memory.clone());
        history.back_up_with(index, &[1, 2, 3, 21, 22, 23]);
        made.lock().unwrap().extend(history.needed());
        drop(lock);
    }
    if !lose {
        // At once, and without any further run: nobody sees damage.
        assert_complete(memory.clone());
    }
    let mut needed = start.needed();
    needed.extend(made.lock().unwrap().iter().copied());
    for _ in 0..3 {
        let result = prune(&context(), &open(memory.clone()), &options());
        result.unwrap_or_else(|error| panic!("{error}\n{}", story()));
        assert_sound(&memory, &needed, &story);
        start.clock.wind(GRACE);
    }
    reached
}

/// Some moments of beginning and of ending, spread over the whole run.
fn sweep(lose: bool) {
    let mut history = start();
    // Something waits, something is due.
    run(&history);
    history.clock.wind(GRACE);
    history.back_up(&[30, 31, 32, 2], false);
    history.back_up(&[2, 3, 4, 5, 33], false);
    history.forget(1);
    for begin in (1..).step_by(11) {
        let ends = (begin + 1..).step_by(13);
        let count = ends.take_while(|end| beside_a_backup(&history, begin, *end, lose)).count();
        if count == 0 {
            assert!(begin > 60, "{begin}");
            break;
        }
    }
}

#[test]
fn whenever_a_backup_begins_and_ends_beside_a_prune_its_snapshot_is_whole() {
    sweep(false);
}

#[test]
fn what_a_backup_without_its_lock_relied_on_comes_back() {
    sweep(true);
}
