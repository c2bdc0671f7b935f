//! Processors with vector registers: 32 or 64 pieces of the bytes side by side.
//!
//! Byte slicing: register k holds byte k of the hashes of all lanes. The hash is kept multiplied by x³, so that its
//! 56 bits fill seven registers and the byte that is shifted out is exactly the top one. What a byte does to the
//! hash is linear over GF(2), so no tables are looked up: each of the seven bytes it adds is a linear map of it,
//! which vector units compute for all lanes at once.
//!
//! In, out: as the scan of the room. What the processor must offer is behind [`Vector`]; `x86` implements it.

#![expect(unsafe_code, reason = "vector instructions need the promise that the processor has them")]
#![expect(
    clippy::inline_always,
    reason = "vector code must end up inside the function that enables its instructions"
)]

use super::{Tables, WINDOW, lanes};
use crate::chunker::polynomial::DEGREE;

/// Lengths of a lane's piece in rows of 64 bytes, longest first. Odd, because rows that lie a multiple of a large
/// power of two apart would all fall into the same few sets of the cache.
const PIECES: [usize; 3] = [33, 9, 3];

/// Rows fetched ahead: no processor foresees that many streams by itself.
const PREFETCH_ROWS: usize = 2;

/// Bytes of one lane handled together: a cache line, and as long as the window.
const ROW: usize = WINDOW;

/// A linear map from bytes to bytes: the images of the eight bits.
pub(super) type Bits = [u8; 8];

/// One byte of every lane.
///
/// # Safety
/// All methods need a processor with the instructions of the implementation. `LANES` is a multiple of 16 and at
/// most 64.
pub(super) unsafe trait Vector: Copy {
    const LANES: usize;

    /// A linear map in the form the processor applies it.
    type Map;

    /// Bytes prepared for having maps applied.
    type Operand: Copy;

    fn map(bits: Bits) -> Self::Map;

    unsafe fn zero() -> Self;

    /// 16 bytes at `from`, 16 more a `stride` after them, and so on.
    unsafe fn gather(from: *const u8, stride: usize) -> Self;

    unsafe fn load(from: *const u8) -> Self;

    unsafe fn store(self, to: *mut u8);

    /// Interleaves the lower, or the upper, halves of each 16 bytes.
    unsafe fn unpack(self, other: Self) -> [Self; 2];

    unsafe fn operand(self) -> Self::Operand;

    unsafe fn apply(map: &Self::Map, to: Self::Operand) -> Self;

    unsafe fn xor(self, other: Self) -> Self;

    unsafe fn xor3(self, second: Self, third: Self) -> Self;

    /// The lanes where both are zero, as bits.
    unsafe fn both_zero(self, other: Self) -> u64;

    /// The lanes where the lower seven bits are zero, as bits.
    unsafe fn low_bits_zero(self) -> u64;

    unsafe fn prefetch(address: *const u8);
}

/// What bytes do to the hash times x³, for one polynomial P, byte by byte of it.
pub(super) struct Maps<V: Vector> {
    /// A byte shifted out at the top: · x^53 mod P.
    reduce: [V::Map; 7],
    /// A byte leaving the window: · x^512 mod P.
    leave: [V::Map; 7],
    /// A byte coming in.
    come: [V::Map; 2],
}

impl<V: Vector> Maps<V> {
    pub(super) fn new(tables: &Tables) -> Self {
        const DIGEST: u64 = (1 << DEGREE) - 1;
        // Byte `k` of what `table` has for each bit, times x³.
        let map = |k: usize, table: &dyn Fn(u8) -> u64| {
            V::map(std::array::from_fn(|bit| (table(1 << bit) << 3).to_le_bytes()[k]))
        };
        Self {
            reduce: std::array::from_fn(|k| map(k, &|byte| tables.reduce[usize::from(byte)] & DIGEST)),
            leave: std::array::from_fn(|k| map(k, &|byte| tables.leave_after[usize::from(byte)])),
            come: std::array::from_fn(|k| map(k, &|byte| u64::from(byte))),
        }
    }
}

/// See [`Scanner::scan`](super::Scanner::scan).
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn scan<V: Vector>(
    tables: &Tables,
    maps: &Maps<V>,
    data: &[u8],
    from: usize,
    to: usize,
) -> Option<usize> {
    // The byte before a position is the last one in its window. Rows start where cache lines do.
    let align = data[from - 1..].as_ptr().align_offset(ROW);
    let mut next = from.saturating_add(align).min(to + 1);
    let head = lanes::scan(tables, data, from, next - 1);
    if head.is_some() {
        return head;
    }
    for rows in PIECES {
        let len = V::LANES * rows * ROW;
        while next + len <= to + 1 {
            let block = &data[next - 1 - WINDOW..next - 1 + len];
            // SAFETY: the caller vouches for the processor.
            if let Some(at) = unsafe { scan_block(maps, block, rows) } {
                return Some(next + at);
            }
            next += len;
        }
    }
    lanes::scan(tables, data, next, to)
}

