//! AES-256 in counter mode, as restic uses it: the counter block is all 16 bytes of the IV, big-endian, and
//! wraps at 2¹²⁸.
//!
//! In: bytes and an IV. Out: the same number of bytes. Its own inverse. Never checks anything; see `mac`.

use aes::Aes256Enc;
use ctr::cipher::{InnerIvInit as _, KeyInit as _, StreamCipher as _};
use ctr::{Ctr128BE, CtrCore};

/// Length of an IV in bytes.
pub(super) const IV_LEN: usize = 16;

/// An expanded AES-256 key; expanding costs as much as a good part of a kibibyte, so it is kept.
/// Wiped when dropped.
pub(super) struct Cipher(Aes256Enc);

/// One message's key stream, consumed from its start.
pub(super) struct KeyStream<'a>(Ctr128BE<&'a Aes256Enc>);

impl Cipher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Enc::new(key.into()))
    }

    pub(super) fn stream(&self, iv: &[u8; IV_LEN]) -> KeyStream<'_> {
        KeyStream(Ctr128BE::from_core(CtrCore::inner_iv_init(&self.0, iv.into())))
    }
}

impl KeyStream<'_> {
    /// Appends the next `from.len()` bytes to `out`, encrypted or decrypted. Meant for steps that fit the L1
    /// cache: the bytes are first copied, then worked on in place.
    pub(super) fn append(&mut self, from: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(from);
        self.0.apply_keystream(&mut out[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One block by AES alone.
    fn block(cipher: &Cipher, counter: u128) -> [u8; 16] {
        use aes::cipher::BlockCipherEncrypt as _;
        let mut block = counter.to_be_bytes().into();
        cipher.0.encrypt_block(&mut block);
        block.into()
    }

    #[test]
    fn counter_runs_over_all_128_bits_and_wraps() {
        let cipher = Cipher::new(&std::array::from_fn(|i| u8::try_from(i).unwrap()));
        for iv in [0x1234, u128::from(u32::MAX), u128::from(u64::MAX) - 1, (1 << 96) - 2, u128::MAX - 1] {
            let mut stream = Vec::new();
            cipher.stream(&iv.to_be_bytes()).append(&[0; 16 * 40], &mut stream);
            for (i, part) in (0..).zip(stream.chunks(16)) {
                assert_eq!(part, block(&cipher, iv.wrapping_add(i)), "iv {iv:x}, block {i}");
            }
        }
    }

    #[test]
    fn steps_do_not_matter() {
        let cipher = Cipher::new(&[7; 32]);
        let plain: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mut whole = Vec::new();
        cipher.stream(&[9; 16]).append(&plain, &mut whole);
        for step in [1, 15, 16, 17, 160, 999] {
            let mut stream = cipher.stream(&[9; 16]);
            let mut out = Vec::new();
            plain.chunks(step).for_each(|part| stream.append(part, &mut out));
            assert_eq!(out, whole, "step {step}");
        }
    }
}
