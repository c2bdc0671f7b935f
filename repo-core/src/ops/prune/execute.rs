//! Carries a plan out, in an order that is safe to stop at any point.
//!
//! In: a plan with its lock. Out: what was done. Before each step that removes, the lock is looked at and the snapshots
//! are listed again: a lost lock or a snapshot that the plan does not know ends the run there, with nothing lost.
//! A removal that failed but was done all the same (the answer got lost) is a success.

use std::collections::HashSet;
use std::sync::Arc;

use crate::backend::BackendError;
use crate::context::{Context, Event, Stage};
use crate::format::{IndexFile, Snapshot};
use crate::id::{FileId, IndexId, PackId};
use crate::index::Index;
use crate::ops::prune::plan::by_pack;
use crate::ops::prune::{Fate, PruneError, PrunePlan, PruneStats};
use crate::parallel;
use crate::repository::{IndexChange, IndexCollector, Load, Reader, Repository, RewriteError, Writer};

/// Packs removed between two looks at the lock.
const BATCH: usize = 1000;

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
    /// Packs that could not be removed although nobody needs them; the next prune tries again.
    pub not_removed: Vec<(PackId, BackendError)>,
}

impl PrunePlan {
    /// Does what the plan says, and removes the lock at the end.
    ///
    /// Whatever error ends it, every snapshot is as whole as before; the next prune goes on.
    pub fn execute(self, context: &Context) -> Result<PruneReport, PruneError> {
        let mut report = PruneReport {
            stats: *self.stats(),
            packs_written: 0,
            bytes_written: 0,
            packs_removed: 0,
            not_removed: Vec::new(),
        };
        self.guard()?;
        let unindexed: Vec<PackId> = self.unindexed().collect();
        self.remove_packs(context, Stage::Remove, &unindexed, &mut report)?;
        self.vouch(context)?;
        self.repack(context, &mut report)?;
        let gone = self.gone();
        if !gone.is_empty() {
            let old_packs: Vec<PackId> =
                gone.difference(&self.missing().iter().copied().collect()).copied().collect();
            if self.options.recover_no_free_space {
                self.change_index_last(context, &gone, &old_packs, &mut report)?;
            } else {
                self.change_index(context, &gone)?;
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
        self.lock.check()?;
        let now = self.repository.list::<Snapshot>().map_err(crate::snapshots::SelectError::from)?;
        match now.into_iter().find(|id| !self.snapshots.contains(id)) {
            Some(id) => Err(PruneError::NewSnapshot { id }),
            None => Ok(()),
        }
    }

    /// Packs that the index is not to list any more.
    fn gone(&self) -> HashSet<PackId> {
        let packs = self.index.packs().iter().zip(&self.decision.fates);
        packs.filter(|(_, fate)| **fate != Fate::Keep).map(|(pack, _)| pack.id).collect()
    }

    /// Reads the copies that are to stay of blobs of which others go.
    fn vouch(&self, context: &Context) -> Result<(), PruneError> {
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

    /// Moves blobs that are in use out of packs that go: packs, then their index files.
    fn repack(&self, context: &Context, report: &mut PruneReport) -> Result<(), PruneError> {
        if self.decision.moves.is_empty() {
            return Ok(());
        }
        let stage = Stage::Repack;
        let total = self.decision.stats.packs_repack;
        context.tell(&Event::Begin { stage, total, bytes: self.decision.stats.repack.bytes });
        let reader = Reader::new(&self.repository, Arc::clone(&self.index));
        // To this writer nothing is known: what is moved is stored anew.
        let writer =
            Writer::start(context, &self.repository, Arc::new(Index::default()), self.options.writer.clone());
        let loads = by_pack(&self.index, &self.decision.moves).filter_map(|copies| {
            let pack = copies.first()?.place.pack;
            Some(Load { pack, blobs: copies.iter().map(|copy| (copy.blob, copy.place)).collect() })
        });
        match writer.repack(context, &reader, loads) {
            // The uploaders know better why the writer has stopped.
            Err(crate::repository::RepackError::Write(crate::repository::WriteError::Stopped)) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        let receipt = writer.finish()?;
        context.tell(&Event::End { stage });
        report.packs_written = receipt.packs;
        report.bytes_written = receipt.pack_bytes;
        Ok(())
    }

    /// Writes the index without the packs that go, then removes the index files that this replaces.
    fn change_index(&self, context: &Context, gone: &HashSet<PackId>) -> Result<(), PruneError> {
        let replaced = self.write_index(context, gone, |file| self.repository.save_index(context, &file))?;
        self.guard()?;
        self.remove_index(context, &replaced)
    }

    /// The other way round, where there is no room for a single file: index files go, packs go, the index comes.
    fn change_index_last(
        &self,
        context: &Context,
        gone: &HashSet<PackId>,
        old_packs: &[PackId],
        report: &mut PruneReport,
    ) -> Result<(), PruneError> {
        let mut files = Vec::new();
        let replaced = self.write_index(context, gone, |file| {
            files.push(file);
            Ok(())
        })?;
        self.guard()?;
        self.remove_index(context, &replaced)?;
        self.remove_packs(context, Stage::RemovePacks, old_packs, report)?;
        for file in files {
            self.repository.save_index(context, &file)?;
        }
        Ok(())
    }

    fn write_index(
        &self,
        context: &Context,
        gone: &HashSet<PackId>,
        mut save: impl FnMut(IndexFile) -> Result<(), RewriteError>,
    ) -> Result<Vec<IndexId>, RewriteError> {
        let twice = self.index.packs().iter().filter(|pack| pack.listed > 1).map(|pack| pack.id);
        let change = IndexChange { old: &self.index_files, gone, listed_twice: &twice.collect() };
        let mut collector = IndexCollector::default();
        let replaced = self.repository.rewrite_index(context, &change, &mut collector, &mut save)?;
        if let Some(last) = collector.finish() {
            save(last)?;
        }
        Ok(replaced)
    }

    fn remove_index(&self, context: &Context, replaced: &[IndexId]) -> Result<(), PruneError> {
        let stage = Stage::RemoveIndex;
        context.tell(&Event::Begin { stage, total: replaced.len() as u64, bytes: 0 });
        let files: Vec<FileId> = replaced.iter().map(|id| (*id).into()).collect();
        // While an index file lists a pack, the pack must not go.
        if let Some((_, error)) = remove(context, &self.repository, stage, &files)?.into_iter().next() {
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
            let failed = remove(context, &self.repository, stage, &files)?;
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

/// Removes files of one kind and gives those that are still there, each with the reason.
fn remove(
    context: &Context,
    repository: &Repository,
    stage: Stage,
    files: &[FileId],
) -> Result<Vec<(FileId, BackendError)>, PruneError> {
    let backend = repository.backend();
    let mut failed = Vec::new();
    parallel::stream(
        backend.properties().connections,
        files.iter().copied(),
        |file| {
            context.cancel.check()?;
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
