//! Paths of a source, taken apart at directories that are open.
//!
//! In: paths. Out: a descriptor and the rest to walk from there. A directory that was listed stays open while
//! its entries are read, as long as not too many others are listed meanwhile; calls relative to it are cheaper
//! than whole paths, work at any depth, and stay in that very directory whatever is renamed above it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::fs::unix::{KeptDirs, PATH_BYTES_MAX};

/// Directories that were listed lately.
#[derive(Debug, Default)]
pub(super) struct Directories(KeptDirs);

/// From where a path is to be walked.
pub(super) enum Anchor {
    /// The process's root or current directory.
    Outside,
    /// A directory that is open.
    Open(Arc<OwnedFd>),
}

impl Anchor {
    /// A path for calls that take no descriptor; `path` itself unless it is too long for them.
    pub(super) fn whole_path<'p>(&self, path: &'p Path, rest: &Path) -> Cow<'p, Path> {
        match self {
            Self::Open(directory) if path.as_os_str().len() > PATH_BYTES_MAX => {
                let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
                Cow::Owned(Path::new(folder).join(directory.as_raw_fd().to_string()).join(rest))
            }
            _ => Cow::Borrowed(path),
        }
    }
}

impl AsFd for Anchor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Outside => CWD,
            Self::Open(directory) => directory.as_fd(),
        }
    }
}

impl Directories {
    /// Splits a path into an open directory and what is to be walked from there.
    ///
    /// If the directory above is open, that is one name; otherwise it is as much of the path as the system
    /// takes in one call.
    pub(super) fn locate<'p>(&self, path: &'p Path) -> Result<(Anchor, &'p Path)> {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Some(directory) = self.0.look_up(parent)
        {
            return Ok((Anchor::Open(directory), Path::new(name)));
        }
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok((Anchor::Outside, path));
        }
        let (head, tail) = split(path).ok_or(Errno::NAMETOOLONG)?;
        let (anchor, rest) = self.locate(head)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&anchor, rest, flags, Mode::empty())?;
        Ok((Anchor::Open(Arc::new(directory)), tail))
    }

    /// Keeps a directory open for those who ask for its entries next.
    pub(super) fn keep(&self, path: &Path, directory: Arc<OwnedFd>) {
        self.0.keep(path, directory);
    }
}

/// Cuts a path that is too long for one call at a slash, the tail as long as one call takes.
fn split(path: &Path) -> Option<(&Path, &Path)> {
    let bytes = path.as_os_str().as_bytes();
    let earliest = bytes.len().saturating_sub(PATH_BYTES_MAX);
    let cut = earliest + bytes.get(earliest..)?.iter().position(|&byte| byte == b'/')?;
    let (head, tail) = (bytes.get(..cut)?, bytes.get(cut + 1..)?);
    (!head.is_empty() && !tail.is_empty())
        .then(|| (Path::new(OsStr::from_bytes(head)), Path::new(OsStr::from_bytes(tail))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_cut_at_a_slash() {
        let long = "/abc".repeat(PATH_BYTES_MAX);
        let (head, tail) = split(Path::new(&long)).unwrap();
        assert!(tail.as_os_str().len() <= PATH_BYTES_MAX);
        assert!(tail.starts_with("abc"));
        assert_eq!(head.join(tail), Path::new(&long));
        assert_eq!(split(Path::new(&"a".repeat(PATH_BYTES_MAX * 2))), None);
    }
}
