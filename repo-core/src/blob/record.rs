//! Record ⇄ stored file: index files, snapshots and locks.
//!
//! In: JSON. Out: the bytes of a file whose SHA-256 is its name; and back, bounded. Version 1 stores the JSON as it is,
//! version 2 as `2 ‖ zstd frame`, and both read either. The config and key files are no records.

use crate::compress::{Compression, Compressor, DecompressError, Decompressor};
use crate::context::Random;
use crate::crypto::{Key, Unauthentic};
use crate::format::limits;

/// The first byte of a compressed record.
const COMPRESSED: u8 = 2;

/// How a record was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordForm {
    /// JSON as it is: all of version 1, and old files of version 2.
    Plain,
    /// As a zstd frame.
    Compressed,
}

/// Why a stored record gave no JSON.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The stored bytes were changed, or sealed with another key.
    #[error(transparent)]
    Unauthentic(#[from] Unauthentic),
    /// The plain bytes start like no record does.
    #[error("the record starts with byte {first:#04x}, which no form of record does")]
    UnknownForm {
        /// Its first byte.
        first: u8,
    },
    /// The record is longer than allowed.
    #[error("the record holds {len} bytes, more than the {limit} allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The length allowed, in bytes.
        limit: usize,
    },
    /// The record does not decompress.
    #[error("the record does not decompress")]
    Frame(#[from] DecompressError),
}

/// Seals an index file, a snapshot or a lock: the stored file's bytes, whose SHA-256 is its name.
///
/// Version 2 compresses records always, version 1 never.
pub fn seal_record(key: &Key, version: u32, random: &dyn Random, json: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    if version >= 2 {
        let mut content = vec![COMPRESSED];
        Compressor::new(Compression::Auto).compress(json, &mut content);
        key.seal(random, &content, &mut stored);
    } else {
        key.seal(random, json, &mut stored);
    }
    stored
}

/// Replaces the content of `out` with the JSON of a stored index file, snapshot or lock, and tells how it was
/// stored. The caller has compared the stored bytes with the file's name before.
///
/// JSON longer than `limit` bytes is refused, and such as is a thousand times as long as what is stored. On error `out` is
/// empty.
pub fn open_record(
    key: &Key,
    stored: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<RecordForm, RecordError> {
    key.open(stored, out)?;
    match out.first() {
        None | Some(b'{' | b'[') if out.len() <= limit => Ok(RecordForm::Plain),
        None | Some(b'{' | b'[') => {
            let len = out.len();
            out.clear();
            Err(RecordError::TooLong { len, limit })
        }
        Some(&COMPRESSED) => {
            let content = std::mem::take(out);
            let limit = limit.min(limits::inflated_from_bytes_max(content.len()));
            Decompressor::new().decompress_bounded(&content[1..], limit, out)?;
            Ok(RecordForm::Compressed)
        }
        Some(&first) => {
            out.clear();
            Err(RecordError::UnknownForm { first })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::SystemRandom;
    use crate::crypto::vectors::{hex, key, vectors};

    #[test]
    fn vector_snapshots_open_in_both_forms() {
        let vectors = vectors();
        let check = |stored: &str, form: RecordForm| {
            let mut json = Vec::new();
            let found = open_record(&key(), &hex(&vectors["snapshot"][stored]), 1 << 20, &mut json);
            assert_eq!(found.unwrap(), form);
            assert_eq!(json, vectors["snapshot"]["plaintext"].as_str().unwrap().as_bytes());
        };
        check("stored_plain_json_hex", RecordForm::Plain);
        check("stored_compressed_hex", RecordForm::Compressed);
    }

    #[test]
    fn records_come_back_in_the_form_of_their_version() {
        let json = br#"{"packs":[]}"#.repeat(1000);
        for (version, form) in [(1, RecordForm::Plain), (2, RecordForm::Compressed)] {
            let stored = seal_record(&key(), version, &SystemRandom, &json);
            let mut out = vec![1];
            assert_eq!(open_record(&key(), &stored, json.len(), &mut out).unwrap(), form);
            assert_eq!(out, json);
            let error = open_record(&key(), &stored, json.len() - 1, &mut out).unwrap_err();
            assert!(out.is_empty());
            match form {
                RecordForm::Plain => assert!(matches!(error, RecordError::TooLong { .. })),
                RecordForm::Compressed => {
                    assert!(matches!(error, RecordError::Frame(DecompressError::TooLong { .. })));
                }
            }
        }
    }

    #[test]
    fn a_record_that_inflates_a_thousandfold_is_refused() {
        let json = vec![b' '; 17 << 20];
        let mut out = Vec::new();
        let stored = seal_record(&key(), 2, &SystemRandom, &[b"{}", &json[..]].concat());
        let error = open_record(&key(), &stored, 64 << 20, &mut out).unwrap_err();
        assert!(matches!(error, RecordError::Frame(DecompressError::TooLong { .. })), "{error:?}");
        assert!(out.capacity() <= 16 << 20);
        let stored = seal_record(&key(), 2, &SystemRandom, &[b"{}", &json[..15 << 20]].concat());
        open_record(&key(), &stored, 64 << 20, &mut out).unwrap();
    }

    #[test]
    fn odd_records_are_refused() {
        let check = |content: &[u8], fine: bool| {
            let (mut stored, mut out) = (Vec::new(), Vec::new());
            key().seal(&SystemRandom, content, &mut stored);
            let result = open_record(&key(), &stored, 100, &mut out);
            assert_eq!(result.is_ok(), fine, "{content:x?}");
            assert!(fine || out.is_empty());
        };
        check(b"", true);
        check(b"{}", true);
        check(b"[]", true);
        check(b" {}", false);
        check(b"\x00{}", false);
        check(b"\x01{}", false);
        check(b"\x02", false);
        check(b"\x02{}", false);
        check(b"\x02\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00", true);
        check(b"\x02\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00x", false);
    }
}
