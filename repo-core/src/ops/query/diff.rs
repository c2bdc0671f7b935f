//! Diff: what changed from one tree to another, as a stream, and in numbers.
//!
//! In: two roots. Out: changes in the order of names, each directory before its content; then statistics. Equal
//! directories are not compared, and read only for the statistics. Memory: one pair of directories per level,
//! and for the statistics three bits per blob of the repository and 32 bytes per different directory.

use std::collections::HashSet;
use std::fmt;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec;

use crate::context::{Cancelled, Context, Event};
use crate::format::{Node, limits};
use crate::id::{BlobId, BlobKind, TreeId};
use crate::index::BlobSet;
use crate::repository::Reader;
use crate::walk::{self, WalkError, reach};

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffOptions {
    /// Tell also what differs in metadata alone.
    pub metadata: bool,
}

/// What cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// A directory cannot be entered on one of the sides. The comparison goes on behind it.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The run was asked to stop. Nothing follows.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// How an entry changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is there on both sides. Neither is content compared where the kind differs, nor what lay in a
    /// directory that is none any more.
    Changed {
        /// It is of another kind.
        kind: bool,
        /// It is a file with other content.
        content: bool,
        /// It has other metadata; a directory also when anything below it changed. Only on request, and not
        /// told of files with other content.
        metadata: bool,
        /// The content differs although all metadata is the same: a sign of a failing disk.
        bit_rot: bool,
    },
}

impl fmt::Display for Mark {
    /// restic's letters: `+`, `-`, or some of `T`, `M`, `?`, `U`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Added => f.pad("+"),
            Self::Removed => f.pad("-"),
            Self::Changed { kind, content, metadata, bit_rot } => {
                let letters = [(kind, "T"), (content, "M"), (bit_rot, "?"), (metadata, "U")];
                f.pad(
                    &letters.into_iter().filter(|(is, _)| *is).map(|(_, letter)| letter).collect::<String>(),
                )
            }
        }
    }
}

/// An entry that differs.
#[derive(Debug, Clone)]
pub struct Change {
    /// Where, from the roots that are compared.
    pub path: PathBuf,
    /// How.
    pub mark: Mark,
    /// The entry as it was.
    pub old: Option<Node>,
    /// The entry as it is.
    pub new: Option<Node>,
}

impl Change {
    /// Whether the entry is a directory, or was one if it is gone.
    pub fn is_dir(&self) -> bool {
        self.new.as_ref().or(self.old.as_ref()).is_some_and(Node::is_dir)
    }
}

/// What differs, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffStatistics {
    /// Files with other content.
    pub changed_files: u64,
    /// What is new.
    pub added: Tally,
    /// What is gone.
    pub removed: Tally,
    /// Blobs among them that no index lists; their bytes are missing.
    pub unknown_blobs: u64,
    /// Equal directories that could not be read; what they share with the rest counts as new or gone. Each was
    /// told as a warning.
    pub unreadable: u64,
}

/// One side's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// All other entries.
    pub others: u64,
    /// Blobs of file content that the other side has nowhere.
    pub data_blobs: u64,
    /// Directories' blobs that the other side has nowhere.
    pub tree_blobs: u64,
    /// Plain bytes of these blobs.
    pub bytes: u64,
}

impl Tally {
    fn add_entry(&mut self, node: &Node) {
        if node.is_file() {
            self.files += 1;
        } else if node.is_dir() {
            self.dirs += 1;
        } else {
            self.others += 1;
        }
    }
}

/// Compares two trees; paths begin with `/`.
///
/// ```
/// use repo_core::ops::query::diff::{DiffOptions, diff};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// # let note = repo_core::fs::source::StreamSource::new("/list.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/list.txt".into()], &Default::default())?;
/// # let [old, new] = &repo_core::snapshots::list(&context, &repository)?[..] else { unreachable!() };
///
/// let reader = repository.reader(&context)?;
/// for change in diff(&context, &reader, old.snapshot.tree, new.snapshot.tree, &DiffOptions::default()) {
///     let change = change?;
///     println!("{} {}", change.mark, change.path.display()); // - /note.txt, + /list.txt
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn diff<'a>(
    context: &'a Context,
    reader: &'a Reader,
    old: TreeId,
    new: TreeId,
    options: &DiffOptions,
) -> Diff<'a> {
    let set = || BlobSet::new(reader.index().clone());
    let mut diff = Diff {
        context,
        reader,
        metadata: options.metadata,
        levels: Vec::new(),
        pending: None,
        is_over: false,
        statistics: DiffStatistics::default(),
        before: set(),
        after: set(),
        equal: HashSet::new(),
    };
    diff.before.insert(&old.into());
    diff.after.insert(&new.into());
    if old != new {
        diff.pending = Some(Pending { path: "/".into(), old: Side::Tree(old), new: Side::Tree(new) });
    }
    diff
}

