//! Removing files of the repository: how many are gone.

use repo_core::context::{Event, Stage};

use super::{common, counter, loading, told};
use crate::ui::progress::{Tally, View};
use crate::ui::screen::{Level, Screen};

/// Shows how files go.
#[derive(Debug)]
pub struct RemoveView;

const UNIT: &str = "files deleted";

impl View for RemoveView {
    fn status(&self, tally: &Tally) -> Vec<String> {
        let count = tally.stage(Stage::Remove);
        if tally.began(Stage::Remove) && !count.ended {
            vec![counter(tally.since(Stage::Remove), count, UNIT)]
        } else {
            loading(tally)
        }
    }

    fn event(&mut self, screen: &Screen, tally: &Tally, event: &Event<'_>) {
        common(screen, tally, event);
        match event {
            Event::End { stage: Stage::Remove } => {
                let since = tally.since(Stage::Remove);
                screen.say(Level::Normal, counter(since, tally.stage(Stage::Remove), UNIT));
            }
            Event::Warning { error } => screen.warn(format!("warning: {}", told(*error))),
            _ => {}
        }
    }
}
