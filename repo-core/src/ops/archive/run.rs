//! One run: the threads, the queues between them, and what they find out together.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::chunker::Chunker;
use crate::context::{Added, Change, Context, Event, Stage};
use crate::format::Node;
use crate::fs::FaultKind;
use crate::fs::metadata::Names;
use crate::fs::source::Source;
use crate::fs::source::targets::TargetTree;
use crate::id::TreeId;
use crate::ops::archive::batch::{Arenas, Batch, FileAtWork, FinishedFile};
use crate::ops::archive::change::{Parent, compare};
use crate::ops::archive::directory::{Directory, Slot};
use crate::ops::archive::options::ArchiveOptions;
use crate::ops::archive::report::{ArchiveError, Found, Problem, Skipped};
use crate::parallel::{self, Budget, Queue};
use crate::repository::Writer;

/// Threads that open and read files. More than cores: opening a cold file waits for the disk.
const READERS: usize = 8;
/// Files that wait for a reader.
const FILES_WAITING_MAX: u64 = 2048;
/// Complete directories that wait for the assembler.
const DIRECTORIES_WAITING_MAX: u64 = 1024;

/// A file to be read.
#[derive(Debug)]
pub(super) struct FileJob {
    pub(super) slot: Slot,
    /// Its name in the snapshot.
    pub(super) name: Vec<u8>,
    /// Where it is on the source.
    pub(super) path: std::path::PathBuf,
    /// The parent snapshot's entry.
    pub(super) before: Option<Node>,
}

