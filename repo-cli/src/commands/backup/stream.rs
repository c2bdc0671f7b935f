//! A stream as the thing to back up: standard input, or what a command prints.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use repo_core::filter::clean;
use repo_core::fs::source::{Source, StreamSource};
use repo_core::repository::LockOwner;

use crate::args::backup::Backup;
use crate::exit::wrong;
use crate::input::Stdin;
use crate::session::Session;
use crate::ui::screen::Screen;

/// Where the bytes come from.
pub enum Stream {
    /// Standard input.
    Stdin,
    /// The output of a command, which has to succeed.
    Command {
        /// The program.
        program: OsString,
        /// What it is given.
        arguments: Vec<OsString>,
    },
}

/// A stream that is being read.
pub struct Running {
    source: StreamSource,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    any_byte: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Stream {
    /// Where the file appears in the snapshot.
    pub fn target(args: &Backup) -> Result<PathBuf> {
        let name = args.stdin_filename.as_encoded_bytes();
        let cleaned = clean(&[b"/", name].concat());
        if name.is_empty() || cleaned == b"/" {
            return Err(wrong("filename is invalid (may not be empty)", "Give --stdin-filename a name."));
        }
        Ok(PathBuf::from(String::from_utf8_lossy(&cleaned).into_owned()))
    }

    /// Begins to read.
    pub fn start(self, session: &Session, target: &Path) -> Result<Running> {
        let state = Arc::new(State::default());
        let time = session.context.clock.now();
        let LockOwner { uid, gid, .. } = LockOwner::this_process();
        let source = match self {
            Self::Stdin => {
                let reader =
                    Watched { inner: Stdin::new(session.context.cancel.clone()), state: state.clone() };
                StreamSource::new(target, reader, time, (uid, gid))
            }
            Self::Command { program, arguments } => {
                let reader = start(session, &program, &arguments, state.clone())?;
                StreamSource::new(target, reader, time, (uid, gid)).fail_closed()
            }
        };
        Ok(Running { source, state })
    }
}

impl Running {
    /// The file as a source.
    pub fn source(&self) -> &dyn Source {
        &self.source
    }

    /// Says so if not a single byte came: most likely whatever should have written it failed.
    pub fn warn_if_empty(&self, session: &Session, target: &Path) -> bool {
        let empty = !self.state.any_byte.load(Ordering::Acquire);
        if empty {
            session.screen.warn(format!("error: failed to save {}: no data read", target.display()));
        }
        empty
    }

    /// What is really behind a failure of the backup: the command's own.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let failure = self.state.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failure {
            Some(what) => wrong(
                format!("unable to save snapshot: {what}"),
                "No snapshot was made, because half an output would look like a good backup.",
            ),
            None => error,
        }
    }
}

/// Reads standard input and remembers whether anything came.
struct Watched<R> {
    inner: R,
    state: Arc<State>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count > 0 {
            self.state.any_byte.store(true, Ordering::Release);
        }
        Ok(count)
    }
}

fn start(
    session: &Session,
    program: &OsString,
    arguments: &[OsString],
    state: Arc<State>,
) -> Result<CommandOutput> {
    let shown = Path::new(program).display().to_string();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    if let Some(stderr) = child.stderr.take() {
        let (screen, name) = (session.screen.clone(), shown);
        std::thread::spawn(move || pass_on(&screen, &name, stderr));
    }
    // A command that never ends is ended with this run.
    let cancel = session.context.cancel.clone();
    Ok(CommandOutput { child, cancel, state, ended: false })
}

fn pass_on(screen: &Screen, name: &str, stderr: impl Read) {
    for line in io::BufRead::lines(io::BufReader::new(stderr)).map_while(Result::ok) {
        screen.warn(format!("subprocess {name}: {line}"));
    }
}

/// What a command prints; its end is only an end if it succeeded.
struct CommandOutput {
    child: Child,
    cancel: repo_core::context::Cancel,
    state: Arc<State>,
    ended: bool,
}

impl Read for CommandOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let Some(stdout) = &mut self.child.stdout else { return Ok(0) };
        let count = crate::input::read_unless(stdout, buffer, &self.cancel)?;
        if count > 0 {
            self.state.any_byte.store(true, Ordering::Release);
            return Ok(count);
        }
        self.ended = true;
        let status = self.child.wait()?;
        if status.success() {
            return Ok(0);
        }
        let failure = match status.code() {
            Some(code) => format!("command failed: exit status {code}"),
            None => format!("command failed: {status}"),
        };
        *self.state.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
        Err(io::Error::other(failure))
    }
}

impl Drop for CommandOutput {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
