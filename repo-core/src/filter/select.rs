//! All that a backup leaves out, and all that a restore wants.
//!
//! In: lists of patterns and other rules. Out: one decision per path. Lists do not know of each other: what one
//! list takes back by `!`, another one may still match.

use super::{Marker, Patterns};

/// What a backup leaves out.
///
/// Paths that the user named as targets are not asked about; what lies below them is.
///
/// ```
/// use std::sync::Arc;
///
/// use repo_core::ArchiveOptions;
/// use repo_core::filter::{Case, Excludes, Marker, Patterns};
///
/// let patterns = Patterns::new(["*.tmp", "/home/*/.cache", "!keep.tmp"], Case::Sensitive)?;
/// let excludes = Excludes {
///     patterns: vec![patterns],
///     markers: vec![Marker::cachedir()],
///     larger_than: Some(1 << 30),
/// };
/// assert!(excludes.by_path(b"/home/me/.cache"));
/// assert!(!excludes.by_path(b"/home/me/keep.tmp"));
/// let options = ArchiveOptions { select: Arc::new(excludes), ..ArchiveOptions::default() };
/// # drop(options);
/// # Ok::<(), repo_core::filter::InvalidPatterns>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    /// Entries whose absolute path on the source matches any of these lists.
    pub patterns: Vec<Patterns>,
    /// Directories with one of these files lose all their entries but that file.
    pub markers: Vec<Marker>,
    /// Files with more bytes than this.
    pub larger_than: Option<u64>,
}

impl Excludes {
    /// Whether a path, absolute and clean, is left out with all below it.
    pub fn by_path(&self, path: &[u8]) -> bool {
        self.patterns.iter().any(|patterns| patterns.matches(path))
    }

    /// Whether a file of this length in bytes is left out.
    pub fn by_size(&self, size: u64) -> bool {
        self.larger_than.is_some_and(|limit| size > limit)
    }
}

/// Which entries of a snapshot are wanted.
#[derive(Debug, Clone, Default)]
pub enum Selection {
    /// All.
    #[default]
    All,
    /// All that match none of the lists.
    Except(Vec<Patterns>),
    /// Only those that match one of the lists.
    Only(Vec<Patterns>),
}

/// Whether an entry is wanted, and whether something below it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    /// The entry itself is wanted.
    pub entry: bool,
    /// Something below it may be wanted, so a directory must be entered.
    pub below: bool,
}

impl Selection {
    /// Decides about a path, which starts with `/` at the snapshot's root or at the folder chosen in it.
    pub fn check(&self, path: &[u8]) -> Selected {
        match self {
            Self::All => Selected { entry: true, below: true },
            Self::Except(lists) => {
                let kept = !lists.iter().any(|patterns| patterns.matches(path));
                Selected { entry: kept, below: kept }
            }
            Self::Only(lists) => {
                lists.iter().fold(Selected { entry: false, below: false }, |selected, patterns| {
                    let matched = patterns.check(path);
                    Selected { entry: selected.entry | matched.path, below: selected.below | matched.below }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Case;
    use super::*;

    fn list(patterns: &[&str]) -> Vec<Patterns> {
        vec![Patterns::new(patterns, Case::Sensitive).unwrap()]
    }

    #[test]
    fn limit_itself_is_not_too_large() {
        let excludes = Excludes { larger_than: Some(1024), ..Excludes::default() };
        assert_eq!((excludes.by_size(1024), excludes.by_size(1025)), (false, true));
        assert!(!Excludes::default().by_size(u64::MAX));
    }

    #[test]
    fn excluded_directory_is_not_entered_but_one_on_the_way_to_an_include_is() {
        let check = |selection: &Selection, path: &str, entry, below| {
            assert_eq!(selection.check(path.as_bytes()), Selected { entry, below }, "{path}");
        };
        let except = Selection::Except(list(&["/a/b"]));
        check(&except, "/a", true, true);
        check(&except, "/a/b", false, false);
        let only = Selection::Only(list(&["/a/b"]));
        check(&only, "/a", false, true);
        check(&only, "/a/b", true, true);
        check(&only, "/a/b/c", true, true);
        check(&only, "/x", false, false);
        check(&Selection::All, "/x", true, true);
    }
}
