//! One file of a snapshot → a sink: an image or a block device that is changed where it is, or a pipe.
//!
//! ```text
//! any order    what is there, compared → packs, each read once ─blobs→ data and holes, wherever they belong
//! rising       batches of blobs, read ahead ─in order→ the pipe
//! ```
//!
//! In: a file's entry and a [`Sink`]. Out: the content, every blob verified. What a sink holds is read first: what hashes
//! right stays, so that a second restore, or one that was stopped, writes only what differs. Ends at the first thing that
//! goes wrong; what was written until then stays. Memory: 48 bytes per blob of the file, 100 for each of 100,000 at a
//! time, and per thread what it reads of a pack at once, at most 32 MiB; in order, 64 MiB of blobs ahead.

mod write;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::format::{Node, NodeKind};
use crate::fs::sink::{Holds, Order, Sink};
use crate::hash::sha256;
use crate::id::PackId;
use crate::ops::restore::existing::Part;
use crate::ops::restore::run;
use crate::parallel;
use crate::repository::{Needed, ReadError, Reader, ThawError, ThawOptions};

/// So many parts are compared and fetched at a time.
const PARTS_AT_ONCE: usize = 100_000;

/// A thread compares so many parts before it takes others.
const COMPARED_AT_ONCE: usize = 16;

/// How to restore into a sink.
#[derive(Debug, Clone, Default)]
pub struct SinkOptions {
    /// Thaw the packs that are needed before anything is written, and wait for them; `None` takes them as they are.
    pub thaw: Option<ThawOptions>,
    /// Read everything back at the end and compare; of a pipe there is nothing to read.
    pub verify: bool,
    /// Write nothing, but count what would be written.
    pub dry_run: bool,
}

/// What was done, or would be. The bytes of the file are the sum of the first three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkReport {
    /// Bytes that were written. A dry run counts all here that differs.
    pub bytes_written: u64,
    /// Bytes that were made zero without being written, as far as the sink can have holes.
    pub bytes_zeroed: u64,
    /// Bytes that were right already.
    pub bytes_kept: u64,
    /// Whether everything was read back and found right.
    pub is_verified: bool,
}

