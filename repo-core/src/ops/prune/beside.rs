//! Carries a plan out while others work.
//!
//! ```text
//! marked packs that snapshots need come back ─→ packs whose time has come go ─→ copies are vouched for, blobs are moved
//!   ─→ snapshots made meanwhile are judged ─→ the index is written anew, with marks, beside the old one
//!   ─→ alone for a moment: judged once more, the old index files go
//! ```
//!
//! Whoever loaded the index relies on what it lists, perhaps for days. So a pack leaves the index only in a moment in
//! which nobody else holds a lock, and its file goes only after the time of grace, which covers those whose lock got
//! lost. A pack that any index file lists is never removed. A snapshot that appears meanwhile is not an error here: what
//! it needs stays, or comes back.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::context::{Context, Event, Stage};
use crate::format::{IndexedPack, Snapshot};
use crate::id::{BlobId, FileId, PackId, SnapshotId};
use crate::index::Index;
use crate::ops::prune::execute::{BATCH, indexed, remove};
use crate::ops::prune::marks::{Marks, Now, mark, mark_unindexed};
use crate::ops::prune::plan::Decision;
use crate::ops::prune::{Incomplete, Postponed, PruneError, PrunePlan, PruneReport, load_index, now};
use crate::repository::{IndexCollector, LoadedIndex, LockError, Marking, Reader, Repository};
use crate::snapshots::SelectError;

/// Older marks than these are not put into force: their time began before the packs left the index.
const MARK_AGE_MAX: Duration = Duration::from_mins(15);

/// A run beside others.
struct Beside<'a> {
    context: &'a Context,
    plan: PrunePlan,
    report: PruneReport,
    /// Packs that are to leave the index.
    gone: HashSet<PackId>,
    /// Packs whose time has come.
    expired: BTreeSet<PackId>,
    /// Packs whose old marks do not count any more.
    unmarked: HashSet<PackId>,
}

impl PrunePlan {
    /// Does what the plan says while others work, and removes the lock at the end.
    pub(super) fn execute_beside(
        self,
        context: &Context,
        report: PruneReport,
    ) -> Result<PruneReport, PruneError> {
        let Decision { expired, hollow, .. } = &self.decision;
        let mut run = Beside {
            context,
            report,
            gone: self.gone(),
            expired: expired.iter().copied().collect(),
            unmarked: hollow.iter().chain(&self.marks.changed).copied().collect(),
            plan: self,
        };
        run.go()?;
        // Nobody is told a lie about a lock that stays behind: it grows stale, and the work is done.
        drop(run.plan.lock.release());
        Ok(run.report)
    }
}

