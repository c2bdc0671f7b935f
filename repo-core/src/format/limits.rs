//! Bounds on what is read: larger things in a repository are damage or an attack, not data.
//!
//! All are far above what any program writes. Lengths are in bytes, "stored" means as the storage holds
//! the file, before anything is decrypted or inflated. A value equal to a limit is still accepted.

use crate::id::FileKind;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Key files, stored. One written by restic has under 500 bytes.
pub const KEY_FILE_BYTES_MAX: u64 = 64 * KIB;
/// The config, stored. One written by restic has 155 bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 * KIB;
/// Locks, stored. One written by restic has about 200 bytes.
pub const LOCK_BYTES_MAX: u64 = 64 * KIB;
/// Snapshots, stored; they grow with the number of targets, excludes and tags.
pub const SNAPSHOT_BYTES_MAX: u64 = 8 * MIB;
/// Index files, stored. 50,000 blobs, where writers stop, take about 4 MiB.
pub const INDEX_BYTES_MAX: u64 = 64 * MIB;
/// Packs: offsets and lengths in a pack have 32 bits.
pub const PACK_BYTES_MAX: u64 = 4 * GIB - 1;
/// Records of checks, stored: 11 bytes per pack, so this is 6 million packs.
pub const CHECKED_BYTES_MAX: u64 = 64 * MIB;

/// A snapshot's, lock's or config's text after inflating.
pub const RECORD_INFLATED_BYTES_MAX: u64 = 64 * MIB;
/// An index file's text after inflating.
pub const INDEX_INFLATED_BYTES_MAX: u64 = 512 * MIB;
/// A tree blob after inflating: a directory of about a million entries.
pub const TREE_BLOB_BYTES_MAX: u32 = 512 << 20;
/// A data blob after inflating: the most that restic's chunker cuts.
pub const DATA_BLOB_BYTES_MAX: u32 = 8 << 20;
/// A data blob after inflating, whatever a config says about the chunker.
pub const DATA_BLOB_BYTES_CEILING: u32 = 1 << 30;

/// Bytes that sealing adds: 16 of nonce, 16 of tag.
pub const SEAL_BYTES: u32 = 32;
/// The sealed header of a pack; restic's limit.
pub const PACK_HEADER_BYTES_MAX: u32 = 16 << 20;

/// The sealed master key inside a key file: at least nonce and tag.
pub const KEY_DATA_BYTES_MIN: usize = 32;
/// The sealed master key inside a key file; restic's has 163 bytes.
pub const KEY_DATA_BYTES_MAX: usize = 4096;
/// The salt of a key file; shorter ones do not keep equal passwords apart.
pub const KEY_SALT_BYTES_MIN: usize = 16;
/// The salt of a key file; restic's has 64 bytes.
pub const KEY_SALT_BYTES_MAX: usize = 1024;

/// Levels of arrays and objects in JSON; records have five.
pub const JSON_DEPTH_MAX: usize = 128;
/// A name in a directory; what Linux, macOS and Windows take.
pub const NAME_BYTES_MAX: usize = 255;
/// Directories inside each other.
pub const TREE_DEPTH_MAX: usize = 4096;

/// What any record may inflate to, however few bytes are stored of it.
const INFLATED_BYTES_FREE: usize = 16 << 20;
/// How many times its stored length a longer one may inflate to. Each entry of an index file has an id that no other has,
/// which does not shrink at all. Thousandfold is made to fill somebody's memory.
const INFLATION_MAX: usize = 1000;

/// The greatest length in bytes that so many stored bytes of a record may inflate to.
pub(crate) const fn inflated_from_bytes_max(stored_bytes: usize) -> usize {
    let most = stored_bytes.saturating_mul(INFLATION_MAX);
    if most > INFLATED_BYTES_FREE { most } else { INFLATED_BYTES_FREE }
}

/// The greatest length in bytes, as stored, of a file of this kind.
pub const fn stored_bytes_max(kind: FileKind) -> u64 {
    match kind {
        FileKind::Config => CONFIG_BYTES_MAX,
        FileKind::Key => KEY_FILE_BYTES_MAX,
        FileKind::Lock => LOCK_BYTES_MAX,
        FileKind::Snapshot => SNAPSHOT_BYTES_MAX,
        FileKind::Index => INDEX_BYTES_MAX,
        FileKind::Pack => PACK_BYTES_MAX,
        FileKind::Checked => CHECKED_BYTES_MAX,
    }
}

/// The greatest length in bytes of the text inside a file of this kind, once inflated.
pub const fn inflated_bytes_max(kind: FileKind) -> u64 {
    match kind {
        FileKind::Index => INDEX_INFLATED_BYTES_MAX,
        FileKind::Checked => CHECKED_BYTES_MAX,
        _ => RECORD_INFLATED_BYTES_MAX,
    }
}
