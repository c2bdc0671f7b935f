//! Where files are read: the trait that a backup needs, and the file system behind it.
//!
//! In: paths. Out: names, metadata and bytes of entries. A source says what is there; what of it is wanted,
//! and what to do with what cannot be read, is the backup's business.

mod directories;
mod file;
mod local;
mod relocated;
mod select;
mod stream;
mod with_files;
pub mod targets;

pub use local::LocalSource;
pub use relocated::RelocatedSource;
pub use select::{Everything, NoMarker, Select};
pub use stream::StreamSource;
pub use with_files::WithFiles;

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use crate::format::NodeKind;
use crate::id::SnapshotId;

use super::metadata::{EntryMeta, Xattrs};
use super::{FaultKind, Operation, SourceError};

/// Something that can be backed up: a tree of directories and entries, by path.
///
/// [`LocalSource`] is the file system; others may be a database, an archive or a memory. Every method may be
/// called from several threads at once. An entry that is not there is an error of kind
/// [`FaultKind::Vanished`], one of another kind than asked for
/// [`FaultKind::Changed`]. Only the paths of entries that a source has named itself,
/// targets that the user named, and the directories above those are ever asked for.
pub trait Source: Send + Sync {
    /// Reads a directory: what it is itself, then its entries, all of them or none.
    ///
    /// A symbolic link in place of the directory is not followed; links in the path to it are.
    fn list(&self, dir: &Path, detail: Detail) -> Result<Listing, SourceError>;

    /// What an entry is.
    fn stat(&self, path: &Path, links: Links) -> Result<EntryMeta, SourceError>;

    /// Opens a regular file for reading. Nothing else is ever opened, and nothing waits for a pipe's writer.
    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError>;

    /// Whether what was read cannot be read a second time, like a pipe. By default it can.
    fn reads_once(&self) -> bool {
        false
    }

    /// The extended attributes of an entry that is neither listed nor opened. By default there are none.
    fn xattrs(&self, _path: &Path, _links: Links) -> Xattrs {
        Xattrs::default()
    }
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The link itself is meant.
    Keep,
    /// What it points to is meant: for directories on the way to a target.
    Follow,
}

/// How much a listing says about each entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Metadata of all that is neither file nor directory; of these the kind only, because they are opened
    /// next anyway.
    Kinds,
    /// Metadata of everything: for directories whose files are probably unchanged and need not be opened.
    Metadata,
}

/// One directory with its entries.
#[derive(Debug)]
pub struct Listing {
    /// The directory itself, as it was when it was opened.
    pub meta: EntryMeta,
    /// Its extended attributes.
    pub xattrs: Xattrs,
    /// Its entries in the order of their names' bytes, each name once.
    pub entries: Vec<Entry>,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, one component.
    pub name: OsString,
    /// What it is; `None` if even that needs a [`Source::stat`].
    pub kind: Option<NodeKind>,
    /// Its metadata, if asked for and to be had; what went wrong says [`Source::stat`] or [`Source::open`].
    pub meta: Option<EntryMeta>,
}

/// A regular file that is being read, from its start to its end.
pub trait OpenFile: Send {
    /// What the file was when it was opened.
    fn meta(&self) -> &EntryMeta;

    /// Gives the next bytes; see [`Piece`]. The buffer is not empty. Reads to the real end, wherever it has
    /// moved meanwhile.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, SourceError>;

    /// What the file is now, to see whether it changed while it was read. By default it did not.
    fn stat_again(&mut self) -> Result<EntryMeta, SourceError> {
        Ok(self.meta().clone())
    }

    /// Its extended attributes. By default there are none.
    fn xattrs(&mut self) -> Xattrs {
        Xattrs::default()
    }

    /// How it is to be cut; the same way each time, else nothing that was stored is found again.
    fn cuts(&self) -> Cuts {
        Cuts::AsRepository
    }

    /// Which bytes may differ from those that this snapshot has of the file; the others are not read. Bytes behind
    /// the old or the new end need no mention. `None`, as by default, reads everything.
    fn changes_since(&self, _parent: SnapshotId) -> Option<Vec<Range<u64>>> {
        None
    }

    /// Lets the next [`read`](Self::read) give the bytes from `offset` on. Asked only of files that know their
    /// [changes](Self::changes_since).
    fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        let text = format!("it cannot be read from byte {offset} on");
        Err(SourceError::new(FaultKind::NotSupported, Operation::Read, "").because(text))
    }
}

/// How a file is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cuts {
    /// Where its content says, as the repository is set up.
    #[default]
    AsRepository,
    /// Every so many bytes, 4 KiB to the repository's longest chunk (8 MiB with restic's chunker): for images of
    /// disks and databases, which change in place. Holes of them are one shared chunk, and not read.
    Every(u32),
}

/// What comes next in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes, at least one, at the start of the buffer.
    Data(usize),
    /// So many zero bytes that need no reading, at least one.
    Hole(u64),
    /// Nothing more.
    End,
}
