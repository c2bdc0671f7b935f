//! Why something went wrong on the way to the server or on it, and what a caller can do about it.
//!
//! A [`Loss`] ends a whole connection and is shared by all requests that waited; a [`Fault`] is how one
//! operation failed. What the server or ssh said is shown without anything that a terminal would obey; the
//! words of a command, which may hold a password, are never shown.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use repo_core::backend::ErrorKind;
use repo_core::context::Cancelled;

use super::wire::{Status, WireError, tame};

/// The most of what ssh said that is kept: its last words matter.
pub(super) const SAID_MAX: usize = 4096;

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct Loss {
    pub(super) what: What,
    pub(super) source: Option<Box<dyn Error + Send + Sync>>,
}

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// The program could not be started.
    Start { program: String, passing: bool },
    /// The server's key is not the one that is known, or not known at all.
    HostKey,
    /// The server does not let us in.
    Login,
    /// It knows no sftp, or a script that runs at login prints text.
    NoSftp,
    /// The command is no ssh, or was called wrongly.
    Command { code: i32 },
    /// Somebody pressed Ctrl-C when ssh asked for something.
    Interrupted,
    /// There is no such host.
    NoHost,
    /// The server cannot be reached now.
    Unreachable,
    /// It ended in the middle.
    Ended,
    /// The other side is silent.
    Silent { limit: Duration },
    /// The server does not keep to the protocol.
    Protocol,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { program, .. } => write!(f, "cannot start {program}"),
            Self::HostKey => f.write_str("the server's host key cannot be verified"),
            Self::Login => f.write_str("the server does not accept the login"),
            Self::NoSftp => f.write_str(
                "the answer is not SFTP: the server does not offer it, or a script that runs at login prints text",
            ),
            Self::Command { code } => write!(f, "the command ended with exit code {code}"),
            Self::Interrupted => f.write_str("the login was interrupted"),
            Self::NoHost => f.write_str("there is no such host"),
            Self::Unreachable => f.write_str("the server cannot be reached"),
            Self::Ended => f.write_str("the connection ended"),
            Self::Silent { limit } => write!(f, "no answer for {} seconds", limit.as_secs()),
            Self::Protocol => f.write_str("the server does not keep to the protocol"),
        }
    }
}

impl Loss {
    /// The program could not be started at all.
    pub(super) fn start(program: &str, error: io::Error) -> Self {
        // Too many processes or files: there may be fewer soon. No such program: there will not be one.
        let passing = !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
        Self { what: What::Start { program: program.to_owned(), passing }, source: Some(error.into()) }
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self.what {
            What::Start { passing: true, .. } | What::Unreachable | What::Ended => ErrorKind::Transient,
            What::Start { .. } | What::NoSftp | What::Command { .. } | What::NoHost => ErrorKind::Config,
            What::HostKey | What::Login => ErrorKind::Denied,
            What::Silent { .. } => ErrorKind::TimedOut,
            What::Interrupted | What::Protocol => ErrorKind::Other,
        }
    }
}

/// How the program ended, and what it said on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) interrupted: bool,
    pub(super) said: Vec<u8>,
}

impl Ended {
    /// What it means that there was no conversation: `wire` is what came instead of one.
    pub(super) fn before_hello(self, wire: WireError) -> Loss {
        let what = self.meaning().unwrap_or(match &wire {
            WireError::Ended(_) => match self.code {
                // ssh itself ends with 255 when it has no connection.
                Some(255) | None => What::Unreachable,
                Some(0) => What::NoSftp,
                Some(code) => What::Command { code },
            },
            _ => What::NoSftp,
        });
        self.caused(what, wire)
    }

    /// What it means that a conversation broke off.
    pub(super) fn in_the_middle(self, wire: WireError) -> Loss {
        let what = if matches!(wire, WireError::Ended(_)) { What::Ended } else { What::Protocol };
        self.caused(what, wire)
    }

