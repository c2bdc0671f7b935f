//! One destination's part of a backup: before the source is read, and after.
//!
//! All destinations begin together and share the first round. What one of them has to do again, because somebody removed
//! meanwhile what its snapshot relies on, it does alone.

use std::sync::Arc;

use crate::chunker::{Chunker, ChunkerParams};
use crate::context::{Added, Event};
use crate::format::Snapshot;
use crate::id::IndexId;
use crate::index::Index;
use crate::ops::archive::change::{self, Parent};
use crate::ops::archive::commit::Rests;
use crate::ops::archive::destination::Destination;
use crate::ops::archive::draft::{Base, Draft, Drafted};
use crate::ops::archive::report::{ArchiveError, Lost, Report};
use crate::ops::archive::run::Run;
use crate::ops::archive::wish::Wish;
use crate::repository::{IndexError, IndexPart, LockGuard, LockKind, Reader, Reliance, WriteError, Writer};
use crate::snapshots::Stored;
use crate::time::Time;

/// So often everything is gone through at most, when what was relied on is removed meanwhile.
const ROUNDS_MAX: u32 = 3;

/// What is the same in every round.
pub(super) struct Backup<'a> {
    pub(super) destination: &'a Destination<'a>,
    pub(super) wish: Wish<'a>,
    pub(super) lock: LockGuard,
    start: Time,
    parent: Option<Stored>,
    snapshot: Snapshot,
}

/// What became of a round.
enum Outcome {
    /// There is a snapshot, or none is wanted.
    Saved(Box<Report>),
    /// What the snapshot needs was removed meanwhile and cannot be had but from the source; there is no snapshot.
    Lost(Lost),
}

/// What a round works with. Whatever the index of this round does not list is read from the source.
pub(super) struct Round {
    is_first: bool,
    parent: Option<Parent>,
    writer: Writer,
    params: ChunkerParams,
    chunker: Chunker,
    index: Arc<Index>,
    index_files: Vec<IndexId>,
}

impl Destination<'_> {
    /// Locks the repository.
    pub(super) fn lock(&self) -> Result<LockGuard, ArchiveError> {
        match &self.lock {
            Some(lock) => Ok(self.repository.lock(&self.context, LockKind::Shared, lock)?),
            None => Ok(LockGuard::none()),
        }
    }
}

impl<'a> Backup<'a> {
    /// Chooses the parent of a snapshot that will begin as this one does.
    pub(super) fn begin(
        destination: &'a Destination<'a>,
        wish: Wish<'a>,
        lock: LockGuard,
        start: Time,
        snapshot: Snapshot,
    ) -> Result<Self, ArchiveError> {
        let Destination { context, repository, parent, .. } = destination;
        let parent = change::choose_parent(context, repository, &snapshot, parent)?;
        context.tell(&Event::Parent { id: parent.as_ref().map(|stored| stored.id) });
        Ok(Self { destination, wish, lock, start, parent, snapshot })
    }

    /// Makes ready for a round.
    pub(super) fn open_round(&self, number: u32) -> Result<Round, ArchiveError> {
        let Destination { context, repository, writer, .. } = self.destination;
        // Once somebody has removed packs, an index file that was saved too late may list one of them.
        let existing = if number == 1 { None } else { Some(repository.packs().map_err(IndexError::from)?) };
        let loaded = repository.load_index_part(context, IndexPart { existing, ..IndexPart::default() })?;
        for (_, error) in &loaded.unreadable {
            context.tell(&Event::Warning { error });
        }
        let index = Arc::new(loaded.index);
        let parent = self.parent.clone().map(|stored| {
            let reader = Reader::new(repository, index.clone());
            Parent::new(context, reader, stored, &self.wish.options.origin)
        });
        Ok(Round {
            is_first: number == 1,
            parent,
            params: repository.chunker_params()?,
            chunker: repository.chunker()?,
            writer: Writer::start(context, repository, index.clone(), writer.clone()),
            index,
            index_files: loaded.files,
        })
    }

    /// The draft of a round.
    pub(super) fn draft<'r>(&'r self, round: &'r Round) -> Draft<'r> {
        Draft::new(Base {
            context: &self.destination.context,
            parent: round.parent.as_ref(),
            changed: self.destination.changed.as_ref(),
            writer: &round.writer,
            chunker: (&round.params, &round.chunker),
            is_first_round: round.is_first,
        })
    }

    /// Saves the snapshot that was drafted in the first round; goes through everything again if that is needed.
    pub(super) fn finish(self, round: Round, drafted: Drafted) -> Result<Report, ArchiveError> {
        let mut added = Added::default();
        let mut outcome = self.close_round(round, drafted, &mut added)?;
        for number in 2..=ROUNDS_MAX {
            let lost = match outcome {
                Outcome::Saved(report) => return Ok(*report),
                Outcome::Lost(lost) => lost,
            };
            if self.wish.source.reads_once() {
                return Err(lost.into());
            }
            self.destination.context.tell(&Event::Warning { error: &lost });
            outcome = self.again(number, &mut added)?;
        }
        match outcome {
            Outcome::Saved(report) => Ok(*report),
            Outcome::Lost(lost) => Err(lost.into()),
        }
    }

    /// Goes through everything once more.
    fn again(&self, number: u32, added: &mut Added) -> Result<Outcome, ArchiveError> {
        let plan = self.wish.plan();
        let missing = self.wish.missing(&plan).map_err(|first| ArchiveError::NoTarget { first })?;
        let round = self.open_round(number)?;
        let run = Run::new(&self.destination.context, self.wish, vec![self.draft(&round)]);
        let drafted = run.execute(plan, missing).pop().ok_or(ArchiveError::Empty)?;
        self.close_round(round, drafted, added)
    }

    fn close_round(
        &self,
        round: Round,
        drafted: Drafted,
        added: &mut Added,
    ) -> Result<Outcome, ArchiveError> {
        let Destination { context, repository, .. } = self.destination;
        let Round { parent, writer, index, index_files, .. } = round;
        let Drafted { root, mut found, kept_trees } = drafted;
        let root = match root {
            // What stopped the writer says the writer.
            Err(ArchiveError::Write(WriteError::Stopped)) => {
                writer.finish()?;
                return Err(WriteError::Stopped.into());
            }
            other => other?,
        };
        let mut receipt = writer.finish()?;

        found.count_added(*added);
        *added = found.added();
        let summary = found.summary(self.start, context.now());
        let snapshot = Snapshot {
            parent: parent.as_ref().map(Parent::id),
            tree: root,
            summary: Some(summary.clone()),
            ..self.snapshot.clone()
        };
        let unchanged = parent.as_ref().is_some_and(|parent| parent.tree() == root);
        let id = if self.wish.options.skip_if_unchanged && unchanged {
            None
        } else {
            let relied =
                receipt.take_relied().expect("a receipt that was just given tells what it relies on");
            let old = Reader::new(repository, index);
            let rests = Rests { reliance: Reliance::new(relied, index_files), kept: kept_trees, old };
            match self.commit(&snapshot, &receipt, rests)? {
                Ok(id) => Some(id),
                Err(lost) => return Ok(Outcome::Lost(lost)),
            }
        };
        Ok(Outcome::Saved(Box::new(Report { id, snapshot, summary, skipped: found.skipped, receipt })))
    }
}
