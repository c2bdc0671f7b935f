//! Whatever rclone reaches: a child that speaks the REST protocol over HTTP/2 on its standard input and output.
//!
//! In: a remote, as rclone reads it. Out: a [`Wire`] for the REST backend. rclone is started when the repository is
//! opened and again when it ended in between; it is ended with the backend. Windows are large, because a stream
//! would otherwise wait for every 64 KiB to be acknowledged.

mod command; // remote + options → words
mod process; // rclone, started and seen to its end

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use http_body_util::{BodyDataStream, Either, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use repo_core::Context;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use url::Url;

pub(crate) use command::{Words, WordsError};
pub(crate) use process::Ended;

use crate::http::{Cause, HttpError, Outgoing, Sending, Started, Wire};
use crate::network::Variables;
use crate::runtime::Runtime;
use process::Process;

/// What one stream may have under way.
const STREAM_WINDOW: u32 = 16 << 20;

/// What all streams together may have under way.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Why rclone does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RcloneError {
    /// There is no such program, or it may not be started.
    #[error("cannot start {program}")]
    Start { program: String, source: io::Error },
    /// It ended before it answered.
    #[error("rclone does not serve the repository")]
    Ended(#[source] Ended),
    /// It is there and does not answer.
    #[error("rclone did not answer within {} seconds", limit.as_secs_f64())]
    Silent { limit: Duration },
    /// It answers in another language.
    #[error("rclone does not speak HTTP/2")]
    Protocol(#[source] Cause),
}

/// A request's body, which may be none.
type Body = Either<Outgoing, Empty<bytes::Bytes>>;

/// Requests go through a child's pipes.
pub(crate) struct Rclone {
    words: Words,
    variables: Variables,
    context: Context,
    running: Mutex<Option<Running>>,
}

/// A child that serves. Fields end in this order: first the pipes, then the process.
struct Running {
    requests: SendRequest<Body>,
    process: Arc<Process>,
}

impl Rclone {
    /// Starts rclone and waits until it speaks.
    pub(crate) fn start(
        words: Words,
        variables: &Variables,
        context: &Context,
        runtime: Runtime,
    ) -> Result<Self, RcloneError> {
        let (variables, context) = (variables.clone(), context.clone());
        let rclone = Self { words, variables, context, running: Mutex::new(None) };
        runtime.block_on(rclone.requests())?;
        Ok(rclone)
    }

    /// Where requests go; starts rclone if it does not run (any more).
    async fn requests(&self) -> Result<(SendRequest<Body>, Arc<Process>), RcloneError> {
        let mut running = self.running.lock().await;
        if let Some(running) = running.as_ref().filter(|running| !running.requests.is_closed()) {
            return Ok((running.requests.clone(), Arc::clone(&running.process)));
        }
        // The one before is reaped first.
        drop(running.take());
        let started = self.begin().await?;
        let requests = (started.requests.clone(), Arc::clone(&started.process));
        *running = Some(started);
        Ok(requests)
    }

    async fn begin(&self) -> Result<Running, RcloneError> {
        let unstarted = |source| RcloneError::Start { program: self.words.program.clone(), source };
        let (process, input, output) =
            process::start(&self.words, &self.variables, &self.context).map_err(unstarted)?;
        let pipes = tokio::io::join(
            ChildStdout::from_std(output).map_err(unstarted)?,
            ChildStdin::from_std(input).map_err(unstarted)?,
        );
        let limit = self.words.timeout;
        let greeted = async {
            let (mut requests, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .handshake::<_, Body>(TokioIo::new(pipes))
                .await?;
            // Ends with the last of its requests, and closes the pipes.
            tokio::spawn(connection);
            let hello = hyper::Request::head("http://localhost/config").body(Either::Right(Empty::new()));
            let hello = hello.expect("a request without anything unusual");
            requests.send_request(hello).await?;
            Ok::<_, hyper::Error>(requests)
        };
        match tokio::time::timeout(limit, greeted).await {
            Ok(Ok(requests)) => {
                process.serves();
                Ok(Running { requests, process: Arc::new(process) })
            }
            Ok(Err(error)) => Err(match process.ended() {
                Some(ended) => RcloneError::Ended(ended),
                None => RcloneError::Protocol(Cause::of(&error)),
            }),
            Err(_) => Err(RcloneError::Silent { limit }),
        }
    }
}

impl Wire for Rclone {
    fn send(&self, request: Sending) -> BoxFuture<'_, Result<Started, HttpError>> {
        Box::pin(async move {
            let server = self.server(&request.url);
            let cannot = |error: RcloneError| HttpError::Connect {
                server: server.clone(),
                source: Cause::text(repo_core::context::with_causes(&error)),
            };
            let (mut requests, process) = self.requests().await.map_err(cannot)?;
            let sent = hyper_request(request)
                .map_err(|source| HttpError::Invalid { server: server.clone(), source })?;
            let answer = match requests.send_request(sent).await {
                Ok(answer) => answer,
                Err(error) => {
                    let ended = if requests.is_closed() { process.ended() } else { None };
                    let source =
                        ended.map_or_else(|| Cause::of(&error), |ended| Cause::text(ended.to_string()));
                    return Err(HttpError::Broken { server, source });
                }
            };
            let (head, body) = answer.into_parts();
            let broken = move |error: hyper::Error| HttpError::Broken {
                server: server.clone(),
                source: Cause::of(&error),
            };
            Ok(Started {
                status: head.status,
                version: head.version,
                headers: head.headers,
                body: Box::pin(BodyDataStream::new(body).map_err(broken)),
            })
        })
    }

    fn server(&self, _: &Url) -> String {
        "rclone".to_owned()
    }
}

fn hyper_request(request: Sending) -> Result<hyper::Request<Body>, Cause> {
    let Sending { method, url, headers, body } = request;
    let body = body.map_or(Either::Right(Empty::new()), Either::Left);
    let mut sent = hyper::Request::new(body);
    *sent.method_mut() = method;
    *sent.uri_mut() = url.as_str().parse().map_err(|_| Cause::text("the address is not valid"))?;
    *sent.headers_mut() = headers;
    Ok(sent)
}
