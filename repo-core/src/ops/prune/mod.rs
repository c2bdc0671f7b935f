//! Prune: frees what no snapshot needs.
//!
//! ```text
//! packs, snapshots, index ─ walk::reach ─→ blobs in use ─ plan.rs (pure) ─→ PrunePlan, a value that can be shown
//! PrunePlan ─ execute.rs ─→ alone:  unindexed packs go → copies are vouched for → blobs are moved (packs, then index)
//!                                   → the rest of the index is written anew → old index files go → packs go
//!           ─ beside.rs ──→ beside others: marked packs that are needed come back → packs whose time has come go
//!                                   → copies are vouched for → blobs are moved → the index is written anew, with marks
//!                                   → in a moment in which nobody else works, old index files go
//! ```
//!
//! The plan holds the lock that it was made under, exclusive or shared as its [mode](PruneMode) wants, and gives it up
//! when it was carried out. Nothing is removed when anything that snapshots need cannot be found, or cannot be read to
//! find out. Stopped at any point it leaves a sound repository, at worst with packs that no index lists or blobs that
//! are there twice, which the next prune removes.
//!
//! Memory beside the index (48 bytes per stored blob): 1 bit per stored blob, 32 bytes per different tree, and what
//! `plan` and repacking say.

mod execute;
mod beside;
mod marks;
mod options;
mod plan;
mod price;
mod used;
mod walked;

