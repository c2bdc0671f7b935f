//! Chunk or tree ⇄ sealed blob; record ⇄ stored file (`record.rs`).
//!
//! In: plain bytes and their name. Out: compressed, encrypted bytes, fit for a pack; and back, compared with the
//! name. What is told apart by the repository's version is told apart here: version 1 never compresses, in
//! version 2 blobs are zstd frames and records are `2 ‖ zstd frame`. The config and key files are no records;
//! they are sealed as they are. Never does I/O, never returns content that does not match its name.

mod few; // blobs that are opened together
mod record; // records and config

pub(crate) use few::{FEW, next_few, trim};
pub use record::{RecordError, RecordForm, open_record, seal_record};

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::compress::{Compression, Compressor, DecompressError, Decompressor};
use crate::context::Random;
use crate::crypto::{Key, OVERHEAD, Unauthentic};
use crate::hash::{sha256, sha256_each};
use crate::id::{BlobId, BlobKind, Id};

/// The longest data blob a reader accepts by default, in bytes: restic's longest chunk.
pub const DATA_LEN_MAX: u32 = 8 << 20;

/// The longest data blob a reader can be told to accept, in bytes.
pub const DATA_LEN_LIMIT: u32 = 1 << 30;

/// The longest tree blob a reader accepts, in bytes.
pub const TREE_LEN_MAX: u32 = 512 << 20;

/// How blobs are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealPolicy {
    /// The repository's version, 1 or 2. Version 1 never compresses.
    pub version: u32,
    /// How hard to compress. With [`Compression::Off`] trees still are, as [`Compression::Auto`] does.
    pub compression: Compression,
    /// Whether every sealed blob is opened again and compared before it leaves, which finds bad memory before
    /// it reaches the storage. Costs about as much as sealing.
    pub verify: bool,
}

impl Default for SealPolicy {
    /// Version 2, automatic compression, verified.
    fn default() -> Self {
        Self { version: 2, compression: Compression::Auto, verify: true }
    }
}

/// What pack headers and index files say about a sealed blob, besides its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Stored length in bytes.
    pub len: u32,
    /// Plain length in bytes if the blob is compressed. `None`: plain length is stored length − [`OVERHEAD`].
    pub plain_len: Option<NonZeroU32>,
}

/// Why a blob could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The repository format counts blobs in 32 bits.
    #[error("blob {blob} with {len} bytes is longer than a repository can hold")]
    TooLong {
        /// Its name.
        blob: BlobId,
        /// Its length in bytes.
        len: usize,
    },
    /// Opened again, the blob was not what it had been. Nothing was stored; memory or processor are faulty.
    #[error("blob {blob} changed while it was sealed; memory or processor may be faulty")]
    Changed {
        /// Its name.
        blob: BlobId,
    },
}

/// Seals blobs. Keeps its buffers and its zstd context; belongs to one thread at a time.
///
/// ```
/// use std::sync::Arc;
/// use repo_core::blob::{Opener, SealPolicy, Sealer};
/// use repo_core::context::SystemRandom;
/// use repo_core::crypto::Key;
/// use repo_core::hash::sha256;
/// use repo_core::id::{BlobId, BlobKind};
///
/// let key = Arc::new(Key::generate(&SystemRandom));
/// let plain = b"to be kept ".repeat(100);
/// let blob = BlobId { kind: BlobKind::Data, id: sha256(&plain) };
///
/// let mut pack = Vec::new();
/// let sealed = Sealer::new(Arc::clone(&key), SealPolicy::default()).seal(&SystemRandom, &blob, &plain, &mut pack)?;
/// assert!(pack.len() < plain.len());
///
/// let mut out = Vec::new();
/// Opener::new(key).open(&blob, &pack, sealed.plain_len, &mut out)?;
/// assert_eq!(out, plain);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sealer {
    key: Arc<Key>,
    policy: SealPolicy,
    compressor: Compressor,
    decompressor: Decompressor,
    frame: Vec<u8>,
    again: Vec<u8>,
}

