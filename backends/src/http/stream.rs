//! Bodies in both directions, piece by piece: counted, held to the limits, and watched for standing still.
//!
//! In: pieces of a body. Out: the same pieces, later if a limit says so. A wait for a limit is no standing still;
//! everything else that takes longer than the stall timeout ends the request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::error::HttpError;
use super::limits::Limit;
use super::wire::Raw;

/// What went over the wire so far: requests, and bytes of bodies.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

/// Remembers when something last moved.
#[derive(Debug)]
pub(super) struct Watch {
    timeout: Duration,
    /// May lie ahead while a limit makes us wait.
    last: Mutex<Instant>,
}

impl Watch {
    pub(super) fn new(timeout: Duration) -> Arc<Self> {
        Arc::new(Self { timeout, last: Mutex::new(Instant::now()) })
    }

    /// Something moved, and nothing will for `wait`.
    fn moved(&self, wait: Duration) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + wait;
    }

    /// Ends when nothing moved for too long.
    pub(super) async fn stalled(&self) {
        loop {
            let due = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + self.timeout;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// Waits until a limit allows the next piece.
#[derive(Debug, Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn begin(&mut self, wait: Duration) {
        if !wait.is_zero() {
            self.0 = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(cx));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// Where the pieces of a request's body come from.
#[derive(Debug)]
pub(super) enum Pieces {
    /// Somebody sends them, one by one, none longer than the limit has it.
    Fed(mpsc::Receiver<Bytes>),
    /// They are all here, in parts of any size.
    Here(VecDeque<Bytes>),
}

impl Pieces {
    fn poll_next(&mut self, cx: &mut Context<'_>, len_max: usize) -> Poll<Option<Bytes>> {
        let parts = match self {
            Self::Fed(receiver) => return receiver.poll_recv(cx),
            Self::Here(parts) => parts,
        };
        while parts.front().is_some_and(Bytes::is_empty) {
            parts.pop_front();
        }
        let piece = parts.front_mut().map(|part| part.split_to(part.len().min(len_max)));
        Poll::Ready(piece)
    }
}

/// A request's body.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(super) pieces: Pieces,
    /// Bytes still to come; tells the server the length.
    pub(super) left: u64,
    pub(super) limit: Limit,
    pub(super) watch: Arc<Watch>,
    pub(super) counters: Arc<Counters>,
    pause: Pause,
    /// Taken from where it came, and waiting for the limit.
    waiting: Option<Bytes>,
}

impl Outgoing {
    pub(super) fn new(
        pieces: Pieces,
        len: u64,
        limit: Limit,
        watch: Arc<Watch>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { pieces, left: len, limit, watch, counters, pause: Pause::default(), waiting: None }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.waiting.is_none() {
            let Some(piece) = ready!(this.pieces.poll_next(cx, this.limit.piece_len())) else {
                return Poll::Ready(None);
            };
            let wait = this.limit.take(piece.len());
            this.watch.moved(wait);
            this.pause.begin(wait);
            this.waiting = Some(piece);
        }
        ready!(this.pause.poll(cx));
        let piece = this.waiting.take().unwrap_or_default();
        let len = piece.len() as u64;
        this.left = this.left.saturating_sub(len);
        this.counters.sent.fetch_add(len, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An answer's body.
pub(super) struct Incoming {
    body: Raw,
    server: String,
    timeout: Duration,
    /// Runs while we wait for the server, not while somebody does something with a piece.
    idle: Option<Pin<Box<Sleep>>>,
    limit: Limit,
    counters: Arc<Counters>,
    pause: Pause,
}

impl Incoming {
    pub(super) fn new(
        body: Raw,
        server: String,
        timeout: Duration,
        limit: Limit,
        counters: Arc<Counters>,
    ) -> Self {
        Self { body, server, timeout, idle: None, limit, counters, pause: Pause::default() }
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, HttpError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        let this = &mut *self;
        ready!(this.pause.poll(cx));
        match this.body.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                this.counters.received.fetch_add(piece.len() as u64, Ordering::Relaxed);
                this.pause.begin(this.limit.take(piece.len()));
                this.idle = None;
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(other) => Poll::Ready(other),
            Poll::Pending => {
                let timeout = this.timeout;
                let idle = this.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                ready!(idle.as_mut().poll(cx));
                let (server, after) = (this.server.clone(), this.timeout);
                Poll::Ready(Some(Err(HttpError::Stalled { server, after })))
            }
        }
    }
}
