//! A backend around a backend that keeps metadata near: what lies in a local folder is not asked for again.
//!
//! In: calls. Out: the same answers. Snapshots, index files and whole packs of trees are kept; keys, locks, the
//! config and packs of data never are. Everything is compared with its name before it is believed, so a damaged
//! entry costs one request and nothing else. A cache that cannot be written is told once and never fails a call.
//!
//! ```text
//! read of a record      in the folder and sound?  else fetch, keep
//! read inside a pack    holds trees?  → sound in the folder?  else fetch all of it once, keep → the part
//! write                 store first, then keep
//! list                  ask, then drop what is no longer there
//! ```

mod caches; // all caches below one base folder
mod folder; // the files of one repository's cache
mod last_key; // which key file opened a repository last
mod state; // what is known of each pack that holds trees
#[cfg(test)]
mod tests;

pub use caches::CacheFolder;
pub(crate) use last_key::LastKey;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::backend::cache::folder::Folder;
use crate::backend::cache::state::{Packs, Turn};
use crate::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties};
use crate::context::{Context, Event};
use crate::format::limits;
use crate::hash::sha256;
use crate::id::{FileId, FileKind, Id, PackId};
use crate::parallel::{Budget, Permit};
use crate::time::Timestamp;

/// A pack that is longer is read in parts, from the storage. Programs stop at 128 MiB and a blob.
const PACK_BYTES_MAX: u64 = 144 << 20;
/// So many packs are held in memory at a time on their way into the cache, if they are not longer than most: 16 MiB
/// is what programs aim at. A longer one is held alone.
const FETCHES: u64 = 4;
const COMMON_BYTES_MAX: u64 = 32 << 20;
/// Nothing so short is a sealed file.
const BYTES_MIN: usize = limits::SEAL_BYTES as usize;
/// After this age a pack that no index lists is no longer part of a backup under way.
const UNLISTED: Duration = Duration::from_hours(24);

/// Why there is no cache, or why nothing is added to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The folder cannot be made or read.
    #[error("cannot use the cache in {}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another program made it in a layout of its own.
    #[error("the cache in {} has the unknown version {version:?}", path.display())]
    Version {
        /// Which folder.
        path: PathBuf,
        /// What it says.
        version: String,
    },
    /// An entry cannot be written: nothing more is added in this run.
    #[error("cannot add to the cache in {}", path.display())]
    Write {
        /// Which folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Keeps metadata of the backend inside in a local folder, in restic's layout.
///
/// Several processes may share a folder, whichever programs they are.
///
/// ```
/// use repo_core::backend::{CacheBackend, Operation, RecordBackend};
/// use repo_core::id::FileKind;
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, OpenOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend.clone(), &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// # let folder = tempfile::tempdir()?;
/// # let base = folder.path();
///
/// let storage = Arc::new(RecordBackend::new(backend));
/// let options = OpenOptions { cache: Some(base.to_owned()), ..OpenOptions::default() };
/// for _ in 0..2 {
///     let repository = Repository::open(&context, storage.clone(), &"password".into(), &options)?;
///     repo_core::snapshots::list(&context, &repository)?;
/// }
/// assert_eq!(storage.counters().of(Operation::Read, FileKind::Snapshot).requests, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CacheBackend {
    inner: Arc<dyn Backend>,
    context: Context,
    folder: Folder,
    is_new: bool,
    packs: Packs,
    fetches: Budget,
    /// Whether one was longer than most.
    has_long_packs: AtomicBool,
    /// Whether writing failed once.
    is_full: AtomicBool,
}

impl CacheBackend {
    /// Opens the cache of a repository below `base`, making it if it is missing.
    ///
    /// The observer of `context` is told if it cannot be added to later.
    pub fn open(
        context: &Context,
        inner: Arc<dyn Backend>,
        base: &Path,
        repository: &Id,
    ) -> Result<Self, CacheError> {
        let (folder, is_new) = Folder::open(base, repository, context.random.number())?;
        Ok(Self {
            inner,
            context: context.clone(),
            folder,
            is_new,
            packs: Packs::default(),
            fetches: Budget::new(FETCHES),
            has_long_packs: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
        })
    }

    /// The repository's folder below the base.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether there was no such folder before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Drops kept packs that are not among those that hold trees: the index does not list them any more.
    ///
    /// A younger one than a day may belong to a backup that another process has not finished.
    pub(crate) fn keep_packs(&self, trees: &[PackId]) {
        let now = self.context.clock.now();
        let mut kept = self.folder.entries(FileKind::Pack, now);
        for pack in trees {
            kept.remove(pack.id());
        }
        for id in kept {
            let file = FileId { kind: FileKind::Pack, id };
            if self.folder.age(file, now) > UNLISTED {
                self.folder.remove(file);
            }
        }
    }

    /// Fetches a pack of trees that somebody will read soon, unless it is here.
    pub(crate) fn fetch_ahead(&self, pack: PackId) {
        // Whoever reads it meets the same error and says so.
        let _ = self.read_inside(pack, &(0..0), &mut Vec::new());
    }

    /// Whether a pack of trees is known to be here.
    pub(crate) fn is_here(&self, pack: PackId) -> bool {
        self.packs.is_here(pack)
    }

    /// A note of ours about the repository, from an earlier run; whoever reads it must not believe it unseen.
    pub(crate) fn note(&self, name: &str) -> io::Result<File> {
        self.folder.note(name)
    }

