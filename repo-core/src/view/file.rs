//! Content of a file by offset: the blobs that hold the bytes, and ahead of whoever reads in order.
//!
//! In: a file and a range. Out: exactly its bytes, verified. Reading ahead takes what lies in the same pack
//! as what is needed anyway, in the same request: the file's next blobs, and those of the next files for somebody
//! who opens one after the other. Random reading fetches nothing but what it needs.
//! Memory: 40 bytes per blob of an open file, and per reading thread what is fetched at once.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::format::{Node, Place};
use crate::id::{BlobId, DataId, TreeId};
use crate::repository::{ReadError, Reader};

use super::item::What;
use super::shelf::{Claim, Got};
use super::{Item, View, ViewError};

/// The first reading ahead in bytes; each further one is twice as far …
const AHEAD_MIN: u64 = 512 << 10;
/// … up to this.
const AHEAD_MAX: u64 = 8 << 20;
/// Reads that come so far out of order are still in order: systems send several at a time.
const JITTER: u64 = 1 << 20;
/// How many of the next files of a folder are looked at.
const NEIGHBOURS_MAX: usize = 256;
/// Somebody who opens every file of a folder passes over so many entries that are none.
const GAP_MAX: u32 = 16;
/// What a blob takes on the shelf beside its bytes.
const BLOB_BYTES: u64 = 128;

/// A file that is being read. Closed when it is dropped; may be shared between threads.
#[derive(Debug)]
pub struct OpenFile {
    path: PathBuf,
    blobs: Vec<DataId>,
    /// Where each blob ends in the file.
    ends: Vec<u64>,
    /// Its folder and number, if its neighbours will probably be read next.
    neighbours: Option<(TreeId, u32)>,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    /// Where a reader in order goes on.
    next: u64,
    ahead: u64,
}

impl OpenFile {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn start_of(&self, at: usize) -> u64 {
        at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
    }

    /// How far to read ahead of a read of that range.
    fn ahead(&self, start: u64, end: u64) -> u64 {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let in_order = start.abs_diff(pace.next) <= JITTER;
        pace.ahead = if in_order { (pace.ahead * 2).clamp(AHEAD_MIN, AHEAD_MAX) } else { 0 };
        pace.next = if in_order { pace.next.max(end) } else { end };
        pace.ahead
    }
}

impl View {
    /// Opens a file. Reads none of its content.
    ///
    /// Returns [`ViewError::Len`] if it is not as long as its entry says, and [`ViewError::Read`] if a part of it
    /// is in no index.
    pub fn open(&self, item: &Item) -> Result<OpenFile, ViewError> {
        let path = self.path_of(item);
        let What::Entry(dir, at) = &item.what else { return Err(ViewError::NoContent { path }) };
        let file =
            |node: &Node| node.is_file().then(|| (node.content.clone().unwrap_or_default(), node.size));
        let Some((blobs, said)) = self.with_node(dir, *at, file)? else {
            return Err(ViewError::NoContent { path });
        };
        let path = self.path_of(item);
        let reader = self.lock().now.reader.clone();
        let mut stored = 0_u64;
        let mut ends = Vec::with_capacity(blobs.len());
        for blob in blobs.iter().map(|id| BlobId::from(*id)) {
            let Some(len) = reader.index().opened_len(&blob) else {
                return Err(ViewError::Read { path, source: ReadError::Unknown { blob }.into() });
            };
            stored = stored.saturating_add(len);
            ends.push(stored);
        }
        if stored != said {
            return Err(ViewError::Len { path, said, stored });
        }
        let neighbours = self.note_opened(dir.tree, *at);
        Ok(OpenFile { path, blobs, ends, neighbours, pace: Mutex::new(Pace { next: 0, ahead: 0 }) })
    }

    /// Reads up to `len` bytes from `offset`; fewer only at the end of the file.
    pub fn read(&self, file: &OpenFile, offset: u64, len: usize) -> Result<Vec<u8>, ViewError> {
        let end = offset.saturating_add(len as u64).min(file.len());
        let mut out = Vec::with_capacity(usize::try_from(end.saturating_sub(offset)).unwrap_or(0));
        if offset >= end {
            return Ok(out);
        }
        let until = end.saturating_add(file.ahead(offset, end));
        let mut at = file.ends.partition_point(|blob_end| *blob_end <= offset);
        let mut position = offset;
        while position < end {
            let blob = self.blob(file, at, until)?;
            let start = file.start_of(at);
            let part = |position: u64| usize::try_from(position - start).unwrap_or(usize::MAX);
            let bytes = blob.get(part(position)..part(end.min(file.ends[at])));
            // A blob is only believed when it hashes to its name, and its length is that of the index.
            let bytes = bytes.ok_or_else(|| self.shorter(file, at))?;
            out.extend_from_slice(bytes);
            position = file.ends[at];
            at += 1;
        }
        Ok(out)
    }

