//! Where files are restored: everything below one directory, and nothing outside it.
//!
//! In: paths below that directory, bytes, nodes. Out: entries of the file system. The directory itself may be
//! reached through links; below it no link is ever followed, because each step goes from an open directory to one
//! name in it. A file appears under its name only when it is complete. What stands in the way of something else
//! is not removed unless asked for.

mod apply;
mod beneath;
mod file;
#[cfg(test)]
mod tests;

pub use apply::{Fidelity, Owner, Privileges};
pub use file::{Layout, Suspended, TargetFile};

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::apply::Spot;
use self::beneath::Beneath;
use super::metadata::EntryMeta;
use super::unix::{self, Identity};
use super::{FaultKind, Operation, TargetError};
use crate::format::{Node, NodeKind};

/// A directory to restore into. All its methods may be called from several threads.
///
/// Paths are relative to it and made of plain names; the empty path is the directory itself.
///
/// ```
/// use std::path::Path;
/// use repo_core::fs::target::{Layout, Target};
///
/// let folder = tempfile::tempdir()?;
/// let target = Target::open(folder.path(), 7)?;
/// let file = target.create_file(Path::new("greeting"), 5, Layout::Dense)?;
/// file.write_at(0, b"hello")?;
/// file.commit()?;
/// assert_eq!(std::fs::read(folder.path().join("greeting"))?, b"hello");
/// assert!(target.create_dir(Path::new("../elsewhere")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Target {
    beneath: Beneath,
    /// The directory as the user knows it, for messages.
    shown: Arc<Path>,
    /// Tells this run's unfinished files from all others.
    token: u64,
    counter: AtomicU64,
    is_superuser: bool,
}

/// Whether a directory had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It is new.
    New,
    /// It was there.
    Existed,
}

