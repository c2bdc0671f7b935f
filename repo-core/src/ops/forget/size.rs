//! Keeps snapshots until all that stays needs so many bytes, and says what each one that goes sets free.
//!
//! In: a plan by other rules, perhaps one without any, and the snapshots that stay anyhow. Out: the plan with more snapshots
//! kept, the newest first, as long as the stored bytes of everything that stays are within the limit. Each blob counts
//! once, as it is stored. Memory: 32 bytes per different tree and 1 bit per blob.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::context::{Cancelled, Context, Event, Stage};
use crate::format::PackHeader;
use crate::id::{BlobId, SnapshotId, TreeId};
use crate::index::BlobSet;
use crate::ops::forget::{ForgetPlan, Kept, Reason};
use crate::repository::{ReadError, Reader};
use crate::snapshots::{GroupKey, Stored};
use crate::walk::{SeenTrees, reach};

/// Why snapshots cannot be chosen by their size.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// A tree cannot be read, so nobody knows what the snapshot needs.
    #[error("cannot tell how much snapshot {} needs", id.short())]
    Tree {
        /// Which snapshot.
        id: SnapshotId,
        /// Which of its trees.
        tree: TreeId,
        /// Why.
        source: Box<ReadError>,
    },
    /// Nothing of a group would stay.
    #[error("refusing to delete last snapshot of snapshot group \"{group}\"")]
    EmptiesGroup {
        /// What the group's snapshots share.
        group: GroupKey,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A plan with what it comes to.
#[derive(Debug)]
pub struct SizedPlan {
    /// The plan.
    pub plan: ForgetPlan,
    /// Stored bytes that everything needs that stays.
    pub kept_bytes: u64,
    /// Every snapshot that goes, in the order of going, with the stored bytes that nobody needs once it and those before
    /// it are gone. They are free after a prune.
    pub freed: Vec<(SnapshotId, u64)>,
}

/// Keeps more of what a plan would remove, the newest first, until all that stays needs `bytes`.
///
/// `others` are the repository's snapshots that the plan does not judge: what they need is needed anyhow. The plan was
/// made with [`more_rules`](crate::ops::forget::ForgetOptions::more_rules). What is not kept by then is the oldest.
pub fn keep_until_size(
    context: &Context,
    reader: &Reader,
    mut plan: ForgetPlan,
    others: &[Stored],
    bytes: u64,
) -> Result<SizedPlan, SizeError> {
    let kept = plan.groups.iter().flat_map(|group| &group.keep).map(|kept| &kept.stored);
    let stays: Vec<Stored> = others.iter().chain(kept).cloned().collect();
    let mut candidates: Vec<Stored> = plan.removed().cloned().collect();
    candidates.sort_by_key(|stored| Reverse((stored.snapshot.time.instant, stored.id)));

    let stage = Stage::FindUsed;
    let total = (stays.len() + candidates.len()) as u64;
    context.tell(&Event::Begin { stage, total, bytes: 0 });
    let tally = Tally::new(context, reader);
    let mut kept_bytes = 0_u64;
    for stored in &stays {
        kept_bytes += tally.adds(stored)?;
    }
    let (mut fits, mut freed, mut more) = (true, Vec::new(), HashSet::new());
    for stored in &candidates {
        let adds = tally.adds(stored)?;
        fits &= kept_bytes.saturating_add(adds) <= bytes;
        if fits {
            kept_bytes += adds;
            more.insert(stored.id);
        } else {
            freed.push((stored.id, adds));
        }
    }
    context.tell(&Event::End { stage });
    freed.reverse();
    for group in &mut plan.groups {
        let (keep, remove) = group.remove.drain(..).partition(|stored| more.contains(&stored.id));
        group.remove = remove;
        let keep: Vec<Stored> = keep;
        group.keep.extend(keep.into_iter().map(|stored| Kept { stored, reasons: vec![Reason::Size(bytes)] }));
        group.keep.sort_by_key(|kept| Reverse(kept.stored.snapshot.time.instant));
        if group.keep.is_empty() {
            return Err(SizeError::EmptiesGroup { group: group.key.clone() });
        }
    }
    Ok(SizedPlan { plan, kept_bytes, freed })
}

/// What was counted so far.
struct Tally<'a> {
    context: &'a Context,
    reader: &'a Reader,
    seen: Mutex<SeenTrees>,
    blobs: BlobSet,
}

impl<'a> Tally<'a> {
    fn new(context: &'a Context, reader: &'a Reader) -> Self {
        let blobs = BlobSet::new(Arc::clone(reader.index()));
        Self { context, reader, seen: Mutex::default(), blobs }
    }

    /// Stored bytes of what a snapshot needs beyond all before it.
    fn adds(&self, stored: &Stored) -> Result<u64, SizeError> {
        let (bytes, failed) = (AtomicU64::new(0), Mutex::new(None));
        let count = |blob: BlobId| {
            if self.blobs.insert(&blob)
                && let Some(place) = self.reader.index().place_of(&blob)
            {
                let len = u64::from(place.len) + entry_len(place.plain_len);
                bytes.fetch_add(len, Ordering::Relaxed);
            }
        };
        reach(self.context, self.reader, [stored.snapshot.tree], &self.seen, |reached| {
            count(reached.id.into());
            match reached.tree {
                Ok(tree) => {
                    let content = tree.nodes.iter().filter_map(|node| node.content.as_ref()).flatten();
                    content.for_each(|id| count((*id).into()));
                }
                Err(error) => {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((reached.id, error));
                }
            }
        })?;
        self.context.tell(&Event::Progress { stage: Stage::FindUsed, items: 1, bytes: 0 });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((tree, source)) => Err(SizeError::Tree { id: stored.id, tree, source: source.into() }),
            None => Ok(bytes.into_inner()),
        }
    }
}

/// What a blob takes in its pack's header.
fn entry_len(plain_len: Option<NonZeroU32>) -> u64 {
    PackHeader::entry_len(plain_len).into()
}
