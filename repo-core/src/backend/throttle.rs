//! How fast bytes may pass: a token bucket that all who send or receive share.
//!
//! In: "so many bytes, now". Out: how long to wait before they may pass. Pure: it sees no clock and waits for
//! nobody, so async and blocking transports use the same one for every piece of a file. What is granted is
//! never taken back.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::context::{Cancelled, Context};

/// So much may pass at once after a pause: the limit holds within a file, and short pauses are made up for.
const BURST: Duration = Duration::from_millis(200);

/// Pieces are such that one takes about this long, so that many connections share the limit evenly and
/// none of them seems to stand still.
const PIECE: Duration = Duration::from_millis(250);

/// A limit in bytes per second over everything that shares it. Clones share it.
///
/// Whoever sends or receives cuts its bytes into pieces of at most [`piece_len`](Self::piece_len) and asks
/// before each one (or, where bytes arrive unasked, after it, before the next is read):
///
/// ```
/// use std::num::NonZeroU64;
/// use std::time::Duration;
///
/// use repo_core::backend::Throttle;
///
/// let limit = Throttle::new(NonZeroU64::new(1_000_000).expect("not zero"));
/// let now = Duration::from_secs(7); // `context.clock.elapsed()`
/// assert_eq!(limit.reserve(200_000, now), Duration::ZERO, "after a pause a little passes at once");
/// assert_eq!(limit.reserve(500_000, now), Duration::from_millis(500));
/// assert_eq!(limit.reserve(500_000, now), Duration::from_secs(1), "those before it go first");
/// ```
///
/// A transport of async code: `tokio::time::sleep(limit.reserve(piece.len() as u64, context.clock.elapsed())).await`.
/// One of blocking code: `limit.pay(&context, piece.len() as u64)?`.
#[derive(Debug, Clone)]
pub struct Throttle {
    bytes_per_second: NonZeroU64,
    /// Up to when the line is taken by what was granted so far.
    taken_until: Arc<Mutex<Duration>>,
}

impl Throttle {
    /// A limit that nobody has used yet.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, taken_until: Arc::default() }
    }

    /// How many bytes may pass per second.
    pub fn bytes_per_second(&self) -> NonZeroU64 {
        self.bytes_per_second
    }

    /// How many bytes to ask for at a time, at most: those of a quarter of a second, from 1 byte to 64 KiB.
    pub fn piece_len(&self) -> usize {
        let bytes = u128::from(self.bytes_per_second.get()) * PIECE.as_millis() / 1000;
        usize::try_from(bytes).unwrap_or(usize::MAX).clamp(1, 64 << 10)
    }

    /// Grants `bytes`, and says how long to wait before they pass. `now` is a time that never goes back, the
    /// same for all who share this: [`Clock::elapsed`](crate::context::Clock::elapsed).
    pub fn reserve(&self, bytes: u64, now: Duration) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut taken_until = self.taken_until.lock().unwrap_or_else(PoisonError::into_inner);
        // Time that nobody used is lost, but for a short burst.
        *taken_until = taken_until.max(now.saturating_sub(BURST)).saturating_add(span);
        taken_until.saturating_sub(now)
    }

    /// Waits until `bytes` may pass, in pieces, so that small files are not held up by large ones. Returns
    /// [`Cancelled`] as soon as the run is asked to stop.
    pub fn pay(&self, context: &Context, bytes: u64) -> Result<(), Cancelled> {
        let piece_len = self.piece_len() as u64;
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(piece_len);
            let wait = self.reserve(piece, context.clock.elapsed());
            if !wait.is_zero() {
                context.clock.sleep(wait, &context.cancel)?;
            }
            left -= piece;
        }
        Ok(())
    }
}

/// Two are equal if they are the same limit, shared.
impl PartialEq for Throttle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.taken_until, &other.taken_until)
    }
}

impl Eq for Throttle {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Clock, HandClock};

    fn throttle(bytes_per_second: u64) -> Throttle {
        Throttle::new(NonZeroU64::new(bytes_per_second).unwrap())
    }

    #[test]
    fn over_any_span_no_more_than_the_rate_and_one_burst_passes() {
        for rate in [1, 1000, 102_400, 50_000_000, u64::MAX] {
            let limit = throttle(rate);
            let clock = HandClock::new();
            let mut passed = 0_u128;
            let begin = Duration::from_secs(1000);
            clock.wind(begin);
            for step in 0..2000_u64 {
                let piece = 1 + step * 7919 % limit.piece_len() as u64;
                clock.wind(limit.reserve(piece, clock.elapsed()));
                passed += u128::from(piece);
                let span = clock.elapsed().saturating_sub(begin) + BURST;
                let most = u128::from(rate) * span.as_nanos() / 1_000_000_000;
                assert!(passed <= most + 1, "rate {rate}: {passed} bytes in {span:?}");
            }
        }
    }

    #[test]
    fn the_whole_rate_is_used() {
        let limit = throttle(1000);
        let clock = HandClock::new();
        for _ in 0..100 {
            clock.wind(limit.reserve(100, clock.elapsed()));
        }
        assert_eq!(clock.elapsed(), Duration::from_secs(10), "nothing was saved up at time zero");
        clock.wind(Duration::from_hours(1));
        let idle = limit.reserve(1000, clock.elapsed());
        assert_eq!(idle, Duration::from_millis(800), "an idle hour gives one burst, not an hour's bytes");
    }

    #[test]
    fn pieces_are_short_in_time_and_never_empty() {
        let check = |rate, expected| assert_eq!(throttle(rate).piece_len(), expected, "{rate}");
        check(1, 1);
        check(1024, 256);
        check(100 * 1024, 25_600);
        check(100 << 20, 64 << 10);
        check(u64::MAX, 64 << 10);
    }

    #[test]
    fn a_cancelled_run_pays_no_more() {
        let context = Context { clock: Arc::new(HandClock::new()), ..Context::new() };
        let limit = throttle(1000);
        limit.pay(&context, 5000).unwrap();
        assert_eq!(context.clock.elapsed(), Duration::from_secs(5));
        context.cancel.cancel();
        assert!(limit.pay(&context, 5000).is_err());
        assert_eq!(context.clock.elapsed(), Duration::from_secs(5));
    }
}
