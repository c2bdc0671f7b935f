//! The index, from what packs say they hold.
//!
//! In: the index as far as it is readable, and the list of packs. Packs that no index file lists, or that are not as
//! long as it says, are asked for their headers; packs that do not exist are forgotten. Out: a new index.
//!
//! The new index is durable and was read back before the first old file goes. A pack whose header cannot be read keeps
//! what the index says about it: that is all that is known of what lies in it.
//! Memory: the index (48 bytes per blob), and 60 bytes per blob of a pack whose header is read, for one index file.

use std::collections::{HashMap, HashSet};

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::format::IndexedPack;
use crate::id::{FileId, FileKind, IndexId, PackId};
use crate::parallel;
use crate::repository::{
    IndexChange, IndexCollector, IndexError, IndexPart, LoadedIndex, LockError, LockGuard, LockKind,
    LockOptions, PackHeaderError, Repository, RewriteError,
};

/// How to rebuild the index. Name what matters and take the rest from [`Default`].
#[derive(Debug, Clone, Default)]
pub struct RepairIndexOptions {
    /// How to lock the repository (exclusively).
    pub lock: LockOptions,
    /// Read the header of every pack instead of believing what the index says.
    pub read_all_packs: bool,
}

/// Why the index was not rebuilt. The old one is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairIndexError {
    /// The repository could not be locked, or the lock was lost.
    #[error(transparent)]
    Lock(LockError),
    /// The packs could not be listed.
    #[error("cannot list the packs")]
    Packs(#[source] BackendError),
    /// The old index could not be loaded, or the new one not be read back.
    #[error(transparent)]
    Index(IndexError),
    /// The storage did not give a pack's header.
    #[error(transparent)]
    Header(Box<PackHeaderError>),
    /// The new index could not be stored.
    #[error(transparent)]
    Rewrite(RewriteError),
    /// Read back, the new index does not list a pack that it should.
    #[error("the new index does not list pack {pack}, so the old one stays")]
    NotCovered {
        /// Which pack.
        pack: PackId,
    },
    /// An old index file could not be removed; the new ones are complete beside it.
    #[error("cannot remove an index file that was replaced")]
    Remove(#[source] BackendError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(RepairIndexError: LockError => Lock, IndexError => Index, RewriteError => Rewrite);

/// What was done.
#[derive(Debug, Default)]
pub struct RepairIndexReport {
    /// Packs whose headers were read, and that the index lists now as they say.
    pub added: Vec<PackId>,
    /// Packs that do not exist and that the index has forgotten.
    pub forgotten: Vec<PackId>,
    /// Packs whose headers cannot be read; what the index said about them still stands there, if it said anything.
    pub unreadable: Vec<(PackId, PackHeaderError)>,
    /// Old index files that were removed.
    pub files_removed: u64,
    /// Index files among them that were unreadable.
    pub files_unreadable: Vec<IndexId>,
}

impl RepairIndexReport {
    /// Whether the index was as it should be and nothing was written.
    pub fn is_unchanged(&self) -> bool {
        self.files_removed == 0
    }
}

/// Rebuilds the index from the packs.
///
/// ```
/// use repo_core::id::{FileKind, IndexId};
/// use repo_core::ops::repair::{RepairIndexOptions, repair_index};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
///
/// for file in repository.backend().list(FileKind::Index)? {
///     repository.backend().remove(IndexId(file.id).into())?; // an accident
/// }
/// let report = repair_index(&context, &repository, &RepairIndexOptions::default())?;
/// assert_eq!(report.added.len(), 2);
/// assert!(repo_core::check(&context, &repository, &Default::default())?.is_sound());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn repair_index(
    context: &Context,
    repository: &Repository,
    options: &RepairIndexOptions,
) -> Result<RepairIndexReport, RepairIndexError> {
    let lock = repository.lock(context, LockKind::Exclusive, &options.lock)?;
    let existing = repository.backend().list(FileKind::Pack).map_err(RepairIndexError::Packs)?;
    let mut existing: HashMap<PackId, u64> =
        existing.iter().map(|file| (PackId(file.id), file.size)).collect();
    let loaded = repository.load_index_with_report(context)?;
    look_for_missing(context, repository, &loaded, &mut existing)?;
    let mut work = Work::new(&loaded, &existing, options.read_all_packs);
    let mut report = RepairIndexReport::default();
    report.forgotten.clone_from(&work.missing);
    report.files_unreadable = loaded.unreadable.iter().map(|(id, _)| *id).collect();
    if work.is_empty() && loaded.unreadable.is_empty() && loaded.odd_entries.is_empty() {
        return Ok(report);
    }

    let mut collector = IndexCollector::default();
    read_headers(context, repository, &mut work, &mut collector, &mut report)?;
    let gone = report.added.iter().chain(&work.missing).copied().collect();
    let new = NewIndex {
        loaded: &loaded,
        gone: &gone,
        known: collector,
        listed: &report.added,
        unreadable: &report.files_unreadable,
    };
    report.files_removed = new.replace_old(context, repository, &lock)?;
    drop(lock.release());
    Ok(report)
}

/// Asks for every pack that is listed by the index and not by the storage: what the index forgets, snapshots lose, and
/// a listing may leave out what is there.
fn look_for_missing(
    context: &Context,
    repository: &Repository,
    loaded: &LoadedIndex,
    existing: &mut HashMap<PackId, u64>,
) -> Result<(), RepairIndexError> {
    let listed = loaded.index.packs().iter().map(|pack| pack.id);
    let missing: Vec<PackId> = listed.filter(|pack| !existing.contains_key(pack)).collect();
    parallel::stream(
        repository.backend().properties().connections,
        missing,
        |pack| {
            context.cancel.check()?;
            match repository.backend().size(pack.into()) {
                Ok(size) => Ok(Some((pack, size))),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(RepairIndexError::Packs(error)),
            }
        },
        |found| {
            existing.extend(found);
            Ok(())
        },
    )
}

/// An index that takes the place of the old one.
pub(super) struct NewIndex<'a> {
    /// The old one.
    pub(super) loaded: &'a LoadedIndex,
    /// Packs of which nothing stays that the old files say.
    pub(super) gone: &'a HashSet<PackId>,
    /// What is known of packs instead.
    pub(super) known: IndexCollector,
    /// Packs that stand there, and in files that were stored from it.
    pub(super) listed: &'a [PackId],
    /// Old files that hold nothing usable.
    pub(super) unreadable: &'a [IndexId],
}

