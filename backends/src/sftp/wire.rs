//! Bytes ⇄ packets of SFTP version 3, with four extensions of OpenSSH. Pure.
//!
//! In: requests and the bytes of a server that may be broken or hostile. Out: packets to send, and replies.
//! Never allocates for a length that a server merely claims beyond [`PACKET_MAX`], never panics.
//! Source: draft-ietf-secsh-filexfer-02, and OpenSSH's file PROTOCOL, section 4.

use std::io::{self, Read};

/// The longest packet that is accepted; OpenSSH sends and takes 256 KiB.
pub(super) const PACKET_MAX: u32 = 1 << 20;
/// Handles are short names that only the server understands; this is the draft's limit.
const HANDLE_MAX: usize = 256;
/// The protocol's version that is spoken.
const VERSION: u32 = 3;

/// Flags of [`Request::Open`].
pub(super) const READ: u32 = 1;
/// Makes a file that must not exist, to be written.
pub(super) const CREATE_NEW: u32 = 2 | 8 | 32;

/// What the server did not send as the protocol wants it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum WireError {
    /// It is over: the other side closed, or the pipe broke.
    #[error("the connection ended")]
    Ended(#[source] io::Error),
    #[error("a packet of {len} bytes is longer than any")]
    TooLong { len: u32 },
    #[error("a packet of kind {kind} ends too early or holds what it must not")]
    Malformed { kind: u8 },
    #[error("a packet of kind {kind} is no answer")]
    Unexpected { kind: u8 },
    #[error("the server speaks version {version} of the protocol, not 3")]
    Version { version: u32 },
    #[error("an answer to request {id}, which was never sent or is answered already")]
    UnknownId { id: u32 },
    #[error("an answer of another kind than was asked for")]
    OtherKind,
    #[error("more bytes than were asked for, or none at all")]
    WrongLength,
    #[error("a file name with a slash in it")]
    Name,
    #[error("a file without a size or a type")]
    NoAttributes,
}

/// One request. Paths are as the server sees them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request<'a> {
    Open {
        path: &'a str,
        flags: u32,
        mode: Option<u32>,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        len: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        content: &'a [u8],
    },
    FileStat {
        handle: &'a [u8],
    },
    SetFileMode {
        handle: &'a [u8],
        mode: u32,
    },
    SetMode {
        path: &'a str,
        mode: u32,
    },
    OpenFolder {
        path: &'a str,
    },
    ReadFolder {
        handle: &'a [u8],
    },
    Remove {
        path: &'a str,
    },
    MakeFolder {
        path: &'a str,
        mode: u32,
    },
    Stat {
        path: &'a str,
    },
    Rename {
        from: &'a str,
        to: &'a str,
    },
    /// `posix-rename@openssh.com`: replaces what has the new name, at once.
    Replace {
        from: &'a str,
        to: &'a str,
    },
    /// `fsync@openssh.com`
    Sync {
        handle: &'a [u8],
    },
    /// `limits@openssh.com`
    Limits,
    /// `statvfs@openssh.com`
    Space {
        path: &'a str,
    },
}

impl<'a> Request<'a> {
    /// The packet: what is written first, and borrowed content that follows.
    pub(super) fn encode(&self, id: u32) -> (Vec<u8>, &'a [u8]) {
        const PERMISSIONS: u32 = 4;
        let mut packet = Packet(vec![0; 4]);
        let mut content: &[u8] = &[];
        let begin = |packet: &mut Packet, kind: u8| {
            packet.0.push(kind);
            packet.number(id);
        };
        let extended = |packet: &mut Packet, name: &str| {
            packet.0.push(200);
            packet.number(id);
            packet.text(name.as_bytes());
        };
        match *self {
            Self::Open { path, flags, mode } => {
                begin(&mut packet, 3);
                packet.text(path.as_bytes());
                packet.number(flags);
                packet.mode(mode.map_or(0, |_| PERMISSIONS), mode);
            }
            Self::Close { handle } => packet.about(begin, 4, handle),
            Self::Read { handle, offset, len } => {
                packet.about(begin, 5, handle);
                packet.long(offset);
                packet.number(len);
            }
            Self::Write { handle, offset, content: bytes } => {
                packet.about(begin, 6, handle);
                packet.long(offset);
                packet.len(bytes.len());
                content = bytes;
            }
            Self::FileStat { handle } => packet.about(begin, 8, handle),
            Self::SetMode { path, mode } => {
                packet.about(begin, 9, path.as_bytes());
                packet.mode(PERMISSIONS, Some(mode));
            }
            Self::SetFileMode { handle, mode } => {
                packet.about(begin, 10, handle);
                packet.mode(PERMISSIONS, Some(mode));
            }
            Self::OpenFolder { path } => packet.about(begin, 11, path.as_bytes()),
            Self::ReadFolder { handle } => packet.about(begin, 12, handle),
            Self::Remove { path } => packet.about(begin, 13, path.as_bytes()),
            Self::MakeFolder { path, mode } => {
                packet.about(begin, 14, path.as_bytes());
                packet.mode(PERMISSIONS, Some(mode));
            }
            Self::Stat { path } => packet.about(begin, 17, path.as_bytes()),
            Self::Rename { from, to } => {
                packet.about(begin, 18, from.as_bytes());
                packet.text(to.as_bytes());
            }
            Self::Replace { from, to } => {
                extended(&mut packet, POSIX_RENAME);
                packet.text(from.as_bytes());
                packet.text(to.as_bytes());
            }
            Self::Sync { handle } => {
                extended(&mut packet, FSYNC);
                packet.text(handle);
            }
            Self::Limits => extended(&mut packet, LIMITS),
            Self::Space { path } => {
                extended(&mut packet, STATVFS);
                packet.text(path.as_bytes());
            }
        }
        (packet.finish(content.len()), content)
    }
}

