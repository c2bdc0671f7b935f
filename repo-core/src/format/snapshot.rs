//! A snapshot: the root of one backup.

use crate::id::{SnapshotId, TreeId};
use crate::time::Time;

/// The root of one backup: when, where, of what, and which tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When the backup began, or the time the user gave.
    pub time: Time,
    /// The snapshot it was compared with.
    pub parent: Option<SnapshotId>,
    /// The root directory.
    pub tree: TreeId,
    /// The absolute targets, in the order given.
    pub paths: Vec<String>,
    /// The host's name.
    pub hostname: String,
    /// The user's name.
    pub username: String,
    /// The user's id.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
    /// Exclude patterns given on the command line.
    pub excludes: Vec<String>,
    /// Tags in the order given.
    pub tags: Vec<String>,
    /// The snapshot this one was made from by a change of its record.
    pub original: Option<SnapshotId>,
    /// Which program wrote it.
    pub program_version: String,
    /// What the backup did.
    pub summary: Option<Summary>,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Vec<(String, Box<str>)>,
}

/// What a backup did, in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// When it began.
    pub backup_start: Time,
    /// When it ended.
    pub backup_end: Time,
    /// Files without a node in the parent.
    pub files_new: u64,
    /// Files whose node differs from the parent's.
    pub files_changed: u64,
    /// Files whose node equals the parent's.
    pub files_unmodified: u64,
    /// As for files; directories on the way to a target count.
    pub dirs_new: u64,
    /// As for files.
    pub dirs_changed: u64,
    /// As for files.
    pub dirs_unmodified: u64,
    /// New data blobs.
    pub data_blobs: u64,
    /// New tree blobs, the root's included.
    pub tree_blobs: u64,
    /// Plain bytes of the new blobs.
    pub data_added: u64,
    /// Stored bytes of the new blobs, their header entries included.
    pub data_added_packed: u64,
    /// All files seen.
    pub total_files_processed: u64,
    /// All bytes in them.
    pub total_bytes_processed: u64,
}
