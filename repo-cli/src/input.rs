//! Standard input and the terminal, read so that a signal can end the wait.
//!
//! A plain read would go on after SIGINT until data comes; this one looks for a request to stop meanwhile.

use std::io::{self, Read};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};

use repo_core::context::{Cancel, Cancelled};
use zeroize::Zeroizing;

/// Standard input; reading ends with an error when the run is asked to stop.
#[derive(Debug)]
pub struct Stdin {
    cancel: Cancel,
}

impl Stdin {
    /// Standard input of the process, for a run that `cancel` stops.
    pub fn new(cancel: Cancel) -> Self {
        Self { cancel }
    }

    /// Everything up to the next line end, which is read but not part of it. A byte at a time, so that what
    /// follows stays for the next reader.
    pub fn line(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut line = Zeroizing::new(Vec::with_capacity(256));
        let mut byte = [0];
        while self.read(&mut byte)? == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        Ok(line)
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_unless(&mut Raw, buffer, &self.cancel)
    }
}

/// Reads what comes, unless the run is asked to stop while nothing comes.
#[cfg(unix)]
pub fn read_unless<R: Read + AsFd>(from: &mut R, buffer: &mut [u8], cancel: &Cancel) -> io::Result<usize> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;

    const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    loop {
        if cancel.is_cancelled() {
            return Err(io::Error::other(Cancelled));
        }
        match poll(&mut [PollFd::new(&from.as_fd(), PollFlags::IN)], Some(&WAIT)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => match from.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads what comes.
#[cfg(not(unix))]
pub fn read_unless<R: Read>(from: &mut R, buffer: &mut [u8], _cancel: &Cancel) -> io::Result<usize> {
    from.read(buffer)
}

/// Standard input without the buffer of the standard library, which would take more than is asked for.
struct Raw;

#[cfg(unix)]
impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        rustix::stdio::stdin()
    }
}

impl Read for Raw {
    #[cfg(unix)]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }

    #[cfg(not(unix))]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::stdin().read(buffer)
    }
}

/// Lets a person at the terminal type a line that is not shown. The prompt goes to standard error.
#[cfg(unix)]
pub fn secret(prompt: &str, cancel: &Cancel) -> io::Result<Zeroizing<Vec<u8>>> {
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    struct Restored(Termios);
    impl Drop for Restored {
        fn drop(&mut self) {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &self.0);
        }
    }

    eprint!("{prompt}");
    let before = Restored(tcgetattr(rustix::stdio::stdin())?);
    let mut hidden = before.0.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
    tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &hidden)?;
    let line = Stdin::new(cancel.clone()).line();
    drop(before);
    eprintln!();
    line
}

/// Lets a person at the terminal type a line that is not shown.
#[cfg(not(unix))]
pub fn secret(prompt: &str, _cancel: &Cancel) -> io::Result<Zeroizing<Vec<u8>>> {
    rpassword::prompt_password(prompt).map(|text| Zeroizing::new(text.into_bytes()))
}