/// The stream of changes that [`diff`] gives, and what is counted on the way.
#[derive(Debug)]
pub struct Diff<'a> {
    context: &'a Context,
    reader: &'a Reader,
    metadata: bool,
    levels: Vec<Level>,
    /// The directory to enter next.
    pending: Option<Pending>,
    is_over: bool,
    statistics: DiffStatistics,
    /// Blobs of compared directories as they were and as they are.
    before: BlobSet,
    after: BlobSet,
    /// Directories that are the same on both sides.
    equal: HashSet<TreeId>,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    old: Peekable<vec::IntoIter<Node>>,
    new: Peekable<vec::IntoIter<Node>>,
}

#[derive(Debug)]
struct Pending {
    path: PathBuf,
    old: Side,
    new: Side,
}

/// A directory on one side.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// It is not there.
    Absent,
    /// It is there, but names no tree.
    Broken,
    Tree(TreeId),
}

impl Side {
    fn of(node: Option<&Node>) -> Self {
        match node {
            Some(node) if node.is_dir() => node.subtree.map_or(Self::Broken, Self::Tree),
            _ => Self::Absent,
        }
    }
}

impl Iterator for Diff<'_> {
    type Item = Result<Change, DiffError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            if let Err(cancelled) = self.context.cancel.check() {
                self.is_over = true;
                return Some(Err(cancelled.into()));
            }
            if let Some(pending) = self.pending.take()
                && let Err(error) = self.enter(pending)
            {
                return Some(Err(error.into()));
            }
            let Some(level) = self.levels.last_mut() else { break };
            let (old, new) = level.next_pair();
            let Some(name) = old.as_ref().or(new.as_ref()).map(|node| &node.name) else {
                self.levels.pop();
                continue;
            };
            let path = walk::child_path(&level.path, name);
            if let Some(change) = self.compare(path, old, new) {
                return Some(Ok(change));
            }
        }
        self.is_over = true;
        None
    }
}

impl Level {
    /// The next name's entries on both sides.
    fn next_pair(&mut self) -> (Option<Node>, Option<Node>) {
        match (self.old.peek(), self.new.peek()) {
            (Some(old), Some(new)) if old.name < new.name => (self.old.next(), None),
            (Some(old), Some(new)) if old.name > new.name => (None, self.new.next()),
            _ => (self.old.next(), self.new.next()),
        }
    }
}

