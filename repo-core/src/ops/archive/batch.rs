//! What readers hand to workers: chunks of many files in one piece of memory.
//!
//! One arena holds one longest chunk, 8 MiB with restic's chunker. Arenas are kept for the whole run, and only as much of one is
//! ever touched as it is filled.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::context::Added;
use crate::format::Node;
use crate::id::DataId;
use crate::ops::archive::directory::Slot;

/// A reused piece of memory as long as the longest chunk.
#[derive(Debug)]
pub(super) struct Arena(pub(super) Vec<u8>);

impl Arena {
    pub(super) fn new(chunk_len_max: usize) -> Self {
        Self(vec![0; chunk_len_max])
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
