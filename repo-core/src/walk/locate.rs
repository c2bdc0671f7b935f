//! Where a path of the user's machine lies in a snapshot.
//!
//! In: snapshots, and a path, absolute and clean. Out: the entry there. A backup of `/home/ada/notes` has the whole path in
//! its tree; one of `notes`, made in `/home/ada`, begins with `notes`, and one of `.` with the names in it. All three list
//! the whole path, so it has to be found out which of them it is: only the last one begins with names that are no part of
//! a listed path. A path as it is in the tree is found too. Memory: one entry per different directory and name that was
//! asked for.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::format::{Node, NodeKind, Snapshot};
use crate::id::{Id, TreeId};
use crate::repository::Reader;
use crate::walk::LookupError;

/// An entry of a snapshot.
#[derive(Debug, Clone)]
pub struct Located {
    /// Its path in the tree, from `/`.
    pub path: PathBuf,
    /// The entry; `None` for the root, which has none.
    pub entry: Option<Child>,
}

/// An entry of a directory.
#[derive(Debug, Clone)]
pub struct Child {
    /// The entry. Whoever keeps less than all may leave out a file's chunks.
    pub node: Node,
    /// The name of its content, see [`Node::content_id`].
    pub content: Option<Id>,
}

/// Where directories are looked up: a repository, or what is kept of it.
pub trait Folders {
    /// Why a directory cannot be looked up.
    type Error: std::error::Error + 'static;

    /// An entry of a directory by its name. `at` is the directory's path, for messages.
    fn child(&self, tree: TreeId, name: &[u8], at: &Path) -> Result<Option<Child>, Self::Error>;

    /// The names of all entries of a directory.
    fn names(&self, tree: TreeId, at: &Path) -> Result<Vec<Vec<u8>>, Self::Error>;
}

impl Folders for Reader {
    type Error = LookupError;

    fn child(&self, tree: TreeId, name: &[u8], at: &Path) -> Result<Option<Child>, LookupError> {
        let node = read(self, tree, at)?.into_iter().find(|node| node.name == name);
        Ok(node.map(|node| Child { content: node.content_id(), node }))
    }

    fn names(&self, tree: TreeId, at: &Path) -> Result<Vec<Vec<u8>>, LookupError> {
        Ok(read(self, tree, at)?.into_iter().map(|node| node.name).collect())
    }
}

fn read(reader: &Reader, tree: TreeId, at: &Path) -> Result<Vec<Node>, LookupError> {
    let read = reader.tree(tree);
    Ok(read.map_err(|source| LookupError::Read { path: at.to_owned(), source: source.into() })?.nodes)
}

/// Looks for paths in snapshots, and remembers directories that it has read.
///
/// ```
/// use std::path::Path;
/// use repo_core::walk::Locator;
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
/// let found = Locator::new(&reader).locate(&latest.snapshot, Path::new("/note.txt"))?;
/// assert_eq!(found.expect("it was saved").path, Path::new("/note.txt"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Locator<'a, F> {
    folders: &'a F,
    known: HashMap<(TreeId, Vec<u8>), Option<Child>>,
    /// Whether a tree begins with names out of its snapshot's paths.
    roots: HashMap<TreeId, bool>,
}

impl<'a, F: Folders> Locator<'a, F> {
    /// Nothing is known yet.
    pub fn new(folders: &'a F) -> Self {
        Self { folders, known: HashMap::new(), roots: HashMap::new() }
    }

    /// Finds the entry at a path; `None` if the snapshot has none.
    ///
    /// Returns an error if a directory on the way cannot be looked up.
    pub fn locate(&mut self, snapshot: &Snapshot, path: &Path) -> Result<Option<Located>, F::Error> {
        if let Some(found) = self.at(snapshot.tree, path)? {
            return Ok(Some(found));
        }
        for listed in snapshot.paths.iter().map(Path::new) {
            if let Ok(rest) = path.strip_prefix(listed)
                && let Some(base) = self.base(snapshot, listed)?
                && let Some(found) = self.at(snapshot.tree, &base.join(rest))?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Where a listed path lies, if not under its whole name.
    fn base(&mut self, snapshot: &Snapshot, listed: &Path) -> Result<Option<PathBuf>, F::Error> {
        if !self.begins_with_names(snapshot)? {
            return Ok(Some(PathBuf::from("/")));
        }
        for place in tails(listed) {
            if self.at(snapshot.tree, &place)?.is_some() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Whether the tree begins with names out of the listed paths. If not, it begins with what lies in one of them.
    fn begins_with_names(&mut self, snapshot: &Snapshot) -> Result<bool, F::Error> {
        let root = snapshot.tree;
        if let Some(known) = self.roots.get(&root) {
            return Ok(*known);
        }
        let paths = || snapshot.paths.iter().flat_map(|path| names(Path::new(path)));
        let first = self.folders.names(root, Path::new("/"))?;
        let named = first.iter().all(|name| paths().any(|one| one == name));
        self.roots.insert(root, named);
        Ok(named)
    }

    /// The entry at a path of the tree.
    fn at(&mut self, root: TreeId, path: &Path) -> Result<Option<Located>, F::Error> {
        let mut found: Option<Child> = None;
        let mut at = PathBuf::from("/");
        for name in names(path) {
            let tree = match found.as_ref().map(|child| &child.node) {
                None => root,
                Some(Node { kind: NodeKind::Dir, subtree: Some(tree), .. }) => *tree,
                Some(_) => return Ok(None),
            };
            let Some(child) = self.child(tree, name, &at)? else { return Ok(None) };
            at.push(OsStr::from_bytes(name));
            found = Some(child);
        }
        Ok(Some(Located { path: at, entry: found }))
    }

    fn child(&mut self, tree: TreeId, name: &[u8], at: &Path) -> Result<Option<Child>, F::Error> {
        let key = (tree, name.to_vec());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let child = self.folders.child(tree, name, at)?;
        self.known.insert(key, child.clone());
        Ok(child)
    }
}

/// A path without its first component, without its first two, and so on.
fn tails(path: &Path) -> impl Iterator<Item = PathBuf> {
    let components: Vec<&[u8]> = names(path).collect();
    (1..components.len()).map(move |dropped| {
        let mut tail = PathBuf::from("/");
        tail.extend(components.iter().skip(dropped).map(|name| OsStr::from_bytes(name)));
        tail
    })
}

fn names(path: &Path) -> impl Iterator<Item = &[u8]> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.as_bytes()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_loses_its_first_components_one_by_one() {
        let check = |path: &str, expected: &[&str]| {
            let tails: Vec<PathBuf> = tails(Path::new(path)).collect();
            assert_eq!(tails, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{path}");
        };
        check("/home/ada/notes", &["/ada/notes", "/notes"]);
        check("/srv", &[]);
        check("/", &[]);
    }
}
