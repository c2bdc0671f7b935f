//! Dump: the content of a file, or of a folder with everything in it, in order.
//!
//! ```text
//! entries and their blobs ─batches→ workers (read ahead, few requests) ─in order→ the caller's archive or file
//! ```
//!
//! In: a file's node or a folder's tree. Out: entries and bytes, each file's right behind its entry. Bytes are
//! verified before they are handed on. Memory: batches of 64 MiB together, and per thread the stored bytes of
//! one read, at most 32 MiB. Never writes anywhere itself, never makes up bytes: what cannot be read is an error.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::context::{Cancelled, Context};
use crate::format::{Node, NodeKind, Place};
use crate::id::{BlobId, DataId, PackId, TreeId};
use crate::parallel;
use crate::repository::{ReadError, Reader};
use crate::walk::{self, Entry, LookupError, Walk, WalkError};

/// Bytes that are read ahead of the consumer.
const AHEAD_BYTES: u64 = 64 << 20;
/// A batch is full when its different blobs are so many bytes …
const BATCH_BYTES: u64 = 4 << 20;
/// … or when it has so many entries and blobs.
const BATCH_STEPS: usize = 1024;
/// What an entry weighs, content aside: its node and path.
const ENTRY_BYTES: u64 = 1 << 10;

/// Why something could not be dumped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// There is nothing at the path.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is neither a file nor a folder.
    #[error("{} is a {}, neither a file nor a folder", path.display(), kind.word())]
    Kind {
        /// What was asked for.
        path: PathBuf,
        /// What it is.
        kind: NodeKind,
    },
    /// A folder cannot be entered.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// A part of a file's content cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<ReadError>,
    },
    /// The bytes could not be handed on.
    #[error("cannot write the content of {}", path.display())]
    Write {
        /// Of which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What there is to dump at a path.
#[derive(Debug, Clone)]
pub enum Target {
    /// A regular file.
    File(Box<Node>),
    /// A folder, or the root.
    Folder(TreeId),
}

/// Finds what lies at `path` below `root`.
///
/// Returns [`DumpError::Kind`] for what has no content, such as symbolic links and devices.
pub fn target(reader: &Reader, root: TreeId, path: &Path) -> Result<Target, DumpError> {
    match walk::lookup(reader, root, path)? {
        None => Ok(Target::Folder(root)),
        Some(node) if node.is_file() => Ok(Target::File(Box::new(node))),
        Some(node) if node.is_dir() => Ok(Target::Folder(walk::lookup_dir(reader, root, path)?)),
        Some(node) => Err(DumpError::Kind { path: path.to_owned(), kind: node.kind }),
    }
}

/// Writes a file's content to `out`. The path is for messages.
///
/// Returns [`DumpError::Read`] at the first blob that cannot be had; everything before it was written.
///
/// ```
/// use std::path::Path;
///
/// use repo_core::ops::query::dump::{self, Target};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// # let latest = repo_core::snapshots::list(&context, &repository)?.pop().expect("there is one");
///
/// let reader = repository.reader(&context)?;
/// let path = Path::new("/note.txt");
/// let mut content = Vec::new();
/// if let Target::File(node) = dump::target(&reader, latest.snapshot.tree, path)? {
///     dump::file(&context, &reader, path, &node, &mut content)?;
/// }
/// assert_eq!(content, b"milk");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn file(
    context: &Context,
    reader: &Reader,
    path: &Path,
    node: &Node,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    let content = node.content.clone().unwrap_or_default();
    let steps = content.into_iter().map(|id| Ok(Step::Blob(id)));
    run(context, reader, steps, path.to_owned(), |piece| match piece {
        Piece::Entry { .. } => Ok(()),
        Piece::Bytes(bytes) => {
            out.write_all(bytes).map_err(|source| DumpError::Write { path: path.to_owned(), source })
        }
    })
}

/// One thing of a folder.
#[derive(Debug)]
pub enum Piece<'a> {
    /// An entry; a file's content follows.
    Entry {
        /// The entry; a file's without the list of its blobs.
        entry: &'a Entry,
        /// Bytes that follow: what the file's blobs hold, whatever the node says.
        len: u64,
    },
    /// The next bytes of the file whose entry came last.
    Bytes(&'a [u8]),
}

/// Hands everything below a folder to `sink`, in stored order; paths begin with `base`.
///
/// Ends at the first thing that cannot be read, or at the sink's own error.
pub fn folder<E: From<DumpError>>(
    context: &Context,
    reader: &Reader,
    tree: TreeId,
    base: impl Into<PathBuf>,
    sink: impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let base = base.into();
    let steps =
        Walk::new(reader, tree, base.clone()).reading_ahead().flat_map(|entry| steps_of(reader, entry));
    run(context, reader, steps, base, sink)
}

/// One thing to hand on.
#[derive(Debug)]
enum Step {
    Entry(Box<Entry>, u64),
    Blob(DataId),
}

