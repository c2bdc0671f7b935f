//! Restore: a snapshot → files below a directory.
//!
//! ```text
//! planner ─batches of entries→ writer: existing files compared → packs in order ─blobs→ files
//!    └ directories are made                 → hard links → links, pipes, devices → directories finished
//! ```
//!
//! The planner walks the stored trees ahead and makes directories; the writer takes a batch of some thousand
//! entries at a time, reads what it needs of each pack once, and writes blobs where they belong, whatever file
//! they are of. A file gets its name when it is complete and has its metadata; a directory gets its metadata when
//! nothing below it changes any more. So memory does not depend on how large the snapshot is. What cannot be
//! restored is told and listed in the report; the rest is restored.

mod beside;
mod cold;
mod existing;
mod finish;
mod options;
mod plan;
mod report;
mod run;
mod to_sink;
mod write;
mod zeros;

pub use beside::{Beside, BesideError, BesideOptions, restore_beside};
pub use options::{Existing, Overwrite, RestoreOptions};
pub use report::{Problem, Report, RestoreError, Skipped, Summary};
pub use to_sink::{SinkError, SinkOptions, SinkReport, restore_to_sink};

use std::path::Path;

use crate::context::{Context, Event, Stage};
use crate::format::Snapshot;
use crate::fs::FaultKind;
use crate::fs::target::Target;
use crate::id::TreeId;
use crate::ops::restore::run::Run;
use crate::parallel::{self, AbandonOnDrop, CloseOnDrop, Queue};
use crate::repository::{LockGuard, LockKind, Reader, Repository};
use crate::walk;

/// Batches that wait for the writer while the planner goes ahead.
const BATCHES_AHEAD: u64 = 1;

/// Restores a snapshot, or a folder of it, below the directory `target`, which is made if it is missing.
///
/// Locks the repository (shared). Entries that cannot be restored are listed in [`Report::skipped`]. Nothing is
/// ever written outside the target, whatever the snapshot says and whoever changes the target meanwhile.
///
/// ```
/// use repo_core::ops::restore::{Overwrite, RestoreOptions, restore};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// # let latest = repo_core::snapshots::list(&context, &repository)?.pop().expect("there is one");
/// # let folder = tempfile::tempdir()?;
/// # let target = folder.path();
///
/// let options = RestoreOptions { overwrite: Overwrite::IfChanged, verify: true, ..RestoreOptions::default() };
/// let report = restore(&context, &repository, &latest.snapshot, target, &options)?;
/// assert!(report.skipped.is_empty(), "everything was restored as it was");
/// assert_eq!(std::fs::read(target.join("note.txt"))?, b"milk");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn restore(
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    target: &Path,
    options: &RestoreOptions,
) -> Result<Report, RestoreError> {
    let _lock = match &options.lock {
        Some(lock) => repository.lock(context, LockKind::Shared, lock)?,
        None => LockGuard::none(),
    };
    let reader = Reader::new(repository, repository.load_index(context)?);
    let root = walk::lookup_dir(&reader, snapshot.tree, &options.folder)?;
    let target = open_target(context, target, options)?;
    let run = Run::new(context, &reader, target, options);
    if let Some(thaw) = &options.thaw {
        let needed = cold::needed(&run, root)?;
        if !options.dry_run {
            repository.thaw(context, &needed, thaw)?;
        }
        run.note_needed(needed);
    }
    run.context.tell(&Event::Begin { stage: Stage::Restore, total: 0, bytes: 0 });
    if options.delete {
        // Nothing is deleted on the word of a snapshot that is not whole and well-formed.
        run.forbid_deleting_if(!plan::measure(&run, root)?);
    }
    execute(&run, root)?;
    run.context.tell(&Event::End { stage: Stage::Restore });
    Ok(run.finish())
}

/// Planner and writer side by side.
fn execute(run: &Run<'_>, root: TreeId) -> Result<(), RestoreError> {
    let batches = Queue::new(BATCHES_AHEAD);
    parallel::scope(|scope| {
        let _end = AbandonOnDrop(&batches);
        let planner = scope.spawn("restore-plan", || {
            let _end = CloseOnDrop(&batches);
            plan::plan(run, root, &batches)
        });
        if run.options.scan && !run.options.delete {
            // Only for progress: what it cannot read, the planner meets, too.
            scope.spawn("restore-scan", || drop(plan::measure(run, root)));
        }
        while let Some(batch) = batches.pop() {
            write::write(run, &batch)?;
        }
        planner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The target; none for a dry run into a directory that does not exist.
fn open_target(
    context: &Context,
    path: &Path,
    options: &RestoreOptions,
) -> Result<Option<Target>, RestoreError> {
    let token = context.random.number();
    if !options.dry_run {
        return Ok(Some(Target::create(path, token)?));
    }
    match Target::open(path, token) {
        Ok(target) => Ok(Some(target)),
        Err(error) if error.kind() == FaultKind::Vanished => Ok(None),
        Err(error) => Err(error.into()),
    }
}
