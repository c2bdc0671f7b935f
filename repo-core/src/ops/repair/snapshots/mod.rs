//! Snapshots of which something is lost: new ones without that, so that the rest can be restored.
//!
//! ```text
//! snapshots ─ trees.rs   what each tree becomes, and what is cut (plan: nothing is written)
//!           └ execute    changed trees are stored and listed, then the new snapshots, then the old ones may go
//! ```
//!
//! What is lost is found out by the index, so that has to be right: where a pack that is listed does not exist, or one that
//! no index file lists has something of what is missing, nothing is planned before the index is repaired.
//! Memory: 32 bytes per different tree, 64 per tree that changes, and what was cut.

mod trees;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::format::{IndexedBlob, OrderError, Snapshot};
use crate::id::{BlobId, FileKind, PackId, SnapshotId, TreeId};
use crate::index::Index;
use crate::ops::repair::snapshots::trees::{Becomes, Changes, Trees};
use crate::repository::{
    IndexError, LockError, LockGuard, PackHeaderError, ReadError, Reader, RecordError, Repository,
    WriteError, Writer, WriterOptions,
};
use crate::snapshots::{self, SelectError, Stored};

/// The tag of new snapshots whose old ones stay.
pub const REPAIRED: &str = "repaired";

/// Why snapshots were not repaired. Each of them is as it was, or there in its new form too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairSnapshotsError {
    /// The snapshots could not be listed.
    #[error(transparent)]
    Snapshots(SelectError),
    /// The index could not be loaded.
    #[error(transparent)]
    Index(IndexError),
    /// The packs could not be listed.
    #[error("cannot list the packs")]
    Packs(#[source] BackendError),
    /// The header of a pack that no index file lists could not be fetched.
    #[error(transparent)]
    Header(Box<PackHeaderError>),
    /// The index lists packs that are not there, so nobody knows by it what is lost.
    #[error("the index lists {count} packs that do not exist, {pack} is one")]
    PacksMissing {
        /// One of them.
        pack: PackId,
        /// How many.
        count: usize,
    },
    /// Something that seems to be lost is there, only the index does not say so.
    #[error("{count} of the missing blobs are in packs that no index file lists, {pack} is one")]
    NotLost {
        /// One of the packs.
        pack: PackId,
        /// How many blobs.
        count: usize,
    },
    /// The storage did not give a tree; it may not be lost.
    #[error("cannot read tree {tree}")]
    Read {
        /// Which one.
        tree: TreeId,
        /// Why.
        source: Box<ReadError>,
    },
    /// A tree that was readable before is not now, or the other way round.
    #[error("tree {tree} is not what it was a moment ago")]
    Unsteady {
        /// Which one.
        tree: TreeId,
    },
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

from_unless_cancelled!(RepairSnapshotsError:
    SelectError => Snapshots, IndexError => Index, WriteError => Write, LockError => Lock);

/// Two entries of a folder bear the same name, so it cannot be written again.
#[derive(Debug, thiserror::Error)]
#[error("tree {tree} cannot be written again")]
pub struct TreeError {
    /// Which one.
    pub tree: TreeId,
    /// Why.
    pub source: OrderError,
}

/// Something that is cut, or put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where, from the snapshot's root.
    pub path: Vec<u8>,
    /// What.
    pub loss: Loss,
}

/// What is cut, or put right.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Chunks of a file are missing; the rest of it stays.
    Content,
    /// A file had another size than its chunks.
    Size,
    /// An entry of a kind that cannot be; it goes.
    Kind {
        /// The kind.
        word: String,
    },
    /// The tree of a folder cannot be had; an empty one takes its place.
    Folder,
}

/// What is to become of a snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fate {
    /// Nothing of it is lost.
    Whole,
    /// It gets a new version with this tree.
    Changes(TreeId),
    /// Its root cannot be had, so nothing of it is left.
    Lost,
    /// It cannot be repaired, and stays.
    Stays(TreeError),
}

/// A snapshot with what is to become of it.
#[derive(Debug)]
pub struct SnapshotRepair {
    /// The snapshot.
    pub stored: Stored,
    /// What is cut; said once for a folder that several snapshots share.
    pub cuts: Vec<Cut>,
    /// What is to become of it.
    pub fate: Fate,
}

/// What there is to do. Nothing was changed yet.
#[derive(Debug)]
pub struct SnapshotsPlan {
    /// The snapshots, in the order given.
    pub snapshots: Vec<SnapshotRepair>,
    reader: Reader,
    changes: Changes,
}

/// What becomes of old snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OldSnapshots {
    /// They stay; new ones get the tag [`REPAIRED`].
    #[default]
    Keep,
    /// As [`Keep`](Self::Keep), but those go of which nothing is left.
    RemoveLost,
    /// They go, unless they are protected.
    Remove,
}

