//! Which repository, and what opens it: the one to work on, or a second one, in new words or old ones.

use std::path::Path;

use anyhow::{Context as _, Result};
use repo_core::filter::decode_text;
use zeroize::Zeroizing;

use super::{Environment, filled};
use crate::args::Global;
use crate::args::init::{FromRepository, SecondRepository};
use crate::exit::wrong;
use crate::password;

/// Where a repository lies, and what opens it.
#[derive(Clone, Default)]
pub struct Access {
    pub(super) location: Option<String>,
    pub(super) location_file: Option<String>,
    /// Where its password may come from.
    pub password: password::Sources,
    /// Where its hot half lies, if the repository itself is cold.
    pub hot: Option<String>,
    /// The start of the id of the key to try first.
    pub key_hint: Option<String>,
    /// Which credentials and options its storage gets.
    pub side: Side,
    flags: &'static str,
}

/// One of the repositories of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// The one to work on.
    #[default]
    Main,
    /// A second one to take something from.
    From,
}

/// In which words another repository was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `--from-repo` and the like.
    New,
    /// `--repo2` and the like.
    Old,
}

impl Access {
    /// The same repository without its hot half.
    pub fn alone(&self) -> Self {
        Self { hot: None, ..self.clone() }
    }

    /// The repository to work on.
    pub(super) fn main(typed: &Global, environment: &Environment) -> Self {
        Self {
            location: filled(typed.repo.as_ref()).or_else(|| environment.get("REPOSITORY")),
            location_file: filled(typed.repository_file.as_ref())
                .or_else(|| environment.get("REPOSITORY_FILE")),
            password: password::Sources {
                file: filled(typed.password_file.as_ref()).or_else(|| environment.get("PASSWORD_FILE")),
                command: filled(typed.password_command.as_ref())
                    .or_else(|| environment.get("PASSWORD_COMMAND")),
                value: environment.get("PASSWORD").map(Zeroizing::new),
                empty: typed.insecure_no_password,
                empty_flag: "--insecure-no-password",
            },
            hot: filled(typed.repo_hot.as_ref()).or_else(|| environment.get("REPO_HOT")),
            key_hint: filled(typed.key_hint.as_ref()).or_else(|| environment.get("KEY_HINT")),
            side: Side::Main,
            flags: "-r or --repository-file",
        }
    }

    /// The other repository of `init` and `copy`, and whether it was named in old words, `--repo2` and the like.
    ///
    /// Both ways at a time are an error, as is none.
    pub fn other(typed: &FromRepository, environment: &Environment) -> Result<(Self, Naming)> {
        let (from, second) = (Self::from(typed, environment), Self::second(&typed.second, environment));
        match (from.is_named(), second.is_named()) {
            (true, true) => Err(wrong(
                "option groups repo2 and from-repo are mutually exclusive, please specify only one",
                "Keep the --from-… flags; look at the environment too.",
            )),
            (false, true) => Ok((second, Naming::Old)),
            (true, false) => Ok((from, Naming::New)),
            (false, false) => Err(wrong(
                "please specify a source repository location (--from-repo or --from-repository-file)",
                "Or set RESTIC_FROM_REPOSITORY.",
            )),
        }
    }

    fn is_named(&self) -> bool {
        self.location.is_some() || self.location_file.is_some()
    }

    fn from(typed: &FromRepository, environment: &Environment) -> Self {
        Self {
            location: filled(typed.from_repo.as_ref()).or_else(|| environment.get("FROM_REPOSITORY")),
            location_file: filled(typed.from_repository_file.as_ref())
                .or_else(|| environment.get("FROM_REPOSITORY_FILE")),
            password: password::Sources {
                file: filled(typed.from_password_file.as_ref())
                    .or_else(|| environment.get("FROM_PASSWORD_FILE")),
                command: filled(typed.from_password_command.as_ref())
                    .or_else(|| environment.get("FROM_PASSWORD_COMMAND")),
                value: environment.get("FROM_PASSWORD").map(Zeroizing::new),
                empty: typed.from_insecure_no_password,
                empty_flag: "--from-insecure-no-password",
            },
            hot: None,
            key_hint: filled(typed.from_key_hint.as_ref()).or_else(|| environment.get("FROM_KEY_HINT")),
            side: Side::From,
            flags: "--from-repo or --from-repository-file",
        }
    }

    fn second(typed: &SecondRepository, environment: &Environment) -> Self {
        Self {
            location: filled(typed.repo2.as_ref()).or_else(|| environment.get("REPOSITORY2")),
            location_file: filled(typed.repository_file2.as_ref())
                .or_else(|| environment.get("REPOSITORY_FILE2")),
            password: password::Sources {
                file: filled(typed.password_file2.as_ref()).or_else(|| environment.get("PASSWORD_FILE2")),
                command: filled(typed.password_command2.as_ref())
                    .or_else(|| environment.get("PASSWORD_COMMAND2")),
                value: environment.get("PASSWORD2").map(Zeroizing::new),
                empty: false,
                empty_flag: "--insecure-no-password",
            },
            key_hint: filled(typed.key_hint2.as_ref()).or_else(|| environment.get("KEY_HINT2")),
            side: Side::Main,
            hot: None,
            flags: "--repo2 or --repository-file2",
        }
    }

    /// A repository at a location that was typed, whose password is found out elsewhere.
    pub fn at(location: &str) -> Self {
        Self { location: Some(location.to_owned()), ..Self::default() }
    }

    /// One more repository for what goes to this one, by its location; opened as this one is unless `password` says
    /// where else its password comes from.
    pub fn also(&self, location: &str, password: Option<password::Sources>) -> Self {
        Self {
            location: Some(location.to_owned()),
            password: password.unwrap_or_else(|| self.password.clone()),
            side: self.side,
            ..Self::default()
        }
    }

    /// A repository in a folder, with its password in a file.
    pub fn local(folder: &Path, password_file: &Path) -> Self {
        Self {
            location: Some(format!("local:{}", folder.to_string_lossy())),
            password: password::Sources {
                file: Some(password_file.to_string_lossy().into_owned()),
                empty_flag: "--insecure-no-password",
                ..password::Sources::default()
            },
            ..Self::default()
        }
    }

    /// The repository's location.
    pub fn location(&self) -> Result<String> {
        match (&self.location, &self.location_file) {
            (Some(_), Some(_)) => Err(wrong(
                format!(
                    "{} are mutually exclusive, please specify only one",
                    self.flags.replace(" or ", " and ")
                ),
                "Keep one of them; look at the environment too.",
            )),
            (None, None) => Err(wrong(
                format!("please specify the repository's location ({})", self.flags),
                "Or set RESTIC_REPOSITORY; to begin with a new repository, see `larder help quickstart`.",
            )),
            (Some(location), None) => Ok(location.clone()),
            (None, Some(file)) => {
                let bytes =
                    std::fs::read(file).with_context(|| format!("cannot read repository file {file}"))?;
                Ok(String::from_utf8_lossy(&decode_text(&bytes)).trim().to_owned())
            }
        }
    }
}
