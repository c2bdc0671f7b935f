//! Finding the first place where the rolling hash ends in 20 zero bits.
//!
//! In: bytes and a range of positions in them. Out: the first position in the range where a cut may fall. The
//! hash at a position depends on the 64 bytes before it alone, so positions can be looked at in any order and
//! any number side by side. `scalar` is the specification; `lanes` does the same, several positions at a time.

mod scalar;
mod lanes;

use crate::chunker::polynomial::{DEGREE, Polynomial};

/// The hash covers so many bytes.
pub(super) const WINDOW: usize = 64;

/// A cut falls where these bits of the hash are zero: every 2²⁰ bytes on average.
const MASK: u64 = (1 << 20) - 1;

/// What a byte does to the hash, for one polynomial P.
struct Tables {
    /// `b` leaves the window before the hash is shifted: b · x^(8·63) mod P.
    leave: [u64; 256],
    /// `b` leaves the window after the hash was shifted: b · x^(8·64) mod P.
    leave_after: [u64; 256],
    /// `b` was shifted out at the top: cleared there, and b · x^53 mod P added.
    reduce: [u64; 256],
}

impl Tables {
    fn new(polynomial: Polynomial) -> Self {
        let table = |entry: &dyn Fn(u64) -> u64| {
            let mut table = [0; 256];
            table.iter_mut().zip(0..).for_each(|(slot, byte)| *slot = entry(byte));
            table
        };
        Self {
            leave: table(&|byte| polynomial.shift(byte, 8 * 63)),
            leave_after: table(&|byte| polynomial.shift(byte, 8 * 64)),
            reduce: table(&|byte| polynomial.shift(byte, DEGREE) | byte << DEGREE),
        }
    }
}

/// Looks for cuts with one polynomial. Shared between threads.
pub(super) struct Scanner {
    tables: Box<Tables>,
}

impl Scanner {
    /// Prepares the tables. The polynomial has degree 53.
    pub(super) fn new(polynomial: Polynomial) -> Self {
        Self { tables: Box::new(Tables::new(polynomial)) }
    }

    /// The first position p with `from` ≤ p ≤ `to` where the hash of the 64 bytes before p ends in 20 zero bits.
    ///
    /// 64 < `from`, and `to` ≤ `data.len()`; an empty range has none.
    pub(super) fn scan(&self, data: &[u8], from: usize, to: usize) -> Option<usize> {
        lanes::scan(&self.tables, data, from, to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunker::tests::{PATTERNS, irreducible, vectors};

    #[test]
    fn tables_are_those_of_the_vectors() {
        let vectors = vectors();
        let tables = Tables::new(vectors["polynomial"].as_str().unwrap().parse().unwrap());
        for (byte, row) in vectors["tables"].as_object().unwrap() {
            let byte: usize = byte.parse().unwrap();
            let hex = |name: &str| u64::from_str_radix(row[name].as_str().unwrap(), 16).unwrap();
            assert_eq!(tables.leave[byte], hex("out"), "{byte}");
            assert_eq!(tables.reduce[byte], hex("mod"), "{byte}");
        }
    }

    #[test]
    fn digests_at_the_cuts_are_those_of_the_vectors() {
        use crate::chunker::tests::{chunks_of, inputs};
        let vectors = vectors();
        let tables = Tables::new(vectors["polynomial"].as_str().unwrap().parse().unwrap());
        for (row, input) in inputs() {
            for chunk in chunks_of(&row) {
                let end = chunk.offset + chunk.len;
                if chunk.digest != 0 {
                    assert_eq!(scalar::digest(&tables, &input[end - WINDOW..end]), chunk.digest);
                }
            }
        }
    }

    /// Every path gives what the specification gives.
    fn check(polynomial: Polynomial, data: &[u8], from: usize, to: usize) {
        let scanner = Scanner::new(polynomial);
        let expected = scalar::scan(&scanner.tables, data, from, to);
        assert_eq!(lanes::scan(&scanner.tables, data, from, to), expected, "lanes, {from}..={to}");
        assert_eq!(scanner.scan(data, from, to), expected, "default, {from}..={to}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn all_kernels_agree(
            polynomial in irreducible(),
            pattern in 0..PATTERNS.len(),
            seed: u64,
            len in 200_usize..400_000,
            ends: (prop::sample::Index, prop::sample::Index),
        ) {
            let data = PATTERNS[pattern](seed, len);
            let (a, b) = (65 + ends.0.index(len - 65), 65 + ends.1.index(len - 65));
            check(polynomial, &data, a.min(b), a.max(b));
            check(polynomial, &data, 65, len);
            check(polynomial, &data, a, a);
            check(polynomial, &data, a, a - 1);
        }
    }

    /// A cut at any one place of otherwise cut-free bytes is found there.
    #[test]
    fn cut_is_found_at_every_place() {
        let polynomial = Polynomial(0x003d_a335_8b4d_c173);
        let scanner = Scanner::new(polynomial);
        // 64 zero bytes hash to zero; ff bytes never do.
        for at in (129..40_000).step_by(61).chain(16_000..16_800) {
            let mut data = vec![0xff; 40_000];
            data[at - WINDOW..at].fill(0);
            assert_eq!(scanner.scan(&data, 65, data.len()), Some(at));
            assert_eq!(scanner.scan(&data, 65, at), Some(at));
            assert_eq!(scanner.scan(&data, 65, at - 1), None);
            assert_eq!(scanner.scan(&data, at, data.len()), Some(at));
            assert_eq!(scanner.scan(&data, at + 1, data.len()), None);
        }
    }
}
