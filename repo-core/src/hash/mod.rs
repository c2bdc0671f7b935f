//! Bytes → id: SHA-256, the name of everything in a repository.
//!
//! In: plain bytes, whole, piece by piece, or several messages at once. Out: an [`Id`] each. What is hashed (plain blob,
//! stored file) is the caller's business. Never fails.

mod kernel; // blocks of several messages side by side, where the processor can
mod lanes; // which message is in which lane

use sha2::{Digest as _, Sha256};

use crate::id::{ID_LEN, Id};

/// The SHA-256 of the bytes.
///
/// ```
/// let id = repo_core::hash::sha256(b"abc");
/// assert_eq!(id.short(), "ba7816bf");
/// ```
pub fn sha256(bytes: &[u8]) -> Id {
    Id::new(Sha256::digest(bytes).into())
}

/// The SHA-256 of each message, in their order; several at once where the processor can.
///
/// With SHA instructions four messages take half the time they would take one after the other; the more of like length
/// there are, the better. Takes 250 bytes for the lanes, and 40 per message.
///
/// ```
/// use repo_core::hash::{sha256, sha256_each};
///
/// assert_eq!(sha256_each(&[b"abc", b""]), [sha256(b"abc"), sha256(b"")]);
/// ```
pub fn sha256_each(messages: &[&[u8]]) -> Vec<Id> {
    match kernel::Kernel::get() {
        Some(kernel) if messages.len() > 1 => {
            let mut names = vec![Id::new([0; ID_LEN]); messages.len()];
            lanes::hash(kernel, messages, |number, name| names[number] = name);
            names
        }
        _ => messages.iter().map(|message| sha256(message)).collect(),
    }
}

/// Hashes bytes that come in pieces; the pieces' borders do not matter.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The name of all pieces together.
    pub fn finish(self) -> Id {
        Id::new(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_messages_have_their_names() {
        let check = |message: &[u8], expected: &str| assert_eq!(sha256(message).to_string(), expected);
        check(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        check(b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check(b"{\"nodes\":[]}\n", "ac08ce34ba4f8123618661bef2425f7028ffb9ac740578a3ee88684d2523fee8");
        check(&vec![0; 512 << 10], "07854d2fef297a06ba81685e660c332de36d5d18d546927d30daad6d7fda1541");
    }

    fn check_each(messages: &[&[u8]]) {
        let expected: Vec<Id> = messages.iter().map(|message| sha256(message)).collect();
        assert_eq!(
            sha256_each(messages),
            expected,
            "{:?}",
            messages.iter().map(|m| m.len()).collect::<Vec<_>>()
        );
    }

    /// The oracle is the `sha2` crate. Lengths around one and two blocks, alone, in equal fours, and beside others.
    #[test]
    fn messages_side_by_side_hash_as_one_after_the_other() {
        let bytes: Vec<u8> =
            (0..4096_u32).flat_map(|at| (at.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let lens: Vec<usize> = (0..=130).chain([191, 192, 193, 1000, 4095, 4096, 10_000]).collect();
        for &len in &lens {
            let at = |start: usize| &bytes[start..start + len];
            check_each(&[at(0)]);
            check_each(&[at(1), at(2)]);
            check_each(&[at(3), at(5), at(7), at(11)]);
            check_each(&[at(1), &bytes[..64], at(9)]);
        }
        let all: Vec<&[u8]> = lens.iter().map(|&len| &bytes[len % 7..len % 7 + len]).collect();
        check_each(&all);
        check_each(&[]);
    }

    proptest! {
        #[test]
        fn any_messages_hash_side_by_side_as_alone(messages: Vec<Vec<u8>>) {
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            check_each(&messages);
        }

        #[test]
        fn pieces_hash_like_the_whole(bytes: Vec<u8>, at: prop::sample::Index) {
            let (head, tail) = bytes.split_at(at.index(bytes.len() + 1));
            let mut hasher = Hasher::new();
            hasher.update(head);
            hasher.update(tail);
            prop_assert_eq!(hasher.finish(), sha256(&bytes));
        }
    }
}