impl Diff<'_> {
    /// Counts what only one of the sides has. Goes through the rest of the changes first, and returns the first
    /// of their errors.
    ///
    /// Reads the directories that are equal on both sides, if anything differs at all: a blob that is new in one
    /// place may be old in another.
    pub fn finish(mut self) -> Result<DiffStatistics, DiffError> {
        for change in self.by_ref() {
            change?;
        }
        self.context.cancel.check()?;
        let Self { context, reader, mut statistics, before, after, equal, .. } = self;
        let lacks = |one: &BlobSet, other: &BlobSet| one.iter().any(|blob| !other.contains(&blob));
        if !lacks(&before, &after) && !lacks(&after, &before) {
            return Ok(statistics);
        }
        let (common, unreadable) = (BlobSet::new(reader.index().clone()), AtomicU64::new(0));
        reach(context, reader, equal, &Mutex::default(), |reached| {
            common.insert(&reached.id.into());
            match reached.tree {
                Ok(tree) => tree.nodes.iter().for_each(|node| add_blobs(&common, node)),
                Err(error) => {
                    context.tell(&Event::Warning { error: &error });
                    unreadable.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        statistics.unreadable = unreadable.into_inner();
        for (one, other, is_new) in [(&before, &after, false), (&after, &before, true)] {
            for blob in one.iter().filter(|blob| !other.contains(blob) && !common.contains(blob)) {
                statistics.add_blob(reader, &blob, is_new);
            }
        }
        Ok(statistics)
    }

    fn enter(&mut self, pending: Pending) -> Result<(), WalkError> {
        let Pending { path, old, new } = pending;
        if self.levels.len() >= limits::TREE_DEPTH_MAX {
            return Err(WalkError::TooDeep { path });
        }
        let (old, new) = (self.nodes(&path, old)?, self.nodes(&path, new)?);
        self.levels.push(Level { path, old, new });
        Ok(())
    }

    /// The entries of a directory by name. Old programs did not always sort them.
    fn nodes(&self, path: &Path, side: Side) -> Result<Peekable<vec::IntoIter<Node>>, WalkError> {
        let tree = match side {
            Side::Absent => return Ok(Vec::new().into_iter().peekable()),
            Side::Broken => return Err(WalkError::NoTree { path: path.to_owned() }),
            Side::Tree(tree) => tree,
        };
        let read = |source| WalkError::Read { path: path.to_owned(), tree, source: Box::new(source) };
        let mut nodes = self.reader.tree(tree).map_err(read)?.nodes;
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes.into_iter().peekable())
    }

    /// Compares, counts, and remembers the directory to enter next.
    fn compare(&mut self, path: PathBuf, mut old: Option<Node>, mut new: Option<Node>) -> Option<Change> {
        if let Some(node) = &old {
            add_blobs(&self.before, node);
        }
        if let Some(node) = &new {
            add_blobs(&self.after, node);
        }
        let sides = (Side::of(old.as_ref()), Side::of(new.as_ref()));
        let mark = match (&mut old, &mut new) {
            (Some(old), Some(new)) => {
                let mark = changed(old, new, self.metadata);
                let content = matches!(mark, Some(Mark::Changed { content: true, .. }));
                self.statistics.changed_files += u64::from(content);
                mark
            }
            (Some(old), None) => {
                self.statistics.removed.add_entry(old);
                Some(Mark::Removed)
            }
            (None, Some(new)) => {
                self.statistics.added.add_entry(new);
                Some(Mark::Added)
            }
            (None, None) => None,
        };
        match sides {
            (Side::Tree(a), Side::Tree(b)) if a == b => self.equal.extend([a]),
            // What lay in a directory that is now something else is not told.
            (Side::Absent, Side::Absent) => {}
            (Side::Absent, _) if old.is_some() => {}
            (_, Side::Absent) if new.is_some() => {}
            (old, new) => self.pending = Some(Pending { path: path.clone(), old, new }),
        }
        mark.map(|mark| Change { path, mark, old, new })
    }
}

/// How an entry that is there on both sides differs. Takes nothing away; content is only set aside meanwhile.
fn changed(old: &mut Node, new: &mut Node, with_metadata: bool) -> Option<Mark> {
    let kind = old.kind != new.kind;
    let blobs = |node: &Node| node.content.clone().unwrap_or_default();
    let content = old.is_file() && new.is_file() && blobs(old) != blobs(new);
    let is_same_otherwise = (content || with_metadata) && {
        let kept = (old.content.take(), new.content.take());
        let is_same = old.is_same(new);
        (old.content, new.content) = kept;
        is_same
    };
    let bit_rot = content && is_same_otherwise;
    let metadata = with_metadata && !content && !is_same_otherwise;
    (kind || content || metadata).then_some(Mark::Changed { kind, content, metadata, bit_rot })
}

/// Adds the blobs that an entry names: a file's content, a directory's tree.
fn add_blobs(set: &BlobSet, node: &Node) {
    if node.is_file() {
        for id in node.content.iter().flatten() {
            set.insert(&BlobId::from(*id));
        }
    }
    if let Some(tree) = node.subtree.filter(|_| node.is_dir()) {
        set.insert(&tree.into());
    }
}

impl DiffStatistics {
    fn add_blob(&mut self, reader: &Reader, blob: &BlobId, is_new: bool) {
        let tally = if is_new { &mut self.added } else { &mut self.removed };
        match blob.kind {
            BlobKind::Data => tally.data_blobs += 1,
            BlobKind::Tree => tally.tree_blobs += 1,
        }
        match reader.index().opened_len(blob) {
            Some(len) => tally.bytes += len,
            None => self.unknown_blobs += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::NodeKind;
    use crate::id::Id;

    #[test]
    fn entries_on_both_sides_are_told_apart_by_kind_content_and_metadata() {
        let node = |kind, blobs: &[u8], size| Node {
            content: Some(blobs.iter().map(|number| Id::new([*number; 32]).into()).collect()),
            size,
            ..Node::new("a", kind)
        };
        let check = |mut old: Node, mut new: Node, plain: &str, with_metadata: &str| {
            let mut mark = |metadata| {
                changed(&mut old, &mut new, metadata).map_or_else(String::new, |mark| mark.to_string())
            };
            assert_eq!([mark(false), mark(true)], [plain, with_metadata]);
        };
        let (file, link) = (NodeKind::File, NodeKind::Symlink);
        check(node(file.clone(), &[1], 5), node(file.clone(), &[1], 5), "", "");
        check(node(file.clone(), &[1], 5), node(file.clone(), &[1], 6), "", "U");
        check(node(file.clone(), &[1], 5), node(file.clone(), &[1, 2], 6), "M", "M");
        check(node(file.clone(), &[1], 5), node(file.clone(), &[2], 5), "M?", "M?");
        check(node(file.clone(), &[], 5), Node { content: None, ..node(file.clone(), &[], 5) }, "", "");
        check(node(file, &[1], 5), node(link, &[], 5), "T", "TU");
    }

    #[test]
    fn marks_read_like_restics() {
        let changed = |kind, content, metadata, bit_rot| Mark::Changed { kind, content, metadata, bit_rot };
        let check = |mark: Mark, expected| assert_eq!(format!("{mark:<3}|"), expected);
        check(Mark::Added, "+  |");
        check(Mark::Removed, "-  |");
        check(changed(false, true, false, false), "M  |");
        check(changed(false, true, false, true), "M? |");
        check(changed(true, false, true, false), "TU |");
        check(changed(false, false, true, false), "U  |");
    }
}
