//! Requests to S3: signed on the way out, and refusals understood on the way back.
//!
//! In: unsigned requests, of the `opendal` library or of ours. Out: answers that are a success; every other one
//! is an error with the server's [`Refusal`] as its cause. The library is told not to sign: so there is one
//! place that knows keys, and none that looks into the process's environment.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{Request, Response};
use opendal::raw::oio::ReadStream as _;
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter};
use repo_core::backend::ErrorKind;
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::Signer;

use super::keys::Keys;
use crate::refusal::{BODY_MAX, Refusal};

/// Signs for one region, with keys that are fetched once and again before they expire.
#[derive(Clone)]
pub(super) struct Signed {
    transport: HttpTransporter,
    /// Nobody signs for buckets that are open to everybody.
    signer: Option<Arc<Signer<Credential>>>,
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Unsigned {
    cause: reqsign_core::Error,
}

impl Unsigned {
    const WHAT: &str = "cannot sign the request";

    pub(crate) fn kind(&self) -> ErrorKind {
        if self.cause.is_retryable() { ErrorKind::Transient } else { ErrorKind::Denied }
    }
}

impl Signed {
    pub(super) fn new(transport: HttpTransporter, keys: Option<Arc<Keys>>, region: &str) -> Self {
        let signer = keys.map(|keys| {
            let context = reqsign_core::Context::new();
            Arc::new(Signer::new(context, keys, RequestSigner::new("s3", region)))
        });
        Self { transport, signer }
    }

    /// Adds a signature, which also covers every header that is there.
    pub(super) async fn sign(&self, parts: &mut Parts) -> Result<(), Unsigned> {
        if let Some(signer) = &self.signer {
            signer.sign(parts, None).await.map_err(|cause| Unsigned { cause })?;
            // Written by the client itself, in the way that the version of HTTP wants it.
            parts.headers.remove(HOST);
        }
        Ok(())
    }

    /// Sends a small request of ours; the answer's body is not wanted.
    pub(super) async fn ask(&self, request: Request<Bytes>) -> opendal::Result<Response<HttpBody>> {
        self.fetch(request.map(Buffer::from)).await
    }
}

impl HttpTransport for Signed {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (mut parts, body) = request.into_parts();
        self.sign(&mut parts).await.map_err(|unsigned| match unsigned.kind() {
            ErrorKind::Denied => {
                opendal::Error::new(opendal::ErrorKind::PermissionDenied, Unsigned::WHAT).set_source(unsigned)
            }
            _ => opendal::Error::new(opendal::ErrorKind::Unexpected, Unsigned::WHAT)
                .set_temporary()
                .set_source(unsigned),
        })?;
        let answer = self.transport.fetch(Request::from_parts(parts, body)).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer).await) }
    }
}

/// What the server says is wrong, read up to a limit.
async fn refused(answer: Response<HttpBody>) -> opendal::Error {
    let (parts, mut body) = answer.into_parts();
    let mut text = Vec::new();
    // A body that breaks off is still better than none: the status has been told.
    while let Ok(piece) = body.read().await {
        if piece.is_empty() || text.len() > BODY_MAX {
            break;
        }
        text.extend_from_slice(&piece.to_bytes());
    }
    let refusal = Refusal::new(parts.status.as_u16(), &parts.headers, &text);
    let kind = match refusal.kind() {
        ErrorKind::NotFound => opendal::ErrorKind::NotFound,
        ErrorKind::Denied => opendal::ErrorKind::PermissionDenied,
        ErrorKind::TooShort => opendal::ErrorKind::RangeNotSatisfied,
        ErrorKind::Throttled => opendal::ErrorKind::RateLimited,
        _ => opendal::ErrorKind::Unexpected,
    };
    let passing = refusal.kind().is_passing();
    opendal::Error::new(kind, "the server refuses").with_temporary(passing).set_source(refusal)
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").finish_non_exhaustive()
    }
}
