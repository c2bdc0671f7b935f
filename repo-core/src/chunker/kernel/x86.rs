//! The vector instructions of x86-64: AVX2, with GFNI or without, and AVX-512 with GFNI.
//!
//! GFNI applies a linear map to every byte in one instruction, its matrix being the map. Without it the map of the
//! lower and of the upper four bits are two tables of 16 entries, looked up by byte shuffles.

#![expect(unsafe_code, reason = "vector instructions need the promise that the processor has them")]
#![expect(
    clippy::inline_always,
    reason = "vector code must end up inside the function that enables its instructions"
)]

#[allow(clippy::wildcard_imports, reason = "intrinsics carry their own prefix")]
use std::arch::x86_64::*;

use super::Tables;
use super::sliced::{self, Bits, Maps, Vector};

macro_rules! tier {
    ($(#[$doc:meta])* $scan:ident, $vector:ident, $features:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The processor has the instructions named.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $scan(
            tables: &Tables,
            maps: &Maps<$vector>,
            data: &[u8],
            from: usize,
            to: usize,
        ) -> Option<usize> {
            // SAFETY: this function's own features are those of the vector.
            unsafe { sliced::scan(tables, maps, data, from, to) }
        }
    };
}

tier!(
    /// 64 lanes.
    scan_avx512_gfni, Avx512Gfni, "avx512f,avx512bw,gfni"
);
tier!(
    /// 32 lanes.
    scan_avx2_gfni, Avx2Gfni, "avx2,gfni"
);
tier!(
    /// 32 lanes.
    scan_avx2, Avx2, "avx2"
);

/// The matrix of a map as GFNI wants it: the row for result bit i in byte 7 − i.
fn matrix(bits: Bits) -> i64 {
    let row = |i: u32| (0..8).fold(0, |row, bit: u8| row | (bits[usize::from(bit)] >> i & 1) << bit);
    i64::from_be_bytes(std::array::from_fn(|i| row(u32::try_from(i).unwrap_or(0))))
}

/// The values a map has for the numbers below 16, shifted left by `shift` bits; twice, for both halves.
fn nibbles(bits: Bits, shift: usize) -> [u8; 32] {
    std::array::from_fn(|at| {
        (0..4).filter(|bit| at >> bit & 1 == 1).fold(0, |value, bit| value ^ bits[bit + shift])
    })
}

/// The 16 bytes there.
#[inline(always)]
unsafe fn sixteen(from: *const u8) -> __m128i {
    // SAFETY: 16 bytes may be read there, says the caller, and every x86-64 has SSE2.
    unsafe { _mm_loadu_si128(from.cast()) }
}

#[derive(Clone, Copy)]
pub(super) struct Avx512Gfni(__m512i);

// SAFETY (each method): the instructions are there, says the caller; pointers are those the trait describes.
unsafe impl Vector for Avx512Gfni {
    const LANES: usize = 64;
    type Map = i64;
    type Operand = __m512i;

