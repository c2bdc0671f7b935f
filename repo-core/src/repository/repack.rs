//! Blobs across: out of some packs, into new ones, still sealed where that is possible.
//!
//! In: packs, and which of their blobs to take. Out: the same blobs in packs of a [`Writer`]. Every blob is opened
//! and compared with its name on the way; one that is not sound is taken from another copy, or nothing goes on.
//! Bytes that were read and verified are stored as they are: no second compression, no second encryption. A blob
//! that a repository of version 2 still holds uncompressed is sealed anew.

use std::sync::{Mutex, PoisonError};

use crate::compress::Compression;
use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::format::Place;
use crate::id::{BlobId, BlobKind, PackId};
use crate::parallel;
use crate::repository::reader::StoredBlob;
use crate::repository::{BlobWriter, ReadError, Reader, WriteError, Writer};

/// More packs than these are never read at once.
const READS_MAX: usize = 8;

/// What reading one of them may need.
const READ_BYTES: u64 = 32 << 20;

/// Why blobs could not be copied. Nothing was removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepackError {
    /// A blob cannot be had from any copy.
    #[error("cannot copy a blob that is in use")]
    Read(#[source] Box<ReadError>),
    /// The copy could not be stored.
    #[error(transparent)]
    Write(WriteError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(RepackError: WriteError => Write);

/// Some blobs of one pack.
#[derive(Debug)]
pub(crate) struct Load {
    /// The pack.
    pub(crate) pack: PackId,
    /// The blobs to take, and where they lie.
    pub(crate) blobs: Vec<(BlobId, Place)>,
}

impl Writer {
    /// Copies blobs into packs of this writer, several packs at a time. The writer must not know the blobs yet.
    ///
    /// Memory: per thread one read of at most 32 MiB (or one longer blob) and what a [`BlobWriter`] holds.
    pub(crate) fn repack(
        &self,
        context: &Context,
        reader: &Reader,
        loads: impl Iterator<Item = Load> + Send,
    ) -> Result<(), RepackError> {
        let threads = reader.repository().backend().properties().connections.clamp(1, READS_MAX);
        let threads =
            context.memory.half().threads(threads.max(parallel::cores()), READ_BYTES + self.open_bytes());
        let writers = Mutex::new(Vec::<BlobWriter>::new());
        let lock = || writers.lock().unwrap_or_else(PoisonError::into_inner);
        parallel::stream(
            threads,
            loads,
            |load| {
                context.cancel.check()?;
                let kept = lock().pop();
                let mut writer = kept.unwrap_or_else(|| self.blob_writer());
                let bytes = load.blobs.iter().map(|(_, place)| u64::from(place.len)).sum();
                let result = self.copy(reader, &mut writer, load);
                lock().push(writer);
                result.map(|()| bytes)
            },
            |bytes| {
                context.tell(&Event::Progress { stage: Stage::Repack, items: 1, bytes });
                Ok(())
            },
        )?;
        for writer in lock().drain(..) {
            writer.flush();
        }
        Ok(())
    }

    fn copy(&self, reader: &Reader, writer: &mut BlobWriter, load: Load) -> Result<(), RepackError> {
        let blobs = load.blobs.into_iter().map(|(blob, place)| (blob, place, blob));
        reader.pack_copies(load.pack, blobs, |blob, stored| {
            if let Ok(StoredBlob { sealed, plain_len, plain }) = stored {
                if self.compresses(&blob) && plain_len.is_none() {
                    writer.save(&blob, plain)?;
                } else {
                    writer.save_sealed(&blob, sealed, plain_len)?;
                }
            } else {
                // Another pack may still have it.
                let plain = reader.blob(&blob).map_err(|source| RepackError::Read(source.into()))?;
                writer.save(&blob, &plain)?;
            }
            Ok(())
        })
    }

    /// Whether a blob that is stored as it is becomes smaller by being stored anew.
    fn compresses(&self, blob: &BlobId) -> bool {
        let wanted = self.options().compression != Compression::Off || blob.kind == BlobKind::Tree;
        wanted && self.repository().config().compresses()
    }
}
