//! What carries requests: connections over a network here, and anything else behind the same trait.

use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, TryStreamExt as _};
use http::{HeaderMap, Method, StatusCode, Version};
use url::Url;

use super::error::HttpError;
use super::server_of;
use super::setup::{self, SetupError};
use super::stream::Outgoing;
use crate::options::Options;

/// A request on its way.
pub(crate) struct Sending {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Outgoing>,
}

/// An answer whose body is still to come.
pub(crate) struct Started {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Raw,
}

/// The pieces of an answer's body, as they come.
pub(crate) type Raw = Pin<Box<dyn Stream<Item = Result<Bytes, HttpError>> + Send + Sync>>;

/// Carries requests to a server. A future that is dropped gives up its request.
pub(crate) trait Wire: Send + Sync {
    /// Sends a request and waits for the head of the answer, without any limit of time.
    fn send(&self, request: Sending) -> BoxFuture<'_, Result<Started, HttpError>>;

    /// How messages call the other side.
    fn server(&self, url: &Url) -> String;
}

/// Connections over TCP or to a Unix socket.
pub(super) struct Network {
    library: reqwest::Client,
    socket: Option<String>,
}

impl Network {
    pub(super) fn new(
        options: &Options,
        connections: usize,
        socket: Option<&Path>,
    ) -> Result<Self, SetupError> {
        let library = setup::client(options, connections, socket)?;
        Ok(Self { library, socket: socket.map(|path| path.display().to_string()) })
    }
}

impl Wire for Network {
    fn send(&self, request: Sending) -> BoxFuture<'_, Result<Started, HttpError>> {
        let Sending { method, url, headers, body } = request;
        let server = self.server(&url);
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = body.map(reqwest::Body::wrap);
        Box::pin(async move {
            let failed = move |error: reqwest::Error| HttpError::from_library(&error.without_url(), &server);
            let mut answer = self.library.execute(request).await.map_err(&failed)?;
            Ok(Started {
                status: answer.status(),
                version: answer.version(),
                headers: std::mem::take(answer.headers_mut()),
                body: Box::pin(answer.bytes_stream().map_err(failed)),
            })
        })
    }

    fn server(&self, url: &Url) -> String {
        self.socket.clone().unwrap_or_else(|| server_of(url))
    }
}
