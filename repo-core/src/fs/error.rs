//! Why an entry of a source could not be read, or one of a target not be written.
//!
//! Two types, because it matters where something happened; they share the words for what and why.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

/// What a caller can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The entry is not there (any more). Between listing and opening this is the normal fate of a file.
    Vanished,
    /// The machine does not allow it.
    Denied,
    /// The file system or the machine cannot do it.
    NotSupported,
    /// The entry is no longer of the kind that it was, or something else stands in its place.
    Changed,
    /// There is no space left, or no quota.
    Full,
    /// What was given so far is not to be believed: whoever makes it has failed. Ends a backup without a snapshot.
    Broken,
    /// Anything else.
    Other,
}

impl FaultKind {
    fn of(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::STALE => Self::Vanished,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Self::Denied,
            Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO | Errno::XDEV => Self::Changed,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::Full,
            // One number on Linux, two elsewhere.
            errno if errno == Errno::NOTSUP || errno == Errno::OPNOTSUPP || errno == Errno::NOSYS => {
                Self::NotSupported
            }
            _ => Self::Other,
        }
    }
}

/// What was attempted with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening it.
    Open,
    /// Reading its content, or the target of a link.
    Read,
    /// Reading the names in a directory.
    List,
    /// Asking what it is.
    Stat,
    /// Reading its extended attributes.
    ReadXattrs,
    /// Making it.
    Create,
    /// Writing its content.
    Write,
    /// Giving it owner, mode or times.
    SetMetadata,
    /// Giving it its extended attributes.
    SetXattrs,
    /// Giving it another name for an existing file.
    Link,
    /// Moving it to its final name.
    Rename,
    /// Removing it.
    Remove,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::List => "list",
            Self::Stat => "look at",
            Self::ReadXattrs => "read the extended attributes of",
            Self::Create => "create",
            Self::Write => "write",
            Self::SetMetadata => "set the metadata of",
            Self::SetXattrs => "set the extended attributes of",
            Self::Link => "link",
            Self::Rename => "rename",
            Self::Remove => "remove",
        })
    }
}

macro_rules! entry_error {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            kind: FaultKind,
            operation: Operation,
            path: PathBuf,
            source: Option<Arc<dyn Error + Send + Sync>>,
        }

        impl $name {
            /// A failure without a cause beneath.
            pub fn new(kind: FaultKind, operation: Operation, path: impl Into<PathBuf>) -> Self {
                Self { kind, operation, path: path.into(), source: None }
            }

            /// Adds the cause.
            pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
                Self { source: Some(Arc::from(source.into())), ..self }
            }

            /// What the system said, and from it the kind.
            pub(in crate::fs) fn system(errno: Errno, operation: Operation, path: &Path) -> Self {
                let kind = FaultKind::of(errno);
                let error = Self::new(kind, operation, path);
                // For these the system's words ("too many levels of symbolic links") lead astray.
                if kind == FaultKind::Changed { error } else { error.because(io::Error::from(errno)) }
            }

            /// What can be done about it.
            pub fn kind(&self) -> FaultKind {
                self.kind
            }

            /// What was attempted.
            pub fn operation(&self) -> Operation {
                self.operation
            }

            /// The entry it was attempted with.
            pub fn path(&self) -> &Path {
                &self.path
            }

            /// Whether the entry is simply not there any more.
            pub fn is_vanished(&self) -> bool {
                self.kind == FaultKind::Vanished
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "cannot {} {}", self.operation, self.path.display())?;
                match self.kind {
                    FaultKind::Changed => f.write_str(": something else stands in its place"),
                    _ => Ok(()),
                }
            }
        }

        impl Error for $name {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.source.as_deref().map(|source| source as &(dyn Error + 'static))
            }
        }
    };
}

entry_error! {
    /// An entry of a source could not be read: what was attempted with which path, and the cause beneath.
    SourceError
}

entry_error! {
    /// An entry of a target could not be written: what was attempted with which path, and the cause beneath.
    TargetError
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_operation_path_and_cause() {
        let error = SourceError::system(Errno::ACCESS, Operation::Open, Path::new("/a/b"));
        assert_eq!(error.to_string(), "cannot open /a/b");
        assert_eq!(error.kind(), FaultKind::Denied);
        assert!(error.source().is_some_and(|cause| cause.to_string().contains("ermission denied")));
    }

    #[test]
    fn missing_entry_is_told_from_a_forbidden_one() {
        let kind = |errno| TargetError::system(errno, Operation::Stat, Path::new("x")).kind();
        assert_eq!(kind(Errno::NOENT), FaultKind::Vanished);
        assert_eq!(kind(Errno::PERM), FaultKind::Denied);
        assert_eq!(kind(Errno::LOOP), FaultKind::Changed);
        assert_eq!(kind(Errno::OPNOTSUPP), FaultKind::NotSupported);
        assert_eq!(kind(Errno::IO), FaultKind::Other);
    }
}
