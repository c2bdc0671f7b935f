//! What can go wrong while somebody browses.

use std::path::PathBuf;

use crate::repository::{IndexError, ReadError};
use crate::snapshots::SelectError;

/// Why something cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// No such item.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// Where nothing is.
        path: PathBuf,
    },
    /// It cannot be looked into.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What is none.
        path: PathBuf,
    },
    /// It is no file, or no link, and was asked for what only those have.
    #[error("{} has no content", path.display())]
    NoContent {
        /// What has none.
        path: PathBuf,
    },
    /// A directory or a part of a file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Of what.
        path: PathBuf,
        /// Why.
        source: Box<ReadError>,
    },
    /// A file is said to be longer or shorter than what is stored of it.
    #[error("{} is said to have {said} bytes, but {stored} are stored", path.display())]
    Len {
        /// Which file.
        path: PathBuf,
        /// What its entry says.
        said: u64,
        /// What its blobs hold.
        stored: u64,
    },
    /// A directory's entry names no tree.
    #[error("the directory {} has no tree", path.display())]
    NoTree {
        /// Which directory.
        path: PathBuf,
    },
    /// More directories inside each other than any program makes.
    #[error("{} lies too deep", path.display())]
    TooDeep {
        /// Where the limit is.
        path: PathBuf,
    },
    /// Some entries of a directory are not shown. Told, never returned.
    #[error("{count} entries of {} have no safe name or no known kind, they are left out", path.display())]
    LeftOut {
        /// Of which directory.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The snapshots could not be listed.
    #[error(transparent)]
    Snapshots(#[from] SelectError),
    /// The index could not be loaded.
    #[error(transparent)]
    Index(#[from] IndexError),
}
