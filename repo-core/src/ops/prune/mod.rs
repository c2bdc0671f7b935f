//! Prune: frees what no snapshot needs.
//!
//! ```text
//! packs, snapshots, index ─ walk::reach ─→ blobs in use ─ plan.rs (pure) ─→ PrunePlan, a value that can be shown
//! PrunePlan ─ execute.rs ─→ unindexed packs go → copies are vouched for → blobs are moved (packs, then index)
//!                           → the rest of the index is written anew → old index files go → packs go
//! ```
//!
//! Runs alone: the plan holds the exclusive lock that it was made under, and gives it up when it was carried out.
//! Nothing is removed when anything that snapshots need cannot be found, or cannot be read to find out. Stopped at
//! any point it leaves a sound repository, at worst with packs that no index lists or blobs that are there twice,
//! which the next prune removes. A mode that runs beside backups would mark packs in [`execute`](PrunePlan::execute)
//! instead of removing them; marks that another program made (`packs_to_delete`) are respected and kept already.
//!
//! Memory beside the index (48 bytes per stored blob): 1 bit per stored blob, 32 bytes per different tree, and what
//! `plan` and repacking say.

mod execute;
mod options;
mod plan;

pub use execute::PruneReport;
pub use options::{MaxUnused, OptionsError, PruneOptions};
pub use plan::{Amount, Fate, Incomplete, PruneCost, PruneStats};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::id::{BlobId, FileKind, IndexId, PackId, SnapshotId, TreeId};
use crate::index::{BlobSet, Index};
use crate::repository::{
    IndexError, LockError, LockGuard, LockKind, Needed, ReadError, Reader, RecordError, RepackError,
    Repository, RewriteError, WriteError,
};
use crate::snapshots::{self, SelectError, Stored};
use crate::walk::{SeenTrees, reach};
use plan::{Decision, Facts};

