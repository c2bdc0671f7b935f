//! One entry of a snapshot: as a line of a listing, or as JSON.

use std::path::Path;

use repo_core::format::json::Object;
use repo_core::format::{Mode, Node, NodeKind};
use repo_core::time::Zone;

use super::amount::{bytes, date_time};
use super::escape::visible;

/// How entries are shown.
#[derive(Debug, Clone)]
pub struct EntryStyle {
    /// With mode, owner, size and time.
    pub long: bool,
    /// Sizes with units.
    pub human_readable: bool,
    /// Names are made harmless for a terminal; programs get them as they are.
    pub escaped: bool,
    /// Whose clock times are shown on.
    pub zone: Zone,
}

impl EntryStyle {
    /// The line of an entry, without its line end. Names may be any bytes.
    pub fn line(&self, path: &[u8], node: &Node) -> Vec<u8> {
        let name = |bytes: &[u8]| if self.escaped { visible(bytes).into_bytes() } else { bytes.to_vec() };
        if !self.long {
            return name(path);
        }
        let size = if self.human_readable { bytes(node.size) } else { format!("{:6}", node.size) };
        let time = date_time(self.zone.at(node.mtime.instant));
        let mut line = format!("{} {:5} {:5} {size} {time} ", mode(node), node.uid, node.gid).into_bytes();
        line.extend(name(path));
        if node.kind == NodeKind::Symlink {
            line.extend(b" -> ");
            line.extend(name(&node.link_target));
        }
        line
    }
}

/// Mode with the bits of the kind, which some programs do not store.
pub fn mode(node: &Node) -> Mode {
    Mode(node.mode.0 | Mode::new(&node.kind, 0).0)
}

/// The entry as `ls --json` prints it.
pub fn json(out: &mut Vec<u8>, path: &Path, node: &Node) {
    let mut object = Object::begin(out);
    object.string("name", &node.name).string("type", node.kind.word());
    object.string("path", path.as_os_str().as_encoded_bytes());
    object.number("uid", node.uid).number("gid", node.gid);
    if node.is_file() {
        object.number("size", node.size);
    }
    object.number_unless_zero("mode", node.mode.0).string("permissions", node.mode.to_string());
    object.time("mtime", node.mtime).time("atime", node.atime).time("ctime", node.ctime);
    object.number_unless_zero("inode", node.inode);
    object.string("message_type", "node").string("struct_type", "node");
    object.end();
}

#[cfg(test)]
mod tests {
    use repo_core::time::{Time, Timestamp};

    use super::*;

    #[test]
    fn lines_look_like_restics() {
        let mut node = Node::new("link", NodeKind::Symlink);
        node.mode = Mode(0o777 | Mode::SYMLINK);
        node.mtime = Time::utc(Timestamp { seconds: 1_795_223_731, nanos: 0 });
        node.link_target = b"a\nb".to_vec();
        let check = |long, human_readable, escaped, expected: &str| {
            let style = EntryStyle { long, human_readable, escaped, zone: Zone::UTC };
            assert_eq!(String::from_utf8(style.line(b"/src/link", &node)).unwrap(), expected);
        };
        check(false, false, true, "/src/link");
        check(true, false, true, "Lrwxrwxrwx     0     0      0 2026-11-21 01:15:31 /src/link -> \"a\\nb\"");
        check(true, true, false, "Lrwxrwxrwx     0     0 0 B 2026-11-21 01:15:31 /src/link -> a\nb");
    }
}
