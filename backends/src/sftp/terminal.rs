//! Lends the terminal to ssh while it may ask for a password or about a host key.
//!
//! Only a process group in the foreground may read from a terminal. If we are that group, ssh's becomes it until
//! the login is over; if we are not (a job in the background, a service), nothing is lent and nobody can be asked.

use std::fs::File;

use nix::sys::signal::{SigSet, Signal as Interrupt};
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// A terminal that is lent; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    terminal: File,
    ours: Pid,
}

impl Lent {
    /// Lends the terminal to a process group, if it is ours to lend.
    pub(super) fn to(group: Pid) -> Option<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let ours = getpgrp();
        if tcgetpgrp(&terminal).ok()? != ours {
            return None;
        }
        let lent = Self { terminal, ours };
        give(&lent.terminal, group);
        // It may have asked already, and been stopped for that.
        let _ = kill_process_group(group, Signal::CONT);
        Some(lent)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        give(&self.terminal, self.ours);
    }
}

/// Makes a group the one in the foreground.
fn give(terminal: &File, group: Pid) {
    // From the background this is answered with a signal that would stop us, unless it is blocked.
    let mut blocked = SigSet::empty();
    blocked.add(Interrupt::SIGTTOU);
    let before = blocked.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
    // Without the terminal nobody can be asked; that will be told.
    let _ = tcsetpgrp(terminal, group);
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
}