/// Why a file was not restored into a sink, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Only a file has content. Nothing was written.
    #[error("{} is a {} in the snapshot, not a file", path.display(), kind.word())]
    Kind {
        /// The entry.
        path: PathBuf,
        /// What it is.
        kind: NodeKind,
    },
    /// Its entry says another length than its parts have. Nothing was written.
    #[error("{} has {stored} bytes in the snapshot, but its entry says {said}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes of its parts.
        stored: u64,
        /// Bytes by its entry.
        said: u64,
    },
    /// The sink cannot hold it. Nothing was written.
    #[error("{} has {len} bytes, but {} takes no more than {bytes_max}", path.display(), sink.display())]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// How long it is, in bytes.
        len: u64,
        /// Where it was to go.
        sink: PathBuf,
        /// How much that can hold, in bytes.
        bytes_max: u64,
    },
    /// Packs in a cold class cannot be read yet. Nothing was written.
    #[error(transparent)]
    Thaw(ThawError),
    /// The sink could not be made as long as the file. Nothing else was done.
    #[error("cannot make {} {len} bytes long", sink.display())]
    Begin {
        /// Where the file was to go.
        sink: PathBuf,
        /// How long it is, in bytes.
        len: u64,
        /// Why.
        source: io::Error,
    },
    /// A part cannot be read from the repository.
    #[error("cannot read {} at offset {offset} from the repository", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where in it the part belongs, in bytes.
        offset: u64,
        /// Why.
        source: Box<ReadError>,
    },
    /// A part cannot be written.
    #[error("cannot write {} at offset {offset}", sink.display())]
    Write {
        /// To what.
        sink: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// All was written, but perhaps not all of it lasts.
    #[error("cannot sync {}, {len} bytes from offset 0 on", sink.display())]
    Sync {
        /// What was written to.
        sink: PathBuf,
        /// How much, in bytes.
        len: u64,
        /// Why.
        source: io::Error,
    },
    /// Read back, it is not what it should be.
    #[error("{} differs from the snapshot at offset {offset} after it was restored", sink.display())]
    Differs {
        /// What was written to.
        sink: PathBuf,
        /// Where the first wrong part begins, in bytes.
        offset: u64,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(SinkError: ThawError => Thaw);

/// Writes the content of `node` to a sink. `path` is the file's in the snapshot, for messages.
///
/// Locks nothing: whoever made the reader did. Returns [`SinkError::TooSmall`] before anything is written.
///
/// ```
/// use std::path::Path;
///
/// use repo_core::fs::sink::ImageSink;
/// use repo_core::ops::restore::{SinkOptions, restore_to_sink};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let disk = repo_core::fs::source::StreamSource::new("/disk.raw", &b"boot"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &disk, &["/disk.raw".into()], &Default::default())?;
/// # let latest = repo_core::snapshots::list(&context, &repository)?.pop().expect("there is one");
/// # let folder = tempfile::tempdir()?;
/// # let device = folder.path().join("device");
///
/// let reader = repository.reader(&context)?;
/// let path = Path::new("/disk.raw");
/// let node = repo_core::walk::lookup(&reader, latest.snapshot.tree, path)?.expect("it is not the root");
/// for is_there in [false, true] {
///     let sink = ImageSink::open(&device)?;
///     let report = restore_to_sink(&context, &reader, path, &node, &sink, &SinkOptions::default())?;
///     assert_eq!(report.bytes_kept == node.size, is_there);
/// }
/// assert_eq!(std::fs::read(&device)?, b"boot");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn restore_to_sink(
    context: &Context,
    reader: &Reader,
    path: &Path,
    node: &Node,
    sink: &dyn Sink,
    options: &SinkOptions,
) -> Result<SinkReport, SinkError> {
    let parts = parts(reader, node, path)?;
    let properties = sink.properties();
    if let Some(bytes_max) = properties.bytes_max.filter(|most| *most < node.size) {
        let (path, sink) = (path.to_owned(), sink.path().to_owned());
        return Err(SinkError::TooSmall { path, len: node.size, sink, bytes_max });
    }
    let work = Work::new(context, reader, path, sink);
    if let Some(thaw) = options.thaw.as_ref().filter(|_| !options.dry_run) {
        reader.repository().thaw(context, &work.needed(&parts), thaw)?;
    }
    context.tell(&Event::Begin { stage: Stage::Restore, total: 1, bytes: node.size });
    if !options.dry_run {
        sink.begin(node.size).map_err(|source| {
            let sink = sink.path().to_owned();
            SinkError::Begin { sink, len: node.size, source }
        })?;
    }
    if properties.order == Order::Any {
        for parts in parts.chunks(PARTS_AT_ONCE) {
            let wanted = match properties.holds {
                Holds::Zeros => parts.to_vec(),
                Holds::Something => work.keep_what_is_right(parts)?,
            };
            if options.dry_run {
                work.wrote(wanted.iter().map(|part| part.len).sum());
            } else {
                work.write_packs(&wanted)?;
            }
        }
    } else if options.dry_run {
        work.wrote(node.size);
    } else {
        work.write_in_order(&parts)?;
    }
    if !options.dry_run {
        sink.finish().map_err(|source| {
            let sink = sink.path().to_owned();
            SinkError::Sync { sink, len: node.size, source }
        })?;
    }
    context.tell(&Event::Progress { stage: Stage::Restore, items: 1, bytes: 0 });
    context.tell(&Event::End { stage: Stage::Restore });
    let is_verified = options.verify && !options.dry_run && properties.order == Order::Any;
    if is_verified {
        work.verify(&parts)?;
    }
    Ok(SinkReport { is_verified, ..work.report() })
}

/// The parts of a file, in order.
fn parts(reader: &Reader, node: &Node, path: &Path) -> Result<Vec<Part>, SinkError> {
    if !node.is_file() {
        return Err(SinkError::Kind { path: path.to_owned(), kind: node.kind.clone() });
    }
    let mut offset = 0;
    let mut parts = Vec::with_capacity(node.content.as_ref().map_or(0, Vec::len));
    for &blob in node.content.iter().flatten() {
        let len = reader.index().opened_len(&blob.into()).ok_or_else(|| SinkError::Read {
            path: path.to_owned(),
            offset,
            source: ReadError::Unknown { blob: blob.into() }.into(),
        })?;
        parts.push(Part { blob, offset, len });
        offset += len;
    }
    if offset == node.size {
        return Ok(parts);
    }
    Err(SinkError::Length { path: path.to_owned(), stored: offset, said: node.size })
}

/// One file on its way into one sink.
struct Work<'a> {
    context: &'a Context,
    reader: &'a Reader,
    path: &'a Path,
    sink: &'a dyn Sink,
    threads: usize,
    written: AtomicU64,
    zeroed: AtomicU64,
    kept: AtomicU64,
}