/// The first packet of a conversation.
pub(super) fn hello() -> Vec<u8> {
    let mut packet = Packet(vec![0; 4]);
    packet.0.push(1);
    packet.number(VERSION);
    packet.finish(0)
}

const POSIX_RENAME: &str = "posix-rename@openssh.com";
const FSYNC: &str = "fsync@openssh.com";
const LIMITS: &str = "limits@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";

/// A packet in the making; the first four bytes become its length.
struct Packet(Vec<u8>);

impl Packet {
    fn about(&mut self, begin: impl Fn(&mut Self, u8), kind: u8, subject: &[u8]) {
        begin(self, kind);
        self.text(subject);
    }

    fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn len(&mut self, len: usize) {
        self.number(u32::try_from(len).expect("paths and pieces of files are far below 4 GiB"));
    }

    fn text(&mut self, text: &[u8]) {
        self.len(text.len());
        self.0.extend_from_slice(text);
    }

    fn mode(&mut self, flags: u32, mode: Option<u32>) {
        self.number(flags);
        if let Some(mode) = mode {
            self.number(mode);
        }
    }

    fn finish(mut self, content: usize) -> Vec<u8> {
        let len = u32::try_from(self.0.len() - 4 + content).expect("packets are far below 4 GiB");
        if let Some(first) = self.0.first_chunk_mut() {
            *first = len.to_be_bytes();
        }
        self.0
    }
}

/// What a server answers.
#[derive(Debug)]
pub(super) enum Reply {
    Status(Status),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Entry>),
    Attributes(Attributes),
    /// The body of an answer to an extension.
    Extended(Vec<u8>),
}

/// How a request ended, if it gives nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u32,
    /// As the server says it, without what a terminal would obey.
    pub(super) text: String,
}

impl Status {
    pub(super) const OK: u32 = 0;
    pub(super) const EOF: u32 = 1;
    pub(super) const NO_SUCH_FILE: u32 = 2;
    pub(super) const PERMISSION_DENIED: u32 = 3;
    pub(super) const FAILURE: u32 = 4;
    pub(super) const UNSUPPORTED: u32 = 8;
}

/// One entry of a folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) attributes: Attributes,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    /// Type and rights as `stat` has them.
    pub(super) mode: Option<u32>,
    /// When the content was last changed, in seconds since the epoch.
    pub(super) modified: Option<u32>,
}

/// What kind of thing a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    File,
    Folder,
    Link,
    Other,
}

impl Attributes {
    pub(super) fn kind(&self) -> Option<Type> {
        Some(match self.mode? & 0o170_000 {
            0o100_000 => Type::File,
            0o040_000 => Type::Folder,
            0o120_000 => Type::Link,
            _ => Type::Other,
        })
    }
}

/// What a server told when the conversation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is one extension that is offered or not")]
pub(super) struct Offered {
    pub(super) replace: bool,
    pub(super) sync: bool,
    pub(super) limits: bool,
    pub(super) space: bool,
}

/// How much a server takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) read: u32,
    pub(super) write: u32,
    /// Open files and folders.
    pub(super) handles: usize,
}

impl Default for Limits {
    /// What every server must take.
    fn default() -> Self {
        Self { read: 1 << 15, write: 1 << 15, handles: 32 }
    }
}