impl NewIndex<'_> {
    /// Stores it, reads it back, and only then removes the old files; gives how many these were.
    pub(super) fn replace_old(
        self,
        context: &Context,
        repository: &Repository,
        lock: &LockGuard,
    ) -> Result<u64, RepairIndexError> {
        let Self { loaded, gone, mut known, listed, unreadable } = self;
        let twice = loaded.index.packs().iter().filter(|pack| pack.listed > 1).map(|pack| pack.id).collect();
        let change = IndexChange { old: &loaded.files, gone, listed_twice: &twice };
        let mut save = |file| repository.save_index(context, &file);
        let mut old = repository.rewrite_index(context, &change, &mut known, &mut save)?;
        if let Some(last) = known.finish() {
            save(last)?;
        }
        old.extend(unreadable);
        // The old files stay until all that is known stands in the new ones.
        let kept = loaded.index.packs().iter().map(|pack| pack.id).filter(|pack| !gone.contains(pack));
        covers(context, repository, &old, kept.chain(listed.iter().copied()))?;
        lock.check()?;
        remove(context, repository, &old)?;
        Ok(old.len() as u64)
    }
}

/// What there is to do.
struct Work {
    /// Packs whose headers are to be read, with their sizes.
    read: Vec<(PackId, u64)>,
    /// Packs that are listed and do not exist.
    missing: Vec<PackId>,
    /// Whether packs are listed more than once.
    twice: bool,
}

