//! A backend around a backend that lets only so many calls in at once, fewer while the storage is overloaded.
//!
//! In: calls from any number of threads. Out: the same calls, at most [`Properties::connections`] at a time. When
//! the storage asks to be slower, half as many; one more after each run of calls that went well, as congestion is
//! avoided on networks (additive increase, multiplicative decrease: Chiu and Jain 1989). Calls about locks are
//! never held up: a lock that is renewed too late is lost. Nothing is repeated here.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, BackendError, ErrorKind, Listed, Properties};
use crate::id::{FileId, FileKind, Id, PackId};
use crate::time::Timestamp;

/// One call more is let in after so many successes for each that is let in now.
const RUN_PER_CALL: usize = 4;

/// Lets few calls in at once. Belongs inside a [`RetryBackend`](crate::backend::RetryBackend), so that nobody
/// pauses while he keeps others out.
#[derive(Debug)]
pub struct GateBackend {
    inner: Arc<dyn Backend>,
    most: usize,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug)]
struct State {
    /// Calls inside.
    busy: usize,
    /// How many may be inside: from 1 to `most`.
    allowed: usize,
    /// Calls that went well since `allowed` changed.
    good: usize,
    /// Counts how often `allowed` was halved.
    halvings: u64,
}

impl GateBackend {
    /// Lets in what `inner` says is useful.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        let most = inner.properties().connections.max(1);
        let state = State { busy: 0, allowed: most, good: 0, halvings: 0 };
        Self { inner, most, state: Mutex::new(state), left: Condvar::new() }
    }

    fn through<T>(
        &self,
        kind: Option<FileKind>,
        call: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        if kind == Some(FileKind::Lock) {
            return call();
        }
        let inside = self.enter();
        let result = call();
        match &result {
            Ok(_) => self.praise(),
            Err(error) if error.kind() == ErrorKind::Throttled => self.slow_down(&inside),
            Err(_) => {}
        }
        result
    }

    fn enter(&self) -> Inside<'_> {
        let is_full = |state: &mut State| state.busy >= state.allowed;
        let waiting = self.left.wait_while(self.state(), is_full);
        let mut state = waiting.unwrap_or_else(PoisonError::into_inner);
        state.busy += 1;
        Inside { gate: self, halvings: state.halvings }
    }

    fn praise(&self) {
        let mut state = self.state();
        state.good += 1;
        if state.allowed < self.most && state.good >= RUN_PER_CALL * state.allowed {
            (state.allowed, state.good) = (state.allowed + 1, 0);
            self.left.notify_one();
        }
    }

    /// Calls that were inside together are told off together: that counts once.
    fn slow_down(&self, inside: &Inside<'_>) {
        let mut state = self.state();
        state.good = 0;
        if state.halvings == inside.halvings {
            state.allowed = (state.allowed / 2).max(1);
            state.halvings += 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let in; leaves when dropped.
struct Inside<'a> {
    gate: &'a GateBackend,
    /// How often the storage had asked to be slower when it was let in.
    halvings: u64,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.state().busy -= 1;
        self.gate.left.notify_one();
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for GateBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.through(None, || self.inner.create())
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.through(Some(file.kind), || self.inner.write(file, content))
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.through(Some(file.kind), || self.inner.read(file, range, buffer))
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.through(Some(file.kind), || self.inner.read_all(file, limit, buffer))
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.through(Some(file.kind), || self.inner.size(file))
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.through(Some(file.kind), || self.inner.written_at(file))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        self.through(Some(kind), || self.inner.list(kind))
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.through(Some(file.kind), || self.inner.remove(file))
    }

    fn hint_trees(&self, packs: &[PackId]) {
        self.inner.hint_trees(packs);
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.through(Some(file.kind), || self.inner.stored_hash(file))
    }

    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        self.through(None, || self.inner.thaw(packs))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::backend::conformance::{self, Scale, Subject};
    use crate::backend::{Fault, FaultBackend, MemoryBackend, Operation, Rule};
    use crate::parallel;

    /// Keeps every look-up inside until enough of them are.
    #[derive(Debug)]
    struct Crowd {
        memory: MemoryBackend,
        inside: Mutex<Count>,
        changed: Condvar,
    }

    #[derive(Debug, Default)]
    struct Count {
        now: usize,
        most: usize,
        /// Nobody leaves before so many have been inside at once.
        wanted: usize,
    }

    impl Crowd {
        fn new(wanted: usize) -> Arc<Self> {
            let inside = Mutex::new(Count { wanted, ..Count::default() });
            Arc::new(Self { memory: MemoryBackend::new(), inside, changed: Condvar::new() })
        }

        fn let_go(&self) {
            self.inside.lock().unwrap().wanted = 0;
            self.changed.notify_all();
        }
    }

    impl Backend for Crowd {
        fn properties(&self) -> Properties {
            self.memory.properties()
        }
        fn create(&self) -> Result<(), BackendError> {
            self.memory.create()
        }
        fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
            self.memory.write(file, content)
        }
        fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
            self.memory.read(file, range, buffer)
        }
        fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
            self.memory.read_all(file, limit, buffer)
        }
        fn size(&self, file: FileId) -> Result<u64, BackendError> {
            if file.kind != FileKind::Lock {
                let mut inside = self.inside.lock().unwrap();
                inside.now += 1;
                inside.most = inside.most.max(inside.now);
                self.changed.notify_all();
                let limit = Duration::from_secs(20);
                let waiting = |inside: &mut Count| inside.most < inside.wanted;
                let (mut inside, ended) = self.changed.wait_timeout_while(inside, limit, waiting).unwrap();
                assert!(!ended.timed_out(), "as many as are useful are let in");
                inside.now -= 1;
            }
            Ok(4)
        }
        fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
            self.memory.list(kind)
        }
        fn remove(&self, file: FileId) -> Result<(), BackendError> {
            self.memory.remove(file)
        }
    }

    const PACK: FileId = FileId { kind: FileKind::Pack, id: Id::new([1; 32]) };
    const LOCK: FileId = FileId { kind: FileKind::Lock, id: Id::new([1; 32]) };

    #[test]
    fn through_a_gate_every_promise_is_kept() {
        let make = || Subject::new(Arc::new(GateBackend::new(Arc::new(MemoryBackend::new()))));
        conformance::check(make, Scale::Quick);
    }

    #[test]
    fn as_many_as_are_useful_are_let_in_and_never_more() {
        let crowd = Crowd::new(4);
        let gate = GateBackend::new(crowd.clone());
        parallel::scope(|scope| {
            for _ in 0..16 {
                scope.spawn("caller", || (0..50).for_each(|_| assert!(gate.size(PACK).is_ok())));
            }
        });
        assert_eq!(crowd.inside.lock().unwrap().most, 4);
    }

    #[test]
    fn locks_never_queue_behind_others() {
        let crowd = Crowd::new(5); // more than are let in: all stay inside
        let gate = Arc::new(GateBackend::new(crowd.clone()));
        let callers = [(); 9].map(|()| {
            let gate = gate.clone();
            parallel::spawn("caller", move || gate.size(PACK))
        });
        let (done, answer) = mpsc::channel();
        let looks = gate.clone();
        let lock = parallel::spawn("lock", move || {
            while looks.state().busy < 4 {
                std::thread::yield_now();
            }
            done.send(looks.size(LOCK).is_ok()).unwrap();
        });
        assert_eq!(answer.recv_timeout(Duration::from_secs(20)), Ok(true));
        crowd.let_go();
        parallel::join(lock);
        for caller in callers {
            assert!(parallel::join(caller).is_ok());
        }
    }

    #[test]
    fn an_overloaded_storage_gets_half_as_much_and_slowly_more_again() {
        let throttled = |n| Rule::nth(n, Fault::FailBefore(ErrorKind::Throttled)).on(Operation::List);
        let faults = FaultBackend::new(Arc::new(MemoryBackend::new()), [1, 2, 3, 30].map(throttled));
        let gate = GateBackend::new(Arc::new(faults));
        let call = || {
            let _ = gate.list(FileKind::Pack);
            gate.state().allowed
        };
        let first: Vec<_> = (0..30).map(|_| call()).collect();
        // 4 calls go well to get from 1 to 2, 8 more to get to 3, 12 more to get to 4.
        let expected: Vec<_> = [(2, 1), (1, 2), (1, 3), (2, 8), (3, 12), (4, 3), (2, 1)]
            .into_iter()
            .flat_map(|(allowed, times)| std::iter::repeat_n(allowed, times))
            .collect();
        assert_eq!(first, expected);
    }

    #[test]
    fn calls_that_were_inside_together_halve_once() {
        let gate = GateBackend::new(Arc::new(MemoryBackend::new()));
        let allowed_and_busy = || {
            let state = gate.state();
            (state.allowed, state.busy)
        };
        let together = [(); 4].map(|()| gate.enter());
        for inside in &together {
            gate.slow_down(inside);
        }
        assert_eq!(allowed_and_busy(), (2, 4));
        drop(together);
        let later = gate.enter();
        gate.slow_down(&later);
        assert_eq!(allowed_and_busy(), (1, 1));
    }
}
