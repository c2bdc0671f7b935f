//! Which blobs are in use.
//!
//! In: trees. Out: every blob that can be reached from them. A tree is walked once, however many snapshots share it; and
//! as what it names never changes, not even that where an earlier run left word of it in the cache (`walked`).

use std::sync::{Arc, Mutex, PoisonError};

use crate::context::Context;
use crate::format::Tree;
use crate::id::{BlobId, TreeId};
use crate::index::{BlobSet, Index};
use crate::ops::prune::walked::{Names, Walked};
use crate::ops::prune::{Incomplete, PruneError};
use crate::parallel;
use crate::repository::{ReadError, Reader};

/// What is in use, and what was walked to find out. Memory: 1 bit per stored blob, and what `walked` says.
#[derive(Debug)]
pub(super) struct Usage {
    index: Arc<Index>,
    pub(super) blobs: BlobSet,
    /// What an earlier look over another index found: its trees need not be walked again.
    before: Vec<BlobSet>,
    walked: Mutex<Walked>,
    known: Walked,
}

impl Usage {
    /// Nothing yet.
    pub(super) fn new(index: Arc<Index>) -> Self {
        let (blobs, known) = (BlobSet::new(Arc::clone(&index)), Walked::default());
        Self { index, blobs, before: Vec::new(), walked: Mutex::default(), known }
    }

    /// Nothing yet, but what earlier runs walked is known.
    pub(super) fn recall(context: &Context, reader: &Reader) -> Self {
        let index = Arc::clone(reader.index());
        Self { known: Walked::recall(context, reader.repository(), &index), ..Self::new(index) }
    }

    /// The same trees count as walked; the blobs begin anew, over another index.
    pub(super) fn go_on(&mut self, index: Arc<Index>) {
        let mut next = Self::new(index);
        std::mem::swap(self, &mut next);
        self.before = next.before;
        self.before.push(next.blobs);
    }

    /// Leaves word of what was walked for later runs, if there is anything new.
    pub(super) fn remember(&mut self, context: &Context, reader: &Reader) {
        let walked = std::mem::take(self.walked.get_mut().unwrap_or_else(PoisonError::into_inner));
        let known = std::mem::take(&mut self.known);
        if self.blobs.missing().is_empty() {
            known.remember(walked, context, reader.repository(), &self.index, &self.blobs);
        }
    }

    /// Everything that can be reached from a tree is in use.
    pub(super) fn add(&self, context: &Context, reader: &Reader, tree: TreeId) -> Result<(), PruneError> {
        let connections = reader.repository().backend().properties().connections;
        let root = self.slot(&tree.into())?;
        parallel::pool(connections.max(parallel::cores()), vec![root], |slot, open| {
            context.cancel.check()?;
            if !self.blobs.insert_slot(slot) {
                return Ok(());
            }
            if let Some(names) = self.known.names(slot) {
                self.take(&names, open);
                return Ok(());
            }
            let Some(tree) = self.tree_at(slot) else { return Ok(()) };
            if self.before.iter().any(|before| before.contains(&tree.into())) {
                return Ok(());
            }
            let content = reader.tree(tree).map_err(|source| match source {
                ReadError::Unknown { blob } => PruneError::from(Incomplete::Blobs { count: 1, first: blob }),
                source => PruneError::Tree { tree, source: source.into() },
            })?;
            let names = self.names(&content)?;
            self.take(&names, open);
            if reader.repository().cache().is_some() {
                self.walked.lock().unwrap_or_else(PoisonError::into_inner).add(slot, &names);
            }
            Ok(())
        })
    }

    fn take(&self, names: &Names, open: &mut Vec<usize>) {
        for slot in &names.data {
            self.blobs.insert_slot(*slot);
        }
        open.extend(&names.trees);
    }

    /// What a tree names, by number. A blob of data that no index file lists is noted as in use and missing.
    fn names(&self, tree: &Tree) -> Result<Names, PruneError> {
        let mut names = Names::default();
        for node in &tree.nodes {
            if let Some(subtree) = node.subtree {
                names.trees.push(self.slot(&subtree.into())?);
            }
            for id in node.content.iter().flatten() {
                let blob = BlobId::from(*id);
                match self.index.slot_of(&blob) {
                    Some(slot) => names.data.push(slot),
                    None => drop(self.blobs.insert(&blob)),
                }
            }
        }
        names.sort();
        Ok(names)
    }

    fn slot(&self, blob: &BlobId) -> Result<usize, PruneError> {
        self.index.slot_of(blob).ok_or_else(|| Incomplete::Blobs { count: 1, first: *blob }.into())
    }

    fn tree_at(&self, slot: usize) -> Option<TreeId> {
        let copy = self.index.copy_at(u32::try_from(slot).ok()?)?;
        Some(TreeId(copy.blob.id))
    }
}
