//! What of a source is wanted.
//!
//! In: paths, and rules. Out: whether an entry is looked at. Reads nothing but the first bytes of marker files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::context::{Context, Event};
use crate::filter::{Excludes, Marker};
use crate::fs::SourceError;

use super::{Entry, Piece, Source};

/// Decides what of a source is archived, or compared. Targets themselves are never asked about: who names a thing wants it.
///
/// Called from several threads. Everything is wanted by default.
pub trait Select: Send + Sync {
    /// Whether an entry is left out. Below a directory that is left out nothing is looked at.
    fn leaves_out(&self, _path: &Path, _is_dir: bool) -> bool {
        false
    }

    /// Files longer than this many bytes are left out.
    fn file_bytes_max(&self) -> Option<u64> {
        None
    }

    /// The entry of a directory that marks it as not wanted: the directory and the marker are archived, the
    /// rest of it is left out.
    ///
    /// A directory that looks marked and is not stays whole; tells the context's observer why.
    fn marker<'e>(
        &self,
        _context: &Context,
        _dir: &Path,
        _entries: &'e [Entry],
        _source: &dyn Source,
    ) -> Option<&'e OsStr> {
        None
    }
}

/// Why a file that is named like a marker marks nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoMarker {
    /// It cannot be read.
    #[error("could not read signature from exclusion tagfile {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: SourceError,
    },
    /// It ends before it could begin right.
    #[error("could not read signature from exclusion tagfile {}: it is too short", path.display())]
    TooShort {
        /// Which file.
        path: PathBuf,
    },
    /// It begins otherwise.
    #[error("invalid signature in exclusion tagfile {}", path.display())]
    OtherHeader {
        /// Which file.
        path: PathBuf,
    },
}

/// Wants everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everything;

impl Select for Everything {}

impl Select for Excludes {
    fn leaves_out(&self, path: &Path, _is_dir: bool) -> bool {
        self.by_path(path.as_os_str().as_bytes())
    }

    fn file_bytes_max(&self) -> Option<u64> {
        self.larger_than
    }

    fn marker<'e>(
        &self,
        context: &Context,
        dir: &Path,
        entries: &'e [Entry],
        source: &dyn Source,
    ) -> Option<&'e OsStr> {
        self.markers.iter().find_map(|marker| {
            let entry = entries.iter().find(|entry| entry.name.as_bytes() == marker.name())?;
            match begins_right(marker, dir.join(&entry.name), source) {
                Ok(()) => Some(entry.name.as_os_str()),
                Err(error) => {
                    context.tell(&Event::Warning { error: &error });
                    None
                }
            }
        })
    }
}

/// Makes sure that the marker file starts with what it must.
fn begins_right(marker: &Marker, path: PathBuf, source: &dyn Source) -> Result<(), NoMarker> {
    let header = marker.header();
    let mut begin = vec![0; header.len()];
    let mut filled = 0;
    if header.is_empty() {
        return Ok(());
    }
    let read = source.open(&path).and_then(|mut file| {
        while filled < begin.len() {
            match file.read(&mut begin[filled..])? {
                Piece::Data(len) => filled += len,
                Piece::Hole(_) | Piece::End => break,
            }
        }
        Ok(())
    });
    match read {
        Err(source) => Err(NoMarker::Unreadable { path, source }),
        Ok(()) if filled < begin.len() => Err(NoMarker::TooShort { path }),
        Ok(()) if begin != header => Err(NoMarker::OtherHeader { path }),
        Ok(()) => Ok(()),
    }
}
