//! The Unix calls about metadata: `stat` records, link targets, extended attributes.
//!
//! In: descriptors and paths. Out: plain values. Extended attributes of what cannot be opened without side
//! effects (links, pipes, devices) are reached by path, everything else by descriptor: that is faster and
//! cannot be led astray.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::format::{NodeKind, Xattr};
use crate::time::Timestamp;

use super::EntryMeta;

/// The permission bits and their three helpers.
pub(in crate::fs) const PERMISSIONS: u32 = 0o7777;

/// What a file type is in a tree.
pub(in crate::fs) fn kind(file_type: FileType) -> NodeKind {
    match file_type {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Dir,
        FileType::Symlink => NodeKind::Symlink,
        FileType::BlockDevice => NodeKind::Device,
        FileType::CharacterDevice => NodeKind::CharDevice,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::Unknown => NodeKind::Irregular,
    }
}

/// A `stat` record as plain values; the target of a link is not in it.
pub(in crate::fs) fn meta(stat: &Stat) -> EntryMeta {
    EntryMeta {
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        permissions: bits(stat) & PERMISSIONS,
        mtime: timestamp(stat.st_mtime, stat.st_mtime_nsec),
        atime: timestamp(stat.st_atime, stat.st_atime_nsec),
        ctime: timestamp(stat.st_ctime, stat.st_ctime_nsec),
        uid: stat.st_uid,
        gid: stat.st_gid,
        inode: number(stat.st_ino),
        device: number(stat.st_dev),
        rdev: number(stat.st_rdev),
        links: number(stat.st_nlink),
        size: number(stat.st_size),
        link_target: Vec::new(),
    }
}

/// The mode word; its width differs between systems.
fn bits(stat: &Stat) -> u32 {
    u32::try_from(number(stat.st_mode)).unwrap_or(0)
}

/// Integer widths differ between systems; no field here is negative on a sound one.
pub(in crate::fs) fn number(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or(0)
}

fn timestamp(seconds: impl Into<i64>, nanos: impl TryInto<u32>) -> Timestamp {
    // A file system may hold garbage; records must not.
    Timestamp { seconds: seconds.into(), nanos: nanos.try_into().unwrap_or(0).min(999_999_999) }
}

/// Where extended attributes are read or written.
#[derive(Clone, Copy)]
pub(in crate::fs) enum Holder<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A path whose last component is not followed.
    Link(&'a Path),
    /// A path whose last component is followed.
    Followed(&'a Path),
}

impl Holder<'_> {
    fn list_into(self, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, spare_capacity(buffer)),
            Self::Link(path) => rustix::fs::llistxattr(path, spare_capacity(buffer)),
            Self::Followed(path) => rustix::fs::listxattr(path, spare_capacity(buffer)),
        }
    }

    fn get_into(self, name: &CStr, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, spare_capacity(buffer)),
            Self::Link(path) => rustix::fs::lgetxattr(path, name, spare_capacity(buffer)),
            Self::Followed(path) => rustix::fs::getxattr(path, name, spare_capacity(buffer)),
        }
    }

    /// The names in the system's order; none where the file system knows no extended attributes.
    pub(in crate::fs) fn names(self) -> Result<Vec<CString>, Errno> {
        let mut buffer = Vec::with_capacity(256);
        match growing(&mut buffer, |buffer| self.list_into(buffer)) {
            Ok(()) => {}
            Err(errno) if is_unsupported(errno) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
        let names = buffer.split_inclusive(|&byte| byte == 0);
        Ok(names.filter_map(|name| CStr::from_bytes_with_nul(name).ok()).map(CStr::to_owned).collect())
    }

    /// One value; `None` if there is none of that name (any more).
    pub(in crate::fs) fn value(self, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
        let mut buffer = Vec::with_capacity(256);
        match growing(&mut buffer, |buffer| self.get_into(name, buffer)) {
            Ok(()) => {
                buffer.shrink_to_fit();
                Ok(Some(buffer))
            }
            Err(errno) if errno == missing() => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// All attributes, in the system's order, and the first failure.
    pub(in crate::fs) fn all(self) -> (Vec<Xattr>, Option<Errno>) {
        let (mut found, mut problem) = (Vec::new(), None);
        let names = match self.names() {
            Ok(names) => names,
            Err(errno) => return (found, Some(errno)),
        };
        for name in names {
            match self.value(&name) {
                Ok(Some(value)) => found.push(Xattr { name: name.into_bytes(), value: Some(value) }),
                Ok(None) => {}
                Err(errno) => problem = problem.or(Some(errno)),
            }
        }
        (found, problem)
    }
}

/// Calls with larger and larger buffers: what is asked for may grow between two calls.
fn growing(
    buffer: &mut Vec<u8>,
    mut call: impl FnMut(&mut Vec<u8>) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    const LIMIT: usize = 32 << 20; // far above the kernel's 64 KiB; macOS resource forks are larger
    loop {
        buffer.clear();
        match call(buffer) {
            Ok(_) => return Ok(()),
            Err(Errno::RANGE) if buffer.capacity() < LIMIT => buffer.reserve(buffer.capacity() * 8),
            Err(errno) => return Err(errno),
        }
    }
}

pub(in crate::fs) fn is_unsupported(errno: Errno) -> bool {
    errno == Errno::NOTSUP || errno == Errno::OPNOTSUPP || errno == Errno::NOSYS
}

/// How the system says that there is no attribute of a name.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(in crate::fs) fn missing() -> Errno {
    Errno::NODATA
}

/// How the system says that there is no attribute of a name.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(in crate::fs) fn missing() -> Errno {
    Errno::NOATTR
}
