//! What was there before: the parent snapshot, and when a file counts as unchanged.

use std::cmp::Ordering;
use std::mem;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::context::{Change, Context, Event};
use crate::format::{Node, NodeKind, Snapshot};
use crate::fs::metadata::{ChangeDetection, EntryMeta, is_racy, is_same_time};
use crate::id::{BlobId, SnapshotId, TreeId};
use crate::ops::archive::options::Origin;
use crate::ops::archive::report::ParentUnreadable;
use crate::repository::{Reader, Repository};
use crate::snapshots::{self, Filter, GroupBy, SelectError, Stored, Wanted};
use crate::time::{Timestamp, Zone};
use crate::walk::Ahead;

/// Which snapshot to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParentChoice {
    /// The newest one that belongs to the same group and covers all targets, if any.
    Newest(GroupBy),
    /// This one.
    This(Wanted),
    /// None: every file is read.
    None,
}

impl Default for ParentChoice {
    fn default() -> Self {
        Self::Newest(GroupBy::default())
    }
}

/// Finds the parent. Not finding one is an error only if one was named.
pub(super) fn choose_parent(
    context: &Context,
    repository: &Repository,
    new: &Snapshot,
    choice: &ParentChoice,
) -> Result<Option<Stored>, SelectError> {
    match choice {
        ParentChoice::None => Ok(None),
        ParentChoice::This(wanted) => {
            snapshots::find(context, repository, wanted, &Filter::default()).map(Some)
        }
        ParentChoice::Newest(by) => {
            let all = snapshots::list(context, repository)?;
            Ok(snapshots::find_parent(&all, new, *by, new.time).cloned())
        }
    }
}

/// The parent snapshot and its trees.
#[derive(Debug)]
pub(super) struct Parent {
    stored: Stored,
    reader: Reader,
    ahead: Mutex<Ahead>,
    context: Context,
    /// Files changed after this may have changed again after the parent read them.
    safe_before: Timestamp,
    /// Whether the same user made it on the same host, so that it saw the same attributes as we do.
    same_view: bool,
}

impl Parent {
    pub(super) fn new(context: &Context, reader: Reader, stored: Stored, origin: &Origin) -> Self {
        let Snapshot { summary, time, hostname, username, uid, .. } = &stored.snapshot;
        let start = summary.as_ref().map_or(*time, |summary| summary.backup_start);
        let same_view = *hostname == origin.hostname && *username == origin.username && *uid == origin.uid;
        let ahead = Mutex::new(Ahead::new());
        Self { reader, ahead, context: context.clone(), safe_before: start.instant, same_view, stored }
    }

    pub(super) fn id(&self) -> SnapshotId {
        self.stored.id
    }

    pub(super) fn tree(&self) -> TreeId {
        self.stored.snapshot.tree
    }

    /// The entries of one of its directories; nothing, and a warning, if they cannot be read.
    pub(super) fn dir(&self, tree: TreeId, path: &Path) -> ParentDir {
        match self.reader.tree(tree) {
            Ok(tree) => {
                let below = tree.nodes.iter().filter_map(|node| node.subtree);
                self.ahead.lock().unwrap_or_else(PoisonError::into_inner).expect(&self.reader, below);
                ParentDir::new(tree.nodes)
            }
            Err(source) => {
                let error = ParentUnreadable { path: path.to_owned(), source };
                self.context.tell(&Event::Warning { error: &error });
                ParentDir::default()
            }
        }
    }

    /// Whether a file's content is what the parent has, so that it need not be read.
    pub(super) fn has_content_of(
        &self,
        meta: &EntryMeta,
        node: &Node,
        zone: &Zone,
        change: ChangeDetection,
    ) -> bool {
        change.has_content_of(meta, node, zone, self.safe_before)
    }

    /// Whether an entry's extended attributes are surely those that the parent recorded.
    pub(super) fn has_xattrs_of(&self, meta: &EntryMeta, node: &Node, zone: &Zone) -> bool {
        self.same_view
            && node.inode == meta.inode
            && node.device_id == meta.device
            && is_same_time(meta.ctime, node.ctime, zone)
            && !is_racy(meta, self.safe_before)
    }

    /// Plain length in bytes of a blob that the repository has.
    pub(super) fn opened_len(&self, blob: &BlobId) -> Option<u64> {
        self.reader.index().opened_len(blob)
    }

    /// Whether all that an entry names itself is in the repository: a file's chunks, a directory's tree.
    pub(super) fn has_all_of(&self, node: &Node) -> bool {
        let tree = node.subtree.map(BlobId::from);
        tree.is_none_or(|tree| self.reader.index().contains(&tree)) && self.lost_blob(node).is_none()
    }

    /// A blob of a file's recorded content that the repository has lost.
    pub(super) fn lost_blob(&self, node: &Node) -> Option<BlobId> {
        let content = node.content.as_deref().unwrap_or_default();
        content.iter().map(|id| BlobId::from(*id)).find(|blob| !self.reader.index().contains(blob))
    }
}

/// One directory of the parent.
#[derive(Debug, Default)]
pub(super) struct ParentDir {
    /// Sorted by name.
    nodes: Vec<Node>,
    /// The first one that is not before the last name asked for.
    next: usize,
}

impl ParentDir {
    fn new(mut nodes: Vec<Node>) -> Self {
        // Sorted already, but for what some old versions wrote.
        if !nodes.is_sorted_by(|a, b| a.name <= b.name) {
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Self { nodes, next: 0 }
    }

    /// Whether there was nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Takes an entry out. Names are asked for in order, each once.
    pub(super) fn take(&mut self, name: &[u8]) -> Option<Node> {
        while let Some(node) = self.nodes.get_mut(self.next) {
            match node.name.as_slice().cmp(name) {
                Ordering::Less => self.next += 1,
                Ordering::Equal => {
                    self.next += 1;
                    return Some(mem::replace(node, Node::new(Vec::new(), NodeKind::Irregular)));
                }
                Ordering::Greater => break,
            }
        }
        None
    }
}

/// How an entry compares with the parent's.
pub(super) fn compare(new: &Node, old: Option<&Node>) -> Change {
    match old {
        None => Change::New,
        Some(old) if new.is_same(old) => Change::Unchanged,
        Some(_) => Change::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_parent_are_found_whatever_came_and_went_between_them() {
        let named = |name: &str| Node::new(name, NodeKind::Fifo);
        let mut dir = ParentDir::new(["d", "b", "a", "f"].map(named).into());
        let mut found = |name: &str| dir.take(name.as_bytes()).map(|node| node.name);
        let asked = ["a", "aa", "d", "e", "f", "g"];
        let expected = [Some("a"), None, Some("d"), None, Some("f"), None];
        assert_eq!(asked.map(&mut found), expected.map(|name| name.map(|name| name.as_bytes().to_vec())));
    }
}