/// Columns of one row: byte s of all lanes at s.
#[repr(C, align(64))]
struct Columns([[u8; 64]; ROW]);

/// The first byte after the first 64 that completes a cut. Lane l looks at the l-th piece of `rows` rows.
#[inline(always)]
unsafe fn scan_block<V: Vector>(maps: &Maps<V>, block: &[u8], rows: usize) -> Option<usize> {
    let piece = rows * ROW;
    assert!(block.len() == WINDOW + V::LANES * piece, "a block is a window and all pieces");
    let mut columns = [const { Columns([[0; 64]; ROW]) }; 2];
    let [before, now] = &mut columns;
    let (mut before, mut now) = (before, now);
    // SAFETY (all of this function): the caller vouches for the processor, and columns are 64 bytes long, as
    // many as lanes at least.
    let mut state = [unsafe { V::zero() }; 7];
    unsafe { transpose::<V>(block, 0, piece, before) };
    for column in &before.0 {
        unsafe { step(maps, &mut state, V::load(column.as_ptr()), None) };
    }
    let mut live = u64::MAX >> (64 - V::LANES);
    let mut first = None;
    for row in 1..=rows {
        unsafe { transpose::<V>(block, row * ROW, piece, now) };
        for (at, (coming, leaving)) in now.0.iter().zip(&before.0).enumerate() {
            if at < V::LANES {
                // One at a time: more than a few outstanding fetches would stall.
                let ahead = block.as_ptr().wrapping_add(at * piece + (row + PREFETCH_ROWS) * ROW);
                // SAFETY: fetching does not fault, wherever it points.
                unsafe { V::prefetch(ahead) };
            }
            let hits = unsafe {
                step(maps, &mut state, V::load(coming.as_ptr()), Some(V::load(leaving.as_ptr())));
                state[0].both_zero(state[1])
            };
            if hits & live != 0 {
                let hits = hits & live & unsafe { state[2].low_bits_zero() };
                if hits != 0 {
                    // Only an earlier piece can hold an earlier cut.
                    let lane = hits.trailing_zeros();
                    first = Some(lane as usize * piece + (row - 1) * ROW + at);
                    live &= (1 << lane) - 1;
                    if live == 0 {
                        return first;
                    }
                }
            }
        }
        std::mem::swap(&mut before, &mut now);
    }
    first
}

/// Takes one byte into every lane's hash, and the one that leaves the window, if any, out of it.
#[inline(always)]
unsafe fn step<V: Vector>(maps: &Maps<V>, state: &mut [V; 7], coming: V, leaving: Option<V>) {
    // SAFETY (all of this function): the caller vouches for the processor.
    unsafe {
        let [top, coming] = [state[6].operand(), coming.operand()];
        // No closure, which would not inherit the enabled instructions.
        macro_rules! change {
            ($k:expr, $byte:expr) => {
                match leaving {
                    Some(leaving) => $byte
                        .xor3(V::apply(&maps.reduce[$k], top), V::apply(&maps.leave[$k], leaving.operand())),
                    None => $byte.xor(V::apply(&maps.reduce[$k], top)),
                }
            };
        }
        for k in (2..7).rev() {
            state[k] = change!(k, state[k - 1]);
        }
        state[1] = change!(1, state[0]).xor(V::apply(&maps.come[1], coming));
        state[0] = change!(0, V::apply(&maps.come[0], coming));
    }
}

/// Turns the rows of all lanes, 64 bytes from `at` on in each piece, into columns.
#[inline(always)]
unsafe fn transpose<V: Vector>(block: &[u8], at: usize, piece: usize, columns: &mut Columns) {
    assert!(at + ROW + (V::LANES - 1) * piece <= block.len(), "all lanes have the row");
    let start = block.as_ptr().wrapping_add(at);
    for part in (0..ROW).step_by(16) {
        // SAFETY: the caller vouches for the processor; the rows are there, as asserted, and columns are as long as
        // there are lanes at least.
        unsafe {
            let from = start.add(part);
            // Each register takes 16 bytes of the lanes j, j + 16, j + 32 …
            macro_rules! rows {
                ($($j:literal)*) => { [$(V::gather(from.add($j * piece), 16 * piece)),*] };
            }
            let mut registers = rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
            // Interleaving each register with the eighth after it, four times, is a transposition.
            registers = interleave(interleave(interleave(interleave(registers))));
            for (register, column) in registers.into_iter().zip(&mut columns.0[part..]) {
                register.store(column.as_mut_ptr());
            }
        }
    }
}

/// 0 with 8, 1 with 9, … each pair giving two neighbours.
#[inline(always)]
unsafe fn interleave<V: Vector>(registers: [V; 16]) -> [V; 16] {
    macro_rules! pairs {
        ($($i:literal)*) => { [$(registers[$i].unpack(registers[$i + 8])),*] };
    }
    // SAFETY: the caller vouches for the processor.
    let pairs = unsafe { pairs!(0 1 2 3 4 5 6 7) };
    *pairs.as_flattened().first_chunk().expect("eight pairs are sixteen")
}
