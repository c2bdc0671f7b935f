//! The SHA instructions of x86-64, for up to four messages in one loop.
//!
//! The instructions want the eight words of the state in two registers, as A B E F and C D G H, and do two rounds at a
//! time. Four rounds of every message follow each other, then the next four: while one message waits for its answer, the
//! others are asked. With AVX the other instructions need not save what they overwrite, which is a quarter of the time.

#![expect(unsafe_code, reason = "vector instructions need the promise that the processor has them")]

#[allow(clippy::wildcard_imports, reason = "intrinsics carry their own prefix")]
use std::arch::x86_64::*;

use super::{BLOCK, State};

/// The constants of the 64 rounds (FIPS 180-4, section 4.2.2), four to a register.
#[rustfmt::skip]
const K: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5], [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3], [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc], [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7], [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13], [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3], [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5], [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208], [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// Takes all blocks into the states. There are as many blocks for each; more for one of them would stay out.
///
/// # Safety
/// The processor has the instructions named.
#[target_feature(enable = "sha,avx")]
pub(super) unsafe fn compress<const N: usize>(input: [(&mut State, &[u8]); N]) {
    let blocks = input.iter().map(|(_, bytes)| bytes.len()).min().unwrap_or(0) / BLOCK;
    // SAFETY: a state is eight words.
    let mut lanes: [(__m128i, __m128i); N] = std::array::from_fn(|lane| unsafe { enter(input[lane].0) });
    let mut words = [[_mm_setzero_si128(); 4]; N];
    for block in 0..blocks {
        let before = lanes;
        macro_rules! rounds {
            ($($group:literal)*) => {$(
                // SAFETY: four words of the table.
                let constants = unsafe { _mm_loadu_si128(K[$group].as_ptr().cast()) };
                for lane in 0..N {
                    let words = &mut words[lane];
                    words[$group % 4] = if $group < 4 {
                        // SAFETY: every slice has so many blocks, of four times sixteen bytes.
                        unsafe { read(input[lane].1.as_ptr().add(block * BLOCK + $group * 16)) }
                    } else {
                        next(std::array::from_fn(|age| words[($group + age) % 4]))
                    };
                    let words = _mm_add_epi32(words[$group % 4], constants);
                    let (abef, cdgh) = &mut lanes[lane];
                    *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, words);
                    *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32::<0x0e>(words));
                }
            )*};
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for ((abef, cdgh), before) in lanes.iter_mut().zip(before) {
            *abef = _mm_add_epi32(*abef, before.0);
            *cdgh = _mm_add_epi32(*cdgh, before.1);
        }
    }
    for ((state, _), lane) in input.into_iter().zip(lanes) {
        // SAFETY: a state is eight words.
        unsafe { leave(lane, state) };
    }
}

/// Four words of the message, whose bytes come the other way round.
///
/// # Safety
/// The processor has the instructions named, and 16 bytes may be read.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn read(from: *const u8) -> __m128i {
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    // SAFETY: so many bytes may be read, says the caller.
    _mm_shuffle_epi8(unsafe { _mm_loadu_si128(from.cast()) }, swap)
}

/// Four words of the message schedule, from the sixteen before them, oldest first.
#[inline]
#[target_feature(enable = "sha,avx")]
fn next([oldest, second, third, newest]: [__m128i; 4]) -> __m128i {
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(oldest, second), _mm_alignr_epi8::<4>(newest, third));
    _mm_sha256msg2_epu32(sum, newest)
}

/// A B C D, E F G H in memory → A B E F, C D G H in registers.
///
/// # Safety
/// The processor has the instructions named.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn enter(state: &State) -> (__m128i, __m128i) {
    // SAFETY: the state is eight words.
    let (abcd, efgh) =
        unsafe { (_mm_loadu_si128(state.as_ptr().cast()), _mm_loadu_si128(state.as_ptr().add(4).cast())) };
    let cdab = _mm_shuffle_epi32::<0xb1>(abcd);
    let efgh = _mm_shuffle_epi32::<0x1b>(efgh);
    (_mm_alignr_epi8::<8>(cdab, efgh), _mm_blend_epi16::<0xf0>(efgh, cdab))
}

/// The way back.
///
/// # Safety
/// The processor has the instructions named.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn leave((abef, cdgh): (__m128i, __m128i), state: &mut State) {
    let feba = _mm_shuffle_epi32::<0x1b>(abef);
    let dchg = _mm_shuffle_epi32::<0xb1>(cdgh);
    let dcba = _mm_blend_epi16::<0xf0>(feba, dchg);
    let hgef = _mm_alignr_epi8::<8>(dchg, feba);
    // SAFETY: the state is eight words.
    unsafe {
        _mm_storeu_si128(state.as_mut_ptr().cast(), dcba);
        _mm_storeu_si128(state.as_mut_ptr().add(4).cast(), hgef);
    }
}
