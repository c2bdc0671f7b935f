//! Threads and what goes between them; the only room that starts a thread.
//!
//! In: work and how many may do it at once. Out: results, in the order of the work where order matters.
//! Queues are bounded in bytes, so that memory is bounded whatever the sizes of things. Waiting for storage
//! happens on threads from here, never on a rayon thread.

mod ordered; // results in the order of the work, bounded in bytes

pub use ordered::ordered;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How many CPU threads the machine offers, at least one.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The queue was closed: nobody will take what is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is closed")]
pub struct Closed;

/// A first-in-first-out queue between threads, bounded in bytes.
///
/// An item heavier than the whole bound is let in alone, so that nothing can get stuck.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<QueueState<T>>,
    filled: Condvar,
    drained: Condvar,
    bytes_max: u64,
}

#[derive(Debug)]
struct QueueState<T> {
    items: VecDeque<(T, u64)>,
    bytes: u64,
    closed: bool,
}

impl<T> Queue<T> {
    /// An open queue that holds items of at most `bytes_max` bytes together.
    pub fn new(bytes_max: u64) -> Self {
        let state = QueueState { items: VecDeque::new(), bytes: 0, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), drained: Condvar::new(), bytes_max }
    }

    /// Puts an item of so many bytes in; waits while the queue is full. Returns [`Closed`] once it is closed.
    pub fn push(&self, item: T, bytes: u64) -> Result<(), Closed> {
        let mut state = self.lock();
        while !state.closed && state.bytes > 0 && state.bytes + bytes > self.bytes_max {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(Closed);
        }
        state.bytes += bytes;
        state.items.push_back((item, bytes));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes the oldest item; waits for one. `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = self.take(&mut state) {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the oldest item, whose bytes count until it is dropped; waits for one. `None` once the queue is
    /// closed and empty.
    pub fn pop_held(&self) -> Option<Held<'_, T>> {
        let mut state = self.lock();
        loop {
            if let Some((item, bytes)) = state.items.pop_front() {
                return Some(Held { item: Some(item), bytes, queue: self });
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the newest item; waits for one. `None` once the queue is closed and empty.
    ///
    /// For things that are kept for use, such as memory: the newest one is still warm.
    pub fn pop_newest(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some((item, bytes)) = state.items.pop_back() {
                state.bytes -= bytes;
                self.drained.notify_all();
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the oldest item if there is one now.
    pub fn try_pop(&self) -> Option<T> {
        self.take(&mut self.lock())
    }

    /// Lets nothing more in; what is inside can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Lets nothing more in and drops what is inside.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let items = std::mem::take(&mut state.items);
        state.bytes -= items.iter().map(|(_, bytes)| bytes).sum::<u64>();
        drop(state);
        drop(items);
        self.filled.notify_all();
        self.drained.notify_all();
    }

    fn take(&self, state: &mut QueueState<T>) -> Option<T> {
        let (item, bytes) = state.items.pop_front()?;
        state.bytes -= bytes;
        self.drained.notify_all();
        Some(item)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An item taken from a queue that still counts as being in it.
#[derive(Debug)]
pub struct Held<'a, T> {
    item: Option<T>,
    bytes: u64,
    queue: &'a Queue<T>,
}

impl<T> Held<'_, T> {
    /// The item; its bytes go on counting until the rest is dropped.
    pub fn take(&mut self) -> Option<T> {
        self.item.take()
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        self.queue.lock().bytes -= self.bytes;
        self.queue.drained.notify_all();
    }
}

/// Closes a queue when dropped, so that a thread that ends early cannot leave others waiting.
#[derive(Debug)]
pub struct CloseOnDrop<'a, T>(pub &'a Queue<T>);

impl<T> Drop for CloseOnDrop<'_, T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Drops a queue's content and closes it when dropped: for consumers that end early.
#[derive(Debug)]
pub struct AbandonOnDrop<'a, T>(pub &'a Queue<T>);

impl<T> Drop for AbandonOnDrop<'_, T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Starts a named thread that lives on its own until its work is done.
///
/// # Panics
/// When the system cannot start a thread.
pub fn spawn<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    thread::Builder::new().name(name.to_owned()).spawn(work).expect("the system starts a thread")
}

/// Waits for a thread and gives its result; a panic in it goes on here.
pub fn join<R>(handle: thread::JoinHandle<R>) -> R {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Threads that may borrow from their surroundings; all have ended when [`scope`] returns.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'scope, 'env>(&'scope thread::Scope<'scope, 'env>);

impl<'scope> Scope<'scope, '_> {
    /// Starts a named thread.
    ///
    /// # Panics
    /// When the system cannot start a thread.
    pub fn spawn<R: Send + 'scope>(
        &self,
        name: &str,
        work: impl FnOnce() -> R + Send + 'scope,
    ) -> thread::ScopedJoinHandle<'scope, R> {
        thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(self.0, work)
            .expect("the system starts a thread")
    }
}

/// Runs `story` with the right to start threads that borrow; waits for all of them.
pub fn scope<'env, R>(story: impl for<'scope> FnOnce(Scope<'scope, 'env>) -> R) -> R {
    thread::scope(|scope| story(Scope(scope)))
}

/// Applies `work` to every item on up to `threads` threads and hands the results to `sink`, here, in order
/// of completion. Ends at the first error of either.
///
/// At most `2 × threads` results wait at a time.
pub fn stream<T, R, E>(
    threads: usize,
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(T) -> Result<R, E> + Sync,
    mut sink: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E>
where
    R: Send,
    E: Send,
{
    let items = Mutex::new(items.into_iter());
    let threads = threads.max(1);
    let results = Queue::new(2 * threads as u64);
    let running = Mutex::new(threads);
    scope(|scope| {
        let _end = AbandonOnDrop(&results);
        for _ in 0..threads {
            scope.spawn("stream", || {
                let _last = CountDown { running: &running, results: &results };
                loop {
                    // Taken in its own statement, so that the lock is free while the work is done.
                    let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(item) = item else { return };
                    if results.push(work(item), 1).is_err() {
                        return;
                    }
                }
            });
        }
        while let Some(result) = results.pop() {
            sink(result?)?;
        }
        Ok(())
    })
}

/// Closes the results when the last worker of a [`stream`] ends.
struct CountDown<'a, R> {
    running: &'a Mutex<usize>,
    results: &'a Queue<R>,
}

impl<R> Drop for CountDown<'_, R> {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running -= 1;
        if *running == 0 {
            self.results.close();
        }
    }
}

/// Applies `work` to every item on up to `threads` threads; the results come in the order of the items.
pub fn map<T: Send, R: Send, E: Send>(
    threads: usize,
    items: Vec<T>,
    work: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let mut results: Vec<Option<R>> = Vec::new();
    results.resize_with(items.len(), || None);
    let threads = threads.min(items.len());
    let numbered = items.into_iter().enumerate();
    stream(
        threads,
        numbered,
        |(at, item)| work(item).map(|result| (at, result)),
        |(at, result)| {
            results[at] = Some(result);
            Ok(())
        },
    )?;
    Ok(results.into_iter().flatten().collect())
}

/// Works through `seeds` and whatever the work itself brings up, on `threads` threads, newest first. Ends at
/// the first error.
///
/// Newest first keeps the list of open work short when the work is a tree: depth times breadth.
pub fn pool<T: Send, E: Send>(
    threads: usize,
    seeds: Vec<T>,
    work: impl Fn(T, &mut Vec<T>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let state = Mutex::new(PoolState { open: seeds, busy: 0, error: None });
    let changed = Condvar::new();
    scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn("pool", || {
                let mut brought = Vec::new();
                let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    if let Some(item) = guard.open.pop() {
                        guard.busy += 1;
                        drop(guard);
                        let idle = Idle { state: &state, changed: &changed };
                        let result = work(item, &mut brought);
                        guard = idle.done();
                        guard.open.append(&mut brought);
                        if let Err(error) = result {
                            guard.error.get_or_insert(error);
                            guard.open.clear();
                        }
                    } else if guard.busy == 0 {
                        return;
                    } else {
                        guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
                    }
                    changed.notify_all();
                }
            });
        }
    });
    state.into_inner().unwrap_or_else(PoisonError::into_inner).error.map_or(Ok(()), Err)
}

struct PoolState<T, E> {
    open: Vec<T>,
    busy: usize,
    error: Option<E>,
}

/// Marks a worker of a [`pool`] idle again, also when its work panics: the others must not wait for it.
struct Idle<'a, T, E> {
    state: &'a Mutex<PoolState<T, E>>,
    changed: &'a Condvar,
}

impl<'a, T, E> Idle<'a, T, E> {
    fn done(self) -> MutexGuard<'a, PoolState<T, E>> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        guard.busy -= 1;
        std::mem::forget(self);
        guard
    }
}

impl<T, E> Drop for Idle<'_, T, E> {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).busy -= 1;
        self.changed.notify_all();
    }
}

/// So many bytes that may be in use at once.
#[derive(Debug)]
pub struct Budget {
    free: Mutex<u64>,
    freed: Condvar,
    total: u64,
}

impl Budget {
    /// A budget with everything free.
    pub fn new(total: u64) -> Self {
        Self { free: Mutex::new(total), freed: Condvar::new(), total }
    }

    /// Takes so many bytes until the permit is dropped; waits for them. More than the total counts as all of it.
    pub fn take(&self, bytes: u64) -> Permit<'_> {
        let bytes = bytes.min(self.total);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < bytes {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Permit { budget: self, bytes }
    }
}

/// A part of a [`Budget`] in use.
#[derive(Debug)]
pub struct Permit<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn map_keeps_the_order_of_its_items_for_any_thread_count() {
        for threads in [1, 2, 7, 64] {
            let squares = map(threads, (0..100_u64).collect(), |n| Ok::<_, ()>(n * n)).unwrap();
            assert_eq!(squares, (0..100).map(|n| n * n).collect::<Vec<_>>());
        }
        assert_eq!(map(4, Vec::<u8>::new(), Ok::<_, ()>), Ok(vec![]));
    }

    #[test]
    fn stream_ends_at_the_first_error_of_work_or_sink() {
        let work = |n: u64| if n == 50 { Err("work") } else { Ok(n) };
        assert_eq!(stream(3, 0..1_000_000, work, |_| Ok(())), Err("work"));
        assert_eq!(stream(3, 0..1_000_000, Ok, |n| if n == 5 { Err("sink") } else { Ok(()) }), Err("sink"));
    }

    #[test]
    fn queue_lets_in_what_fits_and_one_giant() {
        let queue = Queue::new(10);
        queue.push('a', 1000).unwrap();
        assert_eq!(queue.pop(), Some('a'));
        queue.push('b', 6).unwrap();
        let entered = AtomicUsize::new(0);
        scope(|scope| {
            scope.spawn("pusher", || {
                queue.push('c', 6).unwrap();
                entered.store(1, Ordering::SeqCst);
                queue.close();
            });
            assert_eq!(queue.pop(), Some('b'));
            assert_eq!(queue.pop(), Some('c'));
            assert_eq!(queue.pop(), None);
        });
        assert_eq!(entered.load(Ordering::SeqCst), 1);
        assert_eq!(queue.push('d', 1), Err(Closed));
    }

    #[test]
    fn pool_works_through_everything_that_the_work_brings_up() {
        let count = AtomicUsize::new(0);
        let work = |depth: u32, open: &mut Vec<u32>| {
            count.fetch_add(1, Ordering::SeqCst);
            if depth > 0 {
                open.extend([depth - 1, depth - 1]);
            }
            if depth == 99 { Err("too deep") } else { Ok(()) }
        };
        assert_eq!(pool(4, vec![10, 10], work), Ok(()));
        assert_eq!(count.load(Ordering::SeqCst), 2 * ((1 << 11) - 1));
        assert_eq!(pool(4, vec![99], work), Err("too deep"));
        assert_eq!(pool(3, vec![], work), Ok(()));
    }

    #[test]
    fn budget_never_gives_more_than_it_has() {
        let budget = Budget::new(3);
        let in_use = AtomicUsize::new(0);
        scope(|scope| {
            for _ in 0..8 {
                scope.spawn("user", || {
                    for _ in 0..200 {
                        let _permit = budget.take(1);
                        assert!(in_use.fetch_add(1, Ordering::SeqCst) < 3);
                        in_use.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        drop(budget.take(1_000_000));
    }
}
