//! Locks: who works on the repository right now.
//!
//! A lock is a small record in `locks/`. Many shared ones may exist, or one exclusive one. Whoever takes one
//! looks, writes its own, waits a moment and looks again; whoever finds a conflict takes its own back. Locks
//! are renewed while they are held and taken away at the end. Nobody else's lock is ever removed here, stale
//! or not, but on request ([`Repository::remove_stale_locks`]).

mod held;

pub use held::LockGuard;

use std::fmt;
use std::time::Duration;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event};
use crate::format::Lock;
use crate::id::{FileKind, LockId};
use crate::repository::{RecordError, Repository};
use crate::time::{Time, Timestamp};

/// How long to wait between writing a lock and looking again.
const SETTLE: Duration = Duration::from_millis(200);
/// After this age a lock is stale.
const STALE: Duration = Duration::from_mins(30);
/// What a lock says that is held for a moment only: whoever meets it waits instead of giving up.
const MOMENT: &str = "moment";
/// So long is waited for such a lock even if no waiting was asked for.
const MOMENT_MAX: Duration = Duration::from_secs(40);
/// Pauses between attempts while waiting for somebody else's lock.
const PAUSES: [u64; 4] = [5, 10, 20, 40];

/// Whether others may work at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Together with other shared locks: reading, and adding.
    Shared,
    /// Alone: removing.
    Exclusive,
}

/// How to take a lock.
#[derive(Debug, Clone, Default)]
pub struct LockOptions {
    /// How long to wait for somebody else's lock; zero fails at once.
    pub wait: Duration,
    /// Who to say holds it; `None` means this process.
    pub owner: Option<LockOwner>,
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOwner {
    /// The machine.
    pub hostname: String,
    /// The user's name.
    pub username: String,
    /// The process.
    pub pid: i64,
    /// The user.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
}

impl LockOwner {
    /// This process, as the operating system names it.
    pub fn this_process() -> Self {
        let uid = rustix::process::getuid();
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid.as_raw())).ok().flatten();
        Self {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            username: user.map(|user| user.name).unwrap_or_default(),
            pid: i64::from(rustix::process::getpid().as_raw_nonzero().get()),
            uid: uid.as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }

    /// A lock of this owner.
    fn record(self, context: &Context, kind: LockKind) -> Lock {
        Lock {
            time: context.now(),
            exclusive: kind == LockKind::Exclusive,
            hostname: self.hostname,
            username: self.username,
            pid: self.pid,
            uid: self.uid,
            gid: self.gid,
            ..Lock::default()
        }
    }
}

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else works on the repository.
    #[error("repository is already locked {}by {holder}", if *.exclusive { "exclusively " } else { "" })]
    Locked {
        /// Whether the other lock is exclusive.
        exclusive: bool,
        /// Who, and since when.
        holder: Box<StoredLock>,
    },
    /// A lock is there but cannot be read, so nobody knows what it allows.
    #[error("lock {id} cannot be read")]
    Unreadable {
        /// Which one.
        id: LockId,
        /// Why.
        source: RecordError,
    },
    /// The storage failed.
    #[error("cannot lock the repository")]
    Record(#[from] RecordError),
    /// The lock could not be renewed in time, or somebody removed it.
    #[error("the lock was lost while it was held")]
    Lost,
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl LockError {
    /// Whether the other lock says that it will be gone in a moment.
    fn is_for_a_moment(&self) -> bool {
        matches!(self, Self::Locked { holder, .. } if holder.lock.op == MOMENT && holder.age < MOMENT_MAX)
    }
}

impl From<BackendError> for LockError {
    fn from(error: BackendError) -> Self {
        Self::Record(error.into())
    }
}

/// Somebody's lock as it lies in the repository.
#[derive(Debug, Clone)]
pub struct StoredLock {
    /// Its name.
    pub id: LockId,
    /// What it says.
    pub lock: Lock,
    /// How old it was when it was read.
    pub age: Duration,
}

impl StoredLock {
    /// Whether its holder is gone for sure or has not renewed it for half an hour.
    pub fn is_stale(&self, here: &LockOwner) -> bool {
        self.age > STALE || self.is_of_the_dead(here)
    }

    /// Whether its holder was a process of this machine and is no more.
    fn is_of_the_dead(&self, here: &LockOwner) -> bool {
        self.lock.hostname == here.hostname && !process_lives(self.lock.pid)
    }
}

impl fmt::Display for StoredLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lock { pid, hostname, username, uid, gid, .. } = &self.lock;
        write!(f, "PID {pid} on {hostname} by {username} (UID {uid}, GID {gid})")
    }
}

