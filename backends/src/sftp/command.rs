//! Which program is started to reach a server, with which words. Pure.
//!
//! In: a location and the user's options. Out: `ssh HOST [-p PORT] [-l USER] [sftp.args …] -s sftp` as restic
//! starts it, or the words of `sftp.command`. Never goes through a shell. Everything else (keys, jump hosts,
//! agents) is ssh's own configuration.

use crate::location::Sftp;
use crate::options::SftpOptions;

/// A program and its arguments. The words may hold a password, so they are not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) program: String,
    arguments: Vec<String>,
    /// Where an option of ours may stand; a user's own command is left as it is.
    ours_at: Option<usize>,
}

/// Why there is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordsError {
    #[error("option sftp.command is empty or has an unclosed quote")]
    Command,
    #[error("option sftp.args has an unclosed quote")]
    Arguments,
    #[error("sftp.command and sftp.args exclude each other: the command is taken as it is")]
    Both,
    #[error("a host name cannot begin with `-`: ssh would take it for an option")]
    Host,
}

impl Words {
    pub(super) fn new(location: &Sftp, options: &SftpOptions) -> Result<Self, WordsError> {
        match (&options.command, &options.args) {
            (Some(_), Some(_)) => Err(WordsError::Both),
            (Some(command), None) => {
                let words = shell_words::split(command).map_err(|_| WordsError::Command)?;
                let (program, arguments) = words.split_first().ok_or(WordsError::Command)?;
                Ok(Self { program: program.clone(), arguments: arguments.to_vec(), ours_at: None })
            }
            (None, args) => {
                if location.host.starts_with('-') {
                    return Err(WordsError::Host);
                }
                let mut arguments = vec![location.host.clone()];
                if let Some(port) = location.port {
                    arguments.extend(["-p".to_owned(), port.to_string()]);
                }
                if let Some(user) = &location.user {
                    arguments.extend(["-l".to_owned(), user.clone()]);
                }
                let ours_at = Some(arguments.len());
                if let Some(args) = args {
                    arguments.extend(shell_words::split(args).map_err(|_| WordsError::Arguments)?);
                }
                arguments.extend(["-s".to_owned(), "sftp".to_owned()]);
                Ok(Self { program: "ssh".to_owned(), arguments, ours_at })
            }
        }
    }

    /// The arguments; with `silent` ssh fails rather than asks for anything.
    pub(super) fn arguments(&self, silent: bool) -> Vec<&str> {
        let mut arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        if let Some(at) = self.ours_at.filter(|_| silent) {
            arguments.insert(at, "-oBatchMode=yes");
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;
    use crate::options::Options;

    fn words(location: &str, options: &[&str]) -> Result<Words, WordsError> {
        let Ok(Location::Sftp(sftp)) = location.parse() else { panic!("{location}") };
        Words::new(&sftp, &Options::parse(options).unwrap().sftp().unwrap())
    }

    #[test]
    fn ssh_is_called_as_restic_calls_it() {
        fn check(location: &str, options: &[&str], expected: &[&str]) {
            let words = words(location, options).unwrap();
            let called: Vec<_> = [words.program.as_str()].into_iter().chain(words.arguments(false)).collect();
            assert_eq!(called, expected, "{location}");
        }
        check("sftp:host:x", &[], &["ssh", "host", "-s", "sftp"]);
        check("sftp:ann@host:/x", &[], &["ssh", "host", "-l", "ann", "-s", "sftp"]);
        let at_port = ["ssh", "host", "-p", "2222", "-l", "ann@realm", "-s", "sftp"];
        check("sftp://ann@realm@host:2222/x", &[], &at_port);
        check("sftp:ann@[fe80::1]:x", &[], &["ssh", "fe80::1", "-l", "ann", "-s", "sftp"]);
        let args = ["sftp.args=-i '/my key' -oBatchMode=yes"];
        check("sftp:h:x", &args, &["ssh", "h", "-i", "/my key", "-oBatchMode=yes", "-s", "sftp"]);
        let command = ["sftp.command=\"my ssh\" -p 22 u@h -s sftp"];
        check("sftp:ignored:x", &command, &["my ssh", "-p", "22", "u@h", "-s", "sftp"]);
    }

    #[test]
    fn a_further_connection_never_asks() {
        let silent = |options: &[&str]| {
            let words = words("sftp:a@h:x", options).unwrap();
            words.arguments(true).join(" ")
        };
        assert_eq!(silent(&[]), "h -l a -oBatchMode=yes -s sftp");
        assert_eq!(silent(&["sftp.args=-v"]), "h -l a -oBatchMode=yes -v -s sftp");
        assert_eq!(silent(&["sftp.command=x h -s sftp"]), "h -s sftp");
    }

    #[test]
    fn what_cannot_be_started_is_refused() {
        let error = |location: &str, options: &[&str]| words(location, options).err();
        assert_eq!(error("sftp:-oProxyCommand=x:y", &[]), Some(WordsError::Host));
        assert_eq!(error("sftp:h:y", &["sftp.command='x"]), Some(WordsError::Command));
        assert_eq!(error("sftp:h:y", &["sftp.command=''"]), None, "an empty word is a program nobody has");
        assert_eq!(error("sftp:h:y", &["sftp.args='x"]), Some(WordsError::Arguments));
        assert_eq!(error("sftp:h:y", &["sftp.command=a", "sftp.args=b"]), Some(WordsError::Both));
    }
}
