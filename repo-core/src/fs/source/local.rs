//! The file system as a source.
//!
//! In: paths, best absolute ones. Out: listings, metadata, bytes. Works by descriptor relative to open
//! directories, never follows a link at the end of a path unless told to, never waits for a pipe, never changes
//! an access time if the system lets it, never reads a hole.

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::format::NodeKind;

use super::directories::Directories;
use super::file::LocalFile;
use super::{Detail, Entry, Links, Listing, OpenFile, Source};
use crate::fs::metadata::{EntryMeta, Xattrs};
use crate::fs::unix::{self, Holder};
use crate::fs::{FaultKind, Operation, SourceError};

/// The file system of this machine.
///
/// ```
/// use repo_core::fs::source::{Detail, LocalSource, Piece, Source};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("greeting"), "hello")?;
/// let source = LocalSource::new();
/// let listing = source.list(folder.path(), Detail::Kinds)?;
/// let mut file = source.open(&folder.path().join(&listing.entries[0].name))?;
/// let mut buffer = [0; 16];
/// assert_eq!(file.read(&mut buffer)?, Piece::Data(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Relative paths are taken from the process's current directory; absolute ones do not depend on it.
#[derive(Debug, Default)]
pub struct LocalSource {
    directories: Directories,
}

impl LocalSource {
    /// Nothing is opened before it is asked for.
    pub fn new() -> Self {
        Self::default()
    }

    fn open_with(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (anchor, rest) = self.directories.locate(path)?;
        unix::open_without_trace(|flags| rustix::fs::openat(&anchor, rest, flags, Mode::empty()), flags)
    }
}

impl Source for LocalSource {
    fn list(&self, dir: &Path, detail: Detail) -> Result<Listing, SourceError> {
        let error = |operation| move |errno| SourceError::system(errno, operation, dir);
        let directory = self.open_with(dir, OFlags::DIRECTORY).map_err(error(Operation::Open))?;
        let meta = unix::meta(&rustix::fs::fstat(&directory).map_err(error(Operation::Stat))?);
        let xattrs = read_xattrs(Holder::Open(directory.as_fd()), dir);
        let names = unix::read_names(&directory).map_err(error(Operation::List))?;
        let mut entries: Vec<Entry> =
            names.into_iter().map(|(name, kind)| Entry { name, kind, meta: None }).collect();
        let directory = Arc::new(directory);
        self.directories.keep(dir, Arc::clone(&directory));
        entries.retain_mut(|entry| add_detail(&directory, entry, detail).is_ok());
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Listing { meta, xattrs, entries })
    }

    fn stat(&self, path: &Path, links: Links) -> Result<EntryMeta, SourceError> {
        let error = |errno| SourceError::system(errno, Operation::Stat, path);
        let flags = match links {
            Links::Keep => AtFlags::SYMLINK_NOFOLLOW,
            Links::Follow => AtFlags::empty(),
        };
        let (anchor, rest) = self.directories.locate(path).map_err(error)?;
        let mut meta = unix::meta(&rustix::fs::statat(&anchor, rest, flags).map_err(error)?);
        if meta.kind == NodeKind::Symlink {
            let target = rustix::fs::readlinkat(&anchor, rest, Vec::new());
            let error = |errno| SourceError::system(errno, Operation::Read, path);
            meta.link_target = target.map_err(error)?.into_bytes();
        }
        Ok(meta)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        let error = |operation| move |errno| SourceError::system(errno, operation, path);
        let file = self.open_with(path, OFlags::NONBLOCK).map_err(error(Operation::Open))?;
        let stat = rustix::fs::fstat(&file).map_err(error(Operation::Stat))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(SourceError::new(FaultKind::Changed, Operation::Open, path));
        }
        Ok(Box::new(LocalFile::new(file, path, &stat)))
    }

    fn xattrs(&self, path: &Path, links: Links) -> Xattrs {
        let located = self.directories.locate(path);
        let whole = match &located {
            Ok((anchor, rest)) => anchor.whole_path(path, rest),
            Err(_) => Cow::Borrowed(path),
        };
        match links {
            Links::Keep => read_xattrs(Holder::Link(&whole), path),
            Links::Follow => read_xattrs(Holder::Followed(&whole), path),
        }
    }
}

pub(super) fn read_xattrs(holder: Holder<'_>, path: &Path) -> Xattrs {
    let (found, problem) = holder.all();
    let problem = problem.map(|errno| SourceError::system(errno, Operation::ReadXattrs, path));
    Xattrs { found, problem }
}

/// The entry vanished after its name was read.
struct Gone;

