//! Packs in a cold class → packs that can be read: all are asked for at once, then waited for.
//!
//! In: the packs that an operation is going to read. Out: nothing, when all of them can be read. How far it got
//! is known to the storage alone: a run that is stopped while it waits begins again where that one was, days later
//! if need be. Never asks for a pack that nobody needs, because thawing costs money.

use std::collections::HashSet;
use std::time::Duration;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event, Stage};
use crate::id::PackId;
use crate::index::Index;
use crate::repository::Repository;

/// How to wait for packs in a cold class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThawOptions {
    /// The first pause between two looks at the storage; each one after it is half as long again.
    pub pause_first: Duration,
    /// No pause is longer.
    pub pause_max: Duration,
    /// Gives up after so long; `None` waits until the run is asked to stop.
    pub wait_max: Option<Duration>,
}

impl Default for ThawOptions {
    fn default() -> Self {
        Self { pause_first: Duration::from_secs(10), pause_max: Duration::from_mins(10), wait_max: None }
    }
}

/// The packs that an operation is going to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needed {
    /// Each once, in no order.
    pub packs: Vec<PackId>,
    /// What is stored in them, in bytes.
    pub bytes: u64,
}

/// Why packs cannot be read yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThawError {
    /// The storage did not take the request.
    #[error("cannot ask the storage for {packs} packs in a cold class")]
    Refused {
        /// How many were asked for.
        packs: usize,
        /// Why.
        source: BackendError,
    },
    /// It takes longer than somebody was ready to wait.
    #[error("{packs} packs cannot be read yet")]
    NotReady {
        /// How many.
        packs: usize,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Needed {
    /// These packs, with their sizes as the index knows them.
    pub fn of(packs: &HashSet<PackId>, index: &Index) -> Self {
        let listed = index.packs().iter().filter(|pack| packs.contains(&pack.id));
        let mut needed = Self::default();
        for pack in listed {
            needed.packs.push(pack.id);
            needed.bytes += pack.blob_bytes;
        }
        needed
    }
}

impl Repository {
    /// Makes packs readable: says how many and how large they are, asks for all of them, and waits.
    pub fn thaw(&self, context: &Context, needed: &Needed, options: &ThawOptions) -> Result<(), ThawError> {
        let total = needed.packs.len();
        context.tell(&Event::Begin { stage: Stage::Thaw, total: total as u64, bytes: needed.bytes });
        let begun = context.clock.elapsed();
        let mut pause = options.pause_first;
        let mut waiting = self.ask(&needed.packs)?;
        let mut told = 0;
        loop {
            let ready = total.saturating_sub(waiting.len());
            let items = ready.saturating_sub(told) as u64;
            context.tell(&Event::Progress { stage: Stage::Thaw, items, bytes: 0 });
            told = told.max(ready);
            if waiting.is_empty() {
                context.tell(&Event::End { stage: Stage::Thaw });
                return Ok(());
            }
            let spent = context.clock.elapsed().saturating_sub(begun);
            let left = options.wait_max.map_or(Duration::MAX, |most| most.saturating_sub(spent));
            if left.is_zero() {
                return Err(ThawError::NotReady { packs: waiting.len() });
            }
            context.clock.sleep(pause.min(left), &context.cancel)?;
            pause = (pause * 3 / 2).min(options.pause_max);
            waiting = self.ask(&waiting)?;
        }
    }

    fn ask(&self, packs: &[PackId]) -> Result<Vec<PackId>, ThawError> {
        if packs.is_empty() {
            return Ok(Vec::new());
        }
        let refused = |source| ThawError::Refused { packs: packs.len(), source };
        self.backend.thaw(packs).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::backend::{Backend, ErrorKind};
    use crate::backend::{Fault, FaultBackend, FrozenBackend, MemoryBackend, Operation, Rule};
    use crate::context::{Cancel, Clock, HandClock};
    use crate::crypto::ScryptParams;
    use crate::id::Id;
    use crate::repository::{InitOptions, Password};
    use crate::time::Timestamp;

    /// A clock that somebody stops the run on after so many waits.
    struct Impatient {
        clock: HandClock,
        waits: usize,
    }

    impl Clock for Impatient {
        fn now(&self) -> Timestamp {
            self.clock.now()
        }

        fn elapsed(&self) -> Duration {
            self.clock.elapsed()
        }

        fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
            if self.clock.sleeps().len() == self.waits {
                cancel.cancel();
            }
            self.clock.sleep(span, cancel)
        }
    }

    fn repository(context: &Context, backend: Arc<dyn Backend>) -> Repository {
        let options = InitOptions { kdf: Some(ScryptParams { n: 2, r: 8, p: 1 }), ..InitOptions::default() };
        Repository::init(context, backend, &Password::new("p"), &options).unwrap()
    }

    fn needed() -> Needed {
        Needed { packs: (1..4).map(|byte| PackId(Id::new([byte; 32]))).collect(), bytes: 300 }
    }

    const TAKES: Duration = Duration::from_hours(5);

    #[test]
    fn packs_are_counted_then_asked_for_then_waited_for() {
        let clock = Arc::new(HandClock::new());
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        let observer = move |event: &Event<'_>| log.lock().unwrap().push(format!("{event:?}"));
        let context = Context { clock: clock.clone(), ..Context::new() }.with_observer(Arc::new(observer));
        let frozen = Arc::new(FrozenBackend::new(Arc::new(MemoryBackend::new()), &context, TAKES));
        let repository = repository(&context, frozen.clone());
        repository.thaw(&context, &needed(), &ThawOptions::default()).unwrap();
        assert_eq!(frozen.asked(), needed().packs);
        let spent = clock.elapsed();
        assert!(TAKES <= spent && spent <= TAKES + Duration::from_mins(10), "{spent:?}");
        assert!(clock.sleeps().len() < 50, "the storage is not asked all the time");
        let told = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!(told.first().unwrap(), "Begin { stage: Thaw, total: 3, bytes: 300 }");
        assert_eq!(told.last().unwrap(), "End { stage: Thaw }");
        assert_eq!(told[told.len() - 2], "Progress { stage: Thaw, items: 3, bytes: 0 }");

        let before = clock.elapsed();
        repository.thaw(&context, &needed(), &ThawOptions::default()).unwrap();
        assert_eq!(clock.elapsed(), before, "what is thawed is not waited for");
    }

    #[test]
    fn a_stopped_run_is_resumed_where_it_was() {
        let clock = Arc::new(Impatient { clock: HandClock::new(), waits: 3 });
        let context = Context { clock: clock.clone(), ..Context::new() };
        let frozen = Arc::new(FrozenBackend::new(Arc::new(MemoryBackend::new()), &context, TAKES));
        let repository = repository(&context, frozen);
        let stopped = repository.thaw(&context, &needed(), &ThawOptions::default());
        assert!(matches!(stopped, Err(ThawError::Cancelled(_))));

        clock.clock.wind(Duration::from_hours(72));
        let later = Context { cancel: Cancel::new(), ..context };
        let before = clock.elapsed();
        repository.thaw(&later, &needed(), &ThawOptions::default()).unwrap();
        assert_eq!(clock.elapsed(), before);
    }

    #[test]
    fn waiting_ends_in_time_and_a_refusal_at_once() {
        let clock = Arc::new(HandClock::new());
        let context = Context { clock: clock.clone(), ..Context::new() };
        let frozen = Arc::new(FrozenBackend::new(Arc::new(MemoryBackend::new()), &context, TAKES));
        let refusing = Rule::nth(2, Fault::FailBefore(ErrorKind::Denied)).on(Operation::Thaw);
        let repository = repository(&context, Arc::new(FaultBackend::new(frozen, [refusing])));
        let options = ThawOptions { wait_max: Some(Duration::from_secs(7)), ..ThawOptions::default() };
        let error = repository.thaw(&context, &Needed::default(), &options);
        assert!(error.is_ok(), "nothing is needed, nobody is asked");
        let error = repository.thaw(&context, &needed(), &options).unwrap_err();
        assert!(matches!(error, ThawError::Refused { packs: 3, .. }), "{error}");
        let error = repository.thaw(&context, &needed(), &options).unwrap_err();
        assert!(matches!(error, ThawError::NotReady { packs: 3 }), "{error}");
        assert_eq!(clock.elapsed(), Duration::from_secs(14));
    }
}
