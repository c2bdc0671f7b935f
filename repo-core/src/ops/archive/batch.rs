//! What readers hand to workers: chunks of many files in one piece of memory.
//!
//! A large arena holds one longest chunk, 8 MiB with restic's chunker; a small one 1 MiB of small files. Arenas
//! are kept for the whole run.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::context::Added;
use crate::format::Node;
use crate::id::DataId;
use crate::ops::archive::directory::Slot;
use crate::parallel::{Closed, Queue};

/// A reused piece of memory.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) bytes: Vec<u8>,
    pub(super) size: ArenaSize,
}

/// Small files gather in small arenas, pieces of large files take large ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArenaSize {
    /// [`SMALL_ARENA_BYTES`].
    Small,
    /// As long as the longest chunk.
    Large,
}

impl ArenaSize {
    /// For a file of about so many bytes.
    pub(super) fn for_file(bytes: u64) -> Self {
        if bytes >= SMALL_ARENA_BYTES as u64 { Self::Large } else { Self::Small }
    }
}

/// Files below this length are gathered with others.
pub(super) const SMALL_ARENA_BYTES: usize = 1 << 20;

/// The arenas of a run.
#[derive(Debug)]
pub(super) struct Arenas {
    small: Queue<Arena>,
    large: Queue<Arena>,
}

impl Arenas {
    pub(super) fn new(small_count: usize, large_count: usize, chunk_len_max: usize) -> Self {
        let fill = |count, len, size| {
            let arenas = Queue::new(u64::MAX);
            for _ in 0..count {
                // Not closed yet, never full.
                let _ = arenas.push(Arena { bytes: vec![0; len], size }, 0);
            }
            arenas
        };
        Self {
            small: fill(small_count, SMALL_ARENA_BYTES, ArenaSize::Small),
            large: fill(large_count, chunk_len_max, ArenaSize::Large),
        }
    }

    /// Takes an arena that is free; waits for one. The newest first: its memory was touched already.
    pub(super) fn take(&self, size: ArenaSize) -> Option<Arena> {
        self.of(size).pop_newest()
    }

    pub(super) fn give_back(&self, arena: Arena) -> Result<(), Closed> {
        self.of(arena.size).push(arena, 0)
    }

    pub(super) fn abandon(&self) {
        self.small.abandon();
        self.large.abandon();
    }

    fn of(&self, size: ArenaSize) -> &Queue<Arena> {
        match size {
            ArenaSize::Small => &self.small,
            ArenaSize::Large => &self.large,
        }
    }
}

/// Chunks ready to be named and stored.
#[derive(Debug)]
pub(super) struct Batch {
    /// Whose arena it is.
    pub(super) lane: usize,
    pub(super) arena: Arena,
    pub(super) chunks: Vec<Chunk>,
}

/// One chunk of a file.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) file: Arc<FileAtWork>,
    /// Its place in the file's content.
    pub(super) at: usize,
    pub(super) bytes: ChunkBytes,
}

/// Where the bytes of a chunk are.
#[derive(Debug)]
pub(super) enum ChunkBytes {
    /// In the batch's arena.
    Arena(Range<usize>),
    /// So many zeros, from a hole that was not read.
    Zeros(usize),
}

impl ChunkBytes {
    /// The bytes in the arena; none for zeros, which are not there.
    pub(super) fn of<'a>(&self, arena: &'a Arena) -> &'a [u8] {
        match self {
            Self::Arena(range) => arena.bytes.get(range.clone()).unwrap_or_default(),
            Self::Zeros(_) => &[],
        }
    }
}

/// Where a file goes in one of the drafts.
#[derive(Debug)]
pub(super) struct Place {
    /// Which one.
    pub(super) draft: usize,
    /// The parent snapshot's entry.
    pub(super) before: Option<Node>,
    open: Mutex<Option<(Slot, Added)>>,
}

impl Place {
    pub(super) fn new(draft: usize, slot: Slot, before: Option<Node>) -> Self {
        Self { draft, before, open: Mutex::new(Some((slot, Added::default()))) }
    }

    /// Counts what a chunk has added there.
    pub(super) fn add(&self, more: Added) {
        if let Some((_, added)) = &mut *lock(&self.open) {
            *added += more;
        }
    }

    /// The slot, for whoever fills it, and what was added.
    pub(super) fn take(&self) -> Option<(Slot, Added)> {
        lock(&self.open).take()
    }
}

/// A file between its opening and its entries, for all who want it and cut it alike.
#[derive(Debug)]
pub(super) struct FileAtWork {
    pub(super) places: Vec<Place>,
    /// When it was opened.
    pub(super) since: Duration,
    content: Mutex<Content>,
    /// Chunks at work, and one more while the file is being read.
    open: AtomicUsize,
    failed: AtomicBool,
}

/// What is known of a file's content.
#[derive(Debug)]
struct Content {
    /// The entry, still without content; taken by whoever finishes the file.
    node: Option<Node>,
    ids: Vec<Option<DataId>>,
    bytes: u64,
}

impl FileAtWork {
    pub(super) fn new(node: Node, places: Vec<Place>, since: Duration) -> Arc<Self> {
        Arc::new(Self {
            places,
            since,
            content: Mutex::new(Content { node: Some(node), ids: Vec::new(), bytes: 0 }),
            open: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
        })
    }

    /// The drafts that want it.
    pub(super) fn drafts(&self) -> impl Iterator<Item = usize> {
        self.places.iter().map(|place| place.draft)
    }

    /// Reserves the place of the next chunk of so many bytes.
    pub(super) fn add_chunk(&self, bytes: usize) -> usize {
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut content = lock(&self.content);
        content.ids.push(None);
        content.bytes += bytes as u64;
        content.ids.len() - 1
    }

    /// Adds a chunk that is known by its name already.
    pub(super) fn add_known(&self, id: DataId, bytes: u64) {
        let mut content = lock(&self.content);
        content.ids.push(Some(id));
        content.bytes += bytes;
    }

    /// Names a chunk. `true` if that finishes the file.
    #[must_use = "whoever finishes a file fills its slots"]
    pub(super) fn name_chunk(&self, at: usize, id: DataId) -> bool {
        if let Some(name) = lock(&self.content).ids.get_mut(at) {
            *name = Some(id);
        }
        self.close()
    }

    /// Says that the file was read to its end. `true` if that finishes it.
    #[must_use = "whoever finishes a file fills its slots"]
    pub(super) fn end(&self) -> bool {
        self.close()
    }

    /// Says that reading failed: the file gets no entry, whatever becomes of its chunks.
    #[must_use = "whoever finishes a file fills its slots"]
    pub(super) fn fail(&self) -> bool {
        self.failed.store(true, Ordering::Release);
        self.close()
    }

    /// The finished file's entry, none if reading failed, and how many bytes were read.
    pub(super) fn take(&self) -> (Option<Node>, u64) {
        let mut content = lock(&self.content);
        let (node, ids, bytes) = (content.node.take(), std::mem::take(&mut content.ids), content.bytes);
        drop(content);
        let ids: Option<Vec<DataId>> = ids.into_iter().collect();
        let is_whole = !self.failed.load(Ordering::Acquire);
        let whole = node.zip(ids).filter(|_| is_whole);
        (whole.map(|(node, ids)| Node { content: Some(ids), size: bytes, ..node }), bytes)
    }

    fn close(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