    /// Remembers which file was opened; its neighbours are wanted next if this one was a neighbour itself.
    fn note_opened(&self, tree: Option<TreeId>, at: u32) -> Option<(TreeId, u32)> {
        let tree = tree?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let before = opened.replace((tree, at));
        let in_order = before.is_some_and(|(other, last)| {
            other == tree && at.checked_sub(last).is_some_and(|gap| (1..=GAP_MAX).contains(&gap))
        });
        in_order.then_some((tree, at))
    }

    /// One blob of a file; if it must be fetched, then with everything before `until` that lies beside it.
    fn blob(&self, file: &OpenFile, at: usize, until: u64) -> Result<Arc<[u8]>, ViewError> {
        let id = file.blobs[at];
        let claim = match self.content.get(id) {
            Got::Here(bytes) => return Ok(bytes),
            Got::Mine(claim) => claim,
        };
        let failed = |source: ReadError| ViewError::Read { path: file.path.clone(), source: source.into() };
        let reader = self.lock().now.reader.clone();
        let blob = BlobId::from(id);
        let place = reader.index().place_of(&blob).ok_or_else(|| failed(ReadError::Unknown { blob }))?;
        let mut wanted = vec![(blob, place, claim)];
        if until > file.ends[at] {
            self.beside(&reader, file, at, until, &mut wanted);
        }
        let mut found = None;
        let Ok(()) = reader.pack_blobs(place.pack, wanted, |claim, bytes| {
            let is_it = claim.is_for(&id);
            let bytes = bytes.map(Arc::<[u8]>::from).map(|bytes| {
                let weight = bytes.len() as u64 + BLOB_BYTES;
                claim.fill(bytes, weight)
            });
            if is_it {
                found = Some(bytes);
            }
            Ok::<_, Infallible>(())
        });
        found.unwrap_or(Err(ReadError::Unknown { blob })).map_err(failed)
    }

    /// Adds what will be wanted soon and lies in the same pack.
    fn beside<'a>(
        &'a self,
        reader: &Reader,
        file: &OpenFile,
        at: usize,
        until: u64,
        wanted: &mut Wanted<'a>,
    ) {
        let pack = wanted[0].1.pack;
        let in_pack =
            |id: &DataId| reader.index().places(&BlobId::from(*id)).find(|place| place.pack == pack);
        let mut later = at + 1;
        while later < file.blobs.len() && file.start_of(later) < until {
            let id = file.blobs[later];
            if let Some(place) = in_pack(&id)
                && let Some(claim) = self.content.claim(id)
            {
                wanted.push((id.into(), place, claim));
            }
            later += 1;
        }
        let Some((tree, number)) = file.neighbours.filter(|_| later == file.blobs.len()) else { return };
        let Some(folder) = self.directories.peek(&tree) else { return };
        let mut bytes_left = until.saturating_sub(file.len()).max(AHEAD_MIN);
        let files = folder.after(number).iter().take(NEIGHBOURS_MAX).filter(|node| node.is_file());
        for id in files.flat_map(|node| node.content.iter().flatten()) {
            let Some(place) = in_pack(id) else { continue }; // a backup fills several packs at a time
            let Some(left) = bytes_left.checked_sub(place.opened_len().into()) else { return };
            bytes_left = left;
            if let Some(claim) = self.content.claim(*id) {
                wanted.push(((*id).into(), place, claim));
            }
        }
    }

    fn shorter(&self, file: &OpenFile, at: usize) -> ViewError {
        let stored = self.content.peek(&file.blobs[at]).map_or(0, |bytes| bytes.len() as u64);
        let said = file.ends[at] - file.start_of(at);
        ViewError::Len { path: file.path.clone(), said, stored }
    }
}

/// Blobs of one pack that this thread will read.
type Wanted<'a> = Vec<(BlobId, Place, Claim<'a, DataId, Arc<[u8]>>)>;
