//! `serve webdav`: the repository's folders over HTTP, until a signal ends it.
//!
//! The one place of this program that is async, because the library for `WebDAV` is: a runtime is made here and
//! ends here, and every question to the engine is asked on a thread that may wait. docs/decisions says why.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use dav_server::body::Body;
use dav_server::{DavHandler, DavMethodSet};
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use repo_core::repository::LockKind;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::files::Files;
use super::guard::Guard;
use crate::args::serve::Webdav;
use crate::browse;
use crate::exit::wrong;
use crate::session::Session;

/// Connections at the same time; more of them wait.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take to say what it wants.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// How often to look whether it was ended.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 256 << 10;
/// How long answers that are under way may still take at the end.
const END_TIME: Duration = Duration::from_secs(1);

/// Serves until a signal ends it, which is how it is meant to end.
pub(super) fn run(session: &Session, args: &Webdav) -> Result<()> {
    let options = browse::options(session, &args.templates, &args.templates.time_template)?;
    let guard = Arc::new(Guard::new(args)?);
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let view = browse::view(session, &repository, options)?;
    let handler = DavHandler::builder()
        .filesystem(Box::new(Files::new(session, view)))
        .methods(DavMethodSet::WEBDAV_RO)
        .autoindex(true)
        .read_buf_size(READ_BYTES)
        .build_handler();

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| wrong(format!("cannot start threads: {error}"), "Try again."))?;
    let ended = runtime.block_on(serve(session, args.listen, handler, guard));
    runtime.shutdown_timeout(END_TIME);
    ended
}

async fn serve(session: &Session, listen: SocketAddr, handler: DavHandler, guard: Arc<Guard>) -> Result<()> {
    let unusable = |error| {
        wrong(
            format!("cannot listen on {listen}: {error}"),
            "Name another address with --listen; port 0 takes one that is free.",
        )
    };
    let listener = TcpListener::bind(listen).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    browse::greet(
        session,
        "serving",
        &format!("http://{address}/"),
        &["When finished, quit with Ctrl-c here."],
    );

    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(place) = unless_ended(session, places.clone().acquire_owned()).await {
        let Ok(place) = place else { break }; // nobody closes it
        let Some(accepted) = unless_ended(session, listener.accept()).await else { break };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, place, handler.clone(), guard.clone()));
            }
            // Such as too many open files: some will be closed.
            Err(error) => {
                session.screen.warn(format!("warning: cannot accept a connection: {error}"));
                tokio::time::sleep(LOOK).await;
            }
        }
    }
    Ok(())
}

/// What comes of `waiting`, or nothing when the run is asked to stop first.
async fn unless_ended<T>(session: &Session, waiting: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(waiting);
    loop {
        if session.context.cancel.is_cancelled() {
            return None;
        }
        if let Ok(done) = tokio::time::timeout(LOOK, &mut waiting).await {
            return Some(done);
        }
    }
}

async fn connection(stream: TcpStream, _place: OwnedSemaphorePermit, handler: DavHandler, guard: Arc<Guard>) {
    let answer = service_fn(|mut request: Request<Incoming>| {
        // Whoever names this test program may ask for everything at once; nobody else may.
        request.headers_mut().remove("x-litmus");
        let (handler, guard) = (handler.clone(), guard.clone());
        async move {
            let answer = match guard.refusal(&request) {
                Some(refusal) => refusal,
                None => Box::pin(handler.handle(request)).await,
            };
            Ok::<_, Infallible>(harmless(answer))
        }
    });
    // How a connection ends is the client's business: what could not be read was told when it was met.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// A page out of a backup must not read the others in a browser.
fn harmless(mut answer: Response<Body>) -> Response<Body> {
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
