//! One stored directory as it is shown, and listings.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::format::{Node, NodeKind, Tree};

use super::ViewError;
use super::item::{Dir, Item};

/// The entries of a stored directory that can be shown, by name.
#[derive(Debug)]
pub(super) struct Folder {
    nodes: Vec<Node>,
    left_out: usize,
}

impl Folder {
    /// Leaves out what has no safe name, the second one of a name, and what is of no known kind.
    pub(super) fn new(tree: Tree) -> Self {
        let mut nodes = tree.nodes;
        let all = nodes.len();
        nodes.retain(|node| node.checked_name().is_ok() && is_known(&node.kind));
        if !nodes.is_sorted_by(|a, b| a.name < b.name) {
            nodes.sort_by(|a, b| a.name.cmp(&b.name)); // stable: of equal names the first one stays
            nodes.dedup_by(|later, first| later.name == first.name);
        }
        Self { left_out: all - nodes.len(), nodes }
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        let at = self.nodes.binary_search_by(|node| node.name.as_slice().cmp(name)).ok()?;
        u32::try_from(at).ok()
    }

    pub(super) fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(at).ok()?)
    }

    /// The entries behind that one.
    pub(super) fn after(&self, at: u32) -> &[Node] {
        usize::try_from(at).ok().and_then(|at| self.nodes.get(at + 1..)).unwrap_or_default()
    }

    pub(super) fn left_out(&self, path: &Path) -> Option<ViewError> {
        (self.left_out > 0).then(|| ViewError::LeftOut { path: path.to_owned(), count: self.left_out })
    }

    /// What it takes in memory, about. Names of owners are shared between neighbours.
    pub(super) fn bytes(&self) -> u64 {
        let mut seen = HashSet::new();
        let of = |node: &Node| {
            let xattrs = node.xattrs.iter().map(|xattr| {
                size_of_val(xattr) + xattr.name.len() + xattr.value.as_ref().map_or(0, Vec::len)
            });
            size_of::<Node>()
                + node.name.len()
                + node.link_target.len()
                + node.content.as_ref().map_or(0, |content| content.len() * 32)
                + xattrs.sum::<usize>()
        };
        let owners = self.nodes.iter().flat_map(|node| [&node.user, &node.group]);
        let owners: usize =
            owners.filter(|owner| seen.insert(Arc::as_ptr(owner))).map(|owner| owner.len()).sum();
        (self.nodes.iter().map(of).sum::<usize>() + owners) as u64
    }
}

fn is_known(kind: &NodeKind) -> bool {
    !matches!(kind, NodeKind::Irregular | NodeKind::Other(_))
}

pub(super) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// What a folder holds, by name, without `.` and `..`.
#[derive(Debug)]
pub struct Listing(Held);

#[derive(Debug)]
enum Held {
    MadeUp(Vec<(String, Item)>),
    Stored(Arc<Dir>, Arc<Folder>),
}

impl Listing {
    pub(super) fn made_up(children: impl Iterator<Item = (String, Item)>) -> Self {
        Self(Held::MadeUp(children.collect()))
    }

    pub(super) fn stored(dir: Arc<Dir>, folder: Arc<Folder>) -> Self {
        Self(Held::Stored(dir, folder))
    }

    /// How many.
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::MadeUp(children) => children.len(),
            Held::Stored(_, folder) => folder.nodes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of one.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn name(&self, at: usize) -> &[u8] {
        match &self.0 {
            Held::MadeUp(children) => children[at].0.as_bytes(),
            Held::Stored(_, folder) => &folder.nodes[at].name,
        }
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn item(&self, at: usize) -> Item {
        match &self.0 {
            Held::MadeUp(children) => children[at].1.clone(),
            Held::Stored(dir, folder) => {
                let at = u32::try_from(at).expect("a tree of 512 MiB has fewer than 2³² entries");
                Item::stored(dir, folder, at)
            }
        }
    }

    pub(super) fn node(&self, at: usize) -> Option<&Node> {
        match &self.0 {
            Held::MadeUp(_) => None,
            Held::Stored(_, folder) => folder.nodes.get(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_second_and_unknown_entries_are_left_out_and_counted() {
        let node = |name: &str, links: u64, kind: NodeKind| {
            let mut node = Node::new(name, kind);
            node.links = links;
            node
        };
        let nodes = vec![
            node("b", 1, NodeKind::File),
            node("a", 2, NodeKind::File),
            node("b", 3, NodeKind::Dir),
            node("..", 4, NodeKind::Dir),
            node("x/y", 5, NodeKind::File),
            node("odd", 6, NodeKind::Other("wormhole".into())),
        ];
        let folder = Folder::new(Tree { nodes });
        let shown: Vec<_> = folder.nodes.iter().map(|node| node.links).collect();
        assert_eq!((shown, folder.left_out), (vec![2, 1], 4));
        assert_eq!((folder.find(b"b"), folder.find(b".."), folder.find(b"odd")), (Some(1), None, None));
        assert_eq!(folder.after(0).len(), 1);
        assert!(folder.after(1).is_empty() && folder.after(u32::MAX).is_empty());
    }
}
