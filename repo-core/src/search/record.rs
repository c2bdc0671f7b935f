//! A directory ⇄ the rows that the search index keeps of it.
//!
//! In: a tree, and the numbers of its names and directories. Out: heads, which say what is listed and lead on, and blocks of
//! records, of which one is opened when an entry is wanted whole. Kept is what listings show, and a name for the content;
//! chunks and attributes are not. Refuses what it did not write. Pure.

use std::ops::Range;
use std::sync::Arc;

use crate::format::{Mode, Node, NodeKind};
use crate::id::{ID_LEN, Id, TreeId};
use crate::time::{Time, Timestamp};

/// The bytes are no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the search index is damaged")]
pub(crate) struct InvalidRows;

/// So many records make a block: about 6 KiB.
const BLOCK: usize = 64;

/// What a directory lists, in stored order. 24 bytes per entry.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Its number.
    pub(crate) number: u32,
    /// Which directory.
    pub(crate) tree: TreeId,
    /// Its entries.
    pub(crate) entries: Vec<Row>,
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The number of its name.
    pub(crate) name: u32,
    /// The number of its directory, if it is one.
    pub(crate) child: Option<u32>,
    /// In which block its record is.
    pub(crate) block: u32,
    start: u32,
    len: u32,
}

/// Rows that are being written.
#[derive(Debug)]
pub(crate) struct RowsWriter {
    count: usize,
    /// What each entry is called and leads to.
    pub(crate) heads: Vec<u8>,
    /// The records of the entries.
    pub(crate) blocks: Vec<Vec<u8>>,
}

impl RowsWriter {
    /// Begins the rows of a directory.
    pub(crate) fn new(tree: TreeId) -> Self {
        Self { count: 0, heads: tree.id().as_bytes().to_vec(), blocks: Vec::new() }
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, name: u32, child: Option<u32>, node: &Node) {
        if self.count.is_multiple_of(BLOCK) {
            self.blocks.push(Vec::new());
        }
        self.count += 1;
        let Some(block) = self.blocks.last_mut() else { return };
        let start = block.len();
        write_node(block, node);
        let len = block.len() - start;
        number(&mut self.heads, name.into());
        number(&mut self.heads, child.map_or(0, |child| u64::from(child) + 1));
        number(&mut self.heads, len as u64);
    }
}

impl Rows {
    /// Reads the heads back.
    pub(crate) fn parse(number: u32, heads: &[u8]) -> Result<Self, InvalidRows> {
        let mut reader = Bytes { left: heads };
        let tree = TreeId(reader.id()?);
        let (mut entries, mut start) = (Vec::new(), 0_u32);
        while !reader.left.is_empty() {
            if entries.len().is_multiple_of(BLOCK) {
                start = 0;
            }
            let block = u32::try_from(entries.len() / BLOCK).map_err(|_| InvalidRows)?;
            let name = reader.short()?;
            let child = match reader.number()? {
                0 => None,
                child => Some(u32::try_from(child - 1).map_err(|_| InvalidRows)?),
            };
            let len = reader.short()?;
            entries.push(Row { name, child, block, start, len });
            start = start.checked_add(len).ok_or(InvalidRows)?;
        }
        Ok(Self { number, tree, entries })
    }
}

impl Row {
    /// The entry, as far as it is kept, out of its block, and the name of its content. A directory's subtree is there.
    pub(crate) fn node(&self, block: &[u8], name: &[u8]) -> Result<(Node, Option<Id>), InvalidRows> {
        let record: Range<usize> = self.start as usize..self.start as usize + self.len as usize;
        read_node(&mut Bytes { left: block.get(record).ok_or(InvalidRows)? }, name)
    }
}

fn write_node(out: &mut Vec<u8>, node: &Node) {
    text(out, node.kind.word().as_bytes());
    number(out, node.mode.0.into());
    for time in [node.mtime, node.atime, node.ctime] {
        signed(out, time.instant.seconds);
        number(out, time.instant.nanos.into());
        signed(out, time.offset_seconds.into());
    }
    for value in
        [node.uid.into(), node.gid.into(), node.inode, node.device_id, node.size, node.links, node.device]
    {
        number(out, value);
    }
    for value in [node.user.as_bytes(), node.group.as_bytes(), &node.link_target] {
        text(out, value);
    }
    match node.content_id() {
        Some(id) => text(out, id.as_bytes()),
        None => text(out, b""),
    }
}

