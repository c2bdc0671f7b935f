//! A repository on a REST server: restic's protocol, versions 1 and 2.
//!
//! In: whole files. Out: whole files or exact ranges. Every length is checked here, because servers answer ranges
//! past the end in many ways. A refused upload is compared with what lies on the server, since servers disagree
//! about files that exist; nothing is removed to make room for an upload but a damaged file, and the config, which
//! no server overwrites. Nothing is tried again.
//! Source: repository format, "REST Backend"; the answers of rest-server, rclone and rustic-server.

mod address; // location → addresses, login
mod listing; // answers → ids and sizes
mod doubt; // what "not found" means to rclone

use std::error::Error;
use std::ops::Range;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use repo_core::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties};
use repo_core::id::{FileId, FileKind};
use url::Url;

pub(crate) use address::Address;
use doubt::is_rclone;

use crate::http::{Answer, Client, HttpError, Request};

/// Asks for listings with sizes; a server that knows only version 1 ignores it.
const VERSION_2: HeaderValue = HeaderValue::from_static("application/vnd.x.restic.rest.v2");

/// What a server says beside a success is read, so that the connection can be used again, and dropped.
const WORDS_MAX: u64 = 4 << 10;

/// A listing of ten million packs has 900 MB; more than this is not one.
const LISTING_MAX: u64 = 2 << 30;

/// A repository on a REST server.
#[derive(Debug)]
pub(crate) struct RestBackend {
    client: Client,
    address: Address,
    headers: HeaderMap,
    properties: Properties,
}

/// What is wrong with an answer that is a success.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("the server's listing cannot be read")]
    Listing(#[source] serde_json::Error),
    #[error("the server's listing is longer than any")]
    Endless,
    #[error("the server did not say how long the file is")]
    NoLength,
    #[error("the server gave {got} of {wanted} bytes")]
    Short { got: u64, wanted: u64 },
    #[error("the server gave another range than was asked for")]
    OtherRange,
    #[error("the server has another file of that name, with {size} bytes")]
    Differs { size: u64 },
    #[error("the server did not take the new config")]
    NotReplaced,
}

