//! The key that seals and opens: AES-256 for secrecy, Poly1305-AES for authenticity.
//!
//! In: plain bytes, randomness. Out: sealed bytes, [`OVERHEAD`] longer; and back. The tag is checked first,
//! in constant time, and nothing is decrypted before it holds.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::context::Random;
use crate::crypto::cipher::{Cipher, IV_LEN};
use crate::crypto::mac::{Mac, TAG_LEN};

/// How much longer sealed bytes are than plain ones: IV 16 + tag 16.
pub const OVERHEAD: usize = IV_LEN + TAG_LEN;

/// Bytes worked on at a time: encrypted, then authenticated while still in the L1 cache. Whole blocks.
const STEP: usize = 8 << 10;

/// The bytes are not what a holder of this key sealed. Deliberately says no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not authentic: damaged, or sealed with another key")]
pub struct Unauthentic;

/// A part of a key consists of zero bytes only, which no generator gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the key is all zero")]
pub struct InvalidKey;

/// A key of a repository: its master key, or the one derived from a password that opens the master key.
///
/// Holds the expanded key schedules too, so that sealing a small blob does not pay for them. Wiped when
/// dropped; cannot be printed, cloned or serialised.
///
/// ```
/// use repo_core::context::SystemRandom;
/// use repo_core::crypto::{Key, OVERHEAD};
///
/// let key = Key::generate(&SystemRandom);
/// let (mut sealed, mut plain) = (Vec::new(), Vec::new());
/// key.seal(&SystemRandom, b"secret", &mut sealed);
/// assert_eq!(sealed.len(), 6 + OVERHEAD);
/// key.open(&sealed, &mut plain)?;
/// assert_eq!(plain, b"secret");
/// # Ok::<(), repo_core::crypto::Unauthentic>(())
/// ```
pub struct Key(Box<Parts>); // boxed, so that moving a key leaves no copies behind

struct Parts {
    encrypt: Zeroizing<[u8; 32]>,
    mac_k: Zeroizing<[u8; 16]>,
    mac_r: Zeroizing<[u8; 16]>,
    cipher: Cipher,
    mac: Mac,
}

impl Key {
    /// A new random key.
    pub fn generate(random: &dyn Random) -> Self {
        loop {
            let mut bytes = Zeroizing::new([0; 64]);
            random.fill(&mut *bytes);
            if let Ok(key) = Self::from_bytes(&bytes) {
                return key;
            }
        }
    }

    /// Takes the three parts as a key file holds them. Returns [`InvalidKey`] if one is all zero.
    pub fn from_parts(encrypt: &[u8; 32], mac_k: &[u8; 16], mac_r: &[u8; 16]) -> Result<Self, InvalidKey> {
        if is_zero(encrypt) || is_zero(mac_k) || is_zero(mac_r) {
            return Err(InvalidKey);
        }
        Ok(Self(Box::new(Parts {
            encrypt: Zeroizing::new(*encrypt),
            mac_k: Zeroizing::new(*mac_k),
            mac_r: Zeroizing::new(*mac_r),
            cipher: Cipher::new(encrypt),
            mac: Mac::new(mac_k, mac_r),
        })))
    }

    /// Takes 64 bytes in the order of the key derivation: encrypt 32, MAC k 16, MAC r 16.
    pub(super) fn from_bytes(bytes: &[u8; 64]) -> Result<Self, InvalidKey> {
        let (encrypt, mac) = bytes.split_first_chunk::<32>().ok_or(InvalidKey)?;
        let (mac_k, mac_r) = mac.split_first_chunk::<16>().ok_or(InvalidKey)?;
        Self::from_parts(encrypt, mac_k, mac_r.try_into().map_err(|_| InvalidKey)?)
    }

    /// The AES-256 key. A secret: only for writing it, sealed, into a key file.
    pub fn encrypt(&self) -> &[u8; 32] {
        &self.0.encrypt
    }

    /// The MAC's AES-128 key. A secret: only for writing it, sealed, into a key file.
    pub fn mac_k(&self) -> &[u8; 16] {
        &self.0.mac_k
    }

    /// The MAC's `r` as it was given, clamped or not. A secret: only for writing it, sealed, into a key file.
    pub fn mac_r(&self) -> &[u8; 16] {
        &self.0.mac_r
    }

    /// Appends `plain`, sealed under a fresh random IV, to `out`: `plain.len()` + [`OVERHEAD`] bytes.
    ///
    /// # Panics
    /// If `random` gives nothing but zero bytes: sealing under a broken generator would reveal the content.
    pub fn seal(&self, random: &dyn Random, plain: &[u8], out: &mut Vec<u8>) {
        let mut iv = [0; IV_LEN];
        random.fill(&mut iv);
        assert!(!is_zero(&iv), "the source of randomness gives zero bytes only");
        self.seal_with(&iv, plain, out);
    }

