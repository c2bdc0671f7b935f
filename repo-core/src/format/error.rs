//! Why bytes are not the record that was asked for.

use super::limits::JSON_DEPTH_MAX;

/// Why bytes are not the record that was asked for; `at` counts bytes from the start of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The text is no JSON.
    #[error("invalid JSON at byte {at}")]
    Syntax {
        /// Where it stops making sense.
        at: usize,
    },
    /// The text nests arrays or objects deeper than any record does.
    #[error("JSON is nested deeper than {JSON_DEPTH_MAX} levels at byte {at}")]
    TooDeep {
        /// Where the limit is passed.
        at: usize,
    },
    /// A field holds something else.
    #[error("byte {at} is not the start of {expected}")]
    Value {
        /// Where the value stands.
        at: usize,
        /// What the field holds in a good record.
        expected: &'static str,
    },
    /// A field without which the text is not this kind of record is not there, or null.
    #[error("field `{field}` is missing")]
    Missing {
        /// The field's key.
        field: &'static str,
    },
    /// The repository was made by a program that knows a newer format.
    #[error("repository version {version} is not supported, only 1 and 2 are")]
    Version {
        /// What the config says.
        version: u64,
    },
    /// The key file wants a way from password to key that nobody knows.
    #[error("key derivation is not scrypt")]
    Derivation,
    /// A part of the record is too short or too long.
    #[error("{part} is {len} bytes, and must be {min} to {max}")]
    Length {
        /// Which part.
        part: &'static str,
        /// Its length in bytes.
        len: u64,
        /// The least length allowed.
        min: u64,
        /// The greatest length allowed.
        max: u64,
    },
    /// A node's name is not quoted as Go quotes names.
    #[error("invalid escape in the name that starts at byte {at}")]
    Quoting {
        /// Where the name stands.
        at: usize,
    },
}

/// Gives a mandatory field's value, or says that it is missing.
pub(crate) fn require<T>(value: Option<T>, field: &'static str) -> Result<T, FormatError> {
    value.ok_or(FormatError::Missing { field })
}

/// Checks a length against its two bounds.
pub(crate) fn within(part: &'static str, len: usize, min: usize, max: usize) -> Result<(), FormatError> {
    if (min..=max).contains(&len) {
        return Ok(());
    }
    // `usize` has at most 64 bits wherever this is built.
    let [len, min, max] = [len, min, max].map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
    Err(FormatError::Length { part, len, min, max })
}
