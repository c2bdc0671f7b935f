//! `repair packs` and `repair snapshots`: which step it is at, in restic's words.

use repo_core::context::{Event, Stage};

use super::{common, counter, loading, told};
use crate::ui::progress::{Tally, View};
use crate::ui::screen::{Level, Screen};

/// Shows how packs and snapshots are mended.
#[derive(Debug)]
pub struct RepairView {
    /// Whether blobs are moved out of damaged packs; otherwise they come from elsewhere.
    pub salvages: bool,
}

/// What is counted at each step, and whether the number is a part of the result.
const STEPS: [(Stage, &str, bool); 6] = [
    (Stage::CheckTrees, "snapshots", false),
    (Stage::ReadPacks, "packs read", false),
    (Stage::Repack, "pack files", true),
    (Stage::RewriteIndex, "indexes processed", true),
    (Stage::RemoveIndex, "old indexes deleted", true),
    (Stage::RemovePacks, "files deleted", true),
];

impl View for RepairView {
    fn status(&self, tally: &Tally) -> Vec<String> {
        let running = STEPS.iter().rfind(|(stage, ..)| tally.began(*stage) && !tally.stage(*stage).ended);
        match running {
            Some((stage, unit, _)) => vec![counter(tally.since(*stage), tally.stage(*stage), unit)],
            None => loading(tally),
        }
    }

    fn event(&mut self, screen: &Screen, tally: &Tally, event: &Event<'_>) {
        common(screen, tally, event);
        match event {
            Event::Begin { stage: Stage::Repack, .. } if !self.salvages => {
                screen.say(Level::Normal, "fetching what is lost from the other repository");
            }
            Event::Begin { stage: Stage::Repack, .. } => {
                screen.say(Level::Normal, "salvaging intact data from specified pack files");
            }
            Event::Begin { stage: Stage::RewriteIndex, .. } => screen.say(Level::Normal, "rebuilding index"),
            Event::Begin { stage: Stage::RemovePacks, .. } => {
                screen.say(Level::Normal, "removing salvaged pack files");
            }
            Event::End { stage } => {
                if let Some((stage, unit, _)) = STEPS.iter().find(|(step, _, told)| step == stage && *told) {
                    screen.say(Level::Normal, counter(tally.since(*stage), tally.stage(*stage), unit));
                }
            }
            Event::Warning { error } => screen.warn(format!("warning: {}", told(*error))),
            _ => {}
        }
    }
}
