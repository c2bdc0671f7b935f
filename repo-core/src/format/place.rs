//! Where a sealed blob lies.

use std::num::NonZeroU32;
use std::ops::Range;

use crate::id::PackId;

/// Where a sealed blob lies: which pack, and which bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The pack.
    pub pack: PackId,
    /// Offset in the pack, in bytes.
    pub offset: u32,
    /// Stored length in bytes: the sealed blob, 32 bytes of nonce and tag included.
    pub len: u32,
    /// Length in bytes of the plain blob if it is compressed; `None` if it is stored as it is.
    pub plain_len: Option<NonZeroU32>,
}

impl Place {
    /// The bytes of the pack.
    pub fn range(&self) -> Range<u64> {
        u64::from(self.offset)..u64::from(self.offset) + u64::from(self.len)
    }

    /// Length in bytes of the blob once opened.
    pub fn opened_len(&self) -> u32 {
        self.plain_len.map_or(self.len.saturating_sub(32), NonZeroU32::get)
    }
}
