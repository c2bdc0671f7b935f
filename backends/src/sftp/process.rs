//! Starts ssh and sees to its end: no process of ours outlives us.
//!
//! In: words. Out: a [`Link`] over the process's standard input and output. Its errors are collected, never
//! printed. It has a process group of its own, so that Ctrl-C stops the program and not, under its hands, the
//! connection it needs to tidy up; while ssh may ask for a password, the terminal is lent to that group. When
//! we are killed, the pipe to ssh closes and ssh ends by itself.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::cause::{Ended, SAID_MAX};
use super::command::Words;
use super::link::{Link, Process};
use super::terminal::Lent;
use crate::network::{Variables, WITHHELD};

/// How long a process whose pipes are closed may take to end by itself, as in restic.
const GRACE: Duration = Duration::from_secs(2);

/// Whether the started program may ask the user for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// On the terminal, if there is one.
    Allowed,
    Forbidden,
}

/// Starts the program. It sees our surroundings, and `variables` on top of them.
pub(super) fn start(words: &Words, variables: &Variables, asking: Asking) -> io::Result<Link> {
    let mut command = Command::new(&words.program);
    command.args(words.arguments(asking == Asking::Forbidden).iter().map(OsStr::new));
    command.envs(variables.iter());
    for name in WITHHELD {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let (Some(output), Some(input), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let lent = if asking == Asking::Allowed { group.and_then(Lent::to) } else { None };
    let said = Arc::default();
    let heard_all = listen(errors, Arc::clone(&said))?;
    let process = Ssh {
        group: Mutex::new(group),
        child: Mutex::new(child),
        lent: Mutex::new(lent),
        said,
        heard_all: Mutex::new(heard_all),
    };
    Ok(Link { input: Box::new(input), output: Box::new(output), process: Box::new(process) })
}

/// What it said lately.
type Said = Arc<Mutex<Vec<u8>>>;

/// A running program.
#[derive(Debug)]
struct Ssh {
    /// Gone before the process is reaped, so that no stranger with the same number is ever killed.
    group: Mutex<Option<Pid>>,
    child: Mutex<Child>,
    lent: Mutex<Option<Lent>>,
    said: Said,
    heard_all: Mutex<Receiver<()>>,
}

impl Process for Ssh {
    fn begun(&self) -> Ended {
        lock(&self.lent).take();
        Ended { said: std::mem::take(&mut *lock(&self.said)), ..Ended::default() }
    }

    fn kill(&self) {
        if let Some(group) = *lock(&self.group) {
            // It may have ended already, which is all that is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn reap(&self) -> Ended {
        // Its last words come with its end. Somebody it started may hold the pipe open for longer.
        let _ = lock(&self.heard_all).recv_timeout(GRACE);
        self.kill();
        lock(&self.group).take();
        lock(&self.lent).take();
        let status = lock(&self.child).wait().ok();
        Ended {
            code: status.and_then(|status| status.code()),
            interrupted: status.and_then(|status| status.signal()) == Some(Signal::INT.as_raw()),
            said: lock(&self.said).clone(),
        }
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.kill();
        lock(&self.group).take();
        let _ = lock(&self.child).wait();
    }
}

/// Collects the last of what the program says, and tells when it will say no more.
fn listen(mut errors: ChildStderr, said: Said) -> io::Result<Receiver<()>> {
    let (all, heard_all) = mpsc::channel::<()>();
    thread::Builder::new().name("ssh-errors".to_owned()).spawn(move || {
        let mut piece = [0; 1024];
        while let Ok(len @ 1..) = errors.read(&mut piece) {
            let mut said = lock(&said);
            said.extend_from_slice(piece.get(..len).unwrap_or_default());
            let surplus = said.len().saturating_sub(SAID_MAX);
            said.drain(..surplus);
        }
        drop(all); // whoever waits is woken
    })?;
    Ok(heard_all)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