    fn map(bits: Bits) -> i64 {
        matrix(bits)
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Self(_mm512_setzero_si512()) }
    }

    #[inline(always)]
    unsafe fn gather(from: *const u8, stride: usize) -> Self {
        unsafe {
            let all = _mm512_castsi128_si512(sixteen(from));
            let all = _mm512_inserti32x4::<1>(all, sixteen(from.add(stride)));
            let all = _mm512_inserti32x4::<2>(all, sixteen(from.add(2 * stride)));
            Self(_mm512_inserti32x4::<3>(all, sixteen(from.add(3 * stride))))
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        unsafe { Self(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn unpack(self, other: Self) -> [Self; 2] {
        unsafe { [Self(_mm512_unpacklo_epi8(self.0, other.0)), Self(_mm512_unpackhi_epi8(self.0, other.0))] }
    }

    #[inline(always)]
    unsafe fn operand(self) -> __m512i {
        self.0
    }

    #[inline(always)]
    unsafe fn apply(map: &i64, to: __m512i) -> Self {
        unsafe { Self(_mm512_gf2p8affine_epi64_epi8::<0>(to, _mm512_set1_epi64(*map))) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        unsafe { Self(_mm512_xor_si512(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn xor3(self, second: Self, third: Self) -> Self {
        unsafe { Self(_mm512_ternarylogic_epi64::<0x96>(self.0, second.0, third.0)) }
    }

    #[inline(always)]
    unsafe fn both_zero(self, other: Self) -> u64 {
        unsafe {
            let either = _mm512_or_si512(self.0, other.0);
            _mm512_testn_epi8_mask(either, either)
        }
    }

    #[inline(always)]
    unsafe fn low_bits_zero(self) -> u64 {
        unsafe { _mm512_testn_epi8_mask(self.0, _mm512_set1_epi8(0x7f)) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}

/// What both kinds of AVX2 do alike.
macro_rules! avx2 {
    () => {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm256_setzero_si256()) }
        }

        #[inline(always)]
        unsafe fn gather(from: *const u8, stride: usize) -> Self {
            unsafe {
                let all = _mm256_castsi128_si256(sixteen(from));
                Self(_mm256_inserti128_si256::<1>(all, sixteen(from.add(stride))))
            }
        }

        #[inline(always)]
        unsafe fn load(from: *const u8) -> Self {
            unsafe { Self(_mm256_loadu_si256(from.cast())) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut u8) {
            unsafe { _mm256_storeu_si256(to.cast(), self.0) }
        }

        #[inline(always)]
        unsafe fn unpack(self, other: Self) -> [Self; 2] {
            unsafe {
                [Self(_mm256_unpacklo_epi8(self.0, other.0)), Self(_mm256_unpackhi_epi8(self.0, other.0))]
            }
        }

        #[inline(always)]
        unsafe fn xor(self, other: Self) -> Self {
            unsafe { Self(_mm256_xor_si256(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn xor3(self, second: Self, third: Self) -> Self {
            unsafe { self.xor(second.xor(third)) }
        }

        #[inline(always)]
        unsafe fn both_zero(self, other: Self) -> u64 {
            unsafe { zeros(_mm256_or_si256(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn low_bits_zero(self) -> u64 {
            unsafe { zeros(_mm256_and_si256(self.0, _mm256_set1_epi8(0x7f))) }
        }

        #[inline(always)]
        unsafe fn prefetch(address: *const u8) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
        }
    };
}

/// The zero bytes, as bits.
#[inline(always)]
unsafe fn zeros(bytes: __m256i) -> u64 {
    // SAFETY: AVX2 is there, says the caller.
    let mask = unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_setzero_si256())) };
    u64::from(mask.cast_unsigned())
}

#[derive(Clone, Copy)]
pub(super) struct Avx2Gfni(__m256i);

// SAFETY (each method): the instructions are there, says the caller; pointers are those the trait describes.
unsafe impl Vector for Avx2Gfni {
    const LANES: usize = 32;
    type Map = i64;
    type Operand = __m256i;

    avx2!();

    fn map(bits: Bits) -> i64 {
        matrix(bits)
    }

    #[inline(always)]
    unsafe fn operand(self) -> __m256i {
        self.0
    }

    #[inline(always)]
    unsafe fn apply(map: &i64, to: __m256i) -> Self {
        unsafe { Self(_mm256_gf2p8affine_epi64_epi8::<0>(to, _mm256_set1_epi64x(*map))) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256i);

/// A map's values for the lower and the upper four bits of a byte.
pub(super) struct Nibbles([u8; 32], [u8; 32]);

// SAFETY (each method): the instructions are there, says the caller; pointers are those the trait describes.
unsafe impl Vector for Avx2 {
    const LANES: usize = 32;
    type Map = Nibbles;
    type Operand = [__m256i; 2];

    avx2!();

    fn map(bits: Bits) -> Nibbles {
        Nibbles(nibbles(bits, 0), nibbles(bits, 4))
    }

    #[inline(always)]
    unsafe fn operand(self) -> [__m256i; 2] {
        unsafe {
            let low = _mm256_set1_epi8(0x0f);
            [_mm256_and_si256(self.0, low), _mm256_and_si256(_mm256_srli_epi16::<4>(self.0), low)]
        }
    }

    #[inline(always)]
    unsafe fn apply(map: &Nibbles, to: [__m256i; 2]) -> Self {
        unsafe {
            let low = _mm256_shuffle_epi8(_mm256_loadu_si256(map.0.as_ptr().cast()), to[0]);
            let high = _mm256_shuffle_epi8(_mm256_loadu_si256(map.1.as_ptr().cast()), to[1]);
            Self(_mm256_xor_si256(low, high))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_both_forms_are_those_of_the_bits() {
        let bits: Bits = [0x1b, 0x80, 0x01, 0xff, 0x00, 0x33, 0x5a, 0xc4];
        let expected =
            |byte: usize| (0..8).filter(|bit| byte >> bit & 1 == 1).fold(0, |value, bit| value ^ bits[bit]);
        let (low, high, matrix) = (nibbles(bits, 0), nibbles(bits, 4), matrix(bits).to_le_bytes());
        for byte in 0..256 {
            assert_eq!(low[byte % 16] ^ high[16 + byte / 16], expected(byte));
            let by_matrix = (0..8).fold(0, |value, i: usize| {
                let ones = (matrix[7 - i] & u8::try_from(byte).unwrap()).count_ones();
                value | u8::from(ones % 2 == 1) << i
            });
            assert_eq!(by_matrix, expected(byte));
        }
    }
}
