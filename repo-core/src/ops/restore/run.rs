//! What planner and writer share: where things come from and go to, and what is found out on the way.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::context::{Cancelled, Change, Context, Event, Stage};
use crate::fs::TargetError;
use crate::fs::metadata::EntryMeta;
use crate::fs::target::Target;
use crate::ops::restore::report::{Problem, Report, Skipped};
use crate::ops::restore::{RestoreError, RestoreOptions};
use crate::parallel;
use crate::repository::{Needed, Reader};

/// Items that one thread takes at a time: enough to pay for the taking.
const ITEMS_AT_ONCE: usize = 64;

/// What a thread may need to read a pack and open some of its blobs.
const READ_BYTES: u64 = 32 << 20;

/// One restore.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) reader: &'a Reader,
    pub(super) options: &'a RestoreOptions,
    /// Threads that read packs and write files.
    pub(super) threads: usize,
    target: Option<Target>,
    report: Mutex<Report>,
    may_delete: AtomicBool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        context: &'a Context,
        reader: &'a Reader,
        target: Option<Target>,
        options: &'a RestoreOptions,
    ) -> Self {
        Self {
            context,
            reader,
            options,
            threads: threads(context, reader),
            target,
            report: Mutex::default(),
            may_delete: AtomicBool::new(options.delete),
        }
    }

    pub(super) fn finish(self) -> Report {
        self.report.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The target, if it is to be changed: not in a dry run.
    pub(super) fn writable(&self) -> Option<&Target> {
        self.target.as_ref().filter(|_| !self.options.dry_run)
    }

    /// The target, if there is one.
    pub(super) fn readable(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// What stands at a path of the target.
    pub(super) fn inspect(&self, path: &Path) -> Result<Option<EntryMeta>, TargetError> {
        self.target.as_ref().map_or(Ok(None), |target| target.inspect(path))
    }

    pub(super) fn may_delete(&self) -> bool {
        self.may_delete.load(Ordering::Relaxed)
    }

    /// From now on nothing is deleted; told once.
    pub(super) fn forbid_deleting_if(&self, damaged: bool) {
        if damaged && self.may_delete.swap(false, Ordering::Relaxed) {
            self.skip(Stage::Restore, Path::new(""), Problem::NotDeleted);
        }
    }

    /// Applies `work` to all items on all threads; the order does not matter.
    pub(super) fn each<T: Sync>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<(), RestoreError> + Sync,
    ) -> Result<(), RestoreError> {
        let threads = self.threads.min(items.len() / ITEMS_AT_ONCE + 1);
        let work = |items: &[T]| {
            items.iter().try_for_each(|item| {
                self.check()?;
                work(item)
            })
        };
        if threads == 1 {
            return work(items);
        }
        parallel::stream(threads, items.chunks(ITEMS_AT_ONCE), work, Ok)
    }

    pub(super) fn check(&self) -> Result<(), Cancelled> {
        self.context.cancel.check()
    }

    /// Counts and tells what became of an entry. `path` is below the target.
    pub(super) fn done(&self, path: &Path, change: Change, size: u64) {
        let mut report = self.report();
        let summary = &mut report.summary;
        match change {
            Change::New | Change::Changed => {
                summary.entries_restored += 1;
                summary.bytes_restored += size;
            }
            Change::Unchanged => {
                summary.entries_unchanged += 1;
                summary.bytes_unchanged += size;
            }
            Change::Removed => summary.entries_deleted += 1,
        }
        drop(report);
        let path = shown(path);
        self.context.tell(&Event::Restored { path: &path, change, size });
        if matches!(change, Change::New | Change::Changed) {
            self.context.tell(&Event::Progress { stage: Stage::Restore, items: 1, bytes: 0 });
        }
    }

    /// Keeps which packs had to be readable.
    pub(super) fn note_needed(&self, needed: Needed) {
        self.report().needed = Some(needed);
    }

    pub(super) fn verified(&self) {
        self.report().summary.files_verified += 1;
    }

    /// Keeps and tells a problem. `path` is below the target.
    pub(super) fn skip(&self, stage: Stage, path: &Path, problem: impl Into<Problem>) {
        let (path, problem) = (shown(path), problem.into());
        self.context.tell(&Event::Skipped { stage, path: &path, error: &problem });
        self.report().skipped.push(Skipped { stage, path, problem });
    }

    /// As [`skip`](Self::skip), if there is something to skip.
    pub(super) fn note<E: Into<Problem>>(&self, path: &Path, result: Result<(), E>) {
        if let Err(problem) = result {
            self.skip(Stage::Restore, path, problem);
        }
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads that read packs and write.
pub(super) fn threads(context: &Context, reader: &Reader) -> usize {
    let (connections, cores) = (reader.repository().backend().properties().connections, parallel::cores());
    // Where many wait for a slow storage, others open and write what has come.
    let threads = if connections > cores { connections + cores } else { cores };
    context.memory.threads(threads, READ_BYTES)
}

/// A path as users know it: from the restored folder, which is `/`.
pub(super) fn shown(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}
