//! Which program is started as rclone, with which words. Pure.
//!
//! In: a remote and the user's options. Out: `rclone serve restic --stdio --b2-hard-delete REMOTE`, as restic calls
//! it, or what `rclone.program` and `rclone.args` say instead. Never goes through a shell.

use std::time::Duration;

use crate::options::{Options, OptionsError};

/// What restic gives rclone, so that files on B2 are removed and not only hidden.
const ARGUMENTS: [&str; 4] = ["serve", "restic", "--stdio", "--b2-hard-delete"];

/// How long rclone may take until it answers for the first time.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A program and its arguments. They may hold a password, so they are not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Words {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) timeout: Duration,
    pub(crate) connections: usize,
}

/// Why there is no command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WordsError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("option {name} is empty or has an unclosed quote")]
    Quotes { name: &'static str },
    #[error("a remote cannot begin with `-`: rclone would take it for a flag")]
    Flag,
}

impl Words {
    pub(crate) fn new(remote: &str, options: &Options) -> Result<Self, WordsError> {
        let connections = options.remote("rclone")?.connections;
        let timeout = options.duration("rclone.timeout")?.unwrap_or(TIMEOUT);
        if remote.starts_with('-') {
            return Err(WordsError::Flag);
        }
        let words = |name: &'static str| match options.text(name) {
            None => Ok(None),
            Some(text) => shell_words::split(&text).map(Some).map_err(|_| WordsError::Quotes { name }),
        };
        let mut program = words("rclone.program")?.unwrap_or_else(|| vec!["rclone".to_owned()]);
        let given = words("rclone.args")?.unwrap_or_else(|| ARGUMENTS.map(str::to_owned).to_vec());
        if program.is_empty() {
            return Err(WordsError::Quotes { name: "rclone.program" });
        }
        let first = program.remove(0);
        let arguments = [program, given, vec![remote.to_owned()]].concat();
        Ok(Self { program: first, arguments, timeout, connections })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rclone_is_called_as_restic_calls_it() {
        fn check(options: &[&str], expected: &[&str]) {
            let words = Words::new("r:a b", &Options::parse(options).unwrap()).unwrap();
            let called: Vec<_> = std::iter::once(&words.program).chain(&words.arguments).collect();
            assert_eq!(called, expected, "{options:?}");
        }
        check(&[], &["rclone", "serve", "restic", "--stdio", "--b2-hard-delete", "r:a b"]);
        let program = ["rclone.program=ssh host '/my rclone'", "rclone.args=serve restic --stdio -v"];
        check(&program, &["ssh", "host", "/my rclone", "serve", "restic", "--stdio", "-v", "r:a b"]);
        let error = |remote, option| Words::new(remote, &Options::parse([option]).unwrap()).err().unwrap();
        assert!(matches!(error("r:", "rclone.program='x"), WordsError::Quotes { name: "rclone.program" }));
        assert!(matches!(error("r:", "rclone.timeout=soon"), WordsError::Options(_)));
        assert!(matches!(error("-v", "rclone.timeout=1s"), WordsError::Flag));
    }
}