impl Limits {
    /// From the answer to [`Request::Limits`]; zero means that the server does not say.
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut body = Body { kind: 201, rest: body };
        let (packet, read, write, handles) = (body.long()?, body.long()?, body.long()?, body.long()?);
        // A write has a head of its own in the packet; what no packet could hold is not believed.
        let longest = if packet == 0 { 34_000 } else { packet.min(PACKET_MAX.into()) };
        let piece = |limit: u64| {
            let limit = limit.min(longest.saturating_sub(1024));
            u32::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(1 << 15)
        };
        let handles = usize::try_from(handles).ok().filter(|handles| *handles > 0);
        Ok(Self { read: piece(read), write: piece(write), handles: handles.unwrap_or(32) })
    }
}

/// What is left of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes we may still write.
    pub(super) available: u64,
    /// Whether there is no room for one more file.
    pub(super) no_files: bool,
    pub(super) read_only: bool,
}

impl Space {
    /// From the answer to [`Request::Space`].
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut body = Body { kind: 201, rest: body };
        let mut fields = [0; 11];
        for field in &mut fields {
            *field = body.long()?;
        }
        let [_, unit, _, _, available, files, _, files_available, _, flags, _] = fields;
        Ok(Self {
            available: available.saturating_mul(unit),
            no_files: files > 0 && files_available == 0,
            read_only: flags & 1 != 0,
        })
    }
}

/// Reads the server's answer to [`hello`].
pub(super) fn read_hello(input: &mut impl Read) -> Result<Offered, WireError> {
    let (kind, len) = read_head(input)?;
    if kind != 2 {
        return Err(WireError::Unexpected { kind });
    }
    let body = read_body(input, len)?;
    let mut body = Body { kind, rest: &body };
    let version = body.number()?;
    if version != VERSION {
        return Err(WireError::Version { version });
    }
    let mut offered = Offered::default();
    while !body.rest.is_empty() {
        let (name, value) = (body.text()?, body.text()?);
        match name {
            name if name == POSIX_RENAME.as_bytes() => offered.replace = value == b"1",
            name if name == FSYNC.as_bytes() => offered.sync = value == b"1",
            name if name == LIMITS.as_bytes() => offered.limits = value == b"1",
            name if name == STATVFS.as_bytes() => offered.space = value == b"2",
            _ => {}
        }
    }
    Ok(offered)
}

/// Reads one reply and the number of the request it answers.
pub(super) fn read_reply(input: &mut impl Read) -> Result<(u32, Reply), WireError> {
    let (kind, len) = read_head(input)?;
    let malformed = WireError::Malformed { kind };
    let mut id = [0; 4];
    let len = len.checked_sub(4).ok_or(WireError::Malformed { kind })?;
    input.read_exact(&mut id).map_err(WireError::Ended)?;
    let id = u32::from_be_bytes(id);
    if kind == 103 {
        // The bulk of all bytes: read to where they stay.
        let mut said = [0; 4];
        let len = len.checked_sub(4).ok_or(WireError::Malformed { kind })?;
        input.read_exact(&mut said).map_err(WireError::Ended)?;
        if u32::from_be_bytes(said) != len {
            return Err(malformed);
        }
        return Ok((id, Reply::Data(read_body(input, len)?)));
    }
    let body = read_body(input, len)?;
    let mut body = Body { kind, rest: &body };
    let reply = match kind {
        101 => {
            let code = body.number()?;
            // Old servers leave the text out.
            let text = if body.rest.is_empty() { String::new() } else { tame(body.text()?, 200) };
            Reply::Status(Status { code, text })
        }
        102 => match body.text()? {
            handle if handle.len() <= HANDLE_MAX => Reply::Handle(handle.to_vec()),
            _ => return Err(malformed),
        },
        104 => Reply::Names(body.names()?),
        105 => Reply::Attributes(body.attributes()?),
        201 => Reply::Extended(body.rest.to_vec()),
        kind => return Err(WireError::Unexpected { kind }),
    };
    Ok((id, reply))
}

/// The kind of the next packet, and how many bytes follow.
fn read_head(input: &mut impl Read) -> Result<(u8, u32), WireError> {
    let mut head = [0; 5];
    input.read_exact(&mut head).map_err(WireError::Ended)?;
    let [a, b, c, d, kind] = head;
    let len = u32::from_be_bytes([a, b, c, d]);
    match len {
        0 => Err(WireError::Malformed { kind }),
        1..=PACKET_MAX => Ok((kind, len - 1)),
        _ => Err(WireError::TooLong { len }),
    }
}

