//! A repository in a folder, on a local disk or anything that is mounted.
//!
//! In: whole files. Out: whole files or exact ranges. A file is acknowledged only when a power cut cannot take
//! it away any more, and stands under its name only when it is complete. Temporary names hold a `-tmp-` and
//! are never listed. Only the standard library and system calls; no async, and no trust in what a mount
//! claims to support: what it refuses as unsupported is skipped, what fails is an error.
//! `docs/decisions/0005-local-backend-without-opendal-fs.md` says why this is not opendal's `fs` service.

mod durable; // the write path, and everything that syncs
mod list; // listings, in parallel
mod cause; // system errors → kinds of failure

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use repo_core::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties, layout};
use repo_core::id::{FileId, FileKind};
use repo_core::time::Timestamp;
use rustix::fs::OFlags;

use crate::modes::Modes;
use crate::options::LocalOptions;
use cause::{At, kind_of};

/// From this length on the kernel is told that a read goes from front to back.
const SEQUENTIAL_FROM: u64 = 1 << 20;

/// A repository in a folder.
#[derive(Debug)]
pub struct LocalBackend {
    root: PathBuf,
    connections: usize,
    /// Known as soon as a config exists.
    modes: OnceLock<Modes>,
}

impl LocalBackend {
    /// The repository in a folder, which need not exist yet. Nothing is touched.
    pub fn new(root: impl AsRef<Path>, options: &LocalOptions) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        Ok(Self { root, connections: options.connections, modes: OnceLock::new() })
    }

    fn path(&self, file: FileId) -> PathBuf {
        self.root.join(layout::path(file))
    }

    /// Files and folders get the group's rights if the config has them, as restic does it.
    fn modes(&self) -> Modes {
        if let Some(modes) = self.modes.get() {
            return *modes;
        }
        match self.path(FileId::CONFIG).metadata() {
            Ok(config) => *self.modes.get_or_init(|| Modes::beside_config_of_mode(config.mode())),
            Err(_) => Modes::PRIVATE,
        }
    }

    /// Opens a file and returns its size.
    fn open(&self, operation: Operation, file: FileId) -> Result<(File, u64), BackendError> {
        let open = || {
            let flags = OFlags::NONBLOCK; // a FIFO that somebody left here must not stop us
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(flags.bits().cast_signed())
                .open(self.path(file))?;
            let size = regular_size(&opened.metadata()?)?;
            Ok((opened, size))
        };
        open().map_err(|source| self.error(operation, file, source))
    }

    /// Tells a missing file from a missing repository, and says where.
    fn error(&self, operation: Operation, file: FileId, source: io::Error) -> BackendError {
        let kind = kind_of(&source);
        if kind == ErrorKind::NotFound && !self.root.exists() {
            let cause = At { path: self.root.clone(), source };
            return BackendError::repository(kind, operation).because(cause);
        }
        BackendError::file(kind, operation, file).because(At { path: self.path(file), source })
    }

    /// Makes the folder of a file in a repository that exists.
    ///
    /// Without a config there is none, unless this is the first key or the config itself: more likely the
    /// disk is no longer mounted, and writing on would fill the folder that it was mounted on.
    fn make_folder_of(&self, file: FileId) -> io::Result<()> {
        let begins = matches!(file.kind, FileKind::Config | FileKind::Key);
        if !begins {
            self.path(FileId::CONFIG).metadata()?;
        }
        let modes = self.modes();
        let folder = self.root.join(file.kind.folder());
        match file.kind {
            FileKind::Config => self.root.metadata().map(drop),
            FileKind::Pack => {
                durable::make_folder(&folder, modes)?;
                durable::make_folder(&folder.join(layout::shard(&file.id)), modes)
            }
            _ => durable::make_folder(&folder, modes),
        }
    }

    /// All folders of a new repository. What exists is kept.
    fn make_all_folders(&self) -> io::Result<()> {
        let modes = self.modes();
        durable::make_folder_with_parents(&self.root, modes)?;
        for kind in layout::FOLDERS {
            durable::make_folder_unsynced(&self.root.join(kind.folder()), modes)?;
        }
        let packs = self.root.join(FileKind::Pack.folder());
        for shard in layout::shards() {
            durable::make_folder_unsynced(&packs.join(shard), modes)?;
        }
        durable::sync_folder(&packs)?;
        durable::sync_folder(&self.root)
    }
}

