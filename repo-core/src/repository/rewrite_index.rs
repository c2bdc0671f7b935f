//! The index written anew: what it lists, in files of a bounded size.
//!
//! In: packs and what they hold, one after the other. Out: index files, to be stored. Marks of other programs are
//! carried along. Stores and removes nothing itself, so that the caller decides what must be durable first.

use std::collections::{HashMap, HashSet};

use crate::context::{Cancelled, Context, Event, Stage};
use crate::format::{IndexFile, IndexedBlob, IndexedPack, MarkedPack};
use crate::hash::sha256;
use crate::id::{Id, IndexId, PackId};
use crate::parallel;
use crate::repository::{RecordError, Repository};

/// An index file is full once it lists so many blobs (format: section 5).
pub(super) const INDEX_BLOBS_MAX: usize = 50_000;

/// An index file that lists so many blobs is divided.
const OVERSIZED: usize = 50_000 + 409_199;

/// Collects packs into index files of bounded size. Memory: one index file, about 60 bytes per blob in it.
#[derive(Debug, Default)]
pub(crate) struct IndexCollector {
    open: IndexFile,
    blobs: usize,
}

impl IndexCollector {
    /// Adds what a pack holds; gives an index file back when one is full.
    pub(crate) fn add(&mut self, pack: IndexedPack) -> Option<IndexFile> {
        self.blobs += pack.blobs.len();
        self.open.packs.push(pack);
        self.full()
    }

    /// Adds a mark; gives an index file back when one is full.
    pub(crate) fn add_mark(&mut self, mark: MarkedPack) -> Option<IndexFile> {
        self.blobs += mark.pack.blobs.len();
        self.open.packs_to_delete.push(mark);
        self.full()
    }

    fn full(&mut self) -> Option<IndexFile> {
        (self.blobs >= INDEX_BLOBS_MAX).then(|| {
            self.blobs = 0;
            std::mem::take(&mut self.open)
        })
    }

    /// The last index file, unless there is nothing in it.
    pub(crate) fn finish(self) -> Option<IndexFile> {
        let IndexFile { packs, packs_to_delete, .. } = &self.open;
        (!packs.is_empty() || !packs_to_delete.is_empty()).then_some(self.open)
    }

    /// Takes over from an old file what other programs noted in it, but for marks that go.
    fn carry(&mut self, old: &mut IndexFile, change: &IndexChange<'_>, marking: &Marking<'_>) {
        old.packs_to_delete.retain(|marked| !change.drops_mark(marked.pack.id, marking));
        self.blobs += old.packs_to_delete.iter().map(|mark| mark.pack.blobs.len()).sum::<usize>();
        self.open.packs_to_delete.append(&mut old.packs_to_delete);
        for (key, value) in old.unknown.drain(..) {
            if !self.open.unknown.iter().any(|(other, _)| *other == key) {
                self.open.unknown.push((key, value));
            }
        }
    }
}

/// Why the index could not be written anew. Nothing was removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// An index file that was there when the run began cannot be read any more.
    #[error("cannot read index {id} again")]
    Read {
        /// Which one.
        id: IndexId,
        /// Why.
        source: Box<RecordError>,
    },
    /// A new index file could not be stored.
    #[error("cannot store an index file")]
    Save(#[source] RecordError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What stands in the index files that are kept or to be replaced.
pub(crate) struct IndexChange<'a> {
    /// The index files to go through.
    pub(crate) old: &'a [IndexId],
    /// Packs about which the old files shall not say anything any more.
    pub(crate) gone: &'a HashSet<PackId>,
    /// Packs that more than one file lists; said once from now on, if they say the same.
    pub(crate) listed_twice: &'a HashSet<PackId>,
}

/// What becomes of marks when the index is written anew; by default nothing.
#[derive(Default)]
pub(crate) struct Marking<'a> {
    /// Packs whose marks in the old files do not count any more.
    pub(crate) unmarked: HashSet<PackId>,
    /// Packs that are gone and get no mark, because they do not exist.
    pub(crate) unsaid: HashSet<PackId>,
    /// Marks a pack that is gone; without this nothing is said about it any more.
    pub(crate) mark: Option<&'a dyn Fn(IndexedPack) -> MarkedPack>,
}

