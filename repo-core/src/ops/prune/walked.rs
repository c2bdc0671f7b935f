//! What trees name, kept for later runs: what a tree refers to never changes.
//!
//! In memory blobs go by their numbers in the index, in the file by their rank among the blobs of the file, whose names
//! stand first and sorted. The file is a note in the cache folder, in pieces that are sealed with the repository's key:
//!
//! ```text
//! piece      length of the sealed part (4 bytes, little endian) ‖ sealed: mark of this file (16) ‖ number of the piece (8) ‖ bytes
//! bytes      version ‖ number of blobs of data ‖ their ids ‖ number of trees ‖ their ids ‖ for each tree its list
//! list       count ‖ ranks of subtrees ‖ count ‖ ranks of data; numbers in groups of 7 bits, ranks as steps from the one before
//! ```
//!
//! A file that is damaged, cut short or of another version is as good as none. It is written whole and renamed, so
//! several processes may use it at the same time; the last one wins. Memory: 4 bytes per blob in use, 12 per tree, and
//! 1 to 3 for each reference of a tree.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use crate::context::Context;
use crate::crypto::Key;
use crate::id::{BlobId, BlobKind, ID_LEN, Id};
use crate::index::{BlobSet, Index};
use crate::repository::Repository;

/// The note's name.
const NOTE: &str = "larder-walked";
const VERSION: u64 = 1;
/// Plain bytes in one piece.
const PIECE: usize = 1 << 20;
const MARK: usize = 16;
/// Numbers stand here for blobs that the index does not list.
const NOWHERE: u32 = u32::MAX;

/// What one tree names, as numbers in the index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) trees: Vec<usize>,
    pub(super) data: Vec<usize>,
}

impl Names {
    /// Each once, rising.
    pub(super) fn sort(&mut self) {
        for list in [&mut self.trees, &mut self.data] {
            list.sort_unstable();
            list.dedup();
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for list in [&self.trees, &self.data] {
            write_number(out, list.len() as u64);
            let mut last = 0;
            for number in list {
                write_number(out, (*number - last) as u64);
                last = *number;
            }
        }
    }
}

/// Trees that were walked, and what they name.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Rising once [`sort`](Self::sort)ed: the tree's number, and where its list begins.
    trees: Vec<(u32, u64)>,
    /// What the numbers in the lists mean; nothing where they are numbers in the index.
    data: Vec<u32>,
    tree_slots: Vec<u32>,
    lists: Vec<u8>,
    from_file: bool,
}

impl Walked {
    /// Adds a tree.
    pub(super) fn add(&mut self, slot: usize, names: &Names) {
        let Ok(slot) = u32::try_from(slot) else { return };
        self.trees.push((slot, self.lists.len() as u64));
        names.write(&mut self.lists);
    }

    /// What a tree names, if that is known and all of it listed by the index.
    pub(super) fn names(&self, slot: usize) -> Option<Names> {
        let slot = u32::try_from(slot).ok()?;
        let at = self.trees.binary_search_by_key(&slot, |(tree, _)| *tree).ok()?;
        self.list_at(self.trees.get(at)?.1)
    }

    fn list_at(&self, at: u64) -> Option<Names> {
        let mut bytes = self.lists.get(usize::try_from(at).ok()?..)?;
        let mut read = |meanings: &[u32]| {
            let count = read_number(&mut bytes)?;
            let mut list = Vec::with_capacity(usize::try_from(count).ok()?.min(bytes.len()));
            let mut last = 0_usize;
            for _ in 0..count {
                last = last.checked_add(usize::try_from(read_number(&mut bytes)?).ok()?)?;
                list.push(match (self.from_file, meanings.get(last)) {
                    (true, None | Some(&NOWHERE)) => return None,
                    (true, Some(slot)) => *slot as usize,
                    (false, _) => last,
                });
            }
            Some(list)
        };
        Some(Names { trees: read(&self.tree_slots)?, data: read(&self.data)? })
    }

