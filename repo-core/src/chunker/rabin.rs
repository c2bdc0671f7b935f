//! Restic's chunker: cuts where a rolling Rabin hash ends in 20 zero bits.
//!
//! In: a chunk's bytes as far as they are known. Out: where it ends. A cut falls at the first length from 512 KiB
//! on where the hash of the last 64 bytes fits, else at 8 MiB, else where the file ends. (Restic starts the hash
//! with a 1 that is gone from the window before the first cut can fall; so cuts depend on content alone.)

use crate::chunker::kernel::{Scanner, WINDOW};
use crate::chunker::polynomial::Polynomial;

/// No chunk but a file's last one is shorter.
pub(super) const MIN: usize = 512 << 10;

/// No chunk is longer.
pub(super) const MAX: usize = 8 << 20;

const _: () = assert!(MIN > WINDOW, "the first cut needs a full window before it");

pub(super) struct Rabin {
    scanner: Scanner,
}

impl Rabin {
    pub(super) fn new(polynomial: Polynomial) -> Self {
        Self { scanner: Scanner::new(polynomial) }
    }

    /// See [`Chunker::cut`](super::Chunker::cut).
    pub(super) fn cut(&self, chunk: &[u8], scanned: usize, last: bool) -> Option<usize> {
        let end = chunk.len().min(MAX);
        let hit = self.scanner.scan(chunk, MIN.max(scanned.min(end) + 1), end);
        hit.or_else(|| (end == MAX || (last && end > 0)).then_some(end))
    }
}