/// An entry and, if it is a file, its blobs.
fn steps_of(
    reader: &Reader,
    entry: Result<Entry, WalkError>,
) -> impl Iterator<Item = Result<Step, DumpError>> + use<> {
    let (first, content) = match entry {
        Ok(mut entry) => {
            let content = if entry.node.is_file() { entry.node.content.take() } else { None };
            let content = content.unwrap_or_default();
            match content_len(reader, &content) {
                Ok(len) => (Ok(Step::Entry(Box::new(entry), len)), content),
                Err(source) => (Err(DumpError::Read { path: entry.path, source: source.into() }), Vec::new()),
            }
        }
        Err(error) => (Err(error.into()), Vec::new()),
    };
    std::iter::once(first).chain(content.into_iter().map(|id| Ok(Step::Blob(id))))
}

fn content_len(reader: &Reader, content: &[DataId]) -> Result<u64, ReadError> {
    let len = |id: &DataId| {
        let blob = BlobId::from(*id);
        reader.index().opened_len(&blob).ok_or(ReadError::Unknown { blob })
    };
    content.iter().map(len).sum()
}

/// Reads ahead in batches and hands everything on in order.
fn run<E: From<DumpError>>(
    context: &Context,
    reader: &Reader,
    steps: impl Iterator<Item = Result<Step, DumpError>> + Send,
    mut path: PathBuf,
    mut sink: impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let threads = reader.repository().backend().properties().connections.max(parallel::cores());
    let fetch = |batch: Batch| batch.fetch(context, reader);
    let weigh = |batch: &Batch| batch.bytes;
    parallel::ordered(threads, AHEAD_BYTES, Batches { reader, steps }, weigh, fetch, |fetched| {
        context.cancel.check().map_err(DumpError::from)?;
        let Fetched { steps, mut blobs } = fetched;
        for step in steps {
            match step? {
                Step::Entry(entry, len) => {
                    sink(Piece::Entry { entry: &entry, len })?;
                    path = entry.path;
                }
                Step::Blob(id) => {
                    let Some(Ok(bytes)) = blobs.get(&id) else {
                        let source = lost(&mut blobs, id).into();
                        return Err(DumpError::Read { path: path.clone(), source }.into());
                    };
                    sink(Piece::Bytes(bytes))?;
                }
            }
        }
        Ok(())
    })
}

fn lost(blobs: &mut Blobs, id: DataId) -> ReadError {
    match blobs.remove(&id) {
        Some(Err(error)) => error,
        _ => ReadError::Unknown { blob: id.into() },
    }
}

/// Cuts steps into batches.
struct Batches<'a, I> {
    reader: &'a Reader,
    steps: I,
}

impl<I: Iterator<Item = Result<Step, DumpError>>> Iterator for Batches<'_, I> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch { steps: Vec::new(), places: HashMap::new(), bytes: 0 };
        while batch.bytes < BATCH_BYTES && batch.steps.len() < BATCH_STEPS {
            let Some(step) = self.steps.next() else { break };
            batch.add(self.reader, step);
        }
        (!batch.steps.is_empty()).then_some(batch)
    }
}

/// What is fetched at once.
struct Batch {
    steps: Vec<Result<Step, DumpError>>,
    /// Where the different blobs lie. Equal ones, such as runs of zeros, are fetched once.
    places: HashMap<DataId, Option<Place>>,
    /// What it takes in memory.
    bytes: u64,
}

impl Batch {
    fn add(&mut self, reader: &Reader, step: Result<Step, DumpError>) {
        match &step {
            Ok(Step::Blob(id)) => {
                self.places.entry(*id).or_insert_with(|| {
                    let place = reader.index().place_of(&BlobId::from(*id));
                    self.bytes += place.map_or(0, |place| u64::from(place.opened_len()));
                    place
                });
            }
            _ => self.bytes += ENTRY_BYTES,
        }
        self.steps.push(step);
    }

    fn fetch(self, context: &Context, reader: &Reader) -> Fetched {
        let mut packs: BTreeMap<PackId, Vec<(BlobId, Place, DataId)>> = BTreeMap::new();
        for (id, place) in self.places {
            if let Some(place) = place {
                packs.entry(place.pack).or_default().push((id.into(), place, id));
            }
        }
        let mut blobs = Blobs::new();
        for (pack, wanted) in packs {
            if context.cancel.is_cancelled() {
                break; // nobody looks at what is missing
            }
            let Ok(()) = reader.pack_blobs(pack, wanted, |id, bytes| {
                blobs.insert(id, bytes.map(<[u8]>::to_vec));
                Ok::<_, Infallible>(())
            });
        }
        Fetched { steps: self.steps, blobs }
    }
}

type Blobs = HashMap<DataId, Result<Vec<u8>, ReadError>>;

struct Fetched {
    steps: Vec<Result<Step, DumpError>>,
    blobs: Blobs,
}
