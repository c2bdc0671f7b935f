//! Several programs at work on one storage at the same time, in an order that a seed decides.
//!
//! In: a storage in memory and a seed. Out: for each actor a backend and a clock. A call to the storage waits for the
//! actor's turn, and turns go round by chance, also in the middle of an operation. An actor may be stopped for hours,
//! as a laptop that is closed, and killed. Time passes only here; each actor's clock may be wrong. Whoever renews a
//! lock in the background is never late unless its actor is stopped.
//!
//! The order is decided by the seed, but for who computes longer than a moment: then the turn goes on.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use repo_core::backend::{Backend, BackendError, ErrorKind, Listed, MemoryBackend, Operation, Properties};
use repo_core::context::{Cancel, Cancelled, Clock};
use repo_core::id::{FileId, FileKind};
use repo_core::time::Timestamp;

/// When every story begins.
const BEGIN: i64 = 1_700_000_000;
/// So long the turn waits for somebody who makes no call.
const PATIENCE: Duration = Duration::from_millis(2);
/// The threads of this name renew locks.
const RENEWER: &str = "lock";

/// How rough it gets.
#[derive(Debug, Clone, Copy)]
pub struct Roughness {
    /// One call in so many stops its actor for a long time.
    pub stops: u64,
    /// One call in so many kills its actor.
    pub kills: u64,
    /// For how many minutes at most somebody is stopped.
    pub stop_minutes: u64,
}

/// Where it all happens.
#[derive(Debug)]
pub struct Stage {
    state: Mutex<State>,
    changed: Condvar,
    roughness: Roughness,
}

#[derive(Debug)]
struct State {
    random: u64,
    now: Duration,
    actors: Vec<Actor>,
    turn: usize,
    left: u64,
    progress: u64,
    /// When renewers want to wake, by actor; they are waited for.
    renewals: Vec<(usize, Duration, u64)>,
    /// The actors whose renewers are at work.
    renewing: Vec<usize>,
    tickets: u64,
    log: Vec<String>,
}

#[derive(Debug, Default)]
struct Actor {
    at_work: bool,
    killed: bool,
    stopped_until: Option<Duration>,
    stops: u64,
}

impl State {
    fn chance(&mut self, bound: u64) -> u64 {
        // Numerical Recipes' generator; its high bits are good enough for turns.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound.max(1)
    }

    fn may_go(&self, actor: usize) -> bool {
        let actor = &self.actors[actor];
        actor.at_work && actor.stopped_until.is_none_or(|until| until <= self.now)
    }

    /// Time passes, but not beyond a renewal that is due.
    fn pass(&mut self, span: Duration) {
        if self.renewing.iter().any(|actor| self.is_awake(*actor) && !self.actors[*actor].killed) {
            return;
        }
        let due =
            self.renewals.iter().filter(|(actor, ..)| self.is_awake(*actor)).map(|(_, due, _)| *due).min();
        let target = self.now + span;
        self.now = due.map_or(target, |due| target.min(due.max(self.now)));
    }

    fn is_awake(&self, actor: usize) -> bool {
        self.actors[actor].stopped_until.is_none_or(|until| until <= self.now)
    }

    fn next_turn(&mut self) {
        let ready: Vec<usize> = (0..self.actors.len()).filter(|actor| self.may_go(*actor)).collect();
        if ready.is_empty() {
            // Everybody is stopped: until the first wakes.
            let wakes = self
                .actors
                .iter()
                .filter(|actor| actor.at_work)
                .filter_map(|actor| actor.stopped_until)
                .min();
            if let Some(wakes) = wakes {
                let span = wakes.saturating_sub(self.now);
                self.pass(span);
            }
            return;
        }
        let at = self.chance(ready.len() as u64);
        self.turn = ready[usize::try_from(at).unwrap_or(0)];
        self.left = 1 + self.chance(12);
        self.progress += 1;
    }
}

