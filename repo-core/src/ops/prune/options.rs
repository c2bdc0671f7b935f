//! How to prune.

use std::time::Duration;

use crate::compress::Compression;
use crate::id::SnapshotId;
use crate::repository::{LockKind, LockOptions, WriterOptions};

/// How much that nobody uses may stay, to save the work of copying what lies beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// So many bytes.
    Bytes(u64),
    /// So many percent of what remains, 0 to less than 100.
    Percent(f64),
    /// Any amount: only packs without anything in use are removed, and packs that are very small are joined.
    Unlimited,
}

impl Default for MaxUnused {
    /// 5 percent.
    fn default() -> Self {
        Self::Percent(5.0)
    }
}

impl MaxUnused {
    /// The limit in bytes where so many bytes are in use.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a size; saturates"
    )]
    pub(super) fn bytes(self, used: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => {
                (percent / (100.0 - percent).max(f64::MIN_POSITIVE) * used as f64) as u64
            }
            Self::Unlimited => u64::MAX,
        }
    }
}

/// Whether others may work meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PruneMode {
    /// Alone, under an exclusive lock: what nobody needs is gone afterwards.
    #[default]
    Instant,
    /// Beside backups, under a shared lock: packs that nobody needs leave the index and are marked; a later run removes
    /// those that are still in nobody's use after the time of grace, and brings back what somebody uses.
    Beside {
        /// So long a marked pack stays, by the clock of the storage. Where that tells no time, twice as long.
        grace: Duration,
    },
}

impl PruneMode {
    /// Beside backups, with a time of grace of 23 hours: an hour less than a day, so that a daily run removes what the
    /// one before marked.
    pub const BESIDE: Self = Self::Beside { grace: Duration::from_hours(23) };

    /// The kind of lock it takes.
    pub fn lock(self) -> LockKind {
        match self {
            Self::Instant => LockKind::Exclusive,
            Self::Beside { .. } => LockKind::Shared,
        }
    }

    /// How long a marked pack stays; nothing for who is alone.
    pub(super) fn grace(self) -> Duration {
        match self {
            Self::Instant => Duration::ZERO,
            Self::Beside { grace } => grace,
        }
    }
}

/// How to prune. Name what matters and take the rest from [`Default`].
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "restic's switches, independent of each other")]
pub struct PruneOptions {
    /// Whether others may work meanwhile.
    pub mode: PruneMode,
    /// How [`prune`](super::prune) locks the repository. Beside others it is also for so long that the moment is waited
    /// for in which nobody else works and old index files can go; nobody is kept from working by that.
    pub lock: LockOptions,
    /// How much that nobody uses may stay.
    pub max_unused: MaxUnused,
    /// Copy at most so many bytes of packs.
    pub repack_bytes_max: Option<u64>,
    /// Copy only from packs of trees, which a cache holds anyway.
    pub repack_cacheable_only: bool,
    /// Join packs below 80 percent of the target size too, as restic did before it joined small ones by itself.
    pub repack_small: bool,
    /// Join packs smaller than this, in bytes; `None` finds out what is small here.
    pub repack_smaller_than: Option<u64>,
    /// Copy what is not compressed yet, to compress it. Repositories of version 2 only.
    pub repack_uncompressed: bool,
    /// For a storage so full that not even an index file can be written: the index is removed before packs are,
    /// and written last. Stopped in between it needs a repair of the index. Nothing is copied.
    pub recover_no_free_space: bool,
    /// As if these snapshots were gone already: to plan what a forget would free. Such a plan is not executed
    /// while they are there.
    pub without_snapshots: Vec<SnapshotId>,
    /// How copies are stored.
    pub writer: WriterOptions,
}

/// Options that contradict each other or the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Version 1 never compresses.
    #[error("compression requires at least repository format version 2")]
    Version,
    /// Compress what is not compressed, but compress nothing.
    #[error("disabled compression and repacking what is uncompressed are mutually exclusive")]
    Compression,
    /// Packs cannot all be larger than packs are made.
    #[error("the size below which packs are joined exceeds the repository's pack size")]
    SmallerThan,
    /// Who removes the index before anything else must be alone.
    #[error("recovering without free space needs to be alone")]
    NotAlone,
    /// There is no such share.
    #[error("the percentage of unused data must be at least 0 and below 100")]
    Percent,
}

impl PruneOptions {
    /// Whether the options make sense for a repository of that version.
    pub(super) fn check(&self, version: u32) -> Result<(), OptionsError> {
        if self.repack_uncompressed && version < 2 {
            return Err(OptionsError::Version);
        }
        if self.repack_uncompressed && self.writer.compression == Compression::Off {
            return Err(OptionsError::Compression);
        }
        if self.repack_smaller_than.is_some_and(|bytes| bytes > self.writer.pack_size.bytes() as u64) {
            return Err(OptionsError::SmallerThan);
        }
        if self.recover_no_free_space && self.mode != PruneMode::Instant {
            return Err(OptionsError::NotAlone);
        }
        match self.max_unused {
            MaxUnused::Percent(percent) if !(0.0..100.0).contains(&percent) => Err(OptionsError::Percent),
            _ => Ok(()),
        }
    }

    /// At most so many bytes are copied.
    pub(super) fn repack_limit(&self) -> u64 {
        if self.recover_no_free_space { 0 } else { self.repack_bytes_max.unwrap_or(u64::MAX) }
    }
}
