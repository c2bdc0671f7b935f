//! Extended options, `-o name=value`: settings of one kind of storage, named `kind.setting`.
//!
//! In: the texts behind `-o`. Out: [`Options`], and typed settings of the one kind that is in use. An unknown
//! name of that kind is an error; names of other kinds are kept and not looked at, so that one set of
//! options serves several repositories.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::location::Location;
use crate::network::{Network, Variables};

/// How storage is reached: extended options of a run, the network's settings, and variables with credentials.
///
/// ```
/// use backends::Options;
///
/// let options = Options::parse(["local.connections=8"])?;
/// assert_eq!(options.local()?.connections, 8);
/// # Ok::<(), backends::OptionsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    given: BTreeMap<String, String>,
    /// What all connections over a network have in common.
    pub network: Network,
    /// Variables that may hold credentials and settings, by name: those of the environment, or of one's own.
    ///
    /// Nothing is read from the process's environment, so that two repositories may use two accounts.
    pub variables: Variables,
}

/// Why extended options make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// There is nothing before the `=`.
    #[error("an extended option has no name; it is written name=value")]
    NoName,
    /// The same option was given with two values.
    #[error("option {name} is given more than once")]
    Twice {
        /// The option.
        name: String,
    },
    /// The kind of storage in use has no such option.
    #[error("option {name} is not known; {kind} knows {known}")]
    Unknown {
        /// The option.
        name: String,
        /// The kind of storage in use.
        kind: &'static str,
        /// What may be given instead.
        known: String,
    },
    /// The value is no number that makes sense.
    #[error("option {name} needs a whole number of at least 1")]
    Number {
        /// The option.
        name: String,
    },
    /// The value is none of those that make sense.
    #[error("option {name} needs one of {known}")]
    Choice {
        /// The option.
        name: String,
        /// What may be given.
        known: String,
    },
    /// The value is no span of time.
    #[error("option {name} needs a duration like 1h30m or 90s")]
    Duration {
        /// The option.
        name: String,
    },
}

/// Settings of a local repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalOptions {
    /// How many calls at once are useful. Two suit spinning disks and saturate most others when writing;
    /// `local.connections` raises it where many small reads or a network mount profit from more.
    pub connections: usize,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { connections: 2 }
    }
}

/// Settings of a repository behind ssh.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SftpOptions {
    /// How many requests at once are useful, and at most how many times ssh is started for them.
    pub common: RemoteOptions,
    /// The whole command to start instead of ssh; may hold a password.
    pub command: Option<String>,
    /// More arguments for ssh.
    pub args: Option<String>,
}

/// Settings that every remote kind of storage has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteOptions {
    /// How many requests at once are useful.
    pub connections: usize,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self { connections: 5 }
    }
}

