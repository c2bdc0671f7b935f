//! Why the storage could not do something, and whether trying again can help.

use std::error::Error;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::id::{FileId, FileKind};

/// What a caller can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file (or the whole location) is not there.
    NotFound,
    /// Something else is already there.
    Exists,
    /// The storage knows us and refuses, or does not know us.
    Denied,
    /// No space, no quota, too many files.
    Full,
    /// The storage asks us to be slower.
    Throttled,
    /// No answer, or no progress, in time.
    TimedOut,
    /// The connection broke, or the storage had a passing fault.
    Transient,
    /// The file ends before the range that was asked for.
    TooShort,
    /// The file is larger than the caller accepts.
    TooLong,
    /// It lies in a cold class and must be thawed before it can be read.
    Cold,
    /// The location or its settings make no sense.
    Config,
    /// Anything else; nobody knows whether trying again helps.
    Other,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anybody's doing.
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Throttled | Self::TimedOut | Self::Transient)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::Exists => "already exists",
            Self::Denied => "access denied",
            Self::Full => "no space left",
            Self::Throttled => "throttled",
            Self::TimedOut => "timed out",
            Self::Transient => "temporary failure",
            Self::TooShort => "file is too short",
            Self::TooLong => "file is too long",
            Self::Cold => "not readable before it is thawed",
            Self::Config => "invalid configuration",
            Self::Other => "failed",
        })
    }
}

/// What was attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Reaching the location at all.
    Open,
    /// Making the folders.
    Create,
    /// Storing a file.
    Write,
    /// Reading a file or a part of it.
    Read,
    /// Asking for a size.
    Size,
    /// Listing a folder.
    List,
    /// Removing a file.
    Remove,
    /// Making files readable that lie in a cold class.
    Thaw,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Write => "write",
            Self::Read => "read",
            Self::Size => "look up",
            Self::List => "list",
            Self::Remove => "remove",
            Self::Thaw => "thaw",
        })
    }
}

/// What an operation was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Repository,
    Folder(FileKind),
    File(FileId),
}

/// A failed call to the storage: what was attempted on what, of which kind, and the cause beneath.
#[derive(Debug)]
pub struct BackendError {
    kind: ErrorKind,
    operation: Operation,
    subject: Subject,
    /// Whole seconds, which is what servers give; small, because errors are returned everywhere.
    retry_after: Option<NonZeroU32>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl BackendError {
    /// A failure that concerns the whole repository.
    pub fn repository(kind: ErrorKind, operation: Operation) -> Self {
        Self::new(kind, operation, Subject::Repository)
    }

    /// A failure that concerns all files of a kind.
    pub fn folder(kind: ErrorKind, operation: Operation, folder: FileKind) -> Self {
        Self::new(kind, operation, Subject::Folder(folder))
    }

    /// A failure that concerns one file.
    pub fn file(kind: ErrorKind, operation: Operation, file: FileId) -> Self {
        Self::new(kind, operation, Subject::File(file))
    }

    fn new(kind: ErrorKind, operation: Operation, subject: Subject) -> Self {
        Self { kind, operation, subject, retry_after: None, source: None }
    }

    /// Adds how many seconds the storage asks us to wait before the next try.
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: NonZeroU32::new(seconds), ..self }
    }

    /// Adds the cause.
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// What can be done about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was attempted.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The file concerned, if it is one.
    pub fn concerns(&self) -> Option<FileId> {
        match self.subject {
            Subject::File(file) => Some(file),
            Subject::Repository | Subject::Folder(_) => None,
        }
    }

    /// The kind of the files concerned; `None` for the whole repository.
    pub fn concerns_kind(&self) -> Option<FileKind> {
        match self.subject {
            Subject::File(file) => Some(file.kind),
            Subject::Folder(kind) => Some(kind),
            Subject::Repository => None,
        }
    }

    /// How long the storage asks us to wait before the next try, if it said so.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after.map(|seconds| Duration::from_secs(seconds.get().into()))
    }

    /// Whether the file or location is simply not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ", self.operation)?;
        match self.subject {
            Subject::Repository => f.write_str("the repository")?,
            Subject::Folder(kind) => write!(f, "{}", kind.folder())?,
            Subject::File(file) => write!(f, "{file}")?,
        }
        write!(f, ": {}", self.kind)
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
