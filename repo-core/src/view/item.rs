//! One thing in a view, and the number that stands for it.
//!
//! The numbers come from what an item is and where it stands, so they are the same whenever and by whomever the
//! repository is shown. Names of one file (hard links) have one number, as long as they hold the same. A snapshot
//! that stands in several places has numbers of its own in each: nobody can be in a folder by two ways.

use std::path::PathBuf;
use std::sync::Arc;

use crate::format::Node;
use crate::hash::sha256;
use crate::id::TreeId;
use crate::time::Timestamp;

use super::folder::{Folder, os};
use super::layout::Spot;

/// One thing in a view. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Item {
    identity: u128,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// A made-up folder, by its path without a leading slash.
    MadeUp(Arc<str>),
    /// A made-up link beside the snapshot that it leads to.
    Link { target: Arc<str>, time: Timestamp },
    /// The root of a snapshot or a stored directory.
    Dir(Arc<Dir>),
    /// Anything else that is stored, by its number in a directory.
    Entry(Arc<Dir>, u32),
}

/// A stored directory.
#[derive(Debug)]
pub(super) struct Dir {
    identity: u128,
    /// The identity of the snapshot's root.
    snapshot: u128,
    parent: u128,
    pub(super) tree: Option<TreeId>,
    /// From the root of the view, with a leading slash.
    pub(super) path: PathBuf,
    pub(super) depth: usize,
    /// When the snapshot was made.
    pub(super) time: Timestamp,
    /// Where it is listed; `None` for the root of a snapshot.
    pub(super) entry: Option<(Arc<Dir>, u32)>,
}

/// The number of the uppermost folder.
const ROOT: u64 = 1;

impl Item {
    /// Its number: never 0, and 1 for the root alone. Different items have different numbers but for a chance of
    /// 1 in 2⁶⁴; [`Self::identity`] tells.
    pub fn number(&self) -> u64 {
        number(self.identity)
    }

    /// The number of the folder that it lies in, if it is a folder; the root's own for the root.
    pub fn parent_number(&self) -> u64 {
        match &self.what {
            What::MadeUp(path) => number(of_folder(parent(path))),
            What::Dir(dir) => number(dir.parent),
            What::Link { .. } | What::Entry(..) => self.number(),
        }
    }

    /// What makes it this one; equal for two items that are the same.
    pub fn identity(&self) -> u128 {
        self.identity
    }

    /// Whether it can be looked into.
    pub fn is_folder(&self) -> bool {
        matches!(self.what, What::MadeUp(_) | What::Dir(_))
    }

    /// Whether it is made up, and so may be another one soon.
    pub fn is_made_up(&self) -> bool {
        matches!(self.what, What::MadeUp(_) | What::Link { .. })
    }

    /// The directory that lists it and its number there, if it is stored.
    pub(super) fn entry(&self) -> Option<(&Arc<Dir>, u32)> {
        match &self.what {
            What::Entry(dir, at) => Some((dir, *at)),
            What::Dir(dir) => dir.entry.as_ref().map(|(parent, at)| (parent, *at)),
            What::MadeUp(_) | What::Link { .. } => None,
        }
    }

    pub(super) fn made_up(path: &str) -> Self {
        Self { identity: of_folder(path), what: What::MadeUp(path.into()) }
    }

    pub(super) fn at_spot(path: &str, spot: &Spot) -> Self {
        match spot {
            Spot::Folder => Self::made_up(path),
            Spot::Link { target, time } => Self {
                identity: identity(of_folder(path), b'l', target.as_bytes()),
                what: What::Link { target: target.as_str().into(), time: *time },
            },
            Spot::Snapshot(stored) => {
                let above = of_folder(parent(path));
                let own = identity(above, b's', stored.id.0.as_bytes());
                let dir = Dir {
                    identity: own,
                    snapshot: own,
                    parent: above,
                    tree: Some(stored.snapshot.tree),
                    path: PathBuf::from("/").join(path),
                    depth: 0,
                    time: stored.snapshot.time.instant,
                    entry: None,
                };
                Self { identity: own, what: What::Dir(Arc::new(dir)) }
            }
        }
    }

    /// The entry with that number in a directory.
    pub(super) fn stored(dir: &Arc<Dir>, folder: &Folder, at: u32) -> Self {
        let Some(node) = folder.node(at) else {
            return Self { identity: dir.identity, what: What::Entry(dir.clone(), at) };
        };
        let identity = of_node(dir, node);
        if !node.is_dir() {
            return Self { identity, what: What::Entry(dir.clone(), at) };
        }
        let inner = Dir {
            identity,
            snapshot: dir.snapshot,
            parent: dir.identity,
            tree: node.subtree,
            path: dir.path.join(os(&node.name)),
            depth: dir.depth + 1,
            time: dir.time,
            entry: Some((dir.clone(), at)),
        };
        Self { identity, what: What::Dir(Arc::new(inner)) }
    }
}

/// Names of one file share an identity. What holds something else is another file, whatever it says about itself.
fn of_node(dir: &Dir, node: &Node) -> u128 {
    if node.links < 2 || node.is_dir() {
        return identity(dir.identity, b'n', &node.name);
    }
    let mut bytes = Vec::new();
    for number in [node.device_id, node.inode, node.size, node.device] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(node.kind.word().as_bytes());
    bytes.extend_from_slice(&node.link_target);
    for id in node.content.iter().flatten() {
        bytes.extend_from_slice(id.id().as_bytes());
    }
    identity(dir.snapshot, b'h', &bytes)
}

fn of_folder(path: &str) -> u128 {
    if path.is_empty() { u128::from(ROOT) } else { identity(0, b'f', path.as_bytes()) }
}

fn identity(base: u128, kind: u8, bytes: &[u8]) -> u128 {
    let mut text = Vec::with_capacity(17 + bytes.len());
    text.extend_from_slice(&base.to_le_bytes());
    text.push(kind);
    text.extend_from_slice(bytes);
    let hash = sha256(&text);
    let (half, _) = hash.as_bytes().split_at(16);
    half.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is as good as any")]
fn number(identity: u128) -> u64 {
    match identity as u64 {
        // Taken: 0 means nothing, and 1 is the root.
        0 | ROOT if identity != u128::from(ROOT) => u64::MAX,
        number => number,
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