pub use execute::{Postponed, PruneReport};
pub use options::{MaxUnused, OptionsError, PruneMode, PruneOptions};
pub use plan::{Amount, Fate, Incomplete, PruneCost, PruneStats};
pub use price::{Bill, Prices};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::id::{BlobId, FileKind, IndexId, PackId, SnapshotId, TreeId};
use crate::index::Index;
use crate::repository::{
    IndexError, IndexPart, LoadedIndex, LockError, LockGuard, Needed, ReadError, Reader, RecordError,
    RepackError, Repository, RewriteError, WriteError,
};
use crate::snapshots::{self, SelectError, Stored};
use crate::time::Time;
use marks::{Marks, Now};
use plan::{Decision, Facts};
use used::Usage;

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
    /// An index file is there that the plan knows nothing of: what it lists may be in use, or must leave it first.
    #[error("index {id} was made or kept after the plan, nothing is removed")]
    NewIndex {
        /// Which one.
        id: IndexId,
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

/// A lock that was not renewed for so long is that of somebody who was stopped, or is no more.
const ASLEEP: Duration = Duration::from_mins(30);

/// What a prune would do; [`execute`](Self::execute) does it.
#[derive(Debug)]
pub struct PrunePlan {
    repository: Repository,
    lock: LockGuard,
    options: PruneOptions,
    index: Arc<Index>,
    index_files: Vec<IndexId>,
    snapshots: HashSet<SnapshotId>,
    usage: Usage,
    marks: Marks,
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

    /// Packs that were marked before and that snapshots need again, sorted.
    pub fn back(&self) -> &[PackId] {
        &self.decision.back
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Decision { unindexed, fates, back, hollow, .. } = &self.decision;
        unindexed.is_empty()
            && back.is_empty()
            && hollow.is_empty()
            && self.marks.changed.is_empty()
            && fates.iter().all(|fate| matches!(fate, Fate::Keep | Fate::Wait))
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
    let lock = repository.lock(context, options.mode.lock(), &options.lock)?;
    plan(context, repository, lock, options)?.execute(context)
}

/// Finds out what is in use and decides what becomes of each pack. Changes nothing.
///
/// `lock` is a lock on the repository of the kind that the [mode](PruneMode::lock) wants, which the plan keeps; whoever
/// only looks at a plan may give [`LockGuard::none`]. After a forget under the same lock, hand that lock over.
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
    let now = now(context, &lock)?;
    let list_packs = || -> Result<HashMap<PackId, u64>, PruneError> {
        let listed = repository.backend().list(FileKind::Pack).map_err(PruneError::Packs)?;
        Ok(listed.iter().map(|file| (PackId(file.id), file.size)).collect())
    };
    // Alone, packs come first: one that appears all the same is not known at all, instead of seeming to be of no use.
    let before = (options.mode == PruneMode::Instant).then(list_packs).transpose()?;
    let stored = load_snapshots(context, repository, options)?;
    let LoadedIndex { index, files: index_files, marked, .. } = load_index(context, repository)?;
    let index = Arc::new(index);
    // Beside others they come last, so that all that the index lists is there; what is not listed yet is only marked.
    let existing = before.map_or_else(list_packs, Ok)?;
    let (mut due, marks) = Marks::judge(marked, now, options.mode.grace());
    if marks.packs.values().any(|mark| mark.pack.blobs.is_empty() && due.get(&mark.pack.id) == Some(&true))
        && options.mode != PruneMode::Instant
        && somebody_sleeps(context, repository, now)?
    {
        // What nobody lists may be the upload of somebody who goes on one day.
        for (pack, due) in &mut due {
            *due &= marks.packs.get(pack).is_some_and(|mark| !mark.pack.blobs.is_empty());
        }
    }
    let reader = Reader::new(repository, Arc::clone(&index));
    let mut usage = Usage::recall(context, &reader);
    context.tell(&Event::Begin { stage: Stage::FindUsed, total: stored.len() as u64, bytes: 0 });
    for Stored { snapshot, .. } in &stored {
        usage.add(context, &reader, snapshot.tree)?;
        context.tell(&Event::Progress { stage: Stage::FindUsed, items: 1, bytes: 0 });
    }
    context.tell(&Event::End { stage: Stage::FindUsed });
    usage.remember(context, &reader);

    let total = index.packs().len() as u64;
    context.tell(&Event::Begin { stage: Stage::PlanPacks, total, bytes: 0 });
    let facts = Facts {
        index: &index,
        used: &usage.blobs,
        existing: &existing,
        marked: &due,
        index_files: index_files.len(),
        compresses: repository.config().compresses(),
    };
    let decision = plan::decide(&facts, options)?;
    context.tell(&Event::Progress { stage: Stage::PlanPacks, items: total, bytes: 0 });
    context.tell(&Event::End { stage: Stage::PlanPacks });
    let snapshots = stored.iter().map(|stored| stored.id).collect();
    let (repository, options) = (repository.clone(), options.clone());
    Ok(PrunePlan { repository, lock, options, index, index_files, snapshots, usage, marks, decision })
}

/// What time it was when the lock was written, by the storage's clock if it has one.
fn now(context: &Context, lock: &LockGuard) -> Result<Now, LockError> {
    let here = context.now();
    Ok(match lock.written_at()? {
        Some(instant) => Now { time: Time { instant, ..here }, of_storage: true },
        None => Now { time: here, of_storage: false },
    })
}

/// Whether a lock is so old that its holder must have been stopped; one that cannot be read may be such a one.
fn somebody_sleeps(context: &Context, repository: &Repository, now: Now) -> Result<bool, PruneError> {
    let locks = repository.locks(context).map_err(|error| PruneError::Lock(error.into()))?;
    for (id, lock) in locks {
        let Ok(lock) = lock else { return Ok(true) };
        let written = if now.of_storage { repository.backend().written_at(id.into()) } else { Ok(None) };
        let age = match written {
            Ok(Some(written)) => now.time.instant.since(written),
            Ok(None) => lock.age,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(PruneError::Lock(error.into())),
        };
        if age > ASLEEP {
            return Ok(true);
        }
    }
    Ok(false)
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

/// The index with the packs that are marked, and which those are; all of it or nothing.
fn load_index(context: &Context, repository: &Repository) -> Result<LoadedIndex, PruneError> {
    let part = IndexPart { with_marked: true, ..IndexPart::default() };
    let mut loaded = repository.load_index_part(context, part)?;
    if !loaded.unreadable.is_empty() {
        let (id, source) = loaded.unreadable.swap_remove(0);
        return Err(PruneError::IndexFile { id, source: source.into() });
    }
    if let Some(&(id, count)) = loaded.odd_entries.first() {
        return Err(PruneError::IndexEntries { id, count });
    }
    Ok(loaded)
}
