//! Rewrite: new snapshots from old ones, with files left out, or with another host, time or summary.
//!
//! In: snapshots and a change. Out: for each that differs a new record, beside the old one or in its place. New trees
//! are durable and listed before the first new record, and that is durable before the old one goes: a stop at any point
//! leaves every snapshot whole. What cannot be read, or not be written as it was read, leaves its snapshot as it is.
//! Memory: one tree per level of folders, and what the writer holds.

use std::vec;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, from_unless_cancelled};
use crate::filter::Selection;
use crate::format::{Node, NodeKind, OrderError, Snapshot, Summary, TreeWriter, limits};
use crate::hash::sha256;
use crate::id::{BlobId, SnapshotId, TreeId};
use crate::repository::{
    BlobWriter, IndexError, LockError, LockGuard, ReadError, Reader, Receipt, RecordError, Repository,
    WriteError, Writer, WriterOptions,
};
use crate::snapshots::{self, Stored};
use crate::time::Time;

/// The tag of new snapshots that stand beside the old ones.
pub const REWRITTEN: &str = "rewrite";

/// What to change.
#[derive(Debug, Clone, Default)]
pub struct RewriteChange {
    /// Which entries stay; their paths begin with `/` at the snapshot's root.
    pub selection: Selection,
    /// Another host.
    pub host: Option<String>,
    /// Another time.
    pub time: Option<Time>,
    /// Count files and bytes anew, also where nothing is left out.
    pub summary: bool,
}

impl RewriteChange {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        !self.reads_trees() && self.host.is_none() && self.time.is_none()
    }

    fn reads_trees(&self) -> bool {
        self.summary || !matches!(self.selection, Selection::All)
    }
}

/// What becomes of a snapshot that has a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Old {
    /// It stays, and the new one gets the tag [`REWRITTEN`].
    #[default]
    Keep,
    /// It is removed, unless it is protected. The lock must be exclusive.
    Remove,
}

/// How to rewrite. Name what matters and take the rest from [`Default`].
#[derive(Debug, Clone, Default)]
pub struct RewriteOptions {
    /// What becomes of the old snapshots.
    pub old: Old,
    /// How new trees are stored.
    pub writer: WriterOptions,
}

/// What became of one snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub enum Rewritten {
    /// There is nothing to change, or nothing of it would be left.
    Unchanged,
    /// It has a new version.
    New {
        /// The name of the new one; `None` if nothing was to be written.
        id: Option<SnapshotId>,
    },
    /// It stays as it is.
    Failed(SnapshotError),
}

/// Why one snapshot was not rewritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A tree cannot be read.
    #[error("cannot read the folder {path}")]
    Read {
        /// Where it lies in the snapshot.
        path: String,
        /// Why.
        source: Box<ReadError>,
    },
    /// A folder has no tree, or lies too deep.
    #[error("the folder {path} is damaged")]
    Damaged {
        /// Where it lies in the snapshot.
        path: String,
    },
    /// Written again, a tree would be another: it holds what this version does not know.
    #[error("cannot encode the folder {path} without losing information")]
    Lossy {
        /// Where it lies in the snapshot.
        path: String,
        /// Its names are out of order.
        source: Option<OrderError>,
    },
    /// It would be removed, but is protected.
    #[error("it is protected")]
    Protected,
    /// The new record could not be stored.
    #[error("cannot save the new snapshot")]
    Save(#[source] Box<RecordError>),
    /// The new record is there, but the old one could not be removed.
    #[error("cannot remove it, although {new} replaces it")]
    Remove {
        /// The new name.
        new: SnapshotId,
        /// Why.
        source: BackendError,
    },
}

