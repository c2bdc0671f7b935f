//! A backend around a backend that fails as planned: the storage's bad days, repeated exactly.
//!
//! In: calls and a list of [`Rule`]s. Out: the calls of the backend inside, or the planned failure. Every call
//! has a number, and what happened to it is kept in a log; without threads the same program meets the same
//! faults in every run. For the test of all crash points: count the calls of a clean run with
//! [`FaultBackend::calls`], then freeze at each of them, drop everything, and go on with the backend inside.

mod rule; // what goes wrong, and with which calls

pub use rule::{Fault, Rule};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, BackendError, ErrorKind, Listed, MemoryBackend, Operation, Properties};
use crate::id::{FileId, FileKind, Id, PackId};
use crate::time::Timestamp;

use rule::Which;

/// The cause of every failure that was made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Injected {
    /// A rule wanted this call to fail.
    #[error("call {number} fails as planned")]
    Planned {
        /// The number of the call.
        number: u64,
    },
    /// The machine had stopped.
    #[error("the machine stopped at call {at}")]
    Frozen {
        /// The number of the call it stopped at.
        at: u64,
    },
}

/// Fails as planned, otherwise passes everything on.
///
/// ```
/// use repo_core::backend::{ErrorKind, Fault, FaultBackend, Operation, Rule};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
///
/// let full = Rule::nth(1, Fault::FailBefore(ErrorKind::Full)).on(Operation::Write);
/// let failing = repository.with_backend(Arc::new(FaultBackend::new(repository.backend().clone(), [full])));
/// let error = repo_core::check(&context, &failing, &Default::default()).unwrap_err();
/// assert!(repo_core::context::with_causes(&error).contains("no space left"), "the lock was not written");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FaultBackend {
    inner: Arc<dyn Backend>,
    /// The same backend once more, where files can be torn.
    memory: Option<Arc<MemoryBackend>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rules: Vec<(Rule, u64)>,
    calls: u64,
    frozen_at: Option<u64>,
    log: Vec<String>,
    /// What was written last, by kind.
    newest: BTreeMap<FileKind, FileId>,
    /// What was removed or replaced last, by kind, with its bytes; kept only where a rule asks for it.
    gone: BTreeMap<FileKind, (FileId, Vec<u8>)>,
    /// Repetitions under way: before which call they arrive, and what is written or, without bytes, removed.
    late: Vec<(u64, FileId, Option<Vec<u8>>)>,
}

impl State {
    fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let rules = rules.into_iter().map(|rule| (rule, 0)).collect();
        Self {
            rules,
            calls: 0,
            frozen_at: None,
            log: Vec::new(),
            newest: BTreeMap::new(),
            gone: BTreeMap::new(),
            late: Vec::new(),
        }
    }

    /// Whether anybody will ask for what is gone.
    fn keeps_what_goes(&self) -> bool {
        self.rules.iter().any(|(rule, _)| rule.fault == Fault::Linger)
    }

    /// Whether a lagging storage does not know the file.
    fn hides(&self, operation: Operation, file: FileId) -> bool {
        matches!(operation, Operation::Read | Operation::Size) && self.newest.get(&file.kind) == Some(&file)
    }
}

/// What a call is about.
#[derive(Clone, Copy)]
struct Subject {
    operation: Operation,
    kind: Option<FileKind>,
    file: Option<FileId>,
}

/// A call that was let in, and what is to go wrong with it.
struct Entered {
    number: u64,
    fault: Option<Fault>,
}

impl FaultBackend {
    /// Over any backend.
    ///
    /// # Panics
    /// If a rule tears files: that takes [`over_memory`](Self::over_memory).
    pub fn new(inner: Arc<dyn Backend>, rules: impl IntoIterator<Item = Rule>) -> Self {
        let rules: Vec<_> = rules.into_iter().collect();
        let tears = rules.iter().any(|rule| matches!(rule.fault, Fault::Tear(_) | Fault::TearAndFreeze(_)));
        assert!(!tears, "only the memory backend can hold torn files");
        let state = State::new(rules);
        Self { inner, memory: None, state: Mutex::new(state) }
    }

