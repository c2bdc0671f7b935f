//! Status: what differs between files as they are now and a snapshot of them.
//!
//! In: pairs of a path of the source and what the snapshot has there. Out: each entry with its state, in the order of
//! names, and sums. No file is read: one counts as unchanged exactly when a backup would take it over unread. Changes
//! nothing. Memory: per level one directory of the source and one of the snapshot.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use crate::context::{Cancelled, Context};
use crate::format::{Mode, Node, NodeKind, Snapshot};
use crate::fs::SourceError;
use crate::fs::metadata::{ChangeDetection, EntryMeta};
use crate::fs::source::{Detail, Entry, Everything, Links, Select, Source};
use crate::id::TreeId;
use crate::repository::{ReadError, Reader};
use crate::time::Timestamp;
use crate::walk::child_path;

/// How to compare.
#[derive(Clone)]
pub struct StatusOptions {
    /// What is looked at; of what is left out the snapshot is not asked either.
    pub select: Arc<dyn Select>,
    /// When a file counts as unchanged.
    pub change: ChangeDetection,
}

impl Default for StatusOptions {
    fn default() -> Self {
        Self { select: Arc::new(Everything), change: ChangeDetection::default() }
    }
}

impl std::fmt::Debug for StatusOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusOptions").field("change", &self.change).finish_non_exhaustive()
    }
}

/// How an entry stands to the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The snapshot does not have it.
    New,
    /// It is another kind of thing, or may have other content or permissions; a directory other permissions.
    Changed,
    /// Only the snapshot has it.
    Deleted,
    /// It is what the snapshot has.
    Unchanged,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it is, or was, on the source.
    pub path: PathBuf,
    /// Whether it is a directory, or was one if it is gone.
    pub is_dir: bool,
    /// How it stands.
    pub state: State,
    /// Its bytes if it is a file; as the snapshot has it if it is gone.
    pub size: u64,
}

/// How many stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct States {
    /// New ones.
    pub new: u64,
    /// Changed ones.
    pub changed: u64,
    /// Deleted ones.
    pub deleted: u64,
    /// Unchanged ones.
    pub unchanged: u64,
}

impl States {
    fn count(&mut self, state: State) {
        *match state {
            State::New => &mut self.new,
            State::Changed => &mut self.changed,
            State::Deleted => &mut self.deleted,
            State::Unchanged => &mut self.unchanged,
        } += 1;
    }
}

/// Why nobody knows how something stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unknown {
    /// The source does not say what it is.
    #[error(transparent)]
    Source(SourceError),
    /// The snapshot's directory cannot be read.
    #[error("cannot read what the snapshot has in {}", path.display())]
    Tree {
        /// Where it lies on the source.
        path: PathBuf,
        /// Why.
        source: Box<ReadError>,
    },
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct StatusReport {
    /// All that is no directory.
    pub files: States,
    /// Directories.
    pub dirs: States,
    /// Bytes in new and changed files: the next backup reads them.
    pub bytes_to_read: u64,
    /// What is not compared.
    pub unknown: Vec<Unknown>,
}

/// Something to compare: a path of the source, and what the snapshot has there.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Absolute and clean.
    pub path: PathBuf,
    /// The snapshot's entry, if it has one.
    pub stored: Option<Node>,
}

impl Pair {
    /// The root of a snapshot's tree, which has no entry.
    pub fn root(path: PathBuf, tree: TreeId) -> Self {
        Self { path, stored: Some(Node { subtree: Some(tree), ..Node::new(b"", NodeKind::Dir) }) }
    }
}

