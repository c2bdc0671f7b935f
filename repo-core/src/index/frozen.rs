//! The loaded index: two sorted tables, one per kind of blob.
//!
//! Names are uniformly distributed, so their top bits say where to look: a directory of positions leads to
//! about sixteen neighbours, which are searched in order.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;

use rayon::slice::ParallelSliceMut;

use crate::format::{PackHeader, Place, limits};
use crate::id::{BlobId, BlobKind, Id, PackId};

/// What compression adds to a blob's entry in a pack's header, in bytes: the plain length.
const COMPRESSED_BYTES: u64 = 4;

/// Entries per position of the directory, on average.
const BUCKET: usize = 16;

/// One copy of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: Id,
    pack: u32,
    offset: u32,
    len: u32,
    /// Zero when the blob is stored as it is.
    plain_len: u32,
}

/// What the index says about a whole pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSummary {
    /// Which pack.
    pub id: PackId,
    /// Blobs of file content in it.
    pub data_blobs: u32,
    /// Directories in it.
    pub tree_blobs: u32,
    /// Sum of the stored lengths in bytes.
    pub blob_bytes: u64,
    /// Compressed blobs among them; their header entries are longer.
    pub compressed_blobs: u32,
    /// How many index files list the pack; more than one is a harmless duplicate if they agree.
    pub listed: u32,
}

impl PackSummary {
    /// Length in bytes of a pack that holds exactly what is listed (format: section 4).
    pub fn file_len(&self) -> u64 {
        let blobs = u64::from(self.data_blobs) + u64::from(self.tree_blobs);
        self.blob_bytes
            + blobs * u64::from(PackHeader::entry_len(None))
            + u64::from(self.compressed_blobs) * COMPRESSED_BYTES
            + u64::from(limits::SEAL_BYTES + PackHeader::TRAILER_BYTES)
    }
}

/// One listed copy of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobCopy {
    /// Its number: copies are counted through the whole index, those of one blob next to each other.
    pub number: u32,
    /// Which blob.
    pub blob: BlobId,
    /// Its pack's position in [`Index::packs`].
    pub pack: usize,
    /// Where it lies.
    pub place: Place,
}

/// Collects what index files list. [`build`](Self::build) sorts it once.
#[derive(Debug, Default)]
pub struct Builder {
    tables: [Vec<Entry>; 2],
    packs: Vec<PackSummary>,
    numbers: HashMap<PackId, u32>,
}

