//! A clock that is wound by hand, so that tests of waiting take no time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::context::{Cancel, Cancelled, Clock};
use crate::time::Timestamp;

/// A clock that stands still unless somebody winds it or sleeps, which winds it by that span at once.
///
/// Not for lasting locks: whoever renews one in the background would never rest.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use repo_core::Context;
/// use repo_core::context::{Clock, HandClock};
///
/// let clock = Arc::new(HandClock::new());
/// let context = Context { clock: clock.clone(), ..Context::new() };
/// context.clock.sleep(Duration::from_mins(15), &context.cancel)?;
/// assert_eq!(clock.elapsed(), Duration::from_mins(15));
/// assert_eq!(clock.sleeps(), [Duration::from_mins(15)]);
/// # Ok::<(), repo_core::context::Cancelled>(())
/// ```
#[derive(Debug, Default)]
pub struct HandClock(Mutex<Hands>);

#[derive(Debug, Default)]
struct Hands {
    elapsed: Duration,
    sleeps: Vec<Duration>,
}

impl HandClock {
    /// Stands at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets time pass.
    pub fn wind(&self, span: Duration) {
        self.hands().elapsed += span;
    }

    /// Every wait so far, in order.
    pub fn sleeps(&self) -> Vec<Duration> {
        self.hands().sleeps.clone()
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp { seconds: 1_700_000_000, nanos: 0 }.saturating_add(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.hands().elapsed
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        cancel.check()?;
        let mut hands = self.hands();
        hands.elapsed += span;
        hands.sleeps.push(span);
        Ok(())
    }
}