    /// Over the memory backend, where files may also be torn.
    pub fn over_memory(memory: Arc<MemoryBackend>, rules: impl IntoIterator<Item = Rule>) -> Self {
        let state = State::new(rules);
        Self { inner: Arc::clone(&memory) as _, memory: Some(memory), state: Mutex::new(state) }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Whether the machine has stopped.
    pub fn is_frozen(&self) -> bool {
        self.lock().frozen_at.is_some()
    }

    /// One line per call in the order they began, with what went wrong: print it when a test fails.
    pub fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings all repetitions that are still under way.
    pub fn deliver(&self) {
        let late = std::mem::take(&mut self.lock().late);
        for repetition in late {
            self.repeat(repetition);
        }
    }

    /// Nobody waits for the answer to a repetition.
    fn repeat(&self, (_, file, content): (u64, FileId, Option<Vec<u8>>)) {
        let _ = match content {
            Some(content) => self.inner.write(file, &content),
            None => self.inner.remove(file),
        };
    }

    /// Keeps what a write or removal is about to take away, for a storage that will not have noticed.
    fn keep(&self, file: FileId) {
        let mut content = Vec::new();
        if self.lock().keeps_what_goes() && self.inner.read_all(file, u64::MAX, &mut content).is_ok() {
            self.lock().gone.insert(file.kind, (file, content));
        }
    }

    /// What the storage still has of a file that went, if it is to linger.
    fn lingering(&self, fault: Option<Fault>, file: FileId) -> Option<Vec<u8>> {
        let state = self.lock();
        let (gone, content) = state.gone.get(&file.kind).filter(|_| fault == Some(Fault::Linger))?;
        (*gone == file).then(|| content.clone())
    }

    /// Numbers the call, writes it down, and fails if it is not to be done at all.
    fn enter(&self, call: Subject) -> Result<Entered, BackendError> {
        let mut state = self.lock();
        state.calls += 1;
        let number = state.calls;
        for repetition in state.late.extract_if(.., |(due, ..)| *due <= number) {
            self.repeat(repetition);
        }
        let mut fault = None;
        let concerned = |rule: &Rule| rule.concerns(call.operation, call.kind);
        for (rule, seen) in state.rules.iter_mut().filter(|(rule, _)| concerned(rule)) {
            *seen += 1;
            let fits = match rule.which {
                Which::Every => true,
                Which::Nth(n) => *seen == n,
                Which::From(n) => *seen >= n,
            };
            if fits && fault.is_none() {
                fault = Some(rule.fault);
            }
        }
        let fate = match (state.frozen_at, fault) {
            (Some(_), _) => "frozen".to_owned(),
            (None, None) => "passed on".to_owned(),
            (None, Some(fault)) => format!("{fault:?}"),
        };
        state.log.push(format!("{number} {call}: {fate}"));
        if state.frozen_at.is_none() && fault == Some(Fault::FreezeBefore) {
            state.frozen_at = Some(number);
        }
        if let Some(at) = state.frozen_at {
            return Err(call.error(ErrorKind::Other, Injected::Frozen { at }));
        }
        match fault {
            Some(Fault::FailBefore(kind)) => Err(call.error(kind, Injected::Planned { number })),
            Some(Fault::Throttle(seconds)) => {
                Err(call.error(ErrorKind::Throttled, Injected::Planned { number }).retry_after(seconds))
            }
            Some(Fault::Lag) if call.file.is_some_and(|file| state.hides(call.operation, file)) => {
                Err(call.error(ErrorKind::NotFound, Injected::Planned { number }))
            }
            fault => Ok(Entered { number, fault }),
        }
    }

    /// Turns the result of a call that was done into what the caller sees.
    fn leave<T>(
        &self,
        call: Subject,
        entered: &Entered,
        result: Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let number = entered.number;
        match entered.fault {
            Some(Fault::FailAfter(kind)) => {
                result.and_then(|_| Err(call.error(kind, Injected::Planned { number })))
            }
            Some(Fault::Tear(_)) => Err(call.error(ErrorKind::Transient, Injected::Planned { number })),
            Some(Fault::FreezeAfter | Fault::TearAndFreeze(_)) => {
                let at = *self.lock().frozen_at.get_or_insert(number);
                Err(call.error(ErrorKind::Other, Injected::Frozen { at }))
            }
            _ => result,
        }
    }

    fn through<T>(
        &self,
        call: Subject,
        inside: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let entered = self.enter(call)?;
        self.leave(call, &entered, inside())
    }

    fn read_through(
        &self,
        file: FileId,
        range: Option<&Range<u64>>,
        buffer: &mut Vec<u8>,
        inside: impl FnOnce(&mut Vec<u8>) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let call = Subject::file(Operation::Read, file);
        buffer.clear();
        let entered = self.enter(call)?;
        let number = entered.number;
        let mut result = match (entered.fault, self.lingering(entered.fault, file)) {
            (_, Some(old)) => take(&old, call, range, buffer),
            (Some(Fault::Exchange), _) => match self.another(file) {
                Some(other) => take(&other, call, range, buffer),
                None => inside(buffer),
            },
            _ => inside(buffer),
        };
        match (entered.fault, range) {
            (Some(Fault::Extend(more)), None) if result.is_ok() => buffer.resize(buffer.len() + more, 0x2a),
            (Some(Fault::CutTo(len)), Some(range)) if result.is_ok() && range.end > len => {
                buffer.clear();
                result = Err(call.error(ErrorKind::TooShort, Injected::Planned { number }));
            }
            (Some(Fault::CutTo(len)), None) => buffer.truncate(usize::try_from(len).unwrap_or(usize::MAX)),
            (Some(Fault::FlipBit(bit)), _) => flip(buffer, bit),
            _ => {}
        }
        self.leave(call, &entered, result)
    }

    /// Makes a listing one of a storage that behaves so.
    fn list_wrongly(&self, fault: Fault, kind: FileKind, listed: &mut Vec<Listed>) {
        let state = self.lock();
        match fault {
            Fault::Lag => {
                listed.retain(|entry| state.newest.get(&kind).is_none_or(|file| file.id != entry.id));
            }
            Fault::Linger => {
                let gone = state.gone.get(&kind);
                let gone = gone.filter(|(file, _)| listed.iter().all(|entry| entry.id != file.id));
                listed.extend(gone.map(|(file, content)| Listed { id: file.id, size: content.len() as u64 }));
            }
            Fault::ListTwice => listed.extend_from_within(..),
            Fault::LeaveOut(which) => {
                listed.sort_unstable();
                let at = which.checked_rem(listed.len() as u64).and_then(|at| usize::try_from(at).ok());
                at.map(|at| listed.remove(at));
            }
            _ => {}
        }
    }

    /// The bytes of another file of the same kind.
    fn another(&self, file: FileId) -> Option<Vec<u8>> {
        let listed = self.inner.list(file.kind).ok()?;
        let others: BTreeSet<Id> =
            listed.iter().map(|listed| listed.id).filter(|id| *id != file.id).collect();
        let mut content = Vec::new();
        let other = FileId { id: *others.first()?, ..file };
        self.inner.read_all(other, u64::MAX, &mut content).ok().map(|()| content)
    }
}

/// Reads what is asked for from these bytes instead of the stored ones.
fn take(
    bytes: &[u8],
    call: Subject,
    range: Option<&Range<u64>>,
    buffer: &mut Vec<u8>,
) -> Result<(), BackendError> {
    let all = 0..bytes.len() as u64;
    let Range { start, end } = range.unwrap_or(&all);
    let bounds = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
    let found = bounds.and_then(|(start, end)| bytes.get(start..end));
    buffer.extend_from_slice(found.ok_or_else(|| call.failed(ErrorKind::TooShort))?);
    Ok(())
}

fn flip(bytes: &mut [u8], bit: u64) {
    let at = (bit / 8).checked_rem(bytes.len() as u64).and_then(|at| usize::try_from(at).ok());
    if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
        *byte ^= 1 << (bit % 8);
    }
}