impl RestBackend {
    /// The repository at an address.
    pub(crate) fn new(client: Client, address: Address, location: String, connections: usize) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, VERSION_2);
        if let Some(login) = &address.login {
            headers.insert(AUTHORIZATION, login.clone());
        }
        let properties = Properties { location, connections, atomic_replace: false };
        Self { client, address, headers, properties }
    }

    fn request(&self, method: Method, url: Url) -> Request<'static> {
        Request { headers: self.headers.clone(), ..Request::new(method, url) }
    }

    /// Sends a request whose answer has no body that matters.
    fn ask(&self, method: Method, url: Url) -> Result<Answer, HttpError> {
        self.client.send(self.request(method, url), WORDS_MAX, &mut Vec::new())
    }

    fn post(&self, file: FileId, content: &[u8]) -> Result<Answer, HttpError> {
        let mut request = self.request(Method::POST, self.address.file(file));
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.client.send(request.with_body(content), WORDS_MAX, &mut Vec::new())
    }

    /// Uploads a file that never changes.
    fn upload(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        let failed = |error| because(BackendError::file, Operation::Write, file, error);
        let answer = self.post(file, content).map_err(failed)?;
        let status = answer.status;
        let Err(refused) = answer.success() else { return Ok(()) };
        if status == StatusCode::BAD_REQUEST {
            // The bytes that arrived do not hash to the name: something changed them on the way.
            return Err(BackendError::file(ErrorKind::Transient, Operation::Write, file).because(refused));
        }
        if !may_mean_that_it_exists(status) {
            return Err(failed(refused));
        }
        match self.size(file) {
            Ok(size) if size == content.len() as u64 => {
                // Refused because it exists; after a fault of the server a look at its bytes is due.
                if !status.is_server_error() || self.holds(file, content)? {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Err(failed(refused)),
            // Whether the file is there is what could not be found out: no final answer yet.
            Err(error) => {
                return Err(BackendError::file(error.kind(), Operation::Write, file).because(refused));
            }
        }
        // What lies there is damaged: its name is the hash of what we have.
        if let Err(error) = self.remove(file) {
            let size = self.size(file).unwrap_or_default();
            return Err(match error.kind() {
                ErrorKind::Denied => BackendError::file(ErrorKind::Exists, Operation::Write, file)
                    .because(AnswerError::Differs { size }),
                _ => error,
            });
        }
        self.post(file, content).and_then(Answer::success).map(drop).map_err(failed)
    }

    /// Uploads the config. Servers refuse to overwrite it, or do, or say that they did.
    fn replace(&self, content: &[u8]) -> Result<(), BackendError> {
        let file = FileId::CONFIG;
        let failed = |error| because(BackendError::file, Operation::Write, file, error);
        let answer = self.post(file, content).map_err(failed)?;
        let status = answer.status;
        match answer.success() {
            Ok(_) if self.holds(file, content)? => return Ok(()),
            Err(error) if !may_mean_that_it_exists(status) => return Err(failed(error)),
            Err(error) => match self.holds(file, content) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(unknown) if !unknown.is_not_found() => {
                    return Err(BackendError::file(unknown.kind(), Operation::Write, file).because(error));
                }
                Err(_) => return Err(failed(error)),
            },
            Ok(_) => {}
        }
        self.remove(file)?;
        self.post(file, content).and_then(Answer::success).map_err(failed)?;
        if self.holds(file, content)? {
            return Ok(());
        }
        Err(BackendError::file(ErrorKind::Other, Operation::Write, file).because(AnswerError::NotReplaced))
    }

    /// Whether a file on the server has exactly these bytes.
    fn holds(&self, file: FileId, content: &[u8]) -> Result<bool, BackendError> {
        let mut there = Vec::new();
        match self.read_all(file, content.len() as u64, &mut there) {
            Ok(()) => Ok(there == content),
            Err(error) if error.kind() == ErrorKind::TooLong => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads a range that is not empty.
    fn fetch(&self, file: FileId, range: &Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let len = range.end - range.start;
        let failed = |error| because(BackendError::file, Operation::Read, file, error);
        let mut request = self.request(Method::GET, self.address.file(file));
        let wanted = format!("bytes={}-{}", range.start, range.end - 1);
        request.headers.insert(RANGE, HeaderValue::try_from(wanted).map_err(|_| other_range(file))?);
        // A server (or a proxy before it) that knows no ranges gives the file from its beginning.
        let answer = self.client.send(request, range.end, buffer).map_err(failed)?;
        match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                let begins_elsewhere = first_byte(&answer.headers).is_some_and(|first| first != range.start);
                if begins_elsewhere || buffer.len() as u64 > len {
                    return Err(self.incomplete(file, range, other_range(file)));
                }
            }
            status if status.is_success() => {
                let before = usize::try_from(range.start).unwrap_or(usize::MAX).min(buffer.len());
                buffer.drain(..before);
            }
            _ => return Err(self.missing(file, answer, |error| self.incomplete(file, range, failed(error)))),
        }
        let got = buffer.len() as u64;
        if got == len {
            return Ok(());
        }
        let short = AnswerError::Short { got, wanted: len };
        let error = BackendError::file(ErrorKind::Transient, Operation::Read, file).because(short);
        Err(self.incomplete(file, range, error))
    }

    /// What it means that a range did not come: does the file end early, or is it something else?
    fn incomplete(&self, file: FileId, range: &Range<u64>, error: BackendError) -> BackendError {
        if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Throttled) {
            return error;
        }
        match self.size(file) {
            Ok(size) if size < range.end => {
                BackendError::file(ErrorKind::TooShort, Operation::Read, file).because(error)
            }
            Err(gone) if gone.is_not_found() => gone,
            // The file is long enough, so the server's word that it is not says nothing.
            Ok(_) if error.kind() == ErrorKind::TooShort => {
                BackendError::file(ErrorKind::Transient, Operation::Read, file).because(error)
            }
            _ => error,
        }
    }

    /// What a refused read means: some servers have a fault where others say that there is no such file.
    fn missing(
        &self,
        file: FileId,
        answer: Answer,
        otherwise: impl FnOnce(HttpError) -> BackendError,
    ) -> BackendError {
        let is_fault = answer.status == StatusCode::INTERNAL_SERVER_ERROR;
        let from_rclone = is_rclone(&answer.headers);
        let error = answer.into_error();
        if error.kind() == ErrorKind::NotFound || (is_fault && self.is_gone(file)) {
            return self.not_found(Operation::Read, file, from_rclone, error);
        }
        otherwise(error)
    }

    fn is_gone(&self, file: FileId) -> bool {
        self.size(file).is_err_and(|error| error.is_not_found())
    }

    /// Asks for the size of every file that was listed without one, several at once. Those that are gone are left
    /// out.
    fn with_sizes(
        &self,
        kind: FileKind,
        found: Vec<(repo_core::id::Id, Option<u64>)>,
    ) -> Result<Vec<Listed>, BackendError> {
        let sized = stream::iter(found).map(|(id, size)| async move {
            if let Some(size) = size {
                return Ok(Some(Listed { id, size }));
            }
            let request = self.request(Method::HEAD, self.address.file(FileId { kind, id }));
            let answer = self.client.ask(request, 0, &mut Vec::new()).await;
            match size_in(answer) {
                Ok(size) => Ok(Some(Listed { id, size })),
                Err(error) if error.0 == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.of(BackendError::folder, Operation::List, kind)),
            }
        });
        let all = sized
            .buffer_unordered(self.properties.connections)
            .try_filter_map(|found| async move { Ok(found) });
        self.client.block_on(all.try_collect())
    }
}

impl Backend for RestBackend {
    fn properties(&self) -> Properties {
        self.properties.clone()
    }

