//! One conversation with a server: many requests on the way at once, each answered by its number.
//!
//! Whoever asks writes the request itself, in turn with others, from its own memory; one thread reads the answers
//! and hands each to who waits for it. A second thread watches: if answers are owed and none comes for too long,
//! the process is killed. However a connection ends, everybody who waits is told the same reason, once, and the
//! process is reaped; a connection that ended stays ended. Nothing here knows files.

use std::collections::HashMap;
use std::io::{self, BufReader, IoSlice, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use repo_core::context::{Cancel, Clock};

use super::cause::{Ended, Fault, Loss};
use super::link::{Link, Process};
use super::wire::{self, Limits, Offered, Reply, Request, Status, WireError};

/// What a connection takes from outside.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) clock: Arc<dyn Clock>,
    /// How long the server may be silent while answers are owed.
    pub(super) patience: Duration,
}

/// The silence is measured in so many steps, so that it is not longer after we were suspended.
const STEPS: u32 = 8;
/// How long the other side may take to end once we have hung up.
const FAREWELL: Duration = Duration::from_secs(2);
/// So many small requests may be on their way.
const AT_ONCE: usize = 64;
/// Answers are small or far larger than this.
const READ_AHEAD: usize = 1 << 16;

/// A conversation, begun or about to begin.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    server: OnceLock<Result<Server, Arc<Loss>>>,
    asking: Mutex<()>,
}

/// What a server can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    pub(super) offered: Offered,
    pub(super) limits: Limits,
}

struct Shared {
    turns: Turns,
    output: Mutex<Option<Box<dyn Write + Send>>>,
    state: Mutex<State>,
    changed: Condvar,
    process: Box<dyn Process>,
    surroundings: Surroundings,
    /// Grows with every byte that moves.
    progress: AtomicU64,
    was_silent: AtomicBool,
    /// Ends the watch.
    over: Cancel,
}

#[derive(Default)]
struct State {
    /// Who waits for which answer; nobody for answers that do not matter.
    waiting: HashMap<u32, Option<Sender<Answer>>>,
    next: u32,
    hello: Option<(Offered, Ended)>,
    /// The server has answered once.
    begun: bool,
    lost: Option<Arc<Loss>>,
}

