//! S3, and everything that speaks like it.
//!
//! In: a bucket's [`Settings`], keys, and the crate's HTTP client. Out: a [`Backend`]. Reading, listing and
//! removing go through the `opendal` library; what it has no call for (uploads that borrow their bytes and name
//! their checksum, making a bucket, thawing) are small signed requests of ours on the same client. Nothing is
//! tried again here, with one exception: a bucket that lies in another region than we guessed is asked once more.
//!
//! An upload is one request of known length. A pack has 128 MiB at most and S3 takes 5 GiB at once, so nothing is
//! ever sent in parts, and no abandoned part is left behind to be paid for.

mod settings; // location + options → what the bucket is like
mod keys; // who we are
mod list; // listings side by side

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use opendal::{HttpBody, HttpTransporter, OperationContext, Operator};
use repo_core::Context;
use repo_core::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties, layout};
use repo_core::id::{FileId, FileKind, Id, PackId};
use repo_core::time::Timestamp;
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::hash::{base64_decode, base64_encode, hex_sha256};

use crate::http::{Client, HttpError, SetupError};
use crate::location::S3;
use crate::network::Variables;
use crate::operator::{OperatorBackend, explained};
use crate::options::{Options, OptionsError};
use crate::refusal::Refusal;
use crate::runtime::Runtime;
use crate::signed::Signed;
use keys::Keys;
use settings::{Region, Settings};

/// A repository in a bucket.
#[derive(Debug)]
pub(crate) struct S3Backend {
    client: Client,
    runtime: Runtime,
    variables: Variables,
    location: String,
    /// Replaced when the bucket turns out to lie in another region.
    bucket: RwLock<Arc<Bucket>>,
    /// Packs that hold trees: they stay in the bucket's own class when the chosen one is cold.
    trees: Mutex<HashSet<PackId>>,
    /// Set by `create`: the config that follows must not replace one that somebody else wrote meanwhile.
    is_new: AtomicBool,
}

/// A bucket with everything that depends on its region.
#[derive(Debug)]
struct Bucket {
    settings: Settings,
    files: OperatorBackend,
    operator: Operator,
    signed: Signed<Credential>,
}

/// Why a bucket cannot be set up; nothing was asked of the server yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum S3Error {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Client(#[from] SetupError),
    #[error(transparent)]
    Bucket(#[from] opendal::Error),
}

impl S3Backend {
    pub(crate) fn new(
        context: &Context,
        location: &S3,
        options: &Options,
        runtime: Runtime,
    ) -> Result<Self, S3Error> {
        let settings = Settings::new(location, options)?;
        let client = Client::new(context, options, settings.connections, None)?;
        let variables = options.variables.clone();
        let location = location.to_string();
        let bucket = Bucket::new(settings, &client, &variables, &location, runtime)?;
        Ok(Self {
            client,
            runtime,
            variables,
            location,
            bucket: RwLock::new(Arc::new(bucket)),
            trees: Mutex::default(),
            is_new: AtomicBool::new(false),
        })
    }

