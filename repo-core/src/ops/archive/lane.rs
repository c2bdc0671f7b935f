//! Lanes: one for each way in which the run's files are cut.
//!
//! Repositories that cut alike share a lane: there a file is cut and named once for all of them. Each lane has arenas of
//! its own, so that a reader that holds one of this lane never waits for itself in the next one.

use std::mem;
use std::sync::Arc;

use crate::chunker::Chunker;
use crate::fs::source::Piece;
use crate::ops::archive::batch::{
    Arena, ArenaSize, Arenas, Batch, Chunk, ChunkBytes, FileAtWork, SMALL_ARENA_BYTES,
};
use crate::ops::archive::draft::Draft;
use crate::ops::archive::known::Known;
use crate::ops::archive::run::{READERS, Run};

/// A batch of small files goes on once it holds so many bytes.
const BATCH_BYTES: usize = SMALL_ARENA_BYTES / 2;
/// Bytes read at once: what is read is cut while it is still in the second-level cache.
const READ_BYTES: usize = 512 << 10;

/// Why a reader stops before its files are through: the run has ended, elsewhere.
pub(super) struct Stopped;

/// One way to cut.
pub(super) struct Lane<'a> {
    pub(super) chunker: &'a Chunker,
    pub(super) arenas: Arenas,
}

/// The lanes of a run, and which of them each draft takes.
pub(super) fn lanes<'a>(drafts: &[Draft<'a>], workers: usize) -> (Vec<Lane<'a>>, Vec<usize>) {
    let mut ways: Vec<_> = Vec::new();
    let mut lane_of = Vec::new();
    for (params, chunker) in drafts.iter().map(|draft| draft.base.chunker) {
        let known = ways.iter().position(|(other, _)| *other == params);
        lane_of.push(known.unwrap_or(ways.len()));
        if known.is_none() {
            ways.push((params, chunker));
        }
    }
    // A reader holds an arena of one lane while it waits for one of another: with one for each, it does not wait for
    // readers that wait for it. They take memory only once they are used.
    let large = if ways.len() > 1 { READERS + workers } else { workers + 2 };
    let lane = |(_, chunker): (_, &'a Chunker)| {
        let arenas = Arenas::new(READERS + workers + 2, large, chunker.max_len());
        Lane { chunker, arenas }
    };
    (ways.into_iter().map(lane).collect(), lane_of)
}

/// A reader's hands in one lane: the batch that it fills.
pub(super) struct Filler<'r, 'a> {
    run: &'r Run<'a>,
    lane: usize,
    /// What the present file needs.
    size: ArenaSize,
    current: Option<Filling>,
    /// The start of a chunk that goes on in the next arena.
    carry: Vec<u8>,
}

struct Filling {
    arena: Arena,
    filled: usize,
    chunks: Vec<Chunk>,
}

/// How the chunks of the present file come about in a lane, and where it stands.
pub(super) struct Cutting<'f> {
    pub(super) lane: usize,
    pub(super) chunker: &'f Chunker,
    pub(super) known: &'f Known,
    pub(super) file: &'f Arc<FileAtWork>,
    /// Where the unfinished chunk begins in the arena.
    start: usize,
    /// How many of its bytes were looked at already.
    scanned: usize,
    /// Where it begins in the file.
    pub(super) offset: u64,
}

impl<'f> Cutting<'f> {
    pub(super) fn new(
        lane: usize,
        chunker: &'f Chunker,
        known: &'f Known,
        file: &'f Arc<FileAtWork>,
    ) -> Self {
        Self { lane, chunker, known, file, start: 0, scanned: 0, offset: 0 }
    }
}

impl<'r, 'a> Filler<'r, 'a> {
    pub(super) fn new(run: &'r Run<'a>, lane: usize) -> Self {
        Self { run, lane, size: ArenaSize::Small, current: None, carry: Vec::new() }
    }

    /// Makes ready for a file of about so many bytes.
    pub(super) fn begin(&mut self, cutting: &mut Cutting<'_>, bytes: u64) -> Result<(), Stopped> {
        let size = ArenaSize::for_file(bytes);
        if size == ArenaSize::Large || !self.has_room(bytes) {
            self.flush()?;
        }
        self.size = size;
        cutting.start = self.filling()?.filled;
        Ok(())
    }

    /// Where the next bytes go, at least one. Those that are written there are to be [taken](Self::take).
    pub(super) fn room(&mut self, cutting: &mut Cutting<'_>) -> Result<&mut [u8], Stopped> {
        self.make_room(cutting)?;
        let Filling { arena, filled, .. } = self.filling()?;
        let end = (*filled + READ_BYTES).min(arena.bytes.len());
        Ok(&mut arena.bytes[*filled..end])
    }

    /// The first bytes of the room.
    pub(super) fn written(&mut self, len: usize) -> Result<&[u8], Stopped> {
        let Filling { arena, filled, .. } = self.filling()?;
        Ok(&arena.bytes[*filled..*filled + len])
    }

    /// Takes what was written to the room: bytes of the file, or that there are no more.
    pub(super) fn take(&mut self, cutting: &mut Cutting<'_>, piece: Piece) -> Result<(), Stopped> {
        match piece {
            Piece::Data(len) => {
                self.filling()?.filled += len;
                self.cut(cutting, false)
            }
            Piece::Hole(len) => self.fill_hole(cutting, len),
            Piece::End => self.cut(cutting, true),
        }
    }

    /// Takes bytes that lie elsewhere.
    pub(super) fn copy(&mut self, cutting: &mut Cutting<'_>, mut bytes: &[u8]) -> Result<(), Stopped> {
        while !bytes.is_empty() {
            let room = self.room(cutting)?;
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            self.take(cutting, Piece::Data(len))?;
        }
        Ok(())
    }