/// Whether a process of this machine exists.
fn process_lives(pid: i64) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    // "No permission" means that it exists.
    !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

impl Repository {
    /// Takes a lock, waiting for others as long as the options allow.
    pub fn lock(
        &self,
        context: &Context,
        kind: LockKind,
        options: &LockOptions,
    ) -> Result<LockGuard, LockError> {
        let start = context.clock.elapsed();
        let mut pauses = PAUSES.into_iter().chain(std::iter::repeat(60)).map(Duration::from_secs);
        loop {
            let error = match self.try_lock(context, kind, options) {
                Ok(guard) => return Ok(guard),
                Err(error @ LockError::Locked { .. }) => error,
                Err(error) => return Err(error),
            };
            let limit = if error.is_for_a_moment() { options.wait.max(MOMENT_MAX) } else { options.wait };
            let left = limit.saturating_sub(context.clock.elapsed().saturating_sub(start));
            if left.is_zero() {
                return Err(error);
            }
            context.tell(&Event::WaitingForLock { error: &error, limit });
            context.clock.sleep(pauses.next().unwrap_or(left).min(left), &context.cancel)?;
        }
    }

    fn try_lock(
        &self,
        context: &Context,
        kind: LockKind,
        options: &LockOptions,
    ) -> Result<LockGuard, LockError> {
        let owner = options.owner.clone().unwrap_or_else(LockOwner::this_process);
        let record = owner.record(context, kind);
        self.find_conflict(context, kind, &[])?;
        self.settle(context, record, &[])
    }

    /// Writes a lock, waits a moment, and looks again; takes it back if there is a lock that is none of `own`.
    fn settle(&self, context: &Context, record: Lock, own: &[LockId]) -> Result<LockGuard, LockError> {
        let kind = if record.exclusive { LockKind::Exclusive } else { LockKind::Shared };
        let id = self.save(context, &record)?;
        let own: Vec<LockId> = own.iter().copied().chain([id]).collect();
        let settled = context
            .clock
            .sleep(SETTLE, &context.cancel)
            .map_err(LockError::from)
            .and_then(|()| self.find_conflict(context, kind, &own));
        if let Err(error) = settled {
            self.backend.remove(id.into())?;
            return Err(error);
        }
        Ok(LockGuard::keep(self, context, record, id))
    }

    /// Waits until nobody else holds a lock, as long as the options allow. Writes nothing, so that nobody who comes is
    /// turned away.
    pub(crate) fn wait_for_nobody(
        &self,
        context: &Context,
        held: &LockGuard,
        options: &LockOptions,
    ) -> Result<(), LockError> {
        let start = context.clock.elapsed();
        let mut pauses = PAUSES.into_iter().chain(std::iter::repeat(60)).map(Duration::from_secs);
        loop {
            let error = match self.find_conflict(context, LockKind::Exclusive, held.current().as_slice()) {
                Err(error @ LockError::Locked { .. }) => error,
                result => return result,
            };
            held.check()?;
            let left = options.wait.saturating_sub(context.clock.elapsed().saturating_sub(start));
            if left.is_zero() {
                return Err(error);
            }
            context.tell(&Event::WaitingForLock { error: &error, limit: options.wait });
            context.clock.sleep(pauses.next().unwrap_or(left).min(left), &context.cancel)?;
        }
    }

    /// Takes an exclusive lock beside the shared one that is held, for a moment's work, if nobody else holds any.
    ///
    /// As long as somebody does, nothing is written.
    pub(crate) fn lock_for_a_moment(
        &self,
        context: &Context,
        held: &LockGuard,
        options: &LockOptions,
    ) -> Result<LockGuard, LockError> {
        let owner = options.owner.clone().unwrap_or_else(LockOwner::this_process);
        let record = Lock { op: MOMENT.to_owned(), ..owner.record(context, LockKind::Exclusive) };
        held.make_sure()?;
        let own = held.current();
        self.find_conflict(context, LockKind::Exclusive, own.as_slice())?;
        self.settle(context, record, own.as_slice())
    }

