//! A few connections to one server, opened when they are worth it.
//!
//! In: "I am about to move so many bytes". Out: the connection to do it on. OpenSSH lets about 2 MiB per
//! connection be on the way at once, so over a long line several carry several times as much; small requests
//! share one, however many there are. Only the first may ask for a password: a further one that cannot be had
//! without is done without. A lost connection is replaced by the next call that needs one.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::cause::{Ended, Loss};
use super::connection::{Connection, Server, Surroundings};
use super::link::Link;
use super::process::Asking;

/// More do not pay, measured at 30 ms; OpenSSH begins to refuse logins at ten.
const MOST: usize = 4;
/// What is worth a connection of its own: on a shared one it would hold up others noticeably.
const LARGE: u64 = 1 << 20;
/// How long a further connection may take to come up while others do the work.
const FURTHER_PATIENCE: Duration = Duration::from_secs(30);

/// Makes a new link to the server.
pub(super) type Dial = Box<dyn Fn(Asking) -> Result<Link, Loss> + Send + Sync>;
/// Hears what ssh says although nothing is wrong.
pub(super) type Told = Box<dyn Fn(Ended) + Send + Sync>;

/// The connections to one server.
pub(super) struct Pool {
    dial: Dial,
    told: Told,
    surroundings: Surroundings,
    state: Mutex<State>,
}

struct State {
    lines: Vec<Arc<Line>>,
    /// How many there may be; falls to what could be had.
    most: usize,
    most_wished: usize,
}

/// A connection, and what is to be done on it.
#[derive(Debug)]
struct Line {
    connection: Connection,
    /// Bytes that those who use it are about to move.
    load: AtomicU64,
}

/// The use of a connection for one operation.
#[derive(Debug)]
pub(super) struct Lease {
    line: Arc<Line>,
    bytes: u64,
    pub(super) server: Server,
}

impl Pool {
    /// No connection yet, and never more than `most`.
    pub(super) fn new(dial: Dial, told: Told, surroundings: Surroundings, most: usize) -> Self {
        let most = most.clamp(1, MOST);
        let state = State { lines: Vec::new(), most, most_wished: most };
        Self { dial, told, surroundings, state: Mutex::new(state) }
    }

    /// A connection to move so many bytes on; waits until it can be used.
    pub(super) fn lease(&self, bytes: u64) -> Result<Lease, Arc<Loss>> {
        loop {
            let chosen = self.choose(bytes)?;
            // The weight is on it already, so that it is given back with the lease however this goes.
            let (line, is_further) = match chosen {
                Chosen::Ready(lease) => return Ok(lease),
                Chosen::First(line) => (line, false),
                Chosen::Further(line) => (line, true),
            };
            match line.connection.server(|said| {
                if !is_further {
                    (self.told)(said);
                }
            }) {
                Ok(_) => {} // others may have come up meanwhile: choose again
                Err(_) if is_further => {
                    let mut state = self.lock();
                    state.most = state.lines.len().saturating_sub(1).max(1);
                    state.lines.retain(|other| !Arc::ptr_eq(other, &line));
                }
                Err(loss) => return Err(loss),
            }
        }
    }

    fn choose(&self, bytes: u64) -> Result<Chosen, Arc<Loss>> {
        let mut state = self.lock();
        let is_refused = |line: &Line| line.connection.is_lost() && line.connection.known().is_none();
        let refused = state.lines.iter().any(|line| is_refused(line));
        state.lines.retain(|line| !line.connection.is_lost());
        if refused {
            // Whoever asked for it has perhaps not heard yet; nobody is to ask again.
            state.most = state.most.min(state.lines.len());
        }
        if state.lines.is_empty() {
            state.most = state.most_wished;
            let line = self.open(Asking::Allowed, self.surroundings.clone())?;
            state.lines.push(Arc::clone(&line));
            return Ok(Chosen::First(line));
        }
        let ready = state.lines.iter().filter_map(|line| Some((Arc::clone(line), *line.connection.known()?)));
        let Some((line, server)) = ready.min_by_key(|(line, _)| line.load.load(Ordering::Relaxed)) else {
            // All wait for the first one, and hear the same if it does not come up.
            return Ok(Chosen::First(Arc::clone(&state.lines[0])));
        };
        let busy = line.load.load(Ordering::Relaxed) >= LARGE;
        if busy && bytes >= LARGE && state.lines.len() < state.most {
            let patience = self.surroundings.patience.min(FURTHER_PATIENCE);
            let surroundings = Surroundings { patience, ..self.surroundings.clone() };
            if let Ok(line) = self.open(Asking::Forbidden, surroundings) {
                state.lines.push(Arc::clone(&line));
                return Ok(Chosen::Further(line));
            }
            state.most = state.lines.len();
        }
        line.load.fetch_add(bytes, Ordering::Relaxed);
        Ok(Chosen::Ready(Lease { line, bytes, server }))
    }

    fn open(&self, asking: Asking, surroundings: Surroundings) -> Result<Arc<Line>, Arc<Loss>> {
        let link = (self.dial)(asking)?;
        let connection =
            Connection::begin(link, surroundings).map_err(|error| Loss::start("a thread", error))?;
        Ok(Arc::new(Line { connection, load: AtomicU64::new(0) }))
    }

    /// What the server offers, as far as it was ever asked.
    pub(super) fn known(&self) -> Option<Server> {
        self.lock().lines.iter().find_map(|line| line.connection.known().copied())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Chosen {
    Ready(Lease),
    /// The only one, or the first of those that are not up yet.
    First(Arc<Line>),
    Further(Arc<Line>),
}

impl Drop for Pool {
    fn drop(&mut self) {
        // All at once, so that the farewells take one round trip and not one after another.
        for line in &self.lock().lines {
            line.connection.hang_up();
        }
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.line.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.line.load.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("lines", &self.lock().lines).finish_non_exhaustive()
    }
}