impl Stage {
    /// A stage for so many actors.
    pub fn new(actors: usize, seed: u64, roughness: Roughness) -> Arc<Self> {
        let state = State {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d,
            now: Duration::ZERO,
            actors: (0..actors).map(|_| Actor::default()).collect(),
            turn: 0,
            left: 0,
            progress: 0,
            renewals: Vec::new(),
            renewing: Vec::new(),
            tickets: 0,
            log: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), roughness })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An actor begins an operation, as a new process if the one before was killed.
    pub fn begin(&self, actor: usize, what: &str) {
        let mut state = self.lock();
        state.actors[actor] = Actor { at_work: true, ..Actor::default() };
        state.log.push(format!("── actor {actor} begins: {what}"));
        self.changed.notify_all();
    }

    /// An actor's operation has ended; tells whether it was killed.
    pub fn end(&self, actor: usize, how: &str) -> bool {
        let mut state = self.lock();
        state.actors[actor].at_work = false;
        state.log.push(format!("── actor {actor} ends: {how}"));
        if state.turn == actor {
            state.next_turn();
        }
        self.changed.notify_all();
        state.actors[actor].killed
    }

    /// How often the actor was stopped in this operation.
    pub fn stops(&self, actor: usize) -> u64 {
        self.lock().actors[actor].stops
    }

    /// A number below the bound, by the seed.
    pub fn chance(&self, bound: u64) -> u64 {
        self.lock().chance(bound)
    }

    /// Lets time pass, when nobody is at work.
    pub fn wind(&self, span: Duration) {
        self.lock().now += span;
    }

    /// What happened, in order.
    pub fn log(&self) -> String {
        self.lock().log.join("\n")
    }

    /// The clock of somebody, which is ahead by so many seconds.
    pub fn clock(self: &Arc<Self>, actor: Option<usize>, ahead: i64) -> Arc<ActorClock> {
        Arc::new(ActorClock { stage: self.clone(), actor, ahead })
    }

    /// The storage as an actor reaches it.
    pub fn backend(self: &Arc<Self>, actor: usize, inner: Arc<MemoryBackend>) -> Arc<ActorBackend> {
        Arc::new(ActorBackend { stage: self.clone(), actor, inner })
    }

    /// Waits for the turn, and decides what becomes of the actor.
    fn enter(&self, actor: usize, what: &dyn fmt::Display, is_removal: bool) -> bool {
        let renews = std::thread::current().name() == Some(RENEWER);
        let mut state = self.lock();
        loop {
            if state.actors[actor].killed {
                return false;
            }
            if !state.actors[actor].at_work || renews && state.may_go(actor) {
                break; // afterwards, and to renew a lock, nobody needs a turn
            }
            if state.turn == actor && state.may_go(actor) {
                if state.left == 0 {
                    state.next_turn();
                    self.changed.notify_all();
                    continue;
                }
                state.left -= 1;
                state.progress += 1;
                // A stop between the decision to remove and the removal itself would be one of microseconds.
                if !is_removal && state.chance(self.roughness.stops) == 0 {
                    let minutes = 1 + state.chance(self.roughness.stop_minutes);
                    let until = state.now + Duration::from_secs(minutes * 60);
                    state.log.push(format!("── actor {actor} is stopped for {minutes} minutes"));
                    state.actors[actor].stopped_until = Some(until);
                    state.actors[actor].stops += 1;
                    state.next_turn();
                    self.changed.notify_all();
                    continue;
                }
                if state.chance(self.roughness.kills) == 0 {
                    state.actors[actor].killed = true;
                    state.log.push(format!("── actor {actor} is killed"));
                    self.changed.notify_all();
                    return false;
                }
                let millis = state.chance(3000);
                state.pass(Duration::from_millis(millis));
                break;
            }
            let before = state.progress;
            let (after, waited) =
                self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            state = after;
            if waited.timed_out() && state.progress == before {
                state.next_turn();
                self.changed.notify_all();
            }
        }
        let (now, renewing) = (state.now.as_secs(), if renews { " (renewal)" } else { "" });
        state.log.push(format!("{now:>7} {actor} {what}{renewing}"));
        true
    }

    /// An operation pauses: time passes until it is over.
    fn pause(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        let mut state = self.lock();
        let target = state.now + span;
        while state.now < target {
            let left = target.saturating_sub(state.now);
            state.pass(left);
            if state.now < target {
                // A renewal comes first.
                state = self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
            }
            cancel.check()?;
        }
        Ok(())
    }

    /// A renewer waits: until others have let that much time pass.
    fn wait(self: &Arc<Self>, actor: usize, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        drop(AT_WORK.take());
        let mut state = self.lock();
        state.tickets += 1;
        let ticket = state.tickets;
        let due = state.now + span;
        state.renewals.push((actor, due, ticket));
        loop {
            let over = cancel.check();
            if over.is_err() || state.now >= due && state.is_awake(actor) || state.actors[actor].killed {
                state.renewals.retain(|(_, _, other)| *other != ticket);
                if over.is_ok() {
                    state.renewing.push(actor);
                    AT_WORK.set(Some(Renewing { stage: self.clone(), actor }));
                }
                self.changed.notify_all();
                return over;
            }
            drop(state);
            let _ = cancel.wait(Duration::from_millis(1)); // looked at above
            state = self.lock();
        }
    }
}