    fn bucket(&self) -> Arc<Bucket> {
        self.bucket.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a call, and once more if the server says that the bucket lies elsewhere than we guessed.
    fn call<T>(&self, mut call: impl FnMut(&Bucket) -> Result<T, BackendError>) -> Result<T, BackendError> {
        let bucket = self.bucket();
        let error = match call(&bucket) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let told = Refusal::of(&error).and_then(Refusal::region);
        let (Region::Guessed(guess), Some(told)) = (&bucket.settings.region, told) else { return Err(error) };
        if told == guess {
            return Err(error);
        }
        let settings = Settings { region: Region::Known(told.to_owned()), ..bucket.settings.clone() };
        match Bucket::new(settings, &self.client, &self.variables, &self.location, self.runtime) {
            Ok(moved) => {
                *self.bucket.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(moved);
                call(&self.bucket())
            }
            Err(_) => Err(error),
        }
    }

    fn upload(&self, bucket: &Bucket, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        let is_new = file.kind == FileKind::Config && self.is_new.load(Ordering::Acquire);
        let headers = self.upload_headers(bucket, file, content);
        if !is_new {
            return self.put(bucket, file, content, headers);
        }
        let mut guarded = headers.clone();
        guarded.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        match self.put(bucket, file, content, guarded) {
            // Is it ours, stored by an upload whose answer was lost? Servers that do not know the condition
            // refuse it, or store as they always did; then the reader after us finds out who was last.
            Err(error) if error.kind() == ErrorKind::Exists => {
                let mut there = Vec::new();
                match bucket.files.read_all(file, content.len() as u64, &mut there) {
                    Ok(()) if there == content => Ok(()),
                    Err(gone) if gone.is_not_found() => self.put(bucket, file, content, headers),
                    _ => Err(error),
                }
            }
            Err(error) if Refusal::of(&error).is_some_and(Refusal::is_about_the_request) => {
                self.put(bucket, file, content, headers)
            }
            stored => stored,
        }
    }

    fn put(
        &self,
        bucket: &Bucket,
        file: FileId,
        content: &[u8],
        headers: HeaderMap,
    ) -> Result<(), BackendError> {
        let error = |kind| BackendError::file(kind, Operation::Write, file);
        let mut request = bucket.request(Method::PUT, &layout::path(file), "");
        *request.headers_mut() = headers;
        let (mut parts, ()) = request.into_parts();
        self.runtime
            .block_on(bucket.signed.sign(&mut parts))
            .map_err(|cause| error(cause.kind()).because(cause))?;
        let url = parts
            .uri
            .to_string()
            .parse()
            .map_err(|cause: url::ParseError| error(ErrorKind::Config).because(cause))?;
        let request =
            crate::http::Request { method: parts.method, url, headers: parts.headers, body: Some(content) };
        let answer = self
            .client
            .send(request, 0, &mut Vec::new())
            .map_err(|cause: HttpError| error(cause.kind()).because(cause))?;
        if answer.status.is_success() {
            return Ok(());
        }
        let refusal = Refusal::new(answer.status.as_u16(), &answer.headers, &answer.problem);
        Err(refusal.into_error(error))
    }

    /// Everything about an object but its bytes. Its name is its checksum, so that costs nothing: the signature
    /// covers the content, the server compares, and buckets with object lock have the checksum they insist on.
    fn upload_headers(&self, bucket: &Bucket, file: FileId, content: &[u8]) -> HeaderMap {
        let settings = &bucket.settings;
        let hash: Option<Id> = match file.kind {
            FileKind::Config => hex_sha256(content).parse().ok(),
            _ => Some(file.id),
        };
        let hex = hash.map(|hash| hash.to_string());
        let class = settings.storage_class.as_ref().filter(|_| !settings.is_cold() || self.is_data(file));
        let checksum = hash.filter(|_| settings.checksum).map(|hash| base64_encode(hash.as_bytes()));
        let headers = [
            (CONTENT_TYPE, Some("application/octet-stream")),
            (CONTENT_LENGTH, Some("0").filter(|_| content.is_empty())),
            (HeaderName::from_static("x-amz-content-sha256"), hex.as_deref()),
            (HeaderName::from_static("x-amz-checksum-sha256"), checksum.as_deref()),
            // Some servers keep a checksum only if they are told its kind too.
            (HeaderName::from_static("x-amz-sdk-checksum-algorithm"), checksum.as_ref().map(|_| "SHA256")),
            (HeaderName::from_static("x-amz-storage-class"), class.map(String::as_str)),
            (HeaderName::from_static("x-amz-server-side-encryption"), settings.sse.as_deref()),
            (
                HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id"),
                settings.sse_kms_key_id.as_deref(),
            ),
        ];
        let valid = headers.into_iter().filter_map(|(name, value)| {
            let value = HeaderValue::from_str(value?).ok()?;
            Some((name, value))
        });
        valid.collect()
    }

    /// Whether nobody needs the file before files are restored from it.
    fn is_data(&self, file: FileId) -> bool {
        let is_tree = || self.trees().contains(&PackId::from(file.id));
        file.kind == FileKind::Pack && !is_tree()
    }

    fn trees(&self) -> std::sync::MutexGuard<'_, HashSet<PackId>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn new(
        settings: Settings,
        client: &Client,
        variables: &Variables,
        location: &str,
        runtime: Runtime,
    ) -> opendal::Result<Self> {
        let transport = client.transporter();
        let region = settings.region.name();
        let signed = if settings.anonymous {
            Signed::anonymous(transport)
        } else {
            let keys = Keys::new(variables, region, transport.clone());
            let signer = RequestSigner::new("s3", region);
            Signed::new(transport, keys, signer, reqsign_core::Context::new())
        };
        // Keys are ours to find, and requests ours to sign.
        let mut builder = opendal::services::S3::default()
            .endpoint(&settings.endpoint)
            .bucket(&settings.bucket)
            .root(&format!("/{}", settings.prefix))
            .region(region)
            .skip_signature()
            .disable_config_load()
            .disable_ec2_metadata();
        if settings.virtual_host {
            builder = builder.enable_virtual_host_style();
        }
        if settings.list_v1 {
            builder = builder.disable_list_objects_v2();
        }
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(signed.clone()));
        let operator = Operator::new(builder)?.with_context(context);
        let properties = Properties {
            location: location.to_owned(),
            connections: settings.connections,
            atomic_replace: true,
        };
        let files = OperatorBackend::new(operator.clone(), runtime, properties);
        Ok(Self { settings, files, operator, signed })
    }

    /// An unsigned request for an object, or for the bucket itself if the path is empty.
    fn request(&self, method: Method, path: &str, query: &str) -> Request<()> {
        let settings = &self.settings;
        let key =
            [settings.prefix.as_str(), path].into_iter().filter(|part| !part.is_empty() && !path.is_empty());
        let mut address = settings.bucket_url();
        for part in key.flat_map(|part| part.split('/')) {
            address.push('/');
            address.extend(url::form_urlencoded::byte_serialize(part.as_bytes()).map(|piece| {
                // The one sign that forms write otherwise than paths do.
                if piece == "+" { "%20" } else { piece }
            }));
        }
        if path.is_empty() && settings.virtual_host {
            address.push('/');
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = format!("{address}{query}").parse().unwrap_or_default();
        request
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: String,
    ) -> opendal::Result<Response<HttpBody>> {
        let mut request = self.request(method, path, query).map(|()| Bytes::new());
        if !body.is_empty() {
            let hash = HeaderValue::from_str(&hex_sha256(body.as_bytes())).map_err(|error| {
                opendal::Error::new(opendal::ErrorKind::Unexpected, "a hash is no header").set_source(error)
            })?;
            request.headers_mut().insert("x-amz-content-sha256", hash);
            *request.body_mut() = Bytes::from(body);
        }
        self.signed.ask(request).await
    }

    async fn create(&self) -> opendal::Result<()> {
        match self.ask(Method::HEAD, "", "", String::new()).await {
            Ok(_) => return Ok(()),
            // Keys for the objects alone must not look at the bucket; whether it is there shows soon enough.
            Err(error) if error.kind() == opendal::ErrorKind::PermissionDenied => {
                return if Refusal::of(&error).is_some() { Ok(()) } else { Err(error) };
            }
            Err(error) if error.kind() != opendal::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let region = self.settings.region.name();
        let body = match region {
            // Said in no other way than by saying nothing.
            "us-east-1" | "auto" => String::new(),
            region => format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            ),
        };
        match self.ask(Method::PUT, "", "", body).await {
            Err(error) if code(&error) != "BucketAlreadyOwnedByYou" => Err(error),
            _ => Ok(()),
        }
    }

    /// Why a look at an object was refused: an answer without a body does not say, so it is asked for one.
    async fn why(&self, path: &str) -> Option<opendal::Error> {
        let mut request = self.request(Method::GET, path, "").map(|()| Bytes::new());
        request.headers_mut().insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        self.signed.ask(request).await.err()
    }

    /// The checksum that the server keeps beside an object, if it is one of the whole object.
    async fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        let mut request = self.request(Method::HEAD, &layout::path(file), "").map(|()| Bytes::new());
        request.headers_mut().insert("x-amz-checksum-mode", HeaderValue::from_static("ENABLED"));
        let error = |error| explained(|kind| BackendError::file(kind, Operation::Size, file), error);
        let head = self.signed.ask(request).await.map_err(error)?;
        let header = |name: &str| head.headers().get(name).and_then(|value| value.to_str().ok());
        // Of an object in parts it is a hash of hashes, with their number behind it.
        let is_whole =
            !header("x-amz-checksum-type").is_some_and(|kind| kind.eq_ignore_ascii_case("COMPOSITE"));
        let hash =
            header("x-amz-checksum-sha256").filter(|_| is_whole).and_then(|text| base64_decode(text).ok());
        Ok(hash.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).map(Id::new))
    }

    /// Asks to make a pack readable; whether it has to be waited for.
    async fn thaw(&self, pack: PackId) -> Result<bool, BackendError> {
        let Some(thaw) = &self.settings.thaw else { return Ok(false) };
        let file = FileId { kind: FileKind::Pack, id: *pack.id() };
        let path = layout::path(file);
        let error = |error| explained(|kind| BackendError::file(kind, Operation::Thaw, file), error);
        let head = self.ask(Method::HEAD, &path, "", String::new()).await.map_err(error)?;
        let header =
            |name: &str| head.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_cold = ["GLACIER", "DEEP_ARCHIVE"].contains(&header("x-amz-storage-class"))
            || !header("x-amz-archive-status").is_empty();
        match header("x-amz-restore") {
            _ if !is_cold => return Ok(false),
            restored if restored.contains("ongoing-request=\"false\"") => return Ok(false),
            restored if restored.contains("ongoing-request=\"true\"") => return Ok(true),
            _ => {}
        }
        let body = format!(
            "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>{}</Days>\
             <GlacierJobParameters><Tier>{}</Tier></GlacierJobParameters></RestoreRequest>",
            thaw.days, thaw.tier
        );
        match self.ask(Method::POST, &path, "?restore", body).await {
            Ok(_) => Ok(true),
            Err(refused) if code(&refused) == "RestoreAlreadyInProgress" => Ok(true),
            Err(refused) => Err(error(refused)),
        }
    }
}

