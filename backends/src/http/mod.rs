//! The one HTTP client of this crate: every request to a server goes through it.
//!
//! In: method, address, headers, a body borrowed from the caller. Out: status, headers, and the body in the caller's
//! buffer, up to a limit. It trusts what the settings say, holds to the limits of speed, counts, and gives up a
//! connection on which nothing moves. Nothing is tried again here, no redirect carries credentials to another
//! server, and no message shows more of an address than host and port.

mod error; // why a request failed, and what to do
mod limits; // bytes per second
mod stream; // bodies, piece by piece
mod retry_after; // how long a server asks us to wait
mod setup; // settings → the library's client
mod tls; // certificates
mod wire; // what carries requests
mod transport; // the same client for the opendal library

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use repo_core::Context;
use repo_core::context::Clock;
use tokio::sync::mpsc;
use url::Url;

pub use error::{Cause, HttpError, Status};
pub use setup::SetupError;
pub(crate) use stream::Outgoing;
pub(crate) use wire::{Sending, Started, Wire};

use crate::options::Options;
use crate::runtime::Runtime;
use limits::Limit;
use stream::{Counters, Incoming, Pieces, Watch};
use wire::Raw;

/// So much of what a server says beside an error is kept.
const PROBLEM_MAX: u64 = 16 << 10;

/// So much is set aside because a header announces it; more grows as it comes.
const RESERVE_MAX: u64 = 16 << 20;

/// A client for any number of servers. Clones share connections, limits and counters.
#[derive(Clone)]
pub(crate) struct Client(Arc<Inner>);

struct Inner {
    wire: Arc<dyn Wire>,
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    stall_timeout: Duration,
    upload: Limit,
    download: Limit,
    counters: Arc<Counters>,
}

/// A request, with its body borrowed.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Without a login: credentials belong into the headers.
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// A request without headers and body.
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None }
    }

    /// The same request with a body; its length is told to the server.
    pub(crate) fn with_body(self, body: &'a [u8]) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// What a server answered, without the body of a success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// There was more than the caller wanted to have, and the rest was not read.
    pub(crate) cut: bool,
    /// What the server said beside an error.
    pub(crate) problem: Vec<u8>,
    server: String,
    retry_after: Option<u32>,
}

/// What went over the wire so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    pub(crate) requests: u64,
    /// Bytes of bodies.
    pub(crate) sent: u64,
    /// Bytes of bodies.
    pub(crate) received: u64,
}

impl Client {
    /// A client with these settings for so many requests at once, through a Unix socket if one is given.
    pub(crate) fn new(
        context: &Context,
        options: &Options,
        connections: usize,
        socket: Option<&Path>,
    ) -> Result<Self, SetupError> {
        let runtime = Runtime::get().map_err(|error| SetupError::Library(error.into()))?;
        let network = wire::Network::new(options, connections, socket)?;
        Ok(Self::over(Arc::new(network), runtime, context, options))
    }

