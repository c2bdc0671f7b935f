//! Any processor: several pieces of the bytes side by side, in safe code.
//!
//! One lane would wait for its table look-up at every byte; more of them overlap. Each lane starts with the 64
//! bytes before its piece. Whether any lane met a cut is looked at once per 8 bytes; where the first one lies is
//! then found by the specification.

use super::{MASK, Tables, WINDOW, scalar};
use crate::chunker::polynomial::DEGREE;

const LANES: usize = 4;
/// Bytes per lane and block: the warm-up of 64 bytes is small beside it, the block fits the L1 cache.
const PIECE: usize = 4 << 10;
const BLOCK: usize = LANES * PIECE;
/// Bytes between two looks at the flags.
const ROW: usize = 8;

/// See [`Scanner::scan`](super::Scanner::scan).
pub(super) fn scan(tables: &Tables, data: &[u8], from: usize, to: usize) -> Option<usize> {
    let mut from = from;
    while from + BLOCK <= to {
        let next = from + BLOCK;
        // The byte before a position is the last one in its window, so a block of positions starts a byte early.
        if has_cut(tables, &data[from - 1 - WINDOW..next - 1]) {
            return scalar::scan(tables, data, from, next - 1);
        }
        from = next;
    }
    scalar::scan(tables, data, from, to)
}

/// Whether a cut lies at any of the [`BLOCK`] bytes that follow the first 64.
fn has_cut(tables: &Tables, data: &[u8]) -> bool {
    let lanes: [&[u8]; LANES] = std::array::from_fn(|lane| &data[lane * PIECE..][..WINDOW + PIECE]);
    let mut digests =
        lanes.map(|lane| lane[..WINDOW].iter().fold(0, |digest, &byte| advance(tables, digest, byte)));
    for row in (0..PIECE).step_by(ROW) {
        let mut cut = 0;
        let leaving = lanes.map(|lane| word(lane, row));
        let coming = lanes.map(|lane| word(lane, row + WINDOW));
        for at in 0..ROW {
            for lane in 0..LANES {
                let digest = advance(tables, digests[lane], coming[lane][at])
                    ^ tables.leave_after[usize::from(leaving[lane][at])];
                digests[lane] = digest;
                cut |= (digest & MASK).wrapping_sub(1); // the top bit is set for zero alone
            }
        }
        if cut >> 63 == 1 {
            return true;
        }
    }
    false
}

fn word(lane: &[u8], at: usize) -> [u8; ROW] {
    lane[at..][..ROW].try_into().expect("a row is that long")
}

/// The hash with one byte more, and none less.
fn advance(tables: &Tables, digest: u64, byte: u8) -> u64 {
    let top = (digest >> (DEGREE - 8)).to_le_bytes()[0];
    (digest << 8 | u64::from(byte)) ^ tables.reduce[usize::from(top)]
}
