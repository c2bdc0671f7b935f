//! Directories below one directory, reached without following any link.
//!
//! In: relative paths of plain names. Out: descriptors. A name is always opened from the directory it lies in, so
//! no link that anybody plants on the way, before or meanwhile, leads outside.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::fs::unix::KeptDirs;

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One directory, and those below it that were used lately.
#[derive(Debug)]
pub(super) struct Beneath {
    root: Arc<OwnedFd>,
    kept: KeptDirs,
}

impl Beneath {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root: Arc::new(root), kept: KeptDirs::default() }
    }

    /// Opens a directory; the empty path is the one at the top.
    pub(super) fn dir(&self, path: &Path) -> Result<Arc<OwnedFd>> {
        if path.as_os_str().is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(directory) = self.kept.look_up(path) {
            return Ok(directory);
        }
        let directory = Arc::new(match self.open_one(path)? {
            Some(directory) => directory,
            None => self.open_all(path)?,
        });
        self.kept.keep(path, Arc::clone(&directory));
        Ok(directory)
    }

    /// Splits a path into the open directory above and the name in it.
    pub(super) fn place<'p>(&self, path: &'p Path) -> Result<(Arc<OwnedFd>, &'p OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
        if !is_plain(path) {
            return Err(Errno::INVAL);
        }
        Ok((self.dir(parent)?, name))
    }

    /// Forgets a directory and all below it, because it is being removed.
    pub(super) fn forget(&self, path: &Path) {
        self.kept.forget(path);
    }

    /// One step from the directory above, if that is open.
    fn open_one(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
        let above = if parent.as_os_str().is_empty() {
            Some(Arc::clone(&self.root))
        } else {
            self.kept.look_up(parent)
        };
        above.map(|above| rustix::fs::openat(&above, name, FLAGS, Mode::empty())).transpose()
    }

    /// All steps from the top, in one call where the system knows one that keeps to the rule.
    fn open_all(&self, path: &Path) -> Result<OwnedFd> {
        if !is_plain(path) {
            return Err(Errno::INVAL);
        }
        match open_beneath(&self.root, path) {
            // Unknown, forbidden by a sandbox, disturbed by a renaming, or too long for one call.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::NAMETOOLONG) => {}
            result => return result,
        }
        let mut directory: Option<OwnedFd> = None;
        for component in path.components() {
            let above = directory.as_ref().unwrap_or(&self.root);
            directory = Some(rustix::fs::openat(above, component.as_os_str(), FLAGS, Mode::empty())?);
        }
        directory.ok_or(Errno::INVAL)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, FLAGS, Mode::empty(), resolve)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open_beneath(_: &OwnedFd, _: &Path) -> Result<OwnedFd> {
    Err(Errno::NOSYS)
}

/// Whether a path is made of names alone, without root, `.` or `..`.
fn is_plain(path: &Path) -> bool {
    path.components().all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn beneath(path: &Path) -> Beneath {
        Beneath::new(rustix::fs::open(path, FLAGS, Mode::empty()).unwrap())
    }

    #[test]
    fn only_plain_names_lead_somewhere() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let beneath = beneath(&dir.path().join("a"));
        for path in ["..", "../a", "b/..", "/", "/etc", "b/../../.."] {
            assert_eq!(beneath.dir(Path::new(path)).err(), Some(Errno::INVAL), "{path}");
            assert_eq!(beneath.place(&Path::new(path).join("x")).err(), Some(Errno::INVAL), "{path}");
        }
        assert_eq!(beneath.place(Path::new("")).err(), Some(Errno::INVAL));
        assert!(beneath.dir(Path::new("b")).is_ok());
    }

    #[test]
    fn links_are_not_followed_wherever_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/below")).unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        for path in ["link", "link/below"] {
            let error = beneath(dir.path()).dir(Path::new(path)).unwrap_err();
            assert!(matches!(error, Errno::LOOP | Errno::NOTDIR), "{path}: {error}");
        }
    }

    #[test]
    fn one_call_and_many_steps_reach_the_same_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = Path::new("a/b/c/d");
        fs::create_dir_all(dir.path().join(path)).unwrap();
        let inode = fs::metadata(dir.path().join(path)).unwrap().ino();
        let check = |directory: &OwnedFd| assert_eq!(rustix::fs::fstat(directory).unwrap().st_ino, inode);
        check(&beneath(dir.path()).dir(path).unwrap());
        let stepwise = beneath(dir.path());
        for above in ["a", "a/b", "a/b/c"] {
            stepwise.dir(Path::new(above)).unwrap();
        }
        check(&stepwise.dir(path).unwrap());
    }

    #[test]
    fn paths_longer_than_one_call_takes_are_walked() {
        let dir = tempfile::tempdir().unwrap();
        let name = "d".repeat(200);
        let beneath = beneath(dir.path());
        let mut path = std::path::PathBuf::new();
        for _ in 0..30 {
            let above = beneath.dir(&path).unwrap();
            rustix::fs::mkdirat(&above, &name, Mode::RWXU).unwrap();
            path.push(&name);
        }
        beneath.forget(Path::new(""));
        assert!(beneath.dir(&path).is_ok());
    }
}
