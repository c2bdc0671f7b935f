//! The blobs that the present run adds.
//!
//! Whoever claims a blob first stores it; everybody after that may rely on it, because nothing is made
//! visible before all claimed blobs are durable.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::id::BlobId;

/// Shards keep the workers from waiting for each other.
const SHARDS: usize = 16;

/// The set of blobs claimed in this run. 33 bytes and about one byte of bookkeeping per blob, at most
/// doubled by spare capacity.
#[derive(Debug, Default)]
pub struct Pending {
    shards: [Mutex<HashSet<BlobId, BuildHasherDefault<NameHasher>>>; SHARDS],
}

impl Pending {
    /// Nothing claimed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims a blob. `true` for the first one who does: that one has to store it.
    pub fn claim(&self, blob: BlobId) -> bool {
        let shard = usize::from(blob.id.as_bytes()[31]) % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner).insert(blob)
    }

    /// Whether somebody claimed it.
    pub fn contains(&self, blob: &BlobId) -> bool {
        let shard = usize::from(blob.id.as_bytes()[31]) % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner).contains(blob)
    }

    /// Every blob that was claimed, in no order.
    pub fn blobs(&self) -> impl Iterator<Item = BlobId> + '_ {
        self.shards.iter().flat_map(|shard| {
            let claimed = shard.lock().unwrap_or_else(PoisonError::into_inner);
            claimed.iter().copied().collect::<Vec<_>>()
        })
    }
}

/// Takes eight bytes of a name as its hash: names are SHA-256 already.
#[derive(Debug, Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(top) = bytes.first_chunk::<8>() {
            self.0 = self.0.rotate_left(1) ^ u64::from_le_bytes(*top);
        }
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.0 = self.0.wrapping_add(discriminant.unsigned_abs() as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{BlobKind, Id};

    #[test]
    fn only_the_first_claim_of_a_blob_wins() {
        let pending = Pending::new();
        let data = BlobId { kind: BlobKind::Data, id: Id::new([7; 32]) };
        let tree = BlobId { kind: BlobKind::Tree, ..data };
        assert!(pending.claim(data));
        assert!(!pending.claim(data));
        assert!(pending.claim(tree));
        assert!(pending.contains(&data));
        assert!(!pending.contains(&BlobId { id: Id::new([8; 32]), ..data }));
    }
}
