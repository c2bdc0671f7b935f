//! A lock that is held: renewed in the background, removed at the end.
//!
//! In: a lock that was just written. Out: a guard. Whoever lost the lock, because somebody removed it or the storage could
//! not be reached in time, is told by [`LockGuard::check`]. The lock of nobody else is ever touched here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::LockError;
use crate::backend::{BackendError, ErrorKind};
use crate::context::{Cancel, Context, Event};
use crate::format::Lock;
use crate::id::LockId;
use crate::parallel;
use crate::repository::Repository;
use crate::time::Timestamp;

/// How often a held lock is renewed.
pub(super) const REFRESH: Duration = Duration::from_mins(5);
/// Within this time after a renewal nobody can have called the lock stale.
const LATELY: Duration = Duration::from_mins(1);
/// A lock that could not be renewed for so long is given up: others may soon call it stale.
const LOST: Duration = Duration::from_secs(22 * 60 + 30);

/// A held lock. It is renewed in the background and removed when this is dropped.
///
/// Operations lock the repository themselves; this is for steps of your own.
///
/// ```
/// use repo_core::repository::{LockError, LockKind, LockOptions};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
///
/// let guard = repository.lock(&context, LockKind::Shared, &LockOptions::default())?;
/// let alone = repository.lock(&context, LockKind::Exclusive, &LockOptions::default());
/// assert!(matches!(alone, Err(LockError::Locked { exclusive: false, .. })));
/// guard.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LockGuard {
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    shared: Arc<HeldShared>,
    refresher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct HeldShared {
    repository: Repository,
    context: Context,
    record: Lock,
    current: Mutex<LockId>,
    /// When it was last seen to be there, by the clock that counts from the start.
    renewed: Mutex<Duration>,
    lost: AtomicBool,
    stop: Cancel,
}

impl LockGuard {
    /// Keeps a lock that was just written, by a thread that renews it.
    pub(super) fn keep(repository: &Repository, context: &Context, record: Lock, id: LockId) -> Self {
        let shared = Arc::new(HeldShared {
            repository: repository.clone(),
            context: context.clone(),
            record,
            current: Mutex::new(id),
            renewed: Mutex::new(context.clock.elapsed()),
            lost: AtomicBool::new(false),
            stop: Cancel::new(),
        });
        let refresher = parallel::spawn("lock", {
            let shared = shared.clone();
            move || shared.keep()
        });
        Self { held: Some(Held { shared, refresher: Some(refresher) }) }
    }

    /// No lock at all: for dry runs, for storage that cannot be written, and for users who know that they
    /// are alone.
    pub fn none() -> Self {
        Self { held: None }
    }

    /// Returns [`LockError::Lost`] if the lock could not be kept.
    pub fn check(&self) -> Result<(), LockError> {
        let lost = self.held.as_ref().is_some_and(|held| held.shared.lost.load(Ordering::Acquire));
        if lost { Err(LockError::Lost) } else { Ok(()) }
    }

    /// Its name at this moment; every renewal gives it another one.
    pub(super) fn current(&self) -> Option<LockId> {
        let current = |held: &Held| *held.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.held.as_ref().map(current)
    }

    /// Renews the lock now; for tests, which do not wait for it.
    #[cfg(test)]
    pub(super) fn renew(&self) -> Option<Result<(), LockError>> {
        self.held.as_ref().map(|held| held.shared.renew())
    }

    /// Makes sure that the lock is still there, at the cost of renewing it; returns [`LockError::Lost`] if not.
    ///
    /// After a long sleep of the machine nothing else tells: whoever renews in the background slept too.
    pub(crate) fn make_sure(&self) -> Result<(), LockError> {
        self.check()?;
        let Some(held) = &self.held else { return Ok(()) };
        held.shared.renew().inspect_err(|error| {
            if matches!(error, LockError::Lost) {
                held.shared.lost.store(true, Ordering::Release);
            }
        })
    }

    /// As [`make_sure`](Self::make_sure), unless that was done or the lock renewed within the last minute.
    ///
    /// For the moment before each removal: whoever was stopped, and goes on after hours, finds out here.
    pub(crate) fn make_sure_lately(&self) -> Result<(), LockError> {
        self.check()?;
        match &self.held {
            Some(held) if held.shared.since_renewal() > LATELY => self.make_sure(),
            _ => Ok(()),
        }
    }

    /// When it was written, by the storage's clock, if that has one: a little before now.
    pub(crate) fn written_at(&self) -> Result<Option<Timestamp>, LockError> {
        while let (Some(held), Some(current)) = (&self.held, self.current()) {
            match held.shared.repository.backend.written_at(current.into()) {
                Ok(written) => return Ok(written),
                // It was renewed meanwhile, and goes by another name now.
                Err(error) if error.kind() == ErrorKind::NotFound && self.current() != Some(current) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(LockError::Lost),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Removes the lock now and says whether that worked.
    pub fn release(mut self) -> Result<(), BackendError> {
        self.held.take().map_or(Ok(()), Held::end)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            // A lock that stays behind grows stale; `release` is for those who want to know.
            let _ = held.end();
        }
    }
}

impl Held {
    fn end(mut self) -> Result<(), BackendError> {
        self.shared.stop.cancel();
        if let Some(refresher) = self.refresher.take() {
            parallel::join(refresher);
        }
        let current = *self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.repository.backend.remove(current.into())
    }
}

impl HeldShared {
    fn since_renewal(&self) -> Duration {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        self.context.clock.elapsed().saturating_sub(renewed)
    }

    /// The story of the refresher: renew in time, or give up and say so.
    fn keep(&self) {
        let clock = self.context.clock.as_ref();
        let mut renewed = clock.elapsed();
        let mut pause = REFRESH;
        while clock.sleep(pause, &self.stop).is_ok() {
            match self.renew() {
                Ok(()) => (renewed, pause) = (clock.elapsed(), REFRESH),
                Err(error) => {
                    self.context.tell(&Event::Warning { error: &error });
                    pause = Duration::from_mins(1);
                    if matches!(error, LockError::Lost) || clock.elapsed().saturating_sub(renewed) > LOST {
                        self.lost.store(true, Ordering::Release);
                        return;
                    }
                }
            }
        }
    }

    /// Writes the lock anew, then removes the old one; somebody may have taken that away meanwhile.
    fn renew(&self) -> Result<(), LockError> {
        // One at a time, the background or the operation.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let old = *current;
        let now = self.context.clock.elapsed();
        let record = Lock { time: self.context.now(), ..self.record.clone() };
        let new = self.repository.save(&self.context, &record)?;
        let old_exists = self.repository.backend.size(old.into());
        *current = new;
        match old_exists {
            Ok(_) => {
                *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = now;
                let Err(error) = self.repository.backend.remove(old.into()) else { return Ok(()) };
                // It may be done all the same, and only the answer lost.
                match self.repository.backend.size(old.into()) {
                    Err(gone) if gone.is_not_found() => Ok(()),
                    _ => Err(error.into()),
                }
            }
            Err(error) if error.is_not_found() => Err(LockError::Lost),
            Err(error) => Err(error.into()),
        }
    }
}