    /// What earlier runs left; nothing if there is no cache, no file, or none that can be used.
    pub(super) fn recall(context: &Context, repository: &Repository, index: &Index) -> Self {
        let Some(cache) = repository.cache() else { return Self::default() };
        let Ok(file) = cache.note(NOTE) else { return Self::default() };
        let _ = context;
        Self::read(Opened::new(repository.key(), file), repository, index).unwrap_or_default()
    }

    fn read(mut input: Opened<'_>, repository: &Repository, index: &Index) -> io::Result<Self> {
        if input.number()? != VERSION || input.id()? != repository.config().id {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut slots = index.slots().peekable();
        let mut meanings = [Vec::new(), Vec::new()];
        for (kind, list) in [BlobKind::Data, BlobKind::Tree].into_iter().zip(&mut meanings) {
            for _ in 0..input.number()? {
                let wanted = BlobId { kind, id: input.id()? };
                while slots.next_if(|(_, blob)| *blob < wanted).is_some() {}
                let found = slots.peek().filter(|(_, blob)| *blob == wanted);
                list.push(found.and_then(|(slot, _)| u32::try_from(*slot).ok()).unwrap_or(NOWHERE));
            }
        }
        let [data, tree_slots] = meanings;
        let mut lists = Vec::new();
        let mut trees = Vec::with_capacity(tree_slots.len());
        input.rest(&mut lists)?;
        let mut rest = lists.as_slice();
        for slot in &tree_slots {
            trees.push((*slot, (lists.len() - rest.len()) as u64));
            for _ in 0..2 {
                let count = read_number(&mut rest).ok_or(io::ErrorKind::UnexpectedEof)?;
                for _ in 0..count {
                    read_number(&mut rest).ok_or(io::ErrorKind::UnexpectedEof)?;
                }
            }
        }
        if !rest.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        trees.retain(|(slot, _)| *slot != NOWHERE);
        Ok(Self { trees, data, tree_slots, lists, from_file: true })
    }

    /// Leaves word of what this knew and what was walked now, as far as it is in use. What cannot be written is walked
    /// again next time.
    pub(super) fn remember(
        mut self,
        mut walked: Self,
        context: &Context,
        repository: &Repository,
        index: &Index,
        used: &BlobSet,
    ) {
        let Some(cache) = repository.cache() else { return };
        // Trees of snapshots that are gone cost little; only what is mostly such is worth a file of its own.
        let known_in_use = || {
            let slots: Vec<u32> = used.slots().filter_map(|slot| u32::try_from(slot).ok()).collect();
            self.trees.iter().filter(|(slot, _)| slots.binary_search(slot).is_ok()).count()
        };
        if walked.trees.is_empty() && known_in_use() * 2 >= self.trees.len() {
            return;
        }
        walked.trees.sort_unstable();
        let parts = [&mut self, &mut walked].map(|part| &*part);
        // A failure costs a walk and nothing else.
        let _ = cache.store_note(NOTE, |file| write(file, &parts, context, repository, index, used));
    }
}

fn write(
    file: &mut File,
    parts: &[&Walked; 2],
    context: &Context,
    repository: &Repository,
    index: &Index,
    used: &BlobSet,
) -> io::Result<()> {
    let mut ranks: [Vec<usize>; 2] = Default::default();
    let mut out = Sealed::new(repository.key(), context, BufWriter::new(file));
    out.number(VERSION)?;
    out.bytes(repository.config().id.as_bytes())?;
    let id_at = |slot: usize| u32::try_from(slot).ok().and_then(|number| index.copy_at(number));
    for slot in used.slots() {
        let Some(copy) = id_at(slot) else { continue };
        let kind = usize::from(copy.blob.kind == BlobKind::Tree);
        // A tree that an earlier look knew is in use, and nobody said what it names.
        let is_known = kind == 0 || parts.iter().any(|part| part.names(slot).is_some());
        if is_known {
            ranks[kind].push(slot);
        }
    }
    for slots in &ranks {
        out.number(slots.len() as u64)?;
        for slot in slots {
            let id = id_at(*slot).map_or(Id::new([0; ID_LEN]), |copy| copy.blob.id);
            out.bytes(id.as_bytes())?;
        }
    }
    let [data, trees] = &ranks;
    let mut list = Vec::new();
    for slot in trees {
        let Some(mut names) = parts.iter().find_map(|part| part.names(*slot)) else { continue };
        for (numbers, ranks) in [(&mut names.trees, trees), (&mut names.data, data)] {
            for number in numbers {
                *number = ranks.binary_search(number).map_err(|_| io::ErrorKind::InvalidData)?;
            }
        }
        list.clear();
        names.write(&mut list);
        out.bytes(&list)?;
    }
    out.finish()
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Bytes into sealed pieces.
struct Sealed<'a, W> {
    key: &'a Key,
    context: &'a Context,
    out: W,
    mark: [u8; MARK],
    piece: Vec<u8>,
    count: u64,
}

impl<'a, W: Write> Sealed<'a, W> {
    fn new(key: &'a Key, context: &'a Context, out: W) -> Self {
        let mut mark = [0; MARK];
        context.random.fill(&mut mark);
        Self { key, context, out, mark, piece: Vec::with_capacity(PIECE), count: 0 }
    }

