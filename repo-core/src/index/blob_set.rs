//! A set of blobs out of an index: one bit for each.
//!
//! In: an index, and names. Out: which of them were put in. 10 million blobs take 1.25 MB; those that no index
//! lists are kept by name beside, about 50 bytes each. May be filled from several threads at once.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::BlobId;
use crate::index::Index;

/// Blobs, nearly all of which one index lists.
pub struct BlobSet {
    index: Arc<Index>,
    bits: Vec<AtomicU64>,
    unlisted: Mutex<HashSet<BlobId>>,
}

impl BlobSet {
    /// An empty set.
    pub fn new(index: Arc<Index>) -> Self {
        let mut bits = Vec::new();
        bits.resize_with(index.slot_count().div_ceil(64), AtomicU64::default);
        Self { index, bits, unlisted: Mutex::default() }
    }

    /// Puts a blob in; tells whether it was not in before.
    pub fn insert(&self, blob: &BlobId) -> bool {
        match self.bit(blob) {
            Some((word, mask)) => word.fetch_or(mask, Ordering::Relaxed) & mask == 0,
            None => self.unlisted().insert(*blob),
        }
    }

    /// Puts a blob in if the index lists it; tells whether it does.
    pub fn insert_listed(&self, blob: &BlobId) -> bool {
        let bit = self.bit(blob);
        if let Some((word, mask)) = bit {
            word.fetch_or(mask, Ordering::Relaxed);
        }
        bit.is_some()
    }

    /// Puts the blob of that number in; tells whether it was not in before.
    pub(crate) fn insert_slot(&self, slot: usize) -> bool {
        let mask = 1 << (slot % 64);
        self.bits.get(slot / 64).is_some_and(|word| word.fetch_or(mask, Ordering::Relaxed) & mask == 0)
    }

    /// The numbers of the blobs in the set that the index lists, rising.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.bits.iter().enumerate().flat_map(|(at, word)| {
            let word = word.load(Ordering::Relaxed);
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }

    /// Whether the index lists a blob, in the set or not.
    pub fn lists(&self, blob: &BlobId) -> bool {
        self.index.contains(blob)
    }

    /// Whether a blob is in.
    pub fn contains(&self, blob: &BlobId) -> bool {
        match self.bit(blob) {
            Some((word, mask)) => word.load(Ordering::Relaxed) & mask != 0,
            None => self.unlisted().contains(blob),
        }
    }

    /// How many blobs are in.
    pub fn len(&self) -> usize {
        let listed: usize =
            self.bits.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum();
        listed + self.unlisted().len()
    }

    /// Whether nothing is in.
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| word.load(Ordering::Relaxed) == 0) && self.unlisted().is_empty()
    }

    /// The blobs in the set that no index file lists, sorted.
    pub fn missing(&self) -> Vec<BlobId> {
        let mut missing: Vec<BlobId> = self.unlisted().iter().copied().collect();
        missing.sort_unstable();
        missing
    }

    /// Every blob once: those in the index by kind and name, then the others by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = BlobId> + '_ {
        let listed = self.index.slots().filter(|(slot, _)| {
            self.bits.get(slot / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (slot % 64) & 1 == 1)
        });
        listed.map(|(_, blob)| blob).chain(self.missing())
    }

    fn bit(&self, blob: &BlobId) -> Option<(&AtomicU64, u64)> {
        let slot = self.index.slot_of(blob)?;
        Some((self.bits.get(slot / 64)?, 1 << (slot % 64)))
    }

    fn unlisted(&self) -> MutexGuard<'_, HashSet<BlobId>> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BlobSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobSet").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Place;
    use crate::id::{BlobKind, Id};
    use crate::index::Builder;
    use proptest::prelude::*;

    fn blob(name: u8) -> BlobId {
        let kind = if name.is_multiple_of(3) { BlobKind::Tree } else { BlobKind::Data };
        BlobId { kind, id: Id::new([name; 32]) }
    }

    proptest! {
        #[test]
        fn set_holds_what_a_plain_set_holds(
            listed in prop::collection::vec((any::<u8>(), 0..3_u8), 0..300),
            names: Vec<u8>,
        ) {
            let mut builder = Builder::new();
            for (name, pack) in listed {
                let pack = Id::new([pack; 32]).into();
                let place = Place { pack, offset: 0, len: 40, plain_len: None };
                builder.add_pack(pack, [(blob(name), place)]);
            }
            let set = BlobSet::new(Arc::new(builder.build()));
            let mut model = HashSet::new();
            prop_assert!(set.is_empty());
            for name in names {
                prop_assert_eq!(set.insert(&blob(name)), model.insert(blob(name)));
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert_eq!(set.iter().count(), model.len());
            prop_assert_eq!(&set.iter().collect::<HashSet<_>>(), &model);
            for name in 0..=255 {
                prop_assert_eq!(set.contains(&blob(name)), model.contains(&blob(name)));
            }
        }
    }
}
