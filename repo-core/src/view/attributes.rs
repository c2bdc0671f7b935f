//! What `stat` shows of an item.

use crate::format::{Node, NodeKind};
use crate::time::Timestamp;

/// What is known about an item without reading its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: NodeKind,
    /// The twelve bits of `chmod`.
    pub permissions: u32,
    /// Length in bytes of a file or of where a link points to.
    pub len: u64,
    /// Number of names; at least 1.
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of content or metadata.
    pub ctime: Timestamp,
    /// The device's number, for devices.
    pub device: u64,
}

impl Attributes {
    pub(super) fn of(node: &Node) -> Self {
        let len = match node.kind {
            NodeKind::File => node.size,
            NodeKind::Symlink => node.link_target.len() as u64,
            _ => 0,
        };
        Self {
            kind: node.kind.clone(),
            permissions: node.mode.unix_permissions(),
            len,
            links: if node.is_dir() { 2 } else { node.links.max(1) },
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime.instant,
            atime: node.atime.instant,
            ctime: node.ctime.instant,
            device: node.device,
        }
    }

    /// A made-up folder.
    pub(super) fn folder(time: Timestamp, owner: (u32, u32)) -> Self {
        Self::made_up(NodeKind::Dir, 0o555, 0, time, owner)
    }

    /// A made-up link to a snapshot of that time.
    pub(super) fn link(len: usize, time: Timestamp, owner: (u32, u32)) -> Self {
        Self::made_up(NodeKind::Symlink, 0o777, len as u64, time, owner)
    }

    /// The root of a snapshot of that time.
    pub(super) fn snapshot(time: Timestamp, owner: (u32, u32)) -> Self {
        Self { links: 2, ..Self::folder(time, owner) }
    }

    fn made_up(kind: NodeKind, permissions: u32, len: u64, time: Timestamp, (uid, gid): (u32, u32)) -> Self {
        Self { kind, permissions, len, links: 1, uid, gid, mtime: time, atime: time, ctime: time, device: 0 }
    }

    pub(super) fn owned_by(self, (uid, gid): (u32, u32)) -> Self {
        Self { uid, gid, ..self }
    }
}
