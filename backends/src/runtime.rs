//! The one async runtime, and the one place that waits for it.
//!
//! In: a future of the storage library. Out: its result, on the calling thread. The runtime is started with the
//! first storage that needs it and lives as long as the process; its two threads only move bytes. An async
//! program calls the engine through `spawn_blocking`, never from one of its own async threads.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

/// Enough for any number of requests at once: the rate is set by connections and round trips.
const THREADS: usize = 2;

/// The process's runtime for storage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runtime(&'static tokio::runtime::Runtime);

impl Runtime {
    /// Starts the runtime unless it runs already.
    pub(crate) fn get() -> io::Result<Self> {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        if let Some(runtime) = RUNTIME.get() {
            return Ok(Self(runtime));
        }
        let started = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("storage")
            .enable_all()
            .build()?;
        // If another thread was faster, its runtime is used and this idle one ends.
        Ok(Self(RUNTIME.get_or_init(|| started)))
    }

    /// Waits for a future on this thread.
    pub(crate) fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}
