//! A backend around a backend that counts what goes through: requests and bytes, per operation and kind.
//!
//! In: calls. Out: the same calls, unchanged, and [`Counters`] on demand. For the cost report of a run and
//! for tests such as "an unchanged backup uploads one snapshot and no pack"; those that care about order
//! ask for a log of every call as well. Nothing is ever changed, held back or repeated here.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Range, Sub};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Backend, BackendError, Listed, Operation, Properties};
use crate::id::{FileId, FileKind, Id, PackId};
use crate::time::Timestamp;

/// Counts the calls to the backend inside.
///
/// ```
/// use repo_core::backend::{Operation, RecordBackend};
/// use repo_core::id::FileKind;
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
///
/// let counted = Arc::new(RecordBackend::new(repository.backend().clone()));
/// let repository = repository.with_backend(counted.clone());
/// repository.load_index(&context)?;
/// assert_eq!(counted.counters().of(Operation::List, FileKind::Index).requests, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RecordBackend {
    inner: Arc<dyn Backend>,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    counters: Counters,
    log: Option<Vec<Call>>,
}

/// One call, as the log keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// About which kind of files; `None` for [`Operation::Create`].
    pub kind: Option<FileKind>,
    /// About which file; `None` for [`Operation::Create`] and [`Operation::List`].
    pub file: Option<FileId>,
    /// Bytes of content written or read; for a listing the number of entries.
    pub bytes: u64,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// Calls and bytes of one sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Calls, successful or not.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Bytes of content written or read by the successful ones; for listings the number of entries.
    pub bytes: u64,
}

/// What went through so far. Subtract an earlier one to see what happened between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    counts: BTreeMap<(Operation, Option<FileKind>), Count>,
}

