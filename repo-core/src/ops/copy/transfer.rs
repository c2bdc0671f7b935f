//! Blobs across: finds what the target lacks, fetches it pack by pack, and stores it.
//!
//! In: trees that are to be whole in the target. Out: a receipt, and the blobs that cannot be had from any copy. Each
//! tree is read once in a run and each blob stored once, however many snapshots need them. Every blob is opened and
//! compared with its name on the way. Where both sides seal with the same key, a pack of which everything is wanted
//! goes over as it is.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::compress::Compression;
use crate::context::{Cancelled, Context, Event, Stage};
use crate::crypto::Key;
use crate::format::IndexedBlob;
use crate::id::{BlobId, BlobKind, PackId, TreeId};
use crate::index::{BlobCopy, BlobSet, Index};
use crate::ops::copy::CopyError;
use crate::pack::FinishedPack;
use crate::parallel;
use crate::repository::{
    BlobWriter, Needed, ReadError, Reader, Receipt, Repository, ThawOptions, WriteError, Writer,
    WriterOptions,
};
use crate::walk::{SeenTrees, reach};

/// More packs than these are never read at once.
const READS_MAX: usize = 8;

/// What reading one of them may need.
const READ_BYTES: u64 = 32 << 20;

/// The blobs of one run.
pub(super) struct Transfer<'a> {
    context: &'a Context,
    from: Reader,
    to: &'a Repository,
    /// What the snapshots need and the target has had before.
    had: BlobSet,
    options: &'a WriterOptions,
    /// Both seal with the same master key.
    same_key: bool,
    seen: Mutex<SeenTrees>,
    /// Every blob that the snapshots need so far.
    met: BlobSet,
    /// Those that the next [`run`](Self::run) is to store.
    wanted: BlobSet,
    wanted_bytes: AtomicU64,
    /// What no copy gives.
    lost: Mutex<HashMap<BlobId, Arc<ReadError>>>,
}

impl<'a> Transfer<'a> {
    /// Nothing is required yet. `known` is what the target has.
    pub(super) fn new(
        context: &'a Context,
        from: Reader,
        to: &'a Repository,
        known: Arc<Index>,
        options: &'a WriterOptions,
    ) -> Self {
        let set = || BlobSet::new(Arc::clone(from.index()));
        Self {
            same_key: is_same(from.repository().key(), to.key()),
            met: set(),
            wanted: set(),
            had: BlobSet::new(known),
            context,
            from,
            to,
            options,
            seen: Mutex::default(),
            wanted_bytes: AtomicU64::new(0),
            lost: Mutex::default(),
        }
    }

    /// Adds what a tree needs, as far as no earlier one does.
    pub(super) fn require(&self, root: TreeId) -> Result<(), Cancelled> {
        reach(self.context, &self.from, [root], &self.seen, |reached| match reached.tree {
            Ok(tree) => {
                self.want(&reached.id.into());
                for id in tree.nodes.iter().filter_map(|node| node.content.as_ref()).flatten() {
                    self.want(&(*id).into());
                }
            }
            Err(error) => self.lose(reached.id.into(), error),
        })
    }

    fn want(&self, blob: &BlobId) {
        if self.had.insert_listed(blob) || !self.met.insert(blob) {
            return;
        }
        match self.from.index().place_of(blob) {
            Some(place) => {
                self.wanted.insert(blob);
                self.wanted_bytes.fetch_add(u64::from(place.len), Ordering::Relaxed);
            }
            None => self.lose(*blob, ReadError::Unknown { blob: *blob }),
        }
    }

    /// How many stored bytes the next run has to move.
    pub(super) fn wanted_bytes(&self) -> u64 {
        self.wanted_bytes.load(Ordering::Relaxed)
    }

