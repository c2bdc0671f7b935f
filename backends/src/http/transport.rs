//! The client as transport of the `opendal` library, so that its services send through the same settings, limits,
//! watch and counters.

use std::collections::VecDeque;

use futures::TryStreamExt as _;
use http::{Method, Request, Response};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter};
use url::Url;

use super::error::{Cause, HttpError};
use super::stream::Pieces;
use super::{Client, Sending, length};

impl Client {
    /// This client for an operator's context.
    pub(crate) fn transporter(&self) -> HttpTransporter {
        HttpTransporter::new(Transport(self.clone()))
    }
}

struct Transport(Client);

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|error| {
            let server = parts.uri.authority().map_or("the server", |at| at.host()).to_owned();
            as_theirs(HttpError::Invalid { server, source: Cause::text(error.to_string()) })
        })?;
        let (is_head, server) = (parts.method == Method::HEAD, self.0.0.wire.server(&url));
        let request = Sending { method: parts.method, url, headers: parts.headers, body: None };
        let len = body.len() as u64;
        let body = (len > 0).then(|| (Pieces::Here(body.collect::<VecDeque<_>>()), len));
        let started = self.0.start(request, body).await.map_err(as_theirs)?;
        let len = length(&started.headers).filter(|_| !is_head);
        let pieces = self.0.body_of(started.body, &server).map_ok(Buffer::from).map_err(as_theirs);
        let mut response = Response::new(HttpBody::new(pieces, len));
        (*response.status_mut(), *response.version_mut()) = (started.status, started.version);
        *response.headers_mut() = started.headers;
        response.extensions_mut().insert(parts.uri);
        Ok(response)
    }
}

/// The library passes our error on as a cause; whether trying again can help is said by its kind.
fn as_theirs(error: HttpError) -> opendal::Error {
    let passing = error.kind().is_passing();
    opendal::Error::new(opendal::ErrorKind::Unexpected, "the request failed")
        .with_temporary(passing)
        .set_source(error)
}
