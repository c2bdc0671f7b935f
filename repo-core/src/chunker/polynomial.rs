//! Polynomials over GF(2), for the rolling hash.
//!
//! In: 64 bits, or hex text from a config. Out: whether they are fit for chunking, and arithmetic modulo one.
//! Every repository has its own random polynomial, so that chunk lengths of well-known files do not give them
//! away. Slow and plain: used once per run, to fill tables.

use std::fmt;
use std::str::FromStr;

use crate::context::Random;

/// A polynomial over GF(2): bit i is the coefficient of xⁱ. Written as hex, without leading zeros.
///
/// ```
/// use repo_core::chunker::Polynomial;
///
/// let polynomial: Polynomial = "3da3358b4dc173".parse()?;
/// assert_eq!(polynomial.degree(), Some(53));
/// assert!(polynomial.is_irreducible());
/// # Ok::<(), repo_core::chunker::ParsePolynomialError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Polynomial(pub u64);

/// The degree every polynomial for chunking has.
pub(super) const DEGREE: u32 = 53;

impl Polynomial {
    /// A new random polynomial fit for chunking: degree 53, irreducible.
    ///
    /// About one candidate in 26 is; a candidate costs microseconds and 8 random bytes.
    ///
    /// # Panics
    /// If a million candidates are no good: `random` is not random.
    pub fn random(random: &dyn Random) -> Self {
        (0..1_000_000)
            .map(|_| Self(random.number() & ((2 << DEGREE) - 1) | 1 << DEGREE | 1))
            .find(|candidate| candidate.is_irreducible())
            .expect("one candidate in 26 is irreducible, unless the source of randomness is stuck")
    }

    /// The highest power with a coefficient; `None` for the zero polynomial.
    pub fn degree(self) -> Option<u32> {
        self.0.checked_ilog2()
    }

    /// Whether it is no product of polynomials of lower degree. Ben-Or's test.
    pub fn is_irreducible(self) -> bool {
        let Some(degree @ 1..) = self.degree() else { return false };
        let x = 2 % self;
        let mut power = x; // x^(2^i) mod self
        (1..=degree / 2).all(|_| {
            power = self.multiply(power, power);
            gcd(self.0, power ^ x) == 1
        })
    }

    /// a · b mod self, for a and b reduced already.
    pub(super) fn multiply(self, a: u64, b: u64) -> u64 {
        let Some(degree @ 1..) = self.degree() else { return 0 };
        (0..degree).rev().fold(0, |product, bit| {
            let shifted = self.times_x(product, degree);
            shifted ^ if b >> bit & 1 == 1 { a } else { 0 }
        })
    }

    /// a · xⁿ mod self.
    pub(super) fn shift(self, a: u64, n: u32) -> u64 {
        let Some(degree @ 1..) = self.degree() else { return 0 };
        (0..n).fold(a % self, |product, _| self.times_x(product, degree))
    }

    fn times_x(self, a: u64, degree: u32) -> u64 {
        // Of degree 63, the top bit of a is shifted out, and its reduction lacks just that bit.
        let reduce = if a >> (degree - 1) & 1 == 1 { self.0 } else { 0 };
        a << 1 ^ reduce
    }
}

impl std::ops::Rem<Polynomial> for u64 {
    type Output = Self;

    /// The remainder of the division of polynomials.
    ///
    /// # Panics
    /// If the divisor is zero.
    fn rem(self, by: Polynomial) -> Self {
        let degree = by.degree().expect("nothing is divided by the zero polynomial");
        let mut rest = self;
        while let Some(excess) = Polynomial(rest).degree().and_then(|own| own.checked_sub(degree)) {
            rest ^= by.0 << excess;
        }
        rest
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % Polynomial(b)) }
}

impl fmt::Display for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::Debug for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Polynomial({self})")
    }
}

/// Returned when a text is not 1 to 16 hex digits (besides leading zeros).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a polynomial is a hexadecimal number of at most 64 bits")]
pub struct ParsePolynomialError;

impl FromStr for Polynomial {
    type Err = ParsePolynomialError;