/// Why a run ended before its end. Every snapshot is whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The index could not be loaded.
    #[error(transparent)]
    Index(IndexError),
    /// New trees could not be stored.
    #[error(transparent)]
    Write(WriteError),
    /// The lock was lost.
    #[error(transparent)]
    Lock(LockError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(RewriteError: IndexError => Index, WriteError => Write, LockError => Lock);

/// Rewrites snapshots, and says for each in order what became of it.
///
/// ```
/// use repo_core::filter::{Case, Patterns, Selection};
/// use repo_core::ops::rewrite::{RewriteChange, RewriteOptions, Rewritten, rewrite};
/// use repo_core::repository::{LockKind, LockOptions};
/// use repo_core::snapshots;
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
///
/// let lock = repository.lock(&context, LockKind::Shared, &LockOptions::default())?;
/// let all = snapshots::list(&context, &repository)?;
/// let notes = Patterns::new(&["note.*"], Case::Sensitive)?;
/// let change = RewriteChange { selection: Selection::Except(vec![notes]), ..RewriteChange::default() };
/// let done = rewrite(&context, &repository, &lock, &all, &change, &RewriteOptions::default())?;
/// assert!(matches!(done[..], [Rewritten::New { id: Some(_) }]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn rewrite(
    context: &Context,
    repository: &Repository,
    lock: &LockGuard,
    snapshots: &[Stored],
    change: &RewriteChange,
    options: &RewriteOptions,
) -> Result<Vec<Rewritten>, RewriteError> {
    let index = repository.load_index(context)?;
    let reader = Reader::new(repository, index.clone());
    let writer = Writer::start(context, repository, index, options.writer.clone());
    let mut blobs = writer.blob_writer();
    let sink = Some(&mut blobs);
    let changed = change_all(&mut Trees { context, reader: &reader, change, sink }, snapshots, options.old)?;
    blobs.flush();
    let receipt = writer.finish()?;
    let mut done = Vec::with_capacity(changed.len());
    for (stored, changed) in snapshots.iter().zip(changed) {
        done.push(match changed {
            Changed::New(record) => {
                replace(context, repository, lock, (stored, &record), options.old, &receipt)?
            }
            Changed::Unchanged => Rewritten::Unchanged,
            Changed::Failed(error) => Rewritten::Failed(error),
        });
    }
    Ok(done)
}

/// What [`rewrite`] would do, found without writing anything.
pub fn preview(
    context: &Context,
    repository: &Repository,
    snapshots: &[Stored],
    change: &RewriteChange,
    old: Old,
) -> Result<Vec<Rewritten>, RewriteError> {
    let reader = repository.reader(context)?;
    let changed = change_all(&mut Trees { context, reader: &reader, change, sink: None }, snapshots, old)?;
    let shown = changed.into_iter().map(|changed| match changed {
        Changed::New(_) => Rewritten::New { id: None },
        Changed::Unchanged => Rewritten::Unchanged,
        Changed::Failed(error) => Rewritten::Failed(error),
    });
    Ok(shown.collect())
}

/// A snapshot whose trees are in the writer's hands.
enum Changed {
    New(Box<Snapshot>),
    Unchanged,
    Failed(SnapshotError),
}

fn change_all(trees: &mut Trees<'_>, snapshots: &[Stored], old: Old) -> Result<Vec<Changed>, RewriteError> {
    let mut changed = Vec::with_capacity(snapshots.len());
    for stored in snapshots {
        trees.context.cancel.check()?;
        changed.push(match trees.snapshot(stored, old) {
            Ok(Some(record)) => Changed::New(Box::new(record)),
            Ok(None) => Changed::Unchanged,
            Err(Stop::Snapshot(error)) => Changed::Failed(error),
            Err(Stop::Run(error)) => return Err(*error),
        });
    }
    Ok(changed)
}

/// Makes the new snapshot visible, then lets the old one go. The receipt proves that all of it is durable.
fn replace(
    context: &Context,
    repository: &Repository,
    lock: &LockGuard,
    (stored, record): (&Stored, &Snapshot),
    old: Old,
    _receipt: &Receipt,
) -> Result<Rewritten, RewriteError> {
    context.cancel.check()?;
    lock.check()?;
    let new = match repository.save(context, record) {
        Ok(new) => new,
        Err(error) => return Ok(Rewritten::Failed(SnapshotError::Save(error.into()))),
    };
    if old == Old::Remove {
        lock.check()?;
        if let Err(source) = snapshots::remove(repository, stored.id) {
            return Ok(Rewritten::Failed(SnapshotError::Remove { new, source }));
        }
    }
    Ok(Rewritten::New { id: Some(new) })
}

/// What ends: the work on one snapshot, or all of it.
enum Stop {
    Snapshot(SnapshotError),
    Run(Box<RewriteError>),
}

impl From<SnapshotError> for Stop {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}

/// What trees are read and written with; without a sink they are only counted and named.
struct Trees<'a> {
    context: &'a Context,
    reader: &'a Reader,
    change: &'a RewriteChange,
    sink: Option<&'a mut BlobWriter>,
}

/// A folder on the way.
struct Level {
    path: Vec<u8>,
    left: vec::IntoIter<Node>,
    new: TreeWriter,
    keep_empty: bool,
    /// The folder below that is being worked on.
    entered: Option<Node>,
}

#[derive(Default)]
struct Counts {
    files: u64,
    bytes: u64,
}

