//! What restic's own code sealed and derived, for the tests of every room that seals or opens.

use serde_json::Value;

use super::Key;

/// All vectors.
pub(crate) fn vectors() -> Value {
    let text = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/crypto-vectors.json"));
    serde_json::from_slice(text).unwrap()
}

/// The bytes of a value in hexadecimal digits.
pub(crate) fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// As [`hex`], of a length that is known.
pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

/// The key that sealed the vectors.
pub(crate) fn key() -> Key {
    key_with("mac_r_hex")
}

/// The same key with the second half of its MAC key as that field has it.
pub(crate) fn key_with(mac_r: &str) -> Key {
    let key = &vectors()["key"];
    Key::from_parts(&array(&key["encrypt_hex"]), &array(&key["mac_k_hex"]), &array(&key[mac_r])).unwrap()
}