/// Adds what the listing promises about an entry; other failures than vanishing are left to a later call.
fn add_detail(directory: &OwnedFd, entry: &mut Entry, detail: Detail) -> Result<(), Gone> {
    match (&entry.kind, detail) {
        (Some(NodeKind::Socket), _) | (Some(NodeKind::File | NodeKind::Dir), Detail::Kinds) => return Ok(()),
        _ => {}
    }
    let stat = match rustix::fs::statat(directory, &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Err(Gone),
        Err(_) => return Ok(()),
    };
    let mut meta = unix::meta(&stat);
    entry.kind = Some(meta.kind.clone());
    if meta.kind == NodeKind::Symlink {
        match rustix::fs::readlinkat(directory, &entry.name, Vec::new()) {
            Ok(target) => meta.link_target = target.into_bytes(),
            Err(Errno::NOENT) => return Err(Gone),
            Err(_) => return Ok(()),
        }
    }
    entry.meta = Some(meta);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;
    use crate::fs::FaultKind;

    fn names(listing: &Listing) -> Vec<&[u8]> {
        listing.entries.iter().map(|entry| entry.name.as_bytes()).collect()
    }

    fn fifo(path: &Path) {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    }

    #[test]
    fn directory_is_listed_in_the_order_of_its_names_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let odd: [&[u8]; 9] =
            [b"\xff\xfe", b"a", b"B", b"a b", b"new\nline", b"-", "ä".as_bytes(), b"\\", b"..."];
        for name in odd {
            fs::write(dir.path().join(OsStr::from_bytes(name)), name).unwrap();
        }
        let mut expected = odd.to_vec();
        expected.sort_unstable();
        let source = LocalSource::new();
        let listing = source.list(dir.path(), Detail::Metadata).unwrap();
        assert_eq!(names(&listing), expected);
        assert_eq!(listing.meta.inode, fs::metadata(dir.path()).unwrap().ino());
        for entry in &listing.entries {
            let path = dir.path().join(&entry.name);
            assert_eq!(entry.meta.as_ref().unwrap(), &source.stat(&path, Links::Keep).unwrap());
            assert_eq!(source.open(&path).unwrap().meta(), entry.meta.as_ref().unwrap());
        }
    }

    #[test]
    fn large_directory_is_listed_whole() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..3000 {
            fs::write(dir.path().join(format!("{number:0100}")), "").unwrap();
        }
        let listing = LocalSource::new().list(dir.path(), Detail::Kinds).unwrap();
        assert_eq!(listing.entries.len(), 3000);
        assert!(listing.entries.is_sorted_by(|a, b| a.name < b.name));
        assert!(listing.entries.iter().all(|e| e.kind == Some(NodeKind::File) && e.meta.is_none()));
    }

    #[test]
    fn listing_describes_what_is_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        symlink("some\\where", dir.path().join("link")).unwrap();
        fifo(&dir.path().join("pipe"));
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let listing = LocalSource::new().list(dir.path(), Detail::Kinds).unwrap();
        let [link, pipe, socket] = &listing.entries[..] else { panic!("{listing:?}") };
        assert_eq!(link.meta.as_ref().unwrap().link_target, b"some\\where");
        assert_eq!(pipe.meta.as_ref().unwrap().kind, NodeKind::Fifo);
        assert_eq!(socket.kind, Some(NodeKind::Socket));
    }

    #[test]
    fn something_else_in_place_of_a_file_is_never_opened_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        symlink("file", at("link")).unwrap();
        fifo(&at("pipe"));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let source = LocalSource::new();
        for name in ["link", "pipe", "socket", ""] {
            let error = source.open(&at(name)).err().unwrap();
            assert_eq!(error.kind(), FaultKind::Changed, "{name}");
        }
        for name in ["file", "link", "pipe"] {
            let error = source.list(&at(name), Detail::Kinds).err().unwrap();
            assert_eq!(error.kind(), FaultKind::Changed, "{name}");
        }
        assert!(source.open(&at("missing")).err().unwrap().is_vanished());
        assert!(source.list(&at("missing"), Detail::Kinds).err().unwrap().is_vanished());
    }

    #[test]
    fn links_are_followed_only_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/file"), "inside").unwrap();
        symlink("real", dir.path().join("way")).unwrap();
        let source = LocalSource::new();
        let way = dir.path().join("way");
        assert_eq!(source.stat(&way, Links::Keep).unwrap().kind, NodeKind::Symlink);
        assert_eq!(source.stat(&way, Links::Follow).unwrap().kind, NodeKind::Dir);
        assert_eq!(source.open(&way.join("file")).unwrap().meta().size, 6);
    }

    #[test]
    fn listed_directory_is_reached_even_after_it_was_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        fs::create_dir(&old).unwrap();
        fs::write(old.join("file"), "x").unwrap();
        let source = LocalSource::new();
        source.list(&old, Detail::Kinds).unwrap();
        fs::rename(&old, dir.path().join("new")).unwrap();
        symlink("/etc", &old).unwrap();
        assert_eq!(source.open(&old.join("file")).unwrap().meta().size, 1);
        assert!(source.open(&old.join("passwd")).is_err());
    }

    #[test]
    fn tree_deeper_than_the_longest_path_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let component = "d".repeat(200);
        let depth = 30;
        let mut handle = rustix::fs::open(dir.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&handle, &component, Mode::RWXU).unwrap();
            handle = rustix::fs::openat(&handle, &component, OFlags::RDONLY, Mode::empty()).unwrap();
        }
        rustix::fs::symlinkat("target", &handle, "link").unwrap();
        let mut path = dir.path().to_owned();
        path.extend((0..depth).map(|_| &component));
        // A source that has just listed the directories above, and one that knows nothing of them.
        let walked = LocalSource::new();
        let mut above = dir.path().to_owned();
        while above != path {
            assert_eq!(walked.list(&above, Detail::Kinds).unwrap().entries[0].name, *component);
            above.push(&component);
        }
        for source in [walked, LocalSource::new()] {
            assert_eq!(names(&source.list(&path, Detail::Kinds).unwrap()), [b"link"]);
            let link = path.join("link");
            assert_eq!(source.stat(&link, Links::Keep).unwrap().link_target, b"target");
            assert!(source.xattrs(&link, Links::Keep).problem.is_none());
        }
        // `remove_dir_all` works by descriptor, so the temporary directory goes away as always.
    }

    #[test]
    fn extended_attributes_are_read_from_all_that_can_hold_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "x").unwrap();
        let large = vec![7; 3000];
        let values: [(&str, &[u8]); 3] =
            [("user.zeta", b""), ("user.alpha", &[0, 255]), ("user.large", &large)];
        for path in [&file, dir.path()] {
            for (name, value) in values {
                let flags = rustix::fs::XattrFlags::empty();
                match rustix::fs::setxattr(path, name, value, flags) {
                    Ok(()) => {}
                    Err(errno) if unix::is_unsupported(errno) => return, // nothing to test on this file system
                    Err(errno) => panic!("{errno}"),
                }
            }
        }
        let check = |xattrs: Xattrs| {
            assert!(xattrs.problem.is_none());
            for (name, value) in values {
                let found = xattrs.found.iter().find(|xattr| xattr.name == name.as_bytes());
                assert_eq!(found.unwrap().value.as_deref(), Some(value), "{name}");
            }
        };
        let source = LocalSource::new();
        check(source.open(&file).unwrap().xattrs());
        check(source.list(dir.path(), Detail::Kinds).unwrap().xattrs);
        check(source.xattrs(&file, Links::Keep));
        check(source.xattrs(dir.path(), Links::Follow));
    }

    #[test]
    fn times_before_the_epoch_and_nanoseconds_survive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = fs::File::create(&path).unwrap();
        let time = rustix::fs::Timespec { tv_sec: -3, tv_nsec: 123_456_789 };
        rustix::fs::futimens(&file, &rustix::fs::Timestamps { last_access: time, last_modification: time })
            .unwrap();
        let meta = LocalSource::new().stat(&path, Links::Keep).unwrap();
        assert_eq!((meta.mtime.seconds, meta.mtime.nanos), (-3, 123_456_789));
        assert_eq!(meta.atime, meta.mtime);
    }

    #[test]
    fn unreadable_is_told_from_missing() {
        let dir = tempfile::tempdir().unwrap();
        let (file, sub) = (dir.path().join("f"), dir.path().join("d"));
        fs::write(&file, "x").unwrap();
        fs::create_dir(&sub).unwrap();
        for path in [&file, &sub] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        }
        let source = LocalSource::new();
        let opened = [source.open(&file).err(), source.list(&sub, Detail::Kinds).err()];
        for error in opened {
            // The superuser may read everything.
            let expected = (!rustix::process::geteuid().is_root()).then_some(FaultKind::Denied);
            assert_eq!(error.map(|error| error.kind()), expected);
        }
        fs::set_permissions(&sub, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn reading_leaves_no_trace_in_the_access_time() {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("f");
        fs::write(&path, "x").unwrap();
        let old = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty()).unwrap();
        let source = LocalSource::new();
        let mut file = source.open(&path).unwrap();
        while file.read(&mut [0; 8]).unwrap() != super::super::Piece::End {}
        if cfg!(target_os = "linux") {
            assert_eq!(source.stat(&path, Links::Keep).unwrap().atime.seconds, 1_000_000);
        }
    }
}
