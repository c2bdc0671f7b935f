//! How fast the bare `opendal` library moves packs to a bucket and back: `raw_s3 HOST:PORT PREFIX BUCKET [PACKS [AT_ONCE]]`.
//!
//! The yardstick for `rate`, and for whole backups: no repository, no retries, no limits, a plain HTTP client. Objects
//! have 16 MiB, five are on their way at once, and they are removed again. Keys are in `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`.

use std::error::Error;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request, Response};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter, OperationContext, Operator};
use repo_core::Context;

const PACK: usize = 16 << 20;

type Failed = Box<dyn Error + Send + Sync>;
type Work = fn(Operator, String, Bytes) -> BoxFuture<'static, Result<(), Failed>>;

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [host, prefix, bucket, more @ ..] = words.as_slice() else {
        return Err("which host, prefix and bucket?".into());
    };
    let number = |at: usize, default| more.get(at).map_or(Ok(default), |text| text.parse::<usize>());
    let (packs, at_once) = (number(0, 8)?, number(1, 5)?);
    // Nobody else has chosen one, and without one there is no client, not even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = opendal::services::S3::default()
        .endpoint(&format!("http://{host}"))
        .bucket(bucket)
        .root(&format!("/{prefix}"))
        .region("us-east-1");
    let transport = HttpTransporter::new(Plain(reqwest::Client::new()));
    let operator =
        Operator::new(builder)?.with_context(OperationContext::new().with_http_transport(transport));
    let context = Context::new();
    let mut content = vec![0; PACK];
    context.random.fill(&mut content);
    let content = Bytes::from(content);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let measure = async |name: &str, work: Work| {
            let begun = context.clock.elapsed();
            let tasks = stream::iter(0..packs).map(|number| {
                let (operator, content) = (operator.clone(), content.clone());
                tokio::spawn(work(operator, format!("pack-{number}"), content))
            });
            tasks.buffer_unordered(at_once).map(|done| done?).try_collect::<()>().await?;
            let (mebibytes, seconds) =
                (packs * 16, context.clock.elapsed().saturating_sub(begun).as_secs_f64());
            #[allow(clippy::cast_precision_loss, reason = "a rate need not be exact")]
            let rate = mebibytes as f64 / seconds;
            println!("{name}: {mebibytes} MiB in {seconds:.2} s, {rate:.0} MiB/s");
            Ok::<_, Failed>(())
        };
        measure("put", put).await?;
        measure("get", get).await?;
        for number in 0..packs {
            operator.delete(&format!("pack-{number}")).await?;
        }
        Ok(())
    })
}

fn put(operator: Operator, name: String, content: Bytes) -> BoxFuture<'static, Result<(), Failed>> {
    Box::pin(async move { Ok(operator.write(&name, content).await.map(drop)?) })
}

fn get(operator: Operator, name: String, content: Bytes) -> BoxFuture<'static, Result<(), Failed>> {
    Box::pin(async move {
        let read = operator.read(&name).await?.to_bytes();
        if read == content { Ok(()) } else { Err("what was written is not what is read".into()) }
    })
}

/// A client without anything of ours.
struct Plain(reqwest::Client);

impl HttpTransport for Plain {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let failed = |error: reqwest::Error| {
            opendal::Error::new(opendal::ErrorKind::Unexpected, "the request failed").set_source(error)
        };
        let (parts, body) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let request = self.0.request(parts.method, parts.uri.to_string()).headers(parts.headers);
        let answer = request.body(body.to_bytes()).send().await.map_err(failed)?;
        let len = answer.content_length().filter(|_| !is_head);
        let mut response = Response::new(());
        (*response.status_mut(), *response.headers_mut()) = (answer.status(), answer.headers().clone());
        response.extensions_mut().insert(parts.uri);
        let pieces = answer.bytes_stream().map_ok(Buffer::from).map_err(failed);
        Ok(response.map(|()| HttpBody::new(Box::pin(pieces), len)))
    }
}
