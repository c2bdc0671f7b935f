//! Blobs in: look up, seal, collect in packs, upload, and list them in new index files.
//!
//! ```text
//! BlobWriter (one per worker thread)            uploader threads (as many as connections)
//!   claim → seal into one of two open packs ─four full packs→ name → queue, bounded in bytes → store → new index file
//! ```
//!
//! Nothing waits for the storage but the uploaders, and whoever fills the queue faster than they empty it.
//! An index file lists only packs that are stored. Memory: two open packs per kind and worker, at most three that wait
//! for their names, and [`Writer::start`] says how many that wait or are being uploaded.

use std::fmt;
use std::mem;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::backend::BackendError;
use crate::blob::{SealError, SealPolicy, Sealed, Sealer};
use crate::compress::Compression;
use crate::context::{Cancelled, Context, MemoryLimit, Random};
use crate::format::{IndexFile, IndexedPack, PackHeader};
use crate::id::{BlobId, BlobKind, IndexId, PackId};
use crate::index::{BlobSet, Index, Pending};
use crate::pack::{FinishedPack, PackBuilder, PackSize, SealedPack};
use crate::parallel::{self, Queue};
use crate::repository::commit::Relied;
use crate::repository::rewrite_index::INDEX_BLOBS_MAX;
use crate::repository::{RecordError, Repository};

/// An index file is stored once it is so old.
const INDEX_AGE_MAX: Duration = Duration::from_mins(10);

/// Open packs per kind and worker, where there is memory. A blob goes into a random one of them, so that the order of
/// sizes in a pack says less about the files.
const OPEN_PACKS: usize = 2;

/// Packs that wait for an upload or are being uploaded, by the target size, where few connections are useful.
const UPLOADS_MIN: u64 = 3;

/// All packs that wait for an upload or are being uploaded hold so many bytes at most, however many connections
/// there are; [`UPLOADS_MIN`] always fit.
const UPLOAD_BYTES_MAX: u64 = 256 << 20;

/// Full packs that wait to be named hold about so many bytes at most.
const UNNAMED_BYTES_MAX: usize = 64 << 20;

/// Room in a pack's buffer beyond the target size: one data blob of 8 MiB, and a header.
const BEYOND_TARGET: usize = 9 << 20;

/// How blobs are stored.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// How hard to compress; repositories of version 1 never do.
    pub compression: Compression,
    /// Target size of packs.
    pub pack_size: PackSize,
    /// Open every sealed blob again and compare before it is uploaded.
    pub verify: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { compression: Compression::Auto, pack_size: PackSize::default(), verify: true }
    }
}

/// Why blobs could not be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Sealing failed its own check.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A pack could not be stored.
    #[error("cannot store a pack")]
    Pack(#[source] BackendError),
    /// An index file could not be stored.
    #[error("cannot store an index file")]
    Index(#[source] RecordError),
    /// The writer stopped because of an error that [`Writer::finish`] returns.
    #[error("the writer has stopped")]
    Stopped,
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The repository has it already, or somebody in this run stores it.
    Known,
    /// It is new and takes so many bytes, its entry in the pack's header included.
    New {
        /// Stored bytes.
        packed: u64,
    },
}

/// Proof that everything handed to a [`Writer`] is durable and listed: packs, then index.
#[derive(Debug)]
pub struct Receipt {
    /// Packs stored.
    pub packs: u64,
    /// Bytes stored in packs.
    pub pack_bytes: u64,
    /// Index files stored.
    pub index_files: u64,
    relied: Option<Relied>,
}

impl Receipt {
    /// What was relied on and stored; given once.
    pub(crate) fn take_relied(&mut self) -> Option<Relied> {
        self.relied.take()
    }
}

/// Stores blobs. Make one [`BlobWriter`] per worker thread, [`flush`](BlobWriter::flush) each, then
/// [`finish`](Self::finish).
///
/// ```
/// use repo_core::hash::sha256;
/// use repo_core::id::{BlobId, BlobKind};
/// use repo_core::repository::{Saved, Writer, WriterOptions};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
///
/// let writer = Writer::start(&context, &repository, repository.load_index(&context)?, WriterOptions::default());
/// let mut blobs = writer.blob_writer();
/// let chunk = b"some bytes";
/// let name = BlobId { kind: BlobKind::Data, id: sha256(chunk) };
/// assert!(matches!(blobs.save(&name, chunk)?, Saved::New { .. }));
/// assert_eq!(blobs.save(&name, chunk)?, Saved::Known);
/// blobs.flush();
/// assert_eq!(writer.finish()?.packs, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    uploaders: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    repository: Repository,
    context: Context,
    options: WriterOptions,
    room: Room,
    /// Which blobs of the index the run relies on.
    relied: Arc<BlobSet>,
    pending: Arc<Pending>,
    stored: Mutex<Stored>,
    queue: Queue<FinishedPack>,
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Full packs that wait for others, to be named with them.
    unnamed: Mutex<Vec<SealedPack>>,
    part_filled: Mutex<Vec<(BlobKind, PackBuilder)>>,
    open_index: Mutex<OpenIndex>,
    error: Mutex<Option<WriteError>>,
    pack_bytes: AtomicU64,
}

