//! Poly1305-AES: the tag over a ciphertext.
//!
//! The one-time key is `r ‖ AES-128(k, IV)`; the message is the ciphertext alone, and a short last block gets
//! its own 1 bit (plain Poly1305, not the zero-padded use inside AEADs). Clamping `r` is done by the crate, so
//! clamped and unclamped stored keys are the same. Never compares; see `key`.

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use poly1305::universal_hash::UniversalHash as _;
use poly1305::{Block, Poly1305};
use zeroize::Zeroizing;

/// Length of a tag in bytes.
pub(super) const TAG_LEN: usize = 16;

/// The long-lived half of the MAC: AES-128 expanded, and `r`. Wiped when dropped.
pub(super) struct Mac {
    cipher: Aes128Enc,
    r: Zeroizing<[u8; 16]>,
}

/// One message's tag in the making.
pub(super) struct Tagger(Poly1305);

impl Mac {
    pub(super) fn new(k: &[u8; 16], r: &[u8; 16]) -> Self {
        Self { cipher: Aes128Enc::new(k.into()), r: Zeroizing::new(*r) }
    }

    /// Starts the tag of the message sealed with this IV.
    pub(super) fn tagger(&self, iv: &[u8; 16]) -> Tagger {
        let mut s = (*iv).into();
        self.cipher.encrypt_block(&mut s);
        let mut once = Zeroizing::new([0; poly1305::KEY_SIZE]);
        once[..16].copy_from_slice(&*self.r);
        once[16..].copy_from_slice(&s);
        Tagger(Poly1305::new((&*once).into()))
    }
}

impl Tagger {
    /// Takes in whole 16-byte blocks. The rest that is shorter than a block is returned, for [`finish`](Self::finish).
    pub(super) fn blocks<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, rest) = Block::slice_as_chunks(bytes);
        self.0.update(blocks);
        rest
    }

    /// Takes in the last bytes and gives the tag.
    pub(super) fn finish(mut self, last: &[u8]) -> [u8; TAG_LEN] {
        let rest = self.blocks(last);
        self.0.compute_unpadded(rest).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Poly1305 by the book: numbers mod 2¹³⁰ − 5 as three limbs of 64 bits, one block at a time.
    fn by_the_book(r: [u8; 16], s: [u8; 16], message: &[u8]) -> [u8; 16] {
        const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let r = u128::from_le_bytes(r) & CLAMP;
        let (mut low, mut high) = (0_u128, 0_u128); // low + high·2¹²⁸
        for block in message.chunks(16) {
            let mut padded = [0; 16];
            padded[..block.len()].copy_from_slice(block);
            let one = if block.len() == 16 { (0, 1) } else { (1_u128 << (8 * block.len()), 0) };
            for (add, carry_in) in [(u128::from_le_bytes(padded), 0), one] {
                let (sum, carry) = low.overflowing_add(add);
                low = sum;
                high += carry_in + u128::from(carry);
            }
            (low, high) = multiply(low, high, r);
        }
        // Full reduction: subtract 2¹³⁰ − 5 while it fits.
        while high > 3 || (high == 3 && low >= u128::MAX - 4) {
            let (sum, carry) = low.overflowing_add(5);
            low = sum;
            high = high + u128::from(carry) - 4;
        }
        low.wrapping_add(u128::from_le_bytes(s)).to_le_bytes()
    }

    /// Double and add, reducing at every bit.
    fn multiply(low: u128, high: u128, by: u128) -> (u128, u128) {
        let fold = |low: u128, high: u128| {
            let (sum, carry) = low.overflowing_add((high >> 2) * 5);
            (sum, (high & 3) + u128::from(carry))
        };
        let (mut sum_low, mut sum_high) = (0_u128, 0_u128);
        for bit in (0..128).rev() {
            (sum_low, sum_high) = fold(sum_low << 1, sum_high << 1 | sum_low >> 127);
            if by >> bit & 1 == 1 {
                let (sum, carry) = sum_low.overflowing_add(low);
                (sum_low, sum_high) = fold(sum, sum_high + high + u128::from(carry));
            }
        }
        (sum_low, sum_high)
    }

    fn check(mac: &Mac, iv: [u8; 16], message: &[u8]) {
        let mut s = iv.into();
        mac.cipher.encrypt_block(&mut s);
        assert_eq!(
            mac.tagger(&iv).finish(message),
            by_the_book(*mac.r, s.into(), message),
            "{}",
            message.len()
        );
    }

    #[test]
    fn tags_follow_the_book_for_every_length() {
        let mac = Mac::new(&[1; 16], &std::array::from_fn(|i| u8::try_from(i * 37 % 256).unwrap()));
        let message: Vec<u8> = (0..600_u32).map(|i| u8::try_from(i * i % 251).unwrap()).collect();
        for len in 0..=600 {
            check(&mac, [3; 16], &message[..len]);
        }
        check(&mac, [3; 16], &[0xff; 1000]);
        check(&Mac::new(&[1; 16], &[0xff; 16]), [4; 16], &[0xff; 1000]);
    }

    #[test]
    fn the_books_own_example_holds() {
        // RFC 8439, section 2.5.2.
        let key = b"\x85\xd6\xbe\x78\x57\x55\x6d\x33\x7f\x44\x52\xfe\x42\xd5\x06\xa8\
                    \x01\x03\x80\x8a\xfb\x0d\xb2\xfd\x4a\xbf\xf6\xaf\x41\x49\xf5\x1b";
        let tag = by_the_book(
            key[..16].try_into().unwrap(),
            key[16..].try_into().unwrap(),
            b"Cryptographic Forum Research Group",
        );
        assert_eq!(tag, *b"\xa8\x06\x1d\xc1\x30\x51\x36\xc6\xc2\x2b\x8b\xaf\x0c\x01\x27\xa9");
    }

    #[test]
    fn steps_of_whole_blocks_do_not_matter() {
        let mac = Mac::new(&[5; 16], &[6; 16]);
        let message: Vec<u8> = (0..=255).cycle().take(4099).collect();
        let whole = mac.tagger(&[7; 16]).finish(&message);
        for step in [16, 48, 64, 80, 1024, 4096] {
            let mut tagger = mac.tagger(&[7; 16]);
            let mut rest: &[u8] = &[];
            message.chunks(step).for_each(|part| rest = tagger.blocks(part));
            assert_eq!(tagger.finish(rest), whole, "step {step}");
        }
    }
}