    pub(super) fn silent(self, limit: Duration) -> Loss {
        let source = self.said();
        Loss { what: What::Silent { limit }, source: source.map(Into::into) }
    }

    fn caused(self, what: What, wire: WireError) -> Loss {
        let source = match self.said() {
            Some(said) => Box::<dyn Error + Send + Sync>::from(said),
            None => wire.into(),
        };
        Loss { what, source: Some(source) }
    }

    fn said(&self) -> Option<Said> {
        let lines: Vec<_> = self.lines().collect();
        (!lines.is_empty()).then(|| Said(lines.join("; ")))
    }

    /// What it said, line by line, fit to be shown.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.said.split(|byte| *byte == b'\n').map(|line| tame(line, 400)).filter(|line| !line.is_empty())
    }

    /// What OpenSSH's own words mean; they are the same in every language.
    fn meaning(&self) -> Option<What> {
        if self.interrupted {
            return Some(What::Interrupted);
        }
        let said = String::from_utf8_lossy(&self.said);
        let has = |words: &[&str]| words.iter().any(|words| said.contains(words));
        if has(&["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
            Some(What::HostKey)
        } else if has(&[
            "Permission denied (",
            "Too many authentication failures",
            "No supported authentication",
        ]) {
            Some(What::Login)
        } else if has(&["subsystem request failed"]) {
            Some(What::NoSftp)
        } else if has(&["Name or service not known", "No address associated", "nodename nor servname"]) {
            Some(What::NoHost)
        } else {
            None
        }
    }
}

/// What ssh said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Said(String);

/// A line of ssh's that is no failure, passed on.
#[derive(Debug, thiserror::Error)]
#[error("ssh: {0}")]
pub(super) struct Remark(pub(super) String);