    /// Fails if a lock other than `own` forbids one of this kind.
    fn find_conflict(&self, context: &Context, kind: LockKind, own: &[LockId]) -> Result<(), LockError> {
        for listed in self.backend.list(FileKind::Lock)? {
            let id = LockId::from(listed.id);
            if own.contains(&id) || listed.size == 0 {
                continue; // an empty lock file is what a crashed program left; everybody ignores it
            }
            let Some(lock) = self.load_lock_twice(context, id)? else { continue };
            if kind == LockKind::Exclusive || lock.lock.exclusive {
                return Err(LockError::Locked { exclusive: lock.lock.exclusive, holder: Box::new(lock) });
            }
        }
        Ok(())
    }

    /// Who works alone although `own` is held: somebody who has not seen it, or does not know of it any more.
    pub(crate) fn who_is_alone(
        &self,
        context: &Context,
        own: &LockGuard,
    ) -> Result<Option<Box<StoredLock>>, LockError> {
        match self.find_conflict(context, LockKind::Shared, own.current().as_slice()) {
            Err(LockError::Locked { holder, .. }) => Ok(Some(holder)),
            Err(error) => Err(error),
            Ok(()) => Ok(None),
        }
    }

    /// Loads a lock; tries once more after a moment. `None` if it is gone.
    fn load_lock_twice(&self, context: &Context, id: LockId) -> Result<Option<StoredLock>, LockError> {
        match self.load_lock(context, id) {
            Err(error) if !error.is_not_found() => {
                context.clock.sleep(SETTLE, &context.cancel)?;
                match self.load_lock(context, id) {
                    Err(source) if !source.is_not_found() => Err(LockError::Unreadable { id, source }),
                    other => Ok(other.ok()),
                }
            }
            other => Ok(other.ok()),
        }
    }

    fn load_lock(&self, context: &Context, id: LockId) -> Result<StoredLock, RecordError> {
        let lock: Lock = self.load(id)?;
        let age = age(context.now(), lock.time);
        Ok(StoredLock { id, lock, age })
    }

    /// Every lock there is; unreadable ones with the reason.
    #[expect(clippy::type_complexity, reason = "a list of names, each with what is there")]
    pub fn locks(
        &self,
        context: &Context,
    ) -> Result<Vec<(LockId, Result<StoredLock, RecordError>)>, BackendError> {
        let ids = self.list::<Lock>()?;
        Ok(ids.into_iter().map(|id| (id, self.load_lock(context, id))).collect())
    }

    /// Removes stale locks and says how many. Damaged and fresh ones stay; and those that are old by this machine's
    /// clock and not by the storage's. If the storage does not give one, the others go all the same before this fails.
    pub fn remove_stale_locks(&self, context: &Context) -> Result<u64, BackendError> {
        let here = LockOwner::this_process();
        let (mut removed, mut now, mut failed) = (0, None, None);
        for (id, lock) in self.locks(context)? {
            let lock = match lock {
                Ok(lock) if lock.is_stale(&here) => lock,
                Err(error) if error.is_not_found() || error.is_damage() => continue,
                Err(RecordError::Backend(error)) => {
                    failed = failed.or(Some(error));
                    continue;
                }
                _ => continue,
            };
            // Old by this machine's clock, which may be wrong: the storage's must agree if it has one.
            if !lock.is_of_the_dead(&here)
                && let Some(written) = self.written_at(id)?
            {
                let now = match now {
                    Some(now) => now,
                    None => *now.insert(self.storage_time(context, &here)?),
                };
                if now.is_some_and(|now| now.since(written) <= STALE) {
                    continue;
                }
            }
            self.backend.remove(id.into())?;
            removed += 1;
        }
        failed.map_or(Ok(removed), Err)
    }

    /// When a lock was written, by the storage's clock; `None` too if it is gone.
    fn written_at(&self, id: LockId) -> Result<Option<Timestamp>, BackendError> {
        match self.backend.written_at(id.into()) {
            Err(error) if error.is_not_found() => Ok(None),
            result => result,
        }
    }

