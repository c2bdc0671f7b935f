//! One file that is being written, or read again.
//!
//! In: bytes at offsets, in any order and from several threads. Out: the file under its name, once it is
//! complete. Dropped before, it is removed; set aside, it costs no descriptor until it is taken up again.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::Target;
use super::apply::{self, Fidelity, Spot};
use crate::format::Node;
use crate::fs::metadata::EntryMeta;
use crate::fs::unix::{self, Identity};
use crate::fs::{FaultKind, Operation, TargetError};

/// From this length on space is taken before the first byte is written: files lie in one piece, and a full disk
/// is noticed at once. Below, the call costs more than it saves.
const PREALLOCATED_BYTES_MIN: u64 = 64 << 10;

/// Zeros become holes in pieces of this size; file systems have no smaller ones.
const HOLE_BYTES: usize = 4096;

static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// What becomes of runs of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// They are written.
    #[default]
    Dense,
    /// They become holes.
    Sparse,
}

/// A regular file of a target.
#[derive(Debug)]
pub struct TargetFile {
    file: OwnedFd,
    directory: Arc<OwnedFd>,
    /// Its name until it is complete; none if it is changed or read where it is.
    temporary: Option<OsString>,
    name: OsString,
    layout: Layout,
    path: PathBuf,
    shown: Arc<Path>,
    is_superuser: bool,
}

/// A file that was set aside. Holds no descriptor; see [`Target::resume`] and [`Target::discard`].
#[derive(Debug)]
#[must_use = "it stays under its temporary name until it is resumed or discarded"]
pub struct Suspended {
    temporary: Option<OsString>,
    layout: Layout,
    path: PathBuf,
    identity: Identity,
}

impl TargetFile {
    pub(super) fn new(
        target: &Target,
        path: &Path,
        file: OwnedFd,
        (directory, temporary, name): (Arc<OwnedFd>, Option<OsString>, OsString),
        layout: Layout,
    ) -> Self {
        Self {
            file,
            directory,
            temporary,
            name,
            layout,
            path: path.to_owned(),
            shown: Arc::clone(&target.shown),
            is_superuser: target.is_superuser,
        }
    }

    /// Takes the space of a new file, or makes it one hole.
    pub(super) fn prepare(&self, len: u64) -> Result<(), TargetError> {
        match self.layout {
            Layout::Sparse => self.set_len(len),
            Layout::Dense if len >= PREALLOCATED_BYTES_MIN => match preallocate(&self.file, len) {
                Err(errno) if is_about_space(errno) => Err(self.error(errno, Operation::Create)),
                _ => Ok(()), // not every file system can
            },
            Layout::Dense => Ok(()),
        }
    }

    /// Writes bytes at an offset. May be called from several threads at once.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        let written = match self.layout {
            Layout::Dense => self.write_all(offset, bytes),
            Layout::Sparse => {
                data_runs(offset, bytes).try_for_each(|(offset, run)| self.write_all(offset, run))
            }
        };
        written.map_err(|errno| self.error(errno, Operation::Write))
    }

    fn write_all(&self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let written = retry_on_intr(|| rustix::io::pwrite(&self.file, bytes, offset))?;
            if written == 0 {
                return Err(Errno::IO);
            }
            bytes = bytes.get(written..).unwrap_or_default();
            offset += written as u64;
        }
        Ok(())
    }

    /// Fills the buffer from an offset on; gives fewer bytes only at the file's end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, TargetError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = retry_on_intr(|| rustix::io::pread(&self.file, &mut *rest, offset + filled as u64))
                .map_err(|errno| self.error(errno, Operation::Read))?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        Ok(filled)
    }

    /// Cuts the file, or lengthens it by zeros.
    pub fn set_len(&self, len: u64) -> Result<(), TargetError> {
        rustix::fs::ftruncate(&self.file, len).map_err(|errno| self.error(errno, Operation::Write))
    }

    /// What the file is now.
    pub fn meta(&self) -> Result<EntryMeta, TargetError> {
        let stat = rustix::fs::fstat(&self.file).map_err(|errno| self.error(errno, Operation::Stat))?;
        Ok(unix::meta(&stat))
    }

    /// Gives it owner, attributes, times and mode of a node; see [`Target::set_metadata`].
    ///
    /// The last thing before [`commit`](Self::commit): writing changes times and takes privileges away.
    pub fn set_metadata(&self, node: &Node, fidelity: &Fidelity) -> Result<(), TargetError> {
        apply::apply(Spot::Open(self.file.as_fd()), node, fidelity, self.is_superuser)
            .map_err(|(operation, errno)| self.error(errno, operation))
    }

    /// Moves a new file to its name, in place of whatever stands there but a directory.
    pub fn commit(mut self) -> Result<(), TargetError> {
        if let Some(temporary) = &self.temporary {
            rustix::fs::renameat(&self.directory, temporary, &self.directory, &self.name)
                .map_err(|errno| self.error(errno, Operation::Rename))?;
            self.temporary = None;
        }
        Ok(())
    }

    /// Moves a new file to its name if nothing stands there. If something does, it stays, the file is removed, and the
    /// error is of kind [`FaultKind::Changed`].
    pub fn commit_new(mut self) -> Result<(), TargetError> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        match move_to_free(&self.directory, temporary, &self.name) {
            Ok(()) => self.temporary = None,
            Err(Errno::EXIST) => {
                let path = self.shown.join(&self.path);
                return Err(TargetError::new(FaultKind::Changed, Operation::Rename, path));
            }
            Err(errno) => return Err(self.error(errno, Operation::Rename)),
        }
        Ok(())
    }

    /// Sets the file aside to save its descriptors.
    pub fn suspend(mut self) -> Result<Suspended, TargetError> {
        let stat = rustix::fs::fstat(&self.file).map_err(|errno| self.error(errno, Operation::Stat))?;
        if self.temporary.is_some() {
            // Whatever the umask took away is needed to open it again.
            rustix::fs::fchmod(&self.file, Mode::RUSR | Mode::WUSR)
                .map_err(|errno| self.error(errno, Operation::SetMetadata))?;
        }
        Ok(Suspended {
            temporary: self.temporary.take(),
            layout: self.layout,
            path: std::mem::take(&mut self.path),
            identity: Identity::of(&stat),
        })
    }

    fn error(&self, errno: Errno, operation: Operation) -> TargetError {
        TargetError::system(errno, operation, &self.shown.join(&self.path))
    }
}

