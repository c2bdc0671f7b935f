//! The entries below a tree, each directory before its content.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::vec;

use crate::format::{Node, NodeKind, limits};
use crate::id::TreeId;
use crate::repository::{ReadError, Reader};
use crate::walk::Ahead;

/// One entry of a stored tree.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it lies, from the root the walk began at. The last component is the entry's name as stored,
    /// which may be hostile: see [`Node::checked_name`].
    pub path: PathBuf,
    /// What is stored.
    pub node: Node,
    /// The tree that lists it.
    pub tree: TreeId,
}

/// A directory that could not be entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// Its tree cannot be read.
    #[error("cannot read directory {}", path.display())]
    Read {
        /// Which directory.
        path: PathBuf,
        /// Its tree.
        tree: TreeId,
        /// Why.
        source: Box<ReadError>,
    },
    /// Its entry names no tree.
    #[error("directory {} has no tree", path.display())]
    NoTree {
        /// Which directory.
        path: PathBuf,
    },
    /// It lies too deep.
    #[error("directory {} lies deeper than {} levels", path.display(), limits::TREE_DEPTH_MAX)]
    TooDeep {
        /// Which directory.
        path: PathBuf,
    },
}

impl WalkError {
    /// The directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. } | Self::NoTree { path } | Self::TooDeep { path } => path,
        }
    }
}

/// Streams the entries below a tree in stored order, each directory right before its content.
///
/// A directory that cannot be read gives an error in its place, and the walk goes on behind it.
///
/// ```
/// use repo_core::walk::Walk;
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
/// for entry in Walk::new(&reader, latest.snapshot.tree, "/") {
///     match entry {
///         Ok(entry) => println!("{} {}", entry.path.display(), entry.node.size),
///         Err(error) => eprintln!("{}", repo_core::context::with_causes(&error)),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Walk<'a> {
    reader: &'a Reader,
    levels: Vec<Level>,
    /// The directory to enter next.
    pending: Option<(PathBuf, Option<TreeId>)>,
    ahead: Option<Ahead>,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    tree: TreeId,
    nodes: vec::IntoIter<Node>,
}

impl<'a> Walk<'a> {
    /// A walk over everything below `root`; paths begin with `base`, usually `/`.
    pub fn new(reader: &'a Reader, root: TreeId, base: impl Into<PathBuf>) -> Self {
        Self { reader, levels: Vec::new(), pending: Some((base.into(), Some(root))), ahead: None }
    }

    /// Fetches ahead what will be needed, if the repository has a cache. For walks that enter nearly every
    /// directory: those that are skipped are fetched too.
    #[must_use]
    pub fn reading_ahead(self) -> Self {
        Self { ahead: Some(Ahead::new()), ..self }
    }

    /// Does not enter the directory that was just given.
    pub fn skip_dir(&mut self) {
        self.pending = None;
    }

    /// How deep the entry that was just given lies: 1 right below the root.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    fn enter(&mut self, path: PathBuf, tree: Option<TreeId>) -> Result<(), WalkError> {
        if self.levels.len() >= limits::TREE_DEPTH_MAX {
            return Err(WalkError::TooDeep { path });
        }
        let Some(tree) = tree else { return Err(WalkError::NoTree { path }) };
        match self.reader.tree(tree) {
            Ok(content) => {
                if let Some(ahead) = &mut self.ahead {
                    ahead.expect(self.reader, content.nodes.iter().filter_map(|node| node.subtree));
                }
                self.levels.push(Level { path, tree, nodes: content.nodes.into_iter() });
                Ok(())
            }
            Err(source) => Err(WalkError::Read { path, tree, source: source.into() }),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((path, tree)) = self.pending.take()
            && let Err(error) = self.enter(path, tree)
        {
            return Some(Err(error));
        }
        loop {
            let level = self.levels.last_mut()?;
            let Some(node) = level.nodes.next() else {
                self.levels.pop();
                continue;
            };
            let path = child_path(&level.path, &node.name);
            if node.kind == NodeKind::Dir {
                self.pending = Some((path.clone(), node.subtree));
            }
            return Some(Ok(Entry { path, node, tree: level.tree }));
        }
    }
}

/// A directory's path and a stored name as it is: unlike with `Path::join`, a name that begins with `/` replaces
/// nothing.
pub(crate) fn child_path(directory: &Path, name: &[u8]) -> PathBuf {
    let directory = directory.as_os_str().as_bytes();
    let mut bytes = Vec::with_capacity(directory.len() + 1 + name.len());
    bytes.extend_from_slice(directory);
    if bytes.last() != Some(&b'/') {
        bytes.push(b'/');
    }
    bytes.extend_from_slice(name);
    OsString::from_vec(bytes).into()
}
