//! Starts a program on a repository and takes what it says.
//!
//! restic and larder understand the same arguments and variables, so one helper serves both. Nothing of the
//! user's surroundings gets through: no variables, an empty home folder, UTC, no cache.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::fixtures::PASSWORD;

/// A program that works on restic repositories.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    path: PathBuf,
    home: TempDir,
}

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command, for messages.
    pub command: String,
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Its output.
    pub stdout: String,
    /// Its errors.
    pub stderr: String,
}

impl Program {
    /// A program at that path, with an empty home folder of its own.
    pub fn new(name: &'static str, path: PathBuf) -> Self {
        Self { name, path, home: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A name for messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The program's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bare command in clean surroundings: no repository, no password.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env_clear().stdin(Stdio::null()).current_dir(self.home.path());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.env("HOME", self.home.path()).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        command
    }

    /// A command on that repository with the password of the fixtures and without a cache.
    pub fn on(&self, repository: &Path) -> Call {
        self.with_password(repository).arg("--no-cache")
    }

    /// A command on that repository with the password of the fixtures and a cache in that folder.
    pub fn on_cached(&self, repository: &Path, cache: &Path) -> Call {
        self.with_password(repository).env("RESTIC_CACHE_DIR", cache)
    }

    fn with_password(&self, repository: &Path) -> Call {
        let mut command = self.command();
        command.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", PASSWORD);
        Call { command }
    }
}

/// A command about to run.
#[derive(Debug)]
pub struct Call {
    command: Command,
}

impl Call {
    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// A variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The folder to run in.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Ran {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let command = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        let output = self.command.output().unwrap_or_else(|error| panic!("cannot start {command}: {error}"));
        Ran {
            command,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it to its end, which must be exit code 0.
    pub fn ok(self) -> Ran {
        let ran = self.run();
        assert_eq!(ran.code, 0, "{ran}");
        ran
    }

    /// Starts it and does not wait.
    pub fn spawn(mut self) -> std::process::Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.command))
    }
}

impl Ran {
    /// The JSON messages of its output, one per line.
    pub fn messages(&self) -> Vec<Value> {
        let message =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}\n{self}"));
        self.stdout.lines().filter(|line| !line.trim().is_empty()).map(message).collect()
    }

    /// Its output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// The summary among its JSON messages.
    pub fn summary(&self) -> Value {
        let summary = self.messages().into_iter().rfind(|message| message["message_type"] == "summary");
        summary.unwrap_or_else(|| panic!("no summary\n{self}"))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nexit code {}\n{}{}", self.command, self.code, self.stdout, self.stderr)
    }
}
