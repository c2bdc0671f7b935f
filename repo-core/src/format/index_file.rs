//! An index file: which packs hold which blobs.
//!
//! In and out: the plain text of a file in `index/`. Entries that cannot be true are left out and counted, so
//! that one lie does not take a whole index with it; text that is no index at all is an error.

use std::num::NonZeroU32;

use super::error::{FormatError, require};
use super::json::{Array, Key, Object, Reader, Unknown, Value};
use super::limits::SEAL_BYTES;
use super::place::Place;
use crate::id::{BlobId, BlobKind, ID_LEN, Id, IndexId, PackId};
use crate::time::Time;

/// Which packs hold which blobs; all index files together are the index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexFile {
    /// The packs, in no particular order.
    pub packs: Vec<IndexedPack>,
    /// Index files that this one replaces; only old programs wrote it, and reading them too does no harm.
    pub supersedes: Vec<IndexId>,
    /// Packs that will be removed one day and must not be relied on: a field of rustic, and of ours.
    pub packs_to_delete: Vec<MarkedPack>,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Unknown,
    /// How many entries were left out in reading because they cannot be true; never written.
    pub ignored: u64,
}

/// What one pack holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack.
    pub id: PackId,
    /// Its blobs, in no particular order when they come from an index, in the pack's order from a header.
    pub blobs: Vec<IndexedBlob>,
}

/// A pack that will be removed one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedPack {
    /// The pack.
    pub pack: IndexedPack,
    /// When it was marked.
    pub time: Option<Time>,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Unknown,
}

/// One blob as indexes and pack headers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexedBlob {
    /// Data or tree.
    pub kind: BlobKind,
    /// SHA-256 of the plain blob.
    pub id: Id,
    /// Offset in the pack, in bytes.
    pub offset: u32,
    /// Stored length in bytes, sealing included; at least 32, and `offset + len` fits in 32 bits.
    pub len: u32,
    /// Length in bytes of the plain blob if it is compressed; `None` if it is stored as it is.
    pub plain_len: Option<NonZeroU32>,
}

impl IndexedBlob {
    /// The blob's name with its kind.
    pub fn blob_id(&self) -> BlobId {
        BlobId { kind: self.kind, id: self.id }
    }

    /// Where it lies if `pack` is the pack.
    pub fn place(&self, pack: PackId) -> Place {
        Place { pack, offset: self.offset, len: self.len, plain_len: self.plain_len }
    }
}

impl IndexFile {
    /// Reads the plain text.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let (mut index, mut seen, mut ignored) = (Self::default(), false, 0);
        Reader::record(text, |json, key| match key.name() {
            "packs" => {
                seen = true;
                index.packs.clear();
                elements(json, |json| {
                    index.packs.push(read_pack(json, &mut ignored, |json, _| json.skip())?);
                    Ok(())
                })
            }
            "supersedes" => json.set(&mut index.supersedes),
            "packs_to_delete" => {
                index.packs_to_delete.clear();
                elements(json, |json| {
                    index.packs_to_delete.push(read_marked(json, &mut ignored)?);
                    Ok(())
                })
            }
            _ => json.keep(key, &mut index.unknown),
        })?;
        require(seen.then_some(()), "packs")?;
        index.ignored = ignored;
        Ok(index)
    }

    /// The plain text, with the newline at its end.
    pub fn to_json(&self) -> Vec<u8> {
        let blobs: usize = self.packs.iter().map(|pack| pack.blobs.len()).sum();
        let mut out = Vec::with_capacity(64 + 90 * self.packs.len() + 160 * blobs);
        let mut object = Object::begin(&mut out);
        if !self.supersedes.is_empty() {
            let ids: Vec<_> = self.supersedes.iter().map(|id| id.id().hex()).collect();
            object.strings("supersedes", &ids);
        }
        let mut packs = Array::begin(object.key("packs"));
        for pack in &self.packs {
            write_pack(packs.element(), pack, |_| ());
        }
        packs.end();
        if !self.packs_to_delete.is_empty() {
            let mut packs = Array::begin(object.key("packs_to_delete"));
            for marked in &self.packs_to_delete {
                write_pack(packs.element(), &marked.pack, |object| {
                    if let Some(time) = marked.time {
                        object.time("time", time);
                    }
                    object.unknown(&marked.unknown);
                });
            }
            packs.end();
        }
        object.unknown(&self.unknown);
        object.end();
        out.push(b'\n');
        out
    }
}

