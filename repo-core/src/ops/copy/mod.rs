//! Copy: snapshots of one repository into another, whatever their keys.
//!
//! In: two open repositories, the target's lock, and snapshots of the source. Out: for each of them what became of
//! it. One walk over the trees finds what the target lacks; it is fetched pack by pack and stored: packs, index, then
//! the snapshots that need it. Trees go over byte for byte, so a copy has the tree id of its source. A snapshot of which
//! something cannot be read is not written; the others are. A run that is stopped has lost nothing: the next one
//! finds what stands in the target's index.

mod ground; // whether all that the target had is still there
mod likeness; // which snapshots the target has already
mod transfer; // which blobs are missing, and how they get there

use std::sync::Arc;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::id::{BlobId, SnapshotId};
use crate::ops::copy::ground::Ground;
use crate::ops::copy::likeness::Copies;
use crate::ops::copy::transfer::Transfer;
use crate::repository::{
    CommitError, IndexError, LockError, LockGuard, ReadError, Reader, RecordError, Repository, ThawError,
    ThawOptions, WriteError, WriterOptions,
};
use crate::snapshots::{self, SelectError, Stored};

/// Snapshots are written once so much was copied for them, so that a run that is stopped leaves what it has ended.
const BATCH_BYTES: u64 = 1 << 30;

/// So often is stored again what is removed meanwhile.
const ROUNDS_MAX: u32 = 3;

/// How to copy.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// How blobs are stored in the target. One that is compressed in the source and sealed with the same master key
    /// goes over as it is.
    pub writer: WriterOptions,
    /// Thaw the packs of the source that are needed, and wait for them; `None` takes them as they are.
    pub thaw: Option<ThawOptions>,
}

/// What became of one snapshot.
#[derive(Debug, Clone)]
pub enum CopyOutcome {
    /// The target has it now.
    Copied {
        /// Its name there.
        id: SnapshotId,
    },
    /// The target had it before.
    Present {
        /// Its name there.
        id: SnapshotId,
    },
    /// Something it needs cannot be read from the source, so it was not written.
    Incomplete {
        /// What cannot be read.
        blob: BlobId,
        /// Why.
        source: Arc<ReadError>,
    },
}

/// What a run did.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// Every snapshot that was wanted: its name in the source, and what became of it. In order of completion.
    pub snapshots: Vec<(SnapshotId, CopyOutcome)>,
    /// Packs stored.
    pub packs: u64,
    /// Bytes stored in packs.
    pub pack_bytes: u64,
}

/// Why a copy ended early. Snapshots that were written before are whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The target's snapshots could not be listed.
    #[error(transparent)]
    Snapshots(SelectError),
    /// An index could not be loaded.
    #[error(transparent)]
    Index(IndexError),
    /// The lock of the target was lost.
    #[error(transparent)]
    Lock(LockError),
    /// Packs of the source cannot be read yet.
    #[error(transparent)]
    Thaw(ThawError),
    /// Blobs could not be stored.
    #[error(transparent)]
    Write(WriteError),
    /// A snapshot could not be stored.
    #[error("cannot store the copy of snapshot {id}")]
    Save {
        /// Its name in the source.
        id: SnapshotId,
        /// Why.
        source: Box<RecordError>,
    },
    /// Nobody knows whether everything is still there.
    #[error("cannot look whether everything is still there")]
    Look(#[source] BackendError),
    /// Somebody removed what the snapshots need while they were copied, and it could not be stored again. None of these
    /// snapshots was left behind.
    #[error("{blob} was removed from the repository while snapshots that need it were copied")]
    Removed {
        /// Which blob.
        blob: BlobId,
    },
    /// The same, and a snapshot that needs it could not be taken back.
    #[error("snapshot {id} is not whole, and could not be removed")]
    NotWhole {
        /// Its name in the target.
        id: SnapshotId,
        /// Why.
        source: BackendError,
    },
    /// The same, for what this run has stored.
    #[error(transparent)]
    Commit(CommitError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(CopyError: SelectError => Snapshots, IndexError => Index, LockError => Lock,
    ThawError => Thaw, WriteError => Write, CommitError => Commit);

/// Copies snapshots, in the order given, and tells `sink` of each as soon as it is decided.
///
/// `lock` is a shared lock on `to`; `from` was locked too before its snapshots were listed. A snapshot is passed over
/// if the target has one with the same content that comes from it.
///
/// Memory: beside both indexes 2 bits per stored blob of the source and 1 of the target, 4 bytes per blob that is copied at a time, 32
/// per different tree, and what a writer holds.
///
/// ```
/// use repo_core::ops::copy::{CopyOptions, CopyOutcome, copy};
/// use repo_core::repository::{LockKind, LockOptions};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend, snapshots};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let new = || Repository::init(&context, Arc::new(MemoryBackend::new()), &"password".into(), &cheap);
/// # let (from, to) = (new()?, new()?);
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &from, &note, &["/note.txt".into()], &Default::default())?;
///
/// let _from_lock = from.lock(&context, LockKind::Shared, &LockOptions::default())?;
/// let lock = to.lock(&context, LockKind::Shared, &LockOptions::default())?;
/// let all = snapshots::list(&context, &from)?;
/// let report = copy(&context, &from, &to, &lock, &all, &CopyOptions::default(), |_, _| ())?;
/// assert!(matches!(report.snapshots[0].1, CopyOutcome::Copied { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn copy(
    context: &Context,
    from: &Repository,
    to: &Repository,
    lock: &LockGuard,
    wanted: &[Stored],
    options: &CopyOptions,
    mut sink: impl FnMut(&Stored, &CopyOutcome),
) -> Result<CopyReport, CopyError> {
    let copies = Copies::new(snapshots::list(context, to)?);
    let mut report = CopyReport::default();
    let mut left = Vec::new();
    for stored in wanted {
        match copies.of(stored) {
            Some(id) => decide(&mut report, stored, CopyOutcome::Present { id }, &mut sink),
            None => left.push(stored),
        }
    }
    if left.is_empty() {
        return Ok(report);
    }
    let reader = Reader::new(from, from.load_index(context)?);
    let known = to.load_index_with_report(context)?;
    for (_, error) in &known.unreadable {
        context.tell(&Event::Warning { error });
    }
    let mut ground = Ground::new(known.files);
    let mut transfer = Transfer::new(context, reader, to, Arc::new(known.index), &options.writer);
    context.tell(&Event::Begin { stage: Stage::FindUsed, total: left.len() as u64, bytes: 0 });
    let mut batch = Vec::new();
    for (number, stored) in left.iter().enumerate() {
        transfer.require(stored.snapshot.tree)?;
        batch.push(*stored);
        context.tell(&Event::Progress { stage: Stage::FindUsed, items: 1, bytes: 0 });
        if transfer.wanted_bytes() < BATCH_BYTES && number + 1 < left.len() {
            continue;
        }
        store(&mut report, &mut ground, &mut transfer, options)?;
        settle(context, to, &mut report, (&mut ground, &mut transfer), options)?;
        let mut saved = Vec::new();
        for stored in batch.drain(..) {
            let outcome = match transfer.damage_below(stored.snapshot.tree)? {
                Some((blob, source)) => CopyOutcome::Incomplete { blob, source },
                None => CopyOutcome::Copied { id: save(context, to, lock, stored)? },
            };
            saved.push((stored, outcome));
        }
        if let Err(error) = settle(context, to, &mut report, (&mut ground, &mut transfer), options) {
            return Err(take_back(to, &saved, error));
        }
        for (stored, outcome) in saved {
            decide(&mut report, stored, outcome, &mut sink);
        }
    }
    context.tell(&Event::End { stage: Stage::FindUsed });
    Ok(report)
}

