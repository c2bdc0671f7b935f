//! What the system's error means for the caller, and where it happened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use repo_core::backend::ErrorKind;
use rustix::io::Errno;

/// The cause of a failure with the path it happened at.
#[derive(Debug, thiserror::Error)]
#[error("{path}", path = .path.display())]
pub(super) struct At {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// Something that is no regular file stands where a file of the repository belongs.
#[derive(Debug)]
pub(super) struct NotAFile;

impl fmt::Display for NotAFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is not a regular file")
    }
}

impl std::error::Error for NotAFile {}

/// What a caller can do about it.
pub(super) fn kind_of(error: &io::Error) -> ErrorKind {
    let Some(errno) = Errno::from_io_error(error) else { return ErrorKind::Other };
    match errno {
        Errno::NOENT => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::Exists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::Denied,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::MFILE | Errno::NFILE => ErrorKind::Full,
        Errno::TIMEDOUT => ErrorKind::TimedOut,
        Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::STALE => ErrorKind::Transient,
        Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::NAMETOOLONG => ErrorKind::Config,
        _ => ErrorKind::Other,
    }
}

/// Whether the mount only says that it does not know such a call.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(error) else { return false };
    [Errno::NOTSUP, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOSYS, Errno::NOTTY].contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_become_kinds() {
        for (errno, expected) in [
            (Errno::NOENT, ErrorKind::NotFound),
            (Errno::NOSPC, ErrorKind::Full),
            (Errno::DQUOT, ErrorKind::Full),
            (Errno::ROFS, ErrorKind::Denied),
            (Errno::ACCESS, ErrorKind::Denied),
            (Errno::PERM, ErrorKind::Denied),
            (Errno::NOTDIR, ErrorKind::Config),
            (Errno::IO, ErrorKind::Other),
        ] {
            assert_eq!(kind_of(&errno.into()), expected, "{errno}");
        }
        assert_eq!(kind_of(&io::Error::other(NotAFile)), ErrorKind::Other);
    }
}