/// What was stored, by name.
#[derive(Debug, Default)]
struct Stored {
    packs: Vec<PackId>,
    index_files: Vec<IndexId>,
}

/// The index file that is being filled.
#[derive(Debug, Default)]
struct OpenIndex {
    packs: Vec<IndexedPack>,
    blobs: usize,
    since: Duration,
}

impl Writer {
    /// Starts the uploaders. Blobs that `index` lists are known.
    pub fn start(
        context: &Context,
        repository: &Repository,
        index: Arc<Index>,
        options: WriterOptions,
    ) -> Self {
        let connections = repository.backend.properties().connections.max(1);
        let room = Room::of(context.memory, connections, options.pack_size);
        let shared = Arc::new(Shared {
            repository: repository.clone(),
            context: context.clone(),
            relied: Arc::new(BlobSet::new(index)),
            pending: Arc::default(),
            stored: Mutex::default(),
            queue: Queue::new(room.upload_bytes),
            options,
            room,
            buffers: Mutex::default(),
            unnamed: Mutex::default(),
            part_filled: Mutex::default(),
            open_index: Mutex::default(),
            error: Mutex::default(),
            pack_bytes: AtomicU64::new(0),
        });
        let uploaders = (0..connections)
            .map(|_| {
                let shared = shared.clone();
                parallel::spawn("upload", move || shared.upload())
            })
            .collect();
        Self { shared, uploaders }
    }

    /// What one worker thread needs to hand blobs over.
    pub fn blob_writer(&self) -> BlobWriter {
        let options = &self.shared.options;
        let policy = SealPolicy {
            version: self.shared.repository.config.version,
            compression: options.compression,
            verify: options.verify,
        };
        BlobWriter {
            sealer: Sealer::new(self.shared.repository.key.clone(), policy),
            open: Default::default(),
            shared: self.shared.clone(),
        }
    }

    /// Whether the repository has a blob or this run stores it.
    pub fn knows(&self, blob: &BlobId) -> bool {
        self.shared.knows(blob)
    }

    /// Whether the index lists a blob. If it does, whatever is made visible at the end relies on it.
    pub fn rely(&self, blob: &BlobId) -> bool {
        self.shared.relied.insert_listed(blob)
    }

    /// How many bytes of packs a [`BlobWriter`] fills at a time, trees not counted.
    pub(crate) fn open_bytes(&self) -> u64 {
        (self.shared.room.open_packs * self.shared.options.pack_size.bytes()) as u64
    }

    /// Memory for a whole pack; what was stored gives its own back.
    pub(crate) fn pack_buffer(&self) -> Vec<u8> {
        lock(&self.shared.buffers).pop().unwrap_or_default()
    }

    /// Stores a pack as it is. The caller has verified it, and nobody has saved any of its blobs to this writer.
    pub(crate) fn save_pack(&self, pack: FinishedPack) -> Result<(), WriteError> {
        for blob in &pack.content.blobs {
            self.shared.pending.claim(blob.blob_id());
        }
        let bytes = pack.bytes.len() as u64;
        self.shared.queue.push(pack, bytes).map_err(|_| WriteError::Stopped)
    }

    pub(super) fn options(&self) -> &WriterOptions {
        &self.shared.options
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.shared.repository
    }

