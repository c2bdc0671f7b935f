//! One entry of a directory, as a tree blob holds it.
//!
//! In and out: the entry's JSON inside a tree. It is written exactly as restic writes it, because the tree's
//! id hangs on every byte. It is read whatever it says: names are checked where they are used, once, by
//! [`Node::checked_name`].

use std::sync::Arc;

use super::error::FormatError;
use super::json::{Array, Base64, Object, Reader, Unknown, Value, is_plain, write_escaped, write_id};
use super::mode::Mode;
use super::name::{NameError, checked_name, quote_name, unquote_name};
use crate::hash::{Hasher, sha256};
use crate::id::{DataId, Id, TreeId};
use crate::time::Time;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Device,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket; never archived, but old repositories may hold one.
    Socket,
    /// Something the writer did not know.
    Irregular,
    /// A word that this version does not know, kept as it is.
    Other(String),
}

impl NodeKind {
    /// The word in the tree.
    pub fn word(&self) -> &str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Device => "dev",
            Self::CharDevice => "chardev",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Irregular => "irregular",
            Self::Other(word) => word,
        }
    }

    /// The kind that a word names.
    pub fn from_word(word: &str) -> Self {
        match word {
            "file" => Self::File,
            "dir" => Self::Dir,
            "symlink" => Self::Symlink,
            "dev" => Self::Device,
            "chardev" => Self::CharDevice,
            "fifo" => Self::Fifo,
            "socket" => Self::Socket,
            "irregular" => Self::Irregular,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Xattr {
    /// The name's bytes, with its namespace.
    pub name: Vec<u8>,
    /// The value; `None` only in very old repositories, where it means empty.
    pub value: Option<Vec<u8>>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The raw bytes of its name: one path component when it is valid, anything when it is hostile.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Kind and permissions.
    pub mode: Mode,
    /// Last change of the content.
    pub mtime: Time,
    /// Last access; equal to `mtime` unless asked for.
    pub atime: Time,
    /// Last change of the content or the metadata.
    pub ctime: Time,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// The owner's name, empty if unknown.
    pub user: Arc<str>,
    /// The group's name, empty if unknown.
    pub group: Arc<str>,
    /// Inode number on the source.
    pub inode: u64,
    /// Device number of the file system it was on.
    pub device_id: u64,
    /// Length in bytes; files only.
    pub size: u64,
    /// Number of hard links; absent (zero) for directories and pipes.
    pub links: u64,
    /// The raw bytes a symbolic link points to.
    pub link_target: Vec<u8>,
    /// Extended attributes in the kernel's order.
    pub xattrs: Vec<Xattr>,
    /// The device's number, for devices.
    pub device: u64,
    /// The file's chunks in order; `None` for all that is no file.
    pub content: Option<Vec<DataId>>,
    /// The directory's entries; `None` for all that is no directory.
    pub subtree: Option<TreeId>,
    /// What went wrong when an old version read it.
    pub error: String,
    /// Operating-system specific attributes, as raw JSON, in the order read.
    pub generic_attributes: Unknown,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Unknown,
}

impl Node {
    /// A node of this name and kind, everything else zero, empty or absent.
    pub fn new(name: impl Into<Vec<u8>>, kind: NodeKind) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: Mode(0),
            mtime: Time::ZERO,
            atime: Time::ZERO,
            ctime: Time::ZERO,
            uid: 0,
            gid: 0,
            user: Arc::default(),
            group: Arc::default(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            link_target: Vec::new(),
            xattrs: Vec::new(),
            device: 0,
            content: None,
            subtree: None,
            error: String::new(),
            generic_attributes: Unknown::new(),
            unknown: Unknown::new(),
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == NodeKind::Dir
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == NodeKind::File
    }

    /// A name for what it holds, whatever its metadata: of a file the hash of its chunks' names, of a link that of where
    /// it points, of a directory its tree. `None` for all else, which holds nothing.
    ///
    /// Equal names mean equal content. Files that were cut in other ways have other names for the same content.
    pub fn content_id(&self) -> Option<Id> {
        match self.kind {
            NodeKind::File => {
                let mut hasher = Hasher::new();
                self.content.iter().flatten().for_each(|chunk| hasher.update(chunk.id().as_bytes()));
                Some(hasher.finish())
            }
            NodeKind::Symlink => Some(sha256(&self.link_target)),
            NodeKind::Dir => self.subtree.map(Into::into),
            _ => None,
        }
    }

    /// The name's bytes, if they are exactly one component of a path.
    ///
    /// This is the one place where names are judged; everything that makes a path asks here.
    pub fn checked_name(&self) -> Result<&[u8], NameError> {
        checked_name(&self.name)
    }

    /// Whether all fields are equal, times compared as instants whatever offset they are written with.
    pub fn is_same(&self, other: &Self) -> bool {
        let instants = |node: &Self| [node.mtime, node.atime, node.ctime].map(|time| time.instant);
        let numbers = |node: &Self| {
            [node.inode, node.device_id, node.size, node.links, node.device, node.uid.into(), node.gid.into()]
        };
        instants(self) == instants(other)
            && numbers(self) == numbers(other)
            && (&self.name, &self.kind, self.mode) == (&other.name, &other.kind, other.mode)
            && (&self.user, &self.group) == (&other.user, &other.group)
            && (&self.content, self.subtree) == (&other.content, other.subtree)
            && (&self.link_target, &self.xattrs) == (&other.link_target, &other.xattrs)
            && (&self.error, &self.unknown) == (&other.error, &other.unknown)
            && self.generic_attributes == other.generic_attributes
    }

    /// Appends the node's JSON, as it stands in a tree (section 6.2).
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        write_name(object.key("name"), &self.name);
        object.string("type", self.kind.word()).number_unless_zero("mode", self.mode.0);
        object.time("mtime", self.mtime).time("atime", self.atime).time("ctime", self.ctime);
        object.number("uid", self.uid).number("gid", self.gid);
        object.string_unless_empty("user", &*self.user).string_unless_empty("group", &*self.group);
        object.number_unless_zero("inode", self.inode).number_unless_zero("device_id", self.device_id);
        object.number_unless_zero("size", self.size).number_unless_zero("links", self.links);
        object.string_unless_empty("linktarget", &self.link_target);
        if str::from_utf8(&self.link_target).is_err() {
            object.base64("linktarget_raw", &self.link_target);
        }
        if !self.xattrs.is_empty() {
            write_xattrs(object.key("extended_attributes"), &self.xattrs);
        }
        if !self.generic_attributes.is_empty() {
            write_sorted(object.key("generic_attributes"), &self.generic_attributes);
        }
        object.number_unless_zero("device", self.device);
        write_content(object.key("content"), self.content.as_deref());
        object.id_if_some("subtree", self.subtree).string_unless_empty("error", &self.error);
        object.unknown(&self.unknown);
        object.end();
    }

    /// Reads a single node's JSON.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut json = Reader::new(text);
        let node = Owners::default().read_node(&mut json)?;
        json.end()?;
        Ok(node)
    }
}