    /// Stores what is wanted and begins a new list.
    pub(super) fn run(&mut self, thaw: Option<&ThawOptions>) -> Result<Receipt, CopyError> {
        let numbers = self.by_place();
        if let Some(thaw) = thaw {
            let copies = numbers.iter().filter_map(|number| self.from.index().copy_at(*number));
            let packs: HashSet<PackId> = copies.map(|copy| copy.place.pack).collect();
            self.from.repository().thaw(self.context, &Needed::of(&packs, self.from.index()), thaw)?;
        }
        let packs = by_pack(self.from.index(), &numbers);
        let stage = Stage::Copy;
        let total = by_pack(self.from.index(), &numbers).count() as u64;
        self.context.tell(&Event::Begin { stage, total, bytes: self.wanted_bytes() });
        // What the target has is not wanted, or is wanted although its index lists it.
        let writer = Writer::start(
            &self.context.with_half_the_memory(),
            self.to,
            Arc::default(),
            self.options.clone(),
        );
        match self.copy_packs(&writer, packs) {
            // The uploaders know better why the writer has stopped.
            Ok(()) | Err(CopyError::Write(WriteError::Stopped)) => {}
            Err(error) => return Err(error),
        }
        let receipt = writer.finish()?;
        self.context.tell(&Event::End { stage });
        self.wanted = BlobSet::new(Arc::clone(self.from.index()));
        self.wanted_bytes = AtomicU64::new(0);
        Ok(receipt)
    }

    /// One copy of every wanted blob by its number, those of a pack next to each other and in the order they lie.
    fn by_place(&self) -> Vec<u32> {
        let index = self.from.index();
        let mut last = None;
        let firsts = index.copies().filter(|copy| last.replace(copy.blob) != Some(copy.blob));
        let wanted = firsts.filter(|copy| self.wanted.contains(&copy.blob));
        let mut numbers: Vec<u32> = wanted.map(|copy| copy.number).collect();
        numbers
            .sort_unstable_by_key(|number| index.copy_at(*number).map(|copy| (copy.pack, copy.place.offset)));
        numbers
    }

    fn copy_packs(
        &self,
        writer: &Writer,
        packs: impl Iterator<Item = Vec<BlobCopy>> + Send,
    ) -> Result<(), CopyError> {
        let reads = self.from.repository().backend().properties().connections.clamp(1, READS_MAX);
        let bytes_each = READ_BYTES + writer.open_bytes();
        let threads = self.context.memory.half().threads(reads.max(parallel::cores()), bytes_each);
        let writers = Mutex::new(Vec::<BlobWriter>::new());
        parallel::stream(
            threads,
            packs,
            |copies| {
                self.context.cancel.check()?;
                let kept = lock(&writers).pop();
                let mut blobs = kept.unwrap_or_else(|| writer.blob_writer());
                let bytes = copies.iter().map(|copy| u64::from(copy.place.len)).sum();
                let result = match self.whole_pack(writer, &copies) {
                    Some(pack) => writer.save_pack(pack).map_err(CopyError::from),
                    None => self.copy_pack(&mut blobs, &copies),
                };
                lock(&writers).push(blobs);
                result.map(|()| bytes)
            },
            |bytes| {
                self.context.tell(&Event::Progress { stage: Stage::Copy, items: 1, bytes });
                Ok(())
            },
        )?;
        for blobs in lock(&writers).drain(..) {
            blobs.flush();
        }
        Ok(())
    }

    /// The whole pack of these blobs, if the target would hold it just so and nothing of it is unwanted.
    fn whole_pack(&self, writer: &Writer, copies: &[BlobCopy]) -> Option<FinishedPack> {
        let first = copies.first()?;
        let summary = self.from.index().packs().get(first.pack)?;
        let blobs = summary.data_blobs as usize + summary.tree_blobs as usize;
        let is_wanted = blobs == copies.len()
            && copies.iter().all(|copy| self.goes_as_it_is(&copy.blob, copy.place.plain_len));
        if !is_wanted {
            return None;
        }
        let listed = copies.iter().map(|BlobCopy { blob, place, .. }| IndexedBlob {
            kind: blob.kind,
            id: blob.id,
            offset: place.offset,
            len: place.len,
            plain_len: place.plain_len,
        });
        self.from.whole_pack(summary.id, summary.file_len(), listed.collect(), writer.pack_buffer())
    }