/// What became of a snapshot.
#[derive(Debug, Default)]
pub struct SnapshotOutcome {
    /// The new version, if there is one.
    pub new: Option<SnapshotId>,
    /// Whether the new version was there before.
    pub was_there: bool,
    /// Whether the old one is gone.
    pub removed: bool,
    /// Why the new one could not be saved, or why the old one is still there.
    pub failed: Option<SnapshotFailure>,
}

/// Why a step for one snapshot was not done. The others are not concerned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFailure {
    /// The new version could not be saved.
    #[error("cannot save the new snapshot")]
    Save(#[source] RecordError),
    /// The old one could not be removed.
    #[error("cannot remove the old snapshot")]
    Remove(#[source] BackendError),
}

/// Finds out what of some snapshots is lost.
///
/// ```
/// use repo_core::id::{FileKind, PackId};
/// use repo_core::ops::repair::{OldSnapshots, RepairIndexOptions, plan_repair_snapshots, repair_index};
/// use repo_core::repository::{LockKind, LockOptions, WriterOptions};
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
/// let index = repository.load_index(&context)?;
/// let data = index.packs().iter().find(|pack| pack.data_blobs > 0).expect("there is content").id;
/// repository.backend().remove(data.into())?; // an accident
/// repair_index(&context, &repository, &RepairIndexOptions::default())?;
///
/// let lock = repository.lock(&context, LockKind::Exclusive, &LockOptions::default())?;
/// let plan = plan_repair_snapshots(&context, &repository, snapshots::list(&context, &repository)?)?;
/// assert_eq!(plan.snapshots[0].cuts[0].path, b"/note.txt");
/// plan.execute(&context, &lock, OldSnapshots::Remove, WriterOptions::default(), |_, _| {})?;
/// drop(lock);
/// assert!(repo_core::check(&context, &repository, &Default::default())?.is_sound());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn plan_repair_snapshots(
    context: &Context,
    repository: &Repository,
    snapshots: Vec<Stored>,
) -> Result<SnapshotsPlan, RepairSnapshotsError> {
    let reader = repository.reader(context)?;
    let unlisted = compare_packs(repository, &reader)?;
    let stage = Stage::CheckTrees;
    context.tell(&Event::Begin { stage, total: snapshots.len() as u64, bytes: 0 });
    let (mut trees, mut planned) = (Trees::new(context, &reader), Vec::with_capacity(snapshots.len()));
    for stored in snapshots {
        let mut cuts = Vec::new();
        let fate = match trees.judge(stored.snapshot.tree, &mut cuts)? {
            Ok(Becomes::Itself) => Fate::Whole,
            Ok(Becomes::Another(tree)) => Fate::Changes(tree),
            Ok(Becomes::Lost) => Fate::Lost,
            Err(error) => Fate::Stays(error),
        };
        planned.push(SnapshotRepair { stored, cuts, fate });
        context.tell(&Event::Progress { stage, items: 1, bytes: 0 });
    }
    context.tell(&Event::End { stage });
    let changes = trees.finish();
    nothing_is_unlisted(context, repository, &changes.missing, &unlisted)?;
    Ok(SnapshotsPlan { snapshots: planned, reader, changes })
}

/// The packs that no index file lists, with their sizes. All that are listed have to be there.
fn compare_packs(
    repository: &Repository,
    reader: &Reader,
) -> Result<Vec<(PackId, u64)>, RepairSnapshotsError> {
    let existing = repository.backend().list(FileKind::Pack).map_err(RepairSnapshotsError::Packs)?;
    let mut existing: HashMap<PackId, u64> =
        existing.iter().map(|file| (PackId(file.id), file.size)).collect();
    let listed = reader.index().packs().iter().map(|pack| pack.id);
    let missing: Vec<PackId> = listed.filter(|pack| existing.remove(pack).is_none()).collect();
    match missing[..] {
        [] => Ok(existing.into_iter().collect()),
        [pack, ..] => Err(RepairSnapshotsError::PacksMissing { pack, count: missing.len() }),
    }
}

/// Whether nothing of what is missing lies in packs that are only not listed.
fn nothing_is_unlisted(
    context: &Context,
    repository: &Repository,
    missing: &HashSet<BlobId>,
    unlisted: &[(PackId, u64)],
) -> Result<(), RepairSnapshotsError> {
    if missing.is_empty() {
        return Ok(());
    }
    let (mut found, mut one) = (HashSet::new(), None);
    for (pack, size) in unlisted {
        context.cancel.check()?;
        match repository.pack_blobs(*pack, *size) {
            Ok(blobs) => {
                let here: Vec<_> =
                    blobs.iter().map(IndexedBlob::blob_id).filter(|blob| missing.contains(blob)).collect();
                one = one.or((!here.is_empty()).then_some(*pack));
                found.extend(here);
            }
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(RepairSnapshotsError::Header(error.into())),
        }
    }
    one.map_or(Ok(()), |pack| Err(RepairSnapshotsError::NotLost { pack, count: found.len() }))
}

