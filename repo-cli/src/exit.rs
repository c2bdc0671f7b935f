//! The end of a run: error → exit code, and two lines on standard error: what happened, what to do.
//!
//! The codes are restic's, because scripts and wrappers read them.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use anyhow::Chain;
use repo_core::backend::{BackendError, ErrorKind};
use repo_core::context::Cancelled;
use repo_core::format::json::Object;
use repo_core::ops::archive::ArchiveError;
use repo_core::ops::check::CheckError;
use repo_core::ops::repair::RepairIndexError;
use repo_core::ops::restore::RestoreError;
use repo_core::repository::{LockError, OpenError, ReadError, RecordError, StoredLock};

use crate::args::Mistake;
use crate::session::Session;
use crate::ui::amount::{date_time, go_duration};
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;
use crate::ui::views::waiting_for_lock;

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Failed.
    Failed = 1,
    /// A snapshot was made, but something could not be read.
    Partial = 3,
    /// There is no repository.
    NoRepository = 10,
    /// Somebody else has locked the repository.
    Locked = 11,
    /// No key fits the password.
    WrongPassword = 12,
    /// Stopped by SIGINT or SIGTERM.
    Interrupted = 130,
    /// Whoever read our output has gone; what a shell shows for SIGPIPE.
    NobodyReads = 141,
}

/// An error of this program's own: what happened, what to do, and how the run ends.
#[derive(Debug)]
pub struct Told {
    /// What happened.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// How the run ends.
    pub code: Code,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Told {}

/// An error that ends the run with code 1.
pub fn wrong(what: impl Into<String>, remedy: impl Into<String>) -> anyhow::Error {
    Told { what: what.into(), remedy: remedy.into(), code: Code::Failed }.into()
}

/// What a run's error means: the code, and the text for standard error.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How the run ends.
    pub code: Code,
    /// What happened and what to do, in lines.
    pub message: String,
}

impl Verdict {
    /// What an error means.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(told) = error.downcast_ref::<Told>() {
            return Self { code: told.code, message: told.message() };
        }
        if let Some(LockError::Locked { exclusive, holder }) = lock_error(error) {
            return Self { code: Code::Locked, message: locked(*exclusive, holder) };
        }
        if error.chain().any(<dyn Error>::is::<Cancelled>) {
            return Self { code: Code::Interrupted, message: "Fatal: stopped on request".to_owned() };
        }
        if let Some(error) = error.downcast_ref::<OpenError>()
            && let Some(verdict) = not_opened(error)
        {
            return verdict;
        }
        let mut message = format!("Fatal: {}", sentence(error.chain()));
        if let Some(remedy) = remedy(error) {
            message = format!("{message}\n{remedy}");
        }
        Self { code: Code::Failed, message }
    }
}

impl Told {
    fn message(&self) -> String {
        match self.code {
            Code::Partial => format!("Warning: {}\n{}", self.what, self.remedy),
            _ => format!("Fatal: {}\n{}", self.what, self.remedy),
        }
    }
}

/// The lock error inside an operation's error, if that is what it is.
fn lock_error(error: &anyhow::Error) -> Option<&LockError> {
    if let Some(error) = error.downcast_ref::<LockError>() {
        return Some(error);
    }
    if let Some(RepairIndexError::Lock(error)) = error.downcast_ref() {
        return Some(error);
    }
    match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
        (Some(ArchiveError::Lock(error)), ..)
        | (_, Some(CheckError::Lock(error)), _)
        | (.., Some(RestoreError::Lock(error))) => Some(error),
        _ => None,
    }
}

/// Restic's four lines about a lock; wrappers read them.
fn locked(exclusive: bool, holder: &StoredLock) -> String {
    let kind = if exclusive { "exclusively " } else { "" };
    format!(
        "unable to create lock in backend: repository is already locked {kind}by {holder}\n\
         lock was created at {} ({} ago)\n\
         storage ID {}\n\
         the `unlock` command can be used to remove stale locks",
        date_time(holder.lock.time),
        go_duration(holder.age),
        holder.id.short(),
    )
}

