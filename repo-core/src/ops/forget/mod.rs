//! Forget: drop snapshots that a policy does not keep, or those that were named.
//!
//! ```text
//! snapshots ─┬ policy.rs    pure: which to keep, and why
//!            ├ plan         groups, each judged alone; refuses what looks like a mistake
//!            │    └ execute removes the snapshots' files, under an exclusive lock
//!            ├ size.rs      keeps more, until what stays needs so many bytes
//!            └ simulate.rs  pure: what a policy leaves over time
//! ```
//!
//! Only snapshot files go; their data stays until it is pruned. A protected snapshot is never removed.

mod policy;
mod simulate;
mod size;

pub use policy::{Candidate, Count, Each, Judge, Period, Policy, Reason, Span, SpanError, judge};
pub use simulate::{FutureState, SimulateError, Simulation, rhythm, simulate};
pub use size::{SizeError, SizedPlan, keep_until_size};

use std::collections::HashSet;
use std::time::Duration;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event, Stage};
use crate::id::SnapshotId;
use crate::parallel;
use crate::repository::{LockError, LockGuard, Repository};
use crate::snapshots::{self, GroupBy, GroupKey, Stored, is_protected};
use crate::time::{Time, Zone};

/// A snapshot that is dated later than this from now has a wrong date; less may be a clock or a time zone.
const FUTURE: Duration = Duration::from_hours(24);

/// How to choose. Name what matters and take the rest from [`Default`].
#[derive(Debug, Clone, Default)]
pub struct ForgetOptions {
    /// What to keep.
    pub policy: Policy,
    /// Which snapshots belong together; the policy counts in each group anew.
    pub group_by: GroupBy,
    /// Whose clock tells hours and days; `None` means the one that each snapshot's writer saw.
    pub zone: Option<Zone>,
    /// Whether a policy without rules is meant: it removes all that is not protected.
    pub remove_all: bool,
    /// Whether [`keep_until_size`] follows, so that for now there need not be a rule, nor one that keeps something.
    pub more_rules: bool,
    /// Whether snapshots dated in the future count as the newest ones instead of being refused.
    pub allow_future: bool,
}

/// Why nothing is forgotten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// There is no rule.
    #[error("no policy was specified, no snapshots will be removed")]
    NoPolicy,
    /// The rules keep nothing of a group.
    #[error("refusing to delete last snapshot of snapshot group \"{group}\"")]
    EmptiesGroup {
        /// What the group's snapshots share.
        group: GroupKey,
    },
    /// A snapshot seems to be newer than now, so that newer ones in truth would go before it.
    #[error("snapshot {} is dated in the future: {time}", id.short())]
    Future {
        /// The first of them.
        id: SnapshotId,
        /// Its date.
        time: Time,
        /// How many there are.
        count: usize,
    },
    /// The lock was lost.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A snapshot to keep, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The snapshot.
    pub stored: Stored,
    /// Every reason, at least one.
    pub reasons: Vec<Reason>,
}

/// What becomes of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPlan {
    /// What its snapshots share.
    pub key: GroupKey,
    /// Those that stay, newest first.
    pub keep: Vec<Kept>,
    /// Those that go, newest first.
    pub remove: Vec<Stored>,
}

/// What is to be forgotten: decided, not done.
#[derive(Debug, Clone, PartialEq)]
pub struct ForgetPlan {
    /// Every group, in the order of their keys. Snapshots that were named have none.
    pub groups: Vec<GroupPlan>,
    /// Those that were named and may go.
    pub named: Vec<Stored>,
    /// Those that were named and stay, because they are protected.
    pub protected: Vec<Stored>,
}

/// What was forgotten.
#[derive(Debug)]
pub struct ForgetReport {
    /// Snapshots that are gone, in the order in which they went.
    pub removed: Vec<SnapshotId>,
    /// Snapshots that could not be removed, and why.
    pub failed: Vec<(SnapshotId, BackendError)>,
}