impl Options {
    /// Reads what was given: each text is `name=value` or several of them with commas between.
    ///
    /// Names ignore case. The same name with the same value may be repeated. A name alone has an empty value.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, OptionsError> {
        let mut given = BTreeMap::new();
        for text in texts {
            for pair in text.as_ref().split(',').filter(|_| !text.as_ref().is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let (name, value) = (name.trim().to_lowercase(), value.trim().to_owned());
                if name.is_empty() {
                    return Err(OptionsError::NoName);
                }
                match given.get(&name) {
                    Some(earlier) if *earlier != value => return Err(OptionsError::Twice { name }),
                    _ => given.insert(name, value),
                };
            }
        }
        Ok(Self { given, ..Self::default() })
    }

    /// Checks that every option of this location's kind is known and has a value that makes sense.
    pub fn check(&self, location: &Location) -> Result<(), OptionsError> {
        self.connections(location.kind(), 1).map(drop)
    }

    /// The settings that a kind of storage has, without the kind before them.
    pub fn settings_of(kind: &str) -> &'static [&'static str] {
        known(kind)
    }

    /// The settings of a local repository.
    pub fn local(&self) -> Result<LocalOptions, OptionsError> {
        let connections = self.connections("local", LocalOptions::default().connections)?;
        Ok(LocalOptions { connections })
    }

    /// The settings of a kind of storage that has no others than the common ones.
    pub fn remote(&self, kind: &'static str) -> Result<RemoteOptions, OptionsError> {
        Ok(RemoteOptions { connections: self.connections(kind, RemoteOptions::default().connections)? })
    }

    /// The settings of a repository behind ssh.
    pub fn sftp(&self) -> Result<SftpOptions, OptionsError> {
        Ok(SftpOptions {
            common: self.remote("sftp")?,
            command: self.text("sftp.command"),
            args: self.text("sftp.args"),
        })
    }

    /// Whether the storage itself is to thaw cold packs: `s3.enable-restore`.
    pub fn thaws(&self) -> Result<bool, OptionsError> {
        self.flag("s3.enable-restore")
    }

    /// How long to wait for cold packs to be thawed: `s3.restore-timeout`, a day unless said otherwise.
    pub fn thaw_timeout(&self) -> Result<Duration, OptionsError> {
        Ok(self.duration("s3.restore-timeout")?.unwrap_or(Duration::from_hours(24)))
    }

    fn connections(&self, kind: &'static str, default: usize) -> Result<usize, OptionsError> {
        self.only_known(kind)?;
        let number = self.number(&format!("{kind}.connections"))?;
        Ok(number.map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX)))
    }

    /// The text of an option, if it has one.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.given.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A whole number of at least 1.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, OptionsError> {
        let Some(value) = self.given.get(name) else { return Ok(None) };
        match value.parse() {
            Ok(0) | Err(_) => Err(OptionsError::Number { name: name.to_owned() }),
            Ok(number) => Ok(Some(number)),
        }
    }

    /// One of a few words; upper and lower case are the same.
    pub(crate) fn choice<'a>(&self, name: &str, known: &[&'a str]) -> Result<Option<&'a str>, OptionsError> {
        let Some(value) = self.given.get(name) else { return Ok(None) };
        match known.iter().find(|word| word.eq_ignore_ascii_case(value)) {
            Some(word) => Ok(Some(word)),
            None => Err(OptionsError::Choice { name: name.to_owned(), known: known.join(", ") }),
        }
    }

    /// Whether something is switched on; a name alone switches nothing.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, OptionsError> {
        let word = self.choice(name, &["true", "false", "1", "0", "t", "f"]);
        match word {
            Ok(word) => Ok(word.is_some_and(|word| ["true", "1", "t"].contains(&word))),
            Err(_) => Err(OptionsError::Choice { name: name.to_owned(), known: "true, false".to_owned() }),
        }
    }

    /// A span of time as Go writes it: `24h`, `1h30m`, `90s`, `500ms`.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, OptionsError> {
        let Some(value) = self.given.get(name) else { return Ok(None) };
        match duration(value) {
            Some(duration) => Ok(Some(duration)),
            None => Err(OptionsError::Duration { name: name.to_owned() }),
        }
    }

    /// Checks that every option of this kind is known.
    pub(crate) fn only_known(&self, kind: &'static str) -> Result<(), OptionsError> {
        let known = known(kind);
        for name in self.given.keys() {
            let setting = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.'));
            if setting.is_some_and(|setting| !known.contains(&setting)) {
                let known =
                    known.iter().map(|setting| format!("{kind}.{setting}")).collect::<Vec<_>>().join(", ");
                return Err(OptionsError::Unknown { name: name.clone(), kind, known });
            }
        }
        Ok(())
    }
}

/// Numbers with units, one after the other, more than nothing in sum.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let number: u64 = number.parse().ok()?;
        let part = match unit {
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        (sum, rest) = (sum.checked_add(part)?, after);
    }
    Some(sum).filter(|sum| !sum.is_zero())
}

