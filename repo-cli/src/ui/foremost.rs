//! Events of several repositories that get the same backup → those of one.
//!
//! What each of them tells is the same story, told several times. People see how far the foremost is, each trouble with
//! a file once, and what went in only of the first one.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use repo_core::context::{Event, Observer, Stage};

/// What is known of all of them.
pub struct Foremost {
    shown: Arc<dyn Observer>,
    state: Mutex<State>,
}

struct State {
    /// Files and bytes saved, by repository.
    done: Vec<(u64, u64)>,
    /// The most that any of them has saved.
    most: (u64, u64),
    /// Files whose trouble was told.
    told: HashSet<(Stage, PathBuf)>,
}

/// Listens to one of them.
pub struct OneOf {
    all: Arc<Foremost>,
    number: usize,
}

impl Foremost {
    /// One listener for each repository; `shown` is told what people see.
    pub fn listeners(shown: Arc<dyn Observer>, count: usize) -> Vec<Arc<OneOf>> {
        let state = State { done: vec![(0, 0); count], most: (0, 0), told: HashSet::new() };
        let all = Arc::new(Self { shown, state: Mutex::new(state) });
        (0..count).map(|number| Arc::new(OneOf { all: all.clone(), number })).collect()
    }
}

impl State {
    /// What is new to people when a repository has saved so much more.
    fn advance(&mut self, number: usize, items: u64, bytes: u64) -> (u64, u64) {
        let Some(done) = self.done.get_mut(number) else { return (0, 0) };
        *done = (done.0 + items, done.1 + bytes);
        let ahead = (done.0.saturating_sub(self.most.0), done.1.saturating_sub(self.most.1));
        self.most = (self.most.0 + ahead.0, self.most.1 + ahead.1);
        ahead
    }
}

impl Observer for OneOf {
    fn event(&self, event: &Event<'_>) {
        let Foremost { shown, state } = &*self.all;
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Progress { stage: Stage::Archive, items, bytes } => {
                let (items, bytes) = lock().advance(self.number, *items, *bytes);
                if items > 0 || bytes > 0 {
                    shown.event(&Event::Progress { stage: Stage::Archive, items, bytes });
                }
            }
            Event::Skipped { stage, path, .. } => {
                let is_news = lock().told.insert((*stage, (*path).to_owned()));
                if is_news {
                    shown.event(event);
                }
            }
            Event::Warning { .. } | Event::Retry { .. } | Event::Recovered { .. } => shown.event(event),
            _ if self.number == 0 => shown.event(event),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_that_of_the_foremost_whoever_it_is() {
        let mut state = State { done: vec![(0, 0); 2], most: (0, 0), told: HashSet::new() };
        assert_eq!(state.advance(0, 1, 10), (1, 10));
        assert_eq!(state.advance(1, 1, 10), (0, 0));
        assert_eq!(state.advance(1, 1, 5), (1, 5));
        assert_eq!(state.advance(0, 0, 7), (0, 2));
        assert_eq!(state.most, (2, 17));
    }
}