/// Compares, and hands each entry to `sink`. The root of a snapshot has no permissions, so they do not count.
///
/// `snapshot` is the one that the pairs are from: what was changed around the time it was made may have been changed again
/// since, and counts as changed.
///
/// ```
/// use repo_core::ops::status::{Pair, State, StatusOptions, status};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{ArchiveOptions, Context, InitOptions, LocalSource, Repository, backend::MemoryBackend, snapshots};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let folder = tempfile::tempdir()?;
/// # let options = ArchiveOptions { cwd: folder.path().to_owned(), ..ArchiveOptions::default() };
/// # std::fs::write(folder.path().join("old"), "")?;
/// # repo_core::archive(&context, &repository, &LocalSource::new(), &[".".into()], &options)?;
///
/// std::fs::write(folder.path().join("new"), "")?;
/// let reader = repository.reader(&context)?;
/// let latest = snapshots::list(&context, &repository)?.pop().expect("there is one").snapshot;
/// let pairs = [Pair::root(folder.path().to_owned(), latest.tree)];
/// let mut new = Vec::new();
/// let options = StatusOptions::default();
/// status(&context, &reader, &latest, &LocalSource::new(), &pairs, &options, |found| {
///     if found.state == State::New {
///         new.push(found.path);
///     }
/// })?;
/// assert_eq!(new, [folder.path().join("new")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn status(
    context: &Context,
    reader: &Reader,
    snapshot: &Snapshot,
    source: &dyn Source,
    pairs: &[Pair],
    options: &StatusOptions,
    sink: impl FnMut(Finding),
) -> Result<StatusReport, Cancelled> {
    let read_at = snapshot.summary.as_ref().map_or(snapshot.time, |summary| summary.backup_start).instant;
    let mut run = Run { context, reader, source, options, read_at, sink, report: StatusReport::default() };
    let mut levels: Vec<vec::IntoIter<Step>> = Vec::new();
    for Pair { path, stored } in pairs {
        let now = match source.stat(path, Links::Keep) {
            Ok(meta) => Some(Entry { name: path.as_os_str().to_owned(), kind: None, meta: Some(meta) }),
            Err(error) if error.is_vanished() => None,
            Err(error) => {
                run.report.unknown.push(Unknown::Source(error));
                continue;
            }
        };
        levels.push(vec![Step { path: path.clone(), now, before: stored.clone() }].into_iter());
        while let Some(level) = levels.last_mut() {
            context.cancel.check()?;
            match level.next() {
                Some(step) => levels.extend(run.look(step)),
                None => drop(levels.pop()),
            }
        }
    }
    Ok(run.report)
}

/// An entry on one side or both.
struct Step {
    path: PathBuf,
    now: Option<Entry>,
    before: Option<Node>,
}

struct Run<'a, S> {
    context: &'a Context,
    reader: &'a Reader,
    source: &'a dyn Source,
    options: &'a StatusOptions,
    /// When the snapshot began to read.
    read_at: Timestamp,
    sink: S,
    report: StatusReport,
}

