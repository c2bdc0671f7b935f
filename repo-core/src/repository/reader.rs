//! Blobs out: fetch, open, verify.
//!
//! A blob is accepted only when it hashes to its name. When one copy fails and the index knows another, that
//! one is tried.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::BackendError;
use crate::blob::{self, FEW, Opener, SealedBlob, next_few, trim};
use crate::context::Context;
use crate::format::{FormatError, Place, Tree};
use crate::id::{BlobId, PackId, TreeId};
use crate::index::Index;
use crate::pack::join;
use crate::repository::{IndexError, Repository};

/// Why a blob could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No index file lists it.
    #[error("{blob} is in no index")]
    Unknown {
        /// Which blob.
        blob: BlobId,
    },
    /// The stored bytes are not what they should be.
    #[error("{blob} in pack {pack} is damaged")]
    Damaged {
        /// Which blob.
        blob: BlobId,
        /// In which pack.
        pack: PackId,
        /// What is wrong.
        source: Box<blob::OpenError>,
    },
    /// The storage did not give it.
    #[error("cannot fetch {blob} from pack {pack}")]
    Fetch {
        /// Which blob.
        blob: BlobId,
        /// From which pack.
        pack: PackId,
        /// Why.
        source: BackendError,
    },
    /// The tree is authentic, but no tree.
    #[error("{tree} holds no valid tree")]
    Shape {
        /// Which tree.
        tree: TreeId,
        /// What is wrong.
        source: FormatError,
    },
}

/// Reads blobs of a repository. May be shared between threads.
///
/// ```
/// # use repo_core::snapshots::{self, Filter, Wanted};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// # let latest = snapshots::find(&context, &repository, &Wanted::LATEST, &Filter::default())?;
/// let reader = repository.reader(&context)?;
/// let root = reader.tree(latest.snapshot.tree)?;
/// let file = &root.nodes[0];
/// let first_chunk = file.content.as_ref().expect("a file has content")[0];
/// assert_eq!(reader.blob(&first_chunk.into())?, b"milk");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reader {
    repository: Repository,
    index: Arc<Index>,
    tools: Mutex<Vec<Tools>>,
}

/// A blob as one pack holds it: verified, and the bytes it was read from.
#[derive(Debug, Clone, Copy)]
pub struct StoredBlob<'a> {
    /// The content.
    pub plain: &'a [u8],
    /// The stored bytes.
    pub sealed: &'a [u8],
    /// Plain length in bytes if the blob is compressed.
    pub plain_len: Option<NonZeroU32>,
}

impl<'a> StoredBlob<'a> {
    fn new(plain: &'a [u8], sealed: &'a [u8], place: &Place) -> Self {
        Self { plain, sealed, plain_len: place.plain_len }
    }
}

/// What one thread needs to open blobs; kept for the next one.
struct Tools {
    opener: Opener,
    /// Many blobs as they are stored, and a few of them opened.
    fetched: Vec<u8>,
    plains: [Vec<u8>; FEW],
    /// One blob that was read alone.
    stored: Vec<u8>,
    plain: Vec<u8>,
}

impl Reader {
    /// A reader over what `index` lists.
    pub fn new(repository: &Repository, index: Arc<Index>) -> Self {
        Self { repository: repository.clone(), index, tools: Mutex::default() }
    }

    /// The repository it reads from.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Where it looks blobs up.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Reads one blob from the first copy that is sound.
    pub fn blob(&self, blob: &BlobId) -> Result<Vec<u8>, ReadError> {
        self.with_tools(|tools| self.read_any_copy(tools, blob).map(|()| std::mem::take(&mut tools.plain)))
    }

    /// Reads and parses one directory.
    pub fn tree(&self, tree: TreeId) -> Result<Tree, ReadError> {
        self.with_tools(|tools| {
            self.read_any_copy(tools, &tree.into())?;
            Tree::parse(&tools.plain).map_err(|source| ReadError::Shape { tree, source })
        })
    }

    /// Reads many blobs of one pack in few requests and hands each to `sink`, in the order they lie.
    ///
    /// A blob that cannot be had from this pack is tried from its other copies. The sink may end the reading
    /// with an error of its own.
    pub fn pack_blobs<T, E>(
        &self,
        pack: PackId,
        blobs: impl IntoIterator<Item = (BlobId, Place, T)>,
        mut sink: impl FnMut(T, Result<&[u8], ReadError>) -> Result<(), E>,
    ) -> Result<(), E> {
        // Whatever was wrong, the single read finds out precisely and knows the other copies.
        let again = |tools: &mut Tools, blob: &BlobId, _: &Place| self.read_any_copy(tools, blob);
        self.read_pack(pack, blobs, again, |mark, copy| sink(mark, copy.map(|copy| copy.plain)))
    }

