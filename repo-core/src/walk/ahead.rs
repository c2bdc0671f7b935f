//! Fetches packs of trees into the cache while a walk is still busy with earlier ones.
//!
//! In: the directories that a walk will enter. Out: nothing but time: their packs are here, or on the way, when
//! their turn comes. A walk in stored order asks for one tree after the other, so without this it would wait for
//! one pack after the other. Without a cache there is nowhere to fetch to, and nothing is done.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::id::{PackId, TreeId};
use crate::parallel::{self, Queue};
use crate::repository::Reader;

/// So many packs are fetched at a time. One less than the cache allows: the walk itself never waits for a turn.
const THREADS: usize = 3;

/// The packs to fetch, those of the deepest directory first.
#[derive(Debug)]
pub(crate) struct Ahead {
    wanted: Arc<Queue<PackId>>,
    asked: HashSet<PackId>,
    threads: Vec<JoinHandle<()>>,
}

impl Ahead {
    /// Nothing to fetch yet.
    pub(crate) fn new() -> Self {
        Self { wanted: Arc::new(Queue::new(0)), asked: HashSet::new(), threads: Vec::new() }
    }

    /// These directories will be entered, in this order, before any that was named earlier.
    pub(crate) fn expect(&mut self, reader: &Reader, trees: impl Iterator<Item = TreeId>) {
        let Some(cache) = reader.repository().cache() else { return };
        let packs = trees.filter_map(|tree| reader.index().place_of(&tree.into())).map(|place| place.pack);
        let mut new: Vec<PackId> = packs.filter(|pack| self.asked.insert(*pack)).collect();
        new.retain(|pack| !cache.is_here(*pack));
        if new.is_empty() {
            return;
        }
        for pack in new.into_iter().rev() {
            // It weighs nothing, so this never waits; nobody closes the queue before the end.
            let _ = self.wanted.push(pack, 0);
        }
        if self.threads.is_empty() {
            self.threads = (0..THREADS).map(|_| fetcher(reader, self.wanted.clone())).collect();
        }
    }
}

fn fetcher(reader: &Reader, wanted: Arc<Queue<PackId>>) -> JoinHandle<()> {
    let repository = reader.repository().clone();
    parallel::spawn("ahead", move || {
        while let (Some(pack), Some(cache)) = (wanted.pop_newest(), repository.cache()) {
            cache.fetch_ahead(pack);
        }
    })
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.wanted.abandon();
        for thread in self.threads.drain(..) {
            // Nobody waits for what it did; a panic was told when it happened.
            drop(thread.join());
        }
    }
}
