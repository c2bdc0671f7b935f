//! What is known of each pack that holds trees, and whose turn it is to find out more.
//!
//! A pack is looked at by one thread at a time: it compares the entry in the folder with its name, or fetches
//! it; the others wait for the outcome. Memory: about 64 bytes per pack that holds trees.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::id::{FileId, FileKind, PackId};

/// Every pack that holds trees, as far as somebody said so.
#[derive(Debug, Default)]
pub(super) struct Packs {
    known: Mutex<HashMap<PackId, State>>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has looked yet.
    Unseen,
    /// Somebody is looking, or fetching.
    Busy,
    /// An entry of so many bytes was sound when it was looked at.
    Here { len: u64 },
    /// It cannot be kept.
    Elsewhere,
}

/// What a reader is to do.
pub(super) enum Turn<'a> {
    /// Read the entry, which has so many bytes.
    Here { len: u64 },
    /// Read from the storage.
    Elsewhere,
    /// Find out, then say so. If nothing is said, the next one tries.
    Yours(MyTurn<'a>),
}

/// The right to look at a pack, alone.
pub(super) struct MyTurn<'a> {
    packs: &'a Packs,
    pack: PackId,
    outcome: State,
}

impl MyTurn<'_> {
    /// There is a sound entry now.
    pub(super) fn found(mut self, len: u64) {
        self.outcome = State::Here { len };
    }

    /// It cannot be kept; nobody needs to try again.
    pub(super) fn not_here(mut self) {
        self.outcome = State::Elsewhere;
    }
}

impl Drop for MyTurn<'_> {
    fn drop(&mut self) {
        // One that was removed meanwhile stays unknown.
        if let Some(state) = self.packs.lock().get_mut(&self.pack) {
            *state = self.outcome;
        }
        self.packs.changed.notify_all();
    }
}

impl Packs {
    /// These packs hold trees.
    pub(super) fn hint(&self, packs: &[PackId]) {
        let mut known = self.lock();
        for pack in packs {
            known.entry(*pack).or_insert(State::Unseen);
        }
    }

    /// Whether a file is a pack that holds trees.
    pub(super) fn holds_trees(&self, file: FileId) -> bool {
        file.kind == FileKind::Pack && self.lock().contains_key(&PackId(file.id))
    }

    /// Whether a sound entry was found.
    pub(super) fn is_here(&self, pack: PackId) -> bool {
        matches!(self.lock().get(&pack), Some(State::Here { .. }))
    }

    /// Waits while somebody else looks at the pack, then says what to do.
    pub(super) fn turn(&self, pack: PackId) -> Turn<'_> {
        let mut known = self.lock();
        loop {
            match known.get_mut(&pack) {
                None | Some(State::Elsewhere) => return Turn::Elsewhere,
                Some(State::Here { len }) => return Turn::Here { len: *len },
                Some(state @ State::Unseen) => {
                    *state = State::Busy;
                    return Turn::Yours(MyTurn { packs: self, pack, outcome: State::Unseen });
                }
                Some(State::Busy) => {
                    known = self.changed.wait(known).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// The entry has vanished.
    pub(super) fn lost(&self, pack: PackId) {
        if let Some(state @ State::Here { .. }) = self.lock().get_mut(&pack) {
            *state = State::Unseen;
        }
    }

    /// The pack is removed from the repository.
    pub(super) fn forget(&self, file: FileId) {
        if file.kind == FileKind::Pack {
            self.lock().remove(&PackId(file.id));
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PackId, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
