//! Any storage that the `opendal` library reaches, behind the blocking trait.
//!
//! In: an operator, already built and without retries or time limits of its own. Out: a [`Backend`]. Every
//! length is checked here, whatever the library says about a range; a listing that does not tell sizes is
//! completed by asking for each. Nothing is retried: that happens once, above all backends, on whole files.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::{Range, RangeFull};

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use opendal::options::ListOptions;
use opendal::{BytesRange, Entry, Operator};
use repo_core::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties, layout};
use repo_core::id::{FileId, FileKind};
use repo_core::time::Timestamp;

use crate::http::HttpError;
use crate::refusal::Refusal;
use crate::runtime::Runtime;

/// A repository on a service of the `opendal` library.
#[derive(Debug)]
pub(crate) struct OperatorBackend {
    operator: Operator,
    runtime: Runtime,
    properties: Properties,
    maker: Option<Maker>,
}

/// Makes the bucket or container in which a repository lies, unless it is there.
pub(crate) struct Maker(pub(crate) Box<dyn Fn() -> BoxFuture<'static, opendal::Result<()>> + Send + Sync>);

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maker").finish_non_exhaustive()
    }
}

impl OperatorBackend {
    pub(crate) fn new(operator: Operator, runtime: Runtime, properties: Properties) -> Self {
        Self { operator, runtime, properties, maker: None }
    }

    /// With what makes the bucket.
    pub(crate) fn with_maker(self, maker: Option<Maker>) -> Self {
        Self { maker, ..self }
    }