impl Builder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what one index file lists for one pack.
    pub fn add_pack(&mut self, pack: PackId, blobs: impl IntoIterator<Item = (BlobId, Place)>) {
        let number = *self.numbers.entry(pack).or_insert_with(|| {
            let empty = PackSummary {
                id: pack,
                data_blobs: 0,
                tree_blobs: 0,
                blob_bytes: 0,
                compressed_blobs: 0,
                listed: 0,
            };
            self.packs.push(empty);
            u32::try_from(self.packs.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(summary) = self.packs.get_mut(number as usize) {
            summary.listed += 1;
        }
        for (blob, place) in blobs {
            let plain_len = place.plain_len.map_or(0, NonZeroU32::get);
            let entry = Entry { id: blob.id, pack: number, offset: place.offset, len: place.len, plain_len };
            self.tables[table(blob.kind)].push(entry);
        }
    }

    /// Whether a pack was added.
    pub fn lists(&self, pack: PackId) -> bool {
        self.numbers.contains_key(&pack)
    }

    /// Sorts and freezes. Entries that say the same twice become one. The result does not depend on the order in
    /// which packs were added.
    pub fn build(self) -> Index {
        let Self { mut tables, mut packs, numbers } = self;
        packs.sort_unstable_by_key(|pack| pack.id);
        let mut sorted = vec![0; packs.len()];
        for (at, pack) in packs.iter().enumerate() {
            if let Some(number) = numbers.get(&pack.id)
                && let Some(place) = sorted.get_mut(*number as usize)
            {
                *place = u32::try_from(at).unwrap_or(u32::MAX);
            }
        }
        drop(numbers);
        for entry in tables.iter_mut().flatten() {
            entry.pack = sorted.get(entry.pack as usize).copied().unwrap_or(u32::MAX);
        }
        let tables = tables.map(Table::build);
        for (kind, table) in [BlobKind::Data, BlobKind::Tree].into_iter().zip(&tables) {
            for entry in &table.entries {
                let Some(pack) = packs.get_mut(entry.pack as usize) else { continue };
                match kind {
                    BlobKind::Data => pack.data_blobs += 1,
                    BlobKind::Tree => pack.tree_blobs += 1,
                }
                pack.blob_bytes += u64::from(entry.len);
                pack.compressed_blobs += u32::from(entry.plain_len != 0);
            }
        }
        Index { tables, packs }
    }
}

/// Which pack holds a blob: everything the repository's index files say, frozen.
#[derive(Debug, Default)]
pub struct Index {
    tables: [Table; 2],
    packs: Vec<PackSummary>,
}

impl Index {
    /// Whether at least one copy is listed.
    pub fn contains(&self, blob: &BlobId) -> bool {
        !self.tables[table(blob.kind)].find(&blob.id).is_empty()
    }

    /// Every listed copy of a blob; nothing when it is unknown.
    pub fn places(&self, blob: &BlobId) -> impl Iterator<Item = Place> + '_ {
        let found = self.tables[table(blob.kind)].find(&blob.id);
        found.iter().filter_map(|entry| self.place(entry))
    }

    /// One copy of a blob; always the same for the same index.
    pub fn place_of(&self, blob: &BlobId) -> Option<Place> {
        self.places(blob).next()
    }

    /// Plain length in bytes of a blob.
    pub fn opened_len(&self, blob: &BlobId) -> Option<u64> {
        self.place_of(blob).map(|place| u64::from(place.opened_len()))
    }

    /// How many different blobs of a kind are listed.
    pub fn len(&self, kind: BlobKind) -> usize {
        self.tables[table(kind)].distinct
    }

    /// Whether nothing is listed at all.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Every pack that is listed, sorted by name.
    pub fn packs(&self) -> &[PackSummary] {
        &self.packs
    }

    /// Every copy of every blob, sorted by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = (BlobId, Place)> + '_ {
        [BlobKind::Data, BlobKind::Tree].into_iter().zip(&self.tables).flat_map(move |(kind, table)| {
            table
                .entries
                .iter()
                .filter_map(move |entry| Some((BlobId { kind, id: entry.id }, self.place(entry)?)))
        })
    }

    /// Every copy of every blob, numbered; sorted by kind and name, so that the copies of a blob follow each other.
    pub fn copies(&self) -> impl Iterator<Item = BlobCopy> + '_ {
        (0..u32::try_from(self.slot_count()).unwrap_or(u32::MAX)).map_while(|number| self.copy_at(number))
    }

    /// The copy of that number.
    pub fn copy_at(&self, number: u32) -> Option<BlobCopy> {
        let [data, tree] = &self.tables;
        let at = number as usize;
        let (kind, entry) = match data.entries.get(at) {
            Some(entry) => (BlobKind::Data, entry),
            None => (BlobKind::Tree, tree.entries.get(at - data.entries.len())?),
        };
        let (blob, pack) = (BlobId { kind, id: entry.id }, entry.pack as usize);
        Some(BlobCopy { number, blob, pack, place: self.place(entry)? })
    }

    /// Numbers below this are given by [`slot_of`](Self::slot_of).
    pub(crate) fn slot_count(&self) -> usize {
        self.tables.iter().map(|table| table.entries.len()).sum()
    }

    /// The blob's own number, the same for all of its copies.
    pub(crate) fn slot_of(&self, blob: &BlobId) -> Option<usize> {
        let found = self.tables[table(blob.kind)].find_range(&blob.id);
        let before = if blob.kind == BlobKind::Tree { self.tables[0].entries.len() } else { 0 };
        (!found.is_empty()).then_some(before + found.start)
    }

    /// Every blob with its number, once, sorted by kind and name.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (usize, BlobId)> + '_ {
        let mut last = None;
        let kinds = [BlobKind::Data, BlobKind::Tree].into_iter().zip(&self.tables);
        let blobs = kinds
            .flat_map(|(kind, table)| table.entries.iter().map(move |entry| BlobId { kind, id: entry.id }));
        blobs.enumerate().filter(move |(_, blob)| last.replace(*blob) != Some(*blob))
    }

    fn place(&self, entry: &Entry) -> Option<Place> {
        Some(Place {
            pack: self.packs.get(entry.pack as usize)?.id,
            offset: entry.offset,
            len: entry.len,
            plain_len: NonZeroU32::new(entry.plain_len),
        })
    }
}

fn table(kind: BlobKind) -> usize {
    match kind {
        BlobKind::Data => 0,
        BlobKind::Tree => 1,
    }
}

/// The copies of all blobs of one kind, sorted by name.
#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    /// Position of the first entry whose name's top bits are at least the slot's number; one slot more at
    /// the end.
    directory: Vec<u32>,
    /// How many of the 64 leading bits to shift away to get a slot.
    shift: u32,
    distinct: usize,
}

