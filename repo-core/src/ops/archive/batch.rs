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

/// Files up to this length are gathered with others.
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

/// A file between its opening and its entry.
#[derive(Debug)]
pub(super) struct FileAtWork {
    /// The entry, still without content, and where it goes; taken by whoever finishes the file.
    entry: Mutex<Option<(Node, Slot)>>,
    /// The parent snapshot's entry.
    pub(super) before: Option<Node>,
    /// When it was opened.
    pub(super) since: Duration,
    content: Mutex<Content>,
    /// Chunks at work, and one more while the file is being read.
    open: AtomicUsize,
    failed: AtomicBool,
}

/// What is known of a file's content.
#[derive(Debug, Default)]
struct Content {
    ids: Vec<Option<DataId>>,
    bytes: u64,
    added: Added,
}

/// A file that was read to its end and whose chunks are all stored.
#[derive(Debug)]
pub(super) struct FinishedFile {
    /// Its entry; `None` if reading failed.
    pub(super) node: Option<Node>,
    pub(super) slot: Slot,
    pub(super) bytes: u64,
    pub(super) added: Added,
}

impl FileAtWork {
    pub(super) fn new(node: Node, slot: Slot, before: Option<Node>, since: Duration) -> Arc<Self> {
        Arc::new(Self {
            entry: Mutex::new(Some((node, slot))),
            before,
            since,
            content: Mutex::default(),
            open: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
        })
    }

    /// Reserves the place of the next chunk of so many bytes.
    pub(super) fn add_chunk(&self, bytes: usize) -> usize {
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut content = self.lock();
        content.ids.push(None);
        content.bytes += bytes as u64;
        content.ids.len() - 1
    }

    /// Adds a chunk that is known by its name already.
    pub(super) fn add_known(&self, id: DataId, bytes: u64) {
        let mut content = self.lock();
        content.ids.push(Some(id));
        content.bytes += bytes;
    }

    /// Names a chunk. Gives the file if that finishes it.
    #[must_use = "whoever finishes a file fills its slot"]
    pub(super) fn name_chunk(&self, at: usize, id: DataId, added: Added) -> Option<FinishedFile> {
        let mut content = self.lock();
        if let Some(place) = content.ids.get_mut(at) {
            *place = Some(id);
        }
        content.added += added;
        drop(content);
        self.close()
    }

    /// Says that the file was read to its end. Gives it if that finishes it.
    #[must_use = "whoever finishes a file fills its slot"]
    pub(super) fn end(&self) -> Option<FinishedFile> {
        self.close()
    }

    /// Says that reading failed: the file gets no entry, whatever becomes of its chunks.
    #[must_use = "whoever finishes a file fills its slot"]
    pub(super) fn fail(&self) -> Option<FinishedFile> {
        self.failed.store(true, Ordering::Release);
        self.close()
    }

    fn close(&self) -> Option<FinishedFile> {
        if self.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        let (node, slot) = self.entry.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let Content { ids, bytes, added } = std::mem::take(&mut *self.lock());
        let ids: Option<Vec<DataId>> = ids.into_iter().collect();
        let is_whole = !self.failed.load(Ordering::Acquire);
        let node = ids.filter(|_| is_whole).map(|ids| Node { content: Some(ids), size: bytes, ..node });
        Some(FinishedFile { node, slot, bytes, added })
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