impl SnapshotsPlan {
    /// Does it, and tells `done` of each snapshot of the plan in order. The lock must be exclusive.
    ///
    /// Stopped at any point, each snapshot is there, or its new version is. The same again does not make a second one.
    pub fn execute(
        self,
        context: &Context,
        lock: &LockGuard,
        old: OldSnapshots,
        options: WriterOptions,
        mut done: impl FnMut(&SnapshotRepair, &SnapshotOutcome),
    ) -> Result<(), RepairSnapshotsError> {
        let repository = self.reader.repository();
        let there = if self.changes.order.is_empty() {
            Vec::new()
        } else {
            self.store_trees(context, options)?;
            snapshots::list(context, repository)?
        };
        for repair in &self.snapshots {
            context.cancel.check()?;
            let id = repair.stored.id;
            let is_protected = snapshots::is_protected(&repair.stored.snapshot.tags);
            let mut outcome = SnapshotOutcome::default();
            let goes = match &repair.fate {
                Fate::Whole | Fate::Stays(_) => false,
                Fate::Lost => old != OldSnapshots::Keep && !is_protected,
                Fate::Changes(tree) => {
                    let goes = old == OldSnapshots::Remove && !is_protected;
                    let record = changed(&repair.stored, *tree, goes);
                    lock.check()?;
                    save(context, repository, &there, &record, &mut outcome);
                    goes && outcome.new.is_some()
                }
            };
            if goes {
                lock.check()?;
                match snapshots::remove(repository, id) {
                    Ok(()) => outcome.removed = true,
                    Err(error) => outcome.failed = Some(SnapshotFailure::Remove(error)),
                }
            }
            done(repair, &outcome);
        }
        Ok(())
    }

    /// Packs, then their index files. No new snapshot is saved before.
    fn store_trees(&self, context: &Context, options: WriterOptions) -> Result<(), RepairSnapshotsError> {
        let reader = &self.reader;
        // To this writer nothing is known; what is listed and whole is not handed to it.
        let writer = Writer::start(context, reader.repository(), Arc::new(Index::default()), options);
        let mut blobs = writer.blob_writer();
        let result = self.store_each(context, |tree, plain| blobs.save(&BlobId::from(tree), plain).map(drop));
        match result {
            // The uploaders know better why the writer has stopped.
            Ok(()) | Err(RepairSnapshotsError::Write(WriteError::Stopped)) => {}
            Err(error) => return Err(error),
        }
        blobs.flush();
        writer.finish()?;
        Ok(())
    }

    /// That a tree is listed does not say that it is whole: this one is to stay.
    fn store_unless_sound(
        &self,
        tree: TreeId,
        plain: &[u8],
        store: &mut impl FnMut(TreeId, &[u8]) -> Result<(), WriteError>,
    ) -> Result<(), RepairSnapshotsError> {
        let is_listed = self.reader.index().contains(&BlobId::from(tree));
        if is_listed && self.reader.tree(tree).is_ok() { Ok(()) } else { Ok(store(tree, plain)?) }
    }

    fn store_each(
        &self,
        context: &Context,
        mut store: impl FnMut(TreeId, &[u8]) -> Result<(), WriteError>,
    ) -> Result<(), RepairSnapshotsError> {
        if self.changes.empties {
            let (id, plain) = trees::empty();
            self.store_unless_sound(id, &plain, &mut store)?;
        }
        for old in &self.changes.order {
            context.cancel.check()?;
            let (new, plain) = trees::rebuild(&self.reader, &self.changes, *old)?;
            self.store_unless_sound(new, &plain, &mut store)?;
        }
        Ok(())
    }
}

/// The new version of a snapshot, as restic writes it.
fn changed(stored: &Stored, tree: TreeId, old_goes: bool) -> Snapshot {
    let mut record = stored.snapshot.clone();
    record.tree = tree;
    record.original = Some(stored.id);
    if !old_goes && !record.tags.iter().any(|tag| tag == REPAIRED) {
        record.tags.push(REPAIRED.to_owned());
    }
    record
}

/// Saves a record, unless an earlier run has.
fn save(
    context: &Context,
    repository: &Repository,
    there: &[Stored],
    record: &Snapshot,
    outcome: &mut SnapshotOutcome,
) {
    if let Some(same) = there.iter().find(|stored| stored.snapshot == *record) {
        (outcome.new, outcome.was_there) = (Some(same.id), true);
        return;
    }
    match repository.save(context, record) {
        Ok(new) => outcome.new = Some(new),
        Err(error) => outcome.failed = Some(SnapshotFailure::Save(error)),
    }
}
