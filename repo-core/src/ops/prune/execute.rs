//! Carries a plan out alone, in an order that is safe to stop at any point; and the steps that `beside` takes too.
//!
//! In: a plan with its lock. Out: what was done. Before each step that removes, the lock is looked at and the snapshots
//! are listed again: a lost lock or a snapshot that the plan does not know ends the run there, with nothing lost.
//! A removal that failed but was done all the same (the answer got lost) is a success.

use std::collections::HashSet;
use std::sync::Arc;

use crate::backend::{BackendError, ErrorKind};
use crate::context::{Context, Event, Stage};
use crate::format::{IndexFile, IndexedBlob, IndexedPack, Place, Snapshot};
use crate::id::{BlobId, FileId, IndexId, PackId};
use crate::index::Index;
use crate::ops::prune::plan::{Decision, by_pack};
use crate::ops::prune::{Fate, PruneError, PruneMode, PrunePlan, PruneStats};
use crate::parallel;
use crate::repository::{
    IndexChange, IndexCollector, IndexError, Load, LockGuard, Marking, Reader, RepackError, Repository,
    RewriteError, StoredLock, WriteError, Writer,
};

/// Packs removed between two looks at the lock.
pub(super) const BATCH: usize = 1000;

/// What was done.
#[derive(Debug)]
pub struct PruneReport {
    /// The plan in numbers.
    pub stats: PruneStats,
    /// Packs that were written.
    pub packs_written: u64,
    /// Bytes that were written to packs.
    pub bytes_written: u64,
    /// Packs removed.
    pub packs_removed: u64,
    /// Packs that were marked; a later run removes them.
    pub packs_marked: u64,
    /// Packs that had been marked and that snapshots need again.
    pub packs_back: u64,
    /// Why packs that are to be marked stay in the index until the next run.
    pub postponed: Option<Postponed>,
    /// Packs that could not be removed although nobody needs them; the next prune tries again.
    pub not_removed: Vec<(PackId, BackendError)>,
}

/// Why packs stay in the index although nobody needs them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Postponed {
    /// Somebody else is at work, who may have loaded the index and rely on it.
    AtWork(Box<StoredLock>),
    /// It took so long that the marks are old already.
    TooLong,
    /// The storage is full: nothing was moved, so only packs go in which nothing is in use. There is more room then.
    Full,
}

impl PruneReport {
    fn new(stats: PruneStats) -> Self {
        Self {
            stats,
            packs_written: 0,
            bytes_written: 0,
            packs_removed: 0,
            packs_marked: 0,
            packs_back: 0,
            postponed: None,
            not_removed: Vec::new(),
        }
    }
}

impl PrunePlan {
    /// Does what the plan says, and removes the lock at the end.
    ///
    /// Whatever error ends it, every snapshot is as whole as before; the next prune goes on.
    pub fn execute(mut self, context: &Context) -> Result<PruneReport, PruneError> {
        let mut report = PruneReport::new(*self.stats());
        if self.options.mode != PruneMode::Instant {
            return self.execute_beside(context, report);
        }
        self.guard()?;
        let unindexed: Vec<PackId> = self.unindexed().collect();
        self.refuse_new_index(!unindexed.is_empty())?;
        self.remove_packs(context, Stage::Remove, &unindexed, &mut report)?;
        let back = self.decision.back.iter().filter_map(|pack| self.marks.packs.get(pack));
        let back: Vec<IndexedPack> = back.map(|mark| mark.pack.clone()).collect();
        self.list_again(context, back, &mut report)?;
        self.vouch(context)?;
        self.repack(context, &mut report)?;
        let gone = self.gone();
        let Decision { expired, hollow, back, missing, .. } = &self.decision;
        let mut unmarked: HashSet<PackId> = expired.iter().chain(hollow).chain(back).copied().collect();
        if !gone.is_empty() || !unmarked.is_empty() {
            unmarked.extend(self.kept());
            let missing: HashSet<PackId> = missing.iter().copied().collect();
            let old_packs: Vec<PackId> = gone.difference(&missing).chain(expired).copied().collect();
            let marking = Marking { unmarked, ..Marking::default() };
            if self.options.recover_no_free_space {
                self.change_index_last(context, &gone, &marking, &old_packs, &mut report)?;
            } else {
                self.change_index(context, &gone, &marking)?;
                self.remove_packs(context, Stage::RemovePacks, &old_packs, &mut report)?;
            }
        }
        self.guard()?;
        // Nobody is told a lie about a lock that stays behind: it grows stale, and the work is done.
        drop(self.lock.release());
        Ok(report)
    }