impl Subject {
    fn file(operation: Operation, file: FileId) -> Self {
        Self { operation, kind: Some(file.kind), file: Some(file) }
    }

    fn error(&self, kind: ErrorKind, cause: Injected) -> BackendError {
        self.failed(kind).because(cause)
    }

    fn failed(&self, kind: ErrorKind) -> BackendError {
        match (self.file, self.kind) {
            (Some(file), _) => BackendError::file(kind, self.operation, file),
            (None, Some(folder)) => BackendError::folder(kind, self.operation, folder),
            (None, None) => BackendError::repository(kind, self.operation),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation)?;
        match (self.file, self.kind) {
            (Some(file), _) => write!(f, " {file}"),
            (None, Some(kind)) => write!(f, " {}", kind.folder()),
            (None, None) => Ok(()),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for FaultBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        let call = Subject { operation: Operation::Create, kind: None, file: None };
        self.through(call, || self.inner.create())
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        let call = Subject::file(Operation::Write, file);
        let entered = self.enter(call)?;
        self.lock().newest.insert(file.kind, file);
        self.keep(file);
        if let Some(Fault::Again(calls)) = entered.fault {
            let due = entered.number.saturating_add(calls);
            self.lock().late.push((due, file, Some(content.to_vec())));
        }
        let written = match (entered.fault, &self.memory) {
            (Some(Fault::Tear(keep) | Fault::TearAndFreeze(keep)), Some(memory)) => {
                let keep = keep.min(content.len().saturating_sub(1));
                memory.insert(file, content.get(..keep).unwrap_or_default());
                Ok(())
            }
            _ => self.inner.write(file, content),
        };
        self.leave(call, &entered, written)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.read_through(file, Some(&range.clone()), buffer, |buffer| self.inner.read(file, range, buffer))
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.read_through(file, None, buffer, |buffer| self.inner.read_all(file, limit, buffer))
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        let call = Subject::file(Operation::Size, file);
        let entered = self.enter(call)?;
        let size = match self.lingering(entered.fault, file) {
            Some(old) => Ok(old.len() as u64),
            None => self.inner.size(file),
        };
        self.leave(call, &entered, size)
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.through(Subject::file(Operation::Size, file), || self.inner.written_at(file))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        let call = Subject { operation: Operation::List, kind: Some(kind), file: None };
        let entered = self.enter(call)?;
        let mut result = self.inner.list(kind);
        if let (Some(fault), Ok(listed)) = (entered.fault, &mut result) {
            self.list_wrongly(fault, kind, listed);
        }
        self.leave(call, &entered, result)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        let call = Subject::file(Operation::Remove, file);
        let entered = self.enter(call)?;
        self.keep(file);
        if let Some(Fault::Again(calls)) = entered.fault {
            self.lock().late.push((entered.number.saturating_add(calls), file, None));
        }
        self.leave(call, &entered, self.inner.remove(file))
    }

    fn hint_trees(&self, packs: &[PackId]) {
        self.inner.hint_trees(packs);
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.through(Subject::file(Operation::Size, file), || self.inner.stored_hash(file))
    }

    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        let call = Subject { operation: Operation::Thaw, kind: Some(FileKind::Pack), file: None };
        self.through(call, || self.inner.thaw(packs))
    }
}

#[cfg(test)]
mod tests;
