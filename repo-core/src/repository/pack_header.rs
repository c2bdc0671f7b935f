//! What a pack itself says it holds: its header, read from the end of the file.
//!
//! In: a pack and its size. Out: the verified header. One request for most packs, two for those with many blobs. The
//! blobs themselves are not read.

use crate::backend::{BackendError, ErrorKind};
use crate::crypto::Unauthentic;
use crate::format::{HeaderError, IndexedBlob, PackHeader};
use crate::id::PackId;
use crate::repository::Repository;

/// So much of a pack's end is read at once: headers of about 100 blobs.
const TAIL_BYTES: u64 = 4096;

/// Why a pack's header could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackHeaderError {
    /// The storage did not give it.
    #[error("cannot fetch the header of pack {pack}")]
    Fetch {
        /// Which pack.
        pack: PackId,
        /// Why.
        source: BackendError,
    },
    /// The bytes at the pack's end are not what was stored.
    #[error("the header of pack {pack} is damaged")]
    Sealed {
        /// Which pack.
        pack: PackId,
        /// The verdict.
        source: Unauthentic,
    },
    /// What stands there does not describe this pack.
    #[error("the header of pack {pack} makes no sense")]
    Shape {
        /// Which pack.
        pack: PackId,
        /// What is wrong.
        source: HeaderError,
    },
}

impl PackHeaderError {
    /// Whether the pack is there but its header is not sound; otherwise the storage failed.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => matches!(source.kind(), ErrorKind::TooShort | ErrorKind::NotFound),
            _ => true,
        }
    }
}

impl Repository {
    /// Reads what a pack of `size` bytes says it holds, in the order of the pack.
    pub fn pack_blobs(&self, pack: PackId, size: u64) -> Result<Vec<IndexedBlob>, PackHeaderError> {
        let fetch = |range, buffer: &mut Vec<u8>| {
            let read = self.backend.read(pack.into(), range, buffer);
            read.map_err(|source| PackHeaderError::Fetch { pack, source })
        };
        let shape = |source| PackHeaderError::Shape { pack, source };
        let mut tail = Vec::new();
        fetch(size.saturating_sub(TAIL_BYTES)..size, &mut tail)?;
        let too_short = HeaderError::Length { header_len: 0, pack_len: size };
        let trailer = *tail.last_chunk().ok_or(too_short).map_err(shape)?;
        let sealed_len = u64::from(PackHeader::sealed_len(trailer, size).map_err(shape)?);
        let end = size - u64::from(PackHeader::TRAILER_BYTES);
        if sealed_len + u64::from(PackHeader::TRAILER_BYTES) > tail.len() as u64 {
            fetch(end - sealed_len..end, &mut tail)?;
        } else {
            tail.truncate(tail.len() - PackHeader::TRAILER_BYTES as usize);
        }
        self.parse_header(pack, &tail, sealed_len, size)
    }

    /// What a pack says it holds, all of whose bytes are here.
    pub(crate) fn pack_blobs_in(
        &self,
        pack: PackId,
        bytes: &[u8],
    ) -> Result<Vec<IndexedBlob>, PackHeaderError> {
        let size = bytes.len() as u64;
        let shape = |source| PackHeaderError::Shape { pack, source };
        let too_short = HeaderError::Length { header_len: 0, pack_len: size };
        let (rest, trailer) = bytes.split_last_chunk().ok_or(too_short).map_err(shape)?;
        let sealed_len = PackHeader::sealed_len(*trailer, size).map_err(shape)?;
        self.parse_header(pack, rest, u64::from(sealed_len), size)
    }

    /// `tail` ends with the sealed header.
    fn parse_header(
        &self,
        pack: PackId,
        tail: &[u8],
        sealed_len: u64,
        size: u64,
    ) -> Result<Vec<IndexedBlob>, PackHeaderError> {
        let start = tail.len() - usize::try_from(sealed_len).unwrap_or(tail.len()).min(tail.len());
        let mut header = Vec::new();
        let opened = self.key.open(tail.get(start..).unwrap_or_default(), &mut header);
        opened.map_err(|source| PackHeaderError::Sealed { pack, source })?;
        let parsed = PackHeader::parse(&header, size);
        Ok(parsed.map_err(|source| PackHeaderError::Shape { pack, source })?.blobs)
    }
}
