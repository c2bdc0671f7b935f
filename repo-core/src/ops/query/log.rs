//! Log: all versions of one file over many snapshots.
//!
//! In: snapshots, oldest first, and a path. Out: each content once, with the snapshots it was first and last seen in. A
//! directory is read once, however many snapshots have it. Memory: one entry per different directory on the way.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::context::{Cancelled, Context};
use crate::format::{Node, NodeKind};
use crate::id::{Id, SnapshotId};
use crate::snapshots::Stored;
use crate::walk::{Child, Folders, Locator};

/// One content of a file.
#[derive(Debug, Clone)]
pub struct Version<'a> {
    /// Its name; `None` for what holds nothing.
    pub content: Option<Id>,
    /// The entry as the newest of the snapshots has it.
    pub node: Node,
    /// Its path in that snapshot's tree.
    pub path: PathBuf,
    /// The oldest snapshot that has this content.
    pub first: &'a Stored,
    /// The newest one, from which it is best restored.
    pub last: &'a Stored,
    /// How many have it.
    pub snapshots: u64,
}

/// What there is of a file.
#[derive(Debug)]
pub struct History<'a, E> {
    /// The versions, the one that was seen last first.
    pub versions: Vec<Version<'a>>,
    /// Snapshots in which nobody knows, because a directory on the way cannot be read.
    pub unreadable: Vec<(SnapshotId, E)>,
}

/// Finds all versions of what lies at `path`, absolute and clean, on the machine or in the trees.
///
/// `folders` is a reader, or a [`SearchView`](crate::search::SearchView) that covers the snapshots.
///
/// ```
/// use std::path::Path;
/// use repo_core::ops::query::log::log;
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend, snapshots};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # for text in [&b"milk"[..], b"milk, bread"] {
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", text, Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// # }
///
/// let reader = repository.reader(&context)?;
/// let all = snapshots::list(&context, &repository)?;
/// let history = log(&context, &reader, &all, Path::new("/note.txt"))?;
/// let sizes: Vec<u64> = history.versions.iter().map(|version| version.node.size).collect();
/// assert_eq!(sizes, [11, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn log<'a, F: Folders>(
    context: &Context,
    folders: &F,
    snapshots: &'a [Stored],
    path: &Path,
) -> Result<History<'a, F::Error>, Cancelled> {
    let mut locator = Locator::new(folders);
    let mut history = History { versions: Vec::new(), unreadable: Vec::new() };
    let mut numbers: HashMap<(NodeKind, Option<Id>), usize> = HashMap::new();
    for stored in snapshots {
        context.cancel.check()?;
        let located = match locator.locate(&stored.snapshot, path) {
            Ok(Some(located)) => located,
            Ok(None) => continue,
            Err(error) => {
                history.unreadable.push((stored.id, error));
                continue;
            }
        };
        // The root has no entry, and so no versions.
        let Some(Child { node, content }) = located.entry else { continue };
        let number = *numbers.entry((node.kind.clone(), content)).or_insert(history.versions.len());
        match history.versions.get_mut(number) {
            Some(version) => {
                (version.last, version.node, version.path) = (stored, node, located.path);
                version.snapshots += 1;
            }
            None => history.versions.push(Version {
                content,
                node,
                path: located.path,
                first: stored,
                last: stored,
                snapshots: 1,
            }),
        }
    }
    history.versions.sort_by_key(|version| std::cmp::Reverse(version.last.snapshot.time.instant));
    Ok(history)
}
