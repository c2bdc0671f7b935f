//! A tar archive, written as it comes: ustar headers, with a PAX header in front where they do not suffice.

use std::io::Write;

use ::tar::{EntryType, Header};
use anyhow::Result;
use repo_core::format::{Node, NodeKind};
use repo_core::walk::Entry;

use super::{Archive, acl, name};

const BLOCK: usize = 512;

/// Writes a tar archive.
pub struct Tar<W> {
    out: W,
    /// Bytes of the file at work, to know how much fills its last block.
    written: u64,
}

impl<W: Write> Tar<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, written: 0 }
    }

    fn fill_block(&mut self) -> Result<()> {
        let over = usize::try_from(self.written % BLOCK as u64)?;
        if over > 0 {
            self.out.write_all(&[0; BLOCK][over..])?;
        }
        self.written = 0;
        Ok(())
    }

    /// One header and its content.
    fn whole(&mut self, header: &Header, content: &[u8]) -> Result<()> {
        self.out.write_all(header.as_bytes())?;
        self.bytes(content)?;
        self.fill_block()
    }
}

impl<W: Write> Archive for Tar<W> {
    fn entry(&mut self, entry: &Entry, len: u64) -> Result<()> {
        self.fill_block()?;
        let Some((header, records)) = headers(&entry.node, &name(entry), len) else { return Ok(()) };
        if !records.is_empty() {
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            extended.set_size(records.len() as u64);
            extended.set_mode(0o644);
            set(&mut extended.as_old_mut().name, b"PaxHeaders.0/entry");
            extended.set_cksum();
            self.whole(&extended, &records)?;
        }
        Ok(self.out.write_all(header.as_bytes())?)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        Ok(self.out.write_all(bytes)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.fill_block()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out.flush()?)
    }
}

/// The header of an entry, and the PAX records that say what it cannot; `None` for what no archive can hold.
fn headers(node: &Node, name: &[u8], len: u64) -> Option<(Header, Vec<u8>)> {
    let kind = match node.kind {
        NodeKind::File => EntryType::Regular,
        NodeKind::Dir => EntryType::Directory,
        NodeKind::Symlink => EntryType::Symlink,
        NodeKind::Fifo => EntryType::Fifo,
        NodeKind::Device => EntryType::Block,
        NodeKind::CharDevice => EntryType::Char,
        _ => return None,
    };
    let mut records = Vec::new();
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(node.mode.unix_permissions());
    text(&mut records, "path", name, &mut header.as_old_mut().name);
    text(&mut records, "linkpath", &node.link_target, &mut header.as_old_mut().linkname);
    let numbers = [("uid", u64::from(node.uid), 7), ("gid", u64::from(node.gid), 7), ("size", len, 11)];
    let fitting = numbers.map(|(key, value, digits)| number(&mut records, key, value, digits));
    header.set_uid(fitting[0]);
    header.set_gid(fitting[1]);
    header.set_size(fitting[2]);
    // Whole seconds, rounded as restic does.
    let seconds = node.mtime.instant.seconds.saturating_add((node.mtime.instant.nanos >= 500_000_000).into());
    match u64::try_from(seconds) {
        Ok(seconds) => header.set_mtime(number(&mut records, "mtime", seconds, 11)),
        Err(_) => record(&mut records, "mtime", seconds.to_string().as_bytes()),
    }
    if let Some(ustar) = header.as_ustar_mut() {
        text(&mut records, "uname", node.user.as_bytes(), &mut ustar.uname);
        text(&mut records, "gname", node.group.as_bytes(), &mut ustar.gname);
        if matches!(kind, EntryType::Block | EntryType::Char) {
            let (major, minor) = device(node.device);
            // Larger numbers than seven octal digits hold do not exist.
            let _ = header.set_device_major(major).and_then(|()| header.set_device_minor(minor));
        }
    }
    xattrs(&mut records, node);
    header.set_cksum();
    Some((header, records))
}

/// Puts a text into a field of the header, or, where it does not fit or is no ASCII, into a record.
fn text(records: &mut Vec<u8>, key: &str, value: &[u8], field: &mut [u8]) {
    if value.len() > field.len() || !value.is_ascii() {
        record(records, key, value);
    }
    set(field, value);
}

/// Puts as much as fits.
fn set(field: &mut [u8], value: &[u8]) {
    for (to, from) in field.iter_mut().zip(value) {
        *to = *from;
    }
}

/// The number if so many octal digits hold it; else a record says it, and the header zero.
fn number(records: &mut Vec<u8>, key: &str, value: u64, digits: u32) -> u64 {
    if value >> (3 * digits) == 0 {
        return value;
    }
    record(records, key, value.to_string().as_bytes());
    0
}