thread_local! {
    /// Set while this thread renews a lock; when the thread ends, the stage learns of it.
    static AT_WORK: std::cell::Cell<Option<Renewing>> = const { std::cell::Cell::new(None) };
}

struct Renewing {
    stage: Arc<Stage>,
    actor: usize,
}

impl Drop for Renewing {
    fn drop(&mut self) {
        let mut state = self.stage.lock();
        if let Some(at) = state.renewing.iter().position(|actor| *actor == self.actor) {
            state.renewing.swap_remove(at);
        }
        self.stage.changed.notify_all();
    }
}

/// A clock of the stage.
#[derive(Debug)]
pub struct ActorClock {
    stage: Arc<Stage>,
    actor: Option<usize>,
    ahead: i64,
}

impl Clock for ActorClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp { seconds: BEGIN, nanos: 0 }.saturating_add(self.elapsed());
        Timestamp { seconds: now.seconds + self.ahead, ..now }
    }

    fn elapsed(&self) -> Duration {
        self.stage.lock().now
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        match self.actor {
            Some(actor) if std::thread::current().name() == Some(RENEWER) => {
                self.stage.wait(actor, span, cancel)
            }
            _ => self.stage.pause(span, cancel),
        }
    }
}

/// The storage as one actor reaches it.
pub struct ActorBackend {
    stage: Arc<Stage>,
    actor: usize,
    inner: Arc<MemoryBackend>,
}

impl ActorBackend {
    fn call(&self, operation: Operation, file: FileId) -> Result<(), BackendError> {
        let what = format_args!("{operation} {file}").to_string();
        if self.stage.enter(self.actor, &what, operation == Operation::Remove) {
            Ok(())
        } else {
            Err(BackendError::file(ErrorKind::Other, operation, file))
        }
    }
}

impl fmt::Debug for ActorBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorBackend").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl Backend for ActorBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.inner.create()
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.call(Operation::Write, file)?;
        self.inner.write(file, content)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.call(Operation::Read, file)?;
        self.inner.read(file, range, buffer)
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.call(Operation::Read, file)?;
        self.inner.read_all(file, limit, buffer)
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.call(Operation::Size, file)?;
        self.inner.size(file)
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.call(Operation::Size, file)?;
        self.inner.written_at(file)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        if self.stage.enter(self.actor, &format_args!("list {kind:?}"), false) {
            self.inner.list(kind)
        } else {
            Err(BackendError::folder(ErrorKind::Other, Operation::List, kind))
        }
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.call(Operation::Remove, file)?;
        self.inner.remove(file)
    }
}
