//! `recover`: which step it is at, in restic's words.

use repo_core::context::{Event, Stage};

use super::{common, counter, loading, told};
use crate::ui::progress::{Tally, View};
use crate::ui::screen::{Level, Screen};

/// Shows how lost trees are looked for.
#[derive(Debug)]
pub struct RecoverView;

const UNIT: &str = "trees loaded";

impl View for RecoverView {
    fn status(&self, tally: &Tally) -> Vec<String> {
        let count = tally.stage(Stage::CheckTrees);
        if tally.began(Stage::CheckTrees) && !count.ended {
            vec![counter(tally.since(Stage::CheckTrees), count, UNIT)]
        } else {
            loading(tally)
        }
    }

    fn event(&mut self, screen: &Screen, tally: &Tally, event: &Event<'_>) {
        common(screen, tally, event);
        match event {
            Event::Begin { stage: Stage::LoadIndex, .. } => screen.say(Level::Normal, "load index files"),
            Event::Begin { stage: Stage::CheckTrees, total, .. } => {
                screen.say(Level::Normal, format!("load {total} trees"));
            }
            Event::End { stage: Stage::CheckTrees } => {
                let since = tally.since(Stage::CheckTrees);
                screen.say(Level::Normal, counter(since, tally.stage(Stage::CheckTrees), UNIT));
                screen.say(Level::Normal, "load snapshots");
            }
            Event::Warning { error } => screen.warn(format!("warning: {}", told(*error))),
            _ => {}
        }
    }
}