impl Target {
    /// Opens a directory. `token` is a random number; it makes the names of unfinished files.
    pub fn open(path: &Path, token: u64) -> Result<Self, TargetError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| TargetError::system(errno, Operation::Open, path))?;
        Ok(Self {
            beneath: Beneath::new(root),
            shown: Arc::from(path),
            token,
            counter: AtomicU64::new(0),
            is_superuser: rustix::process::geteuid().is_root(),
        })
    }

    /// Opens a directory; it and those above are made if they are missing, for the owner alone.
    pub fn create(path: &Path, token: u64) -> Result<Self, TargetError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => TargetError::system(errno, Operation::Create, path),
            None => TargetError::new(FaultKind::Other, Operation::Create, path).because(error),
        })?;
        Self::open(path, token)
    }

    /// Where a path is for the user.
    pub fn shown(&self, path: &Path) -> PathBuf {
        self.shown.join(path)
    }

    /// What an entry is; `None` if there is none, or something else than a directory above it.
    pub fn inspect(&self, path: &Path) -> Result<Option<EntryMeta>, TargetError> {
        let error = |errno| self.error(errno, Operation::Stat, path);
        if path.as_os_str().is_empty() {
            let root = self.beneath.dir(path).map_err(error)?;
            return Ok(Some(unix::meta(&rustix::fs::fstat(&root).map_err(error)?)));
        }
        let found = self.beneath.place(path).and_then(|(directory, name)| {
            let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let mut meta = unix::meta(&stat);
            if meta.kind == NodeKind::Symlink {
                meta.link_target = rustix::fs::readlinkat(&directory, name, Vec::new())?.into_bytes();
            }
            Ok(meta)
        });
        match found {
            Ok(meta) => Ok(Some(meta)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(error(errno)),
        }
    }

    /// The names in a directory and what they name, in no order.
    pub fn list(&self, path: &Path) -> Result<Vec<(OsString, NodeKind)>, TargetError> {
        let error = |errno| self.error(errno, Operation::List, path);
        // A descriptor of its own: the one that is kept may be in use by another listing.
        let kept = self.beneath.dir(path).map_err(error)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&kept, ".", flags, Mode::empty()).map_err(error)?;
        let mut listed = Vec::new();
        for (name, kind) in unix::read_names(&directory).map_err(error)? {
            let kind = match kind {
                Some(kind) => kind,
                None => match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => unix::meta(&stat).kind,
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(error(errno)),
                },
            };
            listed.push((name, kind));
        }
        Ok(listed)
    }

    /// Makes a directory that only its owner may enter, or finds one. The one above exists.
    pub fn create_dir(&self, path: &Path) -> Result<Made, TargetError> {
        let error = |errno| self.error(errno, Operation::Create, path);
        let (directory, name) = self.beneath.place(path).map_err(error)?;
        match rustix::fs::mkdirat(&directory, name, Mode::RWXU) {
            Ok(()) => {
                let made = self.beneath.dir(path).map_err(error)?;
                // Whatever the umask is, its owner may fill it.
                rustix::fs::fchmod(&made, Mode::RWXU).map_err(error)?;
                Ok(Made::New)
            }
            Err(Errno::EXIST) => self.beneath.dir(path).map(|_| Made::Existed).map_err(error),
            Err(errno) => Err(error(errno)),
        }
    }

    /// Begins a new file of `len` bytes; it appears under its name with [`TargetFile::commit`].
    ///
    /// Until then only its owner may read it. The length must be known to be true: space for it may be taken at
    /// once. Bytes that are never written are zero.
    pub fn create_file(&self, path: &Path, len: u64, layout: Layout) -> Result<TargetFile, TargetError> {
        let error = |errno| self.error(errno, Operation::Create, path);
        let (directory, name) = self.beneath.place(path).map_err(error)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open =
            |temporary: &OsStr| rustix::fs::openat(&directory, temporary, flags, Mode::RUSR | Mode::WUSR);
        let (file, temporary) = self.with_free_name(open).map_err(error)?;
        let file = TargetFile::new(self, path, file, (directory, Some(temporary), name.to_owned()), layout);
        file.prepare(len)?;
        Ok(file)
    }

    /// Opens an existing file to be changed where it is. Its length does not change by itself.
    ///
    /// Something that is no regular file, or that has several names, is an error of kind
    /// [`FaultKind::Changed`].
    pub fn update_file(&self, path: &Path) -> Result<TargetFile, TargetError> {
        let file = self.open_existing(path, OFlags::RDWR)?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.error(errno, Operation::Open, path))?;
        if unix::number(stat.st_nlink) != 1 {
            return Err(TargetError::new(FaultKind::Changed, Operation::Open, self.shown(path)));
        }
        self.file_in_place(path, file)
    }

    /// Opens an existing regular file to be read and given metadata.
    pub fn open_file(&self, path: &Path) -> Result<TargetFile, TargetError> {
        let file = self.open_existing(path, OFlags::RDONLY)?;
        self.file_in_place(path, file)
    }

    /// Goes on with a file that was suspended.
    pub fn resume(&self, suspended: Suspended) -> Result<TargetFile, TargetError> {
        suspended.resume(self)
    }

    /// Removes a file that was suspended and is not wanted any more.
    pub fn discard(&self, suspended: Suspended) {
        // Resumed and dropped, it removes itself; if that fails, it is gone already or never can be.
        drop(suspended.resume(self));
    }

    /// Makes a symbolic link, in place of whatever stands there but a directory.
    pub fn symlink(&self, path: &Path, link_target: &[u8]) -> Result<(), TargetError> {
        let link_target = OsStr::from_bytes(link_target);
        self.put(path, Operation::Create, |directory, name| {
            rustix::fs::symlinkat(link_target, directory, name)
        })
    }

    /// Gives an existing file, which this target made as `existing`, a second name in place of whatever stands
    /// there but a directory.
    pub fn hard_link(&self, existing: &Path, path: &Path) -> Result<(), TargetError> {
        let error = |errno| self.error(errno, Operation::Link, path);
        let (from, old_name) = self.beneath.place(existing).map_err(error)?;
        let stat = rustix::fs::statat(&from, old_name, AtFlags::SYMLINK_NOFOLLOW).map_err(error)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(TargetError::new(FaultKind::Changed, Operation::Link, self.shown(existing)));
        }
        if let Some(present) = self.identity(path).map_err(error)?
            && present == Identity::of(&stat)
        {
            return Ok(());
        }
        // Without a flag the last component is not followed, so a planted link is linked, not what it names.
        self.put(path, Operation::Link, |directory, name| {
            rustix::fs::linkat(&from, old_name, directory, name, AtFlags::empty())
        })
    }

    /// Makes a named pipe or a device, in place of whatever stands there but a directory.
    pub fn create_special(&self, path: &Path, kind: &NodeKind, device: u64) -> Result<(), TargetError> {
        let (file_type, device) = match kind {
            NodeKind::Fifo => (FileType::Fifo, 0),
            NodeKind::Device => (FileType::BlockDevice, device),
            NodeKind::CharDevice => (FileType::CharacterDevice, device),
            _ => {
                let error = TargetError::new(FaultKind::NotSupported, Operation::Create, self.shown(path));
                return Err(error.because("it is neither pipe nor device"));
            }
        };
        self.put(path, Operation::Create, |directory, name| make_special(directory, name, file_type, device))
    }

    /// Gives an existing entry the owner, attributes, times and mode of a node.
    ///
    /// Goes on after a failure; the first one is returned. Without the superuser's rights, what the system does
    /// not allow is left as it is.
    pub fn set_metadata(&self, path: &Path, node: &Node, fidelity: &Fidelity) -> Result<(), TargetError> {
        let error = |errno| self.error(errno, Operation::SetMetadata, path);
        let applied = match node.kind {
            NodeKind::File => return self.open_file(path)?.set_metadata(node, fidelity),
            NodeKind::Dir => {
                let directory = self.beneath.dir(path).map_err(error)?;
                apply::apply(Spot::Open(directory.as_fd()), node, fidelity, self.is_superuser)
            }
            _ => {
                let (directory, name) = self.beneath.place(path).map_err(error)?;
                let spot = Spot::Entry { directory: directory.as_fd(), name };
                apply::apply(spot, node, fidelity, self.is_superuser)
            }
        };
        applied.map_err(|(operation, errno)| self.error(errno, operation, path))
    }

    /// Removes an entry, a directory with all below it. What is gone already is success.
    pub fn remove(&self, path: &Path) -> Result<(), TargetError> {
        match self.remove_one(path) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => self.remove_below(path),
            result => result.map_err(|errno| self.error(errno, Operation::Remove, path)),
        }
    }

    /// Removes an entry that has nothing below it. A directory with entries is an error.
    pub fn remove_single(&self, path: &Path) -> Result<(), TargetError> {
        self.remove_one(path).map_err(|errno| self.error(errno, Operation::Remove, path))
    }

    fn remove_one(&self, path: &Path) -> Result<(), Errno> {
        let (directory, name) = self.beneath.place(path)?;
        let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat?,
        };
        let flags = if FileType::from_raw_mode(stat.st_mode).is_dir() {
            self.beneath.forget(path);
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        match rustix::fs::unlinkat(&directory, name, flags) {
            Err(Errno::NOENT) => Ok(()),
            result => result,
        }
    }

    /// Empties a directory from the bottom up with a stack of its own, then removes it.
    fn remove_below(&self, path: &Path) -> Result<(), TargetError> {
        enum Step {
            Empty(PathBuf),
            Remove(PathBuf),
        }
        let mut steps = vec![Step::Empty(path.to_owned())];
        while let Some(step) = steps.pop() {
            let directory = match step {
                Step::Remove(path) => {
                    self.remove_single(&path)?;
                    continue;
                }
                Step::Empty(directory) => directory,
            };
            let entries = self.list(&directory)?;
            steps.push(Step::Remove(directory.clone()));
            for (name, kind) in entries {
                let path = directory.join(name);
                match kind {
                    NodeKind::Dir => steps.push(Step::Empty(path)),
                    _ => self.remove_single(&path)?,
                }
            }
        }
        Ok(())
    }

    fn open_existing(&self, path: &Path, access: OFlags) -> Result<OwnedFd, TargetError> {
        let error = |errno| self.error(errno, Operation::Open, path);
        let (directory, name) = self.beneath.place(path).map_err(error)?;
        let open = |flags| rustix::fs::openat(&directory, name, flags, Mode::empty());
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = unix::open_without_trace(open, flags).map_err(error)?;
        let stat = rustix::fs::fstat(&file).map_err(error)?;
        if FileType::from_raw_mode(stat.st_mode).is_file() {
            return Ok(file);
        }
        Err(TargetError::new(FaultKind::Changed, Operation::Open, self.shown(path)))
    }

    fn file_in_place(&self, path: &Path, file: OwnedFd) -> Result<TargetFile, TargetError> {
        let (directory, name) =
            self.beneath.place(path).map_err(|errno| self.error(errno, Operation::Open, path))?;
        Ok(TargetFile::new(self, path, file, (directory, None, name.to_owned()), Layout::Dense))
    }

    /// Makes an entry under its name, or if that is taken under a free one that then replaces it.
    fn put(
        &self,
        path: &Path,
        operation: Operation,
        make: impl Fn(&OwnedFd, &OsStr) -> Result<(), Errno>,
    ) -> Result<(), TargetError> {
        let error = |errno| self.error(errno, operation, path);
        let (directory, name) = self.beneath.place(path).map_err(error)?;
        match make(&directory, name) {
            Err(Errno::EXIST) => {}
            result => return result.map_err(error),
        }
        let ((), temporary) = self.with_free_name(|name| make(&directory, name)).map_err(error)?;
        rustix::fs::renameat(&directory, &temporary, &directory, name).map_err(|errno| {
            // The failure that counts is that of the renaming.
            let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
            self.error(errno, Operation::Rename, path)
        })
    }

    /// Tries names that nobody else uses until one is free.
    fn with_free_name<T>(&self, make: impl Fn(&OsStr) -> Result<T, Errno>) -> Result<(T, OsString), Errno> {
        loop {
            let number = self.counter.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!(".larder-{:016x}-{number:x}", self.token));
            match make(&name) {
                Ok(made) => return Ok((made, name)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn identity(&self, path: &Path) -> Result<Option<Identity>, Errno> {
        let (directory, name) = self.beneath.place(path)?;
        match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Identity::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn error(&self, errno: Errno, operation: Operation, path: &Path) -> TargetError {
        TargetError::system(errno, operation, &self.shown(path))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("path", &self.shown).finish_non_exhaustive()
    }
}

#[cfg(not(target_vendor = "apple"))]
fn make_special(directory: &OwnedFd, name: &OsStr, file_type: FileType, device: u64) -> Result<(), Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(directory, name, file_type, mode, device)
}

#[cfg(target_vendor = "apple")]
fn make_special(_: &OwnedFd, _: &OsStr, _: FileType, _: u64) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}
