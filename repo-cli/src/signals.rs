//! Signals of the system: the first SIGINT or SIGTERM asks the run to stop, the second ends it at once.
//!
//! SIGUSR1 prints a line of progress, SIGHUP is ignored: a backup outlives the terminal it was started from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use repo_core::context::Cancel;

/// What signals have done so far.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    stopped: Arc<AtomicBool>,
}

impl Signals {
    /// Whether a signal asked to stop.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Listens from now on, on a thread of its own.
    #[cfg(unix)]
    pub fn listen(cancel: Cancel, show_progress: impl Fn() + Send + 'static) -> Self {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
        use signal_hook::iterator::Signals as Arriving;

        let signals = Self::default();
        let stopped = signals.stopped.clone();
        let Ok(mut arriving) = Arriving::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1]) else { return signals };
        std::thread::spawn(move || {
            for signal in arriving.forever() {
                match signal {
                    SIGUSR1 => show_progress(),
                    SIGINT | SIGTERM if stopped.swap(true, Ordering::AcqRel) => end_at_once(),
                    SIGINT | SIGTERM => {
                        let name = if signal == SIGINT { "interrupt" } else { "terminated" };
                        eprintln!("signal {name} received, cleaning up");
                        cancel.cancel();
                    }
                    _ => {}
                }
            }
        });
        signals
    }

    /// Signals of other systems are left to their defaults.
    #[cfg(not(unix))]
    pub fn listen(_cancel: Cancel, _show_progress: impl Fn() + Send + 'static) -> Self {
        Self::default()
    }
}

#[cfg(unix)]
#[expect(
    clippy::disallowed_methods,
    reason = "the user asked twice; a valid repository needs no cleaning up"
)]
fn end_at_once() -> ! {
    std::process::exit(i32::from(crate::exit::Code::Interrupted as u8))
}