impl Table {
    fn build(mut entries: Vec<Entry>) -> Self {
        entries.par_sort_unstable();
        entries.dedup();
        entries.shrink_to_fit();
        let distinct = entries.chunk_by(|a, b| a.id == b.id).count();
        let slots = (entries.len() / BUCKET).next_power_of_two().max(2);
        let shift = 64 - slots.trailing_zeros();
        let mut directory = Vec::with_capacity(slots + 1);
        for (at, entry) in entries.iter().enumerate() {
            let slot = slot(&entry.id, shift);
            while directory.len() <= slot {
                directory.push(u32::try_from(at).unwrap_or(u32::MAX));
            }
        }
        directory.resize(slots + 1, u32::try_from(entries.len()).unwrap_or(u32::MAX));
        Self { entries, directory, shift, distinct }
    }

    fn find(&self, id: &Id) -> &[Entry] {
        &self.entries[self.find_range(id)]
    }

    fn find_range(&self, id: &Id) -> Range<usize> {
        let bucket = self.bucket(slot(id, self.shift));
        let Some(entries) = self.entries.get(bucket.clone()) else { return 0..0 };
        let start = entries.partition_point(|entry| entry.id < *id);
        let len = entries[start..].iter().take_while(|entry| entry.id == *id).count();
        bucket.start + start..bucket.start + start + len
    }

    fn bucket(&self, slot: usize) -> Range<usize> {
        match self.directory.get(slot..slot + 2) {
            Some(&[start, end]) => start as usize..end as usize,
            _ => 0..0,
        }
    }
}

fn slot(id: &Id, shift: u32) -> usize {
    usize::try_from(id.head().checked_shr(shift).unwrap_or(0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(pack: u8, offset: u32) -> Place {
        Place { pack: Id::new([pack; 32]).into(), offset, len: 40, plain_len: NonZeroU32::new(offset) }
    }

    fn blob(kind: BlobKind, seed: u64) -> BlobId {
        // A multiplicative hash spreads the seeds over the whole range, as SHA-256 would.
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        BlobId { kind, id: Id::new(bytes) }
    }

    #[test]
    fn kinds_with_the_same_name_are_kept_apart() {
        let mut builder = Builder::new();
        let (data, tree) = (blob(BlobKind::Data, 1), blob(BlobKind::Tree, 1));
        builder.add_pack(Id::new([1; 32]).into(), [(data, place(1, 0))]);
        builder.add_pack(Id::new([2; 32]).into(), [(tree, place(2, 7))]);
        let index = builder.build();
        assert_eq!(index.places(&data).collect::<Vec<_>>(), [place(1, 0)]);
        assert_eq!(index.places(&tree).collect::<Vec<_>>(), [place(2, 7)]);
        assert!(!index.contains(&blob(BlobKind::Data, 2)));
    }

    #[test]
    fn the_same_pack_in_two_files_counts_once_and_differing_lists_add_up() {
        let mut builder = Builder::new();
        let pack = Id::new([1; 32]).into();
        let (first, second) = (blob(BlobKind::Data, 1), blob(BlobKind::Data, 2));
        builder.add_pack(pack, [(first, place(1, 0))]);
        builder.add_pack(pack, [(first, place(1, 0)), (second, place(1, 40))]);
        let index = builder.build();
        let [summary] = index.packs() else { panic!("one pack expected") };
        assert_eq!((summary.data_blobs, summary.blob_bytes, summary.listed), (2, 80, 2));
        assert_eq!(index.len(BlobKind::Data), 2);
    }

    proptest! {
        #[test]
        fn index_finds_what_a_plain_map_finds(blobs in prop::collection::vec((0..400_u64, 0..5_u8, 0..1000_u32), 0..600)) {
            let mut builder = Builder::new();
            let mut model: HashMap<BlobId, Vec<Place>> = HashMap::new();
            for &(seed, pack, offset) in &blobs {
                let blob = blob(if seed % 3 == 0 { BlobKind::Tree } else { BlobKind::Data }, seed);
                builder.add_pack(Id::new([pack; 32]).into(), [(blob, place(pack, offset))]);
                model.entry(blob).or_default().push(place(pack, offset));
            }
            let index = builder.build();
            for seed in 0..500 {
                let blob = blob(if seed % 3 == 0 { BlobKind::Tree } else { BlobKind::Data }, seed);
                let mut expected = model.remove(&blob).unwrap_or_default();
                expected.sort();
                expected.dedup();
                let mut found: Vec<_> = index.places(&blob).collect();
                found.sort();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
