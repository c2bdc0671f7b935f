//! One stream as a source: a single file whose bytes come from a reader, such as standard input.
//!
//! In: a path for the snapshot, and a reader. Out: that file, with plain directories above it. The reader is
//! consumed by the first opening.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::format::NodeKind;
use crate::fs::metadata::EntryMeta;
use crate::fs::{FaultKind, Operation, SourceError};
use crate::time::Timestamp;

use super::{Detail, Entry, Links, Listing, OpenFile, Piece, Source};

/// A file that is read from a stream.
///
/// ```
/// use repo_core::fs::source::StreamSource;
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
///
/// let dump: &[u8] = b"CREATE TABLE letters"; // anything that reads: a pipe, a socket, standard input
/// let source = StreamSource::new("/database.sql", dump, context.clock.now(), (0, 0));
/// let targets = [source.path().to_owned()];
/// let report = repo_core::archive(&context, &repository, &source, &targets, &Default::default())?;
/// assert_eq!(report.summary.total_bytes_processed, 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamSource {
    path: PathBuf,
    time: Timestamp,
    owner: (u32, u32),
    reader: Mutex<Option<Box<dyn Read + Send>>>,
    /// What an error of the reader is.
    fault: FaultKind,
}

impl StreamSource {
    /// The file appears at `path`, which is absolute; it and the directories above bear `time` and belong to
    /// the user and group `owner`.
    pub fn new(
        path: impl Into<PathBuf>,
        reader: impl Read + Send + 'static,
        time: Timestamp,
        owner: (u32, u32),
    ) -> Self {
        let reader = Mutex::new(Some(Box::new(reader) as Box<dyn Read + Send>));
        Self { path: path.into(), time, owner, reader, fault: FaultKind::Other }
    }

    /// An error of the reader ends the backup without a snapshot: half an output looks like a good one.
    #[must_use]
    pub fn fail_closed(self) -> Self {
        Self { fault: FaultKind::Broken, ..self }
    }

    /// The file's path, to be named as target.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn look_up(&self, path: &Path, operation: Operation) -> Result<EntryMeta, SourceError> {
        let meta = if path == self.path {
            EntryMeta::file(0, self.time)
        } else if self.path.starts_with(path) {
            EntryMeta::dir(self.time)
        } else {
            return Err(SourceError::new(FaultKind::Vanished, operation, path));
        };
        Ok(EntryMeta { uid: self.owner.0, gid: self.owner.1, ..meta })
    }
}

impl fmt::Debug for StreamSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSource").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source for StreamSource {
    fn list(&self, dir: &Path, _detail: Detail) -> Result<Listing, SourceError> {
        let meta = self.look_up(dir, Operation::List)?;
        let below = self.path.strip_prefix(dir).ok().and_then(|rest| rest.components().next());
        let Some(name) = below else {
            return Err(SourceError::new(FaultKind::Changed, Operation::List, dir));
        };
        let child = self.look_up(&dir.join(name), Operation::Stat)?;
        let entry =
            Entry { name: name.as_os_str().to_owned(), kind: Some(child.kind.clone()), meta: Some(child) };
        Ok(Listing { meta, xattrs: crate::fs::metadata::Xattrs::default(), entries: vec![entry] })
    }

    fn stat(&self, path: &Path, _links: Links) -> Result<EntryMeta, SourceError> {
        self.look_up(path, Operation::Stat)
    }

    fn reads_once(&self) -> bool {
        true
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        let meta = self.look_up(path, Operation::Open)?;
        if meta.kind != NodeKind::File {
            return Err(SourceError::new(FaultKind::Changed, Operation::Open, path));
        }
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        match reader {
            Some(reader) => Ok(Box::new(Stream { path: self.path.clone(), meta, reader, fault: self.fault })),
            None => Err(SourceError::new(FaultKind::NotSupported, Operation::Open, path)
                .because("a stream is read only once")),
        }
    }
}

struct Stream {
    path: PathBuf,
    meta: EntryMeta,
    reader: Box<dyn Read + Send>,
    fault: FaultKind,
}

impl OpenFile for Stream {
    fn meta(&self) -> &EntryMeta {
        &self.meta
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        loop {
            match self.reader.read(buffer) {
                Ok(0) => return Ok(Piece::End),
                Ok(len) => return Ok(Piece::Data(len)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(SourceError::new(self.fault, Operation::Read, &self.path).because(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_one_file_below_plain_directories() {
        let time = Timestamp { seconds: 7, nanos: 0 };
        let source = StreamSource::new("/dir/f", &b"hello"[..], time, (3, 4));
        let top = source.list(Path::new("/"), Detail::Kinds).unwrap();
        assert_eq!(top.entries[0].name, "dir");
        assert!(top.entries[0].meta.as_ref().unwrap().is_dir());
        let dir = source.list(Path::new("/dir"), Detail::Kinds).unwrap();
        assert_eq!((dir.meta.uid, dir.meta.gid, dir.meta.mtime), (3, 4, time));
        assert_eq!(dir.entries[0].kind, Some(NodeKind::File));
        let mut file = source.open(Path::new("/dir/f")).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(file.read(&mut buffer).unwrap(), Piece::Data(5));
        assert_eq!(&buffer[..5], b"hello");
        assert_eq!(file.read(&mut buffer).unwrap(), Piece::End);
    }

    #[test]
    fn stream_is_read_once_and_holds_nothing_else() {
        let source = StreamSource::new("/f", &b""[..], Timestamp::default(), (0, 0));
        assert!(source.open(Path::new("/f")).is_ok());
        assert_eq!(source.open(Path::new("/f")).err().unwrap().kind(), FaultKind::NotSupported);
        assert!(source.stat(Path::new("/g"), Links::Keep).unwrap_err().is_vanished());
        assert_eq!(source.open(Path::new("/")).err().unwrap().kind(), FaultKind::Changed);
    }
}
