//! Where a repository lies, as the user writes it.
//!
//! In: `/path`, `sftp:user@host:path`, `s3:host/bucket/prefix` and so on, as restic spells them. Out: a
//! [`Location`] that is complete and needs no more parsing. Passwords never leave through `Display` or `Debug`:
//! they show as `***`. Nothing is looked up here, neither files nor hosts nor the environment.

mod parse;

pub(crate) use parse::percent_decoded;

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a repository lies.
///
/// ```
/// use backends::Location;
///
/// assert_eq!("/srv/backup".parse(), Ok(Location::Local("/srv/backup".into())));
/// let location: Location = "rest:https://ann:secret@host/".parse()?;
/// assert_eq!(location.to_string(), "rest:https://ann:***@host/");
/// # Ok::<(), backends::LocationError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A folder: `/path`, `path`, `local:path`.
    Local(PathBuf),
    /// A folder on another machine: `sftp:user@host:path`, `sftp://user@host:port/path`.
    Sftp(Sftp),
    /// A REST server: `rest:https://user:password@host:port/path/`.
    Rest(Rest),
    /// S3 and what speaks like it: `s3:host/bucket/prefix`, `s3:http://host:port/bucket/prefix`.
    S3(S3),
    /// Backblaze's own protocol: `b2:bucket:prefix`.
    B2(Bucket),
    /// Azure blobs: `azure:container:/prefix`.
    Azure(Bucket),
    /// Google cloud storage: `gs:bucket:/prefix`.
    Gs(Bucket),
    /// `OpenStack` Swift: `swift:container:/prefix`.
    Swift(Bucket),
    /// Whatever rclone reaches: `rclone:remote:path`.
    Rclone {
        /// The remote and the path on it, as rclone reads them.
        remote: String,
    },
    /// In this process: `memory:` is a new place each time, `memory:name` the same one for all who name it.
    Memory {
        /// By which name it is shared; empty for a place of one's own.
        name: String,
    },
    /// Any service of the `opendal` library: `opendal:SERVICE?key=value&key=value`.
    Opendal {
        /// The service's name.
        service: String,
        /// Its settings in the order given.
        settings: Vec<(String, String)>,
    },
}

/// A folder reached through ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sftp {
    /// Who to log in as, if not what ssh is set up for.
    pub user: Option<String>,
    /// A name or address, or an entry of the ssh configuration.
    pub host: String,
    /// The port, if not what ssh is set up for.
    pub port: Option<u16>,
    /// Relative to the login folder unless it starts with `/`.
    pub path: String,
}

/// A REST server's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// `http`, `https` or `http+unix`.
    pub scheme: String,
    /// Who to log in as, percent-encoded as in the location.
    pub user: Option<String>,
    /// The password, percent-encoded as in the location.
    pub password: Option<Secret>,
    /// Host, port and path (or socket and path); ends with `/`.
    pub address: String,
}

/// A bucket on an S3 server, and the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// `https://host` or `http://host:port`.
    pub endpoint: String,
    /// The bucket's name.
    pub bucket: String,
    /// The folder in the bucket, without slashes at the ends; empty for the bucket itself.
    pub prefix: String,
}

/// A bucket or container, and the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's or container's name.
    pub name: String,
    /// The folder in the bucket, without slashes at the ends; empty for the bucket itself.
    pub prefix: String,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The hidden text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a text is no location. Never quotes the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// The text is empty.
    #[error("the repository's location is empty")]
    Empty,
    /// The text begins like a kind of storage that does not exist.
    #[error("`{word}:` is no kind of storage")]
    Unknown {
        /// What stands before the colon.
        word: String,
    },
    /// The kind is known, but something is missing or wrong after it.
    #[error("the {kind} location is incomplete or wrong")]
    Malformed {
        /// The kind of storage.
        kind: &'static str,
        /// How to write it.
        form: &'static str,
    },
    /// It is not UTF-8, which only the path of a folder may be.
    #[error("the {kind} location is not valid UTF-8")]
    NotText {
        /// The kind of storage.
        kind: &'static str,
    },
    /// An sftp path with `~`, which sftp servers take for a name.
    #[error("an sftp path cannot begin with `~`")]
    Tilde,
}

