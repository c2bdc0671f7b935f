//! What an entry is besides its content: kind, permissions, times, owner, links, extended attributes.
//!
//! In: what the machine says about an entry, or a node of a tree. Out: the other of the two. Never reads a
//! file's content.

mod change;
mod names;
mod node;

pub use change::ChangeDetection;
pub(crate) use change::{is_racy, is_same_time};
pub use names::Names;
pub use node::{Atime, to_node};

use crate::format::{NodeKind, Xattr};
use crate::time::Timestamp;

use super::SourceError;

/// What a source says about one entry, extended attributes aside.
///
/// ```
/// use repo_core::format::NodeKind;
/// use repo_core::fs::metadata::EntryMeta;
/// use repo_core::time::Timestamp;
///
/// let meta = EntryMeta::file(42, Timestamp { seconds: 1_700_000_000, nanos: 0 });
/// assert_eq!((meta.kind, meta.permissions), (NodeKind::File, 0o644));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryMeta {
    /// What it is.
    pub kind: NodeKind,
    /// The twelve Unix bits: setuid, setgid, sticky, then read, write, execute for owner, group, others.
    pub permissions: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of content or metadata.
    pub ctime: Timestamp,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Inode number; with `device` it tells hard links of one file. Zero if the source has none.
    pub inode: u64,
    /// Number of the file system it is on. Zero if the source has none.
    pub device: u64,
    /// Which device a device file stands for.
    pub rdev: u64,
    /// Number of hard links.
    pub links: u64,
    /// Length in bytes.
    pub size: u64,
    /// The raw bytes a symbolic link points to.
    pub link_target: Vec<u8>,
}

impl EntryMeta {
    /// A regular file of `size` bytes, readable by everybody, for sources that know no more.
    pub fn file(size: u64, mtime: Timestamp) -> Self {
        Self { size, permissions: 0o644, ..Self::bare(NodeKind::File, mtime) }
    }

    /// A directory that everybody may enter, for sources that know no more.
    pub fn dir(mtime: Timestamp) -> Self {
        Self { permissions: 0o755, ..Self::bare(NodeKind::Dir, mtime) }
    }

    /// A symbolic link, for sources that know no more.
    pub fn symlink(target: impl Into<Vec<u8>>, mtime: Timestamp) -> Self {
        Self { permissions: 0o777, link_target: target.into(), ..Self::bare(NodeKind::Symlink, mtime) }
    }

    fn bare(kind: NodeKind, time: Timestamp) -> Self {
        Self {
            kind,
            permissions: 0,
            mtime: time,
            atime: time,
            ctime: time,
            uid: 0,
            gid: 0,
            inode: 0,
            device: 0,
            rdev: 0,
            links: 0,
            size: 0,
            link_target: Vec::new(),
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == NodeKind::Dir
    }
}

/// Extended attributes, as far as they could be read.
#[derive(Debug, Default)]
pub struct Xattrs {
    /// Those that were read, in the system's order.
    pub found: Vec<Xattr>,
    /// Why some or all are missing. The entry is kept without them, but the loss is to be reported.
    pub problem: Option<SourceError>,
}
