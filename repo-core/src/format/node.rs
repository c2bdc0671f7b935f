//! One entry of a directory, as a tree blob holds it.

use std::sync::Arc;

use crate::id::{DataId, TreeId};
use crate::time::Time;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Device,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket; never archived, but old repositories may hold one.
    Socket,
    /// Something the writer did not know.
    Irregular,
    /// A word that this version does not know, kept as it is.
    Other(String),
}

impl NodeKind {
    /// The word in the tree.
    pub fn word(&self) -> &str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Device => "dev",
            Self::CharDevice => "chardev",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Irregular => "irregular",
            Self::Other(word) => word,
        }
    }

    /// The kind that a word names.
    pub fn from_word(word: &str) -> Self {
        match word {
            "file" => Self::File,
            "dir" => Self::Dir,
            "symlink" => Self::Symlink,
            "dev" => Self::Device,
            "chardev" => Self::CharDevice,
            "fifo" => Self::Fifo,
            "socket" => Self::Socket,
            "irregular" => Self::Irregular,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Go's `os.FileMode`: the kind in the high bits, nine permission bits at the bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mode(pub u32);

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// The name's bytes, with its namespace.
    pub name: Vec<u8>,
    /// The value; `None` only in very old repositories, where it means empty.
    pub value: Option<Vec<u8>>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The raw bytes of its name: one path component when it is valid, anything when it is hostile.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Kind and permissions.
    pub mode: Mode,
    /// Last change of the content.
    pub mtime: Time,
    /// Last access; equal to `mtime` unless asked for.
    pub atime: Time,
    /// Last change of the content or the metadata.
    pub ctime: Time,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// The owner's name, empty if unknown.
    pub user: Arc<str>,
    /// The group's name, empty if unknown.
    pub group: Arc<str>,
    /// Inode number on the source.
    pub inode: u64,
    /// Device number of the file system it was on.
    pub device_id: u64,
    /// Length in bytes; files only.
    pub size: u64,
    /// Number of hard links; absent (zero) for directories and pipes.
    pub links: u64,
    /// The raw bytes a symbolic link points to.
    pub link_target: Vec<u8>,
    /// Extended attributes in the kernel's order.
    pub xattrs: Vec<Xattr>,
    /// The device's number, for devices.
    pub device: u64,
    /// The file's chunks in order; `None` for all that is no file.
    pub content: Option<Vec<DataId>>,
    /// The directory's entries; `None` for all that is no directory.
    pub subtree: Option<TreeId>,
    /// What went wrong when an old version read it.
    pub error: String,
    /// Operating-system specific attributes, as raw JSON, in the order read.
    pub generic_attributes: Vec<(String, Box<str>)>,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Vec<(String, Box<str>)>,
}