    fn create(&self) -> Result<(), BackendError> {
        let answer = self.ask(Method::POST, self.address.create()).and_then(Answer::success);
        let error = |kind, operation, ()| BackendError::repository(kind, operation);
        answer.map(drop).map_err(|cause| because(error, Operation::Create, (), cause))
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        if file.kind == FileKind::Config { self.replace(content) } else { self.upload(file, content) }
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        buffer.clear();
        if range.start < range.end {
            return self.fetch(file, &range, buffer).inspect_err(|_| buffer.clear());
        }
        // There is no way to ask for nothing.
        if range.start == range.end && range.end <= self.size(file)? {
            return Ok(());
        }
        Err(BackendError::file(ErrorKind::TooShort, Operation::Read, file))
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let failed = |error| because(BackendError::file, Operation::Read, file, error);
        let request = self.request(Method::GET, self.address.file(file));
        let answer = self.client.send(request, limit, buffer).map_err(failed)?;
        if !answer.status.is_success() {
            return Err(self.missing(file, answer, failed));
        }
        if answer.cut {
            buffer.clear();
            return Err(BackendError::file(ErrorKind::TooLong, Operation::Read, file));
        }
        Ok(())
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        let answer = self.ask(Method::HEAD, self.address.file(file));
        match answer {
            Ok(answer) if is_missing(&answer) => {
                let from_rclone = is_rclone(&answer.headers);
                Err(self.not_found(Operation::Size, file, from_rclone, answer.into_error()))
            }
            answer => size_in(answer).map_err(|error| error.of(BackendError::file, Operation::Size, file)),
        }
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        if kind == FileKind::Config {
            return match self.size(FileId::CONFIG) {
                Ok(size) => Ok(vec![Listed { id: FileId::CONFIG.id, size }]),
                Err(error) if error.is_not_found() => Ok(Vec::new()),
                Err(error) => Err(BackendError::folder(error.kind(), Operation::List, kind).because(error)),
            };
        }
        let failed = |error| because(BackendError::folder, Operation::List, kind, error);
        let mut bytes = Vec::new();
        let request = self.request(Method::GET, self.address.folder(kind));
        let answer = self.client.send(request, LISTING_MAX, &mut bytes).map_err(failed)?;
        if answer.status == StatusCode::NOT_FOUND {
            return if is_rclone(&answer.headers) {
                // It lists a missing folder as empty, and says this about every fault.
                let error = BackendError::folder(ErrorKind::Transient, Operation::List, kind);
                Err(error.because(answer.into_error()))
            } else {
                Ok(Vec::new())
            };
        }
        let answer = answer.success().map_err(failed)?;
        let wrong =
            |error: AnswerError| BackendError::folder(ErrorKind::Other, Operation::List, kind).because(error);
        if answer.cut {
            return Err(wrong(AnswerError::Endless));
        }
        let found = listing::parse(&bytes).map_err(|error| wrong(AnswerError::Listing(error)))?;
        self.with_sizes(kind, found)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        let failed = |error| because(BackendError::file, Operation::Remove, file, error);
        let answer = self.ask(Method::DELETE, self.address.file(file)).map_err(failed)?;
        let from_rclone = is_rclone(&answer.headers);
        // rclone remembers files: where the answer to a removal was lost on its way, every further one is a fault to it.
        let may_be_gone = from_rclone && answer.status.is_server_error() && file.kind != FileKind::Config;
        if !is_missing(&answer) && !may_be_gone {
            return answer.success().map(drop).map_err(failed);
        }
        match self.not_found(Operation::Remove, file, from_rclone, answer.into_error()) {
            gone if gone.is_not_found() => Ok(()),
            error => Err(error),
        }
    }
}

/// A cause, and what it means, before it is said what was attempted.
struct Meaning(ErrorKind, Option<u32>, Box<dyn Error + Send + Sync>);

impl Meaning {
    fn of<S>(
        self,
        make: impl FnOnce(ErrorKind, Operation, S) -> BackendError,
        operation: Operation,
        subject: S,
    ) -> BackendError {
        let Self(kind, retry_after, cause) = self;
        make(kind, operation, subject).retry_after(retry_after.unwrap_or_default()).because(cause)
    }
}

impl From<HttpError> for Meaning {
    fn from(error: HttpError) -> Self {
        Self(error.kind(), error.retry_after(), error.into())
    }
}

fn because<S>(
    make: impl FnOnce(ErrorKind, Operation, S) -> BackendError,
    operation: Operation,
    subject: S,
    error: HttpError,
) -> BackendError {
    Meaning::from(error).of(make, operation, subject)
}

/// The size of a file by the answer to a HEAD.
fn size_in(answer: Result<Answer, HttpError>) -> Result<u64, Meaning> {
    let answer = answer.and_then(Answer::success)?;
    answer.len().ok_or_else(|| Meaning(ErrorKind::Other, None, AnswerError::NoLength.into()))
}

fn is_missing(answer: &Answer) -> bool {
    matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// Whether a refused upload may be one of a file that exists: rest-server forbids it, rustic-server has a fault.
fn may_mean_that_it_exists(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::FORBIDDEN
            | StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::INTERNAL_SERVER_ERROR
    )
}

fn other_range(file: FileId) -> BackendError {
    BackendError::file(ErrorKind::Other, Operation::Read, file).because(AnswerError::OtherRange)
}

/// The first byte of the range that an answer claims to be.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