fn read_node(bytes: &mut Bytes<'_>, name: &[u8]) -> Result<(Node, Option<Id>), InvalidRows> {
    let kind = NodeKind::from_word(bytes.word()?);
    let mut node = Node::new(name, kind);
    node.mode = Mode(bytes.short()?);
    for time in [&mut node.mtime, &mut node.atime, &mut node.ctime] {
        let seconds = bytes.signed()?;
        let nanos = bytes.short()?;
        let offset_seconds = i32::try_from(bytes.signed()?).map_err(|_| InvalidRows)?;
        *time = Time { instant: Timestamp { seconds, nanos }, offset_seconds };
    }
    (node.uid, node.gid) = (bytes.short()?, bytes.short()?);
    for value in [&mut node.inode, &mut node.device_id, &mut node.size, &mut node.links, &mut node.device] {
        *value = bytes.number()?;
    }
    (node.user, node.group) = (Arc::from(bytes.word()?), Arc::from(bytes.word()?));
    node.link_target = bytes.text()?.to_vec();
    let content = match bytes.text()? {
        b"" => None,
        id => Some(Bytes { left: id }.id()?),
    };
    if node.is_dir() {
        node.subtree = content.map(TreeId);
    }
    Ok((node, content))
}

/// Seven bits per byte, the lowest first; the top bit says that more follow.
pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Small numbers of either sign take few bytes.
fn signed(out: &mut Vec<u8>, value: i64) {
    number(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Its length, then the bytes.
pub(crate) fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes that are taken off from the front.
pub(crate) struct Bytes<'a> {
    pub(crate) left: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(crate) fn number(&mut self) -> Result<u64, InvalidRows> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.left.split_first().ok_or(InvalidRows)?;
            self.left = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(InvalidRows)
    }

    fn short(&mut self) -> Result<u32, InvalidRows> {
        u32::try_from(self.number()?).map_err(|_| InvalidRows)
    }

    fn signed(&mut self) -> Result<i64, InvalidRows> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(crate) fn text(&mut self) -> Result<&'a [u8], InvalidRows> {
        let len = usize::try_from(self.number()?).map_err(|_| InvalidRows)?;
        let (text, rest) = self.left.split_at_checked(len).ok_or(InvalidRows)?;
        self.left = rest;
        Ok(text)
    }

    fn word(&mut self) -> Result<&'a str, InvalidRows> {
        std::str::from_utf8(self.text()?).map_err(|_| InvalidRows)
    }

    fn id(&mut self) -> Result<Id, InvalidRows> {
        let (id, rest) = self.left.split_first_chunk::<ID_LEN>().ok_or(InvalidRows)?;
        self.left = rest;
        Ok(Id::new(*id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::DataId;

    fn check(node: &Node) {
        let mut writer = RowsWriter::new(TreeId(Id::new([7; ID_LEN])));
        // More than a block.
        let expected: Vec<_> =
            (0..150).map(|number| (u32::MAX - number, (number % 2 == 0).then_some(number))).collect();
        for (name, child) in &expected {
            writer.add(*name, *child, node);
        }
        let rows = Rows::parse(3, &writer.heads).unwrap();
        assert_eq!(rows.entries.iter().map(|row| (row.name, row.child)).collect::<Vec<_>>(), expected);
        for row in &rows.entries {
            let (read, content) = row.node(&writer.blocks[row.block as usize], &node.name).unwrap();
            assert_eq!((&read, content), (&Node { content: None, ..node.clone() }, node.content_id()));
        }
    }

    #[test]
    fn what_listings_show_is_kept() {
        let time = |seconds, nanos| Time { instant: Timestamp { seconds, nanos }, offset_seconds: -3600 };
        let bare = |kind| Node {
            mode: Mode(0o644 | 1 << 31),
            mtime: time(1_700_000_000, 999_999_999),
            atime: time(-5, 1),
            ctime: time(i64::MAX, 0),
            uid: u32::MAX,
            gid: 1000,
            user: "ada".into(),
            inode: u64::MAX,
            size: 123_456_789_012,
            links: 2,
            ..Node::new(*b"\xffname", kind)
        };
        check(&Node { content: Some(vec![DataId(Id::new([1; ID_LEN]))]), ..bare(NodeKind::File) });
        check(&Node { subtree: Some(TreeId(Id::new([2; ID_LEN]))), ..bare(NodeKind::Dir) });
        check(&Node { link_target: b"../\xfe".to_vec(), ..bare(NodeKind::Symlink) });
        check(&Node { device: 7, ..bare(NodeKind::Other("door".to_owned())) });
        check(&Node::new(*b"", NodeKind::Fifo));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(heads: Vec<u8>, block: Vec<u8>) {
            if let Ok(rows) = Rows::parse(0, &[&[0; ID_LEN], &heads[..]].concat()) {
                for row in &rows.entries {
                    let _ = row.node(&block, b"name");
                }
            }
        }
    }
}