    fn seal_with(&self, iv: &[u8; IV_LEN], plain: &[u8], out: &mut Vec<u8>) {
        out.reserve(plain.len() + OVERHEAD);
        out.extend_from_slice(iv);
        let mut stream = self.0.cipher.stream(iv);
        let mut tagger = self.0.mac.tagger(iv);
        let (whole, last) = plain.split_at(plain.len() - plain.len() % STEP);
        for step in whole.chunks_exact(STEP) {
            let start = out.len();
            stream.append(step, out);
            tagger.blocks(&out[start..]);
        }
        let start = out.len();
        stream.append(last, out);
        let tag = tagger.finish(&out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Replaces the content of `out` with the plain bytes.
    ///
    /// Returns [`Unauthentic`], and leaves `out` empty, if the bytes were not sealed with this key or were
    /// changed since.
    pub fn open(&self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Unauthentic> {
        out.clear();
        let (iv, rest) = sealed.split_first_chunk::<IV_LEN>().ok_or(Unauthentic)?;
        let (cipher_text, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(Unauthentic)?;
        let expected = self.0.mac.tagger(iv).finish(cipher_text);
        if !bool::from(expected.ct_eq(tag)) || is_zero(iv) {
            return Err(Unauthentic);
        }
        out.reserve(cipher_text.len());
        let mut stream = self.0.cipher.stream(iv);
        for step in cipher_text.chunks(STEP) {
            stream.append(step, out);
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::context::SystemRandom;
    use crate::crypto::vectors::{array, hex, key, key_with, vectors};

    /// Gives the same byte for ever.
    struct Stuck(u8);

    impl Random for Stuck {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn vectors_are_sealed_and_opened_to_the_byte() {
        for key in [key(), key_with("mac_r_clamped_hex")] {
            let vectors = vectors();
            for row in vectors["seal"].as_array().unwrap() {
                let (plain, stored) = (hex(&row["plaintext_hex"]), hex(&row["stored_hex"]));
                let mut out = b"before".to_vec();
                key.seal_with(&array(&row["iv_hex"]), &plain, &mut out);
                assert_eq!(out, [b"before", &stored[..]].concat(), "{}", plain.len());
                key.open(&stored, &mut out).unwrap();
                assert_eq!(out, plain);
            }
        }
    }

    #[test]
    fn stored_files_of_the_vectors_open() {
        let (vectors, key, mut out) = (vectors(), key(), Vec::new());
        for (file, stored) in [("config", "stored_hex"), ("snapshot", "stored_plain_json_hex")] {
            key.open(&hex(&vectors[file][stored]), &mut out).unwrap();
            assert_eq!(out, vectors[file]["plaintext"].as_str().unwrap().as_bytes(), "{file}");
        }
    }

    #[test]
    fn every_changed_bit_and_every_missing_end_is_refused() {
        let (key, mut sealed, mut out) = (key(), Vec::new(), Vec::new());
        key.seal(&SystemRandom, b"a few bytes more than one block", &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&changed, &mut out), Err(Unauthentic), "bit {bit}");
            assert!(out.is_empty());
        }
        for len in 0..sealed.len() {
            assert_eq!(key.open(&sealed[..len], &mut out), Err(Unauthentic), "length {len}");
        }
        assert_eq!(Key::generate(&SystemRandom).open(&sealed, &mut out), Err(Unauthentic));
    }

    #[test]
    fn zero_iv_is_refused_though_the_tag_fits() {
        let (key, mut sealed) = (key(), Vec::new());
        key.seal_with(&[0; IV_LEN], b"x", &mut sealed);
        assert_eq!(key.open(&sealed, &mut Vec::new()), Err(Unauthentic));
    }

    #[test]
    #[should_panic(expected = "zero bytes only")]
    fn broken_randomness_seals_nothing() {
        key().seal(&Stuck(0), b"x", &mut Vec::new());
    }

    #[test]
    fn zero_parts_make_no_key() {
        let check = |encrypt, k, r, valid| {
            assert_eq!(Key::from_parts(&[encrypt; 32], &[k; 16], &[r; 16]).is_ok(), valid);
        };
        check(1, 1, 1, true);
        check(0, 1, 1, false);
        check(1, 0, 1, false);
        check(1, 1, 0, false);
    }

    #[test]
    fn generated_key_has_its_parts_in_order() {
        let key = Key::generate(&Stuck(5));
        assert_eq!((key.encrypt(), key.mac_k(), key.mac_r()), (&[5; 32], &[5; 16], &[5; 16]));
    }

    proptest! {
        #[test]
        fn sealed_bytes_open_to_the_plain_ones(seed: [u8; 16], len in 0..3 * STEP + 40) {
            let plain: Vec<u8> = seed.into_iter().cycle().take(len).collect();
            let (key, mut sealed, mut out) = (key(), Vec::new(), vec![1, 2, 3]);
            key.seal(&SystemRandom, &plain, &mut sealed);
            prop_assert_eq!(sealed.len(), len + OVERHEAD);
            key.open(&sealed, &mut out).unwrap();
            prop_assert_eq!(out, plain);
        }
    }
}