/// Everything the threads of a run share.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) source: &'a dyn Source,
    pub(super) options: &'a ArchiveOptions,
    pub(super) parent: Option<&'a Parent>,
    pub(super) writer: &'a Writer,
    pub(super) chunker: Chunker,
    pub(super) names: Names,
    pub(super) files: Queue<FileJob>,
    pub(super) batches: Queue<Batch>,
    pub(super) arenas: Arenas,
    pub(super) large_files: Budget,
    pub(super) found: Mutex<Found>,
    /// In a later one, what was removed meanwhile is no news.
    pub(super) is_first_round: bool,
    /// Directories taken over from the parent without a look at what lies below.
    kept_trees: Mutex<Vec<TreeId>>,
    /// Whether the root is complete, or never will be.
    pub(super) over: AtomicBool,
    directories: Queue<Arc<Directory>>,
    readers_left: AtomicUsize,
    workers_left: AtomicUsize,
    error: Mutex<Option<ArchiveError>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        context: &'a Context,
        source: &'a dyn Source,
        options: &'a ArchiveOptions,
        parent: Option<&'a Parent>,
        chunker: Chunker,
        writer: &'a Writer,
    ) -> Self {
        let workers = parallel::cores();
        let chunk_len_max = chunker.max_len();
        Self {
            context,
            source,
            options,
            parent,
            writer,
            chunker,
            names: Names::system(),
            files: Queue::new(FILES_WAITING_MAX),
            batches: Queue::new(chunk_len_max as u64),
            arenas: Arenas::new(READERS + workers + 2, workers + 2, chunk_len_max),
            large_files: Budget::new(options.read_concurrency.max(1) as u64),
            found: Mutex::default(),
            is_first_round: true,
            kept_trees: Mutex::default(),
            over: AtomicBool::new(false),
            directories: Queue::new(DIRECTORIES_WAITING_MAX),
            readers_left: AtomicUsize::new(READERS),
            workers_left: AtomicUsize::new(workers),
            error: Mutex::default(),
        }
    }

    /// The story: starts everybody, waits for the root tree.
    pub(super) fn execute(&self, plan: TargetTree) -> Result<TreeId, ArchiveError> {
        self.context.tell(&Event::Begin { stage: Stage::Archive, total: 0, bytes: 0 });
        let workers = self.workers_left.load(Ordering::Relaxed);
        let root = parallel::scope(|scope| {
            for _ in 0..workers {
                scope.spawn("worker", || self.guarded(|| self.work()));
            }
            for _ in 0..READERS {
                scope.spawn("reader", || self.guarded(|| self.read_files()));
            }
            if self.options.scan {
                let targets = plan.nodes.clone();
                scope.spawn("scanner", || self.scan(targets));
            }
            scope.spawn("walker", || self.guarded(|| self.walk(plan)));
            let mut root = None;
            self.guarded(|| {
                root = self.assemble()?;
                Ok(())
            });
            self.abandon();
            root
        });
        self.context.tell(&Event::End { stage: Stage::Archive });
        match self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => root.ok_or(ArchiveError::Empty),
        }
    }

    /// Runs a thread's part; its error, or panic, ends everybody's.
    fn guarded(&self, part: impl FnOnce() -> Result<(), ArchiveError>) {
        let bail = Bail(self);
        if let Err(error) = part() {
            self.fail(error);
        }
        drop(bail);
    }

    /// Ends the run; the first error is the one that is told.
    fn fail(&self, error: ArchiveError) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.abandon();
    }

    /// Lets every thread end at its next step.
    fn abandon(&self) {
        self.over.store(true, Ordering::Release);
        self.files.abandon();
        self.batches.abandon();
        self.arenas.abandon();
        self.directories.abandon();
    }

    /// The last reader closes the queue behind it.
    pub(super) fn reader_ends(&self) {
        if self.readers_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.batches.close();
        }
    }

    pub(super) fn next_directory(&self) -> Option<Arc<Directory>> {
        self.directories.pop()
    }

    /// Fills a slot; a directory that is complete by that goes to the assembler.
    pub(super) fn fill(&self, slot: Slot, node: Option<Node>) {
        if let Some(directory) = slot.fill(node) {
            self.complete(directory);
        }
    }

    pub(super) fn complete(&self, directory: Arc<Directory>) {
        // Closed means that the run has failed already.
        let _ = self.directories.push(directory, 1);
    }

    /// A file whose chunks are all stored gets its entry.
    pub(super) fn finish_file(&self, file: &FileAtWork, finished: FinishedFile) {
        let FinishedFile { node, slot, bytes, added } = finished;
        match &node {
            Some(node) => self.count_file(node, file.before.as_ref(), &slot, bytes, added, file.since),
            None => self.found().count_added(added),
        }
        self.fill(slot, node);
    }

    /// Counts and tells a file that is in the snapshot now.
    pub(super) fn count_file(
        &self,
        node: &Node,
        before: Option<&Node>,
        slot: &Slot,
        bytes: u64,
        added: Added,
        since: std::time::Duration,
    ) {
        let change = compare(node, before);
        self.found().count_file(change, bytes, added);
        self.context.tell(&Event::Progress { stage: Stage::Archive, items: 1, bytes: 0 });
        let duration = self.context.clock.elapsed().saturating_sub(since);
        let path = slot.directory.item.join(name_of(node));
        self.context.tell(&Event::Archived { path: &path, is_dir: false, change, added, duration });
    }

    /// Counts and tells a directory that is in the snapshot now.
    pub(super) fn count_dir(&self, directory: &Directory, change: Change, added: Added) {
        let mut found = self.found();
        found.count_dir(change);
        found.count_added(added);
        drop(found);
        let duration = std::time::Duration::ZERO;
        self.context.tell(&Event::Archived { path: &directory.item, is_dir: true, change, added, duration });
    }

    /// Something could not be saved as it should.
    pub(super) fn skip(&self, path: &Path, problem: impl Into<Problem>) {
        let problem = match problem.into() {
            Problem::Source(error) if error.kind() == FaultKind::Broken => {
                return self.fail(ArchiveError::Source(error));
            }
            problem => problem,
        };
        self.context.tell(&Event::Skipped { stage: Stage::Archive, path, error: &problem });
        self.found().skipped.push(Skipped { stage: Stage::Archive, path: path.to_owned(), problem });
    }

    pub(super) fn report_missing(&self, missing: Vec<Skipped>) {
        for skipped in &missing {
            let Skipped { stage, path, problem } = skipped;
            self.context.tell(&Event::Skipped { stage: *stage, path, error: problem });
        }
        self.found().skipped.extend(missing);
    }

    pub(super) fn kept_trees(&self) -> MutexGuard<'_, Vec<TreeId>> {
        self.kept_trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
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

fn name_of(node: &Node) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(&node.name)
}
