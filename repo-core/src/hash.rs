//! Bytes → id: SHA-256, the name of everything in a repository.
//!
//! In: plain bytes, whole or piece by piece. Out: an [`Id`]. What is hashed (plain blob, stored file) is the
//! caller's business. Never allocates, never fails.

use sha2::{Digest as _, Sha256};

use crate::id::Id;

/// The SHA-256 of the bytes.
///
/// ```
/// let id = repo_core::hash::sha256(b"abc");
/// assert_eq!(id.short(), "ba7816bf");
/// ```
pub fn sha256(bytes: &[u8]) -> Id {
    Id::new(Sha256::digest(bytes).into())
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

    proptest! {
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