fn write_name(out: &mut Vec<u8>, name: &[u8]) {
    out.push(b'"');
    if name.iter().all(|&byte| is_plain(byte)) {
        out.extend_from_slice(name); // nearly always
    } else {
        write_escaped(out, quote_name(name).as_bytes());
    }
    out.push(b'"');
}

fn write_xattrs(out: &mut Vec<u8>, xattrs: &[Xattr]) {
    let mut array = Array::begin(out);
    for xattr in xattrs {
        let mut object = Object::begin(array.element());
        object.string("name", &xattr.name);
        match &xattr.value {
            Some(value) => drop(object.base64("value", value)),
            None => object.key("value").extend_from_slice(b"null"),
        }
        object.end();
    }
    array.end();
}

/// Writes a map as Go does: keys ascending, of equal ones the last.
fn write_sorted(out: &mut Vec<u8>, fields: &Unknown) {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0)); // stable: equal keys stay in the order read
    let mut object = Object::begin(out);
    for (at, (key, value)) in sorted.iter().enumerate() {
        if sorted.get(at + 1).is_none_or(|next| next.0 != *key) {
            object.raw(key, value);
        }
    }
    object.end();
}

fn write_content(out: &mut Vec<u8>, content: Option<&[DataId]>) {
    let Some(ids) = content else { return out.extend_from_slice(b"null") };
    let mut array = Array::begin(out);
    for id in ids {
        write_id(array.element(), id.id());
    }
    array.end();
}

/// Reads nodes that share few owners: equal names in a row are one allocation.
#[derive(Default)]
pub(super) struct Owners {
    user: Arc<str>,
    group: Arc<str>,
}