/// Decides by the policy. Changes nothing.
///
/// The snapshots are those that may go, in any order; what is not among them is not counted either.
///
/// ```
/// use repo_core::ops::forget::{self, Count, ForgetOptions, Policy};
/// use repo_core::repository::{LockKind, LockOptions};
/// use repo_core::snapshots;
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # for _ in 0..3 {
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// # }
///
/// let lock = repository.lock(&context, LockKind::Exclusive, &LockOptions::default())?;
/// let policy = Policy { last: Count::AtMost(2), ..Policy::default() };
/// let options = ForgetOptions { policy, ..ForgetOptions::default() };
/// let plan = forget::plan(&context, snapshots::list(&context, &repository)?, &options)?;
/// assert_eq!(plan.removed().count(), 1);
/// let report = plan.execute(&context, &repository, &lock)?;
/// assert!(report.failed.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn plan(
    context: &Context,
    snapshots: Vec<Stored>,
    options: &ForgetOptions,
) -> Result<ForgetPlan, ForgetError> {
    if options.policy.is_empty() && !options.remove_all && !options.more_rules {
        return Err(ForgetError::NoPolicy);
    }
    if !options.allow_future {
        refuse_future(context, &snapshots)?;
    }
    let view = Judge { now: context.clock.now(), local: &context.zone, zone: options.zone.as_ref() };
    let mut groups = Vec::new();
    for (key, mut members) in snapshots::group(snapshots, options.group_by) {
        members.sort_by_key(|stored| std::cmp::Reverse(stored.snapshot.time.instant));
        let candidates: Vec<Candidate<'_>> = members.iter().map(Candidate::from).collect();
        let judged = judge(&options.policy, &view, &candidates);
        let (mut keep, mut remove) = (Vec::new(), Vec::new());
        for (stored, reasons) in members.into_iter().zip(judged) {
            if reasons.is_empty() {
                remove.push(stored);
            } else {
                keep.push(Kept { stored, reasons });
            }
        }
        if keep.is_empty() && !options.policy.is_empty() && !options.more_rules {
            return Err(ForgetError::EmptiesGroup { group: key });
        }
        groups.push(GroupPlan { key, keep, remove });
    }
    Ok(ForgetPlan { groups, named: Vec::new(), protected: Vec::new() })
}

/// Decides that these go, whatever a policy would say; protected ones stay. Changes nothing.
pub fn plan_named(snapshots: Vec<Stored>) -> ForgetPlan {
    let (protected, named) = snapshots.into_iter().partition(|stored| is_protected(&stored.snapshot.tags));
    ForgetPlan { groups: Vec::new(), named, protected }
}

/// A wrong date takes the place of the newest snapshots and is kept until it is reached.
fn refuse_future(context: &Context, snapshots: &[Stored]) -> Result<(), ForgetError> {
    let limit = context.clock.now().saturating_add(FUTURE);
    let later = |stored: &&Stored| stored.snapshot.time.instant > limit;
    let first = snapshots.iter().filter(later).min_by_key(|stored| (stored.snapshot.time.instant, stored.id));
    first.map_or(Ok(()), |first| {
        let count = snapshots.iter().filter(later).count();
        Err(ForgetError::Future { id: first.id, time: first.snapshot.time, count })
    })
}

impl ForgetPlan {
    /// Every snapshot that goes.
    pub fn removed(&self) -> impl Iterator<Item = &Stored> {
        self.groups.iter().flat_map(|group| &group.remove).chain(&self.named)
    }

    /// The snapshots in two rounds: the oldest of each group goes after all others.
    ///
    /// A rule that has not used up its count keeps the oldest snapshot of a group. Stopped in the middle, the oldest
    /// gone and others still there, another one would be the oldest, and the same command again would keep more.
    fn rounds(&self) -> [Vec<SnapshotId>; 2] {
        let last: Vec<SnapshotId> =
            self.groups.iter().filter_map(|group| group.remove.last()).map(|stored| stored.id).collect();
        let later: HashSet<SnapshotId> = last.iter().copied().collect();
        [self.removed().map(|stored| stored.id).filter(|id| !later.contains(id)).collect(), last]
    }

    /// Removes the snapshots. The lock must be exclusive; it is looked at before each of them.
    ///
    /// Stopped at any point, the same run again ends as this one would have. What cannot be removed is in the report
    /// and does not keep others from going.
    ///
    /// # Errors
    /// Returns [`ForgetError::Lock`] if the lock was lost, [`ForgetError::Cancelled`] on request.
    pub fn execute(
        self,
        context: &Context,
        repository: &Repository,
        lock: &LockGuard,
    ) -> Result<ForgetReport, ForgetError> {
        let rounds = self.rounds();
        let total = rounds.iter().map(Vec::len).sum::<usize>() as u64;
        let mut report = ForgetReport { removed: Vec::new(), failed: Vec::new() };
        if total == 0 {
            return Ok(report);
        }
        context.tell(&Event::Begin { stage: Stage::Remove, total, bytes: 0 });
        for round in rounds {
            parallel::stream(
                repository.backend().properties().connections,
                round,
                |id| {
                    context.cancel.check()?;
                    lock.check()?;
                    Ok::<_, ForgetError>((id, snapshots::remove(repository, id)))
                },
                |(id, result)| {
                    match result {
                        Ok(()) => report.removed.push(id),
                        Err(error) => report.failed.push((id, error)),
                    }
                    context.tell(&Event::Progress { stage: Stage::Remove, items: 1, bytes: 0 });
                    Ok(())
                },
            )?;
        }
        context.tell(&Event::End { stage: Stage::Remove });
        Ok(report)
    }
}
