//! The header at the end of a pack: what lies in it, in order.
//!
//! ```text
//! pack   = blob ‖ … ‖ sealed(header) ‖ length of the sealed header, 32 bits little-endian
//! header = entry ‖ …, in the blobs' order without gaps
//! entry  = type (0 data, 1 tree, 2 compressed data, 3 compressed tree) ‖ stored length ‖ plain length if compressed ‖ id
//! ```
//!
//! In and out: the opened header. A header that does not account for every byte of its pack is an error.

use std::num::NonZeroU32;

use super::index_file::IndexedBlob;
use super::limits::{PACK_BYTES_MAX, PACK_HEADER_BYTES_MAX, SEAL_BYTES};
use crate::id::{BlobKind, ID_LEN, Id};

/// Length in bytes of an entry for a blob stored as it is: type 1, length 4, id 32.
const ENTRY_BYTES: u32 = 37;
/// Length in bytes of an entry for a compressed blob: 4 more for the plain length.
const COMPRESSED_ENTRY_BYTES: u32 = 41;

/// What lies in a pack, in the pack's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackHeader {
    /// The blobs, each beginning where the one before ends.
    pub blobs: Vec<IndexedBlob>,
}

/// Why bytes are not the header of this pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The length field cannot be true.
    #[error("a pack of {pack_len} bytes cannot have a header of {header_len} bytes")]
    Length {
        /// What the field says, in bytes.
        header_len: u32,
        /// The pack's length in bytes.
        pack_len: u64,
    },
    /// An entry is cut off.
    #[error("entry {entry} of the pack header is cut off")]
    Partial {
        /// Counted from 0.
        entry: usize,
    },
    /// An entry names no kind of blob, or a length that no blob has.
    #[error("entry {entry} of the pack header makes no sense")]
    Entry {
        /// Counted from 0.
        entry: usize,
    },
    /// The blobs, the header and the length field do not add up to the pack's length.
    #[error("the pack header describes a pack of {described} bytes, the pack has {pack_len}")]
    Size {
        /// What the header adds up to, in bytes.
        described: u64,
        /// The pack's length in bytes.
        pack_len: u64,
    },
}

impl PackHeader {
    /// Length in bytes of the field at a pack's very end.
    pub const TRAILER_BYTES: u32 = 4;

    /// Reads the length of the sealed header from the pack's last four bytes.
    pub fn sealed_len(trailer: [u8; 4], pack_len: u64) -> Result<u32, HeaderError> {
        let header_len = u32::from_le_bytes(trailer);
        let fits = u64::from(header_len) + u64::from(Self::TRAILER_BYTES) <= pack_len;
        let allowed = ENTRY_BYTES + SEAL_BYTES..=PACK_HEADER_BYTES_MAX;
        if fits && pack_len <= PACK_BYTES_MAX && allowed.contains(&header_len) {
            Ok(header_len)
        } else {
            Err(HeaderError::Length { header_len, pack_len })
        }
    }

    /// Reads an opened header that belongs to a pack of `pack_len` bytes.
    pub fn parse(header: &[u8], pack_len: u64) -> Result<Self, HeaderError> {
        let mut blobs = Vec::with_capacity(header.len() / 37);
        let (mut rest, mut offset) = (header, 0u32);
        while !rest.is_empty() {
            let entry = blobs.len();
            let (blob, after) = read_entry(rest, offset, entry)?;
            offset = offset.checked_add(blob.len).ok_or(HeaderError::Entry { entry })?;
            blobs.push(blob);
            rest = after;
        }
        let described = Self::pack_len(&blobs);
        if described == pack_len {
            Ok(Self { blobs })
        } else {
            Err(HeaderError::Size { described, pack_len })
        }
    }

    /// The header to seal; offsets are not written, they follow from the order.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.blobs.len() * 41);
        for blob in &self.blobs {
            let kind = match blob.kind {
                BlobKind::Data => 0,
                BlobKind::Tree => 1,
            };
            out.push(if blob.plain_len.is_some() { kind + 2 } else { kind });
            out.extend_from_slice(&blob.len.to_le_bytes());
            if let Some(plain_len) = blob.plain_len {
                out.extend_from_slice(&plain_len.get().to_le_bytes());
            }
            out.extend_from_slice(blob.id.as_bytes());
        }
        out
    }

    /// Length in bytes of the entry for a blob.
    pub const fn entry_len(plain_len: Option<NonZeroU32>) -> u32 {
        if plain_len.is_some() { COMPRESSED_ENTRY_BYTES } else { ENTRY_BYTES }
    }

    /// Length in bytes of the pack that holds exactly these blobs.
    pub fn pack_len<'a>(blobs: impl IntoIterator<Item = &'a IndexedBlob>) -> u64 {
        let blob_len = |blob: &IndexedBlob| u64::from(blob.len) + u64::from(Self::entry_len(blob.plain_len));
        blobs.into_iter().map(blob_len).sum::<u64>() + u64::from(SEAL_BYTES + Self::TRAILER_BYTES)
    }
}

