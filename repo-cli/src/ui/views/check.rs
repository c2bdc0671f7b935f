//! `check`: which step it is at, and what it finds, as it finds it.

use repo_core::context::{Event, Stage};
use repo_core::format::json::Object;
use repo_core::ops::check::{Finding, NotKept, ReadData};

use super::{common, counter, loading, told};
use crate::ui::amount::{bytes, clock};
use crate::ui::progress::{Count, Tally, View};
use crate::ui::screen::{Level, Screen};

/// Shows a check.
#[derive(Debug)]
pub struct CheckView {
    /// How much is read.
    pub read_data: ReadData,
}

const STEPS: [(Stage, &str); 3] =
    [(Stage::CheckTrees, "snapshots"), (Stage::CompareHashes, "packs compared"), (Stage::ReadPacks, "packs")];

impl View for CheckView {
    fn status(&self, tally: &Tally) -> Vec<String> {
        let running = STEPS.iter().rfind(|(stage, _)| tally.began(*stage) && !tally.stage(*stage).ended);
        match running {
            Some((stage, unit)) => {
                let mut line = counter(tally.since(*stage), tally.stage(*stage), unit);
                if let Some(rate) = tally.bytes_per_second() {
                    line += &format!(", {}/s", bytes(rate));
                }
                vec![line]
            }
            None => loading(tally),
        }
    }

    fn measured(&self) -> Option<Stage> {
        Some(Stage::ReadPacks)
    }

    fn event(&mut self, screen: &Screen, tally: &Tally, event: &Event<'_>) {
        common(screen, tally, event);
        match event {
            Event::Begin { stage: Stage::LoadIndex, .. } => screen.say(Level::Normal, "load indexes"),
            Event::Begin { stage: Stage::CheckPacks, .. } => screen.say(Level::Normal, "check all packs"),
            Event::Begin { stage: Stage::CheckTrees, .. } => {
                screen.say(Level::Normal, "check snapshots, trees and blobs");
            }
            Event::Begin { stage: Stage::CompareHashes, .. } => {
                screen.say(Level::Normal, "compare packs with the checksums of the storage");
            }
            Event::Begin { stage: Stage::ReadPacks, total, bytes } if self.reads() => {
                screen.say(Level::Normal, self.reading(*total, *bytes, tally.stage(Stage::CheckPacks)));
            }
            Event::End { stage } if *stage != Stage::ReadPacks || self.reads() => {
                if let Some((stage, unit)) = STEPS.iter().find(|(step, _)| step == stage) {
                    screen.say(Level::Normal, counter(tally.since(*stage), tally.stage(*stage), unit));
                }
            }
            Event::Warning { error } => match error.downcast_ref::<Finding>() {
                // Hints are told once, at the end.
                Some(finding) if finding.is_hint() => screen.say(Level::Verbose, told(*error)),
                None if error.is::<NotKept>() => screen.warn(format!("warning: {}", told(*error))),
                _ => tell_error(screen, &told(*error)),
            },
            _ => {}
        }
    }
}

impl CheckView {
    fn reads(&self) -> bool {
        self.read_data != ReadData::Nothing
    }

    #[expect(clippy::cast_precision_loss, reason = "a percentage with one decimal")]
    fn reading(&self, packs: u64, pack_bytes: u64, all: Count) -> String {
        match self.read_data {
            ReadData::Nothing | ReadData::All => "read all data".to_owned(),
            ReadData::Part { part, parts } => {
                let total = all.items_total;
                format!(
                    "read group #{part} of {packs} data packs (out of total {total} packs in {parts} groups)"
                )
            }
            ReadData::Percent(percent) => format!("read {percent:.1}% of packfiles"),
            ReadData::Bytes(_) => {
                let percent = 100.0 * packs as f64 / all.items_total.max(1) as f64;
                format!("read {pack_bytes} bytes ({percent:.1}%) of data packs")
            }
            ReadData::Oldest { span: None, .. } => {
                format!(
                    "read {packs} packs with {}, those first that were read longest ago",
                    bytes(pack_bytes)
                )
            }
            ReadData::Oldest { span: Some(span), .. } => {
                format!("read packs for {}, those first that were read longest ago", clock(span))
            }
        }
    }
}

/// One error of the check on standard error.
fn tell_error(screen: &Screen, message: &str) {
    if !screen.json {
        return screen.warn(format!("error: {message}"));
    }
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.string("message_type", "error").string("message", message);
    object.end();
    screen.warn(String::from_utf8_lossy(&line));
}
