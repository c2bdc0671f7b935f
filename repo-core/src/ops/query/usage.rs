//! Usage: what some snapshots alone need, blob by blob and folder by folder.
//!
//! In: the roots of these snapshots, and of all that stay. Out: what would be free if the first went, in total and by the
//! folder it is found in first. A number that would be wrong is never given: what cannot be read is an error. Memory: two
//! bits per stored blob, 32 bytes per different directory that stays, and about 150 per directory with something of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::context::{Cancelled, Context};
use crate::format::PackHeader;
use crate::id::{BlobId, TreeId};
use crate::index::BlobSet;
use crate::repository::{ReadError, Reader};
use crate::walk::{SeenTrees, child_path, reach};

/// So much of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Different blobs.
    pub blobs: u64,
    /// Their stored bytes, with their entries in packs' headers; one copy of each.
    pub stored_bytes: u64,
    /// Their bytes when they are opened.
    pub plain_bytes: u64,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.blobs += other.blobs;
        self.stored_bytes += other.stored_bytes;
        self.plain_bytes += other.plain_bytes;
    }
}

/// What snapshots alone need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// All of it.
    pub total: Amount,
    /// What lies in each folder and below it, for every folder that has anything; by path.
    pub folders: BTreeMap<PathBuf, Amount>,
}

/// Why nothing could be counted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// A directory cannot be read.
    #[error("cannot count what lies below {tree}")]
    Tree {
        /// Its tree.
        tree: TreeId,
        /// Why.
        source: Box<ReadError>,
    },
    /// A blob that a file needs is in no index, so nobody knows its size.
    #[error("{blob} is in no index")]
    Unknown {
        /// Which blob.
        blob: BlobId,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Counts what is needed below the roots `some` and not below the roots `others`.
///
/// A blob that several folders have counts for the one that is met first.
pub fn usage(
    context: &Context,
    reader: &Reader,
    some: &[TreeId],
    others: &[TreeId],
) -> Result<Usage, UsageError> {
    let taken = needed(context, reader, others)?;
    let mut usage = Usage::default();
    for root in some {
        let mut open = vec![(PathBuf::from("/"), *root)];
        while let Some((path, id)) = open.pop() {
            context.cancel.check()?;
            if !taken.insert(&id.into()) {
                continue;
            }
            let tree = reader.tree(id);
            let tree = tree.map_err(|source| UsageError::Tree { tree: id, source: source.into() })?;
            let mut amount = size(reader, id.into())?;
            for node in &tree.nodes {
                for blob in node.content.iter().flatten().map(|id| BlobId::from(*id)) {
                    if taken.insert(&blob) {
                        amount.add(size(reader, blob)?);
                    }
                }
                open.extend(node.subtree.map(|tree| (child_path(&path, &node.name), tree)));
            }
            usage.count(&path, amount);
        }
    }
    Ok(usage)
}

impl Usage {
    /// Adds to a folder and all above it.
    fn count(&mut self, path: &Path, amount: Amount) {
        self.total.add(amount);
        for folder in path.ancestors() {
            self.folders.entry(folder.to_owned()).or_default().add(amount);
        }
    }
}

/// All blobs below some roots.
fn needed(context: &Context, reader: &Reader, roots: &[TreeId]) -> Result<BlobSet, UsageError> {
    let (needed, unreadable) = (BlobSet::new(reader.index().clone()), Mutex::new(None));
    reach(context, reader, roots.iter().copied(), &Mutex::new(SeenTrees::new()), |reached| {
        needed.insert(&reached.id.into());
        match reached.tree {
            Ok(tree) => {
                for id in tree.nodes.iter().filter_map(|node| node.content.as_ref()).flatten() {
                    needed.insert(&(*id).into());
                }
            }
            Err(error) => {
                let mut first = unreadable.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert((reached.id, error));
            }
        }
    })?;
    match unreadable.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((tree, source)) => Err(UsageError::Tree { tree, source: source.into() }),
        None => Ok(needed),
    }
}

fn size(reader: &Reader, blob: BlobId) -> Result<Amount, UsageError> {
    let place = reader.index().place_of(&blob).ok_or(UsageError::Unknown { blob })?;
    let entry = u64::from(PackHeader::entry_len(place.plain_len));
    Ok(Amount {
        blobs: 1,
        stored_bytes: u64::from(place.len) + entry,
        plain_bytes: u64::from(place.opened_len()),
    })
}
