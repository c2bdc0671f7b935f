//! The end of a round: the snapshot becomes visible when all of it is there, and all of it is still there afterwards.
//!
//! ```text
//! lost before? ─ store again ─→ snapshot ─→ somebody alone at work? wait ─→ lost after? ─ store again, else take it back
//! ```
//!
//! Locks are advice: one may be lost while the machine sleeps, or taken away by a person, and some programs take none. So
//! nothing is believed but what is seen. Whoever lists snapshots after ours is saved keeps what it needs. Whoever listed
//! them before, and removes afterwards, holds a lock alone until it has ended, and that is seen after the saving.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::context::Event;
use crate::format::Snapshot;
use crate::id::{SnapshotId, TreeId};
use crate::ops::archive::backup::Backup;
use crate::ops::archive::destination::Destination;
use crate::ops::archive::report::{ArchiveError, Lost};
use crate::repository::{LockError, Reader, Receipt, Reliance};
use crate::snapshots;
use crate::walk::reach;

/// Pauses in milliseconds while somebody works alone. The first are short: who only tries to lock, and sees ours, is
/// gone at once.
const PAUSES_MS: [u64; 8] = [300, 600, 1000, 2000, 5000, 10_000, 20_000, 40_000];

/// So long is waited for somebody who works alone: longer than an abandoned lock takes to be called stale.
const WAIT_MAX: Duration = Duration::from_mins(45);

/// What the snapshot rests on.
pub(super) struct Rests {
    pub(super) reliance: Reliance,
    /// Directories taken over without a look at what lies below.
    pub(super) kept: Vec<TreeId>,
    /// Knows where everything lay.
    pub(super) old: Reader,
}

impl Backup<'_> {
    /// Saves the snapshot and gives its name once it is sure to be whole; or what is lost, and then there is none.
    pub(super) fn commit(
        &self,
        snapshot: &Snapshot,
        _receipt: &Receipt,
        mut rests: Rests,
    ) -> Result<Result<SnapshotId, Lost>, ArchiveError> {
        let Destination { context, repository, .. } = self.destination;
        context.cancel.check()?;
        if (self.lock.check().is_err() || rests.reliance.index_was_replaced(repository)?)
            && let Some(lost) = self.mend(&mut rests)?
        {
            return Ok(Err(lost));
        }
        let id = repository.save(context, snapshot).map_err(ArchiveError::Snapshot)?;
        let met = self.wait_for_the_lonely(id)?;
        let mut removed = met || self.lock.check().is_err() || rests.reliance.is_touched(repository)?;
        while removed {
            if let Some(lost) = self.mend(&mut rests)? {
                // It is ours, nobody can have more of it than we have, and one that is not whole helps nobody.
                return match snapshots::remove(repository, id) {
                    Ok(()) => Ok(Err(lost)),
                    Err(source) => Err(ArchiveError::NotWhole { id, lost: lost.into(), source }),
                };
            }
            // Whoever removed something may have gone on meanwhile.
            removed = rests.reliance.is_touched(repository)?;
        }
        Ok(Ok(id))
    }

    /// Looks everything up, and stores what is lost once more, from where it still lies. Gives what lies nowhere.
    fn mend(&self, rests: &mut Rests) -> Result<Option<Lost>, ArchiveError> {
        let Destination { context, repository, .. } = self.destination;
        let Rests { reliance, kept, old } = rests;
        let unread = Mutex::new(Vec::new());
        reach(context, old, kept.iter().copied(), &Mutex::default(), |reached| {
            reliance.rely(&reached.id.into());
            match reached.tree {
                Ok(tree) => {
                    for id in tree.nodes.iter().filter_map(|node| node.content.as_ref()).flatten() {
                        reliance.rely(&(*id).into());
                    }
                }
                // What it needs is not known any more.
                Err(_) => unread.lock().unwrap_or_else(PoisonError::into_inner).push(reached.id),
            }
        })?;
        let unread = unread.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let [first, ..] = unread[..] {
            return Ok(Some(Lost { count: unread.len(), first: first.into() }));
        }
        let lost = reliance.look_closely(context, repository)?;
        let gone = reliance.salvage(context, old, lost, &self.destination.writer)?;
        Ok(gone.first().map(|first| Lost { count: gone.len(), first: *first }))
    }

    /// Waits until nobody works alone; tells whether anybody did.
    fn wait_for_the_lonely(&self, id: SnapshotId) -> Result<bool, ArchiveError> {
        let Destination { context, repository, .. } = self.destination;
        let start = context.clock.elapsed();
        let mut pauses = PAUSES_MS.into_iter().chain(std::iter::repeat(60_000)).map(Duration::from_millis);
        let mut met = false;
        loop {
            let holder = match repository.who_is_alone(context, &self.lock) {
                Ok(None) => return Ok(met),
                Ok(Some(holder)) => holder,
                Err(error @ LockError::Unreadable { .. }) => {
                    // Whatever it says, who wrote it has to live with what is seen next.
                    context.tell(&Event::Warning { error: &error });
                    return Ok(true);
                }
                Err(error) => return Err(error.into()),
            };
            met = true;
            if context.clock.elapsed().saturating_sub(start) >= WAIT_MAX {
                return Err(ArchiveError::Unsettled { id, holder });
            }
            context.clock.sleep(pauses.next().unwrap_or(WAIT_MAX), &context.cancel)?;
        }
    }
}