impl Drop for TargetFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nobody is left to hear of a failure; the name tells what the file is.
            let _ = rustix::fs::unlinkat(&self.directory, temporary, AtFlags::empty());
        }
    }
}

impl Suspended {
    pub(super) fn resume(self, target: &Target) -> Result<TargetFile, TargetError> {
        let error = |errno| target.error(errno, Operation::Open, &self.path);
        let (directory, name) = target.beneath.place(&self.path).map_err(error)?;
        let opened = self.temporary.as_deref().unwrap_or(name);
        let access = if self.temporary.is_some() { OFlags::WRONLY } else { OFlags::RDWR };
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, opened, flags, Mode::empty()).map_err(error)?;
        let stat = rustix::fs::fstat(&file).map_err(error)?;
        if Identity::of(&stat) != self.identity {
            return Err(TargetError::new(FaultKind::Changed, Operation::Open, target.shown(&self.path)));
        }
        let name = name.to_owned();
        Ok(TargetFile::new(target, &self.path, file, (directory, self.temporary, name), self.layout))
    }
}

/// The runs of bytes that are not holes, with their offsets.
fn data_runs(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let is_hole = |at: usize, end: usize| {
            let piece = bytes.get(at..end).unwrap_or_default();
            piece == ZEROS
        };
        // Pieces end where blocks of the file end, so that a hole covers whole blocks.
        let piece_end = |at: usize| {
            let into = usize::try_from((offset + at as u64) % HOLE_BYTES as u64).unwrap_or(0);
            (at + HOLE_BYTES - into).min(bytes.len())
        };
        while at < bytes.len() && is_hole(at, piece_end(at)) {
            at = piece_end(at);
        }
        let start = at;
        while at < bytes.len() && !is_hole(at, piece_end(at)) {
            at = piece_end(at);
        }
        let run = bytes.get(start..at).filter(|run| !run.is_empty())?;
        Some((offset + start as u64, run))
    })
}

/// Renames without ever replacing anything.
fn move_to_free(directory: &OwnedFd, temporary: &OsStr, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::renameat_with(directory, temporary, directory, name, RenameFlags::NOREPLACE) {
        Err(errno) if errno == Errno::INVAL || errno == Errno::NOSYS || errno == Errno::NOTSUP => {
            // Some file systems cannot; a second name for the file is refused as well where something stands.
            rustix::fs::linkat(directory, temporary, directory, name, AtFlags::empty())?;
            // Should this fail, the file is there under its name, and once more under one that tells what it is.
            let _ = rustix::fs::unlinkat(directory, temporary, AtFlags::empty());
            Ok(())
        }
        result => result,
    }
}

fn is_about_space(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG)
}

#[cfg(not(target_vendor = "apple"))]
fn preallocate(file: &OwnedFd, len: u64) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len))
}

#[cfg(target_vendor = "apple")]
fn preallocate(_: &OwnedFd, _: u64) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}