fn read_body(input: &mut impl Read, len: u32) -> Result<Vec<u8>, WireError> {
    let mut body = Vec::with_capacity(len as usize);
    input.take(len.into()).read_to_end(&mut body).map_err(WireError::Ended)?;
    if body.len() == len as usize {
        Ok(body)
    } else {
        Err(WireError::Ended(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// Text of somebody else, fit to be shown: no control characters, at most so many bytes.
pub(super) fn tame(text: &[u8], len_max: usize) -> String {
    let text = String::from_utf8_lossy(text.get(..len_max).unwrap_or(text));
    let text: String = text.chars().map(|each| if each.is_control() { ' ' } else { each }).collect();
    text.trim().to_owned()
}

/// What is not yet read of a packet.
struct Body<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or(WireError::Malformed { kind: self.kind })?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, WireError> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(WireError::Malformed { kind: self.kind })?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn long(&mut self) -> Result<u64, WireError> {
        Ok(u64::from(self.number()?) << 32 | u64::from(self.number()?))
    }

    fn text(&mut self) -> Result<&'a [u8], WireError> {
        let len = self.number()?;
        self.take(len as usize)
    }

    fn names(&mut self) -> Result<Vec<Entry>, WireError> {
        let count = self.number()?;
        let mut names = Vec::new();
        for _ in 0..count {
            let name = self.text()?.to_vec();
            // As `ls -l` would show it; nothing is read out of that.
            self.text()?;
            names.push(Entry { name, attributes: self.attributes()? });
        }
        Ok(names)
    }

    fn attributes(&mut self) -> Result<Attributes, WireError> {
        let flags = self.number()?;
        let has = |flag: u32| flags & flag != 0;
        let size = if has(1) { Some(self.long()?) } else { None };
        if has(2) {
            self.long()?; // owner and group
        }
        let mode = if has(4) { Some(self.number()?) } else { None };
        let mut modified = None;
        if has(8) {
            self.number()?; // last read
            modified = Some(self.number()?);
        }
        if has(1 << 31) {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Ok(Attributes { size, mode, modified })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len() + 1).unwrap();
        [&len.to_be_bytes()[..], &[kind], body].concat()
    }

    fn text(text: &[u8]) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
    }

    #[test]
    fn requests_are_packets_with_their_length_in_front() {
        let content = [7; 1000];
        let handle = b"h1";
        for request in [
            Request::Open { path: "a/b", flags: CREATE_NEW, mode: Some(0o600) },
            Request::Open { path: "a/b", flags: READ, mode: None },
            Request::Close { handle },
            Request::Write { handle, offset: 1 << 40, content: &content },
            Request::Read { handle, offset: 3, len: 4 },
            Request::Rename { from: "a", to: "b" },
            Request::Replace { from: "a", to: "b" },
            Request::Limits,
            Request::Space { path: "/" },
        ] {
            let (head, rest) = request.encode(9);
            let len = u32::from_be_bytes(head[..4].try_into().unwrap());
            assert_eq!(len as usize, head.len() + rest.len() - 4, "{request:?}");
            assert_eq!(head[5..9], [0, 0, 0, 9], "{request:?}");
        }
        let (head, _) = Request::Open { path: "p", flags: READ, mode: None }.encode(1);
        assert_eq!(head, [0, 0, 0, 18, 3, 0, 0, 0, 1, 0, 0, 0, 1, b'p', 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn replies_are_read_and_ids_belong_to_them() {
        let id = 5_u32.to_be_bytes();
        let read = |kind, body: &[u8]| {
            read_reply(&mut &packet(kind, &[&id[..], body].concat())[..]).map(|(id, reply)| {
                assert_eq!(id, 5);
                reply
            })
        };
        let status = |code: u32, said: &[u8]| [&code.to_be_bytes()[..], &text(said), &text(b"en")].concat();
        let Reply::Status(said) = read(101, &status(4, b"No\x1b[31m \n")).unwrap() else { panic!() };
        assert_eq!(said, Status { code: Status::FAILURE, text: "No [31m".to_owned() });
        let Reply::Status(bare) = read(101, &2_u32.to_be_bytes()).unwrap() else { panic!() };
        assert_eq!(bare, Status { code: Status::NO_SUCH_FILE, text: String::new() });
        let Reply::Data(data) = read(103, &text(b"bytes")).unwrap() else { panic!() };
        assert_eq!(data, b"bytes");
        let size_and_mode =
            [&5_u32.to_be_bytes()[..], &77_u64.to_be_bytes(), &0o100_400_u32.to_be_bytes()].concat();
        let Reply::Attributes(attributes) = read(105, &size_and_mode).unwrap() else { panic!() };
        assert_eq!((attributes.size, attributes.kind()), (Some(77), Some(Type::File)));
        let names = [&1_u32.to_be_bytes()[..], &text(b"name"), &text(b"-rw name"), &size_and_mode].concat();
        let Reply::Names(names) = read(104, &names).unwrap() else { panic!() };
        assert_eq!((names[0].name.as_slice(), names[0].attributes), (&b"name"[..], attributes));
        assert!(matches!(read(106, &[]), Err(WireError::Unexpected { kind: 106 })));
    }

    #[test]
    fn what_a_broken_server_sends_is_an_error() {
        let id = [0, 0, 0, 1];
        let malformed = |kind: u8, body: &[u8]| {
            let body = [&id[..], body].concat();
            let error = read_reply(&mut &packet(kind, &body)[..]).unwrap_err();
            assert!(matches!(error, WireError::Malformed { .. }), "{kind}: {error}");
        };
        malformed(101, &[0, 0]);
        malformed(102, &[0, 0, 0, 9, b'x']);
        malformed(102, &text(&[b'x'; 257]));
        malformed(103, &[0, 0, 0, 9, b'x']);
        malformed(103, &[0, 0, 0, 0, b'x']);
        malformed(103, &[0, 0]);
        malformed(104, &[255, 255, 255, 255]);
        malformed(105, &[0, 0, 0, 1, 9]);
        malformed(105, &[128, 0, 0, 0, 255, 255, 255, 255]);
        let check = |bytes: &[u8], expected: &str| {
            let error = read_reply(&mut &bytes[..]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(&[], "the connection ended");
        check(&[0, 0, 0, 5, 101, 0], "the connection ended");
        check(&[0, 0, 0, 0, 101], "a packet of kind 101 ends too early or holds what it must not");
        check(&[0, 0, 0, 3, 101, 0, 0], "a packet of kind 101 ends too early or holds what it must not");
        check(&[255, 0, 0, 0, 101], "a packet of 4278190080 bytes is longer than any");
        check(b"Welcome to the machine", "a packet of 1466264675 bytes is longer than any");
    }

    #[test]
    fn the_server_says_its_version_and_what_it_offers() {
        let hello = |body: &[u8]| read_hello(&mut &packet(2, body)[..]);
        assert_eq!(hello(&[0, 0, 0, 3]).unwrap(), Offered::default());
        let extensions = [
            &[0, 0, 0, 3][..],
            &text(b"fsync@openssh.com"),
            &text(b"1"),
            &text(b"unknown@example.org"),
            &text(b"9"),
            &text(b"statvfs@openssh.com"),
            &text(b"2"),
        ];
        let expected = Offered { sync: true, space: true, ..Offered::default() };
        assert_eq!(hello(&extensions.concat()).unwrap(), expected);
        assert!(matches!(hello(&[0, 0, 0, 6]), Err(WireError::Version { version: 6 })));
        assert!(matches!(hello(&[0, 0, 0, 3, 1]), Err(WireError::Malformed { .. })));
        let reply = read_hello(&mut &packet(101, &[0; 8])[..]);
        assert!(matches!(reply, Err(WireError::Unexpected { kind: 101 })));
    }

    #[test]
    fn limits_are_believed_within_reason() {
        let of = |packet: u64, read: u64, write: u64, handles: u64| {
            let limits = [packet, read, write, handles].map(u64::to_be_bytes).concat();
            let limits = Limits::parse(&limits).unwrap();
            (limits.read, limits.write, limits.handles)
        };
        assert_eq!(of(262_144, 261_120, 261_120, 1019), (261_120, 261_120, 1019));
        assert_eq!(of(0, 0, 0, 0), (32_768, 32_768, 32));
        assert_eq!(of(u64::MAX, u64::MAX, 1, 1), (PACKET_MAX - 1024, 1, 1));
        assert!(Limits::parse(&[0; 31]).is_err());
    }

    #[test]
    fn space_is_counted_in_fragments() {
        let fields = |available: u64, files: u64, files_available: u64, flags: u64| {
            let fields = [1 << 20, 4096, 9, 9, available, files, 9, files_available, 0, flags, 255];
            Space::parse(&fields.map(u64::to_be_bytes).concat()).unwrap()
        };
        assert_eq!(fields(2, 10, 1, 0), Space { available: 8192, no_files: false, read_only: false });
        assert_eq!(fields(0, 10, 0, 1), Space { available: 0, no_files: true, read_only: true });
        assert!(!fields(1, 0, 0, 0).no_files, "file systems without a table of files say zero");
        assert_eq!(fields(u64::MAX, 0, 0, 0).available, u64::MAX);
        assert!(Space::parse(&[0; 80]).is_err());
    }
}
