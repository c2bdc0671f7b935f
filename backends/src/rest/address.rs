//! Where a REST server's repository is, and how to log in. Pure.
//!
//! In: a location and variables. Out: an address without any login, the header with it, and the Unix socket if the
//! server listens on one. Without a user nothing is sent: a header with an empty login, as restic sends it, is a
//! failed login to servers that count those.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use repo_core::backend::layout;
use repo_core::id::{FileId, FileKind};
use url::Url;

use crate::location::{Rest, percent_decoded};
use crate::network::Variables;

/// Where requests go, and with which login.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// Ends with a slash.
    base: Url,
    pub(super) login: Option<HeaderValue>,
    pub(crate) socket: Option<PathBuf>,
}

/// Why a location is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("the address is not valid")]
    Url(#[from] url::ParseError),
    #[error("the location of a Unix socket is written rest:http+unix:///socket:/path/")]
    Socket,
    #[error("user and password may hold other characters only as percent and two digits")]
    Login,
}

impl Address {
    /// The address of a location; the login comes from the variables if the location has no user.
    pub(crate) fn new(location: &Rest, variables: &Variables) -> Result<Self, AddressError> {
        let (url, socket) = match location.scheme.as_str() {
            "http+unix" => {
                let (socket, path) = location.address.split_once(":/").ok_or(AddressError::Socket)?;
                (format!("http://localhost/{path}"), Some(PathBuf::from(socket)))
            }
            scheme => (format!("{scheme}://{}", location.address), None),
        };
        let base = Url::parse(&url)?;
        Ok(Self { base, login: login(location, variables)?, socket })
    }

    /// An address of which only the path matters.
    pub(crate) fn on_pipes() -> Result<Self, AddressError> {
        Ok(Self { base: Url::parse("http://localhost/")?, login: None, socket: None })
    }

    /// Where the folders are made.
    pub(super) fn create(&self) -> Url {
        let mut url = self.base.clone();
        url.set_query(Some("create=true"));
        url
    }

    /// Where all files of a kind are listed.
    pub(super) fn folder(&self, kind: FileKind) -> Url {
        self.below(&format!("{}/", kind.folder()))
    }

    /// Where a file is. Packs have no subfolders here: the server sees to that.
    pub(super) fn file(&self, file: FileId) -> Url {
        match file.kind {
            FileKind::Config => self.below(&layout::path(file)),
            kind => self.below(&format!("{}/{}", kind.folder(), file.id)),
        }
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }
}

/// The header with user and password, if there are any.
fn login(location: &Rest, variables: &Variables) -> Result<Option<HeaderValue>, AddressError> {
    let decoded = |text: &str| percent_decoded(text).ok_or(AddressError::Login);
    let (user, password) = if location.user.is_some() || location.password.is_some() {
        let password = location.password.as_ref().map_or("", |password| password.reveal());
        (decoded(location.user.as_deref().unwrap_or_default())?, decoded(password)?)
    } else {
        let variable = |name| variables.get(name).unwrap_or_default().to_owned();
        (variable("RESTIC_REST_USERNAME"), variable("RESTIC_REST_PASSWORD"))
    };
    if user.is_empty() && password.is_empty() {
        return Ok(None);
    }
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    let mut header = HeaderValue::try_from(format!("Basic {encoded}")).map_err(|_| AddressError::Login)?;
    header.set_sensitive(true);
    Ok(Some(header))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;

    fn address(location: &str, variables: &[(&str, &str)]) -> Result<Address, AddressError> {
        let Ok(Location::Rest(rest)) = location.parse() else { panic!("{location}") };
        Address::new(&rest, &variables.iter().copied().collect())
    }

    #[test]
    fn files_have_their_addresses() {
        let name = "abcdef0000000000000000000000000000000000000000000000000000000001";
        let pack = FileId { kind: FileKind::Pack, id: name.parse().unwrap() };
        for (location, expected) in [
            ("rest:http://h:8000", "http://h:8000/"),
            ("rest:https://u:p@h/a%20b/c", "https://h/a%20b/c/"),
            ("rest:http://[::1]:8000/x/", "http://[::1]:8000/x/"),
            ("rest:http+unix:///run/rest.sock:/repo", "http://localhost/repo/"),
        ] {
            let address = address(location, &[]).unwrap();
            assert_eq!(address.create().as_str(), format!("{expected}?create=true"));
            assert_eq!(address.file(FileId::CONFIG).as_str(), format!("{expected}config"));
            assert_eq!(address.file(pack).as_str(), format!("{expected}data/{name}"));
            assert_eq!(address.folder(FileKind::Snapshot).as_str(), format!("{expected}snapshots/"));
        }
        let socket = address("rest:http+unix:///run/rest.sock:/repo", &[]).unwrap().socket;
        assert_eq!(socket, Some("/run/rest.sock".into()));
        assert_eq!(address("rest:http+unix:///run/rest.sock", &[]).err(), Some(AddressError::Socket));
        assert!(address("rest:http://ho st/", &[]).is_err());
    }

    #[test]
    fn the_login_comes_from_the_location_and_otherwise_from_the_variables() {
        let both = [("RESTIC_REST_USERNAME", "ann"), ("RESTIC_REST_PASSWORD", "a:b c")];
        for (location, variables, expected) in [
            ("rest:http://h/", &[][..], None),
            ("rest:http://u:p@h/", &[], Some("u:p")),
            ("rest:http://u%40x:p%3A%2F@h/", &[], Some("u@x:p:/")),
            ("rest:http://u@h/", &both, Some("u:")),
            ("rest:http://h/", &both, Some("ann:a:b c")),
            ("rest:http://h/", &[("RESTIC_REST_PASSWORD", "p")], Some(":p")),
        ] {
            let address = address(location, variables).unwrap();
            let expected = expected.map(|login| format!("Basic {}", STANDARD.encode(login)));
            assert_eq!(address.login.as_ref().map(|login| login.to_str().unwrap().to_owned()), expected);
            assert!(address.login.is_none_or(|login| login.is_sensitive()), "{location}");
        }
        assert_eq!(address("rest:http://u:%zz@h/", &[]).err(), Some(AddressError::Login));
    }
}