/// The server's word for what is wrong.
fn code(error: &opendal::Error) -> &str {
    Refusal::of(error).map_or("", Refusal::code)
}

impl Backend for S3Backend {
    fn properties(&self) -> Properties {
        self.bucket().files.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.call(|bucket| {
            self.runtime
                .block_on(bucket.create())
                .map_err(|error| explained(|kind| BackendError::repository(kind, Operation::Create), error))
        })?;
        self.is_new.store(true, Ordering::Release);
        Ok(())
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.call(|bucket| self.upload(bucket, file, content))?;
        if file.kind == FileKind::Config {
            self.is_new.store(false, Ordering::Release);
        }
        Ok(())
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.call(|bucket| bucket.files.read(file, range.clone(), buffer))
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.call(|bucket| bucket.files.read_all(file, limit, buffer))
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.call(|bucket| {
            let error = match bucket.files.size(file) {
                Ok(size) => return Ok(size),
                Err(error) => error,
            };
            let speechless = Refusal::of(&error).is_some_and(|refusal| refusal.code().is_empty());
            if error.is_not_found() || error.kind().is_passing() || !speechless {
                return Err(error);
            }
            match self.runtime.block_on(bucket.why(&layout::path(file))) {
                Some(why) => Err(explained(|kind| BackendError::file(kind, Operation::Size, file), why)),
                None => Err(error),
            }
        })
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.call(|bucket| bucket.files.written_at(file))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        self.call(|bucket| {
            if kind == FileKind::Config {
                return bucket.files.list(kind);
            }
            // Pages are small: more of them at once than packs does no harm.
            let at_once = bucket.settings.connections.saturating_mul(4).min(16);
            self.runtime.block_on(list::list(&bucket.operator, kind, at_once)).map_err(|error| {
                explained(|kind_of| BackendError::folder(kind_of, Operation::List, kind), error)
            })
        })
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.call(|bucket| bucket.files.remove(file))
    }

    fn hint_trees(&self, packs: &[PackId]) {
        if self.bucket().settings.is_cold() {
            self.trees().extend(packs);
        }
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.call(|bucket| self.runtime.block_on(bucket.stored_hash(file)))
    }

    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        let bucket = self.bucket();
        if bucket.settings.thaw.is_none() {
            return Ok(Vec::new());
        }
        self.call(|bucket| {
            let asked = futures::stream::iter(packs)
                .map(|pack| async { Ok(bucket.thaw(*pack).await?.then_some(*pack)) })
                .buffer_unordered(bucket.settings.connections)
                .try_filter_map(|waiting| async move { Ok(waiting) });
            self.runtime.block_on(asked.try_collect())
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
