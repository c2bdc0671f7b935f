//! Marks: packs that left the index, and since when.
//!
//! In: the marks that index files carry, and what time it is. Out: for each whether its time has come, and new marks. A
//! mark stands under `packs_to_delete`, a field that restic passes over and rustic wrote first. Ours says in two fields
//! more whose clock its time is of, and when a run without the storage's clock first found it old enough.
//!
//! The storage's clock is believed. Where there is none, one clock that is wrong must not be enough: the time has come
//! once a run found the mark as old as it must be, and a later run, again so much later, finds the same.

use std::collections::HashMap;
use std::time::Duration;

use crate::format::{IndexedPack, MarkedPack};
use crate::id::PackId;
use crate::time::{Time, Timestamp};

/// The field that says whose clock the time of a mark is of.
const CLOCK: &str = "clock";
/// The storage's.
const OF_STORAGE: &str = "\"storage\"";
/// The field that says when a run by its own clock found the mark old enough.
const DUE: &str = "due";
/// The field of a pack's size in bytes, where its blobs are not known.
const SIZE: &str = "size";

/// What time it is, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) time: Time,
    /// Whether the storage says so, and not this machine.
    pub(super) of_storage: bool,
}

impl Now {
    fn since(self, time: Timestamp) -> Duration {
        self.time.instant.since(time)
    }
}

/// What is known about the packs that are marked.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) packs: HashMap<PackId, MarkedPack>,
    /// Marks that change: with another time, or found old enough for the first time.
    pub(super) changed: Vec<PackId>,
}

impl Marks {
    /// Judges marks; the first list says whose time has come.
    pub(super) fn judge(marked: Vec<MarkedPack>, now: Now, grace: Duration) -> (HashMap<PackId, bool>, Self) {
        let (mut due, mut marks) = (HashMap::new(), Self::default());
        for mut mark in marked {
            let id = mark.pack.id;
            let (is_due, is_changed) = judge(&mut mark, now, grace);
            due.insert(id, is_due);
            if is_changed {
                marks.changed.push(id);
            }
            marks.packs.insert(id, mark);
        }
        (due, marks)
    }

    /// The marks by their packs.
    pub(super) fn of(marked: Vec<MarkedPack>) -> HashMap<PackId, MarkedPack> {
        marked.into_iter().map(|mark| (mark.pack.id, mark)).collect()
    }
}

/// Whether a mark's time has come, and whether the mark is another one from now on.
fn judge(mark: &mut MarkedPack, now: Now, grace: Duration) -> (bool, bool) {
    let by_storage = field(mark, CLOCK).is_some_and(|clock| clock == OF_STORAGE);
    let Some(time) = mark.time.filter(|_| by_storage || !now.of_storage) else {
        // Another program's, or from a time when the storage had no clock: it begins anew.
        stamp(mark, now);
        return (false, true);
    };
    let is_old = now.since(time.instant) >= grace;
    if now.of_storage {
        return (is_old, false);
    }
    let first_due = field(mark, DUE).and_then(|text| text.trim_matches('"').parse::<Time>().ok());
    match first_due {
        Some(first) if is_old && first.instant <= now.time.instant => {
            (now.since(first.instant) >= grace, false)
        }
        // Found old by a clock that is ahead of ours: it does not count.
        Some(_) => {
            mark.unknown.retain(|(key, _)| key != DUE);
            (false, true)
        }
        None if is_old => {
            mark.unknown.push((DUE.to_owned(), format!("\"{}\"", now.time).into()));
            (false, true)
        }
        None => (false, false),
    }
}

fn field<'a>(mark: &'a MarkedPack, name: &str) -> Option<&'a str> {
    mark.unknown.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
}

/// The mark is of this moment.
pub(super) fn stamp(mark: &mut MarkedPack, now: Now) {
    mark.time = Some(now.time);
    mark.unknown.retain(|(key, _)| key != CLOCK && key != DUE);
    if now.of_storage {
        mark.unknown.push((CLOCK.to_owned(), OF_STORAGE.into()));
    }
}

/// A mark of a pack that leaves the index now.
pub(super) fn mark(pack: IndexedPack, now: Now) -> MarkedPack {
    let mut mark = MarkedPack { pack, time: None, unknown: Vec::new() };
    stamp(&mut mark, now);
    mark
}

/// A mark of a pack that no index file lists.
pub(super) fn mark_unindexed(pack: PackId, size: u64, now: Now) -> MarkedPack {
    let mut mark = mark(IndexedPack { id: pack, blobs: Vec::new() }, now);
    mark.unknown.push((SIZE.to_owned(), size.to_string().into()));
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    const GRACE: Duration = Duration::from_hours(10);

    fn now(hours: i64, of_storage: bool) -> Now {
        let instant = Timestamp { seconds: 1_700_000_000 + hours * 3600, nanos: 0 };
        Now { time: Time { instant, offset_seconds: 0 }, of_storage }
    }

    /// Marked in hour 0; then runs at these hours: which of them may remove the pack?
    fn check(marked_by_storage: bool, runs: &[(i64, bool, bool)]) {
        let pack = PackId(Id::new([1; 32]));
        let mut mark = mark(IndexedPack { id: pack, blobs: Vec::new() }, now(0, marked_by_storage));
        for (hour, of_storage, expected) in runs {
            let (due, mut marks) = Marks::judge(vec![mark], now(*hour, *of_storage), GRACE);
            assert_eq!(due[&pack], *expected, "hour {hour} of {runs:?}");
            mark = marks.packs.remove(&pack).unwrap();
        }
    }

    #[test]
    fn the_storages_clock_alone_decides() {
        check(true, &[(0, true, false), (9, true, false), (10, true, true)]);
        check(true, &[(-5, true, false), (9, true, false)]);
    }

    #[test]
    fn without_a_clock_of_the_storage_two_runs_must_agree_after_twice_the_time() {
        check(false, &[(9, false, false), (10, false, false), (19, false, false), (20, false, true)]);
        check(false, &[(30, false, false), (31, false, false), (40, false, true)]);
    }

    #[test]
    fn one_clock_that_is_ahead_is_not_enough() {
        check(false, &[(1000, false, false), (1, false, false), (1001, false, false), (2, false, false)]);
        check(false, &[(1000, false, false), (1005, false, false)]);
    }

    #[test]
    fn a_mark_by_another_clock_begins_anew() {
        check(false, &[(30, true, false), (39, true, false), (40, true, true)]);
    }
}