    /// Whether it is still safe to remove what the plan says.
    fn guard(&self) -> Result<(), PruneError> {
        self.lock.make_sure_lately()?;
        let now = self.repository.list::<Snapshot>().map_err(crate::snapshots::SelectError::from)?;
        match now.into_iter().find(|id| !self.snapshots.contains(id)) {
            Some(id) => Err(PruneError::NewSnapshot { id }),
            None => Ok(()),
        }
    }

    /// Whoever is alone and removes anything knows all of the index: the listing before may have left out a file, and
    /// with it packs that seem to be listed nowhere.
    fn refuse_new_index(&self, removes_unindexed: bool) -> Result<(), PruneError> {
        if !removes_unindexed && !self.decision.fates.iter().any(|fate| fate.leaves_the_index()) {
            return Ok(());
        }
        let now = self.repository.list::<IndexFile>().map_err(IndexError::from)?;
        match now.into_iter().find(|id| !self.index_files.contains(id)) {
            Some(id) => Err(PruneError::NewIndex { id }),
            None => Ok(()),
        }
    }

    /// Packs that the index is not to list any more.
    pub(super) fn gone(&self) -> HashSet<PackId> {
        let packs = self.index.packs().iter().zip(&self.decision.fates);
        packs.filter(|(_, fate)| fate.leaves_the_index()).map(|(pack, _)| pack.id).collect()
    }

