//! Which snapshots the target has already: same content, and come from the same one.
//!
//! In: the target's snapshots. Out: for a snapshot of the source its copy. The rule is restic's, so that either program
//! goes on where the other one ended. Pure, no I/O.

use std::collections::HashMap;

use crate::format::Snapshot;
use crate::id::SnapshotId;
use crate::snapshots::Stored;

/// The target's snapshots, by what they come from.
pub(super) struct Copies(HashMap<SnapshotId, Vec<Stored>>);

impl Copies {
    /// Sorts the target's snapshots. One that comes from another is found under both names.
    pub(super) fn new(stored: Vec<Stored>) -> Self {
        let mut by_origin: HashMap<SnapshotId, Vec<Stored>> = HashMap::new();
        for one in stored {
            if let Some(original) = one.snapshot.original.filter(|original| *original != one.id) {
                by_origin.entry(original).or_default().push(one.clone());
            }
            by_origin.entry(one.id).or_default().push(one);
        }
        Self(by_origin)
    }

    /// The copy of a snapshot of the source, if there is one.
    pub(super) fn of(&self, source: &Stored) -> Option<SnapshotId> {
        let origin = source.snapshot.original.unwrap_or(source.id);
        let found = self.0.get(&origin)?.iter().find(|copy| alike(&copy.snapshot, &source.snapshot));
        found.map(|copy| copy.id)
    }
}

/// Whether two snapshots say the same of the same backup.
fn alike(a: &Snapshot, b: &Snapshot) -> bool {
    a.time == b.time
        && a.tree == b.tree
        && (&a.hostname, &a.username) == (&b.hostname, &b.username)
        && (a.uid, a.gid) == (b.uid, b.gid)
        && a.paths == b.paths
        && a.excludes == b.excludes
        && a.tags == b.tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Id, TreeId};
    use crate::time::Time;

    fn id(byte: u8) -> SnapshotId {
        SnapshotId(Id::new([byte; 32]))
    }

    fn stored(name: u8, original: Option<u8>, tag: &str) -> Stored {
        let mut snapshot = Snapshot::new(Time::ZERO, TreeId(Id::new([9; 32])), vec!["/x".into()]);
        snapshot.original = original.map(id);
        snapshot.tags = vec![tag.to_owned()];
        Stored { id: id(name), snapshot }
    }

    #[test]
    fn a_copy_has_the_same_content_and_comes_from_the_same_snapshot() {
        let check = |target: Stored, source: Stored, expected: bool| {
            let found = Copies::new(vec![target.clone()]).of(&source);
            assert_eq!(found, expected.then_some(target.id), "{target:?} {source:?}");
        };
        check(stored(1, Some(7), "a"), stored(7, None, "a"), true);
        check(stored(1, Some(7), "a"), stored(8, Some(7), "a"), true);
        check(stored(1, Some(7), "a"), stored(7, None, "b"), false);
        check(stored(1, Some(7), "a"), stored(8, None, "a"), false);
        check(stored(1, None, "a"), stored(8, Some(1), "a"), true);
        check(stored(1, None, "a"), stored(1, None, "a"), true);
    }
}