impl Work {
    fn new(loaded: &LoadedIndex, existing: &HashMap<PackId, u64>, all: bool) -> Self {
        let listed: HashMap<PackId, u64> =
            loaded.index.packs().iter().map(|pack| (pack.id, pack.file_len())).collect();
        let differs = |(pack, size): &(PackId, u64)| all || listed.get(pack) != Some(size);
        let mut read: Vec<_> = existing.iter().map(|(pack, size)| (*pack, *size)).filter(differs).collect();
        read.sort_unstable();
        let missing = loaded.index.packs().iter().map(|pack| pack.id);
        let missing = missing.filter(|pack| !existing.contains_key(pack)).collect();
        let twice = loaded.index.packs().iter().any(|pack| pack.listed > 1);
        Self { read, missing, twice }
    }

    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.missing.is_empty() && !self.twice
    }
}

/// Reads headers on several threads and lists what they say.
fn read_headers(
    context: &Context,
    repository: &Repository,
    work: &mut Work,
    collector: &mut IndexCollector,
    report: &mut RepairIndexReport,
) -> Result<(), RepairIndexError> {
    let stage = Stage::ReadHeaders;
    if work.read.is_empty() {
        return Ok(());
    }
    context.tell(&Event::Begin { stage, total: work.read.len() as u64, bytes: 0 });
    parallel::stream(
        repository.backend().properties().connections.max(parallel::cores()),
        std::mem::take(&mut work.read),
        |(pack, size)| {
            context.cancel.check()?;
            Ok::<_, RepairIndexError>((pack, repository.pack_blobs(pack, size)))
        },
        |(pack, result)| {
            context.tell(&Event::Progress { stage, items: 1, bytes: 0 });
            match result {
                Ok(blobs) => {
                    report.added.push(pack);
                    if let Some(full) = collector.add(IndexedPack { id: pack, blobs }) {
                        repository.save_index(context, &full)?;
                    }
                }
                Err(error) if error.is_damage() => {
                    context.tell(&Event::Warning { error: &error });
                    report.unreadable.push((pack, error));
                }
                Err(error) => return Err(RepairIndexError::Header(error.into())),
            }
            Ok(())
        },
    )?;
    context.tell(&Event::End { stage });
    report.added.sort_unstable();
    report.unreadable.sort_unstable_by_key(|(pack, _)| *pack);
    Ok(())
}

/// Whether every pack is listed by files other than the old ones.
fn covers(
    context: &Context,
    repository: &Repository,
    old: &[IndexId],
    packs: impl Iterator<Item = PackId>,
) -> Result<(), RepairIndexError> {
    let old: HashSet<_> = old.iter().copied().collect();
    let part = IndexPart { without: old, ..IndexPart::default() };
    let new = repository.load_index_part(context, part)?;
    let listed: HashSet<PackId> = new.index.packs().iter().map(|pack| pack.id).collect();
    for pack in packs {
        if !listed.contains(&pack) {
            return Err(RepairIndexError::NotCovered { pack });
        }
    }
    Ok(())
}

fn remove(context: &Context, repository: &Repository, old: &[IndexId]) -> Result<(), RepairIndexError> {
    let stage = Stage::RemoveIndex;
    context.tell(&Event::Begin { stage, total: old.len() as u64, bytes: 0 });
    parallel::stream(
        repository.backend().properties().connections,
        old.iter().copied(),
        |id| {
            context.cancel.check()?;
            let file = FileId::from(id);
            // What is gone although the answer got lost is gone.
            repository.backend().remove(file).or_else(|error| match repository.backend().size(file) {
                Err(now) if now.is_not_found() => Ok(()),
                _ => Err(RepairIndexError::Remove(error)),
            })
        },
        |()| {
            context.tell(&Event::Progress { stage, items: 1, bytes: 0 });
            Ok(())
        },
    )?;
    context.tell(&Event::End { stage });
    Ok(())
}
