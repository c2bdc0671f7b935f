//! Scenarios that remove, or replace snapshots by others.

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_core::backend::MemoryBackend;
use repo_core::filter::{Case, Patterns, Selection};
use repo_core::ops::forget::{self, Count, ForgetOptions, Policy};
use repo_core::ops::prune::{self, MaxUnused, Postponed, PruneMode, PruneOptions};
use repo_core::ops::rewrite::{Old, RewriteChange, RewriteOptions, Rewritten, rewrite};
use repo_core::ops::tag::{TagChange, tag};
use repo_core::repository::{LockGuard, LockKind, LockOptions, Repository};
use repo_core::snapshots::{self, Stored};
use tests::repo::{context, open};

use super::judge::Found;
use super::{Ground, Scenario, said};
use crate::prune::{History, crash};

fn alone(ground: &Ground, repository: &Repository) -> Result<LockGuard, String> {
    repository.lock(&ground.context, LockKind::Exclusive, &LockOptions::default()).map_err(said)
}

/// The snapshots that these tests make; a backup that came later is no concern of the command.
fn ours(ground: &Ground, repository: &Repository) -> Result<Vec<Stored>, String> {
    let mut all = snapshots::list(&ground.context, repository).map_err(said)?;
    all.retain(|stored| stored.snapshot.hostname == "host");
    Ok(all)
}

/// Five snapshots that share something.
fn five() -> History {
    let mut history = History::new(2);
    for number in 0..5_u8 {
        history.back_up(&[number, number + 1, number + 2, 10 + number], false);
    }
    history
}

// ── forget and prune ───────────────────────────────────────────────────────────────────────────────────────

const LEFT: usize = 2;

fn forget(ground: &Ground, then_prune: bool) -> Result<(), String> {
    let (context, repository) = (&ground.context, ground.open()?);
    let lock = alone(ground, &repository)?;
    let policy = Policy { last: Count::AtMost(LEFT as u64), ..Policy::default() };
    let options = ForgetOptions { policy, ..ForgetOptions::default() };
    let plan = forget::plan(context, ours(ground, &repository)?, &options).map_err(said)?;
    let report = plan.execute(context, &repository, &lock).map_err(said)?;
    if let Some((id, error)) = report.failed.into_iter().next() {
        return Err(format!("{id}: {}", said(error)));
    }
    if then_prune {
        let plan = prune::plan(context, &repository, lock, &everything(PruneMode::Instant)).map_err(said)?;
        plan.execute(context).map_err(said)?;
    }
    Ok(())
}

fn forgetting(then_prune: bool) -> Scenario {
    let history = five();
    let goes: Vec<_> = history.snapshots.iter().map(|(id, _)| *id).take(5 - LEFT).collect();
    let gone = goes.clone();
    let scenario = Scenario::new(&history.memory, move |ground| forget(ground, then_prune))
        .done(move |found, _| !gone.iter().any(|id| found.visible().contains(id)));
    Scenario { goes: goes.into_iter().collect(), ..scenario }
}

/// All but the last two go.
pub(super) fn forget_some() -> Scenario {
    forgetting(false)
}

/// The same, and under the same lock what nobody needs any more.
pub(super) fn forget_and_prune() -> Scenario {
    forgetting(true)
}

fn everything(mode: PruneMode) -> PruneOptions {
    PruneOptions { mode, max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() }
}

fn pruning(start: &MemoryBackend, mode: PruneMode) -> Scenario {
    let run = move |ground: &Ground| {
        let report = prune::prune(&ground.context, &ground.open()?, &everything(mode)).map_err(said)?;
        if matches!(report.postponed, Some(Postponed::Full)) {
            return Err("there is no room".to_owned());
        }
        let left = report.not_removed.into_iter().next();
        left.map_or(Ok(()), |(pack, error)| Err(format!("{pack}: {}", said(error))))
    };
    Scenario::new(start, run)
}

fn nothing_is_too_much(found: &Found, _: &Arc<MemoryBackend>) -> bool {
    found.unlisted.is_empty()
}