    fn number(&mut self, number: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        write_number(&mut bytes, number);
        self.bytes(&bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.piece.is_empty() {
            self.piece.extend_from_slice(&self.mark);
            self.piece.extend_from_slice(&self.count.to_le_bytes());
        }
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE { self.end() } else { Ok(()) }
    }

    fn end(&mut self) -> io::Result<()> {
        let mut sealed = Vec::new();
        self.key.seal(self.context.random.as_ref(), &self.piece, &mut sealed);
        let len = u32::try_from(sealed.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&sealed)?;
        self.piece.clear();
        self.count += 1;
        Ok(())
    }

    /// The last piece is empty, so that a file that was cut short is noticed.
    fn finish(mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.end()?;
        }
        self.bytes(&[])?;
        self.end()?;
        self.out.flush()
    }
}

/// Sealed pieces into bytes.
struct Opened<'a> {
    key: &'a Key,
    input: BufReader<File>,
    mark: Option<[u8; MARK]>,
    piece: Vec<u8>,
    at: usize,
    count: u64,
    is_over: bool,
}

impl<'a> Opened<'a> {
    fn new(key: &'a Key, file: File) -> Self {
        let input = BufReader::with_capacity(PIECE, file);
        Self { key, input, mark: None, piece: Vec::new(), at: 0, count: 0, is_over: false }
    }

    /// The next piece; none after the empty one.
    fn next(&mut self) -> io::Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        let mut len = [0; 4];
        self.input.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > 2 * PIECE + (64 << 20) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut sealed = vec![0; len];
        self.input.read_exact(&mut sealed)?;
        self.key.open(&sealed, &mut self.piece).map_err(|_| io::ErrorKind::InvalidData)?;
        let head = self.piece.split_first_chunk::<MARK>();
        let head = head.and_then(|(mark, rest)| Some((*mark, *rest.first_chunk::<8>()?)));
        let (mark, count) = head.ok_or(io::ErrorKind::InvalidData)?;
        if *self.mark.get_or_insert(mark) != mark || u64::from_le_bytes(count) != self.count {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.at = MARK + 8;
        self.count += 1;
        self.is_over = self.piece.len() == self.at;
        Ok(!self.is_over)
    }

    fn byte(&mut self) -> io::Result<u8> {
        while self.at >= self.piece.len() {
            if !self.next()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let byte = self.piece[self.at];
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn id(&mut self) -> io::Result<Id> {
        let mut id = [0; ID_LEN];
        if let Some(bytes) = self.piece.get(self.at..self.at + ID_LEN) {
            id.copy_from_slice(bytes);
            self.at += ID_LEN;
            return Ok(Id::new(id));
        }
        for byte in &mut id {
            *byte = self.byte()?;
        }
        Ok(Id::new(id))
    }

    /// All that is left.
    fn rest(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            out.extend_from_slice(self.piece.get(self.at..).unwrap_or_default());
            if !self.next()? {
                return Ok(());
            }
        }
    }
}