impl Backend for LocalBackend {
    fn properties(&self) -> Properties {
        Properties {
            location: self.root.display().to_string(),
            connections: self.connections,
            atomic_replace: true,
        }
    }

    fn create(&self) -> Result<(), BackendError> {
        self.make_all_folders().map_err(|source| {
            let cause = At { path: self.root.clone(), source };
            BackendError::repository(kind_of(&cause.source), Operation::Create).because(cause)
        })
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        let path = self.path(file);
        let modes = self.modes();
        let written = durable::write(&path, content, modes).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            self.make_folder_of(file)?;
            durable::write(&path, content, modes)
        });
        let Err(error) = written else { return Ok(()) };
        // The file may be there already and protected against any change. A failed sync is not asked again.
        let refused = matches!(kind_of(&error), ErrorKind::Denied | ErrorKind::Exists);
        if refused && file.kind != FileKind::Config && durable::holds(&path, content) {
            return Ok(());
        }
        Err(self.error(Operation::Write, file, error))
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let error = |kind| BackendError::file(kind, Operation::Read, file);
        buffer.clear();
        let (opened, size) = self.open(Operation::Read, file)?;
        let len = range.end.checked_sub(range.start).ok_or_else(|| error(ErrorKind::Other))?;
        if range.end > size {
            return Err(error(ErrorKind::TooShort));
        }
        let read = read_exactly(opened, range.start, len, buffer);
        let complete = read.map_err(|source| self.error(Operation::Read, file, source))?;
        if complete { Ok(()) } else { Err(error(ErrorKind::TooShort)) }
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let error = |kind| BackendError::file(kind, Operation::Read, file);
        buffer.clear();
        let (opened, size) = self.open(Operation::Read, file)?;
        if size > limit {
            return Err(error(ErrorKind::TooLong));
        }
        let read = read_exactly(opened, 0, size, buffer);
        let complete = read.map_err(|source| self.error(Operation::Read, file, source))?;
        if complete { Ok(()) } else { Err(error(ErrorKind::TooShort)) }
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        let size = self.path(file).metadata().and_then(|metadata| regular_size(&metadata));
        size.map_err(|source| self.error(Operation::Size, file, source))
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        // On a file system of another machine this is that machine's clock.
        let metadata =
            self.path(file).metadata().map_err(|source| self.error(Operation::Size, file, source))?;
        let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        Ok(Some(Timestamp { seconds: metadata.mtime(), nanos }))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        let listed = match kind {
            FileKind::Config => list::config(&self.root),
            FileKind::Pack => list::packs(&self.root, self.connections),
            _ => list::folder(&self.root, kind),
        };
        listed.map_err(|source| {
            let cause = At { path: self.root.join(kind.folder()), source };
            BackendError::folder(kind_of(&cause.source), Operation::List, kind).because(cause)
        })
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        durable::remove(&self.path(file), must_stay_removed(file.kind))
            .map_err(|source| self.error(Operation::Remove, file, source))
    }
}

/// What would do harm if a power cut brought it back: an index or a snapshot whose packs are gone, a key that
/// was to be locked out. Packs, locks and records of checks that come back are only garbage.
fn must_stay_removed(kind: FileKind) -> bool {
    match kind {
        FileKind::Config | FileKind::Key | FileKind::Snapshot | FileKind::Index => true,
        FileKind::Lock | FileKind::Pack | FileKind::Checked => false,
    }
}

fn regular_size(metadata: &std::fs::Metadata) -> io::Result<u64> {
    if metadata.is_file() { Ok(metadata.len()) } else { Err(io::Error::other(cause::NotAFile)) }
}

/// Appends `len` bytes from `start` on to the empty buffer; `false` if the file ends before.
///
/// The buffer's spare room is filled directly, nothing is zeroed before.
fn read_exactly(mut file: File, start: u64, len: u64, buffer: &mut Vec<u8>) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    if len >= SEQUENTIAL_FROM {
        // Only advice: a mount that knows none is fine.
        let _ = rustix::fs::fadvise(&file, start, len.try_into().ok(), rustix::fs::Advice::Sequential);
    }
    let room = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    buffer.try_reserve_exact(room)?;
    if start > 0 {
        file.seek(SeekFrom::Start(start))?;
    }
    file.take(len).read_to_end(buffer)?;
    Ok(buffer.len() == room)
}

#[cfg(test)]
mod tests;
