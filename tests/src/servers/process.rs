//! A server's process: found, started on a free port, waited for, ended with its value.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A server that does not answer within this time is broken. Generous: the machine may be busy.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A running server.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
    command: fn(&Path, SocketAddr) -> Command,
}

/// Finds a program: in the folder that `LARDER_TEST_TOOLS` names, among those that `cargo xtask setup` installed, on
/// the PATH, in the folder for system programs.
pub fn find(name: &str) -> PathBuf {
    // The test program lies in `target/<profile>/deps`.
    let test = std::env::current_exe().expect("the test program knows its path");
    let target = test.ancestors().nth(3).expect("the test program lies in a target folder");
    let named = std::env::var_os("LARDER_TEST_TOOLS").map(PathBuf::from);
    let ours = [target.join("tools/servers/bin"), target.join("tools/bin")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = named.into_iter().chain(ours).chain(std::env::split_paths(&path));
    folders
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is nowhere to be found: run `cargo xtask setup`, which installs it")
        })
}

/// Looks again and again until something is true; panics when it still is not after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < limit, "{what}: still not so after {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of the loopback address that nobody listens on. Somebody may take it before it is used, so whoever starts
/// a server tries again with another one.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below the ports that connections going out are given, and elsewhere in every process.
    let seed = std::process::id().wrapping_mul(7919) % 20_000;
    let seed = u16::try_from(seed).expect("a number below 20000");
    for _ in 0..20_000 {
        let port = 12_000 + (seed + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port of 127.0.0.1 is free");
}

impl Process {
    /// Starts `command`, which is told an address to listen on, with its output in `folder`; returns once `answers`.
    pub fn start(
        folder: &Path,
        command: fn(&Path, SocketAddr) -> Command,
        answers: &dyn Fn(SocketAddr) -> bool,
    ) -> Self {
        let mut said = String::new();
        for _ in 0..5 {
            match Self::start_at(folder, free_address(), command, answers) {
                Ok(process) => return process,
                Err(output) => said = output,
            }
        }
        panic!("the server ended at once, five times:\n{said}");
    }

    /// One attempt; if the server ends, what it said.
    fn start_at(
        folder: &Path,
        address: SocketAddr,
        command: fn(&Path, SocketAddr) -> Command,
        answers: &dyn Fn(SocketAddr) -> bool,
    ) -> Result<Self, String> {
        let log = folder.join("server.log");
        let output = File::create(&log).expect("a log can be made");
        let mut started = command(folder, address);
        started.stdin(Stdio::null()).stderr(output.try_clone().expect("a file can be shared")).stdout(output);
        let child = started.spawn().unwrap_or_else(|error| panic!("cannot start {started:?}: {error}"));
        // From here on the value's end is the server's end.
        let mut process = Self { child, address, command };
        let mut ended = false;
        wait_until(&format!("{started:?} answers"), START_LIMIT, || {
            ended = process.child.try_wait().expect("a child can be waited for").is_some();
            ended || answers(address)
        });
        if ended { Err(fs::read_to_string(&log).unwrap_or_default()) } else { Ok(process) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the processes that it has started; whoever they started may live on.
    pub fn kill_children(&self) {
        let mut ps = Command::new("ps");
        let listed = ps.args(["-e", "-o", "pid=,ppid="]).output().expect("ps starts");
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            let mut numbers = line.split_whitespace().map(str::parse::<i32>);
            if let (Some(Ok(child)), Some(Ok(parent))) = (numbers.next(), numbers.next())
                && u32::try_from(parent).is_ok_and(|parent| parent == self.id())
                && let Some(child) = rustix::process::Pid::from_raw(child)
            {
                // It may have ended by itself, which is as good.
                let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
            }
        }
    }

    /// Kills it, without a chance to tidy up.
    pub fn kill(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills it, and starts it again at the same address.
    pub fn restart(&mut self, folder: &Path, answers: &dyn Fn(SocketAddr) -> bool) {
        self.kill();
        *self = Self::start_at(folder, self.address, self.command, answers)
            .unwrap_or_else(|said| panic!("the server does not come back:\n{said}"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
