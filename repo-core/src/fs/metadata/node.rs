//! What the machine says about an entry ⇄ a node of a tree.
//!
//! In: metadata of an entry. Out: the node that restic writes for it, but for content and subtree. Which field
//! is written for which kind decides the names of all trees above, so nothing here is a matter of taste.

use crate::format::{Mode, Node, NodeKind, Xattr};
use crate::time::{Timestamp, Zone};

use super::{EntryMeta, Names};

/// Which access time a node gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Atime {
    /// The time of the last change, so that reading a file does not change its node.
    #[default]
    AsMtime,
    /// The source's access time.
    Keep,
}

/// The node of an entry. A file's content is empty and a directory's subtree missing until they are known.
///
/// Years outside 0 to 9999 are moved to that border; times show the zone's clock at their instant.
///
/// ```
/// use repo_core::fs::metadata::{Atime, EntryMeta, Names, to_node};
/// use repo_core::time::{Timestamp, Zone};
///
/// let meta = EntryMeta::symlink("somewhere", Timestamp { seconds: 0, nanos: 5 });
/// let node = to_node(b"link".to_vec(), &meta, Vec::new(), &Zone::UTC, &Names::none(), Atime::AsMtime);
/// assert_eq!(node.mtime.to_string(), "1970-01-01T00:00:00.000000005Z");
/// ```
pub fn to_node(
    name: Vec<u8>,
    meta: &EntryMeta,
    xattrs: Vec<Xattr>,
    zone: &Zone,
    names: &Names,
    atime: Atime,
) -> Node {
    let time = |instant: Timestamp| zone.at(instant).clamp_year();
    let mtime = time(meta.mtime);
    let is_file = meta.kind == NodeKind::File;
    let is_device = matches!(meta.kind, NodeKind::Device | NodeKind::CharDevice);
    Node {
        name,
        kind: meta.kind.clone(),
        mode: Mode::new(&meta.kind, meta.permissions),
        mtime,
        atime: if atime == Atime::Keep { time(meta.atime) } else { mtime },
        ctime: if meta.ctime == meta.mtime { mtime } else { time(meta.ctime) },
        uid: meta.uid,
        gid: meta.gid,
        user: names.user(meta.uid),
        group: names.group(meta.gid),
        inode: meta.inode,
        device_id: meta.device,
        size: if is_file { meta.size } else { 0 },
        links: if is_file || is_device || meta.kind == NodeKind::Symlink { meta.links } else { 0 },
        link_target: meta.link_target.clone(),
        xattrs,
        device: if is_device { meta.rdev } else { 0 },
        content: is_file.then(Vec::new),
        subtree: None,
        error: String::new(),
        generic_attributes: Vec::new(),
        unknown: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(kind: NodeKind) -> Node {
        let at = |seconds| Timestamp { seconds, nanos: 5 };
        let meta = EntryMeta {
            atime: at(2),
            ctime: at(3),
            inode: 11,
            device: 12,
            rdev: 259,
            links: 2,
            size: 99,
            uid: 7,
            gid: 8,
            permissions: 0o600,
            kind,
            ..EntryMeta::file(0, at(1))
        };
        let names = Names::fixed([(7, "ann")], []);
        to_node(b"n".to_vec(), &meta, Vec::new(), &Zone::UTC, &names, Atime::AsMtime)
    }

    #[test]
    fn every_kind_gets_the_fields_that_restic_writes() {
        let check = |kind, size, links, device, has_content| {
            let node = full(kind);
            let found = (node.size, node.links, node.device, node.content.is_some());
            assert_eq!(found, (size, links, device, has_content), "{:?}", node.kind);
        };
        check(NodeKind::File, 99, 2, 0, true);
        check(NodeKind::Dir, 0, 0, 0, false);
        check(NodeKind::Symlink, 0, 2, 0, false);
        check(NodeKind::Device, 0, 2, 259, false);
        check(NodeKind::CharDevice, 0, 2, 259, false);
        check(NodeKind::Fifo, 0, 0, 0, false);
    }

    #[test]
    fn access_time_is_the_time_of_change_unless_wanted() {
        let node = full(NodeKind::File);
        assert_eq!(node.atime, node.mtime);
        assert_ne!(node.ctime, node.mtime);
        assert_eq!((&*node.user, &*node.group), ("ann", ""));
        let meta =
            EntryMeta { atime: Timestamp { seconds: 9, nanos: 0 }, ..EntryMeta::file(0, node.mtime.instant) };
        let node = to_node(Vec::new(), &meta, Vec::new(), &Zone::UTC, &Names::none(), Atime::Keep);
        assert_eq!(node.atime.instant.seconds, 9);
    }

    #[test]
    fn year_beyond_the_format_is_moved_to_its_border() {
        let meta = EntryMeta::file(0, Timestamp { seconds: 1 << 40, nanos: 0 });
        let node = to_node(Vec::new(), &meta, Vec::new(), &Zone::UTC, &Names::none(), Atime::AsMtime);
        assert_eq!(node.mtime.civil().year, 9999);
    }
}