impl Trees<'_> {
    /// The new record; `None` if it would say the same.
    fn snapshot(&mut self, stored: &Stored, old: Old) -> Result<Option<Snapshot>, Stop> {
        let before = &stored.snapshot;
        let mut record = before.clone();
        if self.change.reads_trees() {
            let mut counts = Counts::default();
            // As restic: a snapshot of which no included file is left stays as it is.
            let Some(tree) = self.tree(before.tree, &mut counts)? else { return Ok(None) };
            record.tree = tree;
            let summary = record.summary.get_or_insert_with(Summary::default);
            summary.total_files_processed = counts.files;
            summary.total_bytes_processed = counts.bytes;
        }
        if record == *before && self.change.host.is_none() && self.change.time.is_none() {
            return Ok(None);
        }
        if let Some(host) = &self.change.host {
            record.hostname.clone_from(host);
        }
        record.time = self.change.time.unwrap_or(record.time);
        record.original = Some(stored.id);
        match old {
            Old::Remove if snapshots::is_protected(&before.tags) => {
                return Err(SnapshotError::Protected.into());
            }
            Old::Keep if !record.tags.iter().any(|tag| tag == REWRITTEN) => {
                record.tags.push(REWRITTEN.to_owned());
            }
            _ => {}
        }
        Ok(Some(record))
    }

    /// Walks a tree from its root, depth first, and stores what is left. `None` if nothing is.
    fn tree(&mut self, root: TreeId, counts: &mut Counts) -> Result<Option<TreeId>, Stop> {
        let mut levels = vec![self.enter(b"/".to_vec(), Some(root), 0)?];
        loop {
            let depth = levels.len();
            let level = levels.last_mut().expect("the root's level is left by a return");
            if let Some(node) = level.left.next() {
                let path = join(&level.path, &node.name);
                let selected = self.change.selection.check(&path);
                if node.kind == NodeKind::Dir {
                    if selected.entry || selected.below {
                        let below = self.enter(path, node.subtree, depth)?;
                        level.entered = Some(node);
                        levels.push(below);
                    }
                } else if selected.entry {
                    if node.kind == NodeKind::File {
                        counts.files += 1;
                        counts.bytes = counts.bytes.saturating_add(node.size);
                    }
                    level.push(&node)?;
                }
                continue;
            }
            let done = levels.pop().expect("it was there just now");
            let tree = self.leave(done)?;
            let Some(above) = levels.last_mut() else { return Ok(tree) };
            let node = above.entered.take().expect("whoever enters says which folder");
            if tree.is_some() {
                above.push(&Node { subtree: tree, ..node })?;
            }
        }
    }

    /// Reads a folder, and makes sure that nothing of it would get lost by being written again.
    fn enter(&self, path: Vec<u8>, tree: Option<TreeId>, depth: usize) -> Result<Level, Stop> {
        self.context.cancel.check().map_err(|stopped| Stop::Run(Box::new(stopped.into())))?;
        let shown = || String::from_utf8_lossy(&path).into_owned();
        let Some(id) = tree.filter(|_| depth < limits::TREE_DEPTH_MAX) else {
            return Err(SnapshotError::Damaged { path: shown() }.into());
        };
        let read = self
            .reader
            .tree(id)
            .map_err(|source| SnapshotError::Read { path: shown(), source: source.into() })?;
        let mut again = TreeWriter::new();
        for node in &read.nodes {
            let lossy = |source| SnapshotError::Lossy { path: shown(), source: Some(source) };
            again.push(node).map_err(lossy)?;
        }
        if TreeId(sha256(&again.finish())) != id {
            return Err(SnapshotError::Lossy { path: shown(), source: None }.into());
        }
        let keep_empty = match &self.change.selection {
            Selection::Only(_) => self.change.selection.check(&path).entry,
            _ => true,
        };
        Ok(Level { path, left: read.nodes.into_iter(), new: TreeWriter::new(), keep_empty, entered: None })
    }

    /// Stores a folder whose entries are decided.
    fn leave(&mut self, level: Level) -> Result<Option<TreeId>, Stop> {
        if level.new.is_empty() && !level.keep_empty {
            return Ok(None);
        }
        let plain = level.new.finish();
        let id = TreeId(sha256(&plain));
        if let Some(blobs) = &mut self.sink {
            blobs.save(&BlobId::from(id), &plain).map_err(|error| Stop::Run(Box::new(error.into())))?;
        }
        Ok(Some(id))
    }
}

impl Level {
    fn push(&mut self, node: &Node) -> Result<(), SnapshotError> {
        self.new.push(node).map_err(|source| SnapshotError::Lossy {
            path: String::from_utf8_lossy(&self.path).into_owned(),
            source: Some(source),
        })
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.strip_suffix(b"/").unwrap_or(folder).to_vec();
    path.push(b'/');
    path.extend_from_slice(name);
    path
}
