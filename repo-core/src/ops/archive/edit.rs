//! What a caller knows to have changed since the parent, so that the rest need not be walked.
//!
//! In: paths of the source. Out: whether anything at or below a path is to be looked at. Watchers of a file system,
//! change lists of a snapshot or of a database know such paths; who knows only "something in here" names the folder.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};

/// The paths that differ from the parent snapshot, or may.
///
/// What is neither named, nor above a named path, nor below one that is named [whole](Self::add_whole), is taken over
/// from the parent as it is there. The names in the folder of a changed path are always read anew: what is gone from it
/// goes, and what the parent does not know is walked.
///
/// ```
/// use std::path::Path;
/// use repo_core::ops::archive::ChangedPaths;
///
/// let mut changed = ChangedPaths::default();
/// changed.add("/home/ann/letter.txt");
/// changed.add_whole("/home/ann/photos");
/// assert!(changed.touches(Path::new("/home")) && changed.touches(Path::new("/home/ann/photos/2026/cat.jpg")));
/// assert!(!changed.touches(Path::new("/home/ann/taxes")) && !changed.touches(Path::new("/home/ann/letter.txt.old")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangedPaths {
    single: BTreeSet<PathBuf>,
    whole: BTreeSet<PathBuf>,
}

impl ChangedPaths {
    /// An entry that changed, came or went: a file's content, or what anything is besides its content. Absolute.
    pub fn add(&mut self, path: impl Into<PathBuf>) {
        self.single.insert(path.into());
    }

    /// A folder in which anything may have changed. Absolute.
    pub fn add_whole(&mut self, path: impl Into<PathBuf>) {
        self.whole.insert(path.into());
    }

    /// Whether anything at or below `path` may have changed.
    pub fn touches(&self, path: &Path) -> bool {
        let at_or_below = |paths: &BTreeSet<PathBuf>| {
            // Paths are ordered name by name, so what lies below one follows it.
            let next = paths.range::<Path, _>((Bound::Included(path), Bound::Unbounded)).next();
            next.is_some_and(|next| next.starts_with(path))
        };
        at_or_below(&self.single)
            || at_or_below(&self.whole)
            || path.ancestors().any(|above| self.whole.contains(above))
    }
}