    /// Reads many blobs of one pack in few requests and hands each to `sink`, opened and as it is stored.
    ///
    /// Only from this pack: whoever asks for a copy wants to know whether this one is sound.
    pub fn pack_copies<T, E>(
        &self,
        pack: PackId,
        blobs: impl IntoIterator<Item = (BlobId, Place, T)>,
        sink: impl FnMut(T, Result<StoredBlob<'_>, ReadError>) -> Result<(), E>,
    ) -> Result<(), E> {
        // A single read says precisely what is wrong, or was wrong only then.
        let again = |tools: &mut Tools, blob: &BlobId, place: &Place| self.read_copy(tools, blob, place);
        self.read_pack(pack, blobs, again, sink)
    }

    /// The reading of both: a few blobs at a time are opened and named side by side; those that fail are read once more
    /// by `again`, which leaves them in `tools.plain`.
    fn read_pack<T, E>(
        &self,
        pack: PackId,
        blobs: impl IntoIterator<Item = (BlobId, Place, T)>,
        again: impl Fn(&mut Tools, &BlobId, &Place) -> Result<(), ReadError>,
        mut sink: impl FnMut(T, Result<StoredBlob<'_>, ReadError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let wanted =
            blobs.into_iter().map(|(blob, place, mark)| (place.range(), (blob, place, mark))).collect();
        self.with_tools(|tools| {
            for read in join(wanted) {
                let mut fetched = std::mem::take(&mut tools.fetched);
                // What did not come is as wrong as what is damaged.
                if self.repository.backend.read(pack.into(), read.range.clone(), &mut fetched).is_err() {
                    fetched.clear();
                }
                let mut left = read.blobs.into_iter().peekable();
                while left.peek().is_some() {
                    let batch = next_few(&mut left, |(_, (_, place, _))| u64::from(place.opened_len()));
                    let stored: Vec<_> = batch
                        .iter()
                        .map(|(range, (blob, place, _))| SealedBlob {
                            blob: *blob,
                            sealed: part(&fetched, &read.range, range).unwrap_or_default(),
                            plain_len: place.plain_len,
                        })
                        .collect();
                    let opened = tools.opener.open_each(&stored, &mut tools.plains);
                    let copies = batch.into_iter().zip(&stored).zip(opened).enumerate();
                    for (number, (((_, (blob, place, mark)), stored), opened)) in copies {
                        let copy = if opened.is_ok() {
                            Ok(StoredBlob::new(&tools.plains[number], stored.sealed, &place))
                        } else {
                            let read = again(tools, &blob, &place);
                            read.map(|()| StoredBlob::new(&tools.plain, &tools.stored, &place))
                        };
                        sink(mark, copy)?;
                    }
                }
                tools.fetched = fetched;
            }
            Ok(())
        })
    }

    /// Leaves the blob in `tools.plain`.
    fn read_any_copy(&self, tools: &mut Tools, blob: &BlobId) -> Result<(), ReadError> {
        let mut first_error = None;
        for place in self.index.places(blob) {
            match self.read_copy(tools, blob, &place) {
                Ok(()) => return Ok(()),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or(ReadError::Unknown { blob: *blob }))
    }

    fn read_copy(&self, tools: &mut Tools, blob: &BlobId, place: &Place) -> Result<(), ReadError> {
        let pack = place.pack;
        self.repository
            .backend
            .read(pack.into(), place.range(), &mut tools.stored)
            .map_err(|source| ReadError::Fetch { blob: *blob, pack, source })?;
        tools
            .opener
            .open(blob, &tools.stored, place.plain_len, &mut tools.plain)
            .map_err(|source| ReadError::Damaged { blob: *blob, pack, source: source.into() })
    }

    fn with_tools<R>(&self, work: impl FnOnce(&mut Tools) -> R) -> R {
        let kept = self.tools.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut tools = kept.unwrap_or_else(|| Tools {
            opener: Opener::new(self.repository.key.clone())
                .with_data_len_max(self.repository.config.data_blob_bytes_max()),
            fetched: Vec::new(),
            plains: Default::default(),
            stored: Vec::new(),
            plain: Vec::new(),
        });
        let result = work(&mut tools);
        trim(&mut tools.plains);
        self.tools.lock().unwrap_or_else(PoisonError::into_inner).push(tools);
        result
    }
}

impl Repository {
    /// Loads the index and gives a reader over it: how most reading begins.
    ///
    /// The reader sees what was stored before this call. Unreadable index files are told as warnings.
    pub fn reader(&self, context: &Context) -> Result<Reader, IndexError> {
        Ok(Reader::new(self, self.load_index(context)?))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// The bytes of `inner` out of `bytes`, which hold `outer`.
fn part<'a>(bytes: &'a [u8], outer: &Range<u64>, inner: &Range<u64>) -> Option<&'a [u8]> {
    let start = usize::try_from(inner.start.checked_sub(outer.start)?).ok()?;
    let end = usize::try_from(inner.end.checked_sub(outer.start)?).ok()?;
    bytes.get(start..end)
}