    /// What time it is by the storage's clock, found out by a lock that is gone at once.
    fn storage_time(&self, context: &Context, owner: &LockOwner) -> Result<Option<Timestamp>, BackendError> {
        let id = match self.save(context, &owner.clone().record(context, LockKind::Shared)) {
            Ok(id) => id,
            Err(RecordError::Backend(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        let now = self.written_at(id);
        self.backend.remove(id.into())?;
        now
    }

    /// Removes every lock, held or not, and says how many. Only safe when nobody works on the repository.
    pub fn remove_all_locks(&self) -> Result<u64, BackendError> {
        let ids = self.list::<Lock>()?;
        for id in &ids {
            self.backend.remove((*id).into())?;
        }
        Ok(ids.len() as u64)
    }
}

fn age(now: Time, made: Time) -> Duration {
    let Timestamp { seconds, .. } = made.instant;
    if seconds > now.instant.seconds { Duration::ZERO } else { now.instant.since(made.instant) }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::held::REFRESH;
    use super::*;
    use crate::backend::MemoryBackend;
    use crate::context::{Cancel, Clock};
    use crate::crypto::ScryptParams;
    use crate::id::FileId;
    use crate::repository::{InitOptions, Password};

    /// A clock that stands still unless somebody sleeps or winds it.
    #[derive(Default)]
    struct HandClock {
        elapsed: Mutex<Duration>,
    }

    impl HandClock {
        fn wind(&self, span: Duration) {
            *self.elapsed.lock().unwrap() += span;
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> Timestamp {
            Timestamp { seconds: 1_700_000_000, nanos: 0 }.saturating_add(self.elapsed())
        }

        fn elapsed(&self) -> Duration {
            *self.elapsed.lock().unwrap()
        }

        fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
            if span >= REFRESH {
                return cancel.wait(Duration::from_hours(1)); // the refresher: until the lock is released
            }
            self.wind(span);
            cancel.check()
        }
    }

    fn repository() -> (Context, Arc<HandClock>, Repository) {
        let clock = Arc::new(HandClock::default());
        let context = Context { clock: clock.clone(), ..Context::new() };
        let options = InitOptions { kdf: Some(ScryptParams { n: 2, r: 8, p: 1 }), ..InitOptions::default() };
        let backend = Arc::new(MemoryBackend::new());
        let repository = Repository::init(&context, backend, &Password::new("p"), &options).unwrap();
        (context, clock, repository)
    }

    #[test]
    fn its_time_is_known_while_it_is_renewed_and_a_removed_lock_is_lost() {
        let (context, _, repository) = repository();
        let guard = repository.lock(&context, LockKind::Shared, &LockOptions::default()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200).for_each(|_| guard.renew().unwrap().unwrap()));
            for _ in 0..2000 {
                guard.written_at().unwrap();
            }
        });
        repository.remove_all_locks().unwrap();
        assert!(matches!(guard.written_at(), Err(LockError::Lost)));
    }

    /// The files of a repository.
    fn files(repository: &Repository) -> Vec<(FileId, Vec<u8>)> {
        let backend = repository.backend();
        let listed = FileKind::ALL.iter().flat_map(|kind| {
            let listed = backend.list(*kind).unwrap();
            listed.into_iter().map(|listed| FileId { kind: *kind, id: listed.id })
        });
        let read = |file: FileId| {
            let mut bytes = Vec::new();
            backend.read_all(file, 1 << 20, &mut bytes).unwrap();
            (file, bytes)
        };
        listed.map(read).collect()
    }

    fn take(context: &Context, repository: &Repository, kind: LockKind) -> Result<LockGuard, LockError> {
        repository.lock(context, kind, &LockOptions::default())
    }

    fn count(repository: &Repository) -> usize {
        repository.backend().list(FileKind::Lock).unwrap().len()
    }