    /// Where in the file the next bytes belong.
    pub(super) fn position(&mut self, cutting: &Cutting<'_>) -> Result<u64, Stopped> {
        Ok(cutting.offset + (self.filling()?.filled - cutting.start) as u64)
    }

    /// Drops what is not cut yet.
    pub(super) fn drop_rest(&mut self, cutting: &Cutting<'_>) -> Result<(), Stopped> {
        self.filling()?.filled = cutting.start;
        Ok(())
    }

    /// Hands the batch over if another file would hardly fit.
    pub(super) fn end(&mut self) -> Result<(), Stopped> {
        match &self.current {
            Some(filling) if filling.is_done() => self.flush(),
            _ => Ok(()),
        }
    }

    /// Hands the batch over to the workers.
    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
        let Some(Filling { arena, filled, chunks }) = self.current.take() else { return Ok(()) };
        if chunks.is_empty() {
            return self.run.lanes[self.lane].arenas.give_back(arena).map_err(|_| Stopped);
        }
        let batch = Batch { lane: self.lane, arena, chunks };
        self.run.batches.push(batch, filled as u64).map_err(|_| Stopped)
    }

    /// Takes chunks over from the parent as long as one begins here.
    pub(super) fn take_over(&mut self, cutting: &mut Cutting<'_>) -> Result<(), Stopped> {
        if cutting.start != self.filling()?.filled {
            return Ok(());
        }
        while let Some(chunk) = cutting.known.at(cutting.offset) {
            cutting.file.add_known(chunk.id, chunk.len);
            cutting.offset += chunk.len;
            for draft in cutting.file.drafts().map(|draft| &self.run.drafts[draft]) {
                draft.base.writer.rely(&chunk.id.into());
                draft.tell_bytes(chunk.len);
            }
        }
        Ok(())
    }

    /// Whether a small file fits into the batch, and one byte more to see its end.
    fn has_room(&self, bytes: u64) -> bool {
        self.current.as_ref().is_none_or(|filling| {
            let room = filling.arena.bytes.len() - filling.filled;
            bytes < room as u64
        })
    }

    /// Cuts off every chunk that is whole. Where a chunk begins that need not be read, the bytes behind are dropped.
    fn cut(&mut self, cutting: &mut Cutting<'_>, last: bool) -> Result<(), Stopped> {
        let filling = self.filling()?;
        loop {
            let bytes = &filling.arena.bytes[cutting.start..filling.filled];
            let Some(len) = cutting.chunker.cut(bytes, cutting.scanned, last) else {
                cutting.scanned = bytes.len();
                return Ok(());
            };
            let range = cutting.start..cutting.start + len;
            cutting.start = range.end;
            cutting.scanned = 0;
            cutting.offset += len as u64;
            filling.add(cutting.file, len, ChunkBytes::Arena(range));
            if cutting.known.at(cutting.offset).is_some() {
                filling.filled = cutting.start;
                return Ok(());
            }
        }
    }

    /// Zeros that were not read. Whole chunks of zeros are not even written to memory.
    fn fill_hole(&mut self, cutting: &mut Cutting<'_>, len: u64) -> Result<(), Stopped> {
        let end = self.position(cutting)? + len;
        let zeros_cut = cutting.chunker.zero_chunk_len();
        loop {
            let left = end - self.position(cutting)?;
            let filling = self.filling()?;
            let is_between = cutting.start == filling.filled;
            if left == 0 || (is_between && cutting.known.at(cutting.offset).is_some()) {
                return Ok(());
            }
            if let Some(cut) = zeros_cut
                && is_between
                && left >= cut as u64
            {
                filling.add(cutting.file, cut, ChunkBytes::Zeros(cut));
                cutting.offset += cut as u64;
                continue;
            }
            let room = self.room(cutting)?;
            let step = usize::try_from(left).unwrap_or(room.len()).min(room.len());
            room[..step].fill(0);
            self.take(cutting, Piece::Data(step))?;
        }
    }

    /// Makes sure that something can be read into the arena; an unfinished chunk moves to the next one.
    fn make_room(&mut self, cutting: &mut Cutting<'_>) -> Result<(), Stopped> {
        let filling = self.filling()?;
        if filling.filled < filling.arena.bytes.len() {
            return Ok(());
        }
        let mut carry = mem::take(&mut self.carry);
        let filling = self.filling()?;
        carry.clear();
        carry.extend_from_slice(&filling.arena.bytes[cutting.start..filling.filled]);
        self.flush()?;
        // Only a large arena is sure to hold a whole chunk; a small file may have grown.
        self.size = ArenaSize::Large;
        let filling = self.filling()?;
        filling.arena.bytes[..carry.len()].copy_from_slice(&carry);
        filling.filled = carry.len();
        cutting.start = 0;
        self.carry = carry;
        Ok(())
    }

    /// The batch being filled; waits for a free arena if there is none.
    fn filling(&mut self) -> Result<&mut Filling, Stopped> {
        if self.current.is_none() {
            let arena = self.run.lanes[self.lane].arenas.take(self.size).ok_or(Stopped)?;
            self.current = Some(Filling { arena, filled: 0, chunks: Vec::new() });
        }
        self.current.as_mut().ok_or(Stopped)
    }
}

impl Filling {
    fn add(&mut self, file: &Arc<FileAtWork>, len: usize, bytes: ChunkBytes) {
        let at = file.add_chunk(len);
        self.chunks.push(Chunk { file: file.clone(), at, bytes });
    }

    fn is_done(&self) -> bool {
        self.filled >= BATCH_BYTES || self.arena.size == ArenaSize::Large
    }
}
