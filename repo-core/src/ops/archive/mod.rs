//! Archive: files of a source → a snapshot.
//!
//! ```text
//! walker ─files→ readers ─batches of chunks→ workers ─blobs→ writer (packs, index)
//!    └ directories, slots for every entry ←─ nodes ─┘
//!                   └ complete directories → assembler ─tree blobs→ writer
//! ```
//!
//! The walker goes through directories in the order of names and reserves a slot for every entry; whoever
//! finishes an entry fills its slot; a directory whose slots are filled becomes a tree blob and fills a slot
//! of the directory above. So the trees do not depend on how many threads there are. Every queue is bounded,
//! in bytes where the things are of different sizes: memory is about 50 MiB of batches, and the packs of the
//! writer. What cannot be read is left out, told and listed in the report; the rest is saved.
//!
//! Before the snapshot is saved, and once more after it is visible, `commit.rs` looks whether everything is there
//! that it relies on. What somebody removed meanwhile is stored again: from where it still lies, else by one more round.

mod batch;
mod change;
mod commit;
mod directory;
mod edit;
mod file;
mod known;
mod options;
mod report;
mod run;
mod scan;
mod tree;
mod walker;

pub use change::ParentChoice;
pub use edit::ChangedPaths;
pub use options::{ArchiveOptions, Origin};
pub use report::{ArchiveError, Lost, Problem, Report, Skipped};

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use crate::context::{Added, Context, Event, Stage};
use crate::format::Snapshot;
use crate::fs::source::targets::{self, TargetTree};
use crate::fs::source::{Links, Source};
use crate::id::{Id, TreeId};
use crate::ops::archive::change::Parent;
use crate::ops::archive::commit::Rests;
use crate::ops::archive::run::Run;
use crate::repository::{
    IndexError, IndexPart, LockGuard, LockKind, Reader, Reliance, Repository, WriteError, Writer,
};
use crate::snapshots::Stored;
use crate::time::Time;

/// So often everything is gone through at most, when what was relied on is removed meanwhile.
const ROUNDS_MAX: u32 = 3;

/// Saves `targets` of a source as a new snapshot.
///
/// Locks the repository (shared), chooses the parent, loads the index, stores packs, then index files, then
/// the snapshot. Targets are absolute, or relative to [`ArchiveOptions::cwd`]. Entries that cannot be read
/// are left out and listed in [`Report::skipped`].
///
/// Success means that the snapshot is whole after it became visible, whatever other programs removed meanwhile; what
/// they took away is stored again.
///
/// Returns [`ArchiveError::NoTarget`] if none of the targets exists, [`ArchiveError::Empty`] if nothing was
/// selected; then nothing was added to the list of snapshots.
pub fn archive(
    context: &Context,
    repository: &Repository,
    source: &dyn Source,
    targets: &[PathBuf],
    options: &ArchiveOptions,
) -> Result<Report, ArchiveError> {
    let start = context.now();
    let lock = match &options.lock {
        Some(lock) => repository.lock(context, LockKind::Shared, lock)?,
        None => LockGuard::none(),
    };
    let plan = targets::plan(&options.cwd, targets, source);
    let snapshot = new_snapshot(options, &plan.paths, options.time.unwrap_or(start));
    let missing = missing_targets(source, &plan)?;
    let parent = change::choose_parent(context, repository, &snapshot, &options.parent)?;
    context.tell(&Event::Parent { id: parent.as_ref().map(|stored| stored.id) });
    let backup = Backup { context, repository, source, options, lock: &lock, start, parent, snapshot };

    let mut added = Added::default();
    let mut round = backup.round(1, plan, missing, &mut added)?;
    for number in 2..=ROUNDS_MAX {
        let lost = match round {
            Outcome::Saved(report) => return Ok(*report),
            Outcome::Lost(lost) => lost,
        };
        if source.reads_once() {
            return Err(lost.into());
        }
        context.tell(&Event::Warning { error: &lost });
        let plan = targets::plan(&options.cwd, targets, source);
        let missing = missing_targets(source, &plan)?;
        round = backup.round(number, plan, missing, &mut added)?;
    }
    match round {
        Outcome::Saved(report) => Ok(*report),
        Outcome::Lost(lost) => Err(lost.into()),
    }
}

