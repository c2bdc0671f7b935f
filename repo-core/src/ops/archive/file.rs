//! Readers and workers: files → batches of chunks → named and stored blobs.
//!
//! A reader fills an arena with many small files, or with a piece of a large one, and finds the cuts while
//! the bytes are still in the cache. A worker takes the whole batch and keeps it on its core.

use std::mem;
use std::sync::Arc;

use crate::chunker::Chunker;
use crate::context::{Added, Event, Stage};
use crate::fs::metadata::{EntryMeta, to_node};
use crate::fs::source::{Cuts, OpenFile, Piece};
use crate::fs::{FaultKind, SourceError};
use crate::hash::{sha256, sha256_each};
use crate::id::{BlobId, DataId};
use crate::ops::archive::batch::{Arena, ArenaSize, Batch, Chunk, ChunkBytes, FileAtWork, SMALL_ARENA_BYTES};
use crate::ops::archive::known::Known;
use crate::ops::archive::report::{ArchiveError, Problem};
use crate::ops::archive::run::{FileJob, Run};
use crate::repository::{BlobWriter, Saved};

/// A batch of small files goes on once it holds so many bytes.
const BATCH_BYTES: usize = SMALL_ARENA_BYTES / 2;
/// Bytes read at once: what is read is cut while it is still in the second-level cache.
const READ_BYTES: usize = 512 << 10;

/// Why a reader stops before its files are through: the run has failed, elsewhere.
struct Stopped;

impl Run<'_> {
    /// The story of a reader.
    pub(super) fn read_files(&self) -> Result<(), ArchiveError> {
        let mut reader = FileReader { run: self, size: ArenaSize::Small, current: None, carry: Vec::new() };
        loop {
            // Nobody shall wait for a batch whose reader waits for more files.
            let job = match self.files.try_pop() {
                Some(job) => job,
                None if reader.flush().is_err() => break,
                None => match self.files.pop() {
                    Some(job) => job,
                    None => break,
                },
            };
            self.context.cancel.check()?;
            if reader.read(job).is_err() {
                break;
            }
        }
        self.reader_ends();
        Ok(())
    }

    /// The story of a worker.
    pub(super) fn work(&self) -> Result<(), ArchiveError> {
        let mut blobs = self.writer.blob_writer();
        let mut zeros = Zeros::default();
        while let Some(Batch { arena, chunks }) = self.batches.pop() {
            self.context.cancel.check()?;
            let plain: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.bytes.of(&arena)).collect();
            let names = sha256_each(&plain);
            for ((chunk, plain), name) in chunks.iter().zip(plain).zip(names) {
                let (id, plain) = match chunk.bytes {
                    ChunkBytes::Arena(_) => (DataId(name), plain),
                    ChunkBytes::Zeros(len) => zeros.get(len),
                };
                self.store(&mut blobs, chunk, id, plain)?;
            }
            // Closed means that the run has failed already.
            let _ = self.arenas.give_back(arena);
        }
        blobs.flush();
        Ok(())
    }

    fn store(
        &self,
        blobs: &mut BlobWriter,
        chunk: &Chunk,
        id: DataId,
        plain: &[u8],
    ) -> Result<(), ArchiveError> {
        let saved = blobs.save(&BlobId::from(id), plain)?;
        let bytes = plain.len() as u64;
        let added = match saved {
            Saved::Known => Added::default(),
            Saved::New { packed } => {
                Added { data_blobs: 1, data_bytes: bytes, data_bytes_packed: packed, ..Added::default() }
            }
        };
        self.context.tell(&Event::Progress { stage: Stage::Archive, items: 0, bytes });
        if let Some(finished) = chunk.file.name_chunk(chunk.at, id, added) {
            self.finish_file(&chunk.file, finished);
        }
        Ok(())
    }
}

/// A run of zeros and its name, made once.
#[derive(Default)]
struct Zeros(Option<(DataId, Vec<u8>)>);

impl Zeros {
    fn get(&mut self, len: usize) -> (DataId, &[u8]) {
        if self.0.as_ref().is_none_or(|(_, zeros)| zeros.len() != len) {
            let zeros = vec![0; len];
            self.0 = Some((DataId(sha256(&zeros)), zeros));
        }
        let (id, zeros) = self.0.as_ref().expect("made above");
        (*id, zeros)
    }
}

/// A reader's hands: the batch it fills.
struct FileReader<'r, 'a> {
    run: &'r Run<'a>,
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

impl FileReader<'_, '_> {
    /// Reads one file into batches. An error of the file ends the file, not the run.
    fn read(&mut self, job: FileJob) -> Result<(), Stopped> {
        let path = job.path.clone();
        self.run.context.tell(&Event::Started { path: &path });
        let result = self.read_file(job);
        self.run.context.tell(&Event::Finished { path: &path });
        result
    }

