//! What can go wrong with a request, and what can be done about it.
//!
//! In: errors of the HTTP and TLS libraries, and answers that are no success. Out: [`HttpError`], which names the
//! server by host and port alone: paths, queries and logins of an address never get into a message. The
//! libraries' causes are kept as text, because their own texts may hold such an address.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;
use repo_core::backend::ErrorKind;

/// Why a request over HTTP failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Nothing was sent or received for too long; the connection is closed.
    #[error("nothing moved between us and {server} for {} seconds", after.as_secs_f64())]
    Stalled {
        /// Host and port.
        server: String,
        /// For how long.
        after: Duration,
    },
    /// There is no connection.
    #[error("cannot connect to {server}")]
    Connect {
        /// Host and port.
        server: String,
        /// The cause.
        source: Cause,
    },
    /// The server's certificate is not one to trust, or not for this server.
    #[error("the certificate of {server} is not accepted")]
    Certificate {
        /// Host and port.
        server: String,
        /// The cause.
        source: Cause,
    },
    /// The server does not accept our certificate, or wants one.
    #[error("{server} does not accept the client certificate, or wants one")]
    ClientCertificate {
        /// Host and port.
        server: String,
        /// The cause.
        source: Cause,
    },
    /// The other side does not speak TLS as we do.
    #[error("{server} and we have no TLS in common")]
    NoTls {
        /// Host and port.
        server: String,
        /// The cause.
        source: Cause,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {server} broke")]
    Broken {
        /// Host and port.
        server: String,
        /// The cause.
        source: Cause,
    },
    /// The request itself makes no sense.
    #[error("cannot ask {server}")]
    Invalid {
        /// Host and port.
        server: String,
        /// The cause.
        source: Cause,
    },
    /// The server answered, and not with success.
    #[error("{server} answered {status}{}", said(message))]
    Status {
        /// Host and port.
        server: String,
        /// The number and its name.
        status: Status,
        /// What else it said, if that is text; empty otherwise.
        message: String,
        /// After how many seconds another try makes sense, if it said so.
        retry_after: Option<u32>,
    },
    /// The server sends us elsewhere, where our credentials do not go.
    #[error("{server} answers {status} and points to {target}")]
    Elsewhere {
        /// Host and port.
        server: String,
        /// The number and its name.
        status: Status,
        /// Scheme, host and port.
        target: String,
    },
}

impl HttpError {
    /// What the error means to who asked for a file.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Stalled { .. } => ErrorKind::TimedOut,
            Self::Connect { .. } | Self::Broken { .. } => ErrorKind::Transient,
            Self::ClientCertificate { .. } => ErrorKind::Denied,
            Self::Certificate { .. } | Self::NoTls { .. } | Self::Invalid { .. } | Self::Elsewhere { .. } => {
                ErrorKind::Config
            }
            Self::Status { status, .. } => kind_of(status.0),
        }
    }

    /// After how many seconds another try makes sense, if the server said so.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What to do about it, if that can be said.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Certificate { .. } => Some(
                "Give the file with the certificate of its authority (--cacert), or --insecure-tls if nobody can be in between.",
            ),
            Self::ClientCertificate { .. } => Some(
                "Give a file with a certificate and its key that the server accepts (--tls-client-cert).",
            ),
            Self::NoTls { .. } => {
                Some("Check whether the address begins with http: or https:, and the port.")
            }
            Self::Elsewhere { .. } => Some("Give the address it points to as the repository's location."),
            Self::Status { status, .. } if status.0 == StatusCode::UNAUTHORIZED => {
                Some("Check the user and the password (or keys) for this server.")
            }
            _ => None,
        }
    }

    /// What an error of the library means; `server` is the host and port it was about.
    pub(super) fn from_library(error: &reqwest::Error, server: &str) -> Self {
        let server = server.to_owned();
        let source = Cause::of(error);
        if let Some(tls) = tls_error(error) {
            return match tls {
                rustls::Error::InvalidCertificate(_) => Self::Certificate { server, source },
                rustls::Error::AlertReceived(alert) if is_about_certificates(*alert) => {
                    Self::ClientCertificate { server, source }
                }
                rustls::Error::InvalidMessage(_)
                | rustls::Error::PeerIncompatible(_)
                | rustls::Error::NoApplicationProtocol
                | rustls::Error::AlertReceived(_)
                    if error.is_connect() =>
                {
                    Self::NoTls { server, source }
                }
                _ => Self::Broken { server, source },
            };
        }
        if error.is_connect() {
            Self::Connect { server, source }
        } else if error.is_builder() {
            Self::Invalid { server, source }
        } else {
            Self::Broken { server, source }
        }
    }
}

/// What a library said was the cause, and the causes beneath, without any address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(String);

impl Cause {
    /// The texts of the library's causes; its own words only if there is nothing beneath.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = error.source();
        let mut texts: Vec<String> = Vec::new();
        while let Some(cause) = next {
            let text = cause.to_string();
            let says_nothing = text.starts_with("client error (");
            if !says_nothing && texts.last().is_none_or(|last| !last.ends_with(&text)) {
                texts.push(text);
            }
            next = cause.source();
        }
        if texts.is_empty() {
            texts.push("the request failed".to_owned());
        }
        Self(texts.join(": "))
    }

    /// A cause in our own words.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Cause {}

/// The number of an answer, shown with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub(crate) StatusCode);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.canonical_reason() {
            Some(name) => write!(f, "{} {name}", self.0.as_u16()),
            None => write!(f, "{}", self.0.as_u16()),
        }
    }
}

/// What a status means where the protocol says nothing else.
fn kind_of(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => ErrorKind::Exists,
        StatusCode::RANGE_NOT_SATISFIABLE => ErrorKind::TooShort,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ErrorKind::Throttled,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => ErrorKind::TimedOut,
        StatusCode::INSUFFICIENT_STORAGE => ErrorKind::Full,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => ErrorKind::Other,
        status if status.is_server_error() => ErrorKind::Transient,
        status if status.is_redirection() => ErrorKind::Config,
        _ => ErrorKind::Other,
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// The error of the TLS library among the causes. It hides inside system errors, which give only its causes.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref() {
            return Some(tls);
        }
        if let Some(inside) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(tls) = tls_error(inside)
        {
            return Some(tls);
        }
        next = cause.source();
    }
    None
}

fn is_about_certificates(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}
