//! Archive: files of a source → a snapshot.
//!
//! ```text
//! lister ─directories→ walker
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
//! With several destinations all of this happens once, but for what is each repository's own: its draft of the snapshot
//! with slots, assembler and writer. A chunk is cut and named once for all repositories that cut alike.
//!
//! Before the snapshot is saved, and once more after it is visible, `commit.rs` looks whether everything is there
//! that it relies on. What somebody removed meanwhile is stored again: from where it still lies, else by one more round.

mod ahead;
mod backup;
mod batch;
mod change;
mod commit;
mod destination;
mod directory;
mod draft;
mod edit;
mod file;
mod known;
mod lane;
mod level;
mod options;
mod report;
mod run;
mod scan;
mod tree;
mod walker;
mod wish;
mod work;

pub use change::ParentChoice;
pub use destination::Destination;
pub use edit::ChangedPaths;
pub use options::{ArchiveOptions, Origin};
pub use report::{ArchiveError, Lost, Problem, Report, Skipped};

use std::convert::Infallible;
use std::path::PathBuf;

use crate::context::Context;
use crate::fs::source::Source;
use crate::ops::archive::backup::Backup;
use crate::ops::archive::run::Run;
use crate::ops::archive::wish::Wish;
use crate::parallel;
use crate::repository::Repository;

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
    let destination = Destination::new(context, repository, options);
    let results = archive_several(context, &[destination], source, targets, options);
    results.into_iter().next().unwrap_or(Err(ArchiveError::Empty))
}

/// Saves `targets` of a source as a new snapshot in each of several repositories, and reads them once for all.
///
/// A file is read if any of the repositories needs its content, and then once; it is cut and its chunks are named once
/// for all repositories that [cut alike](crate::chunker). Each result is what [`archive`] would have given for this one,
/// in the order of the destinations: a repository that fails does not stop the others. They go at the pace of the
/// slowest.
///
/// What a destination says takes the place of what the options say. `context` is told how the reading goes, and stops
/// everything.
///
/// ```
/// use repo_core::{ArchiveOptions, Destination, LocalSource, archive_several};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let init = || Repository::init(&context, Arc::new(MemoryBackend::new()), &"password".into(), &cheap);
/// # let (near, far, folder) = (init()?, init()?, tempfile::tempdir()?);
/// # std::fs::write(folder.path().join("letter"), "Dear John")?;
/// # let folder = folder.path();
///
/// let options = ArchiveOptions::default();
/// let destinations = [&near, &far].map(|repository| Destination::new(&context, repository, &options));
/// for result in archive_several(&context, &destinations, &LocalSource::new(), &[folder.into()], &options) {
///     assert_eq!(result?.summary.files_new, 1);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn archive_several(
    context: &Context,
    destinations: &[Destination<'_>],
    source: &dyn Source,
    targets: &[PathBuf],
    options: &ArchiveOptions,
) -> Vec<Result<Report, ArchiveError>> {
    let start = context.now();
    let wish = Wish { source, targets, options };
    let mut results = Results(destinations.iter().map(|_| None).collect());
    let locked = results.each(destinations.iter().enumerate().collect(), |destination: &Destination<'_>| {
        Ok((destination, destination.lock()?))
    });

    let plan = wish.plan();
    let missing = wish.missing(&plan);
    let begun = results.each(locked, |(destination, lock)| {
        if let Err(first) = &missing {
            return Err(ArchiveError::NoTarget { first: first.clone() });
        }
        let backup = Backup::begin(destination, wish, lock, start, wish.snapshot(&plan, start))?;
        let round = backup.open_round(1)?;
        Ok((backup, round))
    });
    if let Ok(missing) = missing
        && !begun.is_empty()
    {
        let drafts = begun.iter().map(|(_, (backup, round))| backup.draft(round)).collect();
        let drafted = Run::new(context, wish, drafts).execute(plan, missing);
        let drafted = begun.into_iter().zip(drafted).map(|((at, begun), drafted)| (at, (begun, drafted)));
        let saved =
            results.each(drafted.collect(), |((backup, round), drafted)| backup.finish(round, drafted));
        for (at, report) in saved {
            results.0[at] = Some(Ok(report));
        }
    }
    results.0.into_iter().flatten().collect()
}

/// Results by destination, as far as there are any.
struct Results(Vec<Option<Result<Report, ArchiveError>>>);

impl Results {
    /// Takes a step for every destination that is still at it, side by side. Who fails has its result by that.
    fn each<T: Send, R: Send>(
        &mut self,
        items: Vec<(usize, T)>,
        step: impl Fn(T) -> Result<R, ArchiveError> + Sync,
    ) -> Vec<(usize, R)> {
        let step = |(at, item)| Ok::<_, Infallible>((at, step(item)));
        let Ok(steps) = match items.len() {
            0 | 1 => items.into_iter().map(step).collect(),
            threads => parallel::map(threads, items, step),
        };
        let mut left = Vec::with_capacity(steps.len());
        for (at, result) in steps {
            match result {
                Ok(item) => left.push((at, item)),
                Err(error) => self.0[at] = Some(Err(error)),
            }
        }
        left
    }
}