    fn read_file(&mut self, job: FileJob) -> Result<(), Stopped> {
        let run = self.run;
        let FileJob { slot, name, path, before } = job;
        let since = run.context.clock.elapsed();
        let mut open = match run.source.open(&path) {
            Ok(open) => open,
            Err(error) => {
                run.skip(&path, error);
                run.fill(slot, None);
                return Ok(());
            }
        };
        let meta = open.meta().clone();
        let xattrs = open.xattrs();
        if let Some(problem) = xattrs.problem {
            run.skip(&path, problem);
        }
        let node = to_node(name, &meta, xattrs.found, &run.context.zone, &run.names, run.options.atime);
        let file = FileAtWork::new(node, slot, before, since);
        let is_large = meta.size >= SMALL_ARENA_BYTES as u64;
        if is_large || !self.has_room(meta.size) {
            self.flush()?;
        }
        self.size = if is_large { ArenaSize::Large } else { ArenaSize::Small };
        let permit = is_large.then(|| run.large_files.take(1));
        let known = Known::of(run.parent, file.before.as_ref(), open.as_ref());
        let cuts = match open.cuts() {
            Cuts::AsRepository => None,
            Cuts::Every(len) => Some(Chunker::fixed(len, run.chunker.max_len())),
        };
        let cutting = Cutting { chunker: cuts.as_ref().unwrap_or(&run.chunker), known, file: &file };
        let result = self.read_content(&cutting, open.as_mut());
        drop(permit);
        let finished = match result {
            Ok(Ok(read)) => {
                self.look_again(&path, &meta, open.as_mut(), read);
                file.end()
            }
            Ok(Err(error)) => {
                run.skip(&path, error);
                file.fail()
            }
            Err(stopped) => return Err(stopped),
        };
        if let Some(finished) = finished {
            run.finish_file(&file, finished);
        }
        match &self.current {
            Some(filling) if filling.filled >= BATCH_BYTES || filling.arena.size == ArenaSize::Large => {
                self.flush()
            }
            _ => Ok(()),
        }
    }

    /// Whether a small file fits into the batch, and one byte more to see its end.
    fn has_room(&self, bytes: u64) -> bool {
        self.current.as_ref().is_none_or(|filling| {
            let room = filling.arena.bytes.len() - filling.filled;
            bytes < room as u64
        })
    }

    /// Reads a file to its end and gives the number of bytes, or the file's own error.
    fn read_content(
        &mut self,
        cutting: &Cutting<'_>,
        open: &mut dyn OpenFile,
    ) -> Result<Result<u64, SourceError>, Stopped> {
        let mut cursor = Cursor { start: self.filling()?.filled, scanned: 0, offset: 0 };
        // Where the source stands.
        let mut at = 0;
        loop {
            self.take_over(cutting, &mut cursor)?;
            self.make_room(&mut cursor)?;
            let filling = self.filling()?;
            let wanted = cursor.offset + (filling.filled - cursor.start) as u64;
            if at != wanted {
                if let Err(error) = open.seek(wanted) {
                    filling.filled = cursor.start;
                    return Ok(Err(error));
                }
                at = wanted;
            }
            let end = (filling.filled + READ_BYTES).min(filling.arena.bytes.len());
            match open.read(&mut filling.arena.bytes[filling.filled..end]) {
                Ok(Piece::Data(len)) => {
                    filling.filled += len;
                    at += len as u64;
                    self.cut(cutting, &mut cursor, false)?;
                }
                Ok(Piece::Hole(len)) => {
                    at += len;
                    self.fill_hole(cutting, &mut cursor, len)?;
                }
                Ok(Piece::End) => {
                    self.cut(cutting, &mut cursor, true)?;
                    if cutting.known.at(cursor.offset).is_none() {
                        return Ok(Ok(cursor.offset));
                    }
                }
                Err(error) => {
                    self.filling()?.filled = cursor.start;
                    return Ok(Err(error));
                }
            }
        }
    }

    /// Takes chunks over from the parent as long as one begins here.
    fn take_over(&mut self, cutting: &Cutting<'_>, cursor: &mut Cursor) -> Result<(), Stopped> {
        if cursor.start != self.filling()?.filled {
            return Ok(());
        }
        while let Some(chunk) = cutting.known.at(cursor.offset) {
            cutting.file.add_known(chunk.id, chunk.len);
            self.run.writer.rely(&BlobId::from(chunk.id));
            cursor.offset += chunk.len;
            self.run.context.tell(&Event::Progress { stage: Stage::Archive, items: 0, bytes: chunk.len });
        }
        Ok(())
    }

