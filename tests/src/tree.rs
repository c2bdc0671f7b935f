//! File trees as literals, and what lies on disk as comparable data.
//!
//! ```text
//! dir([
//!     ("readme.txt", file("hello\n").mode(0o640).mtime(1_500_000_000, 7)),
//!     ("twin", hard_link("readme.txt")),
//!     ("sub", dir([("link", symlink("../readme.txt")), ("pipe", fifo())])),
//! ])
//! .build(folder);
//! assert_same(&Snapshot::of(folder), &Snapshot::of(restored));
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use sha2::{Digest, Sha256};

/// When nothing else is said, everything was last changed at this second.
pub const MTIME: i64 = 1_700_000_000;

/// A tree to be built.
#[derive(Debug, Clone)]
pub struct Tree {
    what: What,
    mode: u32,
    mtime: (i64, i64),
    xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum What {
    File(Vec<u8>),
    Sparse { len: u64, pieces: Vec<(u64, Vec<u8>)> },
    Dir(Vec<(Vec<u8>, Tree)>),
    Symlink(Vec<u8>),
    HardLink(PathBuf),
    Fifo,
}

fn tree(what: What, mode: u32) -> Tree {
    Tree { what, mode, mtime: (MTIME, 0), xattrs: Vec::new() }
}

/// A folder with these entries.
pub fn dir<N: AsRef<[u8]>>(entries: impl IntoIterator<Item = (N, Tree)>) -> Tree {
    tree(What::Dir(entries.into_iter().map(|(name, entry)| (name.as_ref().to_vec(), entry)).collect()), 0o755)
}

/// A folder without entries.
pub fn empty_dir() -> Tree {
    tree(What::Dir(Vec::new()), 0o755)
}

/// A file with this content.
pub fn file(content: impl AsRef<[u8]>) -> Tree {
    tree(What::File(content.as_ref().to_vec()), 0o644)
}

/// A file of `len` bytes with data only in these places.
pub fn sparse(len: u64, pieces: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Tree {
    tree(What::Sparse { len, pieces: pieces.into_iter().collect() }, 0o644)
}

/// A symbolic link.
pub fn symlink(target: impl AsRef<[u8]>) -> Tree {
    tree(What::Symlink(target.as_ref().to_vec()), 0)
}

/// One more name of a file; the path starts at the root of the whole tree, and stands before this entry.
pub fn hard_link(path: impl AsRef<Path>) -> Tree {
    tree(What::HardLink(path.as_ref().to_owned()), 0)
}

/// A named pipe.
pub fn fifo() -> Tree {
    tree(What::Fifo, 0o600)
}

/// Bytes that do not compress and differ with the seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    // Xorshift64 (Marsaglia 2003).
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

impl Tree {
    /// With these permission bits.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Last changed then.
    #[must_use]
    pub fn mtime(self, seconds: i64, nanos: i64) -> Self {
        Self { mtime: (seconds, nanos), ..self }
    }

    /// With one more extended attribute.
    #[must_use]
    pub fn xattr(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.xattrs.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Creates it at that path, which is not there yet or an empty folder.
    pub fn build(&self, path: &Path) {
        self.create(path, path);
        self.decorate(path);
    }

    fn create(&self, path: &Path, root: &Path) {
        match &self.what {
            What::File(content) => fs::write(path, content).expect("a file can be written"),
            What::Sparse { len, pieces } => {
                let file = fs::File::create(path).expect("a file can be created");
                file.set_len(*len).expect("a file can grow");
                for (offset, piece) in pieces {
                    std::os::unix::fs::FileExt::write_all_at(&file, piece, *offset)
                        .expect("a file can be written");
                }
            }
            What::Dir(entries) => {
                fs::create_dir_all(path).expect("a folder can be created");
                for (name, entry) in entries {
                    entry.create(&path.join(OsStr::from_bytes(name)), root);
                }
            }
            What::Symlink(target) => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), path).expect("a link can be created");
            }
            What::HardLink(first) => fs::hard_link(root.join(first), path).expect("a link can be created"),
            What::Fifo => {
                rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                    .expect("a pipe can be created");
            }
        }
    }

