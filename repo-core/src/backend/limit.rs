//! A backend around a backend that is no faster than it may be, for storage that does not pace itself.
//!
//! In: calls. Out: the same calls, held up so that the bytes of all of them together keep to their [`Throttle`]s.
//! Ranges are read in pieces; whole files are small or paid for when they are there; a write pays first. Never
//! changes a byte, never holds up a lock: it is small, and others rely on it in time.

use std::ops::Range;
use std::sync::Arc;

use crate::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties, Throttle};
use crate::context::Context;
use crate::id::{FileId, FileKind, Id, PackId};
use crate::time::Timestamp;

/// Reads are cut into pieces of at least this: a request has a price of its own.
const READ_PIECE: u64 = 1 << 20;

/// Limits bandwidth from outside. Transports that pace every piece they send do without it.
#[derive(Debug)]
pub struct LimitBackend {
    inner: Arc<dyn Backend>,
    context: Context,
    upload: Option<Throttle>,
    download: Option<Throttle>,
}

impl LimitBackend {
    /// Writes keep to `upload` and reads to `download`; `None` is no limit.
    pub fn new(
        inner: Arc<dyn Backend>,
        context: &Context,
        upload: Option<Throttle>,
        download: Option<Throttle>,
    ) -> Self {
        Self { inner, context: context.clone(), upload, download }
    }

    fn pay(
        &self,
        throttle: Option<&Throttle>,
        operation: Operation,
        file: FileId,
        bytes: u64,
    ) -> Result<(), BackendError> {
        let Some(throttle) = throttle.filter(|_| file.kind != FileKind::Lock) else { return Ok(()) };
        throttle
            .pay(&self.context, bytes)
            .map_err(|stopped| BackendError::file(ErrorKind::Other, operation, file).because(stopped))
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for LimitBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.inner.create()
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.pay(self.upload.as_ref(), Operation::Write, file, content.len() as u64)?;
        self.inner.write(file, content)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let is_short = range.end.saturating_sub(range.start) <= READ_PIECE;
        if self.download.is_none() || is_short {
            self.inner.read(file, range, buffer)?;
            return self.pay(self.download.as_ref(), Operation::Read, file, buffer.len() as u64);
        }
        buffer.clear();
        let mut piece = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at.saturating_add(READ_PIECE));
            let result = self.inner.read(file, at..end, &mut piece);
            let result = result
                .and_then(|()| self.pay(self.download.as_ref(), Operation::Read, file, piece.len() as u64));
            if let Err(error) = result {
                buffer.clear();
                return Err(error);
            }
            buffer.extend_from_slice(&piece);
            at = end;
        }
        Ok(())
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.inner.read_all(file, limit, buffer)?;
        self.pay(self.download.as_ref(), Operation::Read, file, buffer.len() as u64)
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.inner.size(file)
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.inner.written_at(file)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        self.inner.list(kind)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.inner.remove(file)
    }

    fn hint_trees(&self, packs: &[PackId]) {
        self.inner.hint_trees(packs);
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.inner.stored_hash(file)
    }

    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        self.inner.thaw(packs)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;
    use crate::backend::conformance::{self, Scale, Subject};
    use crate::backend::{MemoryBackend, RecordBackend};
    use crate::context::{Clock, HandClock};
    use crate::hash::sha256;

    fn mib_per_second(count: u64) -> Option<Throttle> {
        NonZeroU64::new(count << 20).map(Throttle::new)
    }

    #[test]
    fn under_a_limit_every_promise_is_kept() {
        let make = || {
            let context = Context { clock: Arc::new(HandClock::new()), ..Context::new() };
            let memory = Arc::new(MemoryBackend::new());
            let (upload, download) = (mib_per_second(3), mib_per_second(5));
            Subject::new(Arc::new(LimitBackend::new(memory, &context, upload, download)))
        };
        conformance::check(make, Scale::Quick);
    }

    /// A run of several files through two backends that share their limits.
    #[test]
    fn limits_hold_over_a_whole_run_and_several_backends() {
        let clock = Arc::new(HandClock::new());
        let context = Context { clock: clock.clone(), ..Context::new() };
        let (upload, download) = (mib_per_second(2), mib_per_second(4));
        let backends = [(); 2].map(|()| {
            let memory = Arc::new(MemoryBackend::new());
            memory.create().unwrap();
            LimitBackend::new(memory, &context, upload.clone(), download.clone())
        });
        let mut buffer = Vec::new();
        for round in 0..4_u8 {
            for backend in &backends {
                let content = vec![round; 3 << 20];
                let file = FileId { kind: FileKind::Pack, id: sha256(&content) };
                backend.write(file, &content).unwrap();
                backend.read(file, 0..3 << 20, &mut buffer).unwrap();
                assert_eq!(buffer, content);
                backend.read_all(file, 4 << 20, &mut buffer).unwrap();
            }
        }
        // 8 files of 3 MiB: 24 MiB up at 2 MiB/s, and twice that down at 4 MiB/s. Of every pause (one direction
        // pauses while the other works) at most a burst is made up for.
        let spent = clock.elapsed();
        let (least, most) = (Duration::from_millis(20_800), Duration::from_secs(24));
        assert!(spent <= most && spent >= least, "{spent:?}");
    }

    #[test]
    fn ranges_are_read_in_pieces_and_locks_never_wait() {
        let clock = Arc::new(HandClock::new());
        let context = Context { clock: clock.clone(), ..Context::new() };
        let content = vec![7; 5 << 19];
        let file = FileId { kind: FileKind::Pack, id: sha256(&content) };
        let lock = FileId { kind: FileKind::Lock, id: sha256(b"lock") };
        let memory = MemoryBackend::with_files([(file, content)]);
        let counted = Arc::new(RecordBackend::new(Arc::new(memory)));
        let limited = LimitBackend::new(counted.clone(), &context, mib_per_second(1), mib_per_second(1));
        let mut buffer = Vec::new();
        limited.read(file, 0..5 << 19, &mut buffer).unwrap();
        assert_eq!((buffer.len(), counted.counters().total(Operation::Read).requests), (5 << 19, 3));
        limited.read(file, 0..(5 << 19) + 1, &mut buffer).unwrap_err();
        assert!(buffer.is_empty());
        let before = clock.elapsed();
        limited.write(lock, b"lock").unwrap();
        limited.read_all(lock, 100, &mut buffer).unwrap();
        assert_eq!(clock.elapsed(), before);
    }
}
