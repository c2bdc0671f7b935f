//! When a file counts as unchanged since a snapshot read it.
//!
//! In: what the machine says now, and the node that was recorded. Out: whether the content is surely the same. Pure.

use std::time::Duration;

use crate::format::{Node, NodeKind};
use crate::time::{Time, Timestamp, Zone};

use super::EntryMeta;

/// Clocks of file systems advance in steps: a change right after a file was read may bear the time before.
const GRAIN: Duration = Duration::from_millis(10);
/// The step of file systems that keep whole seconds only (FAT: two).
const COARSE_GRAIN: Duration = Duration::from_secs(2);

/// When a file counts as unchanged: type, size and time of its last change always count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeDetection {
    /// The time of the last metadata change does not count.
    pub ignore_ctime: bool,
    /// Neither the inode number nor the time of the last metadata change count.
    pub ignore_inode: bool,
}

impl ChangeDetection {
    /// Whether a file's content is surely what was recorded, so that it need not be read.
    ///
    /// `read_at` is when the reading began in which it was recorded: what was changed right before that, or later, may
    /// have been changed again since.
    pub fn has_content_of(self, meta: &EntryMeta, node: &Node, zone: &Zone, read_at: Timestamp) -> bool {
        let ignore_ctime = self.ignore_ctime || self.ignore_inode;
        node.kind == NodeKind::File
            && meta.kind == NodeKind::File
            && node.content.is_some()
            && node.size == meta.size
            && is_same_time(meta.mtime, node.mtime, zone)
            && (ignore_ctime || is_same_time(meta.ctime, node.ctime, zone))
            && (self.ignore_inode || node.inode == meta.inode)
            && !is_racy(meta, read_at)
    }
}

/// Whether an instant was recorded as this time.
pub(crate) fn is_same_time(now: Timestamp, recorded: Time, zone: &Zone) -> bool {
    zone.at(now).clamp_year().instant == recorded.instant
}

/// Whether an entry may have changed within the clock's grain after it was read.
pub(crate) fn is_racy(meta: &EntryMeta, read_at: Timestamp) -> bool {
    let whole_seconds = meta.mtime.nanos == 0 && meta.ctime.nanos == 0;
    let grain = if whole_seconds { COARSE_GRAIN } else { GRAIN };
    meta.ctime.max(meta.mtime).saturating_add(grain) >= read_at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::metadata::{Atime, Names, to_node};

    #[test]
    fn whatever_may_hide_a_change_counts_as_one() {
        let at = |seconds| Timestamp { seconds, nanos: 5 };
        let meta = EntryMeta { inode: 7, ctime: at(20), ..EntryMeta::file(42, at(10)) };
        let mut node = to_node(b"n".to_vec(), &meta, Vec::new(), &Zone::UTC, &Names::none(), Atime::AsMtime);
        let all = ChangeDetection::default();
        let no_ctime = ChangeDetection { ignore_ctime: true, ..all };
        let no_inode = ChangeDetection { ignore_inode: true, ..all };
        let check = |node: &Node, meta: &EntryMeta, read_at, expected: [bool; 3]| {
            let found =
                [all, no_ctime, no_inode].map(|how| how.has_content_of(meta, node, &Zone::UTC, at(read_at)));
            assert_eq!(found, expected, "{meta:?}");
        };
        check(&node, &meta, 30, [true; 3]);
        check(&node, &meta, 20, [false; 3]);
        check(&node, &EntryMeta { size: 41, ..meta.clone() }, 30, [false; 3]);
        check(&node, &EntryMeta { mtime: at(11), ..meta.clone() }, 30, [false; 3]);
        check(&node, &EntryMeta { ctime: at(21), ..meta.clone() }, 30, [false, true, true]);
        check(&node, &EntryMeta { inode: 8, ..meta.clone() }, 30, [false, false, true]);
        check(&node, &EntryMeta { kind: NodeKind::Fifo, ..meta.clone() }, 30, [false; 3]);
        node.content = None;
        check(&node, &meta, 30, [false; 3]);
    }
}
