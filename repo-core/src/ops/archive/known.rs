//! Chunks of the parent's file that need no reading, because the source knows which bytes have changed since.
//!
//! In: the parent's entry, and the ranges that may differ. Out: whether an untouched chunk of the parent begins at an
//! offset. Where a chunk ends depends on nothing before its start, so a list with chunks taken over wherever one begins
//! is the list that reading the whole file would give, as long as the file was cut in the same way then.

use std::ops::Range;

use crate::format::Node;
use crate::fs::source::OpenFile;
use crate::id::{BlobId, DataId};
use crate::ops::archive::batch::Place;
use crate::ops::archive::change::Parent;
use crate::ops::archive::draft::Draft;

/// A parent's chunks that are as they were, in order. 48 bytes each.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<KnownChunk>);

/// One chunk of the parent's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownChunk {
    offset: u64,
    pub(super) len: u64,
    pub(super) id: DataId,
}

impl Known {
    /// What need not be read of a file that was opened, for any of those who want it; nothing if the source does not
    /// say what changed.
    pub(super) fn of(drafts: &[Draft<'_>], places: &[Place], open: &dyn OpenFile) -> Self {
        let of_one =
            |place: &Place| Self::of_one(drafts[place.draft].base.parent, place.before.as_ref(), open);
        let Some((first, others)) = places.split_first() else { return Self::default() };
        let mut known = of_one(first);
        for place in others {
            let other = of_one(place);
            known.0.retain(|chunk| other.at(chunk.offset) == Some(*chunk));
        }
        known
    }

    fn of_one(parent: Option<&Parent>, before: Option<&Node>, open: &dyn OpenFile) -> Self {
        let (Some(parent), Some(before)) = (parent, before) else { return Self::default() };
        match open.changes_since(parent.id()) {
            Some(changes) => Self(untouched(parent.chunks(before), changes, open.meta().size)),
            None => Self::default(),
        }
    }

    /// The untouched chunk that begins at this offset.
    pub(super) fn at(&self, offset: u64) -> Option<KnownChunk> {
        let at = self.0.binary_search_by_key(&offset, |chunk| chunk.offset).ok()?;
        Some(self.0[at])
    }
}

/// The chunks that no change touches. The last one ends where the file did, not where a cut is: it is untouched only
/// if the file ends there still. `None` is a chunk that the repository has lost.
fn untouched(chunks: Vec<(DataId, Option<u64>)>, mut changes: Vec<Range<u64>>, size: u64) -> Vec<KnownChunk> {
    changes.retain(|range| range.start < range.end);
    changes.sort_unstable_by_key(|range| range.start);
    let mut changes = changes.into_iter().peekable();
    // How far the changes reach that begin before the present chunk ends.
    let (mut offset, mut changed_until) = (0, 0);
    let mut known = Vec::new();
    let last = chunks.len().saturating_sub(1);
    for (at, (id, len)) in chunks.into_iter().enumerate() {
        // Without its length nobody knows where the chunks behind it begin.
        let Some(len) = len else { break };
        let end = offset + len;
        while let Some(range) = changes.next_if(|range| range.start < end) {
            changed_until = changed_until.max(range.end);
        }
        let fits = if at == last { end == size } else { end <= size };
        if changed_until <= offset && fits && len > 0 {
            known.push(KnownChunk { offset, len, id });
        }
        offset = end;
    }
    known
}

impl Parent {
    /// The chunks of a file's content with their lengths, as far as the repository has them.
    fn chunks(&self, node: &Node) -> Vec<(DataId, Option<u64>)> {
        let content = node.content.as_deref().unwrap_or_default();
        content.iter().map(|id| (*id, self.opened_len(&BlobId::from(*id)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    /// Chunks of these lengths; which of them (counted from 0) are taken over.
    fn check(lens: &[u64], changes: &[Range<u64>], size: u64, expected: &[u8]) {
        let id = |at: usize| DataId(Id::new([u8::try_from(at).unwrap(); 32]));
        let chunks = lens.iter().enumerate().map(|(at, len)| (id(at), Some(*len))).collect();
        let known = untouched(chunks, changes.to_vec(), size);
        let taken: Vec<_> = known.iter().map(|chunk| chunk.id.id().as_bytes()[0]).collect();
        assert_eq!(taken, expected, "{lens:?} {changes:?} {size}");
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one change is a list of one range")]
    fn chunks_are_taken_over_unless_a_change_touches_them() {
        check(&[10, 10, 10], &[], 30, &[0, 1, 2]);
        check(&[10, 10, 10], &[5..6], 30, &[1, 2]);
        check(&[10, 10, 10], &[9..10], 30, &[1, 2]);
        check(&[10, 10, 10], &[10..11], 30, &[0, 2]);
        check(&[10, 10, 10], &[25..99, 0..1], 30, &[1]);
        check(&[10, 10, 10], &[9..11], 30, &[2]);
        check(&[10, 10, 10], &[0..25, 3..4], 30, &[]);
        check(&[10, 10, 10], &[7..7], 30, &[0, 1, 2]);
    }

    #[test]
    fn last_chunk_is_taken_over_only_where_the_file_still_ends() {
        check(&[10, 10], &[], 25, &[0]);
        check(&[10, 10], &[], 15, &[0]);
        check(&[10, 10], &[], 10, &[0]);
        check(&[10, 10], &[], 9, &[]);
    }

    #[test]
    fn nothing_is_taken_over_behind_a_lost_chunk() {
        let id = DataId(Id::new([7; 32]));
        let known = untouched(vec![(id, Some(5)), (id, None), (id, Some(5))], Vec::new(), 15);
        assert_eq!(known.len(), 1);
    }
}