    /// Packs that stay listed: a mark of one of them was made by a run that was stopped, and counts for nothing.
    pub(super) fn kept(&self) -> impl Iterator<Item = PackId> + '_ {
        let packs = self.index.packs().iter().zip(&self.decision.fates);
        packs.filter(|(_, fate)| **fate == Fate::Keep).map(|(pack, _)| pack.id)
    }

    /// Packs that were marked stand in the index again, so that snapshots are whole.
    pub(super) fn list_again(
        &mut self,
        context: &Context,
        packs: Vec<IndexedPack>,
        report: &mut PruneReport,
    ) -> Result<(), PruneError> {
        let mut collector = IndexCollector::default();
        report.packs_back += packs.len() as u64;
        let mut full: Vec<IndexFile> = packs.into_iter().filter_map(|pack| collector.add(pack)).collect();
        full.extend(collector.finish());
        for file in full {
            let id = self.repository.save(context, &file).map_err(RewriteError::Save)?;
            self.index_files.push(id);
        }
        Ok(())
    }

    /// Reads the copies that are to stay of blobs of which others go.
    pub(super) fn vouch(&self, context: &Context) -> Result<(), PruneError> {
        let reader = Reader::new(&self.repository, Arc::clone(&self.index));
        let packs = by_pack(&self.index, &self.decision.vouch);
        parallel::stream(
            self.repository.backend().properties().connections.max(parallel::cores()),
            packs,
            |copies| {
                context.cancel.check()?;
                let Some(pack) = copies.first().map(|copy| copy.place.pack) else { return Ok(()) };
                let copies = copies.iter().map(|copy| (copy.blob, copy.place, copy.blob));
                reader.pack_copies(pack, copies, |blob, copy| match copy {
                    Ok(_) => Ok(()),
                    Err(source) => Err(PruneError::Copy { blob, pack, source: source.into() }),
                })
            },
            |()| Ok(()),
        )
    }

    /// Moves blobs that are in use out of packs that go: packs, then their index files. Where there is no room for that,
    /// those packs stay.
    pub(super) fn repack(&mut self, context: &Context, report: &mut PruneReport) -> Result<(), PruneError> {
        if self.decision.moves.is_empty() {
            return Ok(());
        }
        match self.move_blobs(context, report) {
            Err(error) if is_full(&error) => {
                context.tell(&Event::Warning { error: &error });
                self.decision.moves.clear();
                for fate in self.decision.fates.iter_mut().filter(|fate| **fate == Fate::Repack) {
                    *fate = Fate::Keep;
                }
                report.postponed = Some(Postponed::Full);
                Ok(())
            }
            result => result,
        }
    }

    fn move_blobs(&self, context: &Context, report: &mut PruneReport) -> Result<(), PruneError> {
        let stage = Stage::Repack;
        let total = self.decision.stats.packs_repack;
        context.tell(&Event::Begin { stage, total, bytes: self.decision.stats.repack.bytes });
        let reader = Reader::new(&self.repository, Arc::clone(&self.index));
        // To this writer nothing is known: what is moved is stored anew.
        let writer = Writer::start(
            &context.with_half_the_memory(),
            &self.repository,
            Arc::default(),
            self.options.writer.clone(),
        );
        let loads = by_pack(&self.index, &self.decision.moves).filter_map(|copies| {
            let pack = copies.first()?.place.pack;
            Some(Load { pack, blobs: copies.iter().map(|copy| (copy.blob, copy.place)).collect() })
        });
        match writer.repack(context, &reader, loads) {
            // The uploaders know better why the writer has stopped.
            Err(RepackError::Write(WriteError::Stopped)) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        let receipt = writer.finish()?;
        context.tell(&Event::End { stage });
        report.packs_written = receipt.packs;
        report.bytes_written = receipt.pack_bytes;
        Ok(())
    }

    /// Writes the index without the packs that go, then removes the index files that this replaces.
    fn change_index(
        &mut self,
        context: &Context,
        gone: &HashSet<PackId>,
        marking: &Marking<'_>,
    ) -> Result<(), PruneError> {
        let save = |file| self.repository.save_index(context, &file);
        let replaced = self.write_index(context, gone, marking, IndexCollector::default(), save)?;
        self.guard()?;
        let removed = self.remove_index(context, &replaced, &self.lock);
        let Err(lost) = self.lock.make_sure() else { return removed };
        // Somebody may have loaded the index between its removals: what it relies on stays, and stays listed.
        let packs = indexed(&self.index, gone);
        self.list_again(context, packs, &mut PruneReport::new(*self.stats()))?;
        Err(lost.into())
    }

    /// The other way round, where there is no room for a single file: index files go, packs go, the index comes.
    fn change_index_last(
        &self,
        context: &Context,
        gone: &HashSet<PackId>,
        marking: &Marking<'_>,
        old_packs: &[PackId],
        report: &mut PruneReport,
    ) -> Result<(), PruneError> {
        let mut files = Vec::new();
        let replaced = self.write_index(context, gone, marking, IndexCollector::default(), |file| {
            files.push(file);
            Ok(())
        })?;
        self.guard()?;
        self.remove_index(context, &replaced, &self.lock)?;
        self.remove_packs(context, Stage::RemovePacks, old_packs, report)?;
        for file in files {
            self.repository.save_index(context, &file)?;
        }
        Ok(())
    }

    /// Writes the index as it is to be, after what `collector` holds already; gives the files that this replaces.
    pub(super) fn write_index(
        &self,
        context: &Context,
        gone: &HashSet<PackId>,
        marking: &Marking<'_>,
        mut collector: IndexCollector,
        mut save: impl FnMut(IndexFile) -> Result<(), RewriteError>,
    ) -> Result<Vec<IndexId>, RewriteError> {
        let twice = self.index.packs().iter().filter(|pack| pack.listed > 1).map(|pack| pack.id);
        let change = IndexChange { old: &self.index_files, gone, listed_twice: &twice.collect() };
        let replaced =
            self.repository.rewrite_index_with(context, &change, marking, &mut collector, &mut save)?;
        if let Some(last) = collector.finish() {
            save(last)?;
        }
        Ok(replaced)
    }

    /// Removes index files as long as `lock` is held.
    pub(super) fn remove_index(
        &self,
        context: &Context,
        replaced: &[IndexId],
        lock: &LockGuard,
    ) -> Result<(), PruneError> {
        let stage = Stage::RemoveIndex;
        context.tell(&Event::Begin { stage, total: replaced.len() as u64, bytes: 0 });
        let files: Vec<FileId> = replaced.iter().map(|id| (*id).into()).collect();
        // While an index file lists a pack, the pack must not go.
        if let Some((_, error)) = remove(context, &self.repository, stage, &files, lock)?.into_iter().next() {
            return Err(PruneError::RemoveIndex(error));
        }
        context.tell(&Event::End { stage });
        Ok(())
    }

    fn remove_packs(
        &self,
        context: &Context,
        stage: Stage,
        packs: &[PackId],
        report: &mut PruneReport,
    ) -> Result<(), PruneError> {
        if packs.is_empty() {
            return Ok(());
        }
        context.tell(&Event::Begin { stage, total: packs.len() as u64, bytes: 0 });
        let mut packs = packs.to_vec();
        packs.sort_unstable();
        for batch in packs.chunks(BATCH) {
            self.guard()?;
            let files: Vec<FileId> = batch.iter().map(|id| (*id).into()).collect();
            let failed = remove(context, &self.repository, stage, &files, &self.lock)?;
            report.packs_removed += (batch.len() - failed.len()) as u64;
            for (file, error) in failed {
                context.tell(&Event::Warning { error: &error });
                report.not_removed.push((PackId(file.id), error));
            }
        }
        context.tell(&Event::End { stage });
        Ok(())
    }
}

