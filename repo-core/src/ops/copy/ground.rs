//! What the snapshots of a copy stand on in the target, and whether that is still there.
//!
//! In: the index files that were loaded, and what was stored. Out: a verdict. Locks are advice: a program that takes none
//! may remove what the target has had. It takes that out of the index first, so while all of these index files are there,
//! so is everything that they list; only packs that nobody has listed yet are asked for by name. Where anything is gone
//! every blob is looked up anew.

use std::collections::HashSet;

use crate::context::Context;
use crate::format::IndexFile;
use crate::id::{BlobId, IndexId};
use crate::ops::copy::CopyError;
use crate::ops::copy::transfer::Transfer;
use crate::repository::{Receipt, Reliance, Repository};

/// The index files that list all of it, and what was stored last.
pub(super) struct Ground {
    index_files: HashSet<IndexId>,
    stored: Option<Reliance>,
}

impl Ground {
    /// `loaded` are the index files from which the target's index was loaded.
    pub(super) fn new(loaded: Vec<IndexId>) -> Self {
        Self { index_files: loaded.into_iter().collect(), stored: None }
    }

    /// Adds what a writer has stored.
    pub(super) fn add(&mut self, receipt: &mut Receipt) {
        if let Some(relied) = receipt.take_relied() {
            let before = self.index_files.iter().copied().collect();
            self.index_files.extend(&relied.index_files);
            self.stored = Some(Reliance::new(relied, before));
        }
    }

    /// The blobs that the snapshots need and that are not there any more.
    pub(super) fn look(
        &mut self,
        context: &Context,
        to: &Repository,
        transfer: &Transfer<'_>,
    ) -> Result<Vec<BlobId>, CopyError> {
        if !self.is_touched(to)? {
            return Ok(Vec::new());
        }
        let loaded = to.load_index_with_report(context)?;
        // Index first: a pack that goes in between is missing in this listing.
        let packs = to.packs().map_err(CopyError::Look)?;
        let is_there = |blob: &_| loaded.index.places(blob).any(|place| packs.contains(&place.pack));
        let missing = transfer.missing(is_there);
        *self = Self::new(loaded.files);
        Ok(missing)
    }

    fn is_touched(&self, to: &Repository) -> Result<bool, CopyError> {
        if let Some(stored) = &self.stored {
            return Ok(stored.is_touched(to)?);
        }
        let listed: HashSet<IndexId> = to.list::<IndexFile>().map_err(CopyError::Look)?.into_iter().collect();
        Ok(!self.index_files.is_subset(&listed))
    }
}