    /// Attributes, modes and times, the inner ones first, since creating entries changes the folder's time.
    fn decorate(&self, path: &Path) {
        if let What::Dir(entries) = &self.what {
            for (name, entry) in entries {
                entry.decorate(&path.join(OsStr::from_bytes(name)));
            }
        }
        if let What::HardLink(_) = self.what {
            return;
        }
        for (name, value) in &self.xattrs {
            rustix::fs::lsetxattr(path, name.as_str(), value, XattrFlags::empty())
                .unwrap_or_else(|error| panic!("cannot set {name} of {}: {error}", path.display()));
        }
        if !matches!(self.what, What::Symlink(_)) {
            fs::set_permissions(path, fs::Permissions::from_mode(self.mode)).expect("a mode can be set");
        }
        set_mtime(path, self.mtime.0, self.mtime.1);
    }
}

/// Sets the time of the last change, of the link itself if it is one.
pub fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time can be set");
}

/// What lies below a folder, by path; the folder itself is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(pub BTreeMap<Vec<u8>, Entry>);

/// One entry on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits; zero for symbolic links.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Last change in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// The first path, in byte order, that names the same file; `None` for the first one.
    pub same_as: Option<Vec<u8>>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its length in bytes.
        len: u64,
        /// The hash of its content in hex.
        sha256: String,
    },
    /// A folder.
    Dir,
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A block device: major, minor.
    Block(u32, u32),
    /// A character device: major, minor.
    Char(u32, u32),
    /// A socket.
    Socket,
}

impl Snapshot {
    /// Reads everything below the folder.
    pub fn of(folder: &Path) -> Self {
        let mut entries = BTreeMap::new();
        let mut inodes = Vec::new();
        collect(folder, folder, &mut entries, &mut inodes);
        inodes.sort();
        for pair in inodes.chunk_by(|one, other| one.0 == other.0) {
            for (_, path) in &pair[1..] {
                let entry = entries.get_mut(path).expect("the path was collected");
                entry.same_as = Some(pair[0].1.clone());
            }
        }
        Self(entries)
    }

    /// The part below `path`, with paths starting there.
    #[must_use]
    pub fn below(&self, path: impl AsRef<[u8]>) -> Self {
        let mut prefix = path.as_ref().strip_prefix(b"/").unwrap_or(path.as_ref()).to_vec();
        prefix.push(b'/');
        let inner = |path: &Vec<u8>| path.strip_prefix(prefix.as_slice()).map(<[u8]>::to_vec);
        let entries = self.0.iter().filter_map(|(path, entry)| {
            let same_as = entry.same_as.as_ref().and_then(inner);
            Some((inner(path)?, Entry { same_as, ..entry.clone() }))
        });
        Self(entries.collect())
    }

    /// Without owners, devices, setuid and setgid bits, and the attributes that only root may set: what anybody can
    /// restore of other people's files.
    #[must_use]
    pub fn for_anybody(&self) -> Self {
        let mut entries = self.0.clone();
        entries.retain(|_, entry| !matches!(entry.kind, Kind::Block(..) | Kind::Char(..)));
        for entry in entries.values_mut() {
            (entry.uid, entry.gid) = (0, 0);
            entry.mode &= 0o1777;
            entry.xattrs.retain(|name, _| name.starts_with(b"user."));
        }
        Self(entries)
    }
}

fn collect(
    folder: &Path,
    root: &Path,
    entries: &mut BTreeMap<Vec<u8>, Entry>,
    inodes: &mut Vec<((u64, u64), Vec<u8>)>,
) {
    let listing =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    for entry in listing {
        let path = entry.expect("a folder's entry").path();
        let data = fs::symlink_metadata(&path).expect("an entry has metadata");
        let name = path.strip_prefix(root).expect("it lies below").as_os_str().as_bytes().to_vec();
        let kind = kind(&path, &data);
        if data.nlink() > 1 && kind != Kind::Dir {
            inodes.push(((data.dev(), data.ino()), name.clone()));
        }
        if kind == Kind::Dir {
            collect(&path, root, entries, inodes);
        }
        let entry = Entry {
            mode: if data.is_symlink() { 0 } else { data.mode() & 0o7777 },
            kind,
            uid: data.uid(),
            gid: data.gid(),
            mtime_ns: i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec()),
            same_as: None,
            xattrs: xattrs(&path),
        };
        entries.insert(name, entry);
    }
}

