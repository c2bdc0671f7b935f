//! Any processor: several pieces of the bytes side by side, in safe code.
//!
//! One lane would wait for its table look-up at every byte; more of them overlap. Each lane starts with the 64
//! bytes before its piece. Whether any lane met a cut is looked at once per 8 bytes; where the first one lies is
//! then found by the specification.

use super::{MASK, Tables, WINDOW, scalar};
use crate::chunker::polynomial::DEGREE;

const LANES: usize = 6;
/// Bytes per lane and block: the warm-up of 64 bytes is small beside it, the block fits the L1 cache.
const PIECE: usize = 2752;
const BLOCK: usize = LANES * PIECE;
/// Bytes between two looks at the end of a piece.
const ROW: usize = 2;

/// See [`Scanner::scan`](super::Scanner::scan).
pub(super) fn scan(tables: &Tables, data: &[u8], from: usize, to: usize) -> Option<usize> {
    let mut from = from;
    while from + BLOCK <= to {
        // The byte before a position is the last one in its window, so a block of positions starts a byte early.
        let block = data[from - 1 - WINDOW..].first_chunk().expect("the block ends before `to`");
        if has_cut(tables, block) {
            return scalar::scan(tables, data, from, from + BLOCK - 1);
        }
        from += BLOCK;
    }
    scalar::scan(tables, data, from, to)
}

/// Whether a cut lies at any of the bytes that follow the first 64.
fn has_cut(tables: &Tables, data: &[u8; WINDOW + BLOCK]) -> bool {
    let mut digests: [u64; LANES] = std::array::from_fn(|lane| {
        let before = data[lane * PIECE..][..WINDOW].iter();
        before.fold(0, |digest, &byte| advance(tables, digest, byte))
    });
    let mut row = 0;
    while row < PIECE {
        for at in row..row + ROW {
            for (lane, digest) in digests.iter_mut().enumerate() {
                let at = lane * PIECE + at;
                *digest =
                    advance(tables, *digest, data[at + WINDOW]) ^ tables.leave_after[usize::from(data[at])];
                if *digest & MASK == 0 {
                    return true;
                }
            }
        }
        row += ROW;
    }
    false
}

/// The hash with one byte more, and none less.
#[inline]
fn advance(tables: &Tables, digest: u64, byte: u8) -> u64 {
    let top = (digest >> (DEGREE - 8)).to_le_bytes()[0];
    (digest << 8 | u64::from(byte)) ^ tables.reduce[usize::from(top)]
}
