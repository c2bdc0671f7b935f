//! What a policy leaves over time, if backups go on as before. Pure: nothing is read or removed.
//!
//! In: the times of a group's snapshots, a rhythm, a span. Out: how many snapshots there are at moments of that
//! span, and how far back they reach. After every backup the policy is applied, as a nightly job does it.

use std::time::Duration;

use super::policy::{Candidate, Judge, Policy, Span, judge};
use crate::context::{Cancel, Cancelled};
use crate::time::{Civil, Time, Timestamp, Zone};

/// At most so many backups are simulated: each is judged together with all that are left.
const BACKUPS_MAX: u64 = 10_000;

/// Newer gaps than this many say nothing about the rhythm of backups today.
const GAPS: usize = 15;

/// What is assumed.
#[derive(Debug, Clone)]
pub struct Simulation<'a> {
    /// What to keep.
    pub policy: &'a Policy,
    /// When it begins.
    pub now: Time,
    /// How far it looks.
    pub span: Span,
    /// The time from one backup to the next; see [`rhythm`].
    pub every: Duration,
    /// The zone of this machine.
    pub local: &'a Zone,
    /// Whose clock tells hours and days, as for the policy itself.
    pub zone: Option<&'a Zone>,
    /// How many moments to show, evenly over the span, the beginning not counted.
    pub moments: u32,
}

/// The state at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FutureState {
    /// The moment.
    pub time: Time,
    /// Snapshots there are.
    pub kept: usize,
    /// Snapshots removed since the beginning.
    pub removed: u64,
    /// The oldest snapshot; `None` if there is none.
    pub oldest: Option<Time>,
}

