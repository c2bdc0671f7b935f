//! Events of the core → what is seen while a command runs: a status on terminals, JSON lines, quiet otherwise.
//!
//! In: [`Event`]s from many threads. Out: lines. The numbers are kept in [`Tally`]; what a command makes of
//! them is its [`View`]. Drawing happens on a thread of its own, at most so many times per second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use repo_core::context::{Clock, Event, Observer, Stage};

use super::rate::Rate;
use super::screen::Screen;
use super::trouble;

/// What was counted so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Time since the view began.
    pub elapsed: Duration,
    /// Per stage: what is done and what is to do.
    pub stages: BTreeMap<Name, Count>,
    /// Files in work, oldest first.
    pub current: Vec<PathBuf>,
    /// Things that could not be read or written.
    pub errors: u64,
    /// How fast bytes are done.
    pub rate: Rate,
}

/// A stage as a key; [`Stage`] itself has no order.
pub type Name = &'static str;

/// Progress of one stage.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Items done.
    pub items: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Items to do, as far as known.
    pub items_total: u64,
    /// Bytes to do, as far as known.
    pub bytes_total: u64,
    /// Whether the stage is over.
    pub ended: bool,
    /// When it began, from the start of the view.
    pub began_at: Duration,
}

impl Tally {
    /// The count of a stage; zeros if it has not begun.
    pub fn stage(&self, stage: Stage) -> Count {
        self.stages.get(name(stage)).copied().unwrap_or_default()
    }

    /// Whether a stage has begun.
    pub fn began(&self, stage: Stage) -> bool {
        self.stages.contains_key(name(stage))
    }

    /// How long ago a stage began.
    pub fn since(&self, stage: Stage) -> Duration {
        self.elapsed.saturating_sub(self.stage(stage).began_at)
    }

    /// How fast bytes are done; `None` while there are no grounds for a number.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people, never negative")]
    pub fn bytes_per_second(&self) -> Option<u64> {
        self.rate.per_second().map(|rate| rate as u64)
    }

    /// Counts an event.
    pub fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Begin { stage, total, bytes } | Event::Total { stage, total, bytes } => {
                let began_at = self.elapsed;
                let count = self.stages.entry(name(*stage)).or_insert(Count { began_at, ..Count::default() });
                (count.items_total, count.bytes_total) = (*total, *bytes);
            }
            Event::Progress { stage, items, bytes } => {
                let count = self.stages.entry(name(*stage)).or_default();
                count.items += items;
                count.bytes += bytes;
            }
            Event::End { stage } => self.stages.entry(name(*stage)).or_default().ended = true,
            Event::Started { path } => self.current.push((*path).to_owned()),
            Event::Finished { path } => self.finish(path),
            Event::Skipped { .. } => self.errors += 1,
            _ => {}
        }
    }

    fn finish(&mut self, path: &Path) {
        // Files finish in nearly the order they start, so the search is short.
        if let Some(at) = self.current.iter().position(|current| current == path) {
            self.current.remove(at);
        }
    }
}

fn name(stage: Stage) -> Name {
    match stage {
        Stage::Scan => "scan",
        Stage::Archive => "archive",
        Stage::LoadIndex => "index",
        Stage::CheckPacks => "check packs",
        Stage::CheckTrees => "check trees",
        Stage::Thaw => "thaw",
        Stage::ReadPacks => "read packs",
        Stage::CompareHashes => "compare hashes",
        Stage::Restore => "restore",
        Stage::Verify => "verify",
        Stage::FindUsed => "find used",
        Stage::PlanPacks => "plan packs",
        Stage::Repack => "repack",
        Stage::Copy => "copy",
        Stage::ReadHeaders => "read headers",
        Stage::RewriteIndex => "rewrite index",
        Stage::RemoveIndex => "remove index",
        Stage::RemovePacks => "remove packs",
        Stage::Remove => "remove",
        _ => "other",
    }
}

/// What a command makes of the numbers.
pub trait View: Send {
    /// The status as text: the line, and what is in work below it. Empty for none.
    fn status(&self, _tally: &Tally) -> Vec<String> {
        Vec::new()
    }

    /// The status as a JSON line, without its line end.
    fn json(&self, _tally: &Tally) -> Option<Vec<u8>> {
        None
    }

    /// The stage whose bytes tell how fast it goes.
    fn measured(&self) -> Option<Stage> {
        None
    }

    /// Says something about an event at once. The tally has counted it already.
    fn event(&mut self, _screen: &Screen, _tally: &Tally, _event: &Event<'_>) {}
}

/// Shows nothing.
#[derive(Debug)]
pub struct Nothing;

impl View for Nothing {}

/// Watches a run.
pub struct Progress {
    screen: Arc<Screen>,
    clock: Arc<dyn Clock>,
    interval: Option<Duration>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The last one is in charge; those below it come back when it ends. Never empty.
    views: Vec<Box<dyn View>>,
    tally: Tally,
    began: Duration,
    /// Counts how often another view took over; whoever draws for an older one ends then.
    turn: u64,
}

/// Draws while it lives; takes the status away when it is dropped.
pub struct Drawing<'a> {
    progress: &'a Arc<Progress>,
    drawer: Option<JoinHandle<()>>,
}

