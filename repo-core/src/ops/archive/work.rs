//! Workers: batches of chunks → named and stored blobs.
//!
//! A worker takes a whole batch and keeps it on its core. A chunk is named once and stored wherever it is wanted.

use crate::context::{Added, Cancelled};
use crate::hash::{sha256, sha256_each};
use crate::id::{BlobId, DataId};
use crate::ops::archive::batch::{Batch, Chunk, ChunkBytes};
use crate::ops::archive::run::Run;
use crate::repository::{BlobWriter, Saved};

impl Run<'_> {
    /// The story of a worker.
    pub(super) fn work(&self) -> Result<(), Cancelled> {
        let mut writers: Vec<BlobWriter> =
            self.drafts.iter().map(|draft| draft.base.writer.blob_writer()).collect();
        let mut zeros = Zeros::default();
        while let Some(Batch { lane, arena, chunks }) = self.batches.pop() {
            self.context.cancel.check()?;
            let plain: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.bytes.of(&arena)).collect();
            let names = sha256_each(&plain);
            for ((chunk, plain), name) in chunks.iter().zip(plain).zip(names) {
                let (id, plain) = match chunk.bytes {
                    ChunkBytes::Arena(_) => (DataId(name), plain),
                    ChunkBytes::Zeros(len) => zeros.get(len),
                };
                self.store(&mut writers, chunk, id, plain);
            }
            // Closed means that the run is over already.
            let _ = self.lanes[lane].arenas.give_back(arena);
        }
        writers.into_iter().for_each(BlobWriter::flush);
        Ok(())
    }

    /// Stores a chunk in every repository that wants it. One that fails ends its own draft.
    fn store(&self, writers: &mut [BlobWriter], chunk: &Chunk, id: DataId, plain: &[u8]) {
        let bytes = plain.len() as u64;
        for place in &chunk.file.places {
            let draft = &self.drafts[place.draft];
            if draft.is_over() {
                continue;
            }
            match writers[place.draft].save(&BlobId::from(id), plain) {
                Ok(Saved::Known) => {}
                Ok(Saved::New { packed }) => place.add(Added {
                    data_blobs: 1,
                    data_bytes: bytes,
                    data_bytes_packed: packed,
                    ..Added::default()
                }),
                Err(error) => {
                    self.fail(draft, error.into());
                    continue;
                }
            }
            draft.tell_bytes(bytes);
        }
        if chunk.file.name_chunk(chunk.at, id) {
            self.finish_file(&chunk.file);
        }
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
