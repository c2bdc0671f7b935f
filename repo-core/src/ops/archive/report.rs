//! What came of it.

use std::path::PathBuf;

use crate::backend::BackendError;
use crate::context::{Added, Cancelled, Change, Stage, from_unless_cancelled};
use crate::format::{Snapshot, Summary};
#[cfg(doc)]
use crate::fs::FaultKind;
use crate::fs::SourceError;
use crate::id::{BlobId, SnapshotId};
use crate::repository::{
    CommitError, IndexError, LockError, ReadError, Receipt, RecordError, StoredLock, UnknownChunker,
    WriteError,
};
use crate::snapshots::SelectError;
use crate::time::Time;

/// A finished backup.
#[derive(Debug)]
pub struct Report {
    /// The new snapshot; `None` if nothing had changed and none was wanted then.
    pub id: Option<SnapshotId>,
    /// What it says.
    pub snapshot: Snapshot,
    /// What was done, in numbers; also part of the snapshot.
    pub summary: Summary,
    /// What could not be saved, or not as it should. Not empty means: the snapshot is not the whole truth.
    pub skipped: Vec<Skipped>,
    /// What was stored.
    pub receipt: Receipt,
}

/// Something that could not be saved, or not as it should.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// While doing what.
    pub stage: Stage,
    /// Where on the source.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What was wrong with one entry.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It could not be read; it is not in the snapshot. Or its extended attributes are not.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It grew or shrank while it was read; the snapshot has what was read.
    #[error("{} had {expected} bytes when it was opened, but {read} were read", path.display())]
    SizeChanged {
        /// Which file.
        path: PathBuf,
        /// Bytes when it was opened.
        expected: u64,
        /// Bytes read.
        read: u64,
    },
    /// It is unchanged, but a part of it had been lost from the repository; it was read again.
    #[error("{blob} of unchanged file {} was lost from the repository, the file was read again", path.display())]
    Healed {
        /// Which file.
        path: PathBuf,
        /// What was lost.
        blob: BlobId,
    },
    /// It is of a kind that cannot be saved.
    #[error("{} is of unknown kind", path.display())]
    UnknownKind {
        /// Which entry.
        path: PathBuf,
    },
}

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// None of the targets exists.
    #[error("all targets do not exist or cannot be read")]
    NoTarget {
        /// What is wrong with the first one.
        #[source]
        first: Option<Problem>,
    },
    /// Nothing was selected.
    #[error("snapshot is empty")]
    Empty,
    /// The repository could not be locked, or the lock was lost.
    #[error(transparent)]
    Lock(LockError),
    /// The parent could not be chosen.
    #[error("cannot choose the parent snapshot")]
    Parent(#[source] SelectError),
    /// The index could not be loaded.
    #[error(transparent)]
    Index(IndexError),
    /// The repository's files are cut in a way that this version does not know.
    #[error(transparent)]
    Chunker(#[from] UnknownChunker),
    /// Something could not be stored.
    #[error(transparent)]
    Write(WriteError),
    /// The source said that what it gave is [not to be believed](FaultKind::Broken).
    #[error("no snapshot was made, because what it would hold is not whole")]
    Source(#[source] SourceError),
    /// The snapshot itself could not be stored.
    #[error("cannot save the snapshot")]
    Snapshot(#[source] RecordError),
    /// Nobody knows whether everything is still there.
    #[error(transparent)]
    Commit(Box<CommitError>),
    /// What the snapshot needs was removed meanwhile, and could not be read again. There is no snapshot.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The snapshot is there, but not all that it needs, and it could not be removed.
    #[error("snapshot {id} is saved but not whole: {lost}")]
    NotWhole {
        /// The snapshot.
        id: SnapshotId,
        /// What it lacks.
        lost: Box<Lost>,
        /// Why it is still there.
        source: BackendError,
    },
    /// The snapshot is there, but somebody who may be removing things does not come to an end.
    #[error(
        "snapshot {id} is saved, but whether it stays whole is not known: {holder} has locked the repository exclusively"
    )]
    Unsettled {
        /// The snapshot.
        id: SnapshotId,
        /// Who.
        holder: Box<StoredLock>,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Blobs that somebody removed while a snapshot was being made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} blobs that the snapshot needs were removed by another program, {first} is one")]
pub struct Lost {
    /// How many.
    pub count: usize,
    /// One of them.
    pub first: BlobId,
}

impl From<CommitError> for ArchiveError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Cancelled(stopped) => Self::Cancelled(stopped),
            error => Self::Commit(error.into()),
        }
    }
}

from_unless_cancelled!(ArchiveError: LockError => Lock, SelectError => Parent, IndexError => Index, WriteError => Write);

/// A part of the parent that cannot be read; the backup goes on as if it did not exist.
#[derive(Debug, thiserror::Error)]
#[error("directory {} of the parent snapshot cannot be read", path.display())]
pub(super) struct ParentUnreadable {
    pub(super) path: PathBuf,
    pub(super) source: ReadError,
}

/// What is found out while the run goes on.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) skipped: Vec<Skipped>,
    files: [u64; 3],
    dirs: [u64; 3],
    added: Added,
    bytes: u64,
}

impl Found {
    pub(super) fn count_file(&mut self, change: Change, bytes: u64, added: Added) {
        self.files[slot(change)] += 1;
        self.bytes += bytes;
        self.added += added;
    }

    pub(super) fn count_dir(&mut self, change: Change) {
        self.dirs[slot(change)] += 1;
    }

    pub(super) fn count_added(&mut self, added: Added) {
        self.added += added;
    }

    pub(super) fn added(&self) -> Added {
        self.added
    }

    pub(super) fn summary(&self, start: Time, end: Time) -> Summary {
        let [files_new, files_changed, files_unmodified] = self.files;
        let [dirs_new, dirs_changed, dirs_unmodified] = self.dirs;
        Summary {
            backup_start: start,
            backup_end: end,
            files_new,
            files_changed,
            files_unmodified,
            dirs_new,
            dirs_changed,
            dirs_unmodified,
            data_blobs: self.added.data_blobs,
            tree_blobs: self.added.tree_blobs,
            data_added: self.added.data_bytes + self.added.tree_bytes,
            data_added_packed: self.added.data_bytes_packed + self.added.tree_bytes_packed,
            total_files_processed: files_new + files_changed + files_unmodified,
            total_bytes_processed: self.bytes,
            unknown: Vec::new(),
        }
    }
}

fn slot(change: Change) -> usize {
    match change {
        Change::New => 0,
        Change::Changed | Change::Removed => 1,
        Change::Unchanged => 2,
    }
}
