//! Blobs → the sink: pack by pack where any order will do, else in order with blobs read ahead.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;

use crate::format::Place;
use crate::id::{BlobId, DataId, PackId};
use crate::ops::restore::existing::Part;
use crate::ops::restore::to_sink::{SinkError, Work};
use crate::ops::restore::write::groups;
use crate::ops::restore::zeros::{Piece, pieces};
use crate::parallel;
use crate::repository::ReadError;

/// Bytes that are read ahead of a pipe.
const AHEAD_BYTES: u64 = 64 << 20;

/// A batch for a pipe is full when its different blobs are so many bytes …
const BATCH_BYTES: u64 = 4 << 20;

/// … or when it has so many parts.
const BATCH_PARTS: usize = 4096;

/// One part that is fetched: where it lies, and where it goes.
struct Job {
    order: usize,
    place: Place,
    part: Part,
}

impl Work<'_> {
    /// Fetches parts pack by pack and writes them as they come, from several threads.
    pub(super) fn write_packs(&self, wanted: &[Part]) -> Result<(), SinkError> {
        let mut orders: HashMap<PackId, usize> = HashMap::new();
        let mut jobs = Vec::with_capacity(wanted.len());
        for part in wanted {
            let place = self.reader.index().place_of(&part.blob.into());
            let place = place.ok_or_else(|| self.lost(part, unknown(part.blob)))?;
            let next = orders.len();
            jobs.push(Job { order: *orders.entry(place.pack).or_insert(next), place, part: *part });
        }
        jobs.sort_unstable_by_key(|job| (job.order, job.place.offset, job.part.blob, job.part.offset));
        let packs = groups(&jobs, |a, b| a.order == b.order);
        parallel::stream(self.threads, packs, |pack| self.write_pack(&jobs[pack]), Ok)
    }

    fn write_pack(&self, jobs: &[Job]) -> Result<(), SinkError> {
        let Some(pack) = jobs.first().map(|job| job.place.pack) else { return Ok(()) };
        let blobs = groups(jobs, |a, b| a.part.blob == b.part.blob).into_iter().map(|group| {
            let Job { place, part, .. } = &jobs[group.start];
            (BlobId::from(part.blob), *place, group)
        });
        self.reader.pack_blobs(pack, blobs, |group, blob| {
            self.context.cancel.check()?;
            let jobs = &jobs[group];
            match blob {
                Ok(bytes) => self.write_everywhere(jobs, bytes),
                Err(error) => Err(self.lost(&jobs[0].part, error)),
            }
        })
    }

    /// Writes one blob wherever the file has it; zeros that touch become one hole.
    fn write_everywhere(&self, jobs: &[Job], bytes: &[u8]) -> Result<(), SinkError> {
        if !matches!(pieces(0, bytes)[..], [Piece::Zeros(..)]) {
            return jobs.iter().try_for_each(|job| self.write(job.part.offset, bytes));
        }
        for touching in groups(jobs, |a, b| a.part.offset + a.part.len == b.part.offset) {
            let (first, last) = (&jobs[touching.start].part, &jobs[touching.end - 1].part);
            self.write_piece(Piece::Zeros(first.offset, last.offset + last.len - first.offset))?;
        }
        Ok(())
    }

    /// Fetches batches of parts ahead and writes them in order.
    pub(super) fn write_in_order(&self, parts: &[Part]) -> Result<(), SinkError> {
        let batches = Self::batches(parts);
        let weigh = |(_, bytes): &(Range<usize>, u64)| *bytes;
        let fetch = |(batch, _): (Range<usize>, u64)| (batch.clone(), self.fetch(&parts[batch]));
        let ahead = self.context.memory.half().allows(AHEAD_BYTES);
        parallel::ordered(self.threads, ahead, batches, weigh, fetch, |(batch, mut blobs)| {
            self.context.cancel.check()?;
            for part in &parts[batch] {
                let Some(Ok(bytes)) = blobs.get(&part.blob) else {
                    let error = blobs.remove(&part.blob).and_then(Result::err);
                    return Err(self.lost(part, error.unwrap_or_else(|| unknown(part.blob))));
                };
                self.write(part.offset, bytes)?;
            }
            Ok(())
        })
    }

    /// Cuts parts into batches, each with its bytes; the same blob many times, as of zeros, weighs once.
    fn batches(parts: &[Part]) -> Vec<(Range<usize>, u64)> {
        let mut batches = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (at, part) in parts.iter().enumerate() {
            if at > start && (bytes >= BATCH_BYTES || at - start >= BATCH_PARTS) {
                batches.push((start..at, bytes));
                (start, bytes) = (at, 0);
            }
            let repeats = at > start && parts[at - 1].blob == part.blob;
            bytes += if repeats { 0 } else { part.len };
        }
        batches.push((start..parts.len(), bytes));
        batches
    }

    fn fetch(&self, parts: &[Part]) -> HashMap<DataId, Result<Vec<u8>, ReadError>> {
        let mut packs: HashMap<PackId, HashMap<DataId, Place>> = HashMap::new();
        for part in parts {
            if let Some(place) = self.reader.index().place_of(&part.blob.into()) {
                packs.entry(place.pack).or_default().insert(part.blob, place);
            }
        }
        let mut blobs = HashMap::new();
        for (pack, wanted) in packs {
            if self.context.cancel.is_cancelled() {
                break; // nobody looks at what is missing
            }
            let wanted = wanted.into_iter().map(|(blob, place)| (BlobId::from(blob), place, blob));
            let Ok(()) = self.reader.pack_blobs(pack, wanted, |blob, bytes| {
                blobs.insert(blob, bytes.map(<[u8]>::to_vec));
                Ok::<_, Infallible>(())
            });
        }
        blobs
    }

    /// Writes a blob's bytes where they belong.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        pieces(offset, bytes).into_iter().try_for_each(|piece| self.write_piece(piece))
    }

    fn write_piece(&self, piece: Piece<'_>) -> Result<(), SinkError> {
        let (offset, len, counter, written) = match piece {
            Piece::Data(offset, bytes) => {
                (offset, bytes.len() as u64, &self.written, self.sink.write_at(offset, bytes))
            }
            Piece::Zeros(offset, len) => (offset, len, &self.zeroed, self.sink.zero(offset, len)),
        };
        written.map_err(|source| SinkError::Write { sink: self.sink.path().to_owned(), offset, source })?;
        self.count(counter, len);
        Ok(())
    }

    fn lost(&self, part: &Part, source: ReadError) -> SinkError {
        SinkError::Read { path: self.path.to_owned(), offset: part.offset, source: source.into() }
    }
}

fn unknown(blob: DataId) -> ReadError {
    ReadError::Unknown { blob: blob.into() }
}
