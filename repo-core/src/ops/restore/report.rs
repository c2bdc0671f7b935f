//! What came of it.

use std::path::PathBuf;

use crate::context::{Cancelled, Stage, from_unless_cancelled};
use crate::format::NameError;
use crate::fs::TargetError;
use crate::id::DataId;
use crate::repository::{IndexError, LockError, Needed, ReadError, ThawError};
use crate::walk::{LookupError, WalkError};

/// A finished restore.
#[derive(Debug, Default)]
pub struct Report {
    /// What was done, in numbers.
    pub summary: Summary,
    /// What could not be restored, or not as it should. Not empty means: the target is not the whole truth.
    pub skipped: Vec<Skipped>,
    /// Which packs had to be readable, if somebody asked for them to be thawed.
    pub needed: Option<Needed>,
}

/// What a restore did, in numbers. Entries are files, directories and all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Entries that were made or changed.
    pub entries_restored: u64,
    /// Entries that were right already, or are not to be touched.
    pub entries_unchanged: u64,
    /// Entries that were removed because the snapshot does not have them.
    pub entries_deleted: u64,
    /// Bytes of restored files.
    pub bytes_restored: u64,
    /// Bytes of files that were right already, or are not to be touched.
    pub bytes_unchanged: u64,
    /// Files that were read back and found right.
    pub files_verified: u64,
}

/// Something that could not be restored, or not as it should.
#[derive(Debug)]
pub struct Skipped {
    /// While doing what.
    pub stage: Stage,
    /// Where below the restored folder, beginning with `/`.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What was wrong with one entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It could not be written, or its metadata not be set.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its directory could not be read from the repository.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// Its name would lead to another place.
    #[error("{} has no safe name", path.display())]
    Name {
        /// The entry as stored.
        path: PathBuf,
        /// What is wrong with the name.
        source: NameError,
    },
    /// Its directory has an entry of this name already.
    #[error("{} stands twice in its directory, the second one is left out", path.display())]
    Twice {
        /// Which entry.
        path: PathBuf,
    },
    /// It is of a kind that cannot be restored.
    #[error("{} is of unknown kind {word:?}", path.display())]
    UnknownKind {
        /// Which entry.
        path: PathBuf,
        /// What the tree calls it.
        word: String,
    },
    /// It is a device, and privileges are not restored.
    #[error("device {} is not made, because privileges are not restored", path.display())]
    Device {
        /// Which entry.
        path: PathBuf,
    },
    /// A part of it is in no index, so that its length and all behind are not known.
    #[error("{blob} of file {} is in no index", path.display(), blob = blob.short())]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// Which part.
        blob: DataId,
    },
    /// A part of it could not be read. The file is there with zeros in that place if nothing stood in its
    /// place before.
    #[error("file {} is not whole", path.display())]
    Lost {
        /// Which file.
        path: PathBuf,
        /// Why the first such part could not be read.
        source: Box<ReadError>,
    },
    /// It is of another length than its entry says; what is stored was restored.
    #[error("file {} has {stored} bytes, but its entry says {said}", path.display())]
    Length {
        /// Which file.
        path: PathBuf,
        /// Bytes of its parts.
        stored: u64,
        /// Bytes by its entry.
        said: u64,
    },
    /// Something stands in its place that is not to be removed.
    #[error("{} cannot be restored, because something else stands in its place", path.display())]
    InTheWay {
        /// Which entry.
        path: PathBuf,
    },
    /// Read back, it is not what it should be.
    #[error("file {} differs from the snapshot after it was restored", path.display())]
    Differs {
        /// Which file.
        path: PathBuf,
    },
    /// Nothing was deleted, because the snapshot is damaged or not well-formed.
    #[error("nothing is deleted, because the snapshot is not whole")]
    NotDeleted,
}

/// Why nothing, or not all, could be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The repository could not be locked.
    #[error(transparent)]
    Lock(LockError),
    /// The index could not be loaded.
    #[error(transparent)]
    Index(IndexError),
    /// Packs in a cold class cannot be read yet.
    #[error(transparent)]
    Thaw(ThawError),
    /// The folder is not in the snapshot.
    #[error(transparent)]
    Folder(#[from] LookupError),
    /// The target cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The snapshot is larger than allowed.
    #[error("the snapshot has more than {limit} entries")]
    TooManyEntries {
        /// How many are allowed.
        limit: u64,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(RestoreError: LockError => Lock, IndexError => Index, ThawError => Thaw);