fn kind(path: &Path, data: &fs::Metadata) -> Kind {
    let kind = data.file_type();
    let device = || (rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev()));
    if kind.is_dir() {
        Kind::Dir
    } else if kind.is_file() {
        let content = read(path, data);
        Kind::File { len: data.len(), sha256: hex(&Sha256::digest(content)) }
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(path).expect("a link has a target").into_os_string().into_vec())
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else if kind.is_block_device() {
        let (major, minor) = device();
        Kind::Block(major, minor)
    } else {
        let (major, minor) = device();
        Kind::Char(major, minor)
    }
}

/// Reads a file, also one of our own whose mode forbids it.
fn read(path: &Path, data: &fs::Metadata) -> Vec<u8> {
    let readable = data.mode() | 0o400;
    let closed = readable != data.mode();
    if closed {
        fs::set_permissions(path, fs::Permissions::from_mode(readable)).expect("a mode can be set");
    }
    let content = fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    if closed {
        fs::set_permissions(path, fs::Permissions::from_mode(data.mode())).expect("a mode can be set");
    }
    content
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    // A file system without attributes has none.
    let len = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found = BTreeMap::new();
    for name in names {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice())
            .expect("an attribute has a value");
        value.truncate(len);
        found.insert(name.to_vec(), value);
    }
    found
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Fails with the differences alone.
pub fn assert_same(actual: &Snapshot, expected: &Snapshot) {
    let mut text = String::new();
    for (path, entry) in &expected.0 {
        match actual.0.get(path) {
            None => {
                let _ = writeln!(text, "missing: {}", path.escape_ascii());
            }
            Some(other) if other != entry => {
                let _ = writeln!(
                    text,
                    "different: {}\n  is        {other:?}\n  should be {entry:?}",
                    path.escape_ascii()
                );
            }
            Some(_) => {}
        }
    }
    for path in actual.0.keys().filter(|path| !expected.0.contains_key(*path)) {
        let _ = writeln!(text, "too much: {}", path.escape_ascii());
    }
    assert!(text.is_empty(), "the trees differ:\n{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_tree_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        dir([
            ("a.txt", file("hello").mode(0o4640).mtime(-5, 7)),
            ("b", dir([("twin", hard_link("a.txt")), ("link", symlink(b"\xff"))]).mode(0o700)),
            ("hole", sparse(1 << 20, [(4096, b"data".to_vec())])),
            ("pipe", fifo()),
        ])
        .build(folder.path());
        let found = Snapshot::of(folder.path());
        let names: Vec<_> = found.0.keys().map(|name| name.escape_ascii().to_string()).collect();
        assert_eq!(names, ["a.txt", "b", "b/link", "b/twin", "hole", "pipe"]);
        let entry = |name: &str| &found.0[name.as_bytes()];
        assert_eq!(entry("a.txt").mode, 0o4640);
        assert_eq!(entry("a.txt").mtime_ns, -4_999_999_993);
        assert_eq!(entry("b/twin").same_as.as_deref(), Some(b"a.txt".as_slice()));
        assert_eq!(entry("b/link").kind, Kind::Symlink(b"\xff".to_vec()));
        assert_eq!(entry("b").mode, 0o700);
        assert_eq!(entry("b").mtime_ns, i128::from(MTIME) * 1_000_000_000);
        assert!(matches!(entry("hole").kind, Kind::File { len: 1_048_576, .. }));
        assert_same(&found.below("b"), &Snapshot::of(&folder.path().join("b")));
    }

    #[test]
    #[should_panic(expected = "different: a")]
    fn changed_content_is_a_difference() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        dir([("a", file("1"))]).build(folders[0].path());
        dir([("a", file("2"))]).build(folders[1].path());
        assert_same(&Snapshot::of(folders[0].path()), &Snapshot::of(folders[1].path()));
    }
}
