//! A backend around a backend that tries again when that can help.
//!
//! In: calls. Out: the same calls, each repeated as a whole while its failure may pass: with growing pauses for
//! up to a quarter of an hour when the storage is slow, busy or away, a few times when the reason is unknown,
//! never when only a person can help. What was written here and is not seen at once is waited for. Nothing is
//! repeated once the run is asked to stop. Never resumes half a call, never hides the last error.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties};
use crate::context::{Context, Event};
use crate::id::{FileId, FileKind, Id, PackId};
use crate::time::Timestamp;

/// Files written here that are remembered, at most: 64 bytes each.
const WRITTEN_MAX: usize = 4096;

/// How often and how long to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOptions {
    /// The first pause; each one after it is twice as long. Half of it is added or taken away at random, so that
    /// many clients do not come back at the same moment.
    pub pause_first: Duration,
    /// No pause is longer, unless the storage asks for it.
    pub pause_max: Duration,
    /// Failures that may pass are repeated for so long, counted from the first one.
    pub give_up_after: Duration,
    /// How often a call is repeated whose failure has an unknown reason.
    pub unknown_repeats: u32,
    /// How long after a write the storage may not show the file yet; zero where it always does.
    pub lag_max: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            pause_first: Duration::from_secs(1),
            pause_max: Duration::from_mins(1),
            give_up_after: Duration::from_mins(15),
            unknown_repeats: 4,
            lag_max: Duration::from_secs(30),
        }
    }
}

/// Tries again. Belongs around everything that may fail in passing, and inside caches.
///
/// ```
/// use repo_core::Backend;
/// use repo_core::backend::{ErrorKind, Fault, FaultBackend, RetryBackend, RetryOptions, Rule};
/// use repo_core::context::{Clock, HandClock};
/// use repo_core::id::FileId;
/// # use std::sync::Arc;
/// # use repo_core::{Context, backend::MemoryBackend};
///
/// let clock = Arc::new(HandClock::new()); // so that nobody waits here
/// let context = Context { clock: clock.clone(), ..Context::new() };
/// let away = [1, 2, 3].map(|n| Rule::nth(n, Fault::FailBefore(ErrorKind::TimedOut)));
/// # let memory = Arc::new(MemoryBackend::with_files([(FileId::CONFIG, b"four".to_vec())]));
/// let storage = Arc::new(FaultBackend::new(memory, away));
/// let patient = RetryBackend::new(storage, &context, RetryOptions::default());
/// assert_eq!(patient.size(FileId::CONFIG)?, 4);
/// assert!(clock.elapsed().as_secs() >= 3);
/// # Ok::<(), repo_core::backend::BackendError>(())
/// ```
#[derive(Debug)]
pub struct RetryBackend {
    inner: Arc<dyn Backend>,
    context: Context,
    options: RetryOptions,
    /// What was written here within the last `lag_max`, oldest first.
    written: Mutex<VecDeque<Written>>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    file: FileId,
    size: u64,
    at: Duration,
}

impl RetryBackend {
    /// Repeats calls to `inner`; the context waits, is told, and may be asked to stop.
    pub fn new(inner: Arc<dyn Backend>, context: &Context, options: RetryOptions) -> Self {
        Self { inner, context: context.clone(), options, written: Mutex::default() }
    }

    /// Makes a call until it succeeds or trying again is of no use. It is told whether it was made before.
    ///
    /// `lag` says how much longer the file in question may be hidden although it is there.
    fn repeat<T>(
        &self,
        lag: impl Fn(&BackendError) -> Duration,
        mut call: impl FnMut(bool) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let mut tries = Tries::new(self);
        loop {
            match call(tries.attempts > 0) {
                Ok(result) => {
                    tries.tell_recovered();
                    return Ok(result);
                }
                Err(error) => tries.wait(lag(&error), error)?,
            }
        }
    }

    /// The same for calls that are not about a file which may be hidden.
    fn repeat_plain<T>(&self, call: impl Fn() -> Result<T, BackendError>) -> Result<T, BackendError> {
        self.repeat(|_| Duration::ZERO, |_| call())
    }