impl Sealer {
    /// Gets ready to seal with this key.
    pub fn new(key: Arc<Key>, policy: SealPolicy) -> Self {
        let compression = match policy.compression {
            Compression::Off => Compression::Auto, // for trees
            compression => compression,
        };
        Self {
            key,
            policy,
            compressor: Compressor::new(compression),
            decompressor: Decompressor::new(),
            frame: Vec::new(),
            again: Vec::new(),
        }
    }

    /// Appends the sealed blob to `out`. The caller vouches that `blob.id` is the name of `plain`.
    ///
    /// On error `out` is as it was.
    pub fn seal(
        &mut self,
        random: &dyn Random,
        blob: &BlobId,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Sealed, SealError> {
        let too_long = SealError::TooLong { blob: *blob, len: plain.len() };
        let plain_len = u32::try_from(plain.len()).map_err(|_| too_long)?;
        let plain_len = if self.policy.version >= 2 { NonZeroU32::new(plain_len) } else { None };
        let content = if plain_len.is_some() { self.frame_of(blob.kind, plain) } else { plain };
        let len = u32::try_from(content.len() + OVERHEAD).map_err(|_| too_long)?;
        let start = out.len();
        if plain_len.is_some() {
            self.key.seal(random, &self.frame, out);
        } else {
            self.key.seal(random, plain, out);
        }
        if self.policy.verify && !self.holds(&out[start..], plain, plain_len.is_some()) {
            out.truncate(start);
            return Err(SealError::Changed { blob: *blob });
        }
        Ok(Sealed { len, plain_len })
    }

    fn frame_of(&mut self, kind: BlobKind, plain: &[u8]) -> &[u8] {
        self.frame.clear();
        if self.policy.compression == Compression::Off && kind == BlobKind::Data {
            self.compressor.store(plain, &mut self.frame);
        } else {
            self.compressor.compress(plain, &mut self.frame);
        }
        &self.frame
    }

    /// Whether the sealed bytes open to `plain`.
    fn holds(&mut self, sealed: &[u8], plain: &[u8], compressed: bool) -> bool {
        let Self { key, decompressor, frame, again, .. } = self;
        if !compressed {
            return key.open(sealed, again).is_ok() && again == plain;
        }
        key.open(sealed, frame).is_ok()
            && decompressor.decompress_exact(frame, plain.len(), again).is_ok()
            && again == plain
    }
}

/// Why a stored blob gave no content. It is damaged, or not the blob it is said to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The stored bytes were changed, or sealed with another key.
    #[error("blob {blob} is damaged")]
    Unauthentic {
        /// Its name.
        blob: BlobId,
        /// The verdict.
        source: Unauthentic,
    },
    /// The blob is longer than a blob of its kind may be.
    #[error("blob {blob} with {len} bytes is longer than the {limit} allowed")]
    TooLong {
        /// Its name.
        blob: BlobId,
        /// Its length in bytes.
        len: usize,
        /// The length allowed, in bytes.
        limit: u32,
    },
    /// The blob does not decompress to the recorded length.
    #[error("blob {blob} does not decompress")]
    Frame {
        /// Its name.
        blob: BlobId,
        /// What is wrong with it.
        source: DecompressError,
    },
    /// The content is whole, but another one than the name says.
    #[error("blob {blob} holds other content, which is named {found}")]
    WrongContent {
        /// Its name.
        blob: BlobId,
        /// The name of what it holds.
        found: Id,
    },
}

/// Opens blobs and compares them with their names. Keeps its buffers; belongs to one thread at a time.
pub struct Opener {
    key: Arc<Key>,
    data_len_max: u32,
    decompressor: Decompressor,
    frame: Vec<u8>,
}

impl Opener {
    /// Gets ready to open with this key.
    pub fn new(key: Arc<Key>) -> Self {
        Self { key, data_len_max: DATA_LEN_MAX, decompressor: Decompressor::new(), frame: Vec::new() }
    }

    /// Accepts data blobs up to this length in bytes, for repositories with longer chunks; never more than
    /// [`DATA_LEN_LIMIT`], never less than [`DATA_LEN_MAX`].
    pub fn with_data_len_max(self, data_len_max: u32) -> Self {
        Self { data_len_max: data_len_max.clamp(DATA_LEN_MAX, DATA_LEN_LIMIT), ..self }
    }