/// Reads one entry and gives what follows it.
fn read_entry(bytes: &[u8], offset: u32, entry: usize) -> Result<(IndexedBlob, &[u8]), HeaderError> {
    let partial = || HeaderError::Partial { entry };
    let (&[kind], rest) = bytes.split_first_chunk().ok_or_else(partial)?;
    let (kind, compressed) = match kind {
        0 => (BlobKind::Data, false),
        1 => (BlobKind::Tree, false),
        2 => (BlobKind::Data, true),
        3 => (BlobKind::Tree, true),
        _ => return Err(HeaderError::Entry { entry }),
    };
    let (len, mut rest) = rest.split_first_chunk().ok_or_else(partial)?;
    let mut plain_len = None;
    if compressed {
        let (bytes, after) = rest.split_first_chunk().ok_or_else(partial)?;
        let read = NonZeroU32::new(u32::from_le_bytes(*bytes)).ok_or(HeaderError::Entry { entry })?;
        (plain_len, rest) = (Some(read), after);
    }
    let (id, rest) = rest.split_first_chunk::<ID_LEN>().ok_or_else(partial)?;
    let blob = IndexedBlob { kind, id: Id::new(*id), offset, len: u32::from_le_bytes(*len), plain_len };
    if blob.len < SEAL_BYTES { Err(HeaderError::Entry { entry }) } else { Ok((blob, rest)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VECTORS: &str = include_str!("../../../tests/fixtures/crypto-vectors.json");

    #[test]
    fn restics_header_reads_and_writes_the_same() {
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let hex = vectors.pointer("/pack/header_plain_hex").unwrap().as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let header = PackHeader::parse(&bytes, 220).unwrap();
        assert_eq!(header.encode(), bytes);
        let seen: Vec<_> = header
            .blobs
            .iter()
            .map(|blob| (blob.kind, blob.offset, blob.len, blob.plain_len.map(NonZeroU32::get)))
            .collect();
        assert_eq!(seen, [(BlobKind::Data, 0, 47, None), (BlobKind::Data, 47, 59, Some(220))]);
        let error = HeaderError::Size { described: 220, pack_len: 221 };
        assert_eq!(PackHeader::parse(&bytes, 221), Err(error));
    }

    #[test]
    fn length_field_keeps_its_bounds() {
        let max = PACK_HEADER_BYTES_MAX;
        for (header_len, pack_len, good) in [
            (0, 1000, false),
            (68, 1000, false),
            (69, 1000, true),
            (70, 1000, true),
            (max - 1, 1 << 30, true),
            (max, 1 << 30, true),
            (max + 1, 1 << 30, false),
            (u32::MAX, 1 << 30, false),
            (70, 73, false),
            (69, 73, true),
            (69, 72, false),
            (69, 0, false),
            (69, PACK_BYTES_MAX - 1, true),
            (69, PACK_BYTES_MAX, true),
            (69, PACK_BYTES_MAX + 1, false),
        ] {
            let read = PackHeader::sealed_len(header_len.to_le_bytes(), pack_len);
            assert_eq!(read.is_ok(), good, "{header_len} in {pack_len}");
        }
    }

    fn entry(kind: u8, len: u32) -> Vec<u8> {
        [&[kind][..], &len.to_le_bytes(), &[7; 36]].concat()
    }

    #[test]
    fn entries_that_make_no_sense_are_refused() {
        for (kind, len, good) in
            [(0, 31, false), (0, 32, true), (0, 33, true), (1, 32, true), (4, 32, false), (255, 32, false)]
        {
            let bytes = entry(kind, len);
            let read = PackHeader::parse(&bytes[..37], u64::from(len) + 73);
            assert_eq!(read.is_ok(), good, "{kind} {len}");
        }
        let zero_plain_len = [&entry(2, 40)[..5], &[0; 36]].concat();
        assert_eq!(PackHeader::parse(&zero_plain_len, 117), Err(HeaderError::Entry { entry: 0 }));
        let overflow = [&entry(0, u32::MAX)[..37], &entry(0, 32)[..37]].concat();
        assert_eq!(PackHeader::parse(&overflow, 1), Err(HeaderError::Entry { entry: 1 }));
    }

    #[test]
    fn every_cut_of_a_header_is_refused() {
        let bytes = [&entry(0, 50)[..37], &entry(3, 60)].concat();
        assert!(PackHeader::parse(&bytes, 50 + 60 + 37 + 41 + 36).is_ok());
        for cut in 0..bytes.len() {
            assert!(PackHeader::parse(&bytes[..cut], 224).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            entries in prop::collection::vec((any::<bool>(), any::<[u8; 32]>(), 32u32..999, any::<u32>()), 0..9),
        ) {
            let mut header = PackHeader::default();
            let mut offset = 0;
            for (tree, id, len, plain_len) in entries {
                let kind = if tree { BlobKind::Tree } else { BlobKind::Data };
                let plain_len = NonZeroU32::new(plain_len);
                header.blobs.push(IndexedBlob { kind, id: Id::new(id), offset, len, plain_len });
                offset += len;
            }
            let pack_len = PackHeader::pack_len(&header.blobs);
            prop_assert_eq!(PackHeader::parse(&header.encode(), pack_len), Ok(header));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, pack_len: u64) {
            let _ = PackHeader::parse(&bytes, pack_len);
        }
    }
}
