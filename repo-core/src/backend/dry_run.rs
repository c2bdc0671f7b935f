//! A backend around a backend that changes nothing: writes and removals are said to be done.
//!
//! In: calls. Out: what an untouched repository would answer had they been done. Names, sizes and small files
//! (config, keys, locks, snapshots) are kept, so a run sees its own lock and finds what it wrote. The content
//! of packs and index files is dropped, because a dry run over a terabyte must not hold a terabyte: reading one
//! of those back is [`ErrorKind::NotFound`] with [`Dropped`] as its cause.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties};
use crate::id::{FileId, FileKind, Id, PackId};
use crate::time::Timestamp;

/// Passes reading on and keeps every change to itself.
///
/// ```
/// use repo_core::backend::DryRunBackend;
/// use repo_core::fs::source::StreamSource;
/// use repo_core::snapshots;
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
///
/// let dry = repository.with_backend(Arc::new(DryRunBackend::new(repository.backend().clone())));
/// # let source = StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// let report = repo_core::archive(&context, &dry, &source, &["/note.txt".into()], &Default::default())?;
/// assert_eq!(report.summary.data_blobs, 1, "what would be added");
/// assert!(snapshots::list(&context, &repository)?.is_empty(), "nothing was");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DryRunBackend {
    inner: Arc<dyn Backend>,
    /// What was written or removed here; the backend inside has the rest.
    changes: Mutex<BTreeMap<FileId, Change>>,
}

#[derive(Debug, Clone)]
enum Change {
    Removed,
    Kept(Arc<[u8]>),
    Dropped { size: u64 },
}

/// The content of a file that was written in this dry run was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the dry run did not keep its content")]
pub struct Dropped;

impl DryRunBackend {
    /// Starts with what is there.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, changes: Mutex::default() }
    }

    fn changes(&self) -> MutexGuard<'_, BTreeMap<FileId, Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, file: FileId) -> Option<Change> {
        self.changes().get(&file).cloned()
    }

    /// Reads from what was written here; `None` if nothing was.
    fn written(&self, file: FileId) -> Option<Result<Arc<[u8]>, BackendError>> {
        let missing = || BackendError::file(ErrorKind::NotFound, Operation::Read, file);
        Some(match self.change(file)? {
            Change::Kept(content) => Ok(content),
            Change::Removed => Err(missing()),
            Change::Dropped { .. } => Err(missing().because(Dropped)),
        })
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for DryRunBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        let change = match file.kind {
            FileKind::Pack | FileKind::Index | FileKind::Checked => {
                Change::Dropped { size: content.len() as u64 }
            }
            FileKind::Config | FileKind::Key | FileKind::Lock | FileKind::Snapshot => {
                Change::Kept(content.into())
            }
        };
        self.changes().insert(file, change);
        Ok(())
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let Some(content) = self.written(file) else { return self.inner.read(file, range, buffer) };
        buffer.clear();
        let content = content?;
        let error = |kind| BackendError::file(kind, Operation::Read, file);
        if range.start > range.end {
            return Err(error(ErrorKind::Other));
        }
        let place = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let part = place.and_then(|(start, end)| content.get(start..end));
        buffer.extend_from_slice(part.ok_or_else(|| error(ErrorKind::TooShort))?);
        Ok(())
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let Some(content) = self.written(file) else { return self.inner.read_all(file, limit, buffer) };
        buffer.clear();
        let content = content?;
        if content.len() as u64 > limit {
            return Err(BackendError::file(ErrorKind::TooLong, Operation::Read, file));
        }
        buffer.extend_from_slice(&content);
        Ok(())
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        match self.change(file) {
            None => self.inner.size(file),
            Some(Change::Removed) => Err(BackendError::file(ErrorKind::NotFound, Operation::Size, file)),
            Some(Change::Kept(content)) => Ok(content.len() as u64),
            Some(Change::Dropped { size }) => Ok(size),
        }
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        match self.change(file) {
            None => self.inner.written_at(file),
            Some(Change::Removed) => Err(BackendError::file(ErrorKind::NotFound, Operation::Size, file)),
            Some(_) => Ok(None),
        }
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        let mut all = self.inner.list(kind)?;
        let changes = self.changes();
        all.retain(|listed| !changes.contains_key(&FileId { kind, id: listed.id }));
        for (file, change) in changes.iter().filter(|(file, _)| file.kind == kind) {
            let size = match change {
                Change::Removed => continue,
                Change::Kept(content) => content.len() as u64,
                Change::Dropped { size } => *size,
            };
            all.push(Listed { id: file.id, size });
        }
        Ok(all)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.changes().insert(file, Change::Removed);
        Ok(())
    }

    fn hint_trees(&self, packs: &[PackId]) {
        self.inner.hint_trees(packs);
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        match self.change(file) {
            Some(_) => Ok(None), // nothing was stored that anybody could have hashed
            None => self.inner.stored_hash(file),
        }
    }

    fn thaw(&self, _packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        Ok(Vec::new()) // thawing costs money, which a dry run does not spend
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::MemoryBackend;
    use crate::id::LockId;

    #[test]
    fn nothing_is_changed_and_yet_everything_looks_done() {
        let old: FileId = PackId(Id::new([1; 32])).into();
        let new: FileId = PackId(Id::new([2; 32])).into();
        let lock: FileId = LockId(Id::new([3; 32])).into();
        let memory =
            Arc::new(MemoryBackend::with_files([(FileId::CONFIG, b"config".to_vec()), (old, vec![7; 9])]));
        let before = memory.files();
        let backend = DryRunBackend::new(Arc::clone(&memory) as _);
        let mut buffer = Vec::new();

        backend.create().unwrap();
        backend.write(new, &[0; 5]).unwrap();
        backend.write(lock, b"lock").unwrap();
        backend.write(FileId::CONFIG, b"other").unwrap();
        assert_eq!(backend.size(new).unwrap(), 5);
        let mut packs = backend.list(FileKind::Pack).unwrap();
        packs.sort();
        assert_eq!(packs, [Listed { id: old.id, size: 9 }, Listed { id: new.id, size: 5 }]);
        assert!(backend.read(new, 0..1, &mut buffer).unwrap_err().is_not_found());
        backend.read(lock, 1..3, &mut buffer).unwrap();
        assert_eq!(buffer, b"oc");
        assert_eq!(backend.read(lock, 1..9, &mut buffer).unwrap_err().kind(), ErrorKind::TooShort);
        backend.read_all(FileId::CONFIG, 9, &mut buffer).unwrap();
        assert_eq!(buffer, b"other");
        assert_eq!(backend.read_all(lock, 3, &mut buffer).unwrap_err().kind(), ErrorKind::TooLong);
        backend.read(old, 0..9, &mut buffer).unwrap();
        assert_eq!(buffer, [7; 9]);

        for file in [old, lock] {
            backend.remove(file).unwrap();
            assert!(backend.size(file).unwrap_err().is_not_found());
            assert!(backend.read_all(file, 9, &mut buffer).unwrap_err().is_not_found());
        }
        assert_eq!(backend.list(FileKind::Lock).unwrap(), []);
        assert_eq!(memory.files(), before);
    }
}
