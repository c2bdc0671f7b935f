//! A repository's files in memory, for tests and examples. Stricter than any real storage.
//!
//! In: whole files. Out: the same files. What a real backend may forgive is an error here: writing before
//! [`create`](Backend::create), a file whose name is not the SHA-256 of its bytes, a range that runs
//! backwards. Listings come in another order every time. Tests reach behind the trait with
//! [`insert`](MemoryBackend::insert), [`tamper`](MemoryBackend::tamper) and [`copy`](MemoryBackend::copy).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties};
use crate::context::Clock;
use crate::id::{FileId, FileKind, ID_LEN, Id};
use crate::time::Timestamp;

/// A backend whose files live as long as it does. Cheap to share behind an `Arc`.
///
/// ```
/// use repo_core::Backend;
/// use repo_core::backend::MemoryBackend;
/// use repo_core::id::FileId;
///
/// let backend = MemoryBackend::new();
/// backend.create()?;
/// backend.write(FileId::CONFIG, b"sealed")?;
/// assert_eq!(backend.size(FileId::CONFIG)?, 6);
/// assert_eq!(backend.files().len(), 1);
/// # Ok::<(), repo_core::backend::BackendError>(())
/// ```
#[derive(Default)]
pub struct MemoryBackend {
    state: Mutex<State>,
}

#[derive(Default, Clone)]
struct State {
    created: bool,
    files: BTreeMap<FileId, Arc<[u8]>>,
    listings: usize,
    clock: Option<Arc<dyn Clock>>,
    times: BTreeMap<FileId, Timestamp>,
}

impl State {
    fn store(&mut self, file: FileId, content: Arc<[u8]>) {
        if let Some(clock) = &self.clock {
            self.times.insert(file, clock.now());
        }
        self.files.insert(file, content);
    }
}

/// What this backend refuses although other storage may let it pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Nothing was made to write into.
    #[error("the repository was not created")]
    NotCreated,
    /// An immutable file must be named by the SHA-256 of its bytes.
    #[error("the content has the SHA-256 {actual:?}, which is not the file's name")]
    WrongName {
        /// What the bytes hash to.
        actual: Id,
    },
    /// The range ends before it begins.
    #[error("the range runs backwards")]
    BackwardRange,
}

impl MemoryBackend {
    /// An empty place; [`create`](Backend::create) comes first.
    pub fn new() -> Self {
        Self::default()
    }

    /// A created repository with these files, taken as they are.
    pub fn with_files(files: impl IntoIterator<Item = (FileId, Vec<u8>)>) -> Self {
        let files = files.into_iter().map(|(file, content)| (file, content.into())).collect();
        Self { state: Mutex::new(State { created: true, files, ..State::default() }) }
    }

    /// All files as they are now.
    pub fn files(&self) -> BTreeMap<FileId, Vec<u8>> {
        self.lock().files.iter().map(|(file, content)| (*file, content.to_vec())).collect()
    }

    /// A second backend with the same files; from here on they live apart.
    pub fn copy(&self) -> Self {
        Self { state: Mutex::new(self.lock().clone()) }
    }

    /// From here on the storage has a clock, and notes when files are written.
    pub fn keep_time(&self, clock: Arc<dyn Clock>) {
        self.lock().clock = Some(clock);
    }

    /// Puts bytes under a name without any check, as damage or a careless program would.
    pub fn insert(&self, file: FileId, content: impl Into<Vec<u8>>) {
        let mut state = self.lock();
        state.created = true;
        state.store(file, content.into().into());
    }

    /// Changes the bytes of a file without any check. Returns whether the file was there.
    pub fn tamper(&self, file: FileId, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.lock();
        let Some(content) = state.files.get_mut(&file) else { return false };
        let mut bytes = content.to_vec();
        change(&mut bytes);
        *content = bytes.into();
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, operation: Operation, file: FileId) -> Result<Arc<[u8]>, BackendError> {
        let found = self.lock().files.get(&file).cloned();
        found.ok_or_else(|| BackendError::file(ErrorKind::NotFound, operation, file))
    }
}

impl Backend for MemoryBackend {
    fn properties(&self) -> Properties {
        Properties { location: "memory:".to_owned(), connections: 4, atomic_replace: true }
    }

