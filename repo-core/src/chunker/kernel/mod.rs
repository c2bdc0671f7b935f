//! Finding the first place where the rolling hash ends in 20 zero bits.
//!
//! In: bytes and a range of positions in them. Out: the first position in the range where a cut may fall. The
//! hash at a position depends on the 64 bytes before it alone, so positions can be looked at in any order and
//! any number side by side. `scalar` is the specification; `lanes` does the same for several positions at a time
//! on any processor; `sliced` for many of them with vector registers. Which one runs is decided once, by what the
//! processor offers.
//!
//! Time per byte on one core of a Zen 4 at some 3.7 GHz, bytes from memory: `scalar` 2.4 ns, `lanes` 0.7, AVX2 0.27,
//! AVX2 with GFNI 0.15, AVX-512 with GFNI 0.12. The bench `stages` measures the one that runs.

mod scalar;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod sliced;
#[cfg(target_arch = "x86_64")]
mod x86;

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
    kernel: Kernel,
}

/// What does the work. A variant's existence says that the processor can run it.
enum Kernel {
    Lanes,
    #[cfg(target_arch = "x86_64")]
    Avx2(Box<sliced::Maps<x86::Avx2>>),
    #[cfg(target_arch = "x86_64")]
    Avx2Gfni(Box<sliced::Maps<x86::Avx2Gfni>>),
    #[cfg(target_arch = "x86_64")]
    Avx512Gfni(Box<sliced::Maps<x86::Avx512Gfni>>),
}

impl Kernel {
    /// All that this processor can run, fastest last.
    #[cfg(target_arch = "x86_64")]
    fn all(tables: &Tables) -> Vec<Self> {
        use std::arch::is_x86_feature_detected as has;
        let mut kernels = vec![Self::Lanes];
        if has!("avx2") {
            kernels.push(Self::Avx2(Box::new(sliced::Maps::new(tables))));
        }
        if has!("avx2") && has!("gfni") {
            kernels.push(Self::Avx2Gfni(Box::new(sliced::Maps::new(tables))));
        }
        if has!("avx512f") && has!("avx512bw") && has!("gfni") {
            kernels.push(Self::Avx512Gfni(Box::new(sliced::Maps::new(tables))));
        }
        kernels
    }

    /// All that this processor can run, fastest last.
    #[cfg(not(target_arch = "x86_64"))]
    fn all(_: &Tables) -> Vec<Self> {
        vec![Self::Lanes]
    }
}

impl Scanner {
    /// Prepares the tables and picks the kernel. The polynomial has degree 53.
    pub(super) fn new(polynomial: Polynomial) -> Self {
        let tables = Box::new(Tables::new(polynomial));
        let kernel = Kernel::all(&tables).pop().unwrap_or(Kernel::Lanes);
        Self { tables, kernel }
    }

    /// One for every kernel that this processor can run.
    #[cfg(test)]
    fn every(polynomial: Polynomial) -> Vec<Self> {
        let kernels = Kernel::all(&Tables::new(polynomial)).into_iter();
        kernels.map(|kernel| Self { tables: Box::new(Tables::new(polynomial)), kernel }).collect()
    }

    /// The first position p with `from` ≤ p ≤ `to` where the hash of the 64 bytes before p ends in 20 zero bits.
    ///
    /// 64 < `from`, and `to` ≤ `data.len()`; an empty range has none.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(unsafe_code, reason = "calls kernels for processors that have them")
    )]
    pub(super) fn scan(&self, data: &[u8], from: usize, to: usize) -> Option<usize> {
        if from > to {
            return None;
        }
        // SAFETY (all calls): such a kernel was only made where the processor has its instructions.
        match &self.kernel {
            Kernel::Lanes => lanes::scan(&self.tables, data, from, to),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(maps) => unsafe { x86::scan_avx2(&self.tables, maps, data, from, to) },
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2Gfni(maps) => unsafe { x86::scan_avx2_gfni(&self.tables, maps, data, from, to) },
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Gfni(maps) => unsafe { x86::scan_avx512_gfni(&self.tables, maps, data, from, to) },
        }
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

    /// Every kernel gives what the specification gives.
    fn check(polynomial: Polynomial, data: &[u8], from: usize, to: usize) {
        let tables = Tables::new(polynomial);
        let expected = scalar::scan(&tables, data, from, to);
        for (kernel, scanner) in Scanner::every(polynomial).iter().enumerate() {
            assert_eq!(scanner.scan(data, from, to), expected, "kernel {kernel}, {from}..={to}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

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

    /// A cut at any one place of otherwise cut-free bytes is found there, and so is the first of two.
    #[test]
    fn cut_is_found_at_every_place() {
        let (len, polynomial) = (150_000, Polynomial(0x003d_a335_8b4d_c173));
        for (kernel, scanner) in Scanner::every(polynomial).iter().enumerate() {
            // 64 zero bytes hash to zero; ff bytes never do.
            let mut data = vec![0xff; len];
            for at in (129..len).step_by(4999).chain(16_450..16_530).chain(135_200..135_270) {
                data[at - WINDOW..at].fill(0);
                for start in [65, 100] {
                    assert_eq!(scanner.scan(&data, start, len), Some(at), "kernel {kernel}, from {start}");
                }
                assert_eq!(scanner.scan(&data, 65, at), Some(at), "kernel {kernel}");
                assert_eq!(scanner.scan(&data, 65, at - 1), None, "kernel {kernel}");
                assert_eq!(scanner.scan(&data, at, len), Some(at), "kernel {kernel}");
                assert_eq!(scanner.scan(&data, at + 1, len), None, "kernel {kernel}");
                let second = at + (len - at) / 3 + WINDOW;
                if second < len {
                    data[second - WINDOW..second].fill(0);
                    assert_eq!(scanner.scan(&data, 65, len), Some(at), "kernel {kernel}, two cuts");
                    assert_eq!(scanner.scan(&data, at + 1, len), Some(second), "kernel {kernel}, two cuts");
                    data[second - WINDOW..second].fill(0xff);
                }
                data[at - WINDOW..at].fill(0xff);
            }
        }
    }
}
