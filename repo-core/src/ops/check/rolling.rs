//! When was each pack last read and found right? Kept in the repository, so that each check goes on where the last
//! one ended, whoever made it.
//!
//! In: the records of earlier checks. Out: packs in the order in which to read them, and one new record in place of the
//! old ones. A record that cannot be read or kept is told and costs nothing but reading packs again; one that is dated
//! in the future counts for nothing. 24 bytes per pack.

use std::collections::{BTreeMap, HashMap};

use crate::context::{Context, Event, Random};
use crate::format::{CheckRun, Checked};
use crate::id::{CheckedId, PackId};
use crate::ops::check::data::shuffle;
use crate::ops::check::report::{NotKept, VerifiedAge};
use crate::repository::Repository;
use crate::time::{Time, Timestamp};

/// What earlier checks have verified.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By [`Checked::name`].
    verified: HashMap<u64, Timestamp>,
    records: Vec<CheckedId>,
}

impl Ledger {
    /// What the records say together.
    pub(super) fn load(context: &Context, repository: &Repository) -> Self {
        let mut ledger = Self::default();
        let records = match repository.list::<Checked>() {
            Ok(records) => records,
            Err(source) => {
                context.tell(&Event::Warning { error: &NotKept::Listed(source) });
                return ledger;
            }
        };
        let now = context.now().instant;
        for id in records {
            match repository.load::<Checked>(id) {
                Ok(record) => ledger.add(record, now),
                Err(error) if error.is_not_found() => continue,
                Err(source) => context.tell(&Event::Warning { error: &NotKept::Read(source) }),
            }
            ledger.records.push(id);
        }
        ledger
    }

    fn add(&mut self, record: Checked, now: Timestamp) {
        for run in record.runs.into_iter().filter(|run| run.time.instant <= now) {
            for pack in run.packs {
                let last = self.verified.entry(pack).or_insert(run.time.instant);
                *last = (*last).max(run.time.instant);
            }
        }
    }

    fn last(&self, pack: &PackId) -> Option<Timestamp> {
        self.verified.get(&Checked::name(pack)).copied()
    }

    /// Packs that were never verified first, then those whose turn was longest ago; equals in random order.
    pub(super) fn sort_oldest_first(&self, packs: &mut [(PackId, u64)], random: &dyn Random) {
        shuffle(packs, random);
        packs.sort_by_key(|(pack, _)| self.last(pack));
    }

    /// Takes down that these packs were verified at `now`.
    pub(super) fn verify(&mut self, packs: &[PackId], now: Time) {
        self.verified.extend(packs.iter().map(|pack| (Checked::name(pack), now.instant)));
    }

    /// How long ago the packs that exist were verified.
    pub(super) fn age(&self, packs: &[PackId]) -> VerifiedAge {
        let times = || packs.iter().map(|pack| self.last(pack));
        VerifiedAge {
            packs: packs.len() as u64,
            never: times().filter(Option::is_none).count() as u64,
            oldest: times().flatten().min(),
        }
    }

    /// Keeps all of it as one record, then removes the old ones. Packs that are gone are left out.
    pub(super) fn save(self, context: &Context, repository: &Repository, packs: &[PackId]) {
        let mut runs = BTreeMap::<Timestamp, Vec<u64>>::new();
        for pack in packs {
            if let Some(time) = self.last(pack) {
                runs.entry(time).or_default().push(Checked::name(pack));
            }
        }
        let runs = runs.into_iter().map(|(time, mut packs)| {
            packs.sort_unstable();
            packs.dedup();
            CheckRun { time: Time::utc(time), packs }
        });
        let record = Checked { runs: runs.collect(), ..Checked::default() };
        let kept = match repository.save(context, &record) {
            Ok(id) => id,
            Err(source) => return context.tell(&Event::Warning { error: &NotKept::Written(source) }),
        };
        for old in self.records.into_iter().filter(|old| *old != kept) {
            if let Err(source) = repository.backend().remove(old.into()) {
                context.tell(&Event::Warning { error: &NotKept::Removed(source) });
            }
        }
    }
}