    /// Replaces the content of `out` with the blob's; `plain_len` as the index or the pack header has it.
    ///
    /// On error `out` is empty.
    pub fn open(
        &mut self,
        blob: &BlobId,
        sealed: &[u8],
        plain_len: Option<NonZeroU32>,
        out: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let stored = SealedBlob { blob: *blob, sealed, plain_len };
        self.open_unnamed(&stored, out)?;
        compared(blob, sha256(out), out)
    }

    /// Opens several blobs, each into the buffer of its number, as [`open`](Self::open) does; they are compared with
    /// their names side by side, which takes half the time for four and more of like length.
    ///
    /// # Panics
    /// If there are fewer buffers than blobs.
    pub fn open_each(
        &mut self,
        stored: &[SealedBlob<'_>],
        outs: &mut [Vec<u8>],
    ) -> Vec<Result<(), OpenError>> {
        let outs = &mut outs[..stored.len()];
        let opened: Vec<_> =
            stored.iter().zip(&mut *outs).map(|(stored, out)| self.open_unnamed(stored, out)).collect();
        let names = sha256_each(&outs.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let blobs = stored.iter().zip(opened).zip(names.into_iter().zip(outs));
        blobs
            .map(|((stored, opened), (found, out))| opened.and_then(|()| compared(&stored.blob, found, out)))
            .collect()
    }

    /// As [`open`](Self::open), but what comes out is authentic only: its name is not compared.
    fn open_unnamed(&mut self, stored: &SealedBlob<'_>, out: &mut Vec<u8>) -> Result<(), OpenError> {
        let SealedBlob { blob, sealed, plain_len } = *stored;
        out.clear();
        let limit = match blob.kind {
            BlobKind::Data => self.data_len_max,
            // However little is stored of it: a file of holes is one name of a chunk, a million times.
            BlobKind::Tree => TREE_LEN_MAX,
        };
        let len = match plain_len {
            Some(len) => usize::try_from(len.get()).unwrap_or(usize::MAX),
            None => sealed.len().saturating_sub(OVERHEAD),
        };
        if u32::try_from(len).is_err() || u32::try_from(len).is_ok_and(|len| len > limit) {
            return Err(OpenError::TooLong { blob, len, limit });
        }
        let unauthentic = |source| OpenError::Unauthentic { blob, source };
        if plain_len.is_some() {
            self.key.open(sealed, &mut self.frame).map_err(unauthentic)?;
            self.decompressor
                .decompress_exact(&self.frame, len, out)
                .map_err(|source| OpenError::Frame { blob, source })
        } else {
            self.key.open(sealed, out).map_err(unauthentic)
        }
    }
}

/// A blob as a pack holds it.
#[derive(Debug, Clone, Copy)]
pub struct SealedBlob<'a> {
    /// Its name.
    pub blob: BlobId,
    /// The stored bytes.
    pub sealed: &'a [u8],
    /// Its plain length in bytes if it is compressed, as the index or the pack header has it.
    pub plain_len: Option<NonZeroU32>,
}

/// Whether the content is what the name says; if not, it is taken away.
fn compared(blob: &BlobId, found: Id, out: &mut Vec<u8>) -> Result<(), OpenError> {
    if found == blob.id {
        return Ok(());
    }
    out.clear();
    Err(OpenError::WrongContent { blob: *blob, found })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::context::SystemRandom;
    use crate::crypto::vectors::{self, hex, vectors};

    fn key() -> Arc<Key> {
        Arc::new(vectors::key())
    }

    fn named(kind: BlobKind, plain: &[u8]) -> BlobId {
        BlobId { kind, id: sha256(plain) }
    }

    fn policy(version: u32, compression: Compression) -> SealPolicy {
        SealPolicy { version, compression, verify: true }
    }

    fn noise(len: usize) -> Vec<u8> {
        (0_u64..).flat_map(|i| *sha256(&i.to_le_bytes()).as_bytes()).take(len).collect()
    }

    /// Seals and opens; gives the length stored.
    fn round(policy: SealPolicy, kind: BlobKind, plain: &[u8]) -> Sealed {
        let (key, blob, mut pack, mut out) = (key(), named(kind, plain), b"pack".to_vec(), vec![9]);
        let sealed =
            Sealer::new(Arc::clone(&key), policy).seal(&SystemRandom, &blob, plain, &mut pack).unwrap();
        assert_eq!(&pack[..4], b"pack");
        assert_eq!(usize::try_from(sealed.len).unwrap(), pack.len() - 4);
        Opener::new(key).open(&blob, &pack[4..], sealed.plain_len, &mut out).unwrap();
        assert_eq!(out, plain);
        sealed
    }

    #[test]
    fn version_and_policy_decide_what_is_compressed() {
        use BlobKind::{Data, Tree};
        use Compression::{Auto, Max, Off};
        let text = b"the same line again\n".repeat(5000);
        let check = |version, compression, kind, framed: bool, smaller: bool| {
            let sealed = round(policy(version, compression), kind, &text);
            assert_eq!(sealed.plain_len.is_some(), framed, "version {version} {compression} {kind}");
            assert_eq!(sealed.len < 50_000, smaller, "version {version} {compression} {kind}");
        };
        check(1, Auto, Data, false, false);
        check(1, Max, Tree, false, false);
        check(2, Auto, Data, true, true);
        check(2, Max, Tree, true, true);
        check(2, Off, Tree, true, true);
        check(2, Off, Data, true, false);
    }

    #[test]
    fn every_blob_of_version_2_starts_with_the_mark_of_a_frame() {
        let key = key();
        for compression in [Compression::Off, Compression::Auto, Compression::Max] {
            let mut sealer = Sealer::new(Arc::clone(&key), policy(2, compression));
            for plain in [&b"{\"time\":1}"[..], b"[]", b"\x02", &noise(100_000), &[0; 1000]] {
                let (mut sealed, mut content) = (Vec::new(), Vec::new());
                sealer.seal(&SystemRandom, &named(BlobKind::Data, plain), plain, &mut sealed).unwrap();
                key.open(&sealed, &mut content).unwrap();
                assert!(content.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "{compression}");
            }
        }
    }

    #[test]
    fn empty_blob_is_never_compressed() {
        for version in [1, 2] {
            let sealed = round(policy(version, Compression::Auto), BlobKind::Data, b"");
            assert_eq!(sealed, Sealed { len: 32, plain_len: None });
        }
    }

    #[test]
    fn random_blob_grows_by_a_few_bytes_only() {
        let plain = noise(1 << 20);
        let sealed = round(SealPolicy::default(), BlobKind::Data, &plain);
        assert!(sealed.len < (1 << 20) + 100);
    }

    #[test]
    fn vector_pack_opens() {
        let (vectors, mut opener, mut out) = (vectors(), Opener::new(key()), Vec::new());
        let pack = hex(&vectors["pack"]["stored_hex"]);
        let header = hex(&vectors["pack"]["header_plain_hex"]);
        // type 1 ‖ length 4 ‖ id 32, twice; both blobs are data, the second one is compressed or not by its type
        let (mut offset, mut rest) = (0, &header[..]);
        let mut count = 0;
        while let [kind, tail @ ..] = rest {
            let number = |at: usize| u32::from_le_bytes(tail[at..at + 4].try_into().unwrap());
            let len = usize::try_from(number(0)).unwrap();
            let compressed = kind & 2 != 0;
            let plain_len = if compressed { NonZeroU32::new(number(4)) } else { None };
            let at = if compressed { 8 } else { 4 };
            let id = Id::new(tail[at..at + 32].try_into().unwrap());
            let kind = if kind & 1 == 0 { BlobKind::Data } else { BlobKind::Tree };
            opener.open(&BlobId { kind, id }, &pack[offset..offset + len], plain_len, &mut out).unwrap();
            (offset, rest, count) = (offset + len, &tail[at + 32..], count + 1);
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn blob_under_another_name_is_refused() {
        let (key, plain, mut sealed, mut out) = (key(), b"content", Vec::new(), Vec::new());
        let blob = named(BlobKind::Data, plain);
        let mut sealer = Sealer::new(Arc::clone(&key), SealPolicy::default());
        let plain_len = sealer.seal(&SystemRandom, &blob, plain, &mut sealed).unwrap().plain_len;
        let mut opener = Opener::new(key);
        let other = named(BlobKind::Data, b"other");
        let error = opener.open(&other, &sealed, plain_len, &mut out).unwrap_err();
        assert!(matches!(error, OpenError::WrongContent { found, .. } if found == blob.id));
        assert!(out.is_empty());
        // … and with a wrong length, or without, too
        let error = opener.open(&blob, &sealed, NonZeroU32::new(6), &mut out).unwrap_err();
        assert!(matches!(error, OpenError::Frame { .. }));
        let error = opener.open(&blob, &sealed, None, &mut out).unwrap_err();
        assert!(matches!(error, OpenError::WrongContent { .. }));
    }

    #[test]
    fn limits_hold_for_each_kind() {
        let (key, mut out) = (key(), Vec::new());
        let refused = |opener: &mut Opener, kind, len: u32, out: &mut Vec<u8>| {
            let blob = BlobId { kind, id: Id::new([1; 32]) };
            let error = opener.open(&blob, &[0; 100], NonZeroU32::new(len), out).unwrap_err();
            matches!(error, OpenError::TooLong { .. })
        };
        let mut check = |opener: &mut Opener, kind, limit: u32| {
            assert!(!refused(opener, kind, limit - 1, &mut out), "{kind} below {limit}");
            assert!(!refused(opener, kind, limit, &mut out), "{kind} at {limit}");
            assert!(refused(opener, kind, limit + 1, &mut out), "{kind} above {limit}");
        };
        let mut opener = Opener::new(Arc::clone(&key));
        check(&mut opener, BlobKind::Data, DATA_LEN_MAX);
        check(&mut opener, BlobKind::Tree, TREE_LEN_MAX);
        check(&mut Opener::new(Arc::clone(&key)).with_data_len_max(16 << 20), BlobKind::Data, 16 << 20);
        check(&mut Opener::new(Arc::clone(&key)).with_data_len_max(u32::MAX), BlobKind::Data, DATA_LEN_LIMIT);
        check(&mut Opener::new(Arc::clone(&key)).with_data_len_max(0), BlobKind::Data, DATA_LEN_MAX);
    }

    #[test]
    fn long_uncompressed_data_is_refused() {
        let (key, plain, mut sealed) = (key(), vec![0; (8 << 20) + 1], Vec::new());
        key.seal(&SystemRandom, &plain, &mut sealed);
        let blob = named(BlobKind::Data, &plain);
        let error = Opener::new(key).open(&blob, &sealed, None, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, OpenError::TooLong { .. }));
    }

    #[test]
    fn verification_sees_any_difference() {
        let (key, plain, mut sealed) = (key(), b"content to be sure of".repeat(10), Vec::new());
        for version in [1, 2] {
            sealed.clear();
            let mut sealer = Sealer::new(Arc::clone(&key), policy(version, Compression::Auto));
            let blob = named(BlobKind::Data, &plain);
            sealer.seal(&SystemRandom, &blob, &plain, &mut sealed).unwrap();
            let compressed = version == 2;
            assert!(sealer.holds(&sealed, &plain, compressed));
            assert!(!sealer.holds(&sealed, &plain[1..], compressed));
            let mut other = plain.clone();
            other[100] ^= 4;
            assert!(!sealer.holds(&sealed, &other, compressed));
            sealed[40] ^= 4;
            assert!(!sealer.holds(&sealed, &plain, compressed));
        }
    }

    proptest! {
        #[test]
        fn sealed_blobs_open_again(
            plain: Vec<u8>,
            repeat in 1_usize..50,
            version in 1_u32..=2,
            verify: bool,
            off: bool,
            tree: bool,
        ) {
            let plain = plain.repeat(repeat);
            let compression = if off { Compression::Off } else { Compression::Auto };
            let kind = if tree { BlobKind::Tree } else { BlobKind::Data };
            round(SealPolicy { version, compression, verify }, kind, &plain);
        }
    }
}
