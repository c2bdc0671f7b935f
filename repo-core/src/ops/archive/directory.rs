//! Directories at work: a slot for every entry, filled in any order, complete when all are filled.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::format::Node;

/// A directory whose entries are being archived.
#[derive(Debug)]
pub(super) struct Directory {
    /// Where it appears in the snapshot.
    pub(super) item: PathBuf,
    /// Its own entry, still without tree, the slot it goes to, and the parent snapshot's entry; `None` for
    /// the root, which has no entry. Taken by the assembler.
    entry: Mutex<Option<(Node, Slot, Option<Node>)>>,
    entries: Mutex<Vec<Option<Node>>>,
    /// Unfilled slots, and one more while the walker still adds some.
    open: AtomicUsize,
}

/// A place for an entry in its directory. To be filled exactly once, with nothing if the entry is left out.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) directory: Arc<Directory>,
    at: usize,
}

impl Directory {
    pub(super) fn new(item: PathBuf, entry: Option<(Node, Slot, Option<Node>)>) -> Arc<Self> {
        let (entry, entries, open) = (Mutex::new(entry), Mutex::default(), AtomicUsize::new(1));
        Arc::new(Self { item, entry, entries, open })
    }

    /// Its own entry, the slot it goes to, and the parent snapshot's entry.
    pub(super) fn take_own_entry(&self) -> Option<(Node, Slot, Option<Node>)> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reserves the next place; places are in the order of names.
    pub(super) fn reserve(self: &Arc<Self>) -> Slot {
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.lock();
        entries.push(None);
        Slot { directory: self.clone(), at: entries.len() - 1 }
    }

    /// Says that no more places will be reserved. `true` if that completes the directory.
    #[must_use = "whoever completes a directory hands it to the assembler"]
    pub(super) fn seal(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The entries in order; what was left out is left out.
    pub(super) fn take_entries(&self) -> Vec<Node> {
        std::mem::take(&mut *self.lock()).into_iter().flatten().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Node>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Fills the place. Gives the directory if that completes it.
    #[must_use = "whoever completes a directory hands it to the assembler"]
    pub(super) fn fill(self, node: Option<Node>) -> Option<Arc<Directory>> {
        if let Some(entry) = self.directory.lock().get_mut(self.at) {
            *entry = node;
        }
        let completed = self.directory.seal();
        completed.then_some(self.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::NodeKind;

    #[test]
    fn directory_is_complete_once_sealed_and_filled_and_keeps_the_order_of_places() {
        let directory = Directory::new(PathBuf::new(), None);
        let [a, b, c] = [(); 3].map(|()| directory.reserve());
        let node = |name: &str| Some(Node::new(name, NodeKind::Fifo));
        assert!(c.fill(node("c")).is_none());
        assert!(!directory.seal());
        assert!(b.fill(None).is_none());
        assert!(a.fill(node("a")).is_some());
        let names: Vec<_> = directory.take_entries().into_iter().map(|node| node.name).collect();
        assert_eq!(names, [b"a", b"c"]);
    }
}
