//! What a run takes from outside: observer, cancellation, clock, randomness, time zone, memory.
//!
//! Every operation gets a [`Context`] first. The core itself never prints, never reads the environment and
//! never looks at a clock but through it, so that a test can repeat a run exactly.

mod hand_clock; // a clock for tests
mod memory; // how much of it may be in use

pub use hand_clock::HandClock;
pub use memory::MemoryLimit;

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::id::SnapshotId;
use crate::time::{Time, Timestamp, Zone};

/// Everything an operation takes from its surroundings. Cheap to clone.
///
/// ```
/// use std::sync::Arc;
///
/// use repo_core::time::Zone;
/// use repo_core::{Context, Event};
///
/// let context = Context { zone: Zone::from_tz(None), ..Context::new() };
/// let context = context.with_observer(Arc::new(|event: &Event<'_>| {
///     if let Event::Skipped { path, error, .. } = event {
///         eprintln!("{}: {error}", path.display());
///     }
/// }));
/// # drop(context);
/// ```
#[derive(Clone)]
pub struct Context {
    /// Is told about progress and soft errors while they happen.
    pub observer: Arc<dyn Observer>,
    /// Asks the operation to stop.
    pub cancel: Cancel,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives random bytes.
    pub random: Arc<dyn Random>,
    /// In which zone new records write their times.
    pub zone: Zone,
    /// How much memory it may take.
    pub memory: MemoryLimit,
}

impl Context {
    /// The system's clock and randomness, times in UTC, a silent observer, never cancelled.
    pub fn new() -> Self {
        Self {
            observer: Arc::new(Silent),
            cancel: Cancel::new(),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            zone: Zone::UTC,
            memory: MemoryLimit::default(),
        }
    }

    /// The same context with another observer.
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// The same context for one of two stages that are at work together.
    #[must_use]
    pub fn with_half_the_memory(&self) -> Self {
        Self { memory: self.memory.half(), ..self.clone() }
    }

    /// Tells the observer.
    pub fn tell(&self, event: &Event<'_>) {
        self.observer.event(event);
    }

    /// Now, as a clock in this context's zone shows it.
    pub fn now(&self) -> Time {
        self.zone.at(self.clock.now())
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("zone", &self.zone).finish_non_exhaustive()
    }
}

/// Is told what an operation does while it does it.
///
/// Called from several threads at once, often; an implementation returns quickly and never calls back into
/// the operation. Results and soft errors are also in the operation's return value: watching is optional.
pub trait Observer: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event<'_>);
}

/// Hears everything, says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event<'_>) {}
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// What part of an operation something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Counting the source ahead of the backup: files and bytes.
    Scan,
    /// Reading the source into the repository: files and bytes.
    Archive,
    /// Loading index files.
    LoadIndex,
    /// Comparing the packs that exist with the index.
    CheckPacks,
    /// Walking the trees of snapshots: snapshots.
    CheckTrees,
    /// Waiting for packs in a cold class: packs and bytes.
    Thaw,
    /// Reading and verifying packs: packs and bytes.
    ReadPacks,
    /// Asking the storage for the hashes of packs: packs.
    CompareHashes,
    /// Writing files: files and bytes.
    Restore,
    /// Reading restored files back: files and bytes.
    Verify,
    /// Removing files of the repository: files.
    Remove,
    /// Walking trees for what is in use: snapshots.
    FindUsed,
    /// Deciding what becomes of each pack: packs.
    PlanPacks,
    /// Copying blobs that are in use out of packs that go: packs and bytes.
    Repack,
    /// Copying blobs into another repository: packs and bytes.
    Copy,
    /// Reading packs' headers for the index: packs.
    ReadHeaders,
    /// Writing the index anew: old index files read.
    RewriteIndex,
    /// Removing index files that were replaced.
    RemoveIndex,
    /// Removing packs that the index has forgotten: packs.
    RemovePacks,
}

/// How an entry compares with what was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It was not in the parent, or not on disk.
    New,
    /// It differs from before.
    Changed,
    /// It is as before.
    Unchanged,
    /// It was there and is gone.
    Removed,
}

