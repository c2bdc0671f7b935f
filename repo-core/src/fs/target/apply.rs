//! A node's metadata onto an entry that exists.
//!
//! In: an open file or directory, or a name in an open directory. Out: its owner, extended attributes, times and
//! mode, in this order: a change of owner takes privileges away, attributes need write permission, and nobody may
//! run a file as a user who does not own it. Never follows a link.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::filter::Selection;
use crate::format::{Node, NodeKind};
use crate::fs::Operation;
use crate::fs::metadata::Names;
use crate::fs::unix::{self, Holder};
use crate::time::Time;

/// How much of a node's metadata an entry gets.
#[derive(Debug, Clone, Default)]
pub struct Fidelity {
    /// Who owns it.
    pub owner: Owner,
    /// Whether it keeps what could harm this machine.
    pub privileges: Privileges,
    /// Which extended attributes are restored, by name. Others that the entry has are left alone if they are
    /// not selected, and removed if they are.
    pub xattrs: Selection,
}

/// Who owns a restored entry.
#[derive(Debug, Clone, Default)]
pub enum Owner {
    /// The numbers in the node.
    #[default]
    Numbers,
    /// The users and groups that have the node's names here; the numbers where there are none.
    Names(Arc<Names>),
    /// Whoever restores.
    Nobody,
}

/// What becomes of setuid and setgid bits and of attributes of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privileges {
    /// They are restored, as far as the owner is.
    #[default]
    Keep,
    /// They are left out: the snapshot comes from somewhere else.
    Drop,
}

/// An entry that gets metadata.
#[derive(Clone, Copy)]
pub(super) enum Spot<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A link, pipe or device in an open directory.
    Entry { directory: BorrowedFd<'a>, name: &'a OsStr },
}

/// Gives an entry all that `fidelity` wants; goes on after a failure and returns the first.
pub(super) fn apply(
    spot: Spot<'_>,
    node: &Node,
    fidelity: &Fidelity,
    is_superuser: bool,
) -> Result<(), (Operation, Errno)> {
    let mut result = Ok(());
    let mut note = |operation, outcome: Result<(), Errno>| match outcome {
        // Who restores what is not his gets what he may have.
        Err(Errno::PERM | Errno::ACCESS) if !is_superuser => {}
        Err(errno) if result.is_ok() => result = Err((operation, errno)),
        Ok(()) | Err(_) => {}
    };
    let stat = spot.stat().map_err(|errno| (Operation::SetMetadata, errno))?;
    if unix::meta(&stat).kind != node.kind {
        return Err((Operation::SetMetadata, Errno::LOOP)); // something else stands in its place
    }
    let (owns, chowned) = own(spot, &stat, node, &fidelity.owner);
    let has_new_owner = chowned == Ok(true);
    note(Operation::SetMetadata, chowned.map(drop));
    set_xattrs(spot, node, fidelity, |outcome| note(Operation::SetXattrs, outcome));
    note(Operation::SetMetadata, set_times(spot, node));
    if node.kind != NodeKind::Symlink {
        let wanted = permissions(node, fidelity, owns);
        if has_new_owner || unix::meta(&stat).permissions != wanted {
            note(Operation::SetMetadata, spot.chmod(wanted));
        }
    }
    result
}

/// Whether user and group are those of the node.
#[derive(Clone, Copy)]
struct Owns {
    user: bool,
    group: bool,
}

/// Changes the owner if it has to be changed; tells what holds afterwards, and whether anything was done.
fn own(spot: Spot<'_>, stat: &Stat, node: &Node, owner: &Owner) -> (Owns, Result<bool, Errno>) {
    let (uid, gid) = match owner {
        Owner::Numbers => (node.uid, node.gid),
        Owner::Names(names) => {
            (names.uid(&node.user).unwrap_or(node.uid), names.gid(&node.group).unwrap_or(node.gid))
        }
        Owner::Nobody => {
            let owns = Owns { user: stat.st_uid == node.uid, group: stat.st_gid == node.gid };
            return (owns, Ok(false));
        }
    };
    let is = Owns { user: stat.st_uid == uid, group: stat.st_gid == gid };
    if is.user && is.group {
        return (is, Ok(false));
    }
    match spot.chown(Some(uid), Some(gid)) {
        // All ones means "as it is" to the system, and is nobody's number.
        Ok(()) => (Owns { user: uid != u32::MAX, group: gid != u32::MAX }, Ok(true)),
        // The owner of a file may still give it to a group of his.
        Err(Errno::PERM) if !is.group && spot.chown(None, Some(gid)).is_ok() => {
            (Owns { group: true, ..is }, if is.user { Ok(true) } else { Err(Errno::PERM) })
        }
        Err(errno) => (is, Err(errno)),
    }
}

