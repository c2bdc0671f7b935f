//! Bytes ⇄ encrypted, authenticated bytes; passwords → keys.
//!
//! In: plain bytes and a [`Key`]. Out: sealed bytes, `IV ‖ C ‖ T`: 16 random bytes, the AES-256-CTR
//! ciphertext, the Poly1305-AES tag over the ciphertext. Everything in a repository but packs as a whole and
//! key files goes this way. The primitives are reviewed crates; here is only how restic joins them.
//!
//! Never decrypts what is not authentic, never shows a key (no `Debug`, no serde), never says why bytes were
//! refused. There is no associated data: a tag says "a key holder wrote this", not *what* it is. Whoever opens
//! something compares it with its name.

mod cipher;
mod mac;
mod key;
mod kdf;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "vectors are as they are")]
pub(crate) mod vectors;

pub use kdf::{KDF_MEMORY_MAX, KDF_WORK_MAX, KdfError, SALT_LEN, ScryptParams, calibrate, derive};
pub use key::{InvalidKey, Key, OVERHEAD, Unauthentic};
