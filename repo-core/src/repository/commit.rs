//! The commit barrier: is all that a snapshot relies on still there, before and after it becomes visible?
//!
//! In: what a [`Writer`](crate::repository::Writer) relied on, and the index files from which its index was loaded. Out:
//! the blobs that are lost. Whoever removes packs takes them out of the index first, so while every index file that was
//! loaded is there, so is every pack that stands in them, and one listing of names proves it. Only packs of the run
//! itself may vanish without that, because nobody else has listed them: they are asked for by name, or by a listing
//! where there are many. When anything is missing the index is loaded anew and every blob looked up in it.
//!
//! An entry that only marks a pack for removal is no entry: what relies on it would be unreadable. But the pack may
//! still be there, so what is lost is fetched from where it was and stored again.
//! Never decides what to do about blobs that are lost for good.

use std::collections::HashSet;
use std::sync::Arc;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event, from_unless_cancelled};
use crate::format::IndexFile;
use crate::id::{BlobId, IndexId, PackId};
use crate::index::{BlobSet, Pending};
use crate::repository::{IndexError, Reader, Repository, WriteError, Writer, WriterOptions};

/// Up to so many packs are asked for one by one; more of them by one listing.
const ASKED_MAX: usize = 8;

/// Why nobody knows whether everything is there, or what was lost could not be stored again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The index files or the packs could not be listed.
    #[error("cannot look whether everything is still there")]
    Look(#[from] BackendError),
    /// The index could not be loaded anew.
    #[error(transparent)]
    Index(IndexError),
    /// What was lost could not be stored again.
    #[error(transparent)]
    Write(WriteError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(CommitError: IndexError => Index, WriteError => Write);

/// What was told while it was mended.
#[derive(Debug, thiserror::Error)]
#[error(
    "{count} blobs that this snapshot needs were removed meanwhile, {first} is one; they are stored again"
)]
struct Removed {
    count: usize,
    first: BlobId,
}

/// What a writer relied on. Memory: 1 bit per blob that its index lists, 34 bytes per blob that it stored.
#[derive(Debug)]
pub(crate) struct Relied {
    /// Blobs that the index listed.
    pub(crate) listed: Arc<BlobSet>,
    /// Blobs that it stored.
    pub(crate) stored: Arc<Pending>,
    /// Packs that it stored.
    pub(crate) packs: Vec<PackId>,
    /// Index files that it stored.
    pub(crate) index_files: Vec<IndexId>,
}

/// What a snapshot relies on, and where that was seen last.
#[derive(Debug)]
pub(crate) struct Reliance {
    relied: Relied,
    /// While all of these are there, so is everything that they list.
    index_files: HashSet<IndexId>,
    /// Packs of this run.
    packs: HashSet<PackId>,
}

impl Reliance {
    /// `loaded` are the index files from which the writer's index was loaded.
    pub(crate) fn new(relied: Relied, loaded: Vec<IndexId>) -> Self {
        let index_files = loaded.into_iter().chain(relied.index_files.iter().copied()).collect();
        let packs = relied.packs.iter().copied().collect();
        Self { relied, index_files, packs }
    }

    /// A blob that the snapshot relies on without a writer's knowledge.
    pub(crate) fn rely(&self, blob: &BlobId) {
        self.relied.listed.insert(blob);
    }

    /// Whether index files are gone. If not, what they list is there. Costs one listing.
    pub(crate) fn index_was_replaced(&self, repository: &Repository) -> Result<bool, CommitError> {
        let listed: HashSet<IndexId> = repository.list::<IndexFile>()?.into_iter().collect();
        Ok(!self.index_files.is_subset(&listed))
    }

    /// Whether index files or packs of this run are gone. Costs one listing, and what it takes to see the packs.
    pub(crate) fn is_touched(&self, repository: &Repository) -> Result<bool, CommitError> {
        Ok(self.index_was_replaced(repository)? || self.own_packs_are_missing(repository)?)
    }

    fn own_packs_are_missing(&self, repository: &Repository) -> Result<bool, BackendError> {
        if self.packs.len() > ASKED_MAX {
            return Ok(!self.packs.is_subset(&repository.packs()?));
        }
        for pack in &self.packs {
            match repository.backend.size((*pack).into()) {
                Ok(_) => {}
                Err(error) if error.is_not_found() => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Looks every blob up in the index as it is now. From here on that index is what the snapshot relies on.
    pub(crate) fn look_closely(
        &mut self,
        context: &Context,
        repository: &Repository,
    ) -> Result<Vec<BlobId>, CommitError> {
        let loaded = repository.load_index_with_report(context)?;
        for (_, error) in &loaded.unreadable {
            context.tell(&Event::Warning { error });
        }
        // Index first: a pack that goes in between is missing in this listing.
        let existing = repository.packs()?;
        let is_there = |blob: &BlobId| loaded.index.places(blob).any(|place| existing.contains(&place.pack));
        let blobs = self.relied.listed.iter().chain(self.relied.stored.blobs());
        let mut lost: Vec<BlobId> = blobs.filter(|blob| !is_there(blob)).collect();
        lost.sort_unstable();
        lost.dedup();
        self.index_files = loaded.files.into_iter().collect();
        self.packs.retain(|pack| existing.contains(pack));
        Ok(lost)
    }

    /// Stores again what can still be fetched from where `old` knows it; gives what is lost for good.
    pub(crate) fn salvage(
        &mut self,
        context: &Context,
        old: &Reader,
        lost: Vec<BlobId>,
        options: &WriterOptions,
    ) -> Result<Vec<BlobId>, CommitError> {
        let Some(first) = lost.first().copied() else { return Ok(lost) };
        context.tell(&Event::Warning { error: &Removed { count: lost.len(), first } });
        // To this writer nothing is known: what is lost is stored anew.
        let writer = Writer::start(context, old.repository(), Arc::default(), options.clone());
        let mut blobs = writer.blob_writer();
        let mut gone = Vec::new();
        for blob in lost {
            context.cancel.check()?;
            match old.blob(&blob) {
                Ok(plain) => drop(blobs.save(&blob, &plain)?),
                Err(_) => gone.push(blob),
            }
        }
        blobs.flush();
        let mut receipt = writer.finish()?;
        if let Some(relied) = receipt.take_relied() {
            self.index_files.extend(relied.index_files);
            self.packs.extend(relied.packs);
        }
        Ok(gone)
    }
}
