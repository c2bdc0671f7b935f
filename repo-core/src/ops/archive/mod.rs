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

mod batch;
mod change;
mod directory;
mod edit;
mod file;
mod known;
mod options;
mod report;
mod run;
mod scan;
mod select;
mod tree;
mod walker;

pub use change::{ChangeDetection, ParentChoice};
pub use edit::ChangedPaths;
pub use options::{ArchiveOptions, Origin};
pub use report::{ArchiveError, Problem, Report, Skipped};
pub use select::{Everything, NoMarker, Select};

use std::path::PathBuf;
use std::sync::PoisonError;

use crate::context::{Context, Event, Stage};
use crate::format::Snapshot;
use crate::fs::source::targets::{self, TargetTree};
use crate::fs::source::{Links, Source};
use crate::id::{Id, SnapshotId, TreeId};
use crate::ops::archive::change::Parent;
use crate::ops::archive::run::Run;
use crate::repository::{LockGuard, LockKind, Reader, Receipt, Repository, WriteError, Writer};
use crate::time::Time;

/// Saves `targets` of a source as a new snapshot.
///
/// Locks the repository (shared), chooses the parent, loads the index, stores packs, then index files, then
/// the snapshot. Targets are absolute, or relative to [`ArchiveOptions::cwd`]. Entries that cannot be read
/// are left out and listed in [`Report::skipped`].
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
    let missing = missing_targets(source, &plan)?;
    let snapshot = new_snapshot(options, &plan.paths, options.time.unwrap_or(start));
    let parent = change::choose_parent(context, repository, &snapshot, &options.parent)?;
    context.tell(&Event::Parent { id: parent.as_ref().map(|stored| stored.id) });
    let index = repository.load_index(context)?;
    let reader = Reader::new(repository, index.clone());
    let parent = parent.map(|stored| Parent::new(context, reader, stored, &options.origin));

    let chunker = repository.chunker()?;
    let writer = Writer::start(context, repository, index, options.writer.clone());
    let run = Run::new(context, source, options, parent.as_ref(), chunker, &writer);
    run.report_missing(missing);
    let outcome = run.execute(plan);
    let Run { found, .. } = run;
    let root = match outcome {
        // What stopped the writer says the writer.
        Err(ArchiveError::Write(WriteError::Stopped)) => {
            writer.finish()?;
            return Err(WriteError::Stopped.into());
        }
        other => other?,
    };
    let receipt = writer.finish()?;

    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let summary = found.summary(start, context.now());
    let snapshot = Snapshot {
        parent: parent.as_ref().map(Parent::id),
        tree: root,
        summary: Some(summary.clone()),
        ..snapshot
    };
    let unchanged = parent.as_ref().is_some_and(|parent| parent.tree() == root);
    let id = if options.skip_if_unchanged && unchanged {
        None
    } else {
        lock.check()?;
        context.cancel.check()?;
        Some(save(context, repository, &snapshot, &receipt)?)
    };
    Ok(Report { id, snapshot, summary, skipped: found.skipped, receipt })
}

/// Makes the snapshot visible. The receipt proves that all of it is durable.
fn save(
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    _receipt: &Receipt,
) -> Result<SnapshotId, ArchiveError> {
    repository.save(context, snapshot).map_err(ArchiveError::Snapshot)
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