    /// Appends a range to the empty buffer, stopping as soon as more than `limit` bytes have come.
    fn fetch(
        &self,
        file: FileId,
        range: impl Into<BytesRange>,
        limit: u64,
        buffer: &mut Vec<u8>,
    ) -> opendal::Result<()> {
        self.runtime.block_on(async {
            let reader = self.operator.reader(&layout::path(file)).await?;
            let mut pieces = reader.into_stream(range).await?;
            while let Some(piece) = pieces.try_next().await? {
                for bytes in piece {
                    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1) - buffer.len();
                    buffer.extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
                    if buffer.len() as u64 > limit {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    /// What it means that a range did not come whole: does the file end early, or did the connection?
    fn incomplete(&self, file: FileId, range: &Range<u64>, cause: Option<opendal::Error>) -> BackendError {
        let told = cause.as_ref().map(kind_of);
        let kind = match told {
            // What was said is clear, and a second request would hear the same.
            Some(kind) if ![ErrorKind::TooShort, ErrorKind::Other].contains(&kind) => kind,
            _ => match self.size(file) {
                Ok(size) if size < range.end => ErrorKind::TooShort,
                Err(gone) if gone.is_not_found() => ErrorKind::NotFound,
                _ => told.unwrap_or(ErrorKind::Transient),
            },
        };
        let error = BackendError::file(kind, Operation::Read, file);
        match cause {
            Some(cause) => explained(|_| error, cause),
            None => error.because(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }

    async fn list_folder(&self, kind: FileKind) -> opendal::Result<Vec<Listed>> {
        let options = ListOptions { recursive: kind == FileKind::Pack, ..Default::default() };
        let mut entries = self.operator.lister_options(&format!("{}/", kind.folder()), options).await?;
        let mut all = Vec::new();
        while let Some(entry) = entries.try_next().await? {
            let Some(file) = layout::parse(entry.path()).filter(|file| file.kind == kind) else { continue };
            if let Some(size) = self.size_of(&entry).await? {
                all.push(Listed { id: file.id, size });
            }
        }
        Ok(all)
    }

    /// The size of a listed file; nothing for a folder, and for a file that was removed since.
    async fn size_of(&self, entry: &Entry) -> opendal::Result<Option<u64>> {
        let listed = entry.metadata();
        if listed.is_file() {
            return Ok(Some(listed.content_length()));
        }
        if listed.is_dir() {
            return Ok(None);
        }
        match self.operator.stat(entry.path()).await {
            Ok(metadata) => Ok(metadata.is_file().then(|| metadata.content_length())),
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Backend for OperatorBackend {
    fn properties(&self) -> Properties {
        self.properties.clone()
    }

    fn create(&self) -> Result<(), BackendError> {
        let made = self.runtime.block_on(async {
            if let Some(Maker(make)) = &self.maker {
                make().await?;
            }
            // What replaces files at once stores objects by name, and has no folders but empty objects called so.
            if self.properties.atomic_replace || !self.operator.info().capability().create_dir {
                return Ok(());
            }
            for kind in layout::FOLDERS {
                self.operator.create_dir(&format!("{}/", kind.folder())).await?;
            }
            Ok(())
        });
        made.map_err(|error: opendal::Error| {
            explained(|kind| BackendError::repository(kind, Operation::Create), error)
        })
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        let content = Bytes::copy_from_slice(content);
        let written = self.runtime.block_on(self.operator.write(&layout::path(file), content));
        written.map(drop).map_err(|error| failed(Operation::Write, file, error))
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        buffer.clear();
        let error = |kind| BackendError::file(kind, Operation::Read, file);
        let len = range.end.checked_sub(range.start).ok_or_else(|| error(ErrorKind::Other))?;
        if len == 0 {
            // Services disagree about empty ranges; all know the size.
            let size = self.size(file)?;
            return if range.end <= size { Ok(()) } else { Err(error(ErrorKind::TooShort)) };
        }
        match self.fetch(file, range.clone(), len, buffer) {
            Ok(()) if buffer.len() as u64 == len => Ok(()),
            Ok(()) if (buffer.len() as u64) < len => Err(self.incomplete(file, &range, None)),
            // More than was asked for: this is not the range, and a second try would not make it so.
            Ok(()) => Err(error(ErrorKind::Other)),
            Err(error) => Err(self.incomplete(file, &range, Some(error))),
        }
        .inspect_err(|_| buffer.clear())
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        buffer.clear();
        let read = match self.fetch(file, RangeFull, limit, buffer) {
            Ok(()) if buffer.len() as u64 <= limit => Ok(()),
            Ok(()) => Err(BackendError::file(ErrorKind::TooLong, Operation::Read, file)),
            Err(error) => Err(failed(Operation::Read, file, error)),
        };
        read.inspect_err(|_| buffer.clear())
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        match self.runtime.block_on(self.operator.stat(&layout::path(file))) {
            Ok(metadata) if metadata.is_file() => Ok(metadata.content_length()),
            Ok(_) => Err(BackendError::file(ErrorKind::Other, Operation::Size, file)),
            Err(error) => Err(failed(Operation::Size, file, error)),
        }
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        let metadata = self.runtime.block_on(self.operator.stat(&layout::path(file)));
        let metadata = metadata.map_err(|error| failed(Operation::Size, file, error))?;
        Ok(metadata.last_modified().map(|time| {
            let time = time.into_inner();
            let nanos = u32::try_from(time.subsec_nanosecond()).unwrap_or(0);
            Timestamp { seconds: time.as_second(), nanos }
        }))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        if kind == FileKind::Config {
            return match self.size(FileId::CONFIG) {
                Ok(size) => Ok(vec![Listed { id: FileId::CONFIG.id, size }]),
                Err(error) if error.is_not_found() => Ok(Vec::new()),
                Err(error) => Err(BackendError::folder(error.kind(), Operation::List, kind).because(error)),
            };
        }
        match self.runtime.block_on(self.list_folder(kind)) {
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(|error| {
                explained(|cause| BackendError::folder(cause, Operation::List, kind), error)
            }),
        }
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        match self.runtime.block_on(self.operator.delete(&layout::path(file))) {
            Err(error) if error.kind() != opendal::ErrorKind::NotFound => {
                Err(failed(Operation::Remove, file, error))
            }
            _ => Ok(()),
        }
    }
}

fn failed(operation: Operation, file: FileId, error: opendal::Error) -> BackendError {
    explained(|kind| BackendError::file(kind, operation, file), error)
}

/// An error of ours from one of the library, with what a server said in its place where there is that.
pub(crate) fn explained(make: impl FnOnce(ErrorKind) -> BackendError, error: opendal::Error) -> BackendError {
    match Refusal::of(&error) {
        Some(refusal) => refusal.clone().into_error(make),
        None => make(kind_of(&error)).because(Plain(error)),
    }
}

/// An error of the library without what it notes beside its message: addresses, headers, signatures.
struct Plain(opendal::Error);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.message() {
            "" => self.0.kind().fmt(f),
            message => f.write_str(message),
        }
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.0.kind())
    }
}

impl Error for Plain {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// What a caller can do about an error of the library. The root cause often tells more than the library does.
fn kind_of(error: &opendal::Error) -> ErrorKind {
    use opendal::ErrorKind as Theirs;
    if let Some(refusal) = Refusal::of(error) {
        return refusal.kind();
    }
    match error.kind() {
        Theirs::NotFound => ErrorKind::NotFound,
        Theirs::PermissionDenied => ErrorKind::Denied,
        Theirs::AlreadyExists | Theirs::ConditionNotMatch => ErrorKind::Exists,
        Theirs::RateLimited => ErrorKind::Throttled,
        Theirs::RangeNotSatisfied => ErrorKind::TooShort,
        Theirs::ConfigInvalid | Theirs::Unsupported | Theirs::IsADirectory | Theirs::NotADirectory => {
            ErrorKind::Config
        }
        _ => kind_of_root(error).unwrap_or(if error.is_temporary() {
            ErrorKind::Transient
        } else {
            ErrorKind::Other
        }),
    }
}

/// What the first error of our HTTP client or of the system among the causes means.
fn kind_of_root(error: &opendal::Error) -> Option<ErrorKind> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<HttpError>() {
            return Some(error.kind());
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => return Some(ErrorKind::Full),
                io::ErrorKind::TimedOut => return Some(ErrorKind::TimedOut),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    return Some(ErrorKind::Denied);
                }
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::Interrupted => return Some(ErrorKind::Transient),
                _ => {}
            }
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use repo_core::backend::conformance::{self, Scale, Subject};

    use super::*;

    fn backend() -> (Operator, OperatorBackend) {
        let operator = Operator::via_iter("memory", []).unwrap();
        let location = "memory:".to_owned();
        let properties = Properties { location, connections: 5, atomic_replace: true };
        (operator.clone(), OperatorBackend::new(operator, Runtime::get().unwrap(), properties))
    }

    #[test]
    fn an_operator_keeps_every_promise() {
        let make = || {
            let (operator, backend) = backend();
            let runtime = backend.runtime;
            Subject::new(Arc::new(backend)).with_plant(move |path, content| {
                let content = Bytes::copy_from_slice(content);
                runtime.block_on(operator.write(path, content)).unwrap();
            })
        };
        conformance::check(make, Scale::Full);
    }

    #[test]
    fn errors_of_the_library_become_kinds() {
        use opendal::ErrorKind as Theirs;
        fn check(error: &opendal::Error, expected: ErrorKind) {
            assert_eq!(kind_of(error), expected, "{error}");
        }
        let of = |kind| opendal::Error::new(kind, "test");
        let caused = |kind: io::ErrorKind| of(Theirs::Unexpected).set_source(io::Error::from(kind));
        check(&of(Theirs::NotFound), ErrorKind::NotFound);
        check(&of(Theirs::PermissionDenied), ErrorKind::Denied);
        check(&of(Theirs::RateLimited), ErrorKind::Throttled);
        check(&of(Theirs::ConfigInvalid), ErrorKind::Config);
        check(&of(Theirs::Unexpected), ErrorKind::Other);
        check(&of(Theirs::Unexpected).set_temporary(), ErrorKind::Transient);
        check(&caused(io::ErrorKind::StorageFull).set_temporary(), ErrorKind::Full);
        check(&caused(io::ErrorKind::TimedOut), ErrorKind::TimedOut);
        check(&caused(io::ErrorKind::ConnectionReset), ErrorKind::Transient);
        check(&caused(io::ErrorKind::Other), ErrorKind::Other);
    }
}