impl Beside<'_> {
    fn go(&mut self) -> Result<(), PruneError> {
        self.plan.lock.make_sure()?;
        let back = self.plan.decision.back.clone();
        self.bring_back(&back)?;
        self.expire()?;
        self.plan.vouch(self.context)?;
        self.plan.repack(self.context, &mut self.report)?;
        let kept: HashSet<PackId> = self.plan.kept().collect();
        self.gone.retain(|pack| !kept.contains(pack));
        self.judge()?;
        self.change_index()
    }

    /// Packs of which only marks were left are listed again.
    fn bring_back(&mut self, packs: &[PackId]) -> Result<(), PruneError> {
        let marked = packs.iter().filter_map(|pack| self.plan.marks.packs.get(pack));
        let listed: Vec<IndexedPack> = marked.map(|mark| mark.pack.clone()).collect();
        self.plan.list_again(self.context, listed, &mut self.report)?;
        for pack in packs {
            self.expired.remove(pack);
            self.plan.marks.changed.retain(|changed| changed != pack);
            self.unmarked.insert(*pack);
        }
        Ok(())
    }

    /// Removes packs whose time has come.
    fn expire(&mut self) -> Result<(), PruneError> {
        let context = self.context;
        let stage = Stage::RemovePacks;
        if self.expired.is_empty() {
            return Ok(());
        }
        context.tell(&Event::Begin { stage, total: self.expired.len() as u64, bytes: 0 });
        while !self.expired.is_empty() {
            self.plan.lock.make_sure()?;
            self.judge()?;
            let batch: Vec<PackId> = self.expired.iter().take(BATCH).copied().collect();
            let files: Vec<FileId> = batch.iter().map(|pack| (*pack).into()).collect();
            let failed = remove(context, &self.plan.repository, stage, &files, &self.plan.lock)?;
            self.report.packs_removed += (batch.len() - failed.len()) as u64;
            for pack in &batch {
                self.expired.remove(pack);
                self.unmarked.insert(*pack);
            }
            for (file, error) in failed {
                context.tell(&Event::Warning { error: &error });
                self.unmarked.remove(&PackId(file.id));
                self.report.not_removed.push((PackId(file.id), error));
            }
        }
        context.tell(&Event::End { stage });
        Ok(())
    }

    /// Looks for snapshots that the plan knows nothing of. What they need stays, or comes back; gives the packs that
    /// were to leave the index and do not.
    fn judge(&mut self) -> Result<Vec<IndexedPack>, PruneError> {
        let context = self.context;
        let snapshots = self.new_snapshots()?;
        if snapshots.is_empty() {
            return Ok(Vec::new());
        }
        let repository = self.plan.repository.clone();
        let LoadedIndex { index, marked, .. } = load_index(context, &repository)?;
        let index = Arc::new(index);
        let reader = Reader::new(&repository, Arc::clone(&index));
        self.plan.usage.go_on(Arc::clone(&index));
        for (_, snapshot) in &snapshots {
            self.plan.usage.add(context, &reader, snapshot.tree)?;
        }
        let marked = Marks::of(marked);
        let (mut spared, mut back) = (HashSet::new(), HashSet::new());
        for blob in self.plan.usage.blobs.iter() {
            let stays = |pack: &PackId| {
                spared.contains(pack)
                    || back.contains(pack)
                    || !self.gone.contains(pack) && !marked.contains_key(pack)
            };
            if index.places(&blob).any(|place| stays(&place.pack)) {
                continue;
            }
            let going = index.places(&blob).find(|place| self.gone.contains(&place.pack));
            if let Some(place) = going {
                spared.insert(place.pack);
            } else {
                back.insert(whole_copy(&repository, &index, &blob)?);
            }
        }
        self.plan.marks.packs.extend(marked);
        let mut back: Vec<PackId> = back.into_iter().collect();
        back.sort_unstable();
        self.bring_back(&back)?;
        self.gone.retain(|pack| !spared.contains(pack));
        self.plan.snapshots.extend(snapshots.iter().map(|(id, _)| *id));
        Ok(indexed(&index, &spared))
    }

    fn new_snapshots(&self) -> Result<Vec<(SnapshotId, Snapshot)>, PruneError> {
        let repository = &self.plan.repository;
        let ids = repository.list::<Snapshot>().map_err(SelectError::from)?;
        let mut new = Vec::new();
        for id in ids.into_iter().filter(|id| !self.plan.snapshots.contains(id)) {
            match repository.load::<Snapshot>(id) {
                Ok(snapshot) => new.push((id, snapshot)),
                Err(error) if error.is_not_found() => {} // forgotten meanwhile
                Err(source) => return Err(PruneError::Snapshot { id, source: source.into() }),
            }
        }
        Ok(new)
    }

    /// Writes the index without the packs that go, and with marks of them; then the old index files go, if nobody else
    /// is at work.
    fn change_index(&mut self) -> Result<(), PruneError> {
        let (context, unindexed) = (self.context, std::mem::take(&mut self.plan.decision.unindexed));
        if self.gone.is_empty() && self.unmarked.is_empty() && unindexed.is_empty() {
            return Ok(());
        }
        let repository = self.plan.repository.clone();
        let options = self.plan.options.lock.clone();
        if let Err(error) = repository.wait_for_nobody(context, &self.plan.lock, &options) {
            return self.postpone(error);
        }
        self.plan.lock.make_sure()?;
        let now = now(context, &self.plan.lock)?;
        let mut collector = IndexCollector::default();
        let mut files = Vec::new();
        let changed = self.plan.marks.changed.iter().filter_map(|pack| self.plan.marks.packs.get(pack));
        let marks =
            changed.cloned().chain(unindexed.iter().map(|(pack, size)| mark_unindexed(*pack, *size, now)));
        for mark in marks {
            files.extend(collector.add_mark(mark));
        }
        for file in files {
            repository.save_index(context, &file).map_err(PruneError::Rewrite)?;
        }
        let missing: HashSet<PackId> = self.plan.decision.missing.iter().copied().collect();
        let to_mark = |pack: IndexedPack| mark(pack, now);
        let unmarked = self.unmarked.iter().copied().chain(self.plan.kept()).collect();
        let marking = Marking { unmarked, mark: Some(&to_mark), unsaid: missing.clone() };
        let save = |file| repository.save_index(context, &file);
        let replaced = self.plan.write_index(context, &self.gone, &marking, collector, save)?;

        let moment = match repository.lock_for_a_moment(context, &self.plan.lock, &options) {
            Ok(moment) => moment,
            Err(error) => return self.postpone(error),
        };
        if self.is_over(now)? {
            self.report.postponed = Some(Postponed::TooLong);
            return Ok(());
        }
        self.relist()?;
        let removed = self.plan.remove_index(context, &replaced, &moment);
        if moment.make_sure().is_err() {
            // Somebody may have loaded the index between its removals: what it relies on stays listed.
            let packs = indexed(&self.plan.index, &self.gone);
            self.plan.list_again(context, packs, &mut self.report)?;
            self.report.postponed = Some(Postponed::TooLong);
            return removed;
        }
        drop(moment);
        removed?;
        self.report.packs_marked = (self.gone.difference(&missing).count() + unindexed.len()) as u64;
        // Nobody can have come meanwhile, unless this machine stood still and its locks were taken away.
        self.relist()
    }

    /// Packs that leave the index, or have left it, stay listed where a new snapshot needs them.
    fn relist(&mut self) -> Result<(), PruneError> {
        let spared = self.judge()?;
        self.plan.list_again(self.context, spared, &mut self.report)
    }

    /// Whether the marks that were made then are too old by now.
    fn is_over(&self, then: Now) -> Result<bool, PruneError> {
        self.plan.lock.make_sure()?;
        let now = now(self.context, &self.plan.lock)?;
        Ok(now.time.instant.since(then.time.instant) > MARK_AGE_MAX)
    }

    /// What is moved is moved, and the index will be tidied by the next run.
    fn postpone(&mut self, error: LockError) -> Result<(), PruneError> {
        match error {
            LockError::Locked { holder, .. } => {
                self.report.postponed = Some(Postponed::AtWork(holder));
                Ok(())
            }
            error => Err(error.into()),
        }
    }
}

/// A pack that exists and has a copy of a blob of which nothing but marks is left.
fn whole_copy(repository: &Repository, index: &Index, blob: &BlobId) -> Result<PackId, PruneError> {
    let mut packs: Vec<PackId> = index.places(blob).map(|place| place.pack).collect();
    for pack in &packs {
        match repository.backend().size((*pack).into()) {
            Ok(_) => return Ok(*pack),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(PruneError::Packs(error)),
        }
    }
    packs.sort_unstable();
    Err(if packs.is_empty() {
        Incomplete::Blobs { count: 1, first: *blob }.into()
    } else {
        Incomplete::PacksMissing { packs }.into()
    })
}