/// Why nothing was pruned, or not all. Whatever the error, no snapshot lost anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The repository could not be locked, or the lock was lost.
    #[error(transparent)]
    Lock(LockError),
    /// The options make no sense together.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The snapshots could not be listed.
    #[error(transparent)]
    Snapshots(SelectError),
    /// A snapshot is unreadable, so nobody knows what it needs.
    #[error("snapshot {id} cannot be read, so what it needs is not known")]
    Snapshot {
        /// Which one.
        id: SnapshotId,
        /// Why.
        source: Box<RecordError>,
    },
    /// The index could not be loaded.
    #[error(transparent)]
    Index(IndexError),
    /// An index file is unreadable, so what it lists would seem to be in nobody's use.
    #[error("index {id} cannot be read, so what it lists is not known")]
    IndexFile {
        /// Which one.
        id: IndexId,
        /// Why.
        source: Box<RecordError>,
    },
    /// An index file lists things that cannot be.
    #[error("index {id} has {count} entries that make no sense")]
    IndexEntries {
        /// Which one.
        id: IndexId,
        /// How many.
        count: u64,
    },
    /// A directory cannot be read, so nobody knows what it needs.
    #[error("tree {tree} cannot be read, so what it needs is not known")]
    Tree {
        /// Which one.
        tree: TreeId,
        /// Why.
        source: Box<ReadError>,
    },
    /// The packs could not be listed.
    #[error("cannot list the packs")]
    Packs(#[source] BackendError),
    /// Something that snapshots need is not there.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// The copy of a blob that would be the last one is not sound; others were to be removed.
    #[error("the copy of {blob} that was to stay is damaged, so no other one is removed")]
    Copy {
        /// Which blob.
        blob: BlobId,
        /// In which pack.
        pack: PackId,
        /// What is wrong.
        source: Box<ReadError>,
    },
    /// A blob in use could not be copied.
    #[error(transparent)]
    Repack(RepackError),
    /// The copies could not be stored.
    #[error(transparent)]
    Write(WriteError),
    /// The index could not be written anew.
    #[error(transparent)]
    Rewrite(RewriteError),
    /// A snapshot is there that the plan knows nothing of.
    #[error("snapshot {id} was made or kept after the plan, nothing more is removed")]
    NewSnapshot {
        /// Which one.
        id: SnapshotId,
    },
    /// An old index file could not be removed, so its packs stay.
    #[error("cannot remove an index file that was replaced")]
    RemoveIndex(#[source] BackendError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(PruneError: LockError => Lock, SelectError => Snapshots, IndexError => Index,
    RepackError => Repack, WriteError => Write, RewriteError => Rewrite);

/// What a prune would do; [`execute`](Self::execute) does it.
#[derive(Debug)]
pub struct PrunePlan {
    repository: Repository,
    lock: LockGuard,
    options: PruneOptions,
    index: Arc<Index>,
    index_files: Vec<IndexId>,
    snapshots: HashSet<SnapshotId>,
    decision: Decision,
}

impl PrunePlan {
    /// The plan in numbers.
    pub fn stats(&self) -> &PruneStats {
        &self.decision.stats
    }

    /// What carrying it out costs, estimated.
    pub fn cost(&self) -> &PruneCost {
        &self.decision.cost
    }

    /// Packs with that fate, sorted. Those that no index lists are in [`unindexed`](Self::unindexed).
    pub fn packs(&self, fate: Fate) -> Vec<PackId> {
        let packs = self.index.packs().iter().zip(&self.decision.fates);
        let mut packs: Vec<_> = packs.filter(|(_, other)| **other == fate).map(|(pack, _)| pack.id).collect();
        packs.retain(|pack| !self.decision.missing.contains(pack));
        packs.sort_unstable();
        packs
    }

    /// Packs that no index lists, left behind by a run that was stopped; they go first.
    pub fn unindexed(&self) -> impl Iterator<Item = PackId> + '_ {
        self.decision.unindexed.iter().map(|(pack, _)| *pack)
    }

    /// Packs that the index lists, that do not exist, and that nobody needs; the index forgets them.
    pub fn missing(&self) -> &[PackId] {
        &self.decision.missing
    }

    /// The packs that carrying it out reads. Those in a cold class have to be [thawed](Repository::thaw) before, best
    /// without the plan and its lock; then plan again, which reads the same unless something changed meanwhile.
    pub fn needed(&self) -> Needed {
        let Decision { moves, vouch, .. } = &self.decision;
        let copies = moves.iter().chain(vouch).filter_map(|number| self.index.copy_at(*number));
        Needed::of(&copies.map(|copy| copy.place.pack).collect(), &self.index)
    }

    /// How many snapshots decided what is in use.
    pub fn snapshots(&self) -> usize {
        self.snapshots.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.decision.unindexed.is_empty() && self.decision.fates.iter().all(|fate| *fate == Fate::Keep)
    }
}

/// Locks the repository, plans, and carries the plan out.
///
/// ```
/// use repo_core::ops::prune::{MaxUnused, PruneOptions, prune};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend, snapshots};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// # let old = snapshots::list(&context, &repository)?.remove(0);
///
/// snapshots::remove(&repository, old.id)?;
/// let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
/// let report = prune(&context, &repository, &options)?;
/// assert_eq!(report.stats.remaining().blobs, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prune(
    context: &Context,
    repository: &Repository,
    options: &PruneOptions,
) -> Result<PruneReport, PruneError> {
    let lock = repository.lock(context, LockKind::Exclusive, &options.lock)?;
    plan(context, repository, lock, options)?.execute(context)
}