/// Whether a copy could not be stored because there is no room.
fn is_full(error: &PruneError) -> bool {
    match error {
        PruneError::Write(WriteError::Pack(error))
        | PruneError::Repack(RepackError::Write(WriteError::Pack(error))) => error.kind() == ErrorKind::Full,
        _ => false,
    }
}

/// What the index says about some packs.
pub(super) fn indexed(index: &Index, packs: &HashSet<PackId>) -> Vec<IndexedPack> {
    if packs.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<IndexedPack> =
        packs.iter().map(|pack| IndexedPack { id: *pack, blobs: Vec::new() }).collect();
    found.sort_unstable_by_key(|pack| pack.id);
    for (BlobId { kind, id }, Place { pack, offset, len, plain_len }) in index.iter() {
        if let Ok(at) = found.binary_search_by_key(&pack, |pack| pack.id) {
            found[at].blobs.push(IndexedBlob { kind, id, offset, len, plain_len });
        }
    }
    found
}

/// Removes files of one kind as long as `lock` is held, and gives those that are still there, each with the reason.
pub(super) fn remove(
    context: &Context,
    repository: &Repository,
    stage: Stage,
    files: &[FileId],
    lock: &LockGuard,
) -> Result<Vec<(FileId, BackendError)>, PruneError> {
    let backend = repository.backend();
    let mut failed = Vec::new();
    parallel::stream(
        backend.properties().connections,
        files.iter().copied(),
        |file| {
            context.cancel.check()?;
            lock.make_sure_lately()?;
            Ok::<_, PruneError>((file, backend.remove(file)))
        },
        |(file, result)| {
            context.tell(&Event::Progress { stage, items: 1, bytes: 0 });
            failed.extend(result.err().map(|error| (file, error)));
            Ok(())
        },
    )?;
    let Some((FileId { kind, .. }, _)) = failed.first() else { return Ok(failed) };
    // A removal whose answer got lost was done all the same. Who cannot list believes the worst.
    if let Ok(left) = backend.list(*kind) {
        let left: HashSet<_> = left.iter().map(|listed| listed.id).collect();
        failed.retain(|(file, _)| left.contains(&file.id));
    }
    Ok(failed)
}
