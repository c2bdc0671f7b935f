//! `prune` and `repair index`: which step it is at, in restic's words.

use repo_core::context::{Event, Stage};

use super::{common, counter, loading, told};
use crate::ui::progress::{Tally, View};
use crate::ui::screen::{Level, Screen};

/// Shows how a repository is put in order.
#[derive(Debug)]
pub struct PruneView;

/// What is counted at each step.
const STEPS: [(Stage, &str); 8] = [
    (Stage::FindUsed, "snapshots"),
    (Stage::PlanPacks, "packs processed"),
    (Stage::Remove, "files deleted"),
    (Stage::Repack, "packs repacked"),
    (Stage::ReadHeaders, "packs"),
    (Stage::RewriteIndex, "indexes processed"),
    (Stage::RemoveIndex, "old indexes deleted"),
    (Stage::RemovePacks, "files deleted"),
];

impl View for PruneView {
    fn status(&self, tally: &Tally) -> Vec<String> {
        let running = STEPS.iter().rfind(|(stage, _)| tally.began(*stage) && !tally.stage(*stage).ended);
        match running {
            Some((stage, unit)) => vec![counter(tally.since(*stage), tally.stage(*stage), unit)],
            None => loading(tally),
        }
    }

    fn event(&mut self, screen: &Screen, tally: &Tally, event: &Event<'_>) {
        common(screen, tally, event);
        match event {
            Event::Begin { stage, total, .. } => {
                if let Some(text) = heading(*stage, *total) {
                    screen.say(Level::Normal, text);
                }
            }
            Event::End { stage } => {
                if let Some((stage, unit)) = STEPS.iter().find(|(step, _)| step == stage) {
                    screen.say(Level::Normal, counter(tally.since(*stage), tally.stage(*stage), unit));
                }
            }
            Event::Warning { error } => screen.warn(format!("warning: {}", told(*error))),
            _ => {}
        }
    }
}

/// What is said when a step begins.
fn heading(stage: Stage, total: u64) -> Option<String> {
    Some(match stage {
        Stage::FindUsed => format!("finding data that is still in use for {total} snapshots"),
        Stage::PlanPacks => "searching used packs...\ncollecting packs for deletion and repacking".to_owned(),
        Stage::Remove => "deleting unreferenced packs".to_owned(),
        Stage::Repack => "repacking packs".to_owned(),
        Stage::ReadHeaders => "reading pack files".to_owned(),
        Stage::RewriteIndex => "rebuilding index".to_owned(),
        Stage::RemovePacks => format!("removing {total} old packs"),
        _ => return None,
    })
}
