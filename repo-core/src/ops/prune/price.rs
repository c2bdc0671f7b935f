//! What a plan costs in money, where the storage asks for some.
//!
//! In: a plan and the storage's prices. Out: an estimate, rather too high than too low. Pure but for the question when
//! packs were written, which is put for a sample of them if the storage charges for early removal.

#![expect(clippy::cast_precision_loss, reason = "sizes and counts into money, an estimate")]

use std::time::Duration;

use crate::backend::BackendError;
use crate::context::Context;
use crate::id::PackId;
use crate::ops::prune::{Fate, PrunePlan};

/// A gigabyte as it is billed, in bytes.
const GB: f64 = 1e9;
/// Months are billed as so many days.
const MONTH_DAYS: f64 = 30.0;
/// So many packs are asked for their age; the others are taken to be alike.
const SAMPLE: usize = 100;

/// What a storage charges, in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Prices {
    /// For one call that reads.
    pub get: f64,
    /// For one call that writes or lists.
    pub put: f64,
    /// For one call that removes.
    pub remove: f64,
    /// For reading a gigabyte: transfer and retrieval together.
    pub read_gb: f64,
    /// For a gigabyte that lies there for a month.
    pub month_gb: f64,
    /// So many days are charged for even if a file goes earlier.
    pub days_min: u32,
}

/// What a plan costs, in the currency of the prices.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bill {
    /// All calls.
    pub requests: f64,
    /// Reading what is moved.
    pub reading: f64,
    /// What is charged for packs that go before their time.
    pub early: f64,
    /// What is freed costs so much every month that it stays.
    pub saved_month: f64,
}

impl Bill {
    /// All that carrying the plan out costs.
    pub fn total(&self) -> f64 {
        self.requests + self.reading + self.early
    }
}

impl PrunePlan {
    /// What carrying the plan out costs, its later removals included, and what it saves.
    ///
    /// Costs a request for each of at most 100 packs where the storage charges for early removal.
    pub fn bill(&self, context: &Context, prices: &Prices) -> Result<Bill, BackendError> {
        let (cost, stats) = (self.cost(), self.stats());
        let going = self.going();
        let removals = (cost.remove_requests.max(going.len() as u64)) as f64;
        let bytes: u64 = going.iter().map(|(_, size)| size).sum();
        Ok(Bill {
            requests: cost.read_requests as f64 * prices.get
                + cost.write_requests as f64 * prices.put
                + removals * prices.remove,
            reading: cost.read_bytes as f64 / GB * prices.read_gb,
            early: bytes as f64 / GB * prices.month_gb * self.days_early(context, &going, prices)?
                / MONTH_DAYS,
            saved_month: (stats.pruned().bytes + stats.expired.bytes) as f64 / GB * prices.month_gb,
        })
    }

    /// Packs that go, now or after the time of grace, with their sizes in bytes.
    fn going(&self) -> Vec<(PackId, u64)> {
        let packs = self.index.packs().iter().zip(&self.decision.fates);
        let going = packs.filter(|(_, fate)| !matches!(fate, Fate::Keep | Fate::Wait));
        let mut going: Vec<_> = going.map(|(pack, _)| (pack.id, pack.file_len())).collect();
        going.retain(|(pack, _)| !self.decision.missing.contains(pack));
        going.extend(&self.decision.unindexed);
        going
    }

    /// For how many days, on average, packs are charged for that lie there no longer.
    fn days_early(
        &self,
        context: &Context,
        going: &[(PackId, u64)],
        prices: &Prices,
    ) -> Result<f64, BackendError> {
        if prices.days_min == 0 || prices.month_gb <= 0.0 || going.is_empty() {
            return Ok(0.0);
        }
        let (now, grace) = (context.now().instant, self.options.mode.grace());
        let step = going.len().div_ceil(SAMPLE);
        let (mut days, mut count) = (0.0, 0.0);
        for (pack, _) in going.iter().step_by(step) {
            let written = match self.repository.backend().written_at((*pack).into()) {
                Err(error) if error.is_not_found() => continue,
                result => result?,
            };
            // Where nobody says, it may have been written just now.
            let age = written.map_or(Duration::ZERO, |written| now.since(written)) + grace;
            days += (f64::from(prices.days_min) - age.as_secs_f64() / 86_400.0).max(0.0);
            count += 1.0;
        }
        Ok(if count > 0.0 { days / count } else { 0.0 })
    }
}