    /// Stores what is left and waits until packs, then index, are durable.
    ///
    /// Every [`BlobWriter`] was flushed before. The first error of the run is returned here.
    pub fn finish(mut self) -> Result<Receipt, WriteError> {
        let shared = self.shared.clone();
        let merged = shared.enqueue_the_last();
        shared.queue.close();
        for uploader in mem::take(&mut self.uploaders) {
            parallel::join(uploader);
        }
        if let Some(error) = shared.take_error() {
            return Err(error);
        }
        merged?;
        shared.context.cancel.check()?;
        let last = mem::take(&mut *lock(&shared.open_index));
        shared.save_index(last)?;
        Ok(shared.receipt())
    }
}

impl Drop for Writer {
    /// Gives up: what is queued is dropped, what is stored stays behind unlisted and harmless.
    fn drop(&mut self) {
        self.shared.queue.abandon();
        for uploader in mem::take(&mut self.uploaders) {
            // A panic of an uploader was met in `finish`, or nobody waits for the result.
            drop(uploader.join());
        }
    }
}

impl Shared {
    fn knows(&self, blob: &BlobId) -> bool {
        self.relied.lists(blob) || self.pending.contains(blob)
    }

    fn receipt(&self) -> Receipt {
        let Stored { packs, index_files } = mem::take(&mut *lock(&self.stored));
        let pack_bytes = self.pack_bytes.load(Ordering::Relaxed);
        let (pack_count, file_count) = (packs.len() as u64, index_files.len() as u64);
        let (listed, stored) = (self.relied.clone(), self.pending.clone());
        let relied = Some(Relied { listed, stored, packs, index_files });
        Receipt { packs: pack_count, pack_bytes, index_files: file_count, relied }
    }

    /// Takes a full pack; once there are enough of them, they are named side by side and queued.
    fn take_full(&self, pack: SealedPack) -> Result<(), WriteError> {
        let mut unnamed = lock(&self.unnamed);
        unnamed.push(pack);
        if unnamed.len() < self.room.named_at_once {
            return Ok(());
        }
        let together = mem::take(&mut *unnamed);
        drop(unnamed);
        self.enqueue(together)
    }

    /// Names packs and queues them.
    fn enqueue(&self, packs: Vec<SealedPack>) -> Result<(), WriteError> {
        SealedPack::name_each(packs).try_for_each(|pack| {
            let bytes = pack.bytes.len() as u64;
            self.queue.push(pack, bytes).map_err(|_| WriteError::Stopped)
        })
    }

    /// The story of an uploader: store a pack, then list it, until the queue is closed and empty.
    fn upload(&self) {
        while let Some(mut held) = self.queue.pop_held() {
            let Some(pack) = held.take() else { continue };
            if let Err(error) = self.store(pack) {
                lock(&self.error).get_or_insert(error);
                self.queue.abandon();
            }
        }
    }

    fn store(&self, pack: FinishedPack) -> Result<(), WriteError> {
        self.context.cancel.check()?;
        let FinishedPack { bytes, content } = pack;
        if content.blobs.iter().any(|blob| blob.kind == BlobKind::Tree) {
            self.repository.backend.hint_trees(&[content.id]);
        }
        self.repository.backend.write(content.id.into(), &bytes).map_err(WriteError::Pack)?;
        lock(&self.stored).packs.push(content.id);
        self.pack_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        lock(&self.buffers).push(bytes);
        self.list(content).map_or(Ok(()), |full| self.save_index(full))
    }

    /// Adds a stored pack to the open index file and gives that back once it is full or old.
    fn list(&self, pack: IndexedPack) -> Option<OpenIndex> {
        let now = self.context.clock.elapsed();
        let mut open = lock(&self.open_index);
        if open.packs.is_empty() {
            open.since = now;
        }
        open.blobs += pack.blobs.len();
        open.packs.push(pack);
        let full = open.blobs >= INDEX_BLOBS_MAX || now.saturating_sub(open.since) >= INDEX_AGE_MAX;
        full.then(|| mem::take(&mut *open))
    }

