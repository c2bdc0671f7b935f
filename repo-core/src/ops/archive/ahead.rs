//! Directories that are read before the walker comes to them.
//!
//! Half of the time that an unchanged directory takes is the system's: its names and what each of them is. A thread of
//! its own asks for that, a few directories ahead and in the walker's order, so that both are at work at the same time.
//! What it reads is what the walker would have read a moment later; directories that are left out are never asked for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::fs::SourceError;
use crate::fs::source::{Detail, Listing, Source};

/// So many directories of one level are wanted ahead.
pub(super) const WANTED_MAX: usize = 4;

/// Nothing more is read while so many entries wait for the walker, about 300 bytes each.
const ENTRIES_MAX: usize = 20_000;

/// What is wanted, what is being read, and what was read.
#[derive(Default)]
pub(super) struct Ahead {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is wanted, the next one last.
    wanted: Vec<(PathBuf, Detail)>,
    reading: Option<PathBuf>,
    read: HashMap<PathBuf, (Detail, Result<Listing, SourceError>)>,
    /// Entries of what was read.
    entries: usize,
    over: bool,
}

impl Ahead {
    /// Asks for directories, in the order in which they are come to, and before all that is wanted already.
    pub(super) fn want(&self, paths: impl DoubleEndedIterator<Item = (PathBuf, Detail)>) {
        let mut state = self.lock();
        state.wanted.extend(paths.rev());
        drop(state);
        self.changed.notify_all();
    }

    /// Reads a directory, or takes what was read already.
    pub(super) fn list(
        &self,
        source: &dyn Source,
        path: &Path,
        detail: Detail,
    ) -> Result<Listing, SourceError> {
        let mut state = self.lock();
        // A thread that panicked never ends its reading.
        while state.reading.as_deref() == Some(path) && !state.over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some((known, listing)) = state.read.remove(path) {
            state.entries -= weight(&listing);
            drop(state);
            self.changed.notify_all();
            if known == detail || known == Detail::Metadata {
                return listing;
            }
        } else if let Some(at) = state.wanted.iter().rposition(|(wanted, _)| wanted == path) {
            state.wanted.remove(at);
        }
        source.list(path, detail)
    }

    /// The story of the thread.
    pub(super) fn read(&self, source: &dyn Source) {
        let mut state = self.lock();
        while !state.over {
            let next = if state.entries < ENTRIES_MAX { state.wanted.pop() } else { None };
            let Some((path, detail)) = next else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.reading = Some(path.clone());
            drop(state);
            let listing = source.list(&path, detail);
            state = self.lock();
            state.reading = None;
            state.entries += weight(&listing);
            state.read.insert(path, (detail, listing));
            self.changed.notify_all();
        }
    }

    /// Lets the thread end, whatever is wanted.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(listing: &Result<Listing, SourceError>) -> usize {
    1 + listing.as_ref().map_or(0, |listing| listing.entries.len())
}
