//! How fast bytes may move in one direction, over everything that shares the limit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use repo_core::backend::Throttle;
use repo_core::context::Clock;

/// How much is handed to the connection at once: small beside what a second moves, large beside its own cost.
const PIECE: usize = 64 << 10;

/// What every piece of a body passes.
#[derive(Clone)]
pub(super) struct Limit {
    throttle: Option<Throttle>,
    clock: Arc<dyn Clock>,
}

impl Limit {
    /// No limit if there is no throttle.
    pub(super) fn new(throttle: Option<Throttle>, clock: &Arc<dyn Clock>) -> Self {
        Self { throttle, clock: Arc::clone(clock) }
    }

    /// How long a piece may be.
    pub(super) fn piece_len(&self) -> usize {
        self.throttle.as_ref().map_or(PIECE, Throttle::piece_len)
    }

    /// Takes the right to move so many bytes, and gives how long to wait before they move.
    pub(super) fn take(&self, len: usize) -> Duration {
        let now = || self.clock.elapsed();
        self.throttle.as_ref().map_or(Duration::ZERO, |throttle| throttle.reserve(len as u64, now()))
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limit").field(&self.throttle).finish()
    }
}
