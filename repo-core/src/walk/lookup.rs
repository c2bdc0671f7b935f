//! One entry of a stored tree by its path.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::format::{Node, NodeKind};
use crate::id::TreeId;
use crate::repository::{ReadError, Reader};

/// Why there is nothing at a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No such entry.
    #[error("path {} not found", path.display())]
    NotFound {
        /// Up to the missing component.
        path: PathBuf,
    },
    /// Something on the way, or at the end where a directory is wanted, is none.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What is not.
        path: PathBuf,
    },
    /// A directory on the way cannot be read.
    #[error("cannot read directory {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: Box<ReadError>,
    },
}

/// Finds the entry at `path` below `root`; `None` for the root itself, which has no entry.
///
/// The path is cleaned first: `.` and empty components vanish, `..` goes up as far as the root.
///
/// ```
/// use std::path::Path;
///
/// use repo_core::walk::{LookupError, lookup};
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
/// let found = lookup(&reader, latest.snapshot.tree, Path::new("/note.txt"))?;
/// assert_eq!(found.expect("it is not the root").size, 4);
/// let missing = lookup(&reader, latest.snapshot.tree, Path::new("/diary.txt"));
/// assert!(matches!(missing, Err(LookupError::NotFound { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn lookup(reader: &Reader, root: TreeId, path: &Path) -> Result<Option<Node>, LookupError> {
    let mut found: Option<Node> = None;
    let mut at = PathBuf::from("/");
    for name in clean(path) {
        let tree = tree_of(root, found.as_ref(), &at)?;
        let content = reader
            .tree(tree)
            .map_err(|source| LookupError::Read { path: at.clone(), source: source.into() })?;
        at.push(name);
        let name = name.as_bytes();
        let node = content.nodes.into_iter().find(|node| node.name == name);
        found = Some(node.ok_or_else(|| LookupError::NotFound { path: at.clone() })?);
    }
    Ok(found)
}

/// Finds the tree of the directory at `path` below `root`.
pub fn lookup_dir(reader: &Reader, root: TreeId, path: &Path) -> Result<TreeId, LookupError> {
    let node = lookup(reader, root, path)?;
    tree_of(root, node.as_ref(), path)
}

fn tree_of(root: TreeId, node: Option<&Node>, path: &Path) -> Result<TreeId, LookupError> {
    let not_a_directory = || LookupError::NotADirectory { path: path.to_owned() };
    match node {
        None => Ok(root),
        Some(node) if node.kind == NodeKind::Dir => node.subtree.ok_or_else(not_a_directory),
        Some(_) => Err(not_a_directory()),
    }
}

fn clean(path: &Path) -> Vec<&std::ffi::OsStr> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => drop(names.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    names
}