/// Why nothing is simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// Too much work for an answer.
    #[error("{backups} backups are too many to simulate")]
    TooLong {
        /// How many there would be.
        backups: u64,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The time between two backups, by the middle one of the last gaps; a day if there are no two snapshots.
pub fn rhythm(newest_first: &[Time]) -> Duration {
    let gaps = newest_first.windows(2).map(|pair| pair[0].instant.since(pair[1].instant));
    let mut gaps: Vec<Duration> = gaps.filter(|gap| !gap.is_zero()).take(GAPS).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(Duration::from_hours(24))
}

/// Lets backups happen and the policy judge them, from now to the end of the span.
///
/// `snapshots` are those there are now, newest first; the policy judges them at the beginning.
pub fn simulate(
    simulation: &Simulation<'_>,
    snapshots: &[Candidate<'_>],
    cancel: &Cancel,
) -> Result<Vec<FutureState>, SimulateError> {
    let start = simulation.now.instant;
    let end = end(simulation);
    let every = simulation.every.max(Duration::from_secs(1));
    let backups = end.since(start).as_secs() / every.as_secs().max(1);
    if backups > BACKUPS_MAX {
        return Err(SimulateError::TooLong { backups });
    }
    let moments = u64::from(simulation.moments.max(1));
    let mut kept = snapshots.to_vec();
    let mut removed = apply(simulation, start, &mut kept);
    let mut states = vec![state(simulation, start, &kept, removed)];
    let mut made = 0;
    for moment in 1..=moments {
        let whole = end.since(start);
        let until = start.saturating_add(Duration::from_secs(whole.as_secs() * moment / moments));
        loop {
            let next =
                start.saturating_add(every.saturating_mul(u32::try_from(made + 1).unwrap_or(u32::MAX)));
            if next > until {
                break;
            }
            cancel.check()?;
            made += 1;
            // What is dated later than the backup stays before it.
            let place = kept.partition_point(|candidate| candidate.time.instant > next);
            kept.insert(place, Candidate { time: simulation.local.at(next), tags: &[] });
            removed += apply(simulation, next, &mut kept);
        }
        states.push(state(simulation, until, &kept, removed));
    }
    Ok(states)
}

/// The end of the span on the local clock.
fn end(simulation: &Simulation<'_>) -> Timestamp {
    let Span { years, months, days, hours } = simulation.span;
    let civil = simulation.now.civil();
    let month = i64::from(civil.month) - 1 + i64::from(months);
    let later = Civil {
        year: civil.year + i64::from(years) + month.div_euclid(12),
        month: u8::try_from(month.rem_euclid(12) + 1).unwrap_or(1),
        ..civil
    };
    let seconds = later.to_seconds() + i64::from(days) * 86_400 + i64::from(hours) * 3600;
    simulation.local.resolve(Civil::from_seconds(seconds)).instant
}

/// Drops what the policy does not keep at that time, and says how many.
fn apply(simulation: &Simulation<'_>, now: Timestamp, kept: &mut Vec<Candidate<'_>>) -> u64 {
    // A backup that was just made is past.
    let now = now.saturating_add(Duration::from_secs(1));
    let view = Judge { now, local: simulation.local, zone: simulation.zone };
    let before = kept.len();
    let mut reasons = judge(simulation.policy, &view, kept).into_iter();
    kept.retain(|_| reasons.next().is_some_and(|reasons| !reasons.is_empty()));
    (before - kept.len()) as u64
}

fn state(simulation: &Simulation<'_>, now: Timestamp, kept: &[Candidate<'_>], removed: u64) -> FutureState {
    let oldest = kept.last().map(|candidate| candidate.time);
    FutureState { time: simulation.local.at(now), kept: kept.len(), removed, oldest }
}

#[cfg(test)]
mod tests {
    use super::super::policy::{Count, Each};
    use super::*;

    const UTC: &Zone = &Zone::UTC;

    fn simulation(policy: &Policy) -> Simulation<'_> {
        let now = "2024-01-31T12:00:00Z".parse().unwrap();
        let span = Span { months: 1, ..Span::default() };
        let every = Duration::from_hours(24);
        Simulation { policy, now, span, every, local: UTC, zone: None, moments: 3 }
    }

    #[test]
    fn counts_grow_to_what_the_policy_keeps_and_stay_there() {
        let each = Each { daily: Count::AtMost(7), monthly: Count::AtMost(2), ..Each::default() };
        let policy = Policy { each, ..Policy::default() };
        let old = "2024-01-01T00:00:00Z".parse().unwrap();
        let found =
            simulate(&simulation(&policy), &[Candidate { time: old, tags: &[] }], &Cancel::new()).unwrap();
        let told = |state: &FutureState| {
            let oldest = state.oldest.map(|time| time.to_string()).unwrap_or_default();
            format!("{} {} -{} {}", state.time, state.kept, state.removed, oldest)
        };
        let expected = [
            "2024-01-31T12:00:00Z 1 -0 2024-01-01T00:00:00Z",
            "2024-02-10T20:00:00Z 8 -3 2024-01-01T00:00:00Z",
            "2024-02-21T04:00:00Z 8 -13 2024-01-01T00:00:00Z",
            "2024-03-02T12:00:00Z 7 -25 2024-02-25T12:00:00Z",
        ];
        assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn too_many_backups_are_refused_before_the_work_begins() {
        let policy = Policy { last: Count::AtMost(1), ..Policy::default() };
        let hasty = Simulation { every: Duration::from_secs(1), ..simulation(&policy) };
        assert!(matches!(simulate(&hasty, &[], &Cancel::new()), Err(SimulateError::TooLong { .. })));
        let stopped = Cancel::new();
        stopped.cancel();
        assert!(matches!(simulate(&simulation(&policy), &[], &stopped), Err(SimulateError::Cancelled(_))));
    }

    #[test]
    fn rhythm_is_the_middle_gap_and_a_day_without_any() {
        let check = |hours: &[u64], expected_hours| {
            let epoch = Timestamp { seconds: 0, nanos: 0 };
            let at = |hour: &u64| Time::utc(epoch.saturating_add(Duration::from_hours(*hour)));
            let times: Vec<Time> = hours.iter().map(at).collect();
            assert_eq!(rhythm(&times), Duration::from_hours(expected_hours), "{hours:?}");
        };
        check(&[], 24);
        check(&[5], 24);
        check(&[5, 5], 24);
        check(&[100, 90, 80, 0], 10);
        check(&[100, 99, 90], 9);
    }
}