    fn save_index(&self, open: OpenIndex) -> Result<(), WriteError> {
        if open.packs.is_empty() {
            return Ok(());
        }
        let file = IndexFile { packs: open.packs, ..IndexFile::default() };
        let id = self.repository.save(&self.context, &file).map_err(WriteError::Index)?;
        lock(&self.stored).index_files.push(id);
        Ok(())
    }

    /// Joins part-filled packs of a kind while they stay under the target, and queues them with what else is left.
    fn enqueue_the_last(&self) -> Result<(), WriteError> {
        let mut left = mem::take(&mut *lock(&self.part_filled));
        // Largest first: each takes in as many small ones as fit.
        left.sort_by_key(|(kind, pack)| (*kind, std::cmp::Reverse(pack.len())));
        let mut merged: Vec<(BlobKind, PackBuilder)> = Vec::new();
        for (kind, pack) in left {
            let room = merged.iter_mut().find(|(other_kind, other)| {
                *other_kind == kind && other.len() + pack.len() <= self.options.pack_size.bytes()
            });
            match room {
                Some((_, other)) => other.append(&pack),
                None => merged.push((kind, pack)),
            }
        }
        let mut last = mem::take(&mut *lock(&self.unnamed));
        let random = self.context.random.as_ref();
        last.extend(merged.into_iter().map(|(_, pack)| pack.seal(&self.repository.key, random)));
        self.enqueue(last)
    }

    fn take_error(&self) -> Option<WriteError> {
        lock(&self.error).take()
    }
}

/// Hands blobs to a [`Writer`]; belongs to one thread.
pub struct BlobWriter {
    shared: Arc<Shared>,
    sealer: Sealer,
    open: [[Option<PackBuilder>; OPEN_PACKS]; 2],
}

impl BlobWriter {
    /// Whether the repository has a blob or this run stores it.
    pub fn knows(&self, blob: &BlobId) -> bool {
        self.shared.knows(blob)
    }

    /// Stores a blob unless it is known. `blob` is the hash of `plain`, made by the caller.
    pub fn save(&mut self, blob: &BlobId, plain: &[u8]) -> Result<Saved, WriteError> {
        self.add(blob, |pack, sealer, random| pack.add(sealer, random, blob, plain))
    }

    /// Stores a blob that is sealed already, as it is, unless it is known. The caller opened it and compared it
    /// with its name.
    pub fn save_sealed(
        &mut self,
        blob: &BlobId,
        sealed: &[u8],
        plain_len: Option<NonZeroU32>,
    ) -> Result<Saved, WriteError> {
        let too_long = SealError::TooLong { blob: *blob, len: sealed.len() };
        let len = u32::try_from(sealed.len()).map_err(|_| too_long)?;
        self.add(blob, |pack, _, _| {
            pack.add_sealed(blob, sealed, plain_len);
            Ok(Sealed { len, plain_len })
        })
    }

    /// Claims a blob, lets `fill` put it into an open pack, and queues the pack once it is full.
    fn add(
        &mut self,
        blob: &BlobId,
        fill: impl FnOnce(&mut PackBuilder, &mut Sealer, &dyn Random) -> Result<Sealed, SealError>,
    ) -> Result<Saved, WriteError> {
        if self.shared.relied.insert_listed(blob) || !self.shared.pending.claim(*blob) {
            return Ok(Saved::Known);
        }
        let random = self.shared.context.random.as_ref();
        let target = self.shared.options.pack_size.bytes();
        let slot = &mut self.open[kind_number(blob.kind)][choose(random, self.shared.room.open_packs)];
        let pack = slot.get_or_insert_with(|| {
            let kept = lock(&self.shared.buffers).pop();
            // Allocated once for the run and only touched as far as it is filled: the target, the blob that
            // goes over it, and the header.
            PackBuilder::new(kept.unwrap_or_else(|| Vec::with_capacity(target + BEYOND_TARGET)))
        });
        let sealed = fill(pack, &mut self.sealer, random)?;
        let packed = u64::from(sealed.len) + u64::from(PackHeader::entry_len(sealed.plain_len));
        if pack.is_full(target)
            && let Some(full) = slot.take()
        {
            self.shared.take_full(full.seal(&self.shared.repository.key, random))?;
        }
        Ok(Saved::New { packed })
    }