impl Progress {
    /// Watches with nothing to show yet; `per_second` is how often somebody wants to see the status.
    pub fn new(screen: Arc<Screen>, clock: Arc<dyn Clock>, per_second: Option<f64>) -> Arc<Self> {
        let interval = interval(&screen, per_second);
        let state = State {
            views: vec![Box::new(Nothing)],
            tally: Tally::default(),
            began: clock.elapsed(),
            turn: 0,
        };
        Arc::new(Self { screen, clock, interval, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Shows a view from now on, for as long as the result lives. Counting starts anew.
    pub fn show(self: &Arc<Self>, view: impl View + 'static) -> Drawing<'_> {
        let turn = self.take_turn(|views| views.push(Box::new(view)));
        let drawer = self.interval.map(|interval| {
            let progress = self.clone();
            std::thread::spawn(move || progress.draw_often(interval, turn))
        });
        Drawing { progress: self, drawer }
    }

    /// Whether anybody looks, so that it pays to count ahead how much there is to do.
    pub fn is_watched(&self) -> bool {
        self.interval.is_some()
    }

    fn take_turn(&self, change: impl FnOnce(&mut Vec<Box<dyn View>>)) -> u64 {
        let mut state = self.lock();
        change(&mut state.views);
        state.tally = Tally::default();
        state.began = self.clock.elapsed();
        state.turn += 1;
        self.changed.notify_all();
        state.turn
    }

    /// Prints one status line, for whoever asked by a signal.
    pub fn print_now(&self) {
        let lines = self.render(|view, tally| view.status(tally)).unwrap_or_default();
        if !lines.is_empty() {
            self.screen.lines(lines);
            self.screen.flush();
        }
    }

    fn render<R>(&self, make: impl FnOnce(&dyn View, &Tally) -> R) -> Option<R> {
        let mut state = self.lock();
        let State { views, tally, began, .. } = &mut *state;
        let view = views.last()?;
        tally.elapsed = self.clock.elapsed().saturating_sub(*began);
        if let Some(stage) = view.measured() {
            tally.rate.sample(tally.elapsed, tally.stage(stage).bytes);
        }
        Some(make(view.as_ref(), tally))
    }

    fn draw_often(&self, interval: Duration, turn: u64) {
        let mut state = self.lock();
        while state.turn == turn {
            (state, _) = self.changed.wait_timeout(state, interval).unwrap_or_else(PoisonError::into_inner);
            if state.turn == turn {
                drop(state);
                self.draw();
                state = self.lock();
            }
        }
    }

    fn draw(&self) {
        if self.screen.json {
            if let Some(line) = self.render(|view, tally| view.json(tally)).flatten() {
                self.screen.line(String::from_utf8_lossy(&line));
                self.screen.flush();
            }
            return;
        }
        let lines = self.render(|view, tally| view.status(tally)).unwrap_or_default();
        if self.screen.redraws {
            self.screen.status(&lines);
        } else if !lines.is_empty() {
            self.screen.lines(lines);
            self.screen.flush();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event<'_>) {
        if !self.screen.json
            && let Some(line) = trouble::line(event)
        {
            self.screen.warn(line); // whatever is shown: also while a repository is opened
        }
        let mut state = self.lock();
        let State { views, tally, began, .. } = &mut *state;
        tally.elapsed = self.clock.elapsed().saturating_sub(*began);
        tally.take(event);
        if let Some(view) = views.last_mut() {
            view.event(&self.screen, tally, event);
        }
    }
}

impl Drop for Drawing<'_> {
    fn drop(&mut self) {
        self.progress.take_turn(|views| drop(views.pop()));
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
        if self.progress.screen.redraws {
            self.progress.screen.status(&[]);
        }
    }
}

/// How long to wait between two drawings; `None` if nobody wants to see any.
///
/// As restic: who sets a number gets it, up to 60, even without a terminal. Else terminals get 10 per second,
/// JSON too, and everything else nothing.
fn interval(screen: &Screen, per_second: Option<f64>) -> Option<Duration> {
    let wanted = per_second.filter(|number| number.is_finite() && *number > 0.0);
    match wanted {
        _ if screen.is_quiet() => None,
        Some(number) => Some(Duration::from_secs_f64(1.0 / number.min(60.0))),
        None if screen.json || screen.redraws => Some(Duration::from_millis(100)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_counts_stages_files_and_errors() {
        let mut tally = Tally::default();
        let error = std::fmt::Error;
        for event in [
            Event::Begin { stage: Stage::Archive, total: 0, bytes: 0 },
            Event::Started { path: Path::new("/a") },
            Event::Started { path: Path::new("/b") },
            Event::Total { stage: Stage::Archive, total: 7, bytes: 70 },
            Event::Progress { stage: Stage::Archive, items: 1, bytes: 10 },
            Event::Progress { stage: Stage::Archive, items: 0, bytes: 5 },
            Event::Skipped { stage: Stage::Archive, path: Path::new("/a"), error: &error },
            Event::Finished { path: Path::new("/a") },
        ] {
            tally.take(&event);
        }
        let expected = Count { items: 1, bytes: 15, items_total: 7, bytes_total: 70, ..Count::default() };
        assert_eq!(tally.stage(Stage::Archive), expected);
        assert_eq!(tally.stage(Stage::Scan), Count::default());
        assert_eq!(tally.current, [Path::new("/b")]);
        assert_eq!(tally.errors, 1);
    }
}
