//! Requests to a storage: signed on the way out, and refusals understood on the way back.
//!
//! In: unsigned requests, of the `opendal` library or of ours. Out: answers that are a success; every other one
//! is an error with the server's `Refusal` as its cause. The library is told not to sign: so there is one
//! place that knows keys, and none that looks into the process's environment. Services that sign by themselves
//! get the same understanding of refusals with [`Unchanged`] requests.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter};
use repo_core::backend::ErrorKind;
use reqsign_core::{ProvideCredential, SignRequest, Signer, SigningCredential};

use crate::refusal;

/// Signs with keys that are fetched once, and again before they expire.
pub(crate) struct Signed<C: SigningCredential> {
    transport: HttpTransporter,
    /// Nobody signs for buckets that are open to everybody.
    signer: Option<Arc<Signer<C>>>,
    /// A header for every upload.
    upload: Option<(HeaderName, HeaderValue)>,
}

impl<C: SigningCredential> Clone for Signed<C> {
    fn clone(&self) -> Self {
        let Self { transport, signer, upload } = self;
        Self { transport: transport.clone(), signer: signer.clone(), upload: upload.clone() }
    }
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

impl<C: SigningCredential> Signed<C> {
    pub(crate) fn new(
        transport: HttpTransporter,
        keys: impl ProvideCredential<Credential = C>,
        signer: impl SignRequest<Credential = C>,
        context: reqsign_core::Context,
    ) -> Self {
        Self { transport, signer: Some(Arc::new(Signer::new(context, keys, signer))), upload: None }
    }

    /// Nothing is signed.
    pub(crate) fn anonymous(transport: HttpTransporter) -> Self {
        Self { transport, signer: None, upload: None }
    }

    /// The same, with a header for every upload.
    #[cfg(feature = "azure")]
    pub(crate) fn with_upload_header(self, name: &'static str, value: HeaderValue) -> Self {
        Self { upload: Some((HeaderName::from_static(name), value)), ..self }
    }

    /// Adds a signature, which also covers every header that is there.
    pub(crate) async fn sign(&self, parts: &mut Parts) -> Result<(), Unsigned> {
        if let Some(signer) = &self.signer {
            signer.sign(parts, None).await.map_err(|cause| Unsigned { cause })?;
            // Written by the client itself, in the way that the version of HTTP wants it.
            parts.headers.remove(HOST);
        }
        Ok(())
    }

    /// Sends a small request of ours; the answer's body is not wanted.
    pub(crate) async fn ask(&self, request: Request<Bytes>) -> opendal::Result<Response<HttpBody>> {
        self.fetch(request.map(Buffer::from)).await
    }
}

impl<C: SigningCredential> HttpTransport for Signed<C> {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (mut parts, body) = request.into_parts();
        if let (&Method::PUT, Some((name, value))) = (&parts.method, &self.upload) {
            parts.headers.insert(name.clone(), value.clone());
        }
        self.sign(&mut parts).await.map_err(|unsigned| match unsigned.kind() {
            ErrorKind::Denied => {
                opendal::Error::new(opendal::ErrorKind::PermissionDenied, Unsigned::WHAT).set_source(unsigned)
            }
            _ => opendal::Error::new(opendal::ErrorKind::Unexpected, Unsigned::WHAT)
                .set_temporary()
                .set_source(unsigned),
        })?;
        let answer = self.transport.fetch(Request::from_parts(parts, body)).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal::refused(answer).await) }
    }
}

impl<C: SigningCredential> fmt::Debug for Signed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").finish_non_exhaustive()
    }
}

/// Requests as they come, for services that sign by themselves or need no signature.
///
/// Answers with which such a service goes on (not found, already there, not allowed here) pass; whatever nobody
/// can go on with becomes an error that says how long to wait.
#[derive(Debug, Clone)]
pub(crate) struct Unchanged(pub(crate) HttpTransporter);

impl HttpTransport for Unchanged {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let answer = self.0.fetch(request).await?;
        match answer.status().as_u16() {
            401 | 403 | 429 | 500..=599 => Err(refusal::refused(answer).await),
            _ => Ok(answer),
        }
    }
}
