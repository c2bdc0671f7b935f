//! A draft: one destination's snapshot in the making.
//!
//! What is read is the same for all destinations; what a repository knows already, where its blobs go and what its
//! snapshot will say is each one's own. A draft that fails ends alone; the run goes on for the others.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::chunker::{Chunker, ChunkerParams};
use crate::context::{Added, Change, Context, Event, Stage};
use crate::format::Node;
use crate::id::{BlobId, TreeId};
use crate::ops::archive::batch::Place;
use crate::ops::archive::change::{Parent, ParentDir, compare};
use crate::ops::archive::directory::{Directory, Slot};
use crate::ops::archive::edit::ChangedPaths;
use crate::ops::archive::report::{ArchiveError, Found, Problem, Skipped};
use crate::parallel::Queue;
use crate::repository::Writer;

/// Complete directories that wait for the assembler.
const DIRECTORIES_WAITING_MAX: u64 = 1024;

/// What a draft is made from.
pub(super) struct Base<'a> {
    pub(super) context: &'a Context,
    /// What the repository has from before.
    pub(super) parent: Option<&'a Parent>,
    /// What may differ from that, if somebody knows.
    pub(super) changed: Option<&'a ChangedPaths>,
    pub(super) writer: &'a Writer,
    /// How the repository's files are cut.
    pub(super) chunker: (&'a ChunkerParams, &'a Chunker),
    /// In a later one, what was removed meanwhile is no news.
    pub(super) is_first_round: bool,
}

/// A snapshot in the making.
pub(super) struct Draft<'a> {
    pub(super) base: Base<'a>,
    found: Mutex<Found>,
    /// Directories taken over from the parent without a look at what lies below.
    kept_trees: Mutex<Vec<TreeId>>,
    directories: Queue<Arc<Directory>>,
    root: Mutex<Option<TreeId>>,
    error: Mutex<Option<ArchiveError>>,
    /// Whether the root is complete, or never will be.
    over: AtomicBool,
}

/// What has become of a draft.
pub(super) struct Drafted {
    pub(super) root: Result<TreeId, ArchiveError>,
    pub(super) found: Found,
    pub(super) kept_trees: Vec<TreeId>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(base: Base<'a>) -> Self {
        Self {
            base,
            found: Mutex::default(),
            kept_trees: Mutex::default(),
            directories: Queue::new(DIRECTORIES_WAITING_MAX),
            root: Mutex::default(),
            error: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Whether nothing needs to be done for it any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends it. Only the first error is told.
    pub(super) fn fail(&self, error: ArchiveError) {
        lock(&self.error).get_or_insert(error);
        self.end();
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.directories.abandon();
    }

    /// Says that everything is stored up to the root.
    pub(super) fn set_root(&self, root: Option<TreeId>) {
        *lock(&self.root) = root;
    }

    /// What has become of it.
    pub(super) fn into_drafted(self) -> Drafted {
        let Self { found, kept_trees, root, error, .. } = self;
        let root = match into_inner(error) {
            Some(error) => Err(error),
            None => into_inner(root).ok_or(ArchiveError::Empty),
        };
        Drafted { root, found: into_inner(found), kept_trees: into_inner(kept_trees) }
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
        // Closed means that it has failed already.
        let _ = self.directories.push(directory, 1);
    }

    /// The root of what was there before.
    pub(super) fn root_before(&self) -> ParentDir {
        self.base.parent.map(|parent| parent.dir(parent.tree(), Path::new("/"))).unwrap_or_default()
    }

    /// What was there before in a directory.
    pub(super) fn dir_before(&self, before: Option<&Node>, item: &Path) -> ParentDir {
        match (self.base.parent, before.and_then(|node| node.subtree)) {
            (Some(parent), Some(tree)) => parent.dir(tree, item),
            _ => ParentDir::default(),
        }
    }

    /// Whether somebody vouches that nothing at or below a path has changed, and the parent's entry is whole.
    pub(super) fn is_as_before(&self, path: &Path, node: &Node) -> bool {
        let Some(changed) = self.base.changed else { return false };
        // In a later round nobody knows what is missing deeper down.
        self.base.is_first_round
            && !changed.touches(path)
            && self.base.parent.is_some_and(|parent| parent.has_all_of(node))
    }

    /// A blob of a file's recorded content that the repository has lost. If there is none, the snapshot relies on all
    /// of them.
    pub(super) fn lost_blob(&self, node: &Node) -> Option<BlobId> {
        let content = node.content.as_deref().unwrap_or_default();
        content.iter().map(|id| BlobId::from(*id)).find(|blob| !self.base.writer.rely(blob))
    }

    /// A file is read to its end, and all of it is stored.
    pub(super) fn finish_file(&self, place: &Place, node: Option<Node>, bytes: u64, since: Duration) {
        let Some((slot, added)) = place.take() else { return };
        match &node {
            Some(node) => self.count_file(node, place.before.as_ref(), &slot, bytes, added, since),
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
        since: Duration,
    ) {
        let context = self.base.context;
        let change = compare(node, before);
        self.found().count_file(change, bytes, added);
        context.tell(&Event::Progress { stage: Stage::Archive, items: 1, bytes: 0 });
        let duration = context.clock.elapsed().saturating_sub(since);
        let path = slot.directory.item.join(name_of(node));
        context.tell(&Event::Archived { path: &path, is_dir: false, change, added, duration });
    }

    /// Counts and tells a directory that is in the snapshot now.
    pub(super) fn count_dir(&self, directory: &Directory, change: Change, added: Added) {
        let mut found = self.found();
        found.count_dir(change);
        found.count_added(added);
        drop(found);
        let duration = Duration::ZERO;
        let path = &directory.item;
        self.base.context.tell(&Event::Archived { path, is_dir: true, change, added, duration });
    }

    /// Bytes of files that are stored, or were before.
    pub(super) fn tell_bytes(&self, bytes: u64) {
        self.base.context.tell(&Event::Progress { stage: Stage::Archive, items: 0, bytes });
    }

    /// Something could not be saved as it should.
    pub(super) fn skip(&self, stage: Stage, path: &Path, problem: Problem) {
        self.base.context.tell(&Event::Skipped { stage, path, error: &problem });
        self.found().skipped.push(Skipped { stage, path: path.to_owned(), problem });
    }

    pub(super) fn kept_trees(&self) -> MutexGuard<'_, Vec<TreeId>> {
        lock(&self.kept_trees)
    }

    pub(super) fn found(&self) -> MutexGuard<'_, Found> {
        lock(&self.found)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(node: &Node) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(&node.name)
}