fn xattrs(records: &mut Vec<u8>, node: &Node) {
    for xattr in &node.xattrs {
        let value = xattr.value.as_deref().unwrap_or_default();
        let known = match &xattr.name[..] {
            b"system.posix_acl_access" => acl::text(value).map(|text| ("SCHILY.acl.access", text)),
            b"system.posix_acl_default" => acl::text(value).map(|text| ("SCHILY.acl.default", text)),
            _ => None,
        };
        match (known, std::str::from_utf8(&xattr.name)) {
            (Some((key, text)), _) => record(records, key, text.as_bytes()),
            // A key ends at its equals sign; one with such a sign inside cannot be written.
            (None, Ok(name)) if !name.contains('=') => {
                record(records, &format!("SCHILY.xattr.{name}"), value);
            }
            _ => {}
        }
    }
}

/// `LEN key=value\n`, where LEN counts itself.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + rest.to_string().len();
    if rest + len.to_string().len() > len {
        len += 1;
    }
    records.extend(format!("{len} {key}=").bytes());
    records.extend(value);
    records.push(b'\n');
}

/// Major and minor number, as Linux packs them.
fn device(number: u64) -> (u32, u32) {
    let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0);
    let major = number >> 8 & 0xfff | number >> 32 & !0xfff;
    let minor = number & 0xff | number >> 12 & !0xff;
    (half(major), half(minor))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use repo_core::format::{Mode, Xattr};
    use repo_core::id::{Id, TreeId};
    use repo_core::time::{Time, Timestamp};

    use super::*;

    fn archive(entries: &[(Node, &str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut tar = Box::new(Tar::new(&mut bytes));
        for (node, path, content) in entries {
            let entry = Entry { path: path.into(), node: node.clone(), tree: TreeId(Id::new([0; 32])) };
            tar.entry(&entry, content.len() as u64).unwrap();
            tar.bytes(content).unwrap();
        }
        tar.finish().unwrap();
        bytes
    }

    fn node(kind: NodeKind) -> Node {
        let mtime = Time::utc(Timestamp { seconds: 1_577_934_245, nanos: 5 });
        Node { mode: Mode(0o644 | Mode::SETUID), mtime, uid: 7, gid: 8, ..Node::new("x", kind) }
    }

    #[test]
    fn records_count_their_own_length() {
        for len in [1, 80, 84, 85, 86, 980, 984, 985] {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'x'; len]);
            let text = String::from_utf8(records).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, text.len(), "{len}");
        }
    }

    #[test]
    fn archive_reads_back_with_names_owners_and_content() {
        let long = "/d/".to_owned() + &"n".repeat(300);
        let mut link = node(NodeKind::Symlink);
        link.link_target = b"\xff/to".to_vec();
        let old = Node {
            mtime: Time::utc(Timestamp { seconds: -5, nanos: 0 }),
            uid: 3_000_000,
            user: "ada".into(),
            ..node(NodeKind::File)
        };
        let bytes = archive(&[
            (node(NodeKind::Dir), "/d", b""),
            (node(NodeKind::File), &long, &[b'y'; 700]),
            (link, "/l", b""),
            (old, "/old", b"z"),
        ]);
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut read = ::tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in read.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            seen.push((
                String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
                entry.link_name_bytes().map(std::borrow::Cow::into_owned),
                header.mode().unwrap(),
                content.len(),
            ));
        }
        assert_eq!(
            seen,
            [
                ("d/".to_owned(), None, 0o4644, 0),
                (long[1..].to_owned(), None, 0o4644, 700),
                ("l".to_owned(), Some(b"\xff/to".to_vec()), 0o4644, 0),
                ("old".to_owned(), None, 0o4644, 1),
            ]
        );
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("mtime=-5\n") && text.contains("uid=3000000\n"));
    }

    #[test]
    fn extended_attributes_are_records() {
        let mut file = node(NodeKind::File);
        file.xattrs = vec![
            Xattr { name: b"user.a".to_vec(), value: Some(b"v\n1".to_vec()) },
            Xattr { name: b"user.b=c".to_vec(), value: None },
            Xattr {
                name: b"system.posix_acl_access".to_vec(),
                value: Some(vec![2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255]),
            },
        ];
        let (_, records) = headers(&file, b"f", 0).unwrap();
        let text = String::from_utf8(records).unwrap();
        assert_eq!(text, "27 SCHILY.xattr.user.a=v\n1\n32 SCHILY.acl.access=user::rw-\n\n");
    }

    #[test]
    fn device_numbers_are_taken_apart() {
        assert_eq!(device(0x103), (1, 3));
        assert_eq!(device(0xfe00), (254, 0));
        assert_eq!(device(0x1111_0370), (259, 70_000));
    }
}