/// What is the same in every round.
struct Backup<'a> {
    context: &'a Context,
    repository: &'a Repository,
    source: &'a dyn Source,
    options: &'a ArchiveOptions,
    lock: &'a LockGuard,
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

impl Backup<'_> {
    /// Goes through everything once. Whatever the index of this round does not list is read from the source.
    fn round(
        &self,
        number: u32,
        plan: TargetTree,
        missing: Vec<Skipped>,
        added: &mut Added,
    ) -> Result<Outcome, ArchiveError> {
        let Self { context, repository, options, .. } = *self;
        // Once somebody has removed packs, an index file that was saved too late may list one of them.
        let existing = if number == 1 { None } else { Some(repository.packs().map_err(IndexError::from)?) };
        let loaded = repository.load_index_part(context, IndexPart { existing, ..IndexPart::default() })?;
        for (_, error) in &loaded.unreadable {
            context.tell(&Event::Warning { error });
        }
        let index = Arc::new(loaded.index);
        let reader = || Reader::new(repository, index.clone());
        let parent =
            self.parent.clone().map(|stored| Parent::new(context, reader(), stored, &options.origin));

        let writer = Writer::start(context, repository, index.clone(), options.writer.clone());
        let mut run =
            Run::new(context, self.source, options, parent.as_ref(), repository.chunker()?, &writer);
        run.is_first_round = number == 1;
        run.report_missing(missing);
        let outcome = run.execute(plan);
        let kept = std::mem::take(&mut *run.kept_trees());
        let Run { found, .. } = run;
        let root = match outcome {
            // What stopped the writer says the writer.
            Err(ArchiveError::Write(WriteError::Stopped)) => {
                writer.finish()?;
                return Err(WriteError::Stopped.into());
            }
            other => other?,
        };
        let mut receipt = writer.finish()?;

        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
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
        let id = if options.skip_if_unchanged && unchanged {
            None
        } else {
            let relied =
                receipt.take_relied().expect("a receipt that was just given tells what it relies on");
            let rests = Rests { reliance: Reliance::new(relied, loaded.files), kept, old: reader() };
            match self.commit(&snapshot, &receipt, rests)? {
                Ok(id) => Some(id),
                Err(lost) => return Ok(Outcome::Lost(lost)),
            }
        };
        Ok(Outcome::Saved(Box::new(Report { id, snapshot, summary, skipped: found.skipped, receipt })))
    }
}

fn new_snapshot(options: &ArchiveOptions, paths: &[PathBuf], time: Time) -> Snapshot {
    let Origin { hostname, username, uid, gid } = options.origin.clone();
    Snapshot {
        time,
        parent: None,
        tree: TreeId(Id::new([0; 32])),
        paths: paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
        hostname,
        username,
        uid,
        gid,
        excludes: options.excludes_on_record.clone(),
        tags: options.tags.clone(),
        original: None,
        program_version: options.program_version.clone(),
        summary: None,
        unknown: Vec::new(),
    }
}

/// Which targets do not exist; an error if none does.
fn missing_targets(source: &dyn Source, plan: &TargetTree) -> Result<Vec<Skipped>, ArchiveError> {
    let mut missing: Vec<Skipped> = Vec::new();
    for path in &plan.paths {
        if let Err(error) = source.stat(path, Links::Keep)
            && !missing.iter().any(|skipped| &skipped.path == path)
        {
            missing.push(Skipped { stage: Stage::Scan, path: path.clone(), problem: error.into() });
        }
    }
    let all = |path: &PathBuf| missing.iter().any(|skipped| &skipped.path == path);
    if plan.paths.iter().all(all) {
        return Err(ArchiveError::NoTarget {
            first: missing.into_iter().next().map(|skipped| skipped.problem),
        });
    }
    Ok(missing)
}
