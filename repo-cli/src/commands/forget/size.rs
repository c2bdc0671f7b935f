//! `forget --keep-until-size`: what the rules leave over, and what each snapshot that goes sets free.

use anyhow::Result;
use repo_core::format::json::{Array, Object};
use repo_core::id::SnapshotId;
use repo_core::ops::forget::{ForgetPlan, SizeError, SizedPlan, keep_until_size};
use repo_core::repository::Repository;
use repo_core::snapshots::{self, Stored};

use crate::exit::wrong;
use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::screen::Level;
use crate::ui::views::PruneView;

/// Keeps what fits beside everything else in the repository.
pub fn judge(session: &Session, repository: &Repository, plan: ForgetPlan, limit: u64) -> Result<SizedPlan> {
    let kept = plan.groups.iter().flat_map(|group| &group.keep).map(|kept| kept.stored.id);
    let judged: std::collections::HashSet<SnapshotId> =
        plan.removed().map(|stored| stored.id).chain(kept).collect();
    let mut others = snapshots::list(&session.context, repository)?;
    others.retain(|stored| !judged.contains(&stored.id));
    let drawing = session.progress.show(PruneView);
    let reader = repository.reader(&session.context)?;
    let sized = keep_until_size(&session.context, &reader, plan, &others, limit);
    drop(drawing);
    sized.map_err(|error| match error {
        SizeError::EmptiesGroup { .. } => wrong(
            error.to_string(),
            "Not even its newest snapshot fits. Give a larger size, or a rule besides, such as --keep-last 1.",
        ),
        error => error.into(),
    })
}

/// How much stays, and how much goes with each snapshot.
pub fn tell(session: &Session, kept_bytes: u64, freed: &[(SnapshotId, u64)]) {
    let say = |text: String| session.screen.say(Level::Normal, text);
    say(format!("what stays needs {}", bytes(kept_bytes)));
    for (id, size) in freed {
        say(format!("removing {} frees {}", id.short(), bytes(*size)));
    }
    if !freed.is_empty() {
        let sum = freed.iter().map(|(_, size)| size).sum();
        say(format!("after a prune {} are free\n", bytes(sum)));
    }
}

/// The bytes of a group's snapshots, each with its name.
pub fn json(out: &mut Vec<u8>, removed: &[Stored], freed: &[(SnapshotId, u64)]) {
    let mut array = Array::begin(out);
    for (id, size) in freed.iter().filter(|(id, _)| removed.iter().any(|stored| stored.id == *id)) {
        let mut object = Object::begin(array.element());
        object.id("snapshot", *id).number("bytes", *size);
        object.end();
    }
    array.end();
}