/// The permissions an entry gets: to run it as somebody, it must belong to him.
fn permissions(node: &Node, fidelity: &Fidelity, owns: Owns) -> u32 {
    const SETUID: u32 = 0o4000;
    const SETGID: u32 = 0o2000;
    let mut permissions = node.mode.unix_permissions();
    if node.kind != NodeKind::Dir {
        if !owns.user || fidelity.privileges == Privileges::Drop {
            permissions &= !SETUID;
        }
        if !owns.group || fidelity.privileges == Privileges::Drop {
            permissions &= !SETGID;
        }
    }
    permissions
}

/// Sets the node's attributes and removes all others, as far as they are selected.
fn set_xattrs(spot: Spot<'_>, node: &Node, fidelity: &Fidelity, mut note: impl FnMut(Result<(), Errno>)) {
    let is_selected = |name: &[u8]| {
        let is_of_system = |prefix: &&[u8]| name.starts_with(prefix);
        let of_system: [&[u8]; 3] = [b"security.", b"system.", b"trusted."];
        (fidelity.privileges == Privileges::Keep || !of_system.iter().any(is_of_system))
            && fidelity.xattrs.check(name).entry
    };
    let path = spot.path();
    let holder = spot.holder(&path);
    let present = match holder.names() {
        Ok(present) => present,
        Err(errno) => return note(Err(errno)),
    };
    for name in present {
        let is_wanted = node.xattrs.iter().any(|xattr| xattr.name == name.as_bytes());
        if !is_wanted && is_selected(name.as_bytes()) {
            match holder.remove(&name) {
                // A label that the system gives every file cannot be taken away.
                Err(_) if name.as_bytes().starts_with(b"security.") => {}
                outcome => note(outcome),
            }
        }
    }
    for xattr in node.xattrs.iter().filter(|xattr| is_selected(&xattr.name)) {
        let value = xattr.value.as_deref().unwrap_or_default();
        let name = CString::new(&*xattr.name).map_err(|_| Errno::INVAL);
        note(name.and_then(|name| holder.set(&name, value)));
    }
}

fn set_times(spot: Spot<'_>, node: &Node) -> Result<(), Errno> {
    // A missing time reads as the year 1. File systems would make something of it that nobody meant.
    let timespec = |time: Time| {
        if time.instant.seconds <= Time::ZERO.instant.seconds {
            Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }
        } else {
            Timespec { tv_sec: time.instant.seconds, tv_nsec: time.instant.nanos.into() }
        }
    };
    spot.utimens(&Timestamps { last_access: timespec(node.atime), last_modification: timespec(node.mtime) })
}

impl<'a> Spot<'a> {
    fn stat(self) -> Result<Stat, Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fstat(fd),
            Self::Entry { directory, name } => rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn chown(self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let uid = uid.filter(|&uid| uid != u32::MAX).map(Uid::from_raw);
        let gid = gid.filter(|&gid| gid != u32::MAX).map(Gid::from_raw);
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Entry { directory, name } => {
                rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn utimens(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, times),
            Self::Entry { directory, name } => {
                rustix::fs::utimensat(directory, name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn chmod(self, permissions: u32) -> Result<(), Errno> {
        let mode = unix::system_mode(permissions);
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Entry { directory, name } => chmod_entry(directory, name, mode),
        }
    }

    /// A path for calls that take no descriptor: from the open directory, so that only the name is looked up.
    fn path(self) -> PathBuf {
        match self {
            Self::Open(_) => PathBuf::new(),
            Self::Entry { directory, name } => of_descriptor(directory).join(name),
        }
    }

    fn holder(self, path: &'a Path) -> Holder<'a> {
        match self {
            Self::Open(fd) => Holder::Open(fd),
            Self::Entry { .. } => Holder::Link(path),
        }
    }
}

fn of_descriptor(fd: impl AsFd) -> PathBuf {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    Path::new(folder).join(fd.as_fd().as_raw_fd().to_string())
}

/// Linux changes modes by path only through links, so the entry itself is taken hold of first.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn chmod_entry(directory: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&entry)?.st_mode).is_symlink() {
        return Err(Errno::LOOP);
    }
    rustix::fs::chmod(of_descriptor(&entry), mode)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn chmod_entry(directory: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<(), Errno> {
    rustix::fs::chmodat(directory, name, mode, AtFlags::SYMLINK_NOFOLLOW)
}
