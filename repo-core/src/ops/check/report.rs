//! What was found, and what mends it.

use std::path::PathBuf;

use crate::backend::BackendError;
use crate::context::{Cancelled, from_unless_cancelled};
use crate::format::HeaderError;
use crate::id::{BlobId, IndexId, PackId, SnapshotId, TreeId};
use crate::ops::check::affected::AffectedFile;
use crate::ops::check::remote::RemotelyVerified;
use crate::repository::{IndexError, LockError, ReadError, RecordError, ThawError};
use crate::snapshots::SelectError;
use crate::time::Timestamp;

/// Why the check could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The repository could not be locked.
    #[error(transparent)]
    Lock(LockError),
    /// The snapshots could not be listed, or the one asked for is not there.
    #[error(transparent)]
    Snapshots(SelectError),
    /// The index could not be loaded.
    #[error(transparent)]
    Index(IndexError),
    /// Packs in a cold class cannot be read yet.
    #[error(transparent)]
    Thaw(ThawError),
    /// The packs could not be listed.
    #[error("cannot list the packs")]
    Packs(#[from] BackendError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(CheckError: LockError => Lock, SelectError => Snapshots, IndexError => Index, ThawError => Thaw);

/// Why what is remembered of checks was not read or kept. The verdict is the same without.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// The records could not be listed.
    #[error("cannot see which packs earlier checks have read")]
    Listed(#[source] BackendError),
    /// A record could not be read.
    #[error("cannot read which packs an earlier check has read")]
    Read(#[source] RecordError),
    /// The new record could not be stored.
    #[error("cannot keep which packs this check has read; the next one may read them again")]
    Written(#[source] RecordError),
    /// An old record could not be removed.
    #[error("cannot remove an old record of checks")]
    Removed(#[source] BackendError),
}

/// How long ago packs were last read and found right, by this check or an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifiedAge {
    /// Packs that exist.
    pub packs: u64,
    /// Of these, packs that no check has read.
    pub never: u64,
    /// When the others were verified at the latest: the longest ago of all.
    pub oldest: Option<Timestamp>,
}

/// The verdict.
#[derive(Debug)]
pub struct CheckReport {
    /// Everything that is odd, the worst first.
    pub findings: Vec<Finding>,
    /// Files that cannot be restored as they were, as far as they were counted.
    pub affected: Vec<AffectedFile>,
    /// Snapshots checked.
    pub snapshots: u64,
    /// Packs read and verified.
    pub packs_read: u64,
    /// What the storage says of its packs; `None` if it was not asked.
    pub remote: Option<RemotelyVerified>,
    /// When packs were verified; `None` if none were read in this check.
    pub verified: Option<VerifiedAge>,
}

impl CheckReport {
    /// Findings that are errors; hints are not.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.is_hint())
    }

    /// Whether nothing is wrong; there may be hints.
    pub fn is_sound(&self) -> bool {
        self.errors().next().is_none()
    }

    /// Packs whose content is damaged.
    pub fn broken_packs(&self) -> Vec<PackId> {
        let mut packs: Vec<_> = self.findings.iter().filter_map(Finding::broken_pack).collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    /// What mends the findings, in the order in which to do it.
    ///
    /// Nothing is to be pruned before all is sound: what seems to be in nobody's use may be what mends the rest.
    pub fn remedies(&self) -> Vec<Remedy> {
        let sound = self.is_sound();
        let mut remedies: Vec<_> = self.findings.iter().filter_map(Finding::remedy).collect();
        remedies.retain(|remedy| sound || *remedy != Remedy::Prune);
        remedies.sort_unstable();
        remedies.dedup();
        remedies
    }
}

/// What mends a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Save what is readable of damaged packs: `repair packs`. Before the index is repaired.
    RepairPacks,
    /// Rebuild the index from the packs: `repair index`.
    RepairIndex,
    /// Back up the same files again: what was lost is stored anew.
    BackUpAgain,
    /// Cut lost parts out of snapshots: `repair snapshots --forget`.
    RepairSnapshots,
    /// Remove a file that holds nothing usable.
    RemoveFile,
    /// Free what is not needed: `prune`.
    Prune,
}

/// One thing that is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// An index file holds nothing usable.
    #[error("index {id} cannot be read: {source}")]
    IndexUnreadable {
        /// Which one.
        id: IndexId,
        /// Why.
        source: RecordError,
    },
    /// An index file lists things that cannot be.
    #[error("index {id} has {count} entries that make no sense")]
    IndexEntries {
        /// Which one.
        id: IndexId,
        /// How many.
        count: u64,
    },
    /// A snapshot holds nothing usable.
    #[error("snapshot {id} cannot be read: {source}")]
    SnapshotUnreadable {
        /// Which one.
        id: SnapshotId,
        /// Why.
        source: RecordError,
    },
    /// A snapshot names no tree.
    #[error("snapshot {id} has no tree")]
    SnapshotWithoutTree {
        /// Which one.
        id: SnapshotId,
    },
    /// A snapshot is content of a file that somebody put in its place.
    #[error("snapshot {id} is not a record of this repository")]
    SnapshotForged {
        /// Which one.
        id: SnapshotId,
    },
    /// A pack is listed, but not there.
    #[error("pack {pack} does not exist")]
    PackMissing {
        /// Which one.
        pack: PackId,
    },
    /// A pack is not as long as what is listed for it.
    #[error("pack {pack} has {found} bytes instead of {expected}")]
    PackSize {
        /// Which one.
        pack: PackId,
        /// As the index says.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// A directory cannot be read.
    #[error("tree {tree} cannot be read: {source}")]
    TreeUnreadable {
        /// Which one.
        tree: TreeId,
        /// Why.
        source: Box<ReadError>,
    },
    /// A chunk of a file is in no index.
    #[error("{blob}, used by {name:?} in tree {tree}, is in no index")]
    BlobMissing {
        /// Which one.
        blob: BlobId,
        /// One file that needs it.
        name: String,
        /// The directory of that file.
        tree: TreeId,
    },
    /// An entry of a directory makes no sense.
    #[error("entry {name:?} of tree {tree} {problem}")]
    Entry {
        /// The directory.
        tree: TreeId,
        /// The entry.
        name: String,
        /// What is wrong with it.
        problem: EntryProblem,
    },
    /// A pack could not be fetched.
    #[error("pack {pack} cannot be fetched: {source}")]
    PackUnreadable {
        /// Which one.
        pack: PackId,
        /// Why.
        source: BackendError,
    },
    /// A pack's bytes do not hash to its name.
    #[error("pack {pack} does not match its name")]
    PackDamaged {
        /// Which one.
        pack: PackId,
    },
    /// A pack's header cannot be opened or read.
    #[error("the header of pack {pack} is damaged")]
    HeaderDamaged {
        /// Which one.
        pack: PackId,
        /// What is wrong, if it could be opened.
        source: Option<HeaderError>,
    },
    /// A pack's header and the index say different things.
    #[error("the index does not agree with the header of pack {pack}")]
    HeaderDiffers {
        /// Which one.
        pack: PackId,
    },
    /// A blob does not open, or not to what its name says.
    #[error("{blob} in pack {pack} is damaged")]
    BlobDamaged {
        /// Which one.
        blob: BlobId,
        /// Where.
        pack: PackId,
    },
    /// Two sealed blobs bear the same nonce.
    #[error("{count} nonces were used more than once")]
    NonceReused {
        /// How many.
        count: u64,
    },
    /// A pack lies in the storage and is listed nowhere.
    #[error("pack {pack} is not referenced by any index")]
    PackUnreferenced {
        /// Which one.
        pack: PackId,
    },
    /// A pack is listed by more than one index file.
    #[error("pack {pack} is listed by {count} index files")]
    PackListedTwice {
        /// Which one.
        pack: PackId,
        /// How many.
        count: u32,
    },
    /// A pack holds both file content and directories.
    #[error("pack {pack} holds data and trees")]
    PackMixed {
        /// Which one.
        pack: PackId,
    },
}

/// What is wrong with an entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryProblem {
    /// Its name is not that of an entry.
    Name,
    /// There is another one of that name.
    Twice,
    /// A file without a list of chunks.
    NoContent,
    /// A directory without a tree.
    NoTree,
    /// It is of no known kind.
    Kind,
    /// Its size is not that of its chunks together.
    Size,
}

impl std::fmt::Display for EntryProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Name => "has no valid name",
            Self::Twice => "is there twice",
            Self::NoContent => "is a file without content list",
            Self::NoTree => "is a directory without tree",
            Self::Kind => "is of unknown kind",
            Self::Size => "has another size than its content",
        })
    }
}