type Answer = (u32, Result<Reply, Arc<Loss>>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Connection {
    /// Begins a conversation; [`Connection::server`] waits until the server has answered.
    pub(super) fn begin(link: Link, surroundings: Surroundings) -> io::Result<Self> {
        let Link { input, mut output, process } = link;
        // A few bytes, which any pipe takes. If nobody is there to take them, the reader finds out why.
        let _ = output.write_all(&wire::hello()).and_then(|()| output.flush());
        let shared = Arc::new(Shared {
            turns: Turns::default(),
            output: Mutex::new(Some(output)),
            state: Mutex::default(),
            changed: Condvar::new(),
            process,
            surroundings,
            progress: AtomicU64::new(0),
            was_silent: AtomicBool::new(false),
            over: Cancel::new(),
        });
        let (reader, watch) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::Builder::new().name("sftp-watch".to_owned()).spawn(move || watch.watch())?;
        let reading = thread::Builder::new().name("sftp-read".to_owned()).spawn(move || reader.read(input));
        if reading.is_err() {
            shared.over.cancel();
            shared.process.kill();
        }
        reading.map(|_| Self { shared, server: OnceLock::new(), asking: Mutex::new(()) })
    }

    /// What the server can do; waits for its answer the first time. `told` hears what ssh said until then.
    pub(super) fn server(&self, told: impl FnOnce(Ended)) -> Result<Server, Arc<Loss>> {
        if let Some(server) = self.server.get() {
            return server.clone();
        }
        let _one_asks = lock(&self.asking);
        self.server.get_or_init(|| self.ask_for_server(told)).clone()
    }

    fn ask_for_server(&self, told: impl FnOnce(Ended)) -> Result<Server, Arc<Loss>> {
        let (offered, said) = {
            let mut state = self.shared.lock();
            loop {
                if let Some(lost) = &state.lost {
                    return Err(Arc::clone(lost));
                }
                match state.hello.take() {
                    Some(hello) => break hello,
                    None => state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            }
        };
        told(said);
        let mut limits = Limits::default();
        if offered.limits {
            let mut calls = Calls::new(self);
            if let Reply::Extended(body) = calls.ask_for_any(&Request::Limits)? {
                // One that is unreadable tells nothing, so nothing more than usual is expected.
                limits = Limits::parse(&body).unwrap_or_default();
            }
        }
        Ok(Server { offered, limits })
    }

    /// What the server can do, as far as it has answered.
    pub(super) fn known(&self) -> Option<&Server> {
        self.server.get()?.as_ref().ok()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.shared.lock().lost.is_some()
    }

    /// Ends it without waiting: whoever waits for an answer is told.
    pub(super) fn kill(&self) {
        self.shared.process.kill();
    }

    /// Says goodbye, without waiting for the other side.
    pub(super) fn hang_up(&self) {
        // Without the other end of its input, ssh ends.
        lock(&self.shared.output).take();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hang_up();
        let state = self.shared.lock();
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, FAREWELL, |state| state.lost.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if waited.timed_out() {
            self.shared.process.kill();
            let state = self.shared.lock();
            // The reader is woken by the end of the process, takes its last words and reaps it.
            drop(self.shared.changed.wait_while(state, |state| state.lost.is_none()));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Reads answers until there are no more, then tells everybody why.
    fn read(&self, input: Box<dyn Read + Send>) {
        let mut input = Counting { input, shared: self };
        let mut input = BufReader::with_capacity(READ_AHEAD, &mut input);
        let mut begun = false;
        let wire = match wire::read_hello(&mut input) {
            Err(error) => error,
            Ok(offered) => {
                begun = true;
                let said = self.process.begun();
                let mut state = self.lock();
                (state.hello, state.begun) = (Some((offered, said)), true);
                drop(state);
                self.changed.notify_all();
                self.hand_out(&mut input)
            }
        };
        if !matches!(wire, WireError::Ended(_)) {
            self.process.kill();
        }
        self.over.cancel();
        // Whoever is stuck in writing is freed by the end of the process.
        let ended = self.process.reap();
        let loss = Arc::new(if self.was_silent.load(Ordering::Acquire) {
            ended.silent(self.surroundings.patience)
        } else if begun {
            ended.in_the_middle(wire)
        } else {
            ended.before_hello(wire)
        });
        let mut state = self.lock();
        state.lost = Some(Arc::clone(&loss));
        for (id, waiting) in state.waiting.drain() {
            if let Some(waiting) = waiting {
                // It may have given up.
                let _ = waiting.send((id, Err(Arc::clone(&loss))));
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn hand_out(&self, input: &mut impl Read) -> WireError {
        loop {
            let (id, reply) = match wire::read_reply(input) {
                Ok(answer) => answer,
                Err(error) => return error,
            };
            match self.lock().waiting.remove(&id) {
                None => return WireError::UnknownId { id },
                Some(None) => {}
                Some(Some(waiting)) => {
                    let _ = waiting.send((id, Ok(reply)));
                }
            }
        }
    }

    /// Kills the process if nothing moves although answers are owed.
    fn watch(&self) {
        let Surroundings { clock, patience } = &self.surroundings;
        let (mut seen, mut silent) = (0, 0);
        while clock.sleep(*patience / STEPS, &self.over).is_ok() {
            let progress = self.progress.load(Ordering::Acquire);
            let state = self.lock();
            let owed = !state.waiting.is_empty() || !state.begun;
            drop(state);
            silent = if owed && progress == seen { silent + 1 } else { 0 };
            seen = progress;
            if silent >= STEPS {
                self.was_silent.store(true, Ordering::Release);
                self.process.kill();
                return;
            }
        }
    }

    /// Writes a whole packet, in turn with others.
    fn write(&self, head: &[u8], content: &[u8]) -> io::Result<()> {
        let _turn = self.turns.take();
        let mut output = lock(&self.output);
        let output = output.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut pieces = [IoSlice::new(head), IoSlice::new(content)];
        let mut rest = &mut pieces[..];
        IoSlice::advance_slices(&mut rest, 0); // drops empty content
        while !rest.is_empty() {
            match output.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    self.progress.fetch_add(len as u64, Ordering::Release);
                    IoSlice::advance_slices(&mut rest, len);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What comes in, counted as progress.
struct Counting<'a> {
    input: Box<dyn Read + Send>,
    shared: &'a Shared,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.shared.progress.fetch_add(len as u64, Ordering::Release);
        Ok(len)
    }
}

/// The requests of one operation, and the answers to them.
///
/// Dropping it forgets the answers that are still owed.
pub(super) struct Calls<'a> {
    connection: &'a Connection,
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
    owed: usize,
}

impl<'a> Calls<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { connection, sender, receiver, owed: 0 }
    }

    /// How many answers are owed.
    pub(super) fn owed(&self) -> usize {
        self.owed
    }

    /// Sends a request; its answer will come out of [`Calls::next`] with the number that is returned.
    pub(super) fn send(&mut self, request: &Request<'_>) -> Result<u32, Arc<Loss>> {
        let id = self.send_with(request, Some(self.sender.clone()))?;
        self.owed += 1;
        Ok(id)
    }

    /// Sends a request whose answer does not matter.
    pub(super) fn mention(&self, request: &Request<'_>) {
        // If the connection is gone, whatever it was about is gone too or will be reported by others.
        let _ = self.send_with(request, None);
    }

    /// Waits for the next answer to any of the requests.
    pub(super) fn next(&mut self) -> Result<(u32, Reply), Arc<Loss>> {
        debug_assert!(self.owed > 0, "nothing was asked");
        let (id, reply) = self.receiver.recv().expect("the sender is held beside the receiver");
        self.owed -= 1;
        Ok((id, reply?))
    }

    /// Asks one thing when nothing else is owed. A status other than "ok" is a refusal.
    pub(super) fn ask(&mut self, request: &Request<'_>) -> Result<Reply, Fault> {
        match self.ask_for_any(request)? {
            Reply::Status(status) if status.code != Status::OK => Err(Fault::Refused(status)),
            reply => Ok(reply),
        }
    }

    /// Asks many things, a window of them at a time, and gives the answers in the order of the questions.
    pub(super) fn ask_all<'r>(
        &mut self,
        requests: impl IntoIterator<Item = Request<'r>>,
    ) -> Result<Vec<Reply>, Arc<Loss>> {
        let mut places = HashMap::new();
        let mut replies = Vec::new();
        let mut requests = requests.into_iter();
        loop {
            while self.owed < AT_ONCE
                && let Some(request) = requests.next()
            {
                places.insert(self.send(&request)?, replies.len());
                replies.push(None);
            }
            if self.owed == 0 {
                return Ok(replies.into_iter().flatten().collect());
            }
            let (id, reply) = self.next()?;
            if let Some(place) = places.get(&id).and_then(|at: &usize| replies.get_mut(*at)) {
                *place = Some(reply);
            }
        }
    }

    fn ask_for_any(&mut self, request: &Request<'_>) -> Result<Reply, Arc<Loss>> {
        debug_assert!(self.owed == 0, "another answer could come first");
        self.send(request)?;
        self.next().map(|(_, reply)| reply)
    }

    /// Gives up on a server that does not keep to the protocol.
    pub(super) fn odd(&self, error: WireError) -> Fault {
        self.connection.kill();
        Fault::Odd(error)
    }

    fn send_with(&self, request: &Request<'_>, waiting: Option<Sender<Answer>>) -> Result<u32, Arc<Loss>> {
        let shared = &self.connection.shared;
        let mut state = shared.lock();
        if let Some(lost) = &state.lost {
            return Err(Arc::clone(lost));
        }
        while state.waiting.contains_key(&state.next) {
            state.next = state.next.wrapping_add(1);
        }
        let id = state.next;
        state.next = id.wrapping_add(1);
        state.waiting.insert(id, waiting);
        drop(state);
        let (head, content) = request.encode(id);
        if shared.write(&head, content).is_err() {
            // Why the pipe broke is known to the reader.
            shared.process.kill();
            let state = shared.lock();
            let state = shared.changed.wait_while(state, |state| state.lost.is_none());
            let state = state.unwrap_or_else(PoisonError::into_inner);
            return Err(state.lost.clone().expect("it was waited for"));
        }
        Ok(id)
    }
}

/// Who may write next: first come, first served, so that a small request is not kept waiting by a large upload.
#[derive(Debug, Default)]
struct Turns {
    state: Mutex<(u64, u64)>,
    next: Condvar,
}

struct Turn<'a>(&'a Turns);

impl Turns {
    fn take(&self) -> Turn<'_> {
        let mut state = lock(&self.state);
        let mine = state.0;
        state.0 += 1;
        drop(self.next.wait_while(state, |(_, serving)| *serving != mine));
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).1 += 1;
        self.0.next.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