    /// Cuts off every chunk that is whole. Where a chunk begins that need not be read, the bytes behind are dropped.
    fn cut(&mut self, cutting: &Cutting<'_>, cursor: &mut Cursor, last: bool) -> Result<(), Stopped> {
        let Cutting { chunker, known, file } = cutting;
        let filling = self.filling()?;
        loop {
            let bytes = &filling.arena.bytes[cursor.start..filling.filled];
            let Some(len) = chunker.cut(bytes, cursor.scanned, last) else {
                cursor.scanned = bytes.len();
                return Ok(());
            };
            let range = cursor.start..cursor.start + len;
            *cursor = Cursor { start: range.end, scanned: 0, offset: cursor.offset + len as u64 };
            let at = file.add_chunk(len);
            filling.chunks.push(Chunk { file: (*file).clone(), at, bytes: ChunkBytes::Arena(range) });
            if known.at(cursor.offset).is_some() {
                filling.filled = cursor.start;
                return Ok(());
            }
        }
    }

    /// Zeros that were not read. Whole chunks of zeros are not even written to memory.
    fn fill_hole(&mut self, cutting: &Cutting<'_>, cursor: &mut Cursor, len: u64) -> Result<(), Stopped> {
        let end = cursor.offset + (self.filling()?.filled - cursor.start) as u64 + len;
        let zeros_cut = cutting.chunker.zero_chunk_len();
        loop {
            let filling = self.filling()?;
            let is_between = cursor.start == filling.filled;
            let left = end - cursor.offset - (filling.filled - cursor.start) as u64;
            if left == 0 || (is_between && cutting.known.at(cursor.offset).is_some()) {
                return Ok(());
            }
            if let Some(cut) = zeros_cut
                && is_between
                && left >= cut as u64
            {
                let at = cutting.file.add_chunk(cut);
                let bytes = ChunkBytes::Zeros(cut);
                filling.chunks.push(Chunk { file: cutting.file.clone(), at, bytes });
                cursor.offset += cut as u64;
                continue;
            }
            self.make_room(cursor)?;
            let filling = self.filling()?;
            let room = READ_BYTES.min(filling.arena.bytes.len() - filling.filled);
            let step = usize::try_from(left).unwrap_or(room).min(room);
            filling.arena.bytes[filling.filled..filling.filled + step].fill(0);
            filling.filled += step;
            self.cut(cutting, cursor, false)?;
        }
    }

    /// Makes sure that something can be read into the arena; an unfinished chunk moves to the next one.
    fn make_room(&mut self, cursor: &mut Cursor) -> Result<(), Stopped> {
        let filling = self.filling()?;
        if filling.filled < filling.arena.bytes.len() {
            return Ok(());
        }
        let mut carry = mem::take(&mut self.carry);
        let filling = self.filling()?;
        carry.clear();
        carry.extend_from_slice(&filling.arena.bytes[cursor.start..filling.filled]);
        self.flush()?;
        // Only a large arena is sure to hold a whole chunk; a small file may have grown.
        self.size = ArenaSize::Large;
        let filling = self.filling()?;
        filling.arena.bytes[..carry.len()].copy_from_slice(&carry);
        filling.filled = carry.len();
        cursor.start = 0;
        self.carry = carry;
        Ok(())
    }

    /// The batch being filled; waits for a free arena if there is none.
    fn filling(&mut self) -> Result<&mut Filling, Stopped> {
        if self.current.is_none() {
            let arena = self.run.arenas.take(self.size).ok_or(Stopped)?;
            self.current = Some(Filling { arena, filled: 0, chunks: Vec::new() });
        }
        self.current.as_mut().ok_or(Stopped)
    }

    /// Hands the batch over to the workers.
    fn flush(&mut self) -> Result<(), Stopped> {
        let Some(Filling { arena, filled, chunks }) = self.current.take() else { return Ok(()) };
        if chunks.is_empty() {
            return self.run.arenas.give_back(arena).map_err(|_| Stopped);
        }
        self.run.batches.push(Batch { arena, chunks }, filled as u64).map_err(|_| Stopped)
    }

    /// Tells a file that became longer or shorter while it was read.
    fn look_again(&self, path: &std::path::Path, meta: &EntryMeta, open: &mut dyn OpenFile, read: u64) {
        if read == meta.size {
            return;
        }
        // Files of the kernel have made-up sizes, but no new times.
        let changed = match open.stat_again() {
            Ok(now) => now.size != meta.size || now.mtime != meta.mtime,
            Err(error) if error.kind() == FaultKind::Vanished => true,
            Err(_) => false,
        };
        if changed {
            self.run.skip(path, Problem::SizeChanged { path: path.to_owned(), expected: meta.size, read });
        }
    }
}

/// How the chunks of the present file come about.
struct Cutting<'f> {
    chunker: &'f Chunker,
    known: Known,
    file: &'f Arc<FileAtWork>,
}

/// Where a reader is in a file.
struct Cursor {
    /// Where the unfinished chunk begins in the arena.
    start: usize,
    /// How many of its bytes were looked at already.
    scanned: usize,
    /// Where it begins in the file.
    offset: u64,
}
