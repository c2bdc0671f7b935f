//! What of a source is wanted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::filter::{Excludes, Marker};
use crate::fs::source::{Entry, Piece, Source};

/// Decides what of a source is archived. Targets themselves are never asked about: who names a thing wants it.
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
    fn marker<'e>(&self, _dir: &Path, _entries: &'e [Entry], _source: &dyn Source) -> Option<&'e OsStr> {
        None
    }
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

    fn marker<'e>(&self, dir: &Path, entries: &'e [Entry], source: &dyn Source) -> Option<&'e OsStr> {
        self.markers.iter().find_map(|marker| {
            let entry = entries.iter().find(|entry| entry.name.as_bytes() == marker.name())?;
            begins_right(marker, &dir.join(&entry.name), source).then_some(entry.name.as_os_str())
        })
    }
}

/// Whether the marker file starts with what it must. One that cannot be read marks nothing.
fn begins_right(marker: &Marker, path: &Path, source: &dyn Source) -> bool {
    let header = marker.header();
    if header.is_empty() {
        return true;
    }
    let Ok(mut file) = source.open(path) else { return false };
    let mut begin = vec![0; header.len()];
    let mut filled = 0;
    while filled < begin.len() {
        match file.read(&mut begin[filled..]) {
            Ok(Piece::Data(len)) => filled += len,
            _ => return false,
        }
    }
    begin == header
}
