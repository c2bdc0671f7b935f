//! `copy`: how many packs of the source went over.

use repo_core::context::{Event, Stage};

use super::{common, counter, loading, told};
use crate::ui::progress::{Tally, View};
use crate::ui::screen::{Level, Screen};

/// Shows how far a copy is.
#[derive(Debug)]
pub struct CopyView;

/// What is counted at each step.
const STEPS: [(Stage, &str); 2] = [(Stage::FindUsed, "snapshots"), (Stage::Copy, "packs copied")];

impl View for CopyView {
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
            Event::End { stage: Stage::Copy } => {
                let count = tally.stage(Stage::Copy);
                screen.say(Level::Normal, counter(tally.since(Stage::Copy), count, "packs copied"));
            }
            Event::Warning { error } => screen.warn(format!("warning: {}", told(*error))),
            _ => {}
        }
    }
}