/// Reads an array or `null`, which stands for an empty one.
fn elements(
    json: &mut Reader<'_>,
    element: impl FnMut(&mut Reader<'_>) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    if json.null() { Ok(()) } else { json.array(element) }
}

/// Reads one pack; `other` reads the fields that are neither its id nor its blobs.
fn read_pack(
    json: &mut Reader<'_>,
    ignored: &mut u64,
    mut other: impl FnMut(&mut Reader<'_>, Key<'_>) -> Result<(), FormatError>,
) -> Result<IndexedPack, FormatError> {
    let mut pack = IndexedPack { id: PackId(ZERO), blobs: Vec::new() };
    json.object(|json, key| match key.name() {
        "id" => json.set(&mut pack.id),
        "blobs" => {
            pack.blobs.clear();
            elements(json, |json| {
                match read_blob(json)? {
                    Some(blob) => pack.blobs.push(blob),
                    None => *ignored += 1,
                }
                Ok(())
            })
        }
        _ => other(json, key),
    })?;
    if pack.id.id().is_zero() {
        *ignored += u64::try_from(pack.blobs.len()).unwrap_or(u64::MAX);
        pack.blobs.clear();
    }
    Ok(pack)
}

fn read_marked(json: &mut Reader<'_>, ignored: &mut u64) -> Result<MarkedPack, FormatError> {
    let (mut time, mut unknown) = (None, Unknown::new());
    let pack = read_pack(json, ignored, |json, key| match key.name() {
        "time" => json.set(&mut time),
        _ => json.keep(key, &mut unknown),
    })?;
    Ok(MarkedPack { pack, time, unknown })
}

/// Reads one entry; `None` if it cannot be true.
fn read_blob(json: &mut Reader<'_>) -> Result<Option<IndexedBlob>, FormatError> {
    let (mut id, mut kind) = (ZERO, None);
    let (mut offset, mut len, mut plain_len) = (0u64, 0u64, 0u64);
    json.object(|json, key| match key.name() {
        "id" => json.set(&mut id),
        "type" => json.set(&mut kind),
        "offset" => json.set(&mut offset),
        "length" => json.set(&mut len),
        "uncompressed_length" => json.set(&mut plain_len),
        _ => json.skip(),
    })?;
    let Some(BlobWord(Some(kind))) = kind else { return Ok(None) };
    let (Ok(offset), Ok(len), Ok(plain_len)) =
        (u32::try_from(offset), u32::try_from(len), u32::try_from(plain_len))
    else {
        return Ok(None);
    };
    let sound = len >= SEAL_BYTES && offset.checked_add(len).is_some() && !id.is_zero();
    let blob = IndexedBlob { kind, id, offset, len, plain_len: NonZeroU32::new(plain_len) };
    Ok(sound.then_some(blob))
}

const ZERO: Id = Id::new([0; ID_LEN]);

/// A kind by its word; `None` for a word that names no kind.
struct BlobWord(Option<BlobKind>);

impl Value for BlobWord {
    fn read(json: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self(match &*json.string()? {
            "data" => Some(BlobKind::Data),
            "tree" => Some(BlobKind::Tree),
            _ => None,
        }))
    }
}