/// Packs to keep, to repack and to remove, copies, leftovers.
pub(super) fn prune_instant() -> Scenario {
    pruning(&crash::start().memory, PruneMode::Instant).done(nothing_is_too_much)
}

/// Whole packs go, nothing moves.
pub(super) fn prune_removes_only() -> Scenario {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3], false);
    history.back_up(&[11, 12, 13], false);
    history.forget(0);
    pruning(&history.memory, PruneMode::Instant).done(nothing_is_too_much)
}

/// There is nothing to do.
pub(super) fn prune_nothing() -> Scenario {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3], false);
    pruning(&history.memory, PruneMode::Instant).done(nothing_is_too_much)
}

/// Beside others, first phase: what nobody needs leaves the index and is marked.
pub(super) fn prune_marks() -> Scenario {
    pruning(&crash::start().memory, PruneMode::BESIDE)
}

/// Beside others, second phase: what was marked goes, or comes back where it is in use again.
pub(super) fn prune_marked() -> Scenario {
    pruning(&crash::start_beside().memory, PruneMode::BESIDE).done(|found, _| found.broken.is_empty())
}

// ── replacing ──────────────────────────────────────────────────────────────────────────────────────────────

/// All snapshots get one more tag.
pub(super) fn tag_all() -> Scenario {
    let run = |ground: &Ground| {
        let (context, repository) = (&ground.context, ground.open()?);
        let lock = alone(ground, &repository)?;
        let change = TagChange { add: vec!["more".to_owned()], ..TagChange::default() };
        for stored in ours(ground, &repository)? {
            tag(context, &repository, &lock, &stored, &change).map_err(said)?;
        }
        Ok(())
    };
    let history = five();
    let scenario = Scenario::new(&history.memory, run).done(|found, _| {
        let mut ours = found.whole.values().filter(|(snapshot, _)| snapshot.hostname == "host");
        ours.all(|(snapshot, _)| snapshot.tags == ["more"])
    });
    Scenario { replaces: true, ..scenario }
}

/// A file goes out of all snapshots.
pub(super) fn rewrite_all(forget: bool) -> Scenario {
    let old = if forget { Old::Remove } else { Old::Keep };
    let run = move |ground: &Ground| {
        let (context, repository) = (&ground.context, ground.open()?);
        let lock = alone(ground, &repository)?;
        let gone = Patterns::new(["file-002"], Case::Sensitive).unwrap();
        let change = RewriteChange { selection: Selection::Except(vec![gone]), ..RewriteChange::default() };
        let options = RewriteOptions { old, ..RewriteOptions::default() };
        let all = ours(ground, &repository)?;
        let done = rewrite(context, &repository, &lock, &all, &change, &options).map_err(said)?;
        match done.into_iter().find(|one| matches!(one, Rewritten::Failed(_))) {
            Some(failed) => Err(format!("{failed:?}")),
            None => Ok(()),
        }
    };
    let history = five();
    // Those that have the file are replaced, and the new ones have it no more.
    let with_it: BTreeSet<_> = {
        let repository = open(history.memory.clone());
        let all = snapshots::list(&context(), &repository).unwrap();
        let found = super::judge::look(&history.memory.files(), repository.key());
        let has = |stored: &Stored| found.whole[&stored.id].1.keys().any(|path| path.ends_with(b"/file-002"));
        all.into_iter().filter(has).map(|stored| stored.id).collect()
    };
    assert!(with_it.len() == 3, "{with_it:?}");
    let scenario = Scenario::new(&history.memory, run).done(move |found, _| {
        with_it.iter().all(|old| {
            let new = found.whole.values().filter(|(snapshot, _)| snapshot.original == Some(*old));
            let is_there = new.clone().count() > 0;
            let without =
                new.clone().all(|(_, content)| !content.keys().any(|path| path.ends_with(b"/file-002")));
            is_there && without && (!forget || !found.visible().contains(old))
        })
    });
    Scenario { replaces: forget, ..scenario }
}