/// The settings of each kind, as restic names them; `sse`, `sse-kms-key-id` and `checksum` are ours.
fn known(kind: &str) -> &'static [&'static str] {
    match kind {
        "s3" => &[
            "connections",
            "region",
            "bucket-lookup",
            "storage-class",
            "list-objects-v1",
            "retries",
            "unsafe-anonymous-auth",
            "enable-restore",
            "restore-days",
            "restore-tier",
            "restore-timeout",
            "layout",
            "sse",
            "sse-kms-key-id",
            "checksum",
        ],
        "sftp" => &["connections", "command", "args"],
        "rclone" => &["connections", "program", "args", "timeout"],
        "gs" => &["connections", "region"],
        "azure" => &["connections", "access-tier"],
        _ => &["connections"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(texts: &[&str]) -> Result<usize, OptionsError> {
        Options::parse(texts)?.local().map(|options| options.connections)
    }

    #[test]
    fn what_makes_sense_is_taken() {
        for (texts, expected) in [
            (&[][..], 2),
            (&["local.connections=7"], 7),
            (&["LOCAL.Connections = 7 "], 7),
            (&["s3.region=x,local.connections=3"], 3),
            (&["local.connections=3", "local.connections=3"], 3),
            (&["word"], 2),
            (&[""], 2),
            (&["s3.nonsense=1", "locale.x=1"], 2),
        ] {
            assert_eq!(local(texts), Ok(expected), "{texts:?}");
        }
        assert_eq!(Options::default().remote("s3"), Ok(RemoteOptions { connections: 5 }));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let name = |name: &str| name.to_owned();
        let number = OptionsError::Number { name: name("local.connections") };
        for (texts, expected) in [
            (&["local.connections=0"][..], number.clone()),
            (&["local.connections=-1"], number.clone()),
            (&["local.connections=many"], number.clone()),
            (&["local.connections"], number),
            (&["=1"], OptionsError::NoName),
            (&["a=1,,b=2"], OptionsError::NoName),
            (&["a.b=1", "A.B=2"], OptionsError::Twice { name: name("a.b") }),
            (
                &["local.foo=1"],
                OptionsError::Unknown {
                    name: name("local.foo"),
                    kind: "local",
                    known: name("local.connections"),
                },
            ),
        ] {
            assert_eq!(local(texts), Err(expected), "{texts:?}");
        }
    }

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, seconds) in [
            ("24h", Some(86_400.0)),
            ("1h30m", Some(5400.0)),
            ("1m1s500ms", Some(61.5)),
            ("", None),
            ("0s", None),
            ("90", None),
            ("h", None),
            ("1d", None),
            ("-1s", None),
            ("99999999999999999999h", None),
            ("9999999999999999999h", None),
        ] {
            assert_eq!(duration(text).map(|span| span.as_secs_f64()), seconds, "{text}");
        }
    }

    #[test]
    fn switches_and_choices_take_their_words_alone() {
        let options = Options::parse(["a=TRUE,b=0,c=perhaps,d"]).unwrap();
        assert_eq!(
            [options.flag("a"), options.flag("b"), options.flag("z")],
            [Ok(true), Ok(false), Ok(false)]
        );
        let known = "true, false".to_owned();
        for name in ["c", "d"] {
            let error = OptionsError::Choice { name: name.to_owned(), known: known.clone() };
            assert_eq!(options.flag(name), Err(error));
        }
        assert_eq!(options.choice("a", &["false", "true"]), Ok(Some("true")));
        assert_eq!(options.choice("z", &["x"]), Ok(None));
        assert!(options.choice("c", &["x"]).is_err());
    }

    #[test]
    fn the_kind_in_use_decides_what_is_known() {
        let options = Options::parse(["local.foo=1", "s3.region=x"]).unwrap();
        assert!(options.check(&"/path".parse().unwrap()).is_err());
        assert!(options.check(&"s3:h/b".parse().unwrap()).is_ok());
    }
}