    /// A client that sends everything over this wire.
    pub(crate) fn over(wire: Arc<dyn Wire>, runtime: Runtime, context: &Context, options: &Options) -> Self {
        Self(Arc::new(Inner {
            wire,
            runtime,
            clock: Arc::clone(&context.clock),
            stall_timeout: patience(options.network.stall_timeout),
            upload: Limit::new(options.network.upload_max.clone(), &context.clock),
            download: Limit::new(options.network.download_max.clone(), &context.clock),
            counters: Arc::default(),
        }))
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// The body of a success (2xx) goes into `buffer`, whose old content is dropped, up to `limit` bytes. Every
    /// status is an answer, not an error; [`Answer::success`] makes errors of those that are none.
    pub(crate) fn send(
        &self,
        request: Request<'_>,
        limit: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Answer, HttpError> {
        self.0.runtime.block_on(self.ask(request, limit, buffer))
    }

    /// Waits for several requests of [`ask`](Self::ask) at once.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.runtime.block_on(future)
    }

    /// [`send`](Self::send) for who waits for several at once.
    pub(crate) async fn ask(
        &self,
        request: Request<'_>,
        limit: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Answer, HttpError> {
        buffer.clear();
        self.exchange(request, limit, buffer).await.inspect_err(|_| buffer.clear())
    }

    /// What went over the wire so far.
    pub(crate) fn traffic(&self) -> Traffic {
        let Counters { requests, sent, received } = &*self.0.counters;
        let [requests, sent, received] =
            [requests, sent, received].map(|counter| counter.load(Ordering::Relaxed));
        Traffic { requests, sent, received }
    }

    async fn exchange(
        &self,
        request: Request<'_>,
        limit: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Answer, HttpError> {
        let Request { method, url, headers, body } = request;
        let server = self.0.wire.server(&url);
        let sending = Sending { method, url, headers, body: None };
        let started = match body.filter(|body| !body.is_empty()) {
            None => self.start(sending, None).await?,
            Some(body) => {
                // The library wants to own what it sends; so a few pieces are copied ahead of the connection.
                let (feed, pieces) = mpsc::channel(2);
                let feeding = async move {
                    for piece in body.chunks(self.0.upload.piece_len()) {
                        if feed.send(Bytes::copy_from_slice(piece)).await.is_err() {
                            return; // the server did not want to hear the rest
                        }
                    }
                };
                let answering = self.start(sending, Some((Pieces::Fed(pieces), body.len() as u64)));
                tokio::pin!(answering);
                tokio::select! {
                    started = &mut answering => started?,
                    () = feeding => answering.await?,
                }
            }
        };
        let retry_after = retry_after::seconds(&started.headers, self.0.clock.now().seconds);
        let mut body = self.body_of(started.body, &server);
        let (status, headers) = (started.status, started.headers);
        let mut answer = Answer { status, headers, cut: false, problem: Vec::new(), server, retry_after };
        let (into, limit) =
            if answer.status.is_success() { (buffer, limit) } else { (&mut answer.problem, PROBLEM_MAX) };
        if let Some(len) = length(&answer.headers) {
            into.reserve(usize::try_from(len.min(limit).min(RESERVE_MAX)).unwrap_or_default());
        }
        while let Some(piece) = body.try_next().await? {
            let room = usize::try_from(limit).unwrap_or(usize::MAX) - into.len();
            into.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if piece.len() > room {
                answer.cut = true;
                break; // the connection is closed with what is still in it
            }
        }
        Ok(answer)
    }

    /// Sends a request with a body of known length and waits for the head of the answer.
    async fn start(&self, mut request: Sending, body: Option<(Pieces, u64)>) -> Result<Started, HttpError> {
        let inner = &*self.0;
        let watch = Watch::new(inner.stall_timeout);
        request.body = body.map(|(pieces, len)| {
            let (watch, counters) = (Arc::clone(&watch), Arc::clone(&inner.counters));
            Outgoing::new(pieces, len, inner.upload.clone(), watch, counters)
        });
        let server = inner.wire.server(&request.url);
        inner.counters.requests.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            biased;
            started = inner.wire.send(request) => started,
            () = watch.stalled() => Err(HttpError::Stalled { server, after: inner.stall_timeout }),
        }
    }

    fn body_of(&self, body: Raw, server: &str) -> Incoming {
        let inner = &*self.0;
        let (limit, counters) = (inner.download.clone(), Arc::clone(&inner.counters));
        Incoming::new(body, server.to_owned(), inner.stall_timeout, limit, counters)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("traffic", &self.traffic()).finish_non_exhaustive()
    }
}

impl Answer {
    /// The answer if it is a success (2xx), an error otherwise.
    pub(crate) fn success(self) -> Result<Self, HttpError> {
        if self.status.is_success() { Ok(self) } else { Err(self.into_error()) }
    }

    /// The answer as an error: what the server says is one.
    pub(crate) fn into_error(self) -> HttpError {
        let (server, status) = (self.server, Status(self.status));
        let target = self.headers.get(LOCATION).and_then(|target| Url::parse(target.to_str().ok()?).ok());
        if let Some(target) = target.filter(|_| self.status.is_redirection()) {
            let target = format!("{}://{}", target.scheme(), server_of(&target));
            return HttpError::Elsewhere { server, status, target };
        }
        let message = words_of(&self.headers, &self.problem);
        HttpError::Status { server, status, message, retry_after: self.retry_after }
    }

    /// The length that the server announces for the body (or would have, for a HEAD).
    pub(crate) fn len(&self) -> Option<u64> {
        length(&self.headers)
    }
}

/// No time at all means that nothing is ever given up; longer than this nobody waits, and clocks cannot count.
fn patience(timeout: Duration) -> Duration {
    const LONGEST: Duration = Duration::from_hours(24 * 365);
    if timeout.is_zero() { LONGEST } else { timeout.min(LONGEST) }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Host and port, as messages show it.
fn server_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The first line of a plain text beside an error.
fn words_of(headers: &HeaderMap, problem: &[u8]) -> String {
    const CHARS_MAX: usize = 200;
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.is_empty() && !kind.starts_with("text/plain") {
        return String::new();
    }
    let text = String::from_utf8_lossy(problem);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|char| !char.is_control()).take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