    /// Reads hex digits of either case.
    fn from_str(text: &str) -> Result<Self, ParsePolynomialError> {
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParsePolynomialError); // a sign, for one
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| ParsePolynomialError)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::chunker::tests::{stream, vectors};

    fn hex(value: &serde_json::Value) -> Polynomial {
        value.as_str().unwrap().parse().unwrap()
    }

    #[test]
    fn samples_are_told_apart() {
        let vectors = vectors();
        for sample in vectors["irreducible"].as_array().unwrap() {
            assert!(hex(sample).is_irreducible(), "{sample}");
            assert_eq!(hex(sample).degree(), Some(DEGREE));
        }
        for sample in vectors["reducible_examples"].as_array().unwrap() {
            assert!(!hex(sample).is_irreducible(), "{sample}");
        }
    }

    #[test]
    fn small_polynomials_agree_with_trial_division() {
        for candidate in 0..1 << 12 {
            let divides = |by: u64| candidate % Polynomial(by) == 0;
            let polynomial = Polynomial(candidate);
            let by_trial = candidate > 1
                && (2..candidate).all(|by| Polynomial(by).degree() == polynomial.degree() || !divides(by));
            assert_eq!(polynomial.is_irreducible(), by_trial, "{polynomial}");
        }
    }

    #[test]
    fn multiplication_agrees_with_shifts_and_sums() {
        let polynomial = Polynomial(0x003d_a335_8b4d_c173);
        let (a, b) = (0x0012_3456_789a_bcde, 0x000f_edcb_a987_6543);
        let by_shifts =
            (0..53).filter(|bit| b >> bit & 1 == 1).fold(0, |sum, bit| sum ^ polynomial.shift(a, bit));
        assert_eq!(polynomial.multiply(a, b), by_shifts);
        assert_eq!(polynomial.multiply(b, a), by_shifts);
        assert!(Polynomial(1 << 63 | 0b11011).shift(1, 1000) < 1 << 63);
    }

    /// Gives the bytes of the vectors' counter stream, eight at a time.
    struct Stream(Vec<u8>, AtomicU64);

    impl Random for Stream {
        fn fill(&self, buffer: &mut [u8]) {
            let at = usize::try_from(self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed)).unwrap();
            buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
        }
    }

    #[test]
    fn random_bytes_give_the_polynomial_they_give_restic() {
        for row in vectors()["derive"].as_array().unwrap() {
            let seed = row["source"].as_str().unwrap().split('"').nth(1).unwrap();
            let random = Stream(stream(seed, 1 << 12), AtomicU64::new(0));
            assert_eq!(Polynomial::random(&random), hex(&row["polynomial"]), "{seed}");
            assert_eq!(random.1.into_inner(), 8 * row["candidates_read"].as_u64().unwrap(), "{seed}");
        }
    }

    #[test]
    #[should_panic(expected = "stuck")]
    fn stuck_randomness_gives_no_polynomial() {
        struct Stuck;
        impl Random for Stuck {
            fn fill(&self, buffer: &mut [u8]) {
                buffer.fill(0);
            }
        }
        Polynomial::random(&Stuck);
    }

    #[test]
    fn text_is_hex_without_leading_zeros() {
        for (text, value) in
            [("3da3358b4dc173", 0x003d_a335_8b4d_c173), ("0", 0), ("ffffffffffffffff", u64::MAX)]
        {
            assert_eq!(text.parse(), Ok(Polynomial(value)));
            assert_eq!(Polynomial(value).to_string(), text);
        }
        assert_eq!("003DA".parse(), Ok(Polynomial(0x3da)));
        for text in ["", "0x3da", "-3", "+3", " 3", "g", "10000000000000000", "３"] {
            assert_eq!(text.parse::<Polynomial>(), Err(ParsePolynomialError), "{text}");
        }
    }

    #[test]
    fn stream_is_the_one_of_the_vectors() {
        let vectors = vectors();
        let hex: String = vectors["vectors"][0]["input_sha256"].as_str().unwrap().into();
        let digest = Sha256::digest(stream("restic-vector-1", 16 << 20));
        assert!(digest.iter().zip(0..).all(|(byte, i)| hex[2 * i..2 * i + 2] == format!("{byte:02x}")));
    }
}