fn write_pack(out: &mut Vec<u8>, pack: &IndexedPack, rest: impl FnOnce(&mut Object<'_>)) {
    let mut object = Object::begin(out);
    object.id("id", pack.id);
    let mut blobs = Array::begin(object.key("blobs"));
    for blob in &pack.blobs {
        let mut object = Object::begin(blobs.element());
        object.id("id", blob.id).string("type", blob.kind.word());
        object.number("offset", blob.offset).number("length", blob.len);
        object.number_unless_zero("uncompressed_length", blob.plain_len.map_or(0, NonZeroU32::get));
        object.end();
    }
    blobs.end();
    rest(&mut object);
    object.end();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Expands `P` and `B` to two ids.
    fn text(short: &str) -> String {
        short
            .replace("\"P\"", &format!("\"{}\"", "ab".repeat(32)))
            .replace("\"B\"", &format!("\"{}\"", "12".repeat(32)))
    }

    /// `expected` is what is written after reading, and how many entries were ignored.
    fn check(short: &str, expected: Option<(&str, u64)>) {
        let read = IndexFile::parse(text(short).as_bytes());
        let written = read.ok().map(|index| (String::from_utf8(index.to_json()).unwrap(), index.ignored));
        assert_eq!(written, expected.map(|(short, ignored)| (text(short) + "\n", ignored)), "{short}");
    }

    #[test]
    fn indexes_of_all_programs_read_and_write_the_same() {
        for text in [
            r#"{"packs":[]}"#,
            r#"{"packs":[{"id":"P","blobs":[{"id":"B","type":"data","offset":0,"length":47,"uncompressed_length":6},{"id":"B","type":"tree","offset":47,"length":32}]}]}"#,
            r#"{"supersedes":["P","B"],"packs":[{"id":"P","blobs":[]}]}"#,
            r#"{"packs":[],"packs_to_delete":[{"id":"P","blobs":[],"time":"2024-01-01T00:00:00Z","size":12}],"x":1}"#,
        ] {
            check(text, Some((text, 0)));
        }
        check(r#"{"packs":null,"supersedes":null}"#, Some((r#"{"packs":[]}"#, 0)));
    }

    #[test]
    fn other_records_are_no_index() {
        check("{}", None);
        check("[]", None);
        check(r#"{"tree":"P"}"#, None);
        check(r#"{"packs":[{"id":"zz"}]}"#, None);
        check(r#"{"packs":[{"id":"P","blobs":[{"id":"B","type":"data","offset":-1}]}]}"#, None);
    }

    fn entry(entry: &str) -> String {
        format!(r#"{{"packs":[{{"id":"P","blobs":[{{"id":"B",{entry}}}]}}]}}"#)
    }

    #[test]
    fn entries_that_cannot_be_true_are_left_out_and_counted() {
        let nothing = r#"{"packs":[{"id":"P","blobs":[]}]}"#;
        for bad in [
            r#""type":"data","offset":0,"length":31"#,
            r#""type":"data","offset":4294967264,"length":32"#,
            r#""type":"data","offset":4294967296,"length":32"#,
            r#""type":"data","offset":0,"length":4294967296"#,
            r#""type":"data","offset":0,"length":99,"uncompressed_length":4294967296"#,
            r#""type":"other","offset":0,"length":99"#,
            r#""offset":0,"length":99"#,
            r#""type":"data""#,
        ] {
            check(&entry(bad), Some((nothing, 1)));
        }
        for good in [
            r#""type":"data","offset":0,"length":32"#,
            r#""type":"data","offset":4294967263,"length":32"#,
            r#""type":"tree","offset":0,"length":4294967295,"uncompressed_length":4294967295"#,
        ] {
            check(&entry(good), Some((&entry(good), 0)));
        }
        let nameless = entry(r#""type":"data","offset":0,"length":32"#).replace("\"B\"", "null");
        check(&nameless, Some((nothing, 1)));
    }

    fn blobs() -> impl Strategy<Value = Vec<IndexedBlob>> {
        let blob = (any::<bool>(), any::<[u8; 32]>(), 0u32..=u32::MAX - 99, 32u32..=99, any::<u32>());
        let blob = blob.prop_map(|(tree, id, offset, len, plain_len)| IndexedBlob {
            kind: if tree { BlobKind::Tree } else { BlobKind::Data },
            id: Id::new(id),
            offset,
            len,
            plain_len: NonZeroU32::new(plain_len),
        });
        prop::collection::vec(blob, 0..5)
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            packs in prop::collection::vec((any::<[u8; 32]>(), blobs()), 0..4), marked: bool,
        ) {
            let packs: Vec<_> = packs
                .into_iter()
                .map(|(id, blobs)| IndexedPack { id: PackId(Id::new(id)), blobs })
                .collect();
            let mut index = IndexFile { packs, ..IndexFile::default() };
            if let Some(pack) = index.packs.pop_if(|_| marked) {
                let unknown = vec![("size".to_owned(), "7".into())];
                index.packs_to_delete.push(MarkedPack { pack, time: Some(Time::ZERO), unknown });
            }
            prop_assert_eq!(IndexFile::parse(&index.to_json()), Ok(index));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = IndexFile::parse(&bytes);
        }
    }
}