    /// The same for reading a file up to `end`.
    fn repeat_read<T>(
        &self,
        file: FileId,
        end: u64,
        mut call: impl FnMut() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let lag = |error: &BackendError| match error.kind() {
            ErrorKind::NotFound | ErrorKind::TooShort => self.lag_left(file, end),
            _ => Duration::ZERO,
        };
        self.repeat(lag, |_| call())
    }

    /// Whether a write that was reported as failed has been done all the same.
    fn has_landed(&self, file: FileId, content: &[u8]) -> Result<bool, BackendError> {
        let found = if file.kind == FileKind::Config {
            let mut there = Vec::new();
            self.inner.read_all(file, content.len() as u64, &mut there).map(|()| there == content)
        } else {
            // The name is the hash of the content, so the length is all that can be wrong.
            self.inner.size(file).map(|size| size == content.len() as u64)
        };
        match found {
            Err(error) if !error.kind().is_passing() => Ok(false),
            found => found,
        }
    }

    /// Waits for the storage to list what it was given here, and adds what it still leaves out.
    fn complete(
        &self,
        kind: FileKind,
        expected: &[Written],
        mut listed: Vec<Listed>,
    ) -> Result<Vec<Listed>, BackendError> {
        let mut tries = Tries::new(self);
        loop {
            let mut missing: HashMap<Id, Written> =
                expected.iter().map(|written| (written.file.id, *written)).collect();
            for entry in &listed {
                missing.remove(&entry.id);
            }
            let mut hidden = Vec::new();
            for written in missing.into_values() {
                let exists = self.repeat_plain(|| match self.inner.size(written.file) {
                    Err(error) if error.is_not_found() => Ok(false),
                    result => result.map(|_| true),
                })?;
                if exists && self.is_remembered(&written) {
                    hidden.push(written);
                } else {
                    self.forget(written.file); // somebody else removed it
                }
            }
            let Some(newest) = hidden.iter().max_by_key(|written| written.at) else { return Ok(listed) };
            let lag = self.lag_left(newest.file, newest.size);
            let error = BackendError::folder(ErrorKind::NotFound, Operation::List, kind);
            if lag.is_zero() || tries.wait(lag, error).is_err() {
                listed.extend(hidden.iter().map(|it| Listed { id: it.file.id, size: it.size }));
                return Ok(listed);
            }
            listed = self.repeat_plain(|| self.inner.list(kind))?;
        }
    }

    // ── what was written here ──────────────────────────────────────────────────────────────────────────────

    fn remember(&self, file: FileId, size: u64) {
        if self.options.lag_max.is_zero() {
            return;
        }
        let at = self.context.clock.elapsed();
        let mut written = self.written();
        while written.len() >= WRITTEN_MAX || written.front().is_some_and(|oldest| self.is_old(oldest, at)) {
            written.pop_front();
        }
        written.push_back(Written { file, size, at });
    }

    fn forget(&self, file: FileId) {
        self.written().retain(|written| written.file != file);
    }

    fn is_remembered(&self, wanted: &Written) -> bool {
        self.written().iter().any(|written| written.file == wanted.file)
    }

    /// How much longer a file of which `end` bytes are wanted may be hidden although it was written here.
    fn lag_left(&self, file: FileId, end: u64) -> Duration {
        let now = self.context.clock.elapsed();
        let written = self.written();
        let newest = written.iter().rev().find(|written| written.file == file);
        newest
            .filter(|written| end <= written.size)
            .map_or(Duration::ZERO, |written| (written.at + self.options.lag_max).saturating_sub(now))
    }

    fn written_of(&self, kind: FileKind) -> Vec<Written> {
        let now = self.context.clock.elapsed();
        let written = self.written();
        written.iter().filter(|it| it.file.kind == kind && !self.is_old(it, now)).copied().collect()
    }