/// The failures to open that have codes of their own.
fn not_opened(error: &OpenError) -> Option<Verdict> {
    Some(match error {
        OpenError::NoRepository { location } => Verdict {
            code: Code::NoRepository,
            message: format!(
                "Fatal: repository does not exist: unable to open config file\n\
                 Is there a repository at the following location? If not, make one with `larder init`.\n\
                 {location}"
            ),
        },
        OpenError::WrongPassword => Verdict {
            code: Code::WrongPassword,
            message: format!(
                "Fatal: {error}\nCheck the password and where it comes from: command, file, variable, keyboard."
            ),
        },
        _ => return None,
    })
}

/// What to do about an error, if that can be said.
fn remedy(error: &anyhow::Error) -> Option<String> {
    if let Some(error) = error.downcast_ref::<backends::OpenError>() {
        return error.advice().map(str::to_owned);
    }
    // What the connection says is more exact than what it means for the storage.
    let advice = error.chain().find_map(|cause| cause.downcast_ref::<backends::HttpError>()?.advice());
    advice.or_else(|| error.chain().find_map(remedy_of_cause)).map(str::to_owned)
}

fn remedy_of_cause(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = cause.downcast_ref::<BackendError>() {
        return Some(match error.kind() {
            ErrorKind::Denied => {
                "Check who may read and write the repository, and as whom this program runs."
            }
            ErrorKind::Full => {
                "Make room where the repository lies, then run the same again; nothing is lost."
            }
            ErrorKind::Cold => {
                "It lies in a cold storage class: add --warm-up or --warm-up-command, or -o s3.enable-restore."
            }
            ErrorKind::NotFound | ErrorKind::TooShort => "Run `larder check` to see what else is missing.",
            kind if kind.is_passing() => {
                "Run the same again; if it stays, look at the connection to the storage."
            }
            _ => "Look at the storage; then run `larder check`.",
        });
    }
    if cause.is::<ReadError>() || cause.is::<RecordError>() {
        return Some("Run `larder check --read-data` to see all that is damaged and what mends it.");
    }
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::NotFound => Some("Check the path."),
        io::ErrorKind::PermissionDenied => Some("Check the permissions, and as whom this program runs."),
        io::ErrorKind::StorageFull => Some("Make room, then run the same again."),
        _ => None,
    }
}

/// An error and its causes in one sentence, each once.
pub fn sentence(chain: Chain<'_>) -> String {
    let mut text = String::new();
    for cause in chain.map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Ends a run whose command line was wrong.
pub fn mistake(mistake: &Mistake) -> ExitCode {
    let message = format!("{}\n{}", mistake.what, mistake.remedy);
    say(&Verdict { code: Code::Failed, message }, mistake.json)
}

/// Ends a run that failed before it began.
pub fn failure(error: &anyhow::Error, json: bool) -> ExitCode {
    say(&Verdict::of(error), json)
}

/// Ends a run.
pub fn end(session: &Session, outcome: anyhow::Result<()>) -> ExitCode {
    session.screen.flush();
    if session.screen.nobody_reads() {
        return ExitCode::from(Code::NobodyReads as u8);
    }
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let mut verdict = Verdict::of(&error);
    if session.signals.stopped() {
        verdict.code = Code::Interrupted;
    }
    if verdict.code == Code::Locked && session.settings.lock.retry.is_zero() {
        session.screen.say(Level::Normal, waiting_for_lock(session.settings.lock.retry));
        session.screen.flush();
    }
    say(&verdict, session.settings.json)
}

fn say(verdict: &Verdict, json: bool) -> ExitCode {
    let message = visible_text(&verdict.message);
    if json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "exit_error").number("code", verdict.code as u8);
        object.string("message", verdict.message.as_bytes());
        object.end();
        eprintln!("{}", String::from_utf8_lossy(&line));
    } else {
        eprintln!("{message}");
    }
    ExitCode::from(verdict.code as u8)
}
