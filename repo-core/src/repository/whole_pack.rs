//! Whole packs across, byte for byte.
//!
//! In: a pack of one repository. Out: the same file for another one that seals with the same key, verified: its name, its
//! header, and every blob in it.

use std::num::NonZeroU32;

use crate::blob::{FEW, Opener, SealedBlob, next_few};
use crate::format::{IndexedBlob, IndexedPack};
use crate::hash::sha256;
use crate::id::PackId;
use crate::pack::FinishedPack;
use crate::repository::Reader;

/// Longer packs go blob by blob, so that memory does not depend on what others wrote.
const WHOLE_BYTES_MAX: u64 = 32 << 20;

impl Reader {
    /// Reads a pack of `len` bytes into `bytes` and gives it if every byte of it is right and it holds exactly these
    /// blobs, sorted by offset. Whatever is wrong with it, single blobs may still be had.
    pub(crate) fn whole_pack(
        &self,
        pack: PackId,
        len: u64,
        blobs: Vec<IndexedBlob>,
        mut bytes: Vec<u8>,
    ) -> Option<FinishedPack> {
        let repository = self.repository();
        if len > WHOLE_BYTES_MAX {
            return None;
        }
        repository.backend().read_all(pack.into(), len, &mut bytes).ok()?;
        let is_named_so = bytes.len() as u64 == len && PackId(sha256(&bytes)) == pack;
        let holds_them = is_named_so && repository.pack_blobs_in(pack, &bytes).ok()? == blobs;
        let is_right = holds_them && self.opens_each(&bytes, &blobs);
        is_right.then_some(FinishedPack { bytes, content: IndexedPack { id: pack, blobs } })
    }

    fn opens_each(&self, bytes: &[u8], blobs: &[IndexedBlob]) -> bool {
        let repository = self.repository();
        let mut opener = Opener::new(repository.key().clone())
            .with_data_len_max(repository.config().data_blob_bytes_max());
        let mut plains: [Vec<u8>; FEW] = Default::default();
        let mut left = blobs.iter().peekable();
        while left.peek().is_some() {
            let few = next_few(&mut left, |blob| u64::from(blob.plain_len.map_or(blob.len, NonZeroU32::get)));
            let sealed = few.iter().map(|blob| {
                let start = blob.offset as usize;
                let sealed = bytes.get(start..start + blob.len as usize).unwrap_or_default();
                SealedBlob { blob: blob.blob_id(), sealed, plain_len: blob.plain_len }
            });
            let sealed: Vec<_> = sealed.collect();
            if opener.open_each(&sealed, &mut plains).iter().any(Result::is_err) {
                return false;
            }
        }
        true
    }
}