    fn create(&self) -> Result<(), BackendError> {
        self.lock().created = true;
        Ok(())
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        let error = |kind, why| BackendError::file(kind, Operation::Write, file).because(why);
        if !self.lock().created {
            return Err(error(ErrorKind::NotFound, Refused::NotCreated));
        }
        // With the name checked, other bytes for an existing name can only mend a damaged file.
        let actual = Id::new(Sha256::digest(content).into());
        if file.kind != FileKind::Config && file.id != actual {
            return Err(error(ErrorKind::Other, Refused::WrongName { actual }));
        }
        self.lock().store(file, content.into());
        Ok(())
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let error = |kind| BackendError::file(kind, Operation::Read, file);
        buffer.clear();
        let content = self.find(Operation::Read, file)?;
        if range.start > range.end {
            return Err(error(ErrorKind::Other).because(Refused::BackwardRange));
        }
        let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end)) else {
            return Err(error(ErrorKind::TooShort));
        };
        buffer.extend_from_slice(content.get(start..end).ok_or_else(|| error(ErrorKind::TooShort))?);
        Ok(())
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        buffer.clear();
        let content = self.find(Operation::Read, file)?;
        if content.len() as u64 > limit {
            return Err(BackendError::file(ErrorKind::TooLong, Operation::Read, file));
        }
        buffer.extend_from_slice(&content);
        Ok(())
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        Ok(self.find(Operation::Size, file)?.len() as u64)
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.find(Operation::Size, file)?;
        Ok(self.lock().times.get(&file).copied())
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        let mut state = self.lock();
        let files = state.files.iter().filter(|(file, _)| file.kind == kind);
        let mut all: Vec<_> =
            files.map(|(file, content)| Listed { id: file.id, size: content.len() as u64 }).collect();
        // Another order every time, and yet the same in every run.
        state.listings += 1;
        all.sort_by_key(|listed| {
            let mut key = *listed.id.as_bytes();
            key.rotate_left(state.listings % ID_LEN);
            key
        });
        Ok(all)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        let mut state = self.lock();
        state.files.remove(&file);
        state.times.remove(&file);
        Ok(())
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        let content = self.find(Operation::Size, file)?;
        Ok(Some(Id::new(Sha256::digest(content).into())))
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend").field("files", &self.lock().files.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(content: &[u8]) -> FileId {
        FileId { kind: FileKind::Pack, id: Id::new(Sha256::digest(content).into()) }
    }

    fn created() -> MemoryBackend {
        let backend = MemoryBackend::new();
        backend.create().unwrap();
        backend
    }

    #[test]
    fn write_before_create_is_refused() {
        let error = MemoryBackend::new().write(named(b"x"), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn content_that_does_not_match_its_name_is_refused() {
        let backend = created();
        backend.write(named(b"x"), b"x").unwrap();
        assert_eq!(backend.write(named(b"x"), b"y").unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(backend.files()[&named(b"x")], b"x");
        backend.write(FileId::CONFIG, b"any bytes").unwrap();
    }

    #[test]
    fn a_damaged_file_is_mended_by_writing_it_again() {
        let backend = created();
        backend.insert(named(b"whole"), "torn");
        backend.write(named(b"whole"), b"whole").unwrap();
        assert_eq!(backend.files()[&named(b"whole")], b"whole");
    }

    #[test]
    fn a_copy_lives_apart() {
        let backend = created();
        backend.write(named(b"x"), b"x").unwrap();
        let copy = backend.copy();
        assert!(copy.tamper(named(b"x"), |bytes| bytes.push(0)));
        assert!(!copy.tamper(named(b"y"), Vec::clear));
        assert_eq!(backend.size(named(b"x")).unwrap(), 1);
        assert_eq!(copy.size(named(b"x")).unwrap(), 2);
    }

    #[test]
    fn listings_come_in_different_orders() {
        let backend = created();
        for byte in 0..20 {
            backend.write(named(&[byte]), &[byte]).unwrap();
        }
        let [first, second] = [(); 2].map(|()| backend.list(FileKind::Pack).unwrap());
        assert_ne!(first, second);
        assert_eq!(first.len(), 20);
    }
}
