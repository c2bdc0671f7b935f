//! How fast, and how long still: an honest rate over the last seconds, never a guess without grounds.

use std::collections::VecDeque;
use std::time::Duration;

/// Bytes done over time, looked at through a window of the last seconds.
#[derive(Debug, Default)]
pub struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

/// How far back the window reaches.
const WINDOW: Duration = Duration::from_secs(20);
/// How much must have passed before anything is said.
const GROUNDS: Duration = Duration::from_secs(2);

impl Rate {
    /// Takes what is done by now; both numbers only grow.
    pub fn sample(&mut self, elapsed: Duration, bytes_done: u64) {
        let recent = |last: &(Duration, u64)| elapsed < last.0 + Duration::from_millis(100);
        if self.samples.len() > 1 && self.samples.back().is_some_and(recent) {
            self.samples.pop_back();
        }
        self.samples.push_back((elapsed, bytes_done));
        while self.samples.len() > 2 && self.samples.get(1).is_some_and(|(then, _)| *then + WINDOW <= elapsed)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes per second over the window; `None` while there are no grounds for a number.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn per_second(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.samples.front()?, self.samples.back()?);
        let span = to.checked_sub(*from).filter(|span| *span >= GROUNDS)?;
        Some(after.saturating_sub(*before) as f64 / span.as_secs_f64())
    }

    /// How long the remaining bytes will take at this rate; `None` if nobody can know.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn remaining(&self, bytes_left: u64) -> Option<Duration> {
        let rate = self.per_second().filter(|rate| *rate > 0.0)?;
        Duration::try_from_secs_f64((bytes_left as f64 / rate).ceil()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(samples: &[(u64, u64)]) -> Rate {
        let mut rate = Rate::default();
        for (ms, bytes) in samples {
            rate.sample(Duration::from_millis(*ms), *bytes);
        }
        rate
    }

    #[test]
    fn nothing_is_said_without_grounds() {
        assert_eq!(rate(&[]).per_second(), None);
        assert_eq!(rate(&[(0, 0), (1500, 9000)]).per_second(), None);
        assert_eq!(rate(&[(0, 0), (4000, 0)]).remaining(10), None);
    }

    #[test]
    fn rate_is_that_of_the_last_seconds() {
        assert_eq!(rate(&[(0, 0), (2000, 4000)]).per_second(), Some(2000.0));
        let slowed = (0..100).map(|s| (s * 1000, if s < 50 { s * 1000 } else { 50_000 + (s - 50) * 10 }));
        assert_eq!(rate(&slowed.collect::<Vec<_>>()).per_second(), Some(10.0));
    }

    #[test]
    fn remaining_time_is_rounded_up_to_seconds() {
        assert_eq!(rate(&[(0, 0), (2000, 4000)]).remaining(5000), Some(Duration::from_secs(3)));
        assert_eq!(rate(&[(0, 0), (2000, 4000)]).remaining(0), Some(Duration::ZERO));
    }

    #[test]
    fn frequent_samples_do_not_pile_up() {
        let many: Vec<_> = (0..10_000).map(|at| (at, at)).collect();
        assert!(rate(&many).samples.len() < 250);
    }
}