    fn copy_pack(&self, writer: &mut BlobWriter, copies: &[BlobCopy]) -> Result<(), CopyError> {
        let Some(pack) = copies.first().map(|copy| copy.place.pack) else { return Ok(()) };
        let blobs = copies.iter().map(|copy| (copy.blob, copy.place, copy.blob));
        self.from.pack_copies(pack, blobs, |blob, stored| {
            match stored {
                Ok(stored) if self.goes_as_it_is(&blob, stored.plain_len) => {
                    writer.save_sealed(&blob, stored.sealed, stored.plain_len)?;
                }
                Ok(stored) => {
                    writer.save(&blob, stored.plain)?;
                }
                // Another pack may still have it.
                Err(_) => match self.from.blob(&blob) {
                    Ok(plain) => {
                        writer.save(&blob, &plain)?;
                    }
                    Err(error) => self.lose(blob, error),
                },
            }
            Ok(())
        })
    }

    /// Whether the stored bytes are what the target would hold: sealed with its key, compressed if it compresses.
    fn goes_as_it_is(&self, blob: &BlobId, plain_len: Option<NonZeroU32>) -> bool {
        let compresses = self.to.config().compresses();
        let wanted = self.options.compression != Compression::Off || blob.kind == BlobKind::Tree;
        let fits = if plain_len.is_some() { compresses } else { !(compresses && wanted) };
        self.same_key && fits
    }

    fn lose(&self, blob: BlobId, error: ReadError) {
        lock(&self.lost).entry(blob).or_insert_with(|| Arc::new(error));
    }

    /// What is missing below a tree after a [`run`](Self::run); the first one by name if there is more.
    ///
    /// A directory that was readable before and is not now counts too: nobody knows what is missing below it.
    pub(super) fn damage_below(&self, root: TreeId) -> Result<Option<(BlobId, Arc<ReadError>)>, Cancelled> {
        if lock(&self.lost).is_empty() {
            return Ok(None);
        }
        let found = Mutex::new(None::<(BlobId, Arc<ReadError>)>);
        let note = |blob: BlobId, error: Arc<ReadError>| {
            let mut found = lock(&found);
            if found.as_ref().is_none_or(|(other, _)| blob < *other) {
                *found = Some((blob, error));
            }
        };
        let note_if_lost = |blob: BlobId| {
            let error = lock(&self.lost).get(&blob).cloned();
            if let Some(error) = error {
                note(blob, error);
            }
        };
        reach(self.context, &self.from, [root], &Mutex::default(), |reached| {
            note_if_lost(reached.id.into());
            match reached.tree {
                Ok(tree) => {
                    for id in tree.nodes.iter().filter_map(|node| node.content.as_ref()).flatten() {
                        note_if_lost((*id).into());
                    }
                }
                Err(error) => note(reached.id.into(), Arc::new(error)),
            }
        })?;
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The blobs that the snapshots so far need and that `is_there` denies; what was lost in the source is not asked for.
    pub(super) fn missing(&self, is_there: impl Fn(&BlobId) -> bool) -> Vec<BlobId> {
        let lost = lock(&self.lost);
        let needed = self.had.iter().chain(self.met.iter());
        needed.filter(|blob| !lost.contains_key(blob) && !is_there(blob)).collect()
    }

    /// Wants blobs once more. Gives one that the source does not have.
    pub(super) fn want_again(&self, blobs: &[BlobId]) -> Result<(), BlobId> {
        for blob in blobs {
            let place = self.from.index().place_of(blob).ok_or(*blob)?;
            self.wanted.insert(blob);
            self.wanted_bytes.fetch_add(u64::from(place.len), Ordering::Relaxed);
        }
        Ok(())
    }

    /// One of these blobs that could not be had from the source.
    pub(super) fn lost_of(&self, blobs: &[BlobId]) -> Option<BlobId> {
        let lost = lock(&self.lost);
        blobs.iter().copied().find(|blob| lost.contains_key(blob))
    }
}

/// The copies of a list of numbers, pack by pack.
fn by_pack<'a>(index: &'a Index, numbers: &'a [u32]) -> impl Iterator<Item = Vec<BlobCopy>> + 'a {
    let pack = |number: &u32| index.copy_at(*number).map(|copy| copy.pack);
    let groups = numbers.chunk_by(move |a, b| pack(a) == pack(b));
    groups.map(|group| group.iter().filter_map(|number| index.copy_at(*number)).collect())
}

fn is_same(a: &Key, b: &Key) -> bool {
    (a.encrypt(), a.mac_k(), a.mac_r()) == (b.encrypt(), b.mac_k(), b.mac_r())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
