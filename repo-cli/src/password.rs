//! Passwords: from a command, a file, a variable, or typed. Kept in buffers that are wiped after use.
//!
//! The order and every detail are restic's; a password must open the same repository in both programs.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use repo_core::context::Cancel;
use repo_core::filter::decode_text;
use zeroize::Zeroizing;

use crate::exit::wrong;
use crate::input::{Stdin, secret};

/// Where the password of a repository may come from.
#[derive(Clone, Default)]
pub struct Sources {
    /// A file that holds it.
    pub file: Option<String>,
    /// A command that prints it.
    pub command: Option<String>,
    /// The variable's value, as it is.
    pub value: Option<Zeroizing<String>>,
    /// The password is empty.
    pub empty: bool,
    /// The flag that allows an empty password, for messages.
    pub empty_flag: &'static str,
}

/// Where a password came from: only a person at a terminal gets a second try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// File, command, variable or standard input.
    Given,
    /// Typed at a terminal.
    Typed,
}

/// The password, and where it came from.
pub type Found = (Zeroizing<String>, Origin);

/// How often a person may try.
pub const TRIES: usize = 3;

/// Where a password is typed, or read if nobody is there to type.
#[derive(Debug, Clone)]
pub struct Keyboard {
    /// Ends the wait.
    pub cancel: Cancel,
    /// Standard input belongs to somebody else.
    pub stdin_taken: bool,
}

impl Sources {
    /// The password of a repository that exists. `prompt` is shown if a person has to type it.
    pub fn existing(&self, prompt: &str, keyboard: &Keyboard) -> Result<Found> {
        self.found(|| keyboard.typed(prompt))
    }

    /// The password for something new: a person types it twice.
    pub fn new_one(&self, prompt: &str, keyboard: &Keyboard) -> Result<Found> {
        self.found(|| {
            let first = keyboard.typed(prompt)?;
            if first.1 == Origin::Given || keyboard.typed("enter password again: ")? == first {
                return Ok(first);
            }
            Err(wrong("the two passwords are not the same", "Start again."))
        })
    }

    fn found(&self, ask: impl FnOnce() -> Result<Found>) -> Result<Found> {
        let given = self.given()?;
        if self.empty {
            if given.is_some() {
                return Err(wrong(
                    format!("{} must not be given together with a password", self.empty_flag),
                    "Leave out the flag, or unset the password's file, command and variable.",
                ));
            }
            return Ok((Zeroizing::new(String::new()), Origin::Given));
        }
        let (password, origin) = given.map_or_else(ask, |password| Ok((password, Origin::Given)))?;
        if password.is_empty() {
            return Err(wrong(
                "an empty password is not allowed by default",
                format!("If the password really is empty, pass the flag `{}`.", self.empty_flag),
            ));
        }
        Ok((password, origin))
    }

    fn given(&self) -> Result<Option<Zeroizing<String>>> {
        match (&self.command, &self.file, &self.value) {
            (Some(_), Some(_), _) => Err(wrong(
                "password file and password command are mutually exclusive",
                "Keep one of them; look at the environment too.",
            )),
            (Some(command), None, _) => from_command(command).map(Some),
            (None, Some(file), _) => from_file(Path::new(file)).map(Some),
            (None, None, value) => Ok(value.clone()),
        }
    }
}

/// The output of a command, trimmed. The command is split into words; no shell is involved.
fn from_command(line: &str) -> Result<Zeroizing<String>> {
    let failed = |what: String| {
        wrong(what, "Try the password command by itself; it must print the password and end with 0.")
    };
    let words = shell_words::split(line)
        .map_err(|_| failed(format!("password command {line:?}: a quote is not closed")))?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(failed("the password command is empty".to_owned()));
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::inherit()).stderr(Stdio::inherit());
    let output = command
        .output()
        .map_err(|error| failed(format!("cannot run password command {program:?}: {error}")))?;
    let bytes = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(failed(format!("password command {program:?} failed: {}", output.status)));
    }
    Ok(trimmed(&bytes))
}