impl<'a> Work<'a> {
    fn new(context: &'a Context, reader: &'a Reader, path: &'a Path, sink: &'a dyn Sink) -> Self {
        Self {
            context,
            reader,
            path,
            sink,
            threads: run::threads(context, reader),
            written: AtomicU64::new(0),
            zeroed: AtomicU64::new(0),
            kept: AtomicU64::new(0),
        }
    }

    fn needed(&self, parts: &[Part]) -> Needed {
        let index = self.reader.index();
        let places = parts.iter().filter_map(|part| index.place_of(&part.blob.into()));
        let packs: HashSet<PackId> = places.map(|place| place.pack).collect();
        Needed::of(&packs, index)
    }

    /// Compares parts with what the sink holds; gives those that differ.
    fn keep_what_is_right(&self, parts: &[Part]) -> Result<Vec<Part>, SinkError> {
        let differing = parallel::map(self.threads, parts.chunks(COMPARED_AT_ONCE).collect(), |parts| {
            let mut buffer = Vec::new();
            let mut differing = Vec::new();
            for part in parts {
                self.context.cancel.check()?;
                if self.is_right(part, &mut buffer) {
                    self.count(&self.kept, part.len);
                } else {
                    differing.push(*part);
                }
            }
            Ok::<_, SinkError>(differing)
        })?;
        Ok(differing.concat())
    }

    /// Whether the sink has the right bytes in the place of a part. What cannot be read is wrong.
    fn is_right(&self, part: &Part, buffer: &mut Vec<u8>) -> bool {
        let Ok(len) = usize::try_from(part.len) else { return false };
        buffer.resize(len, 0);
        self.sink.read_at(part.offset, buffer).is_ok_and(|read| read == len) && sha256(buffer) == part.blob.0
    }

    fn verify(&self, parts: &[Part]) -> Result<(), SinkError> {
        let bytes = parts.last().map_or(0, |part| part.offset + part.len);
        self.context.tell(&Event::Begin { stage: Stage::Verify, total: 1, bytes });
        parallel::map(self.threads, parts.chunks(COMPARED_AT_ONCE).collect(), |parts| {
            let mut buffer = Vec::new();
            for part in parts {
                self.context.cancel.check()?;
                if !self.is_right(part, &mut buffer) {
                    let sink = self.sink.path().to_owned();
                    return Err(SinkError::Differs { sink, offset: part.offset });
                }
                self.context.tell(&Event::Progress { stage: Stage::Verify, items: 0, bytes: part.len });
            }
            Ok(())
        })?;
        self.context.tell(&Event::End { stage: Stage::Verify });
        Ok(())
    }

    fn wrote(&self, bytes: u64) {
        self.count(&self.written, bytes);
    }

    fn count(&self, counter: &AtomicU64, bytes: u64) {
        counter.fetch_add(bytes, Ordering::Relaxed);
        self.context.tell(&Event::Progress { stage: Stage::Restore, items: 0, bytes });
    }

    fn report(&self) -> SinkReport {
        SinkReport {
            bytes_written: self.written.load(Ordering::Relaxed),
            bytes_zeroed: self.zeroed.load(Ordering::Relaxed),
            bytes_kept: self.kept.load(Ordering::Relaxed),
            is_verified: false,
        }
    }
}
