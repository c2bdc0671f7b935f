//! A program that shows a repository, running until the test has seen enough.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::Call;
use crate::servers::process::wait_until;

/// How long a program may take to begin or to end. Generous: the machine may be busy.
const LIMIT: Duration = Duration::from_mins(1);

/// A running program. It is killed with its value, and what it mounted is taken away.
#[derive(Debug)]
pub struct Showing {
    child: Child,
    /// Kept, so that it never writes to nobody.
    said: Option<BufReader<ChildStdout>>,
    /// What it said when it was ready, if that was waited for.
    pub greeting: String,
    mounted: Option<PathBuf>,
}

impl Showing {
    /// Starts it and waits until it serves.
    pub fn start(call: Call) -> Self {
        let mut child = call.spawn();
        let mut said = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut greeting = String::new();
        while !greeting.contains("Now serving the repository at ") {
            greeting.clear();
            if said.read_line(&mut greeting).expect("its output can be read") == 0 {
                let output = child.wait_with_output().expect("it ends");
                panic!("it ended at once: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Self { child, said: Some(said), greeting, mounted: None }
    }

    /// Starts a program that mounts, and waits until it has.
    pub fn mount(call: Call, folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder can be made");
        let child = call.arg(folder).spawn();
        let mut showing =
            Self { child, said: None, greeting: String::new(), mounted: Some(folder.to_owned()) };
        wait_until("the folder is mounted", LIMIT, || {
            let ended = showing.child.try_wait().expect("a child can be waited for");
            assert_eq!(ended, None, "it ended at once");
            is_mounted(folder)
        });
        showing
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a child has a number"), signal).expect("it still runs");
    }

    /// Waits for its end; the exit code (-1 after a signal) and its errors.
    pub fn end(mut self) -> (i32, String) {
        let mut errors = String::new();
        drop(self.said.take());
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = std::io::Read::read_to_string(&mut stderr, &mut errors);
        }
        let status = self.child.wait().expect("a child can be waited for");
        (status.code().unwrap_or(-1), errors)
    }
}

impl Drop for Showing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(folder) = &self.mounted
            && is_mounted(folder)
        {
            let _ = rustix::mount::unmount(folder, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// Whether something is mounted on a folder.
pub fn is_mounted(folder: &Path) -> bool {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the kernel lists mounts");
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|place| Path::new(place) == folder))
}