impl RecordBackend {
    /// Counts from zero.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, record: Mutex::new(Record { counters: Counters::default(), log: None }) }
    }

    /// Counts, and keeps every call in order. Takes about 100 bytes per call.
    pub fn with_log(inner: Arc<dyn Backend>) -> Self {
        Self { inner, record: Mutex::new(Record { counters: Counters::default(), log: Some(Vec::new()) }) }
    }

    /// What went through so far.
    pub fn counters(&self) -> Counters {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).counters.clone()
    }

    /// Every call so far in the order of their ends; empty without [`with_log`](Self::with_log).
    pub fn log(&self) -> Vec<Call> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).log.clone().unwrap_or_default()
    }

    fn note<T>(
        &self,
        subject: (Operation, Option<FileKind>, Option<FileId>),
        result: Result<T, BackendError>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> Result<T, BackendError> {
        let (operation, kind, file) = subject;
        let succeeded = result.is_ok();
        let bytes = result.as_ref().map_or(0, bytes);
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let count = record.counters.counts.entry((operation, kind)).or_default();
        count.requests += 1;
        count.failures += u64::from(!succeeded);
        count.bytes += bytes;
        if let Some(log) = &mut record.log {
            log.push(Call { operation, kind, file, bytes, succeeded });
        }
        result
    }

    fn note_file<T>(
        &self,
        operation: Operation,
        file: FileId,
        result: Result<T, BackendError>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> Result<T, BackendError> {
        self.note((operation, Some(file.kind), Some(file)), result, bytes)
    }
}

impl Counters {
    /// Calls of one operation on one kind.
    pub fn of(&self, operation: Operation, kind: FileKind) -> Count {
        self.counts.get(&(operation, Some(kind))).copied().unwrap_or_default()
    }

    /// Calls of one operation on any kind.
    pub fn total(&self, operation: Operation) -> Count {
        let counts = self.counts.iter().filter(|((of, _), _)| *of == operation);
        counts.fold(Count::default(), |sum, (_, count)| Count {
            requests: sum.requests + count.requests,
            failures: sum.failures + count.failures,
            bytes: sum.bytes + count.bytes,
        })
    }

    /// Calls of any operation.
    pub fn requests(&self) -> u64 {
        self.counts.values().map(|count| count.requests).sum()
    }
}

impl Sub for &Counters {
    type Output = Counters;

    fn sub(self, earlier: Self) -> Counters {
        let difference = |(key, now): (&(Operation, Option<FileKind>), &Count)| {
            let then = earlier.counts.get(key).copied().unwrap_or_default();
            let count = Count {
                requests: now.requests.saturating_sub(then.requests),
                failures: now.failures.saturating_sub(then.failures),
                bytes: now.bytes.saturating_sub(then.bytes),
            };
            (*key, count)
        };
        let counts = self.counts.iter().map(difference).filter(|(_, count)| *count != Count::default());
        Counters { counts: counts.collect() }
    }
}

/// One line per operation and kind: `write pack: 3 requests, 4096 bytes`.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((operation, kind), count) in &self.counts {
            write!(f, "{operation}")?;
            if let Some(kind) = kind {
                write!(f, " {kind}")?;
            }
            write!(f, ": {} requests", count.requests)?;
            if count.failures > 0 {
                write!(f, " ({} failed)", count.failures)?;
            }
            let unit = if *operation == Operation::List { "entries" } else { "bytes" };
            writeln!(f, ", {} {unit}", count.bytes)?;
        }
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for RecordBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.note((Operation::Create, None, None), self.inner.create(), |()| 0)
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        let result = self.inner.write(file, content);
        self.note_file(Operation::Write, file, result, |()| content.len() as u64)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let result = self.inner.read(file, range, buffer);
        self.note_file(Operation::Read, file, result, |()| buffer.len() as u64)
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let result = self.inner.read_all(file, limit, buffer);
        self.note_file(Operation::Read, file, result, |()| buffer.len() as u64)
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.note_file(Operation::Size, file, self.inner.size(file), |_| 0)
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.note_file(Operation::Size, file, self.inner.written_at(file), |_| 0)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        let result = self.inner.list(kind);
        self.note((Operation::List, Some(kind), None), result, |all| all.len() as u64)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.note_file(Operation::Remove, file, self.inner.remove(file), |()| 0)
    }

    fn hint_trees(&self, packs: &[PackId]) {
        self.inner.hint_trees(packs);
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.note_file(Operation::Size, file, self.inner.stored_hash(file), |_| 0)
    }

    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        let result = self.inner.thaw(packs);
        self.note((Operation::Thaw, Some(FileKind::Pack), None), result, |_| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::MemoryBackend;

    #[test]
    fn calls_and_bytes_are_counted_per_operation_and_kind() {
        let backend = RecordBackend::with_log(Arc::new(MemoryBackend::new()));
        let mut buffer = Vec::new();
        backend.create().unwrap();
        backend.write(FileId::CONFIG, b"four").unwrap();
        let before = backend.counters();
        backend.read(FileId::CONFIG, 1..3, &mut buffer).unwrap();
        backend.read_all(FileId::CONFIG, 9, &mut buffer).unwrap();
        backend.read(FileId::CONFIG, 1..30, &mut buffer).unwrap_err();
        assert_eq!(backend.list(FileKind::Config).unwrap().len(), 1);

        let all = backend.counters();
        let count = |requests, failures, bytes| Count { requests, failures, bytes };
        assert_eq!(all.of(Operation::Write, FileKind::Config), count(1, 0, 4));
        assert_eq!(all.total(Operation::Read), count(3, 1, 6));
        assert_eq!(all.of(Operation::Read, FileKind::Pack), Count::default());
        let since = &all - &before;
        assert_eq!(since.total(Operation::Write), Count::default());
        assert_eq!(
            since.to_string(),
            "read config: 3 requests (1 failed), 6 bytes\nlist config: 1 requests, 1 entries\n"
        );
        let operations: Vec<_> = backend.log().iter().map(|call| call.operation).collect();
        let expected = [Operation::Create, Operation::Write].into_iter();
        assert_eq!(
            operations,
            expected.chain([Operation::Read; 3]).chain([Operation::List]).collect::<Vec<_>>()
        );
    }
}
