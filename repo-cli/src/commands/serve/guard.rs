//! Who may read over HTTP.
//!
//! With a name and a password: whoever knows both. Without: programs on this machine, at a loopback address and
//! under its name, so that no page of another site reads along in a browser. Never other machines.

use anyhow::Result;
use base64::Engine as _;
use dav_server::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};
use repo_core::hash::sha256;
use repo_core::id::Id;

use crate::args::serve::Webdav;
use crate::exit::wrong;
use crate::open::read_file;

/// What a request must bring along.
#[derive(Debug)]
pub(super) enum Guard {
    /// The hash of the header that proves name and password; hashes are compared, so that time tells nothing.
    Password(Id),
    /// A host that is this machine.
    ThisMachine,
}

impl Guard {
    pub(super) fn new(args: &Webdav) -> Result<Self> {
        match (&args.user, &args.user_password_file) {
            (Some(user), Some(file)) if !user.contains(':') => {
                let content = read_file(file.as_ref())?;
                let password = content.strip_suffix(b"\n").unwrap_or(&content);
                let password = password.strip_suffix(b"\r").unwrap_or(password);
                if password.is_empty() {
                    return Err(wrong(format!("{file} holds no password"), "Write one into it."));
                }
                Ok(Self::for_user(user, password))
            }
            (Some(_), Some(_)) => Err(wrong("a user name has no colon in it", "Choose another name.")),
            _ if args.listen.ip().is_loopback() => Ok(Self::ThisMachine),
            _ => Err(wrong(
                format!("everybody who reaches {} could read the whole repository", args.listen),
                "Add --user and --user-password-file, or listen on 127.0.0.1.",
            )),
        }
    }

    fn for_user(user: &str, password: &[u8]) -> Self {
        let proof = [user.as_bytes(), b":", password].concat();
        Self::Password(sha256(base64::engine::general_purpose::STANDARD.encode(proof).as_bytes()))
    }

    /// The answer for somebody who may not.
    pub(super) fn refusal<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let text = |name: header::HeaderName| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        match self {
            Self::Password(expected) => {
                let (scheme, proof) = text(header::AUTHORIZATION).split_once(' ').unwrap_or_default();
                let is_right =
                    scheme.eq_ignore_ascii_case("basic") && sha256(proof.trim().as_bytes()) == *expected;
                (!is_right).then(|| {
                    let mut answer = status(StatusCode::UNAUTHORIZED);
                    let challenge = HeaderValue::from_static("Basic realm=\"larder\", charset=\"UTF-8\"");
                    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                    answer
                })
            }
            Self::ThisMachine => {
                (!is_this_machine(text(header::HOST))).then(|| status(StatusCode::MISDIRECTED_REQUEST))
            }
        }
    }
}

fn status(code: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = code;
    answer
}

/// Whether a host, perhaps with a port, is a name or an address of this machine for itself.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_of_this_machine_are_its_own() {
        let check = |host: &str, expected: bool| assert_eq!(is_this_machine(host), expected, "{host:?}");
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8080", "127.1.2.3", "[::1]", "[::1]:80"]
        {
            check(host, true);
        }
        for host in
            ["", "example.org", "localhost.example.org", "192.168.1.5:80", "[::2]:80", "127.0.0.1.nip.io"]
        {
            check(host, false);
        }
    }

    #[test]
    fn a_password_lets_in_whoever_has_it_and_nobody_else() {
        let guard = Guard::for_user("ali", b"sesame");
        let answer = |authorization: &str| {
            let request = Request::builder().header(header::AUTHORIZATION, authorization).body(()).unwrap();
            guard.refusal(&request).map(|answer| answer.status().as_u16())
        };
        assert_eq!(answer("Basic YWxpOnNlc2FtZQ=="), None);
        assert_eq!(answer("basic  YWxpOnNlc2FtZQ=="), None);
        for wrong in ["", "Basic", "Basic YWxpOnNlc2FtZQ", "Bearer YWxpOnNlc2FtZQ==", "Basic YWxpOg=="] {
            assert_eq!(answer(wrong), Some(401), "{wrong:?}");
        }
    }
}