impl Finding {
    /// Whether nothing is lost and nothing need be done.
    pub fn is_hint(&self) -> bool {
        matches!(self, Self::PackUnreferenced { .. } | Self::PackListedTwice { .. } | Self::PackMixed { .. })
    }

    /// What mends it.
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            Self::IndexUnreadable { .. }
            | Self::IndexEntries { .. }
            | Self::HeaderDiffers { .. }
            | Self::BlobMissing { .. }
            | Self::PackMissing { .. }
            | Self::TreeUnreadable { .. } => Remedy::RepairIndex,
            Self::PackSize { .. }
            | Self::PackDamaged { .. }
            | Self::HeaderDamaged { .. }
            | Self::BlobDamaged { .. } => Remedy::RepairPacks,
            Self::SnapshotUnreadable { .. }
            | Self::SnapshotWithoutTree { .. }
            | Self::SnapshotForged { .. } => Remedy::RemoveFile,
            Self::Entry { .. } => Remedy::RepairSnapshots,
            Self::PackUnreferenced { .. } | Self::PackListedTwice { .. } | Self::PackMixed { .. } => {
                Remedy::Prune
            }
            Self::PackUnreadable { .. } | Self::NonceReused { .. } => return None,
        })
    }

    /// The pack whose content is damaged.
    pub fn broken_pack(&self) -> Option<PackId> {
        match self {
            Self::PackSize { pack, .. }
            | Self::PackDamaged { pack }
            | Self::HeaderDamaged { pack, .. }
            | Self::BlobDamaged { pack, .. } => Some(*pack),
            _ => None,
        }
    }
}

/// A path for messages.
pub(super) fn shown(name: &[u8]) -> String {
    PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name)).display().to_string()
}