    /// Gives the part-filled packs to the writer, which merges them with those of the other workers.
    pub fn flush(self) {
        let Self { shared, open, sealer: _ } = self;
        let mut part_filled = lock(&shared.part_filled);
        for (kind, packs) in [BlobKind::Data, BlobKind::Tree].into_iter().zip(open) {
            part_filled.extend(packs.into_iter().flatten().map(|pack| (kind, pack)));
        }
    }
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter").field("open", &self.open).finish_non_exhaustive()
    }
}

/// How many bytes of packs wait for an upload or are being uploaded: one pack for each connection, and one that is
/// next.
fn upload_bytes_max(connections: usize, pack_size: PackSize) -> u64 {
    let pack = pack_size.bytes() as u64;
    let wanted = (connections as u64).saturating_add(1).saturating_mul(pack);
    wanted.min(UPLOAD_BYTES_MAX).max(UPLOADS_MIN * pack)
}

/// How many full packs are named side by side: four, which keeps all lanes of the hash busy, but fewer when they are large.
fn named_at_once(pack_size: PackSize) -> usize {
    (UNNAMED_BYTES_MAX / pack_size.bytes()).clamp(1, 4)
}

/// How many packs a writer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    /// Open packs of each kind for each worker.
    open_packs: usize,
    /// Full packs that wait for each other.
    named_at_once: usize,
    /// Bytes of packs that wait for an upload or are being uploaded.
    upload_bytes: u64,
}

impl Room {
    /// What there is memory for. What costs the least speed goes first: uploads ahead, then names side by side.
    fn of(memory: MemoryLimit, connections: usize, pack_size: PackSize) -> Self {
        let pack = pack_size.bytes() as u64;
        let full = Self {
            open_packs: OPEN_PACKS,
            named_at_once: named_at_once(pack_size),
            upload_bytes: upload_bytes_max(connections, pack_size),
        };
        let few = Self { upload_bytes: full.upload_bytes.min(UPLOADS_MIN * pack), ..full };
        let pairs = Self { named_at_once: full.named_at_once.min(2), ..few };
        let narrow = Self { open_packs: 1, upload_bytes: 2 * pack, ..pairs };
        let least = Self { open_packs: 1, named_at_once: 1, upload_bytes: pack };
        let held = |room: &Self| {
            (parallel::cores() * room.open_packs + room.named_at_once - 1) as u64 * pack + room.upload_bytes
        };
        let fits = |room: &Self| memory.allows(held(room)) == held(room);
        [full, few, pairs, narrow].into_iter().find(fits).unwrap_or(least)
    }
}

fn kind_number(kind: BlobKind) -> usize {
    match kind {
        BlobKind::Data => 0,
        BlobKind::Tree => 1,
    }
}

/// A random open pack.
fn choose(random: &dyn Random, open_packs: usize) -> usize {
    let mut byte = [0];
    random.fill(&mut byte);
    usize::from(byte[0]) % open_packs.clamp(1, OPEN_PACKS)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_under_way_grow_with_the_connections_up_to_a_limit() {
        let check = |connections, pack_mib, expected_mib: u64| {
            let pack_size = PackSize::from_mib(pack_mib).unwrap();
            let max = upload_bytes_max(connections, pack_size);
            assert_eq!(max, expected_mib << 20, "{connections} × {pack_mib} MiB");
        };
        check(1, 16, 48);
        check(2, 16, 48);
        check(5, 16, 96);
        check(50, 16, 256);
        check(usize::MAX, 16, 256);
        check(5, 128, 384);
        check(5, 4, 24);
    }

    #[test]
    fn packs_that_are_held_become_fewer_with_less_memory_and_one_of_everything_is_left() {
        let pack = PackSize::default();
        let held = |mib: u64| Room::of(MemoryLimit::bytes(mib << 20), 5, pack);
        assert_eq!(Room::of(MemoryLimit::default(), 5, pack).named_at_once, 4);
        let rooms: Vec<Room> = (100..1000).map(held).collect();
        assert!(rooms.is_sorted_by_key(|room| (room.open_packs, room.named_at_once, room.upload_bytes)));
        assert_eq!(rooms[0], Room { open_packs: 1, named_at_once: 1, upload_bytes: 16 << 20 });
        assert_eq!(rooms[899], Room::of(MemoryLimit::default(), 5, pack));
    }
}
