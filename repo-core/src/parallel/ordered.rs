//! Work on several threads, results one by one in the order of the work, bounded in bytes.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::scope;

/// Applies `work` to every item on up to `threads` threads and hands the results to `sink`, here, in the order
/// of the items. Ends at the sink's first error.
///
/// Items begun whose results the sink has not finished weigh at most `bytes_max` together, as `weigh` says; a
/// heavier item is worked on alone. Items are taken one at a time and never far ahead, so they may come from a
/// stream.
pub fn ordered<T, R: Send, E>(
    threads: usize,
    bytes_max: u64,
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    weigh: impl Fn(&T) -> u64 + Sync,
    work: impl Fn(T) -> R + Sync,
    mut sink: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let threads = threads.max(1);
    let items = Mutex::new(items.into_iter());
    let window = Window::new(threads, bytes_max);
    scope(|scope| {
        let _end = StopOnDrop(&window);
        for _ in 0..threads {
            scope.spawn("ordered", || {
                let _leaving = Leave(&window);
                loop {
                    // Held until the item has its number, so that numbers rise in the order of the items.
                    let mut items = items.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(item) = items.next() else { return };
                    let weight = weigh(&item);
                    let Some(number) = window.admit(weight) else { return };
                    drop(items);
                    window.deliver(number, work(item), weight);
                }
            });
        }
        while let Some((result, weight)) = window.next() {
            sink(result)?;
            window.release(weight);
        }
        Ok(())
    })
}

/// What has been begun and not yet handed on.
struct Window<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
    bytes_max: u64,
}

struct State<R> {
    /// The number of the next item to begin.
    begun: u64,
    /// The number of the next result to hand on.
    wanted: u64,
    bytes: u64,
    done: BTreeMap<u64, (R, u64)>,
    running: usize,
    stopped: bool,
}

impl<R> Window<R> {
    fn new(running: usize, bytes_max: u64) -> Self {
        let state = State { begun: 0, wanted: 0, bytes: 0, done: BTreeMap::new(), running, stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), bytes_max }
    }

    /// Waits until there is room and gives the item's number; `None` once nothing more is wanted.
    fn admit(&self, bytes: u64) -> Option<u64> {
        let fits = |state: &State<R>| state.bytes == 0 || state.bytes.saturating_add(bytes) <= self.bytes_max;
        let mut state = self.wait_while(|state| !state.stopped && !fits(state));
        if state.stopped {
            return None;
        }
        state.bytes += bytes;
        state.begun += 1;
        Some(state.begun - 1)
    }

    fn deliver(&self, number: u64, result: R, bytes: u64) {
        self.lock().done.insert(number, (result, bytes));
        self.changed.notify_all();
    }

    /// Waits for the next result in order; `None` after the last, or when its worker ended without it.
    fn next(&self) -> Option<(R, u64)> {
        let is_open = |state: &State<R>| !state.stopped && state.running > 0;
        let mut state = self.wait_while(|state| is_open(state) && !state.done.contains_key(&state.wanted));
        let wanted = state.wanted;
        state.wanted += 1;
        state.done.remove(&wanted)
    }

    fn release(&self, bytes: u64) {
        self.lock().bytes -= bytes;
        self.changed.notify_all();
    }

    fn wait_while(&self, waits: impl Fn(&State<R>) -> bool) -> MutexGuard<'_, State<R>> {
        let waiting = self.changed.wait_while(self.lock(), |state| waits(state));
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the workers end when the consumer does.
struct StopOnDrop<'a, R>(&'a Window<R>);

impl<R> Drop for StopOnDrop<'_, R> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }
}

/// Counts a worker out. One that panics never delivers, so nobody may go on waiting for it.
struct Leave<'a, R>(&'a Window<R>);

impl<R> Drop for Leave<'_, R> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        state.stopped |= thread::panicking();
        drop(state);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn results_come_in_the_order_of_the_items_for_any_thread_count_and_bound() {
        for (threads, bytes_max) in [(1, 1), (3, 0), (7, 50), (16, u64::MAX)] {
            let mut found = Vec::new();
            let work = |n: u64| {
                if n.is_multiple_of(5) {
                    thread::yield_now();
                }
                n * n
            };
            let outcome = ordered(
                threads,
                bytes_max,
                0..500,
                |n| n % 30,
                work,
                |square| {
                    found.push(square);
                    Ok::<_, ()>(())
                },
            );
            assert_eq!(outcome, Ok(()));
            assert_eq!(found, (0..500).map(|n| n * n).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn items_begun_and_not_consumed_stay_within_the_bound() {
        let (inside, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let work = |n: u64| {
            let now = inside.fetch_add(10, Ordering::SeqCst) + 10;
            most.fetch_max(now, Ordering::SeqCst);
            n
        };
        let outcome = ordered(
            8,
            40,
            0..300_u64,
            |_| 10,
            work,
            |_| {
                inside.fetch_sub(10, Ordering::SeqCst);
                Ok::<_, ()>(())
            },
        );
        assert_eq!(outcome, Ok(()));
        assert!(most.load(Ordering::SeqCst) <= 40, "{most:?}");
    }

    #[test]
    fn an_error_of_the_sink_ends_endless_work() {
        let outcome =
            ordered(3, 100, 0_u64.., |_| 10, |n| n, |n| if n == 7 { Err("enough") } else { Ok(()) });
        assert_eq!(outcome, Err("enough"));
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_in_the_work_ends_everything() {
        let work = |n: u64| assert!(n != 20, "on purpose");
        let _ = ordered(4, 10, 0_u64.., |_| 5, work, |()| Ok::<_, ()>(()));
    }
}
