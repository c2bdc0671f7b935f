//! One run: the threads, the queues between them, and the drafts that they work on together.

use std::iter;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::context::{Cancelled, Context, Event, Stage};
use crate::fs::FaultKind;
use crate::fs::metadata::Names;
use crate::fs::source::Source;
use crate::fs::source::targets::TargetTree;
use crate::ops::archive::ahead::Ahead;
use crate::ops::archive::batch::{Batch, FileAtWork, Place};
use crate::ops::archive::draft::{Draft, Drafted};
use crate::ops::archive::lane::{Lane, lanes};
use crate::ops::archive::options::ArchiveOptions;
use crate::ops::archive::report::{ArchiveError, Problem, Skipped};
use crate::ops::archive::wish::Wish;
use crate::parallel::{self, Budget, Queue};

/// Threads that open and read files. More than cores: opening a cold file waits for the disk.
pub(super) const READERS: usize = 8;
/// Files that wait for a reader.
const FILES_WAITING_MAX: u64 = 2048;

/// A file to be read, for all who want it.
#[derive(Debug)]
pub(super) struct FileJob {
    /// Its name in the snapshot.
    pub(super) name: Vec<u8>,
    /// Where it is on the source.
    pub(super) path: std::path::PathBuf,
    pub(super) places: Vec<Place>,
}

/// Everything the threads of a run share.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) source: &'a dyn Source,
    pub(super) options: &'a ArchiveOptions,
    /// One for each destination.
    pub(super) drafts: Vec<Draft<'a>>,
    /// The ways in which files are cut.
    pub(super) lanes: Vec<Lane<'a>>,
    /// By draft, the lane.
    pub(super) lane_of: Vec<usize>,
    pub(super) names: Names,
    pub(super) ahead: Ahead,
    pub(super) files: Queue<FileJob>,
    pub(super) batches: Queue<Batch>,
    pub(super) large_files: Budget,
    readers_left: AtomicUsize,
    workers: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(context: &'a Context, wish: Wish<'a>, drafts: Vec<Draft<'a>>) -> Self {
        let Wish { source, options, .. } = wish;
        let workers = parallel::cores();
        let (lanes, lane_of) = lanes(&drafts, workers);
        let chunk_len_max = lanes.iter().map(|lane| lane.chunker.max_len()).max().unwrap_or(1);
        Self {
            context,
            source,
            options,
            drafts,
            lanes,
            lane_of,
            names: Names::system(),
            ahead: Ahead::default(),
            files: Queue::new(FILES_WAITING_MAX),
            batches: Queue::new(chunk_len_max as u64),
            large_files: Budget::new(options.read_concurrency.max(1) as u64),
            readers_left: AtomicUsize::new(READERS),
            workers,
        }
    }

    /// The story: starts everybody, waits for the root trees.
    pub(super) fn execute(self, plan: TargetTree, missing: Vec<Skipped>) -> Vec<Drafted> {
        for Skipped { stage, path, problem } in missing {
            for draft in &self.drafts {
                draft.skip(stage, &path, problem.clone());
            }
        }
        self.context.tell(&Event::Begin { stage: Stage::Archive, total: 0, bytes: 0 });
        parallel::scope(|scope| {
            for _ in 0..self.workers {
                scope.spawn("worker", || self.guarded(|| self.work()));
            }
            for _ in 0..READERS {
                scope.spawn("reader", || self.guarded(|| self.read_files()));
            }
            if self.options.scan {
                let targets = plan.nodes.clone();
                scope.spawn("scanner", || self.scan(targets));
            }
            scope.spawn("lister", || {
                let bail = Bail(&self);
                self.ahead.read(self.source);
                drop(bail);
            });
            scope.spawn("walker", || self.guarded(|| self.walk(plan)));
            let Some((first, others)) = self.drafts.split_first() else { return };
            for draft in others {
                scope.spawn("assembler", || self.assemble(draft));
            }
            self.assemble(first);
        });
        self.context.tell(&Event::End { stage: Stage::Archive });
        self.drafts.into_iter().map(Draft::into_drafted).collect()
    }

    fn assemble(&self, draft: &Draft<'_>) {
        let bail = Bail(self);
        match draft.assemble() {
            Ok(root) => draft.set_root(root),
            Err(error) => draft.fail(error),
        }
        draft.end();
        self.end_if_all_are_over();
        drop(bail);
    }

    /// Runs a thread's part. A request to stop, or a panic, ends everybody's.
    fn guarded(&self, part: impl FnOnce() -> Result<(), Cancelled>) {
        let bail = Bail(self);
        if let Err(stopped) = part() {
            self.fail_all(|| stopped.into());
        }
        drop(bail);
    }

    /// Ends one draft; the others go on.
    pub(super) fn fail(&self, draft: &Draft<'_>, error: ArchiveError) {
        draft.fail(error);
        self.end_if_all_are_over();
    }

    /// Ends every draft for the same reason.
    fn fail_all(&self, error: impl Fn() -> ArchiveError) {
        self.drafts.iter().filter(|draft| !draft.is_over()).for_each(|draft| draft.fail(error()));
        self.abandon();
    }

    /// Whether nobody needs anything any more.
    pub(super) fn is_over(&self) -> bool {
        self.drafts.iter().all(Draft::is_over)
    }

    fn end_if_all_are_over(&self) {
        if self.is_over() {
            self.abandon();
        }
    }

    /// Lets every thread end at its next step.
    fn abandon(&self) {
        self.drafts.iter().for_each(Draft::end);
        self.ahead.end();
        self.files.abandon();
        self.batches.abandon();
        self.lanes.iter().for_each(|lane| lane.arenas.abandon());
    }

    /// The last reader closes the queue behind it.
    pub(super) fn reader_ends(&self) {
        if self.readers_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.batches.close();
        }
    }

    /// A file whose chunks are all stored gets its entries.
    pub(super) fn finish_file(&self, file: &FileAtWork) {
        let (node, bytes) = file.take();
        for (place, node) in file.places.iter().zip(iter::repeat_n(node, file.places.len())) {
            self.drafts[place.draft].finish_file(place, node, bytes, file.since);
        }
    }

    /// Something could not be saved as it should, in any of these drafts.
    pub(super) fn skip(
        &self,
        drafts: impl IntoIterator<Item = usize>,
        path: &Path,
        problem: impl Into<Problem>,
    ) {
        match problem.into() {
            Problem::Source(error) if error.kind() == FaultKind::Broken => {
                self.fail_all(|| ArchiveError::Source(error.clone()));
            }
            problem => {
                for draft in drafts {
                    self.drafts[draft].skip(Stage::Archive, path, problem.clone());
                }
            }
        }
    }
}

/// Ends everybody when a thread panics; the panic itself goes on in the scope.
struct Bail<'r, 'a>(&'r Run<'a>);

impl Drop for Bail<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abandon();
        }
    }
}
