//! Sealed blobs → one pack.
//!
//! A builder grows in memory, because a pack is named by the hash of all its bytes. Its buffer can be handed
//! on from pack to pack, so that memory is touched for the first time only once.

use std::num::NonZeroU32;

use crate::blob::{SealError, Sealed, Sealer};
use crate::context::Random;
use crate::crypto::Key;
use crate::format::{IndexedBlob, IndexedPack, PackHeader};
use crate::hash::{sha256, sha256_each};
use crate::id::{BlobId, Id, PackId};

/// As many entries of the longer kind, 41 bytes, fit into a sealed header of 16 MiB.
const ENTRIES_MAX: usize = ((16 << 20) - 32) / 41;

/// A pack that is being filled.
#[derive(Debug, Default)]
pub struct PackBuilder {
    bytes: Vec<u8>,
    blobs: Vec<IndexedBlob>,
}

/// A whole pack whose name is not known yet.
#[derive(Debug)]
pub struct SealedPack {
    bytes: Vec<u8>,
    blobs: Vec<IndexedBlob>,
}

/// A pack ready to be stored.
#[derive(Debug)]
pub struct FinishedPack {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Its name, what it holds and where.
    pub content: IndexedPack,
}

impl PackBuilder {
    /// An empty pack that grows in `buffer`; the buffer's old content is dropped, its memory kept.
    pub fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { bytes: buffer, blobs: Vec::new() }
    }

    /// Seals a blob into the pack.
    pub fn add(
        &mut self,
        sealer: &mut Sealer,
        random: &dyn Random,
        blob: &BlobId,
        plain: &[u8],
    ) -> Result<Sealed, SealError> {
        let start = self.bytes.len();
        let sealed =
            sealer.seal(random, blob, plain, &mut self.bytes).inspect_err(|_| self.bytes.truncate(start))?;
        self.list(start, blob, sealed.len, sealed.plain_len);
        Ok(sealed)
    }

    /// Adds a blob that is sealed already.
    pub fn add_sealed(&mut self, blob: &BlobId, sealed: &[u8], plain_len: Option<NonZeroU32>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(sealed);
        self.list(start, blob, to_u32(sealed.len()), plain_len);
    }

    /// Takes over everything from another pack of the same kind.
    pub fn append(&mut self, other: &Self) {
        let start = to_u32(self.bytes.len());
        self.bytes.extend_from_slice(&other.bytes);
        self.blobs
            .extend(other.blobs.iter().map(|blob| IndexedBlob { offset: start + blob.offset, ..*blob }));
    }

    fn list(&mut self, start: usize, blob: &BlobId, len: u32, plain_len: Option<NonZeroU32>) {
        let BlobId { kind, id } = *blob;
        self.blobs.push(IndexedBlob { kind, id, offset: to_u32(start), len, plain_len });
    }

    /// Sum of the sealed blobs in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Whether it reached the target, or the header would grow over its limit.
    pub fn is_full(&self, target: usize) -> bool {
        self.bytes.len() >= target || self.blobs.len() >= ENTRIES_MAX
    }

    /// The bytes of memory it holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives the buffer back without making a pack.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds the header.
    pub fn seal(self, key: &Key, random: &dyn Random) -> SealedPack {
        let Self { mut bytes, blobs } = self;
        let header = PackHeader { blobs };
        let header_start = bytes.len();
        key.seal(random, &header.encode(), &mut bytes);
        let header_len = to_u32(bytes.len() - header_start);
        bytes.extend_from_slice(&header_len.to_le_bytes());
        SealedPack { bytes, blobs: header.blobs }
    }

    /// Adds the header and names the pack.
    pub fn finish(self, key: &Key, random: &dyn Random) -> FinishedPack {
        let sealed = self.seal(key, random);
        let id = sha256(&sealed.bytes);
        sealed.named(id)
    }
}

impl SealedPack {
    /// Names the packs, several side by side where the processor can, which takes half as long as one after the other.
    pub fn name_each(packs: Vec<Self>) -> impl Iterator<Item = FinishedPack> {
        let names = sha256_each(&packs.iter().map(|pack| pack.bytes.as_slice()).collect::<Vec<_>>());
        packs.into_iter().zip(names).map(|(pack, id)| pack.named(id))
    }

    fn named(self, id: Id) -> FinishedPack {
        FinishedPack { bytes: self.bytes, content: IndexedPack { id: PackId(id), blobs: self.blobs } }
    }
}

fn to_u32(len: usize) -> u32 {
    u32::try_from(len).expect("a pack stays far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{Opener, SealPolicy};
    use crate::compress::Compression;
    use crate::context::SystemRandom;
    use crate::id::BlobKind;
    use std::sync::Arc;

    fn blob(plain: &[u8]) -> BlobId {
        BlobId { kind: BlobKind::Data, id: sha256(plain) }
    }

    #[test]
    fn header_of_a_merged_pack_leads_to_every_blob() {
        let key = Arc::new(Key::generate(&SystemRandom));
        let policy = SealPolicy { version: 2, compression: Compression::Auto, verify: true };
        let mut sealer = Sealer::new(key.clone(), policy);
        let plains: [&[u8]; 3] = [b"one", &[7; 5000], b"three"];
        let (mut first, mut second) = (PackBuilder::default(), PackBuilder::new(vec![1, 2, 3]));
        first.add(&mut sealer, &SystemRandom, &blob(plains[0]), plains[0]).unwrap();
        for plain in &plains[1..] {
            second.add(&mut sealer, &SystemRandom, &blob(plain), plain).unwrap();
        }
        first.append(&second);
        let FinishedPack { bytes, content } = first.finish(&key, &SystemRandom);

        assert_eq!(sha256(&bytes), content.id.0);
        let trailer = *bytes.last_chunk().unwrap();
        let header_len = PackHeader::sealed_len(trailer, bytes.len() as u64).unwrap() as usize;
        let mut header = Vec::new();
        key.open(&bytes[bytes.len() - 4 - header_len..bytes.len() - 4], &mut header).unwrap();
        let header = PackHeader::parse(&header, bytes.len() as u64).unwrap();
        assert_eq!(header.blobs, content.blobs);
        let mut opener = Opener::new(key);
        for (listed, plain) in header.blobs.iter().zip(plains) {
            let sealed = &bytes[listed.offset as usize..][..listed.len as usize];
            let mut opened = Vec::new();
            opener.open(&listed.blob_id(), sealed, listed.plain_len, &mut opened).unwrap();
            assert_eq!(opened, plain);
        }
    }
}
