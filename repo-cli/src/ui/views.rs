//! What each kind of command shows while it runs.

mod backup;
mod check;
mod copy;
mod prune;
mod recover;
mod remove;
mod repair;
mod restore;

pub use backup::BackupView;
pub use check::CheckView;
pub use copy::CopyView;
pub use prune::PruneView;
pub use recover::RecoverView;
pub use remove::RemoveView;
pub use repair::RepairView;
pub use restore::RestoreView;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use anyhow::Chain;
use repo_core::context::{Event, Stage};
use repo_core::format::json::{Object, write_number};

use super::amount::{bytes, clock, go_duration, percent};
use super::escape::{visible, visible_text};
use super::float::go_float;
use super::progress::{Count, Tally, View};
use super::screen::{Level, Screen};
use crate::exit::sentence;

/// What every command shows that has nothing of its own: how the index is loaded, and warnings.
#[derive(Debug)]
pub struct PlainView;

impl View for PlainView {
    fn status(&self, tally: &Tally) -> Vec<String> {
        loading(tally)
    }

    fn event(&mut self, screen: &Screen, tally: &Tally, event: &Event<'_>) {
        common(screen, tally, event);
        if let Event::Warning { error } = event {
            screen.warn(format!("warning: {}", told(*error)));
        }
    }
}

/// Status while the index is loaded or packs are waited for; nothing before and after.
fn loading(tally: &Tally) -> Vec<String> {
    let thawing = tally.stage(Stage::Thaw);
    if thawing.items_total > 0 && !thawing.ended {
        return vec![counter(tally.since(Stage::Thaw), thawing, "packs warm")];
    }
    let count = tally.stage(Stage::LoadIndex);
    if count == Count::default() || count.ended {
        Vec::new()
    } else {
        vec![counter(tally.elapsed, count, INDEX)]
    }
}

const INDEX: &str = "index files loaded";

/// What every view says.
fn common(screen: &Screen, tally: &Tally, event: &Event<'_>) {
    match event {
        Event::End { stage: Stage::LoadIndex } if screen.redraws => {
            screen.say(Level::Normal, counter(tally.elapsed, tally.stage(Stage::LoadIndex), INDEX));
        }
        Event::Begin { stage: Stage::Thaw, total, bytes: size } if *total > 0 => {
            screen.say(Level::Normal, format!("warming up {total} packs with {}", bytes(*size)));
            screen.flush();
        }
        Event::End { stage: Stage::Thaw } if tally.stage(Stage::Thaw).items_total > 0 => {
            screen.say(Level::Normal, "all packs are warm");
        }
        Event::WaitingForLock { limit, .. } => {
            screen.say(Level::Normal, waiting_for_lock(*limit));
            screen.flush();
        }
        _ => {}
    }
}

/// The line that says how long the run will wait for a lock.
pub fn waiting_for_lock(limit: Duration) -> String {
    format!("repo already locked, waiting up to {} for the lock", go_duration(limit))
}

/// `[0:03] 40.00%  4 / 10 snapshots`
fn counter(elapsed: Duration, count: Count, unit: &str) -> String {
    let Count { items, items_total, .. } = count;
    if items_total == 0 {
        return format!("[{}]          {items} {unit}", clock(elapsed));
    }
    format!("[{}] {}  {items} / {items_total} {unit}", clock(elapsed), percent(items, items_total))
}

/// An error with its causes, in one line that a terminal cannot be tricked with.
fn told(error: &(dyn Error + 'static)) -> String {
    visible_text(&sentence(Chain::new(error))).replace('\n', " ")
}

/// A path as text.
fn shown(path: &Path) -> String {
    visible(path.as_os_str().as_encoded_bytes())
}

/// A number with a fraction.
fn float(object: &mut Object<'_>, key: &str, value: f64) {
    object.key(key).extend_from_slice(go_float(value).as_bytes());
}

/// Seconds, left out if zero.
fn whole_seconds(object: &mut Object<'_>, key: &str, span: Duration) {
    if span.as_secs() > 0 {
        write_number(object.key(key), span.as_secs());
    }
}

/// Something that went wrong with one file or repository, as a JSON line for standard error.
pub fn error_line(during: &str, item: &[u8], message: &str) -> String {
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.string("message_type", "error");
    let mut inner = Object::begin(object.key("error"));
    inner.string("message", message);
    inner.end();
    object.string("during", during).string("item", item);
    object.end();
    String::from_utf8_lossy(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_look_like_restics() {
        let check = |items, items_total, expected: &str| {
            let count = Count { items, items_total, ..Count::default() };
            assert_eq!(counter(Duration::from_secs(3), count, "snapshots"), expected);
        };
        check(4, 10, "[0:03] 40.00%  4 / 10 snapshots");
        check(0, 0, "[0:03]          0 snapshots");
    }

    #[test]
    fn error_lines_nest_their_message() {
        let expected = r#"{"message_type":"error","error":{"message":"no"},"during":"scan","item":"/a"}"#;
        assert_eq!(error_line("scan", b"/a", "no"), expected);
    }
}