impl Repository {
    /// As [`rewrite_index_with`](Self::rewrite_index_with), and marks stay as they are.
    pub(crate) fn rewrite_index(
        &self,
        context: &Context,
        change: &IndexChange<'_>,
        collector: &mut IndexCollector,
        save: impl FnMut(IndexFile) -> Result<(), RewriteError>,
    ) -> Result<Vec<IndexId>, RewriteError> {
        self.rewrite_index_with(context, change, &Marking::default(), collector, save)
    }

    /// Reads the old index files and hands new ones to `save`; gives the old ones that are replaced by those.
    ///
    /// Files that are full and say nothing that changes are left as they are; all others are merged. Marks that
    /// other programs made stand in the new files. Memory: one index file, and 64 bytes per pack that was listed
    /// more than once.
    pub(crate) fn rewrite_index_with(
        &self,
        context: &Context,
        change: &IndexChange<'_>,
        marking: &Marking<'_>,
        collector: &mut IndexCollector,
        mut save: impl FnMut(IndexFile) -> Result<(), RewriteError>,
    ) -> Result<Vec<IndexId>, RewriteError> {
        let total = change.old.len() as u64;
        context.tell(&Event::Begin { stage: Stage::RewriteIndex, total, bytes: 0 });
        let mut replaced = Vec::new();
        let mut said: HashMap<PackId, HashSet<Id>> = HashMap::new();
        parallel::stream(
            self.backend.properties().connections.max(parallel::cores()),
            change.old.iter().copied(),
            |id| {
                context.cancel.check()?;
                let file = self.load::<IndexFile>(id);
                Ok::<_, RewriteError>((
                    id,
                    file.map_err(|source| RewriteError::Read { id, source: source.into() })?,
                ))
            },
            |(id, mut file)| {
                context.tell(&Event::Progress { stage: Stage::RewriteIndex, items: 1, bytes: 0 });
                if change.leaves(&file, marking) {
                    return Ok(());
                }
                replaced.push(id);
                for pack in std::mem::take(&mut file.packs) {
                    let again = change.listed_twice.contains(&pack.id)
                        && !said.entry(pack.id).or_default().insert(fingerprint(&pack.blobs));
                    if again {
                        continue;
                    }
                    let full = match marking.mark {
                        _ if !change.gone.contains(&pack.id) => collector.add(pack),
                        Some(mark) if !marking.unsaid.contains(&pack.id) => collector.add_mark(mark(pack)),
                        _ => None,
                    };
                    if let Some(full) = full {
                        save(full)?;
                    }
                }
                collector.carry(&mut file, change, marking);
                Ok(())
            },
        )?;
        context.tell(&Event::End { stage: Stage::RewriteIndex });
        Ok(replaced)
    }

    /// Stores an index file.
    pub(crate) fn save_index(&self, context: &Context, file: &IndexFile) -> Result<(), RewriteError> {
        self.save(context, file).map(drop).map_err(RewriteError::Save)
    }
}

impl IndexChange<'_> {
    /// Whether a file can stay as it is.
    fn leaves(&self, file: &IndexFile, marking: &Marking<'_>) -> bool {
        let blobs: usize = file.packs.iter().map(|pack| pack.blobs.len()).sum();
        let changes =
            |pack: &IndexedPack| self.gone.contains(&pack.id) || self.listed_twice.contains(&pack.id);
        let drops = |mark: &MarkedPack| self.drops_mark(mark.pack.id, marking);
        (INDEX_BLOBS_MAX..OVERSIZED).contains(&blobs)
            && !file.packs.iter().any(changes)
            && !file.packs_to_delete.iter().any(drops)
    }

    /// Marks of packs that the old files list, or that the caller says do not count.
    fn drops_mark(&self, pack: PackId, marking: &Marking<'_>) -> bool {
        self.gone.contains(&pack) || marking.unmarked.contains(&pack)
    }
}

/// What is said about a pack, in short.
fn fingerprint(blobs: &[IndexedBlob]) -> Id {
    let mut blobs = blobs.to_vec();
    blobs.sort_unstable();
    let mut text = Vec::with_capacity(blobs.len() * 45);
    for blob in &blobs {
        text.push(u8::from(blob.kind == crate::id::BlobKind::Tree));
        text.extend_from_slice(blob.id.as_bytes());
        let plain_len = blob.plain_len.map_or(0, std::num::NonZeroU32::get);
        for number in [blob.offset, blob.len, plain_len] {
            text.extend_from_slice(&number.to_le_bytes());
        }
    }
    sha256(&text)
}
