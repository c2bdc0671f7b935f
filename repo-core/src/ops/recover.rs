//! Recover: a snapshot of all trees that nobody refers to any more.
//!
//! In: the index, which has to be right (see [`repair_index`](crate::ops::repair::repair_index)). Out: a snapshot with a
//! folder for each root that no snapshot and no other tree names, such as that of a snapshot that was removed by mistake.
//! Trees that cannot be read are told and left out. Memory: 32 bytes per tree, and 32 per tree that another one names.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::backend::ErrorKind;
use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::format::{Mode, Node, NodeKind, Snapshot, Tree, TreeWriter};
use crate::hash::sha256;
use crate::id::{BlobId, BlobKind, SnapshotId, TreeId};
use crate::repository::{
    IndexError, LockError, LockGuard, LockOwner, ReadError, Reader, RecordError, Repository, WriteError,
    Writer, WriterOptions,
};
use crate::snapshots::{self, SelectError};
use crate::walk::reach;

/// The tag of the new snapshot.
pub const RECOVERED: &str = "recovered";

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The index could not be loaded.
    #[error(transparent)]
    Index(IndexError),
    /// The snapshots could not be listed.
    #[error(transparent)]
    Snapshots(SelectError),
    /// The storage did not give a tree; it may not be lost.
    #[error("cannot read tree {tree}")]
    Read {
        /// Which one.
        tree: TreeId,
        /// Why.
        source: Box<ReadError>,
    },
    /// The new tree could not be stored.
    #[error(transparent)]
    Write(WriteError),
    /// The new snapshot could not be stored.
    #[error("cannot save the new snapshot")]
    Save(#[source] RecordError),
    /// The lock was lost.
    #[error(transparent)]
    Lock(LockError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(RecoverError:
    IndexError => Index, SelectError => Snapshots, WriteError => Write, LockError => Lock);

/// The roots that nobody refers to. Nothing was changed yet.
#[derive(Debug)]
pub struct RecoverPlan {
    /// The roots, sorted.
    pub roots: Vec<TreeId>,
    /// Trees that cannot be read.
    pub unreadable: Vec<(TreeId, ReadError)>,
    reader: Reader,
}

/// Looks for roots that nobody refers to.
///
/// ```
/// use repo_core::ops::recover::plan_recover;
/// use repo_core::repository::{LockKind, LockOptions, LockOwner, WriterOptions};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend, snapshots};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
///
/// let only = snapshots::list(&context, &repository)?.remove(0);
/// snapshots::remove(&repository, only.id)?; // by mistake
/// let lock = repository.lock(&context, LockKind::Exclusive, &LockOptions::default())?;
/// let plan = plan_recover(&context, &repository)?;
/// assert_eq!(plan.roots, [only.snapshot.tree]);
/// plan.execute(&context, &lock, &LockOwner::this_process(), WriterOptions::default())?;
/// assert_eq!(snapshots::list(&context, &repository)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn plan_recover(context: &Context, repository: &Repository) -> Result<RecoverPlan, RecoverError> {
    let stored = snapshots::list(context, repository)?;
    let reader = repository.reader(context)?;
    let trees: HashSet<TreeId> = reader
        .index()
        .iter()
        .filter(|(blob, _)| blob.kind == BlobKind::Tree)
        .map(|(blob, _)| TreeId(blob.id))
        .collect();
    let stage = Stage::CheckTrees;
    context.tell(&Event::Begin { stage, total: trees.len() as u64, bytes: 0 });
    let named: Mutex<HashSet<TreeId>> = Mutex::default();
    let (unreadable, leftovers) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    reach(context, &reader, trees.iter().copied(), &Mutex::default(), |reached| {
        match reached.tree {
            Ok(tree) => {
                let below: Vec<TreeId> = tree.nodes.iter().filter_map(|node| node.subtree).collect();
                if is_of_a_recovery(&tree) {
                    leftovers.lock().unwrap_or_else(PoisonError::into_inner).push((reached.id, below));
                } else {
                    named.lock().unwrap_or_else(PoisonError::into_inner).extend(below);
                }
            }
            Err(error) => {
                unreadable.lock().unwrap_or_else(PoisonError::into_inner).push((reached.id, error));
            }
        }
        context.tell(&Event::Progress { stage, items: 1, bytes: 0 });
    })?;
    context.tell(&Event::End { stage });

    let mut named = named.into_inner().unwrap_or_else(PoisonError::into_inner);
    named.extend(stored.iter().map(|stored| stored.snapshot.tree));
    // A recovery that was stopped before its snapshot leaves a tree behind that refers to roots, as nobody else does.
    let leftovers = leftovers.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (in_use, left): (Vec<_>, Vec<_>) = leftovers.into_iter().partition(|(tree, _)| named.contains(tree));
    named.extend(in_use.into_iter().flat_map(|(_, below)| below));
    named.extend(left.into_iter().map(|(tree, _)| tree));
    let mut unreadable = unreadable.into_inner().unwrap_or_else(PoisonError::into_inner);
    unreadable.retain(|(tree, _)| trees.contains(tree));
    unreadable.sort_unstable_by_key(|(tree, _)| *tree);
    if let Some(at) = unreadable.iter().position(|(_, error)| !is_loss(error)) {
        let (tree, source) = unreadable.swap_remove(at);
        return Err(RecoverError::Read { tree, source: source.into() });
    }
    let broken: HashSet<TreeId> = unreadable.iter().map(|(tree, _)| *tree).collect();
    let free = |tree: &TreeId| !named.contains(tree) && !broken.contains(tree);
    let mut roots: Vec<TreeId> = trees.into_iter().filter(free).collect();
    roots.sort_unstable();
    Ok(RecoverPlan { roots, unreadable, reader })
}

/// Whether a tree is the root of a recovery: nothing but folders named by the first digits of their own trees.
fn is_of_a_recovery(tree: &Tree) -> bool {
    let is_root = |node: &Node| {
        let name = node.subtree.map(|tree| tree.to_string());
        node.name.len() >= 8 && name.is_some_and(|name| name.as_bytes().starts_with(&node.name))
    };
    !tree.nodes.is_empty() && tree.nodes.iter().all(is_root)
}

/// Whether a tree is not there any more, or not what it was; otherwise the storage failed.
fn is_loss(error: &ReadError) -> bool {
    match error {
        ReadError::Fetch { source, .. } => matches!(source.kind(), ErrorKind::NotFound | ErrorKind::TooShort),
        _ => true,
    }
}

impl RecoverPlan {
    /// Makes the snapshot: its tree and the index of that first. `None` if there is no root to save. The lock must be
    /// exclusive: a backup that is under way has trees that no snapshot names yet.
    ///
    /// Stopped at any point, the same again ends as this run would have.
    pub fn execute(
        self,
        context: &Context,
        lock: &LockGuard,
        owner: &LockOwner,
        options: WriterOptions,
    ) -> Result<Option<SnapshotId>, RecoverError> {
        if self.roots.is_empty() {
            return Ok(None);
        }
        let repository = self.reader.repository();
        let now = context.now();
        let plain = self.tree(now);
        let tree = TreeId(sha256(&plain));
        let writer = Writer::start(context, repository, self.reader.index().clone(), options);
        let mut blobs = writer.blob_writer();
        blobs.save(&BlobId::from(tree), &plain)?;
        blobs.flush();
        writer.finish()?;

        let mut snapshot = Snapshot::new(now, tree, vec!["/recover".to_owned()]);
        snapshot.hostname.clone_from(&owner.hostname);
        snapshot.username.clone_from(&owner.username);
        (snapshot.uid, snapshot.gid) = (owner.uid, owner.gid);
        snapshot.tags = vec![RECOVERED.to_owned()];
        context.cancel.check()?;
        lock.check()?;
        repository.save(context, &snapshot).map(Some).map_err(RecoverError::Save)
    }

    /// A folder for each root, named by as many digits as it takes to tell them apart, at least 8.
    fn tree(&self, now: crate::time::Time) -> Vec<u8> {
        let names = |len: usize| -> Vec<String> {
            self.roots.iter().map(|root| root.to_string().chars().take(len).collect()).collect()
        };
        let differ = |names: &Vec<String>| names.windows(2).all(|pair| pair[0] != pair[1]);
        let names = (8..=64).map(names).find(differ).unwrap_or_default();
        let mut tree = TreeWriter::new();
        for (root, name) in self.roots.iter().zip(names) {
            let mut node = Node::new(name, NodeKind::Dir);
            node.mode = Mode(0o755);
            (node.mtime, node.atime, node.ctime) = (now, now, now);
            node.subtree = Some(*root);
            // The roots are sorted and their names differ.
            tree.push(&node).expect("names rise as the roots do");
        }
        tree.finish()
    }
}
