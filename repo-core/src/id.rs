//! What things in a repository are called.
//!
//! Every stored thing is named by 32 bytes, nearly always the SHA-256 of its content. The newtypes keep
//! the kinds apart, so that a pack name cannot be handed over where a snapshot name is wanted.
//! Pure vocabulary: no hashing here (see [`crate::hash`]), no I/O.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Length of a name in bytes.
pub const ID_LEN: usize = 32;

/// A name: 32 bytes, written as 64 lower-case hex digits.
///
/// ```
/// use repo_core::id::{Id, SnapshotId};
///
/// let id: SnapshotId = "5eb5d9e3a0b4f9c5e1c2d3b4a5968778695a4b3c2d1e0f00112233445566778f".parse()?;
/// assert_eq!(id.short(), "5eb5d9e3");
/// assert_eq!(Id::from(id).as_bytes()[0], 0x5e);
/// # Ok::<(), repo_core::id::ParseIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id([u8; ID_LEN]);

/// By their bytes. Nearly always the first eight decide, which is a comparison of two numbers: tables of names are sorted
/// and searched all the time.
impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head().cmp(&other.head()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Id {
    /// Takes the 32 bytes as they are.
    pub const fn new(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// The first eight bytes as a number; names are in the order of it.
    pub(crate) fn head(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(head)
    }

    /// The first eight hex digits, as messages show them.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }

    /// Whether every byte is zero; such a name is never valid in a repository.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; ID_LEN]
    }

    /// The 64 lower-case hex digits as ASCII, without an allocation.
    pub fn hex(&self) -> [u8; 2 * ID_LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 2 * ID_LEN];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Returned when a text is not exactly 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is exactly 64 hex digits")]
pub struct ParseIdError;

impl FromStr for Id {
    type Err = ParseIdError;

    /// Reads 64 hex digits of either case.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(ParseIdError) };
        let pairs: &[[u8; 2]; ID_LEN] = pairs.try_into().map_err(|_| ParseIdError)?;
        let mut wrong = 0;
        let bytes = pairs.map(|[high, low]| {
            let (high, low) = (HEX_VALUES[usize::from(high)], HEX_VALUES[usize::from(low)]);
            wrong |= high | low;
            high << 4 | low & 15
        });
        if wrong > 15 { Err(ParseIdError) } else { Ok(Self(bytes)) }
    }
}

/// The value of each hex digit, 255 for all other bytes. Repositories are full of ids, so a table it is.
const HEX_VALUES: [u8; 256] = {
    let (mut values, mut value) = ([255; 256], 0);
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

macro_rules! kinds_of_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Id);

        impl $name {
            /// The bare name.
            pub const fn id(&self) -> &Id {
                &self.0
            }

            /// The first eight hex digits, as messages show them.
            pub fn short(&self) -> String {
                self.0.short()
            }
        }

        impl From<Id> for $name {
            fn from(id: Id) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Id {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }
    )+};
}

kinds_of_id! {
    /// Names a data blob: SHA-256 of a chunk of file content.
    DataId,
    /// Names a tree blob: SHA-256 of one directory's serialised entries.
    TreeId,
    /// Names a pack: SHA-256 of the whole stored file.
    PackId,
    /// Names an index file: SHA-256 of the stored (encrypted) file.
    IndexId,
    /// Names a snapshot: SHA-256 of the stored (encrypted) file.
    SnapshotId,
    /// Names a key file: SHA-256 of its text.
    KeyId,
    /// Names a lock: SHA-256 of the stored (encrypted) file.
    LockId,
    /// Names a record of checks: SHA-256 of the stored (encrypted) file.
    CheckedId,
}

/// Whether a blob holds file content or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobKind {
    /// A chunk of file content.
    Data,
    /// The entries of one directory.
    Tree,
}

impl BlobKind {
    /// The word used in index files and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tree => "tree",
        }
    }
}

impl fmt::Display for BlobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Names a blob of either kind.
///
/// The same 32 bytes may name a data blob and a tree blob, so every table of blobs is keyed by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId {
    /// Data or tree.
    pub kind: BlobKind,
    /// SHA-256 of the plain content.
    pub id: Id,
}

impl From<DataId> for BlobId {
    fn from(id: DataId) -> Self {
        Self { kind: BlobKind::Data, id: id.0 }
    }
}

impl From<TreeId> for BlobId {
    fn from(id: TreeId) -> Self {
        Self { kind: BlobKind::Tree, id: id.0 }
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// The kinds of files a repository is made of; each has its own folder, only the config stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `config`, one file.
    Config,
    /// `keys/`, the master key under a password.
    Key,
    /// `locks/`
    Lock,
    /// `snapshots/`
    Snapshot,
    /// `index/`
    Index,
    /// `data/`, the packs.
    Pack,
    /// `checked/`, ours: when which packs were verified. restic never looks there, and nothing needs it.
    Checked,
}

impl FileKind {
    /// Every kind that a repository cannot do without, config first.
    pub const ALL: [Self; 6] = [Self::Config, Self::Key, Self::Lock, Self::Snapshot, Self::Index, Self::Pack];

    /// The folder's name, `config` for the config itself.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Lock => "locks",
            Self::Snapshot => "snapshots",
            Self::Index => "index",
            Self::Pack => "data",
            Self::Checked => "checked",
        }
    }

    /// The word for one such file in messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "key",
            Self::Lock => "lock",
            Self::Snapshot => "snapshot",
            Self::Index => "index",
            Self::Pack => "pack",
            Self::Checked => "record of checks",
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Names one file of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Which folder.
    pub kind: FileKind,
    /// The file's name in it; all zero for the config, which has no such name.
    pub id: Id,
}

impl FileId {
    /// The repository's config.
    pub const CONFIG: Self = Self { kind: FileKind::Config, id: Id([0; ID_LEN]) };
}

macro_rules! file_ids {
    ($($id:ident => $kind:ident),+ $(,)?) => {$(
        impl From<$id> for FileId {
            fn from(id: $id) -> Self {
                Self { kind: FileKind::$kind, id: id.0 }
            }
        }
    )+};
}

file_ids!(KeyId => Key, LockId => Lock, SnapshotId => Snapshot, IndexId => Index, PackId => Pack, CheckedId => Checked);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FileKind::Config => f.write_str("config"),
            kind => write!(f, "{kind} {}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_survives_the_way_through_text() {
        let id = Id::new(std::array::from_fn(|i| u8::try_from(i * 7 % 256).unwrap()));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        assert_eq!(id.short(), id.to_string()[..8]);
    }

    #[test]
    fn id_refuses_all_but_64_hex_digits() {
        for text in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(text.parse::<Id>(), Err(ParseIdError), "{text}");
        }
    }
}