    #[test]
    fn shared_locks_live_together_and_an_exclusive_one_alone() {
        use LockKind::{Exclusive, Shared};
        let (context, _, repository) = repository();
        let check = |held, wanted, expected: bool| {
            let guard = take(&context, &repository, held).unwrap();
            let second = take(&context, &repository, wanted);
            assert_eq!(second.is_ok(), expected, "{held:?}, then {wanted:?}");
            drop((guard, second));
            assert_eq!(count(&repository), 0);
        };
        check(Shared, Shared, true);
        check(Shared, Exclusive, false);
        check(Exclusive, Shared, false);
        check(Exclusive, Exclusive, false);
    }

    #[test]
    fn a_conflict_names_the_holder_and_waiting_gives_up_in_time() {
        let (context, clock, repository) = repository();
        let _held = take(&context, &repository, LockKind::Exclusive).unwrap();
        let before = clock.elapsed();
        let options = LockOptions { wait: Duration::from_secs(42), ..LockOptions::default() };
        let error = repository.lock(&context, LockKind::Shared, &options).unwrap_err();
        assert!(error.to_string().contains(&format!("PID {}", std::process::id())), "{error}");
        assert_eq!(clock.elapsed(), before + Duration::from_secs(42));
    }

    #[test]
    fn a_lock_of_an_ended_process_here_or_half_an_hour_old_is_stale() {
        let (context, clock, repository) = repository();
        let here = LockOwner::this_process();
        let leave = |owner: LockOwner| {
            let options = LockOptions { owner: Some(owner), ..LockOptions::default() };
            std::mem::forget(repository.lock(&context, LockKind::Shared, &options).unwrap());
        };
        leave(LockOwner { pid: i64::from(i32::MAX), ..here.clone() }); // no process has this number
        leave(LockOwner { hostname: "elsewhere".into(), pid: i64::from(i32::MAX), ..here.clone() });
        leave(here);
        assert_eq!(repository.remove_stale_locks(&context).unwrap(), 1);
        clock.wind(STALE + Duration::from_secs(1));
        assert_eq!(repository.remove_stale_locks(&context).unwrap(), 2);
        assert_eq!(count(&repository), 0);
    }

    #[test]
    fn a_clock_that_is_ahead_calls_nothing_stale_that_the_storage_calls_fresh() {
        let (context, clock, repository) = repository();
        let storage = Arc::new(HandClock::default());
        let memory = Arc::new(MemoryBackend::with_files(files(&repository)));
        memory.keep_time(storage.clone());
        let repository = repository.with_backend(memory);
        let owner = LockOwner { hostname: "elsewhere".into(), ..LockOwner::this_process() };
        let options = LockOptions { owner: Some(owner), ..LockOptions::default() };
        std::mem::forget(repository.lock(&context, LockKind::Shared, &options).unwrap());
        clock.wind(Duration::from_hours(2));
        assert_eq!(repository.remove_stale_locks(&context).unwrap(), 0);
        storage.wind(Duration::from_mins(31));
        assert_eq!(repository.remove_stale_locks(&context).unwrap(), 1);
        assert_eq!(count(&repository), 0, "nothing of our own stays");
    }

    #[test]
    fn an_empty_lock_file_is_ignored_and_an_unreadable_one_is_not() {
        let (context, _, repository) = repository();
        let memory = MemoryBackend::with_files(files(&repository));
        memory.insert(LockId(crate::id::Id::new([1; 32])).into(), Vec::new());
        let memory = Arc::new(memory);
        let repository = repository.with_backend(memory.clone());
        drop(take(&context, &repository, LockKind::Exclusive).unwrap());
        memory.insert(LockId(crate::id::Id::new([2; 32])).into(), b"junk".to_vec());
        let error = take(&context, &repository, LockKind::Shared).unwrap_err();
        assert!(matches!(error, LockError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn a_renewed_lock_is_new_and_one_that_somebody_removed_is_lost() {
        let (context, clock, repository) = repository();
        let guard = take(&context, &repository, LockKind::Shared).unwrap();
        let current = || repository.list::<Lock>().unwrap();
        let old = current();
        clock.wind(Duration::from_secs(1));
        guard.renew().unwrap().unwrap();
        assert_ne!(current(), old);
        assert_eq!(current().len(), 1);
        repository.remove_all_locks().unwrap();
        clock.wind(Duration::from_secs(1));
        assert!(matches!(guard.renew(), Some(Err(LockError::Lost))));
        drop(guard);
        assert_eq!(count(&repository), 0);
    }
}