/// Stores what is wanted.
fn store(
    report: &mut CopyReport,
    ground: &mut Ground,
    transfer: &mut Transfer<'_>,
    options: &CopyOptions,
) -> Result<(), CopyError> {
    let mut receipt = transfer.run(options.thaw.as_ref())?;
    report.packs += receipt.packs;
    report.pack_bytes += receipt.pack_bytes;
    ground.add(&mut receipt);
    Ok(())
}

/// Stores once more what somebody removed from the target meanwhile, until nothing is missing.
fn settle(
    context: &Context,
    to: &Repository,
    report: &mut CopyReport,
    (ground, transfer): (&mut Ground, &mut Transfer<'_>),
    options: &CopyOptions,
) -> Result<(), CopyError> {
    let mut missing = ground.look(context, to, transfer)?;
    for _ in 0..ROUNDS_MAX {
        if missing.is_empty() {
            return Ok(());
        }
        transfer.want_again(&missing).map_err(|blob| CopyError::Removed { blob })?;
        store(report, ground, transfer, options)?;
        if let Some(blob) = transfer.lost_of(&missing) {
            return Err(CopyError::Removed { blob });
        }
        missing = ground.look(context, to, transfer)?;
    }
    missing.first().map_or(Ok(()), |blob| Err(CopyError::Removed { blob: *blob }))
}

/// Removes snapshots of which something was removed after they had been saved: they are ours, and help nobody.
fn take_back(to: &Repository, saved: &[(&Stored, CopyOutcome)], error: CopyError) -> CopyError {
    if !matches!(error, CopyError::Removed { .. }) {
        return error;
    }
    for (_, outcome) in saved {
        if let CopyOutcome::Copied { id } = outcome
            && let Err(source) = snapshots::remove(to, *id)
        {
            return CopyError::NotWhole { id: *id, source };
        }
    }
    error
}

fn decide(
    report: &mut CopyReport,
    stored: &Stored,
    outcome: CopyOutcome,
    sink: &mut impl FnMut(&Stored, &CopyOutcome),
) {
    sink(stored, &outcome);
    report.snapshots.push((stored.id, outcome));
}

/// Writes a snapshot whose blobs are durable. It has no parent, because that has another name here, and says where
/// it comes from.
fn save(
    context: &Context,
    to: &Repository,
    lock: &LockGuard,
    stored: &Stored,
) -> Result<SnapshotId, CopyError> {
    context.cancel.check()?;
    lock.check()?;
    let mut snapshot = stored.snapshot.clone();
    snapshot.parent = None;
    snapshot.original = snapshot.original.or(Some(stored.id));
    to.save(context, &snapshot).map_err(|source| CopyError::Save { id: stored.id, source: source.into() })
}