impl LocationError {
    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::Empty => "give the path of a folder".to_owned(),
            Self::Unknown { word } => format!("for a folder with a colon in its name write local:{word}:…"),
            Self::Malformed { form, .. } => format!("write {form}"),
            Self::NotText { .. } => {
                "write other characters as percent and two digits where that is allowed".to_owned()
            }
            Self::Tilde => {
                "leave it out: a path without a leading slash starts in the login folder".to_owned()
            }
        }
    }
}

impl Location {
    /// Reads a location; only a path need not be UTF-8.
    pub fn parse(text: &OsStr) -> Result<Self, LocationError> {
        match (text.to_str(), parse::location(&text.to_string_lossy())?) {
            (None, Self::Local(_)) => Ok(parse::path_that_is_not_utf8(text)),
            (None, other) => Err(LocationError::NotText { kind: other.kind() }),
            (Some(_), location) => Ok(location),
        }
    }

    /// The kind's name as it begins a location: `local`, `sftp`, `s3` …
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Sftp(_) => "sftp",
            Self::Rest(_) => "rest",
            Self::S3(_) => "s3",
            Self::B2(_) => "b2",
            Self::Azure(_) => "azure",
            Self::Gs(_) => "gs",
            Self::Swift(_) => "swift",
            Self::Rclone { .. } => "rclone",
            Self::Memory { .. } => "memory",
            Self::Opendal { .. } => "opendal",
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        parse::location(text)
    }
}

/// As it could have been written, with `***` for what must not be seen.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = |f: &mut fmt::Formatter<'_>, Bucket { name, prefix }: &Bucket| {
            write!(f, "{}:{name}:/{prefix}", self.kind())
        };
        match self {
            Self::Local(path) => {
                // A path that would be read as something else needs the prefix.
                let alone = parse::location(&path.to_string_lossy()).is_ok_and(|read| read == *self);
                write!(f, "{}{}", if alone { "" } else { "local:" }, path.display())
            }
            Self::Sftp(sftp) => sftp.fmt(f),
            Self::Rest(rest) => rest.fmt(f),
            Self::S3(s3) => s3.fmt(f),
            Self::B2(at) | Self::Azure(at) | Self::Gs(at) | Self::Swift(at) => bucket(f, at),
            Self::Rclone { remote } => write!(f, "rclone:{remote}"),
            Self::Memory { name } => write!(f, "memory:{name}"),
            Self::Opendal { service, settings } => {
                write!(f, "opendal:{service}")?;
                for (at, (key, value)) in settings.iter().enumerate() {
                    let shown = if HARMLESS.contains(&key.as_str()) { value } else { "***" };
                    write!(f, "{}{key}={shown}", if at == 0 { '?' } else { '&' })?;
                }
                Ok(())
            }
        }
    }
}

/// Settings of opendal services that may be shown; every other one may be a secret.
const HARMLESS: [&str; 6] = ["bucket", "container", "endpoint", "prefix", "region", "root"];

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

impl fmt::Display for Sftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, port, path } = self;
        let url = port.is_some() || host.contains(':');
        f.write_str(if url { "sftp://" } else { "sftp:" })?;
        if let Some(user) = user {
            write!(f, "{user}@")?;
        }
        match port {
            _ if !url => write!(f, "{host}:{path}"),
            Some(port) if host.contains(':') => write!(f, "[{host}]:{port}/{}", path.replace('%', "%25")),
            Some(port) => write!(f, "{host}:{port}/{}", path.replace('%', "%25")),
            None => write!(f, "[{host}]/{}", path.replace('%', "%25")),
        }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rest:{}://", self.scheme)?;
        if self.user.is_some() || self.password.is_some() {
            let password = if self.password.is_some() { ":***" } else { "" };
            write!(f, "{}{password}@", self.user.as_deref().unwrap_or_default())?;
        }
        f.write_str(&self.address)
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, bucket, prefix } = self;
        write!(f, "s3:{endpoint}/{bucket}")?;
        if prefix.is_empty() { Ok(()) } else { write!(f, "/{prefix}") }
    }
}