impl Owners {
    pub(super) fn read_node(&mut self, json: &mut Reader<'_>) -> Result<Node, FormatError> {
        let mut node = Node::new(Vec::new(), NodeKind::Other(String::new()));
        let (mut target, mut raw_target) = (String::new(), Base64::default());
        json.object(|json, key| match key.name() {
            "name" => read_name(json, &mut node.name),
            "type" => json.set(&mut node.kind),
            "mode" => json.set(&mut node.mode.0),
            "mtime" => json.set(&mut node.mtime),
            "atime" => json.set(&mut node.atime),
            "ctime" => json.set(&mut node.ctime),
            "uid" => json.set(&mut node.uid),
            "gid" => json.set(&mut node.gid),
            "user" => shared(json, &mut self.user).map(|user| node.user = user),
            "group" => shared(json, &mut self.group).map(|group| node.group = group),
            "inode" => json.set(&mut node.inode),
            "device_id" => json.set(&mut node.device_id),
            "size" => json.set(&mut node.size),
            "links" => json.set(&mut node.links),
            "linktarget" => json.set(&mut target),
            "linktarget_raw" => json.set(&mut raw_target),
            "extended_attributes" => json.set(&mut node.xattrs),
            "generic_attributes" => read_map(json, &mut node.generic_attributes),
            "device" => json.set(&mut node.device),
            "content" => json.set(&mut node.content),
            "subtree" => json.set(&mut node.subtree),
            "error" => json.set(&mut node.error),
            _ => json.keep(key, &mut node.unknown),
        })?;
        node.link_target = if raw_target.0.is_empty() { target.into_bytes() } else { raw_target.0 };
        Ok(node)
    }
}

/// Reads an owner's name, and shares it with the node before if they are equal.
fn shared(json: &mut Reader<'_>, last: &mut Arc<str>) -> Result<Arc<str>, FormatError> {
    if json.null() {
        return Ok(Arc::default());
    }
    let text = json.string()?;
    if *text != **last {
        *last = Arc::from(&*text);
    }
    Ok(Arc::clone(last))
}

fn read_name(json: &mut Reader<'_>, name: &mut Vec<u8>) -> Result<(), FormatError> {
    if json.null() {
        return Ok(());
    }
    let at = json.at();
    *name = unquote_name(&json.string()?).ok_or(FormatError::Quoting { at })?;
    Ok(())
}

fn read_map(json: &mut Reader<'_>, map: &mut Unknown) -> Result<(), FormatError> {
    map.clear();
    if json.null() { Ok(()) } else { json.object(|json, key| json.keep(key, map)) }
}

impl Value for NodeKind {
    fn read(json: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self::from_word(&json.string()?))
    }
}

