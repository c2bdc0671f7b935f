//! A pair of pipes to a server, and whoever holds their other ends.
//!
//! In production that is an ssh process ([`start`](super::process::start)), in tests a thread.

use std::fmt;
use std::io::{Read, Write};

use super::cause::Ended;

/// Both directions and the process behind them.
pub(super) struct Link {
    /// What the server sends.
    pub(super) input: Box<dyn Read + Send>,
    /// What the server gets.
    pub(super) output: Box<dyn Write + Send>,
    pub(super) process: Box<dyn Process>,
}

/// Whoever holds the other ends.
pub(super) trait Process: Send + Sync + fmt::Debug {
    /// Tells that the conversation has begun, so nothing will be asked any more; gives what was said until now.
    fn begun(&self) -> Ended;

    /// Ends it at once. May be called again, from any thread.
    fn kill(&self);

    /// Takes how it ended and what it said, after the server's side was closed; ends it if it has not by itself.
    /// Nothing of it is left afterwards.
    fn reap(&self) -> Ended;
}
