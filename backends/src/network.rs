//! What storage over a network takes from outside: certificates, limits, and variables with credentials.
//!
//! Plain settings, filled in by whoever opens a location. Nothing here reads the process's environment, and
//! the value of a variable is never shown.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use repo_core::backend::Throttle;

/// What all connections over a network have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Files with further certificates (PEM) to trust, beside those the system trusts.
    pub ca_files: Vec<PathBuf>,
    /// A file with a certificate and its key (PEM) to show to servers.
    pub client_cert: Option<PathBuf>,
    /// Whether any certificate is accepted.
    pub insecure_tls: bool,
    /// How this client calls itself; `None` for its name and version.
    pub user_agent: Option<String>,
    /// A request that makes no progress for so long is given up, to be tried again.
    pub stall_timeout: Duration,
    /// How fast to send, over all connections of all storages that are given a clone of it.
    pub upload_max: Option<Throttle>,
    /// How fast to receive, shared in the same way.
    pub download_max: Option<Throttle>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            client_cert: None,
            insecure_tls: false,
            user_agent: None,
            stall_timeout: Duration::from_mins(2),
            upload_max: None,
            download_max: None,
        }
    }
}

/// Variables by name. Their values are never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Variables(BTreeMap<String, OsString>);

impl Variables {
    /// The value of a variable as text; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().filter(|value| !value.is_empty())
    }

    /// All variables, for programs that are started.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_os_str()))
    }
}

/// What a program that reaches storage has no business to know: the repository's own secrets.
pub(crate) const WITHHELD: [&str; 6] = [
    "RESTIC_PASSWORD",
    "RESTIC_PASSWORD_COMMAND",
    "RESTIC_PASSWORD_FILE",
    "RESTIC_FROM_PASSWORD",
    "RESTIC_FROM_PASSWORD_COMMAND",
    "RESTIC_FROM_PASSWORD_FILE",
];

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
