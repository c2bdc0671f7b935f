//! rclone's process: started, listened to, and seen to its end. None outlives us.
//!
//! In: words. Out: its standard input and output. What it says on standard error is told to the observer once it
//! serves, and kept for the error if it ends before. It has a process group of its own, so that Ctrl-C does not take
//! the connection away from under a program that is tidying up. When we are killed its input closes, and it ends.

use std::fmt;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use repo_core::Context;
use repo_core::context::Event;
use rustix::process::{Pid, Signal, kill_process_group};

use super::command::Words;
use crate::network::{Variables, WITHHELD};

/// How long it may take to end by itself once its pipes are closed, as in restic.
const GRACE: Duration = Duration::from_secs(2);

/// Its last words matter.
const SAID_MAX: usize = 2000;

/// A running rclone.
#[derive(Debug)]
pub(super) struct Process {
    child: Mutex<Child>,
    ear: Arc<Ear>,
    /// Ends when it will say no more, which is when it ends.
    silent: Mutex<Receiver<()>>,
}

/// What it says.
#[derive(Debug, Default)]
struct Ear {
    serves: AtomicBool,
    said: Mutex<String>,
}

/// One line that rclone said.
#[derive(Debug, thiserror::Error)]
#[error("rclone: {0}")]
struct Said(String);

/// Starts rclone. It sees our surroundings, and `variables` on top of them.
pub(super) fn start(
    words: &Words,
    variables: &Variables,
    context: &Context,
) -> io::Result<(Process, ChildStdin, ChildStdout)> {
    let mut command = Command::new(&words.program);
    command.args(&words.arguments);
    command.envs(variables.iter());
    for name in WITHHELD {
        command.env_remove(name);
    }
    // Nobody can answer: its standard input is ours, and it is not in the foreground.
    command.env("RCLONE_ASK_PASSWORD", "false");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (ear, (end, silent)) = (Arc::<Ear>::default(), mpsc::channel());
    // From here on the value's end is the process's end.
    let process = Process { child: Mutex::new(child), ear: Arc::clone(&ear), silent: Mutex::new(silent) };
    let (Some(input), Some(output), Some(errors)) = pipes else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let context = context.clone();
    thread::Builder::new().name("rclone-errors".to_owned()).spawn(move || {
        listen(errors, &ear, &context);
        drop::<mpsc::Sender<()>>(end); // whoever waits is woken
    })?;
    Ok((process, input, output))
}

impl Process {
    /// It has answered: what it says from now on is news.
    pub(super) fn serves(&self) {
        self.ear.serves.store(true, Ordering::Relaxed);
    }

    /// How it ended and what it said last; nothing if it runs.
    pub(super) fn ended(&self) -> Option<Ended> {
        // Its last words come with its end.
        let _ = lock(&self.silent).recv_timeout(GRACE);
        let status = lock(&self.child).try_wait().ok()??;
        Some(Ended { code: status.code(), said: lock(&self.ear.said).clone() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its pipes are closed by now, so it ends by itself, unless it hangs.
        let _ = lock(&self.silent).recv_timeout(GRACE);
        let mut child = lock(&self.child);
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // Not reaped yet, so the number is still its own. It may end at this moment, which is all that is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
    }
}

/// How rclone ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    code: Option<i32>,
    said: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "it ended with code {code}")?,
            None => f.write_str("it was killed")?,
        }
        if self.said.is_empty() { Ok(()) } else { write!(f, ": {}", self.said) }
    }
}

impl std::error::Error for Ended {}

fn listen(errors: ChildStderr, ear: &Ear, context: &Context) {
    let mut lines = BufReader::new(errors);
    let mut line = Vec::new();
    // A line that is not text is shown as far as it is.
    while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
        let text: String =
            String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).take(SAID_MAX).collect();
        line.clear();
        if text.trim().is_empty() {
            continue;
        }
        if ear.serves.load(Ordering::Relaxed) {
            context.tell(&Event::Warning { error: &Said(text.clone()) });
        }
        *lock(&ear.said) = text;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