impl<S: FnMut(Finding)> Run<'_, S> {
    /// Looks at an entry; gives what lies below it.
    fn look(&mut self, step: Step) -> Option<vec::IntoIter<Step>> {
        let Step { path, now, before } = step;
        let now = match now.map(|entry| self.meta(&path, entry)) {
            None => None,
            Some(Ok(meta)) => Some(meta),
            Some(Err(error)) if error.is_vanished() => None,
            Some(Err(error)) => {
                self.report.unknown.push(Unknown::Source(error));
                return None;
            }
        };
        if let Some(meta) = &now
            && (meta.kind == NodeKind::Socket || self.is_too_large(meta))
        {
            return None;
        }
        let (is_dir, was_dir) =
            (now.as_ref().is_some_and(EntryMeta::is_dir), before.as_ref().is_some_and(Node::is_dir));
        let state = match (&now, &before) {
            (None, None) => return None,
            (Some(_), None) => State::New,
            (None, Some(_)) => State::Deleted,
            (Some(meta), Some(node)) if self.is_as_before(meta, node) => State::Unchanged,
            (Some(_), Some(_)) => State::Changed,
        };
        let size = match (&now, &before) {
            (Some(meta), _) if meta.kind == NodeKind::File => meta.size,
            (None, Some(node)) => node.size,
            _ => 0,
        };
        let shown_as_dir = if now.is_some() { is_dir } else { was_dir };
        self.count(Finding { path: path.clone(), is_dir: shown_as_dir, state, size });
        if !is_dir && !was_dir {
            return None;
        }
        let before = before.filter(|_| was_dir);
        self.below(&path, is_dir, before.as_ref())
    }

    fn count(&mut self, finding: Finding) {
        let states = if finding.is_dir { &mut self.report.dirs } else { &mut self.report.files };
        states.count(finding.state);
        if matches!(finding.state, State::New | State::Changed) {
            self.report.bytes_to_read = self.report.bytes_to_read.saturating_add(finding.size);
        }
        (self.sink)(finding);
    }

    fn meta(&self, path: &Path, entry: Entry) -> Result<EntryMeta, SourceError> {
        entry.meta.map_or_else(|| self.source.stat(path, Links::Keep), Ok)
    }

    fn is_too_large(&self, meta: &EntryMeta) -> bool {
        let max = self.options.select.file_bytes_max();
        meta.kind == NodeKind::File && max.is_some_and(|max| meta.size > max)
    }

    fn is_as_before(&self, meta: &EntryMeta, node: &Node) -> bool {
        let is_root = node.name.is_empty();
        let same_kind = meta.kind == node.kind;
        let same_mode = Mode::new(&meta.kind, meta.permissions) == node.mode
            && (meta.uid, meta.gid) == (node.uid, node.gid);
        let same_content = match meta.kind {
            NodeKind::File => {
                self.options.change.has_content_of(meta, node, &self.context.zone, self.read_at)
            }
            NodeKind::Symlink => meta.link_target == node.link_target,
            NodeKind::Device | NodeKind::CharDevice => meta.rdev == node.device,
            _ => true,
        };
        same_kind && (is_root || same_mode) && same_content
    }

    /// The entries of a directory on both sides, in the order of their names.
    fn below(&mut self, path: &Path, is_dir: bool, before: Option<&Node>) -> Option<vec::IntoIter<Step>> {
        let now = if is_dir {
            match self.source.list(path, Detail::Metadata) {
                Ok(listing) => listing.entries,
                Err(error) => {
                    self.report.unknown.push(Unknown::Source(error));
                    return None;
                }
            }
        } else {
            Vec::new()
        };
        let before = match before.and_then(|node| node.subtree) {
            Some(tree) => match self.reader.tree(tree) {
                Ok(tree) => tree.nodes,
                Err(source) => {
                    let path = path.to_owned();
                    self.report.unknown.push(Unknown::Tree { path, source: source.into() });
                    return None;
                }
            },
            None => Vec::new(),
        };
        Some(self.pairs(path, now, before).into_iter())
    }

    fn pairs(&self, path: &Path, now: Vec<Entry>, before: Vec<Node>) -> Vec<Step> {
        let select = self.options.select.as_ref();
        let marker = select.marker(self.context, path, &now, self.source).map(OsStr::to_owned);
        let mut sides: BTreeMap<Vec<u8>, (Option<Entry>, Option<Node>)> = BTreeMap::new();
        for entry in now {
            let name = entry.name.as_bytes().to_vec();
            sides.entry(name).or_default().0 = Some(entry);
        }
        for node in before {
            let name = node.name.clone();
            sides.entry(name).or_default().1 = Some(node);
        }
        let mut steps = Vec::with_capacity(sides.len());
        for (name, (now, before)) in sides {
            let path = child_path(path, &name);
            let is_dir = match (&now, &before) {
                (Some(entry), _) => entry.kind == Some(NodeKind::Dir),
                (None, before) => before.as_ref().is_some_and(Node::is_dir),
            };
            let unmarked = marker.as_ref().is_none_or(|marker| marker.as_bytes() == name);
            if unmarked && !select.leaves_out(&path, is_dir) {
                steps.push(Step { path, now, before });
            }
        }
        steps
    }
}