    /// Leaves a note for later runs; whole or not at all, whoever else writes it at the same time.
    pub(crate) fn store_note(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        self.folder.store_note(name, self.context.random.number(), write)
    }

    fn keeps(kind: FileKind) -> bool {
        matches!(kind, FileKind::Snapshot | FileKind::Index)
    }

    /// A snapshot or an index file.
    fn read_record(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        if self.folder.read(file, limit, buffer) {
            if sha256(buffer) == file.id {
                return Ok(());
            }
            self.folder.remove(file);
        }
        self.inner.read_all(file, limit, buffer)?;
        if sha256(buffer) == file.id {
            self.keep(file, buffer);
        }
        Ok(())
    }

    /// A part of a pack of trees. `false` if it is to be read from the storage as if there were no cache.
    fn read_inside(
        &self,
        pack: PackId,
        range: &Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<bool, BackendError> {
        // Looked at, then read; once more for an entry that another process has removed in between.
        for _ in 0..4 {
            match self.packs.turn(pack) {
                Turn::Elsewhere => return Ok(false),
                Turn::Here { len } => {
                    within(pack, range, len)?;
                    if self.folder.read_range(pack.into(), range, buffer).is_ok() {
                        return Ok(true);
                    }
                    self.packs.lost(pack);
                }
                Turn::Yours(turn) => {
                    if let Some(len) = self.folder.verify(pack.into()) {
                        turn.found(len);
                        continue;
                    }
                    if self.is_full.load(Ordering::Relaxed) {
                        return Ok(false);
                    }
                    let Some((whole, _permit)) = self.fetch(pack)? else {
                        turn.not_here();
                        return Ok(false);
                    };
                    let len = whole.len() as u64;
                    if self.keep(pack.into(), &whole) {
                        turn.found(len);
                    }
                    within(pack, range, len)?;
                    buffer.clear();
                    buffer.extend_from_slice(part(&whole, range).unwrap_or_default());
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// A whole pack, and the permit to hold it; `None` if what is stored is too long to be kept, or damaged.
    fn fetch(&self, pack: PackId) -> Result<Option<(Vec<u8>, Permit<'_>)>, BackendError> {
        for (limit, share) in [(COMMON_BYTES_MAX, 1), (PACK_BYTES_MAX, FETCHES)] {
            // Where one pack is long, so are the others.
            if share == 1 && self.has_long_packs.load(Ordering::Relaxed) {
                continue;
            }
            let permit = self.fetches.take(share);
            let mut whole = Vec::new();
            match self.inner.read_all(pack.into(), limit, &mut whole) {
                Ok(()) if sha256(&whole) == pack.0 => return Ok(Some((whole, permit))),
                Ok(()) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::TooLong => {
                    self.has_long_packs.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Adds an entry, and gives whether it is there now. After a failure, which is told, nothing more is added.
    fn keep(&self, file: FileId, content: &[u8]) -> bool {
        if content.len() <= BYTES_MIN || self.is_full.load(Ordering::Relaxed) {
            return false;
        }
        match self.folder.store(file, content, self.context.random.number()) {
            Ok(()) => true,
            Err(source) => {
                if !self.is_full.swap(true, Ordering::Relaxed) {
                    let error = CacheError::Write { path: self.folder.path().to_owned(), source };
                    self.context.tell(&Event::Warning { error: &error });
                }
                false
            }
        }
    }

    /// Drops entries of a kind that the storage does not list.
    fn drop_unlisted(&self, kind: FileKind, mut kept: HashSet<Id>, listed: &[Listed]) {
        for file in listed {
            kept.remove(&file.id);
        }
        for id in kept {
            self.folder.remove(FileId { kind, id });
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for CacheBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.inner.create()
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.inner.write(file, content)?;
        if Self::keeps(file.kind) || self.packs.holds_trees(file) {
            self.keep(file, content);
        }
        Ok(())
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        if self.packs.holds_trees(file)
            && range.start <= range.end
            && self.read_inside(file.id.into(), &range, buffer)?
        {
            return Ok(());
        }
        self.inner.read(file, range, buffer)
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        // Whoever reads a whole pack wants to know what the storage has.
        if Self::keeps(file.kind) {
            self.read_record(file, limit, buffer)
        } else {
            self.inner.read_all(file, limit, buffer)
        }
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.inner.size(file)
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.inner.written_at(file)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        if !Self::keeps(kind) && kind != FileKind::Pack {
            return self.inner.list(kind);
        }
        // In this order: what another process adds in between is surely not taken for removed.
        let kept = self.folder.entries(kind, self.context.clock.now());
        let listed = self.inner.list(kind)?;
        self.drop_unlisted(kind, kept, &listed);
        Ok(listed)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.inner.remove(file)?;
        if Self::keeps(file.kind) || file.kind == FileKind::Pack {
            self.packs.forget(file);
            self.folder.remove(file);
        }
        Ok(())
    }

    fn hint_trees(&self, packs: &[PackId]) {
        self.packs.hint(packs);
        self.inner.hint_trees(packs);
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.inner.stored_hash(file)
    }

    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        self.inner.thaw(packs)
    }
}

fn within(pack: PackId, range: &Range<u64>, len: u64) -> Result<(), BackendError> {
    if range.end <= len {
        return Ok(());
    }
    Err(BackendError::file(ErrorKind::TooShort, Operation::Read, pack.into()))
}

fn part<'a>(whole: &'a [u8], range: &Range<u64>) -> Option<&'a [u8]> {
    whole.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}
