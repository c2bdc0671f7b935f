//! The HTTP library's client, as the settings of the network want it.
//!
//! In: certificates, proxies by their usual variables, the number of connections. Out: a client that follows no
//! redirect to another server, has no time limit but the one for connecting, and tries nothing twice.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{NoProxy, Proxy};

use super::tls;
use crate::network::Variables;
use crate::options::Options;

/// Longer than any sane round trip, far shorter than the stall timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Servers close idle connections after a minute or so; using one at that moment costs a failed request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// More than this is a circle.
const REDIRECTS_MAX: usize = 5;

/// Why connections over HTTP cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A file with certificates to trust cannot be read.
    #[error("cannot read the certificates in {}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file with certificates to trust holds none.
    #[error("{} holds no certificate (PEM)", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The file with our certificate and key cannot be read, or lacks one of them.
    #[error("cannot read a certificate and its key (PEM) in {}", path.display())]
    Client {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Our certificate and key do not belong together, or are of an unknown kind.
    #[error("the certificate and the key in {} cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The variable that names a proxy does not hold an address.
    #[error("the proxy in {variable} is no address")]
    Proxy {
        /// The variable.
        variable: &'static str,
    },
    /// The TLS library cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// The HTTP library cannot be set up.
    #[error("cannot set up HTTP")]
    Library(#[source] Box<dyn Error + Send + Sync>),
}

impl SetupError {
    /// What to do about it, if that can be said.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Authority { .. } | Self::NoAuthority { .. } => {
                Some("Check --cacert (RESTIC_CACERT): PEM files, each with at least one certificate.")
            }
            Self::Client { .. } | Self::Unusable { .. } => Some(
                "Check --tls-client-cert (RESTIC_TLS_CLIENT_CERT): one PEM file with the certificate and its unencrypted key.",
            ),
            Self::Proxy { .. } => Some("Write it as http://host:port."),
            Self::Tls(_) | Self::Library(_) => None,
        }
    }
}

/// The library's client for these settings, through a Unix socket if one is given.
pub(super) fn client(
    options: &Options,
    connections: usize,
    socket: Option<&Path>,
) -> Result<reqwest::Client, SetupError> {
    let network = &options.network;
    let ours = concat!("larder/", env!("CARGO_PKG_VERSION"));
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(network)?)
        .http1_only()
        .user_agent(network.user_agent.as_deref().unwrap_or(ours))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(connections.saturating_add(1))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(Policy::custom(|attempt| {
            let from = attempt.previous().last();
            if from.is_some_and(|from| from.origin() != attempt.url().origin()) {
                attempt.stop()
            } else if attempt.previous().len() > REDIRECTS_MAX {
                attempt.error("too many redirects")
            } else {
                attempt.follow()
            }
        }))
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy(); // those of the process's environment; ours come from the options
    if let Some(socket) = socket {
        return builder.unix_socket(socket).build().map_err(|error| SetupError::Library(error.into()));
    }
    for proxy in proxies(&options.variables)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| SetupError::Library(error.into()))
}

/// The proxies that the usual variables name. This machine itself is never reached through one.
fn proxies(variables: &Variables) -> Result<Vec<Proxy>, SetupError> {
    let either = |upper, lower| variables.get(upper).or_else(|| variables.get(lower));
    let around = either("NO_PROXY", "no_proxy").unwrap_or_default();
    let around = NoProxy::from_string(&format!("localhost,127.0.0.0/8,::1,{around}"));
    let mut proxies = Vec::new();
    if let Some(address) = either("HTTP_PROXY", "http_proxy") {
        let proxy = Proxy::http(address).map_err(|_| SetupError::Proxy { variable: "HTTP_PROXY" })?;
        proxies.push(proxy.no_proxy(around.clone()));
    }
    if let Some(address) = either("HTTPS_PROXY", "https_proxy") {
        let proxy = Proxy::https(address).map_err(|_| SetupError::Proxy { variable: "HTTPS_PROXY" })?;
        proxies.push(proxy.no_proxy(around));
    }
    Ok(proxies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_come_from_the_variables_in_both_cases() {
        for (variables, expected) in [
            (&[][..], Ok(0)),
            (&[("HTTP_PROXY", "http://p:1")], Ok(1)),
            (&[("http_proxy", "p:1"), ("https_proxy", "http://u:geheim@p:1")], Ok(2)),
            (&[("HTTP_PROXY", ""), ("NO_PROXY", "*")], Ok(0)),
            (&[("HTTPS_PROXY", "http://u:geheim@ [")], Err("HTTPS_PROXY")),
        ] {
            let found = proxies(&variables.iter().copied().collect());
            assert!(!format!("{found:?}").contains("geheim") || found.is_ok(), "{found:?}");
            let found = found.map(|proxies| proxies.len()).map_err(|error| match error {
                SetupError::Proxy { variable } => variable,
                other => panic!("{other}"),
            });
            assert_eq!(found, expected, "{variables:?}");
        }
    }
}