impl Value for Xattr {
    fn read(json: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (mut name, mut value) = (String::new(), None::<Base64>);
        json.object(|json, key| match key.name() {
            "name" => json.set(&mut name),
            "value" => json.set(&mut value),
            _ => json.skip(),
        })?;
        Ok(Self { name: name.into_bytes(), value: value.map(|value| value.0) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Id;
    use crate::time::Timestamp;

    fn parse(text: &str) -> Result<Node, FormatError> {
        Node::parse(text.as_bytes())
    }

    #[test]
    fn raw_target_replaces_the_text_one() {
        let node =
            |fields| parse(&format!(r#"{{"name":"l","type":"symlink",{fields}}}"#)).unwrap().link_target;
        assert_eq!(node(r#""linktarget":"a\ufffd","linktarget_raw":"Yf8=""#), b"a\xff");
        assert_eq!(node(r#""linktarget_raw":"Yf8=","linktarget":"a\ufffd""#), b"a\xff");
        assert_eq!(node(r#""linktarget":"b","linktarget_raw":"""#), b"b");
        assert_eq!(node(r#""linktarget":"b","linktarget_raw":null"#), b"b");
    }

    #[test]
    fn nodes_of_other_programs_are_read() {
        let node =
            parse(r#"{"name":"d","type":"dir","mode":493,"mtime":null,"content":null,"user":null}"#).unwrap();
        assert_eq!((node.mtime, node.mode, &*node.user), (Time::ZERO, Mode(493), ""));
        assert!(node.is_dir() && !node.is_file());
        let xattrs =
            parse(r#"{"extended_attributes":[{"name":"a","value":null},{"name":"b","value":""}]}"#).unwrap();
        let values: Vec<_> = xattrs.xattrs.into_iter().map(|xattr| xattr.value).collect();
        assert_eq!(values, [None, Some(Vec::new())]);
    }

    #[test]
    fn nonsense_is_no_node() {
        for text in [
            "",
            "[]",
            r#"{"name":1}"#,
            r#"{"name":"\\q"}"#,
            r#"{"mode":-1}"#,
            r#"{"mtime":"now"}"#,
            r#"{"content":[null]}"#,
            r#"{"linktarget_raw":"?"}"#,
            r#"{"generic_attributes":[]}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn maps_are_written_as_go_writes_them() {
        let node = parse(r#"{"generic_attributes":{"b" : [ 1 ],"a":{"x":"<"},"b":2}}"#).unwrap();
        let mut out = Vec::new();
        node.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r#""generic_attributes":{"a":{"x":"\u003c"},"b":2},"#), "{text}");
    }

    #[test]
    fn nodes_are_the_same_when_only_the_clock_differs() {
        let node = Node::new("a", NodeKind::File);
        let at = |offset_seconds| Time { instant: Timestamp { seconds: 7, nanos: 0 }, offset_seconds };
        let utc = Node { mtime: at(0), ctime: at(0), atime: at(0), ..node.clone() };
        let berlin = Node { mtime: at(3600), ctime: at(3600), atime: at(3600), ..node.clone() };
        assert!(utc.is_same(&berlin) && utc != berlin);
        for other in [
            Node { mtime: at(0), ..node.clone() },
            Node { size: 1, ..node.clone() },
            Node { uid: 1, ..node.clone() },
            Node { mode: Mode(1), ..node.clone() },
            Node { user: "u".into(), ..node.clone() },
            Node { content: Some(Vec::new()), ..node.clone() },
            Node { xattrs: vec![Xattr::default()], ..node.clone() },
            Node { name: b"b".to_vec(), ..node.clone() },
        ] {
            assert!(!node.is_same(&other), "{other:?}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), any::<String>(), r#"["\\<>&/\x00-\x1f]{0,9}"#]
    }

    prop_compose! {
        fn nodes()(
            bytes in any::<[Vec<u8>; 3]>(),
            texts in [text(), text(), text(), text(), text()],
            kind in 0usize..9,
            numbers in any::<[u64; 5]>(),
            small in any::<[u32; 3]>(),
            times in any::<[(i32, i16); 3]>(),
            ids in prop::option::of(prop::collection::vec(any::<[u8; 32]>(), 0..4)),
            extras in any::<[bool; 3]>(),
        ) -> Node {
            let [name, link_target, value] = bytes;
            let [user, group, error, word, key] = texts;
            let words = ["file", "dir", "symlink", "dev", "chardev", "fifo", "socket", "irregular"];
            let [mtime, atime, ctime] = times.map(|(seconds, minutes)| Time {
                instant: Timestamp { seconds: i64::from(seconds) * 10, nanos: seconds.unsigned_abs() % 1_000_000_000 },
                offset_seconds: i32::from(minutes % 1440) * 60,
            });
            let xattr = Xattr { name: key.clone().into_bytes(), value: extras[1].then_some(value) };
            Node {
                mode: Mode(small[0]), uid: small[1], gid: small[2],
                mtime, atime, ctime, link_target, error,
                user: user.into(), group: group.into(),
                inode: numbers[0], device_id: numbers[1], size: numbers[2], links: numbers[3], device: numbers[4],
                xattrs: extras[0].then_some(xattr).into_iter().collect(),
                subtree: ids.as_ref().and_then(|ids| ids.first()).map(|id| TreeId(Id::new(*id))),
                content: ids.map(|ids| ids.into_iter().map(|id| DataId(Id::new(id))).collect()),
                generic_attributes: extras[2].then(|| (key, "[1]".into())).into_iter().collect(),
                unknown: extras[1].then(|| ("new field".to_owned(), "null".into())).into_iter().collect(),
                ..Node::new(name, NodeKind::from_word(words.get(kind).unwrap_or(&&*word)))
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(node in nodes()) {
            let mut out = Vec::new();
            node.write(&mut out);
            prop_assert_eq!(Node::parse(&out), Ok(node));
        }

        #[test]
        fn any_cut_and_any_changed_byte_is_harmless(node in nodes(), at: prop::sample::Index, byte: u8) {
            let mut out = Vec::new();
            node.write(&mut out);
            let at = at.index(out.len());
            let _ = Node::parse(&out[..at]);
            out[at] = byte;
            if let Ok(node) = Node::parse(&out) {
                node.write(&mut out);
            }
        }
    }
}