/// Finds out what is in use and decides what becomes of each pack. Changes nothing.
///
/// `lock` is an exclusive lock on the repository, which the plan keeps; whoever only looks at a plan may give
/// [`LockGuard::none`]. After a forget under the same lock, hand that lock over.
///
/// ```
/// use repo_core::ops::prune::{Fate, PruneOptions, plan};
/// use repo_core::repository::{LockKind, LockOptions};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
///
/// let lock = repository.lock(&context, LockKind::Exclusive, &LockOptions::default())?;
/// let plan = plan(&context, &repository, lock, &PruneOptions::default())?;
/// println!("frees {} bytes, reads {}", plan.stats().pruned().bytes, plan.cost().read_bytes);
/// for pack in plan.packs(Fate::Remove) {
///     println!("{pack} goes");
/// }
/// if !plan.is_empty() {
///     plan.execute(&context)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn plan(
    context: &Context,
    repository: &Repository,
    lock: LockGuard,
    options: &PruneOptions,
) -> Result<PrunePlan, PruneError> {
    options.check(repository.config().version)?;
    // In this order a pack that appears meanwhile is not known at all, instead of seeming to be of no use.
    let existing = repository.backend().list(FileKind::Pack).map_err(PruneError::Packs)?;
    let existing: HashMap<PackId, u64> = existing.iter().map(|file| (PackId(file.id), file.size)).collect();
    let stored = load_snapshots(context, repository, options)?;
    let (index, index_files, marked) = load_index(context, repository)?;
    let reader = Reader::new(repository, Arc::clone(&index));
    let used = find_used(context, &reader, &stored)?;

    let total = index.packs().len() as u64;
    context.tell(&Event::Begin { stage: Stage::PlanPacks, total, bytes: 0 });
    let facts = Facts {
        index: &index,
        used: &used,
        existing: &existing,
        marked: &marked,
        index_files: index_files.len(),
        compresses: repository.config().compresses(),
    };
    let decision = plan::decide(&facts, options)?;
    context.tell(&Event::Progress { stage: Stage::PlanPacks, items: total, bytes: 0 });
    context.tell(&Event::End { stage: Stage::PlanPacks });
    let snapshots = stored.iter().map(|stored| stored.id).collect();
    let (repository, options) = (repository.clone(), options.clone());
    Ok(PrunePlan { repository, lock, options, index, index_files, snapshots, decision })
}

/// All snapshots; one that cannot be read stops everything, because it may need anything.
fn load_snapshots(
    context: &Context,
    repository: &Repository,
    options: &PruneOptions,
) -> Result<Vec<Stored>, PruneError> {
    let (mut stored, unreadable) = snapshots::list_with_report(context, repository)?;
    if let Some((id, source)) = unreadable.into_iter().next() {
        return Err(PruneError::Snapshot { id, source: source.into() });
    }
    stored.retain(|stored| !options.without_snapshots.contains(&stored.id));
    Ok(stored)
}

/// The index, its files, and the packs that another program has marked; all of it or nothing.
#[expect(clippy::type_complexity, reason = "three lists, nothing more")]
fn load_index(
    context: &Context,
    repository: &Repository,
) -> Result<(Arc<Index>, Vec<IndexId>, Vec<PackId>), PruneError> {
    let loaded = repository.load_index_with_report(context)?;
    if let Some((id, source)) = loaded.unreadable.into_iter().next() {
        return Err(PruneError::IndexFile { id, source: source.into() });
    }
    if let Some(&(id, count)) = loaded.odd_entries.first() {
        return Err(PruneError::IndexEntries { id, count });
    }
    Ok((Arc::new(loaded.index), loaded.files, loaded.marked.iter().map(|mark| mark.pack.id).collect()))
}

/// Every blob that the snapshots need.
fn find_used(context: &Context, reader: &Reader, stored: &[Stored]) -> Result<BlobSet, PruneError> {
    context.tell(&Event::Begin { stage: Stage::FindUsed, total: stored.len() as u64, bytes: 0 });
    let used = BlobSet::new(Arc::clone(reader.index()));
    let seen = Mutex::new(SeenTrees::new());
    let problem = Mutex::new(None);
    for Stored { snapshot, .. } in stored {
        reach(context, reader, [snapshot.tree], &seen, |reached| match reached.tree {
            Ok(tree) => {
                used.insert(&reached.id.into());
                for id in tree.nodes.iter().filter_map(|node| node.content.as_ref()).flatten() {
                    used.insert(&(*id).into());
                }
            }
            Err(source) => {
                let mut problem = problem.lock().unwrap_or_else(PoisonError::into_inner);
                problem.get_or_insert((reached.id, source));
            }
        })?;
        if let Some((tree, source)) = problem.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(match source {
                ReadError::Unknown { blob } => Incomplete::Blobs { count: 1, first: blob }.into(),
                source => PruneError::Tree { tree, source: source.into() },
            });
        }
        context.tell(&Event::Progress { stage: Stage::FindUsed, items: 1, bytes: 0 });
    }
    context.tell(&Event::End { stage: Stage::FindUsed });
    Ok(used)
}
