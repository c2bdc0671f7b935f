//! What of a source is wanted.

use std::ffi::OsStr;
use std::path::Path;

use crate::fs::source::{Entry, Source};

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
