//! A backend around a backend whose packs are thawed by somebody else: a command of the user, or the attempt to
//! read them.
//!
//! In: calls. Out: the same calls, but [`Backend::thaw`] is answered here. Each pack is asked for once; whether it
//! can be read is found out by trying, or taken for granted after a time that the user knows. Changes nothing else.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties};
use crate::context::Context;
use crate::id::{FileId, FileKind, Id, PackId};
use crate::parallel;
use crate::time::Timestamp;

/// Asks for one pack.
pub type AskForPack = dyn Fn(PackId) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync;

/// How packs are thawed.
#[derive(Clone)]
pub enum WarmUp {
    /// By reading their first byte: some storages take that as a request. They are ready when that succeeds.
    Access,
    /// By something that is done once for each.
    Ask(Arc<AskForPack>),
}

impl fmt::Debug for WarmUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Access => "Access",
            Self::Ask(_) => "Ask",
        })
    }
}

/// Thaws packs in another way than the storage's own.
#[derive(Debug)]
pub struct WarmUpBackend {
    inner: Arc<dyn Backend>,
    context: Context,
    how: WarmUp,
    /// No pack is ready earlier after it was asked for.
    wait: Duration,
    asked: Mutex<HashMap<PackId, Duration>>,
}

impl WarmUpBackend {
    /// Packs are asked for as `how` says, and are ready `wait` after that at the earliest.
    pub fn new(inner: Arc<dyn Backend>, context: &Context, how: WarmUp, wait: Duration) -> Self {
        Self { inner, context: context.clone(), how, wait, asked: Mutex::default() }
    }

    /// Asks for a pack unless that was done; says whether it can be read now.
    fn is_ready(&self, pack: PackId) -> Result<bool, BackendError> {
        let error = |kind| BackendError::file(kind, Operation::Thaw, pack.into());
        self.context.cancel.check().map_err(|stopped| error(ErrorKind::Other).because(stopped))?;
        let asked = self.asked().get(&pack).copied();
        let can_be_read = match &self.how {
            WarmUp::Access => self.is_readable(pack),
            WarmUp::Ask(ask) if asked.is_none() => {
                ask(pack).map_err(|cause| error(ErrorKind::Config).because(cause))?;
                true
            }
            WarmUp::Ask(_) => true,
        };
        let now = self.context.clock.elapsed();
        let asked = *self.asked().entry(pack).or_insert(now);
        Ok(can_be_read && now.saturating_sub(asked) >= self.wait)
    }

    /// Whatever storage says about a pack that is frozen, it does not give a byte of it. One that is missing is not
    /// waited for: whoever reads it finds out.
    fn is_readable(&self, pack: PackId) -> bool {
        match self.inner.read(pack.into(), 0..1, &mut Vec::new()) {
            Ok(()) => true,
            Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::TooShort),
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<PackId, Duration>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for WarmUpBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.inner.create()
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.inner.write(file, content)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.inner.read(file, range, buffer)
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.inner.read_all(file, limit, buffer)
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
        let threads = match self.how {
            WarmUp::Access => self.inner.properties().connections,
            WarmUp::Ask(_) => 1, // nobody said that the user's command may run twice at a time
        };
        let look = |pack| self.is_ready(pack).map(|is_ready| (!is_ready).then_some(pack));
        let waiting = parallel::map(threads, packs.to_vec(), look)?;
        Ok(waiting.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::conformance::{self, Scale, Subject};
    use crate::backend::{Fault, FaultBackend, MemoryBackend, Rule};
    use crate::context::HandClock;
    use crate::hash::sha256;

    fn memory() -> (Arc<MemoryBackend>, Vec<PackId>) {
        let contents: [&[u8]; 2] = [b"one", b"two"];
        let packs: Vec<_> = contents.iter().map(|content| PackId(sha256(content))).collect();
        let files = packs.iter().zip(contents).map(|(pack, content)| ((*pack).into(), content.to_vec()));
        (Arc::new(MemoryBackend::with_files(files)), packs)
    }

    fn context() -> (Context, Arc<HandClock>) {
        let clock = Arc::new(HandClock::new());
        (Context { clock: clock.clone(), ..Context::new() }, clock)
    }

    #[test]
    fn every_promise_is_kept() {
        let make = || {
            let memory = Arc::new(MemoryBackend::new());
            let warm = WarmUpBackend::new(memory, &Context::new(), WarmUp::Access, Duration::ZERO);
            Subject::new(Arc::new(warm))
        };
        conformance::check(make, Scale::Quick);
    }

    #[test]
    fn each_pack_is_asked_for_once_and_ready_after_a_while() {
        let (memory, packs) = memory();
        let (context, clock) = context();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let ask = move |pack| {
            log.lock().unwrap().push(pack);
            Ok(())
        };
        let wait = Duration::from_mins(5);
        let warm = WarmUpBackend::new(memory, &context, WarmUp::Ask(Arc::new(ask)), wait);
        assert_eq!(warm.thaw(&packs[..1]).unwrap(), packs[..1]);
        clock.wind(Duration::from_mins(4));
        assert_eq!(warm.thaw(&packs).unwrap(), packs);
        clock.wind(Duration::from_mins(1));
        assert_eq!(warm.thaw(&packs).unwrap(), packs[1..]);
        assert_eq!(*asked.lock().unwrap(), packs);
        assert_eq!(context.clock.elapsed(), wait);
    }

    #[test]
    fn a_pack_that_was_touched_is_ready_when_it_can_be_read() {
        let (memory, packs) = memory();
        let missing = PackId(sha256(b"missing"));
        let frozen = Rule::nth(1, Fault::FailBefore(ErrorKind::Cold)).on(Operation::Read);
        let faults = Arc::new(FaultBackend::new(memory, [frozen]));
        let warm = WarmUpBackend::new(faults, &context().0, WarmUp::Access, Duration::ZERO);
        assert_eq!(warm.thaw(&packs[..1]).unwrap(), packs[..1]);
        assert_eq!(warm.thaw(&packs[..1]).unwrap(), []);
        assert_eq!(warm.thaw(&[missing]).unwrap(), []);
    }

    #[test]
    fn a_command_that_fails_is_told() {
        let (memory, packs) = memory();
        let ask = |_| Err("no such command".into());
        let warm = WarmUpBackend::new(memory, &context().0, WarmUp::Ask(Arc::new(ask)), Duration::ZERO);
        let error = warm.thaw(&packs).unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "no such command");
    }
}
