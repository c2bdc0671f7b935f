//! Ls: the entries of a tree, as a stream.
//!
//! In: a root, and perhaps some folders. Out: entries in stored order, each directory before its content.
//! Never reads file content, never enters a directory that cannot hold a wanted entry. Memory: one directory
//! per level; only [`sort`] needs all entries at once, about 500 bytes each.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::context::{Cancelled, Context};
use crate::filter::clean;
use crate::id::TreeId;
use crate::repository::Reader;
use crate::walk::{Entry, Walk, WalkError};

/// Which entries to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LsOptions {
    /// Only these folders and what lies right inside, each absolute from the root of the listing. A file is
    /// listed itself; one that does not exist lists nothing. Empty means everything at any depth.
    pub folders: Vec<PathBuf>,
    /// With folders: everything below them, at any depth.
    pub recursive: bool,
    /// With folders: also the directories that lead to them.
    pub with_parents: bool,
}

/// What cannot be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LsError {
    /// A folder does not begin with a slash.
    #[error("the folder {} is not absolute", folder.display())]
    NotAbsolute {
        /// The folder as given.
        folder: PathBuf,
    },
    /// A directory cannot be entered. The listing goes on behind it.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The run was asked to stop. Nothing follows.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Lists what lies below `root`; paths begin with `/`.
///
/// Returns [`LsError::NotAbsolute`] for a relative folder. A directory that cannot be read gives
/// [`LsError::Walk`] in its place.
///
/// ```
/// use repo_core::ops::query::ls::{LsOptions, ls};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// # let latest = repo_core::snapshots::list(&context, &repository)?.pop().expect("there is one");
///
/// let reader = repository.reader(&context)?;
/// let top = LsOptions { folders: vec!["/".into()], ..LsOptions::default() };
/// for entry in ls(&context, &reader, latest.snapshot.tree, &top)? {
///     println!("{}", entry?.path.display());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn ls<'a>(
    context: &'a Context,
    reader: &'a Reader,
    root: TreeId,
    options: &LsOptions,
) -> Result<Listing<'a>, LsError> {
    let folders = options.folders.iter().map(|folder| {
        let bytes = folder.as_os_str().as_bytes();
        match bytes.first() {
            Some(b'/') => Ok(PathBuf::from(OsString::from_vec(clean(bytes)))),
            _ => Err(LsError::NotAbsolute { folder: folder.clone() }),
        }
    });
    let wanted = Wanted {
        folders: folders.collect::<Result<_, _>>()?,
        recursive: options.recursive,
        with_parents: options.with_parents,
    };
    let walk = Walk::new(reader, root, "/");
    let walk = if wanted.folders.is_empty() { walk.reading_ahead() } else { walk };
    Ok(Listing { context, walk, wanted, is_over: false })
}

/// The stream that [`ls`] gives.
#[derive(Debug)]
pub struct Listing<'a> {
    context: &'a Context,
    walk: Walk<'a>,
    wanted: Wanted,
    is_over: bool,
}

impl Iterator for Listing<'_> {
    type Item = Result<Entry, LsError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            if let Err(cancelled) = self.context.cancel.check() {
                self.is_over = true;
                return Some(Err(cancelled.into()));
            }
            let entry = match self.walk.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let verdict = self.wanted.judge(&entry.path);
            if !verdict.enter {
                self.walk.skip_dir();
            }
            if verdict.show {
                return Some(Ok(entry));
            }
        }
        None
    }
}

#[derive(Debug)]
struct Wanted {
    /// Absolute and clean.
    folders: Vec<PathBuf>,
    recursive: bool,
    with_parents: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    show: bool,
    enter: bool,
}

impl Wanted {
    fn judge(&self, path: &Path) -> Verdict {
        if self.folders.is_empty() {
            return Verdict { show: true, enter: true };
        }
        let is_inside = self.folders.iter().any(|folder| path.starts_with(folder));
        // A folder leads to itself: its children are wanted.
        let leads_there = self.folders.iter().any(|folder| folder.starts_with(path));
        Verdict {
            show: is_inside || (self.with_parents && leads_there),
            enter: leads_there || (self.recursive && is_inside),
        }
    }
}

