//! The Unix calls that source and target share: `stat` records, names in directories, extended attributes.
//!
//! In: descriptors and paths. Out: plain values, or the system's error number.

mod kept;
mod listing;
mod xattrs;

pub(in crate::fs) use kept::KeptDirs;
pub(in crate::fs) use listing::read_names;
pub(in crate::fs) use xattrs::Holder;

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::metadata::EntryMeta;
use crate::format::NodeKind;
use crate::time::Timestamp;

/// No system takes longer paths in one call; a bit below, because some count the ending zero.
pub(in crate::fs) const PATH_BYTES_MAX: usize = if cfg!(target_os = "macos") { 1000 } else { 4000 };

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

/// Permission bits as the system takes them; the width of its mode word differs.
pub(in crate::fs) fn system_mode(permissions: u32) -> Mode {
    Mode::from_raw_mode(narrow(permissions & PERMISSIONS))
}

/// Integer widths differ between systems; permission bits fit all of them.
fn narrow<T: TryFrom<u32> + Default>(value: u32) -> T {
    T::try_from(value).unwrap_or_default()
}

/// A file by its file system and inode, whatever names it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::fs) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(in crate::fs) fn of(stat: &Stat) -> Self {
        Self { device: number(stat.st_dev), inode: number(stat.st_ino) }
    }
}

/// Opens without a trace in the access time; only owners may, so others open as usual.
pub(in crate::fs) fn open_without_trace(
    open: impl Fn(OFlags) -> Result<OwnedFd, Errno>,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    match retry_on_intr(|| open(flags | NO_ATIME)) {
        Err(Errno::PERM) => retry_on_intr(|| open(flags)),
        result => result,
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_ATIME: OFlags = OFlags::NOATIME;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const NO_ATIME: OFlags = OFlags::empty();

pub(in crate::fs) fn is_unsupported(errno: Errno) -> bool {
    errno == Errno::NOTSUP || errno == Errno::OPNOTSUPP || errno == Errno::NOSYS
}
