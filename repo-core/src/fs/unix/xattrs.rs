//! Extended attributes, by descriptor where there is one.
//!
//! What cannot be opened without side effects (links, pipes, devices) is reached by path, everything else by
//! descriptor: that is faster and cannot be led astray.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::is_unsupported;
use crate::format::Xattr;

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

    /// Sets one attribute, new or old.
    pub(in crate::fs) fn set(self, name: &CStr, value: &[u8]) -> Result<(), Errno> {
        let flags = XattrFlags::empty();
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, flags),
            Self::Link(path) => rustix::fs::lsetxattr(path, name, value, flags),
            Self::Followed(path) => rustix::fs::setxattr(path, name, value, flags),
        }
    }

    /// Removes one attribute.
    pub(in crate::fs) fn remove(self, name: &CStr) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Link(path) => rustix::fs::lremovexattr(path, name),
            Self::Followed(path) => rustix::fs::removexattr(path, name),
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