/// In which order entries are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortKey {
    /// As stored: by name, each directory before its content.
    #[default]
    Name,
    /// By size in bytes; only files have one.
    Size,
    /// By the time of the last change of content.
    Mtime,
    /// By the time of the last reading.
    Atime,
    /// By the time of the last change of metadata.
    Ctime,
    /// By what the name ends in, from its last dot.
    Extension,
}

/// Sorts a finished listing, smallest and oldest first; equal entries by path.
pub fn sort(entries: &mut [Entry], key: SortKey) {
    match key {
        SortKey::Name => {}
        SortKey::Size => sort_by(entries, |entry| if entry.node.is_file() { entry.node.size } else { 0 }),
        SortKey::Mtime => sort_by(entries, |entry| entry.node.mtime.instant),
        SortKey::Atime => sort_by(entries, |entry| entry.node.atime.instant),
        SortKey::Ctime => sort_by(entries, |entry| entry.node.ctime.instant),
        SortKey::Extension => entries.sort_by(|a, b| {
            (extension(&a.path), a.path.as_os_str()).cmp(&(extension(&b.path), b.path.as_os_str()))
        }),
    }
}

fn sort_by<K: Ord>(entries: &mut [Entry], key: impl Fn(&Entry) -> K) {
    entries.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.path.as_os_str().cmp(b.path.as_os_str())));
}

/// The last name from its last dot on, dot included; a name that begins with its only dot is all extension.
fn extension(path: &Path) -> &[u8] {
    let path = path.as_os_str().as_bytes();
    let start = path.iter().rposition(|byte| matches!(byte, b'/' | b'.'));
    start.and_then(|start| path.get(start..)).filter(|end| end.starts_with(b".")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Node, NodeKind};
    use crate::id::Id;
    use crate::time::{Time, Timestamp};

    #[test]
    fn folders_show_themselves_and_their_direct_children() {
        let check = |folders: &[&str], recursive, path: &str, show, enter| {
            let folders = folders.iter().map(PathBuf::from).collect();
            let wanted = Wanted { folders, recursive, with_parents: false };
            assert_eq!(wanted.judge(Path::new(path)), Verdict { show, enter }, "{path} with {wanted:?}");
        };
        check(&[], false, "/a/b", true, true);
        check(&["/a/b"], false, "/a", false, true);
        check(&["/a/b"], false, "/a/b", true, true);
        check(&["/a/b"], false, "/a/b/c", true, false);
        check(&["/a/b"], true, "/a/b/c", true, true);
        check(&["/a/b"], true, "/a/bc", false, false);
        check(&["/a/b"], true, "/b", false, false);
        check(&["/x", "/a/b"], false, "/a/b", true, true);
        check(&["/a", "/a/b/c"], false, "/a/b", true, true);
        check(&["/"], false, "/a", true, false);
        check(&["/"], true, "/a", true, true);
    }

    #[test]
    fn equal_sort_keys_fall_back_to_the_path() {
        let entry = |path: &str, kind: NodeKind, size, seconds| Entry {
            path: path.into(),
            node: Node {
                size,
                mtime: Time::utc(Timestamp { seconds, nanos: 0 }),
                ..Node::new(path.rsplit('/').next().unwrap_or_default(), kind)
            },
            tree: Id::new([0; 32]).into(),
        };
        let listed = [
            entry("/d", NodeKind::Dir, 900, 4),
            entry("/d/.b", NodeKind::File, 2, 1),
            entry("/d/x.tar.gz", NodeKind::File, 2, 2),
            entry("/a.d/c", NodeKind::File, 1, 2),
        ];
        let check = |key, expected: [&str; 4]| {
            let mut sorted = listed.clone();
            sort(&mut sorted, key);
            assert_eq!(sorted.map(|entry| entry.path), expected.map(PathBuf::from), "{key:?}");
        };
        check(SortKey::Name, ["/d", "/d/.b", "/d/x.tar.gz", "/a.d/c"]);
        check(SortKey::Size, ["/d", "/a.d/c", "/d/.b", "/d/x.tar.gz"]);
        check(SortKey::Mtime, ["/d/.b", "/a.d/c", "/d/x.tar.gz", "/d"]);
        check(SortKey::Ctime, ["/a.d/c", "/d", "/d/.b", "/d/x.tar.gz"]);
        check(SortKey::Extension, ["/a.d/c", "/d", "/d/.b", "/d/x.tar.gz"]);
    }
}