/// One thing an operation tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A stage begins; totals are what is known so far, zero if nothing is.
    Begin {
        /// Which stage.
        stage: Stage,
        /// Files, packs, snapshots or index files to do.
        total: u64,
        /// Bytes to do.
        bytes: u64,
    },
    /// The totals of a stage are now known better.
    Total {
        /// Which stage.
        stage: Stage,
        /// Files, packs, snapshots or index files to do.
        total: u64,
        /// Bytes to do.
        bytes: u64,
    },
    /// So much more is done.
    Progress {
        /// Which stage.
        stage: Stage,
        /// Items finished since the last event.
        items: u64,
        /// Bytes finished since the last event.
        bytes: u64,
    },
    /// A stage ended.
    End {
        /// Which stage.
        stage: Stage,
    },
    /// A backup has chosen the snapshot it is compared with.
    Parent {
        /// Which one; `None` means that every file is read.
        id: Option<SnapshotId>,
    },
    /// Work on a file begins.
    Started {
        /// Its path on the source.
        path: &'a Path,
    },
    /// Work on a file ends, however it went.
    Finished {
        /// The path that was told when it began.
        path: &'a Path,
    },
    /// An entry of the source was archived.
    Archived {
        /// Its path in the snapshot, which is another than on the source if the target was relative.
        path: &'a Path,
        /// Whether it is a directory.
        is_dir: bool,
        /// Against the parent.
        change: Change,
        /// What it added.
        added: Added,
        /// How long it took from its first byte to its last.
        duration: Duration,
    },
    /// An entry was restored, left alone or removed.
    Restored {
        /// Its path below the target.
        path: &'a Path,
        /// Against what was on disk.
        change: Change,
        /// Its size in bytes.
        size: u64,
    },
    /// Something could not be read or written; the operation goes on without it. Also part of its result.
    Skipped {
        /// During which stage.
        stage: Stage,
        /// The path concerned.
        path: &'a Path,
        /// Why.
        error: &'a (dyn Error + 'static),
    },
    /// Something is odd, but nothing is lost.
    Warning {
        /// What is odd.
        error: &'a (dyn Error + 'static),
    },
    /// A call to the storage failed and is made again after a pause.
    Retry {
        /// Why it failed; the backend's own error.
        error: &'a (dyn Error + 'static),
        /// How long the pause is.
        wait: Duration,
        /// How often the call failed so far, from 1.
        attempt: u32,
    },
    /// A call to the storage that was made again has succeeded.
    Recovered {
        /// Why it failed the last time.
        error: &'a (dyn Error + 'static),
        /// How often it failed.
        attempts: u32,
    },
    /// The repository is locked by somebody else; waiting.
    WaitingForLock {
        /// Who holds it.
        error: &'a (dyn Error + 'static),
        /// How long the run will wait at most.
        limit: Duration,
    },
}

/// What an archived entry added to the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Added {
    /// Data blobs that were new.
    pub data_blobs: u64,
    /// Their plain bytes.
    pub data_bytes: u64,
    /// Their stored bytes.
    pub data_bytes_packed: u64,
    /// Tree blobs that were new.
    pub tree_blobs: u64,
    /// Their plain bytes.
    pub tree_bytes: u64,
    /// Their stored bytes.
    pub tree_bytes_packed: u64,
}

impl std::ops::AddAssign for Added {
    fn add_assign(&mut self, other: Self) {
        self.data_blobs += other.data_blobs;
        self.data_bytes += other.data_bytes;
        self.data_bytes_packed += other.data_bytes_packed;
        self.tree_blobs += other.tree_blobs;
        self.tree_bytes += other.tree_bytes;
        self.tree_bytes_packed += other.tree_bytes_packed;
    }
}

/// Asks a running operation to stop. Clones share one state.
///
/// Operations look at it between whole steps and then end with [`Cancelled`]; the repository stays valid.
///
/// ```
/// use repo_core::Context;
///
/// let context = Context::new();
/// let cancel = context.cancel.clone(); // to be kept where a signal or a button is handled
/// std::thread::spawn(move || cancel.cancel()).join().expect("nobody panics");
/// assert!(context.cancel.check().is_err());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    stopped: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// The run was asked to stop and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped on request")]
pub struct Cancelled;

/// Makes an upper error of a lower one. That the run was stopped stays one variant, `Cancelled`, on every level.
macro_rules! from_unless_cancelled {
    ($upper:ident: $($lower:ident => $variant:ident),+ $(,)?) => {$(
        impl From<$lower> for $upper {
            fn from(error: $lower) -> Self {
                match error {
                    $lower::Cancelled(stopped) => Self::Cancelled(stopped),
                    error => Self::$variant(error),
                }
            }
        }
    )+};
}
pub(crate) use from_unless_cancelled;

impl Cancel {
    /// Not cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything that shares this to stop. May be called from any thread, more than once.
    pub fn cancel(&self) {
        self.0.stopped.store(true, Ordering::Release);
        let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.wake.notify_all();
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// Returns [`Cancelled`] if somebody asked.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Waits for `span`, or until somebody asks to stop.
    pub fn wait(&self, span: Duration) -> Result<(), Cancelled> {
        let guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self
            .0
            .wake
            .wait_timeout_while(guard, span, |()| !self.is_cancelled())
            .unwrap_or_else(PoisonError::into_inner);
        self.check()
    }
}

/// Tells the time and lets it pass.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment; never goes back.
    fn elapsed(&self) -> Duration;

    /// Waits for `span`; returns [`Cancelled`] as soon as the run is asked to stop.
    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled>;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts counting now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(Timestamp::default(), |since| Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos(),
        })
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        cancel.wait(span)
    }
}

/// An error's text followed by those of its causes, `: ` between them: the whole story in one line.
///
/// Error texts of this crate name the thing and leave the cause to [`Error::source`]. A cause that the text
/// before it already ends with is not repeated.
///
/// ```
/// use repo_core::backend::{BackendError, ErrorKind, Operation};
/// use repo_core::context::with_causes;
/// use repo_core::repository::IndexError;
///
/// let error = IndexError::from(BackendError::repository(ErrorKind::TimedOut, Operation::Open));
/// assert_eq!(error.to_string(), "cannot load the index");
/// assert_eq!(with_causes(&error), "cannot load the index: cannot open the repository: timed out");
/// ```
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let own = error.to_string();
        if !text.ends_with(&own) {
            text.push_str(": ");
            text.push_str(&own);
        }
        cause = error.source();
    }
    text
}

/// Gives random bytes fit for keys and nonces.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    ///
    /// # Panics
    /// May panic when the system cannot give randomness: no safe way to go on exists then.
    fn fill(&self, buffer: &mut [u8]);

    /// A random number.
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives random bytes");
    }
}