/// How an operation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The server said no.
    #[error("the server says: {}", .0.words())]
    Refused(Status),
    /// The connection is gone, and all requests with it.
    #[error(transparent)]
    Lost(#[from] Arc<Loss>),
    /// The server's answer makes no sense; nothing it says is believed any more.
    #[error(transparent)]
    Odd(#[from] WireError),
    /// The file ends before the range that was asked for.
    #[error("the file has {size} bytes")]
    TooShort { size: u64 },
    /// The file is longer than the caller accepts.
    #[error("the file has {size} bytes")]
    TooLong { size: u64 },
    /// The server took all bytes and has another number of them.
    #[error("{sent} bytes were sent and {size} are there")]
    Torn { sent: u64, size: u64 },
    /// It is another file than a moment ago.
    #[error("the file was replaced while it was read")]
    Replaced,
    #[error("this is not a regular file")]
    NotAFile,
    #[error("this is not a folder")]
    NotAFolder,
    #[error("the range ends before it begins, or does not fit into memory")]
    Range,
    /// What the server refused without a reason has one: statvfs tells it.
    #[error("{available} bytes are free")]
    NoSpace { available: u64 },
    #[error("the file system is read-only")]
    ReadOnly,
    #[error(transparent)]
    Stopped(#[from] Cancelled),
}

impl Fault {
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(status) => status.kind(),
            Self::Lost(loss) => loss.kind(),
            Self::TooShort { .. } => ErrorKind::TooShort,
            Self::TooLong { .. } => ErrorKind::TooLong,
            Self::Torn { .. } | Self::Replaced => ErrorKind::Transient,
            Self::NoSpace { .. } => ErrorKind::Full,
            Self::ReadOnly => ErrorKind::Denied,
            Self::NotAFolder => ErrorKind::Config,
            Self::NotAFile | Self::Odd(_) | Self::Range | Self::Stopped(_) => ErrorKind::Other,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.has_code(Status::NO_SUCH_FILE)
    }

    pub(super) fn has_code(&self, code: u32) -> bool {
        matches!(self, Self::Refused(status) if status.code == code)
    }

    /// Whether the server may have had any reason.
    pub(super) fn is_unexplained(&self) -> bool {
        matches!(self, Self::Refused(status) if status.kind() == ErrorKind::Other)
    }
}

impl Status {
    fn kind(&self) -> ErrorKind {
        const NO_SPACE: u32 = 14;
        const QUOTA: u32 = 15;
        let said = self.text.to_lowercase();
        match self.code {
            Self::NO_SUCH_FILE => ErrorKind::NotFound,
            Self::PERMISSION_DENIED => ErrorKind::Denied,
            NO_SPACE | QUOTA => ErrorKind::Full,
            _ if said.contains("no space left") || said.contains("quota") => ErrorKind::Full,
            _ => ErrorKind::Other,
        }
    }

    fn words(&self) -> String {
        match (self.code, self.text.as_str()) {
            (code, "") => format!("status {code}"),
            (_, text) => text.to_lowercase(),
        }
    }
}

/// The cause of a failure with the path it happened at.
#[derive(Debug, thiserror::Error)]
#[error("{path}")]
pub(super) struct At {
    pub(super) path: String,
    pub(super) source: Fault,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended() -> WireError {
        WireError::Ended(io::ErrorKind::UnexpectedEof.into())
    }

    #[test]
    fn what_ssh_says_decides_whether_trying_again_helps() {
        fn check(code: i32, said: &str, expected: ErrorKind) {
            let ended = Ended { code: Some(code), interrupted: false, said: said.into() };
            let loss = ended.before_hello(self::ended());
            assert_eq!(loss.kind(), expected, "{code} {said}: {loss}");
            if !said.is_empty() {
                assert_eq!(loss.source().unwrap().to_string(), said.trim());
            }
        }
        check(255, "Host key verification failed.\r\n", ErrorKind::Denied);
        check(255, "a@h: Permission denied (publickey,password).", ErrorKind::Denied);
        check(255, "ssh: connect to host h port 22: Connection refused", ErrorKind::Transient);
        check(255, "ssh: connect to host h port 22: Connection timed out", ErrorKind::Transient);
        check(255, "kex_exchange_identification: read: Connection reset by peer", ErrorKind::Transient);
        let hopeless = "ssh: Could not resolve hostname h: Name or service not known";
        check(255, hopeless, ErrorKind::Config);
        let passing = "ssh: Could not resolve hostname h: Temporary failure in name resolution";
        check(255, passing, ErrorKind::Transient);
        check(255, "subsystem request failed on channel 0", ErrorKind::Config);
        check(255, "", ErrorKind::Transient);
        check(127, "sh: 1: shh: not found", ErrorKind::Config);
        check(0, "", ErrorKind::Config);
    }

    #[test]
    fn a_script_that_prints_at_login_is_recognised() {
        let loss = Ended::default().before_hello(WireError::TooLong { len: 1_466_264_675 });
        assert_eq!((loss.kind(), &loss.what), (ErrorKind::Config, &What::NoSftp));
        let pressed = Ended { interrupted: true, ..Ended::default() };
        assert_eq!(pressed.before_hello(ended()).what, What::Interrupted);
    }

    #[test]
    fn what_was_said_cannot_command_a_terminal() {
        let ended = Ended { code: None, interrupted: false, said: b"one\x1b]0;x\x07\r\n\n two \n".to_vec() };
        assert_eq!(ended.lines().collect::<Vec<_>>(), ["one ]0;x", "two"]);
    }

    #[test]
    fn the_server_s_refusals_become_kinds() {
        fn check(code: u32, text: &str, expected: ErrorKind) {
            let fault = Fault::Refused(Status { code, text: text.to_owned() });
            assert_eq!(fault.kind(), expected, "{code} {text}");
        }
        check(2, "No such file", ErrorKind::NotFound);
        check(3, "Permission denied", ErrorKind::Denied);
        check(4, "Failure", ErrorKind::Other);
        check(4, "write: No space left on device", ErrorKind::Full);
        check(4, "Disk Quota exceeded", ErrorKind::Full);
        check(14, "", ErrorKind::Full);
        check(8, "", ErrorKind::Other);
    }
}