/// The content of a file, trimmed at both ends; a line end inside stays.
fn from_file(file: &Path) -> Result<Zeroizing<String>> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(wrong(
                format!("password file {} does not exist", file.display()),
                "Correct --password-file or the variable RESTIC_PASSWORD_FILE.",
            ));
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read password file {}", file.display()));
        }
    };
    Ok(trimmed(&bytes))
}

/// Bytes as text, whatever their encoding, trimmed at both ends.
fn trimmed(bytes: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(decode_text(bytes).into_owned());
    Zeroizing::new(String::from_utf8_lossy(&text).trim().to_owned())
}

impl Keyboard {
    fn typed(&self, prompt: &str) -> Result<Found> {
        if self.stdin_taken {
            return Err(wrong(
                "standard input is read as data, so the password cannot come from it",
                "Give it by RESTIC_PASSWORD, --password-file or --password-command.",
            ));
        }
        let (line, origin) = if io::stdin().is_terminal() {
            (secret(prompt, &self.cancel).context("cannot read a password from the terminal")?, Origin::Typed)
        } else {
            let line = Stdin::new(self.cancel.clone()).line();
            (line.context("cannot read the password from standard input")?, Origin::Given)
        };
        Ok((without_return(&line), origin))
    }
}

/// A line as text, without the carriage return that some systems put before the line end.
fn without_return(line: &[u8]) -> Zeroizing<String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Zeroizing::new(String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        Sources { empty_flag: "--insecure-no-password", ..Sources::default() }
    }

    fn given(sources: &Sources) -> Result<String> {
        sources
            .existing("", &Keyboard { cancel: Cancel::new(), stdin_taken: true })
            .map(|(password, _)| password.to_string())
    }

    #[test]
    fn text_is_read_whatever_its_encoding() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(*trimmed(bytes), expected);
        check(b" secret\n", "secret");
        check(b"\xef\xbb\xbfsecret", "secret");
        check(b"\xff\xfes\0\xfc\0", "sü");
        check(b"\xfe\xff\0s\0\xfc", "sü");
        check(b"", "");
    }

    #[test]
    fn file_is_trimmed_at_both_ends_and_keeps_inner_lines() {
        let file = std::env::temp_dir().join(format!("larder-password-{}", std::process::id()));
        std::fs::write(&file, " \n one\ntwo \r\n").unwrap();
        let sources = Sources { file: Some(file.to_string_lossy().into_owned()), ..sources() };
        assert_eq!(given(&sources).unwrap(), "one\ntwo");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn command_is_split_into_words_and_its_output_trimmed() {
        let check = |line: &str, expected: Option<&str>| {
            let sources = Sources { command: Some(line.to_owned()), ..sources() };
            assert_eq!(given(&sources).ok().as_deref(), expected, "{line}");
        };
        check("echo 'pass  word'", Some("pass  word"));
        check("echo $HOME ; true", Some("$HOME ; true"));
        check("false", None);
        check("echo 'open", None);
        check("/no/such/program", None);
        check("true", None); // prints nothing: an empty password
    }

    #[test]
    fn variable_is_taken_as_it_is() {
        let sources = Sources { value: Some(Zeroizing::new(" blank ".to_owned())), ..sources() };
        assert_eq!(given(&sources).unwrap(), " blank ");
    }

    #[test]
    fn empty_password_needs_its_flag_and_nothing_else() {
        let value = Some(Zeroizing::new("x".to_owned()));
        assert_eq!(given(&Sources { empty: true, ..sources() }).unwrap(), "");
        assert!(given(&Sources { empty: true, value, ..sources() }).is_err());
        assert!(given(&Sources { value: Some(Zeroizing::new(String::new())), ..sources() }).is_err());
    }

    #[test]
    fn file_and_command_exclude_each_other() {
        let both = Sources { file: Some("a".into()), command: Some("echo b".into()), ..sources() };
        assert!(given(&both).is_err());
    }

    #[test]
    fn typed_line_is_kept_with_its_blanks() {
        assert_eq!(*without_return(b" pw \r"), " pw ");
        assert_eq!(*without_return(b"pw"), "pw");
    }
}