    fn is_old(&self, written: &Written, now: Duration) -> bool {
        now.saturating_sub(written.at) > self.options.lag_max
    }

    fn written(&self) -> MutexGuard<'_, VecDeque<Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failed attempts of one call.
struct Tries<'a> {
    backend: &'a RetryBackend,
    attempts: u32,
    unknown: u32,
    pause: Duration,
    /// When the first attempt failed.
    since: Option<Duration>,
    last: Option<BackendError>,
}

impl<'a> Tries<'a> {
    fn new(backend: &'a RetryBackend) -> Self {
        let pause = backend.options.pause_first;
        Self { backend, attempts: 0, unknown: 0, pause, since: None, last: None }
    }

    /// Waits before the next attempt, or gives the error back if there is to be none.
    fn wait(&mut self, lag: Duration, error: BackendError) -> Result<(), BackendError> {
        let RetryBackend { context, options, .. } = self.backend;
        let now = context.clock.elapsed();
        let spent = now.saturating_sub(*self.since.get_or_insert(now));
        let left = match error.kind() {
            kind if kind.is_passing() => options.give_up_after.saturating_sub(spent),
            ErrorKind::Other if self.unknown < options.unknown_repeats => {
                self.unknown += 1;
                options.give_up_after.saturating_sub(spent)
            }
            ErrorKind::NotFound | ErrorKind::TooShort => lag,
            _ => Duration::ZERO,
        };
        let asked = error.wait().unwrap_or_default();
        if left.is_zero() || asked > left {
            return Err(error);
        }
        let pause = self.next_pause().min(left).max(asked);
        self.attempts += 1;
        context.tell(&Event::Retry { error: &error, wait: pause, attempt: self.attempts });
        if let Err(stopped) = context.clock.sleep(pause, &context.cancel) {
            return Err(error.because(stopped));
        }
        self.last = Some(error);
        Ok(())
    }

    fn next_pause(&mut self) -> Duration {
        let RetryBackend { context, options, .. } = self.backend;
        let base = self.pause.min(options.pause_max);
        self.pause = base * 2;
        // Half to one and a half of it.
        let permille = 500 + u32::try_from(context.random.number() % 1001).unwrap_or_default();
        (base * permille / 1000).min(options.pause_max)
    }

    fn tell_recovered(&self) {
        if let Some(error) = &self.last {
            self.backend.context.tell(&Event::Recovered { error, attempts: self.attempts });
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for RetryBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.repeat_plain(|| self.inner.create())
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.repeat(
            |_| Duration::ZERO,
            |again| match self.inner.write(file, content) {
                // An earlier attempt may have arrived, and only its answer got lost.
                Err(error) if again && matches!(error.kind(), ErrorKind::Exists | ErrorKind::Denied) => {
                    if self.has_landed(file, content)? {
                        Ok(())
                    } else {
                        Err(error)
                    }
                }
                result => result,
            },
        )?;
        self.remember(file, content.len() as u64);
        Ok(())
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.repeat_read(file, range.end, || self.inner.read(file, range.clone(), buffer))
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.repeat_read(file, 0, || self.inner.read_all(file, limit, buffer))
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.repeat_read(file, 0, || self.inner.size(file))
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.repeat_read(file, 0, || self.inner.written_at(file))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        let expected = self.written_of(kind);
        let listed = self.repeat_plain(|| self.inner.list(kind))?;
        if expected.is_empty() { Ok(listed) } else { self.complete(kind, &expected, listed) }
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.forget(file);
        self.repeat(
            |_| Duration::ZERO,
            |again| match self.inner.remove(file) {
                Err(error) if again && error.is_not_found() => Ok(()), // the first attempt did it
                result => result,
            },
        )
    }

    fn hint_trees(&self, packs: &[PackId]) {
        self.inner.hint_trees(packs);
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.repeat_read(file, 0, || self.inner.stored_hash(file))
    }

    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        self.repeat_plain(|| self.inner.thaw(packs))
    }
}

#[cfg(test)]
mod tests;
