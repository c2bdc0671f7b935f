//! The planner: a stored tree → batches of what is to be done. Makes directories on its way.
//!
//! In: nodes, which may be hostile. Out: entries with safe paths below the target, each path once, in directories
//! that exist. Looks at what exists, writes no file.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::context::{Change, Event, Stage};
use crate::filter::Selection;
use crate::format::{Node, NodeKind};
use crate::fs::FaultKind;
use crate::fs::metadata::EntryMeta;
use crate::fs::target::{Made, Privileges};
use crate::hash::Hasher;
use crate::id::{Id, TreeId};
use crate::ops::restore::report::Problem;
use crate::ops::restore::run::{Run, shown};
use crate::ops::restore::{Overwrite, RestoreError};
use crate::parallel::Queue;
use crate::walk::{Entry, Walk};

/// A batch is full with so many entries: about 10 MiB.
const BATCH_ENTRIES: usize = 20_000;

/// A batch is full with so many blobs: about 20 MiB with all that is noted about them.
const BATCH_BLOBS: usize = 200_000;

/// What the writer does in one go.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) files: Vec<Item>,
    pub(super) links: Vec<(Item, PathBuf)>,
    /// Symbolic links, pipes, devices.
    pub(super) others: Vec<Item>,
    /// Directories below which nothing follows, each behind those below it.
    pub(super) left: Vec<LeftDir>,
    blobs: usize,
}

/// One entry to restore.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) node: Node,
    /// What stands in its place.
    pub(super) existing: Option<EntryMeta>,
}

/// A directory to be finished.
#[derive(Debug)]
pub(super) struct LeftDir {
    pub(super) path: PathBuf,
    /// None for the target itself, which keeps its metadata.
    pub(super) node: Option<Node>,
    pub(super) is_new: bool,
    /// All names it has in the snapshot, if others are to be removed.
    pub(super) names: Option<HashSet<OsString>>,
}

/// Plans all below `root`.
pub(super) fn plan(run: &Run<'_>, root: TreeId, out: &Queue<Batch>) -> Result<(), RestoreError> {
    let mut planner = Planner {
        run,
        out,
        batch: Batch::default(),
        frames: vec![Frame::new(PathBuf::new(), None, State::Made { is_new: run.readable().is_none() })],
        links: HashMap::new(),
    };
    let mut walk = walk(run, root);
    let mut count = 0_u64;
    while let Some(step) = walk.next() {
        run.check()?;
        count += 1;
        if count > run.options.entries_max {
            return Err(RestoreError::TooManyEntries { limit: run.options.entries_max });
        }
        match step {
            Ok(entry) => {
                if planner.enter(entry) == Way::Past {
                    walk.skip_dir();
                }
            }
            Err(error) => {
                planner.spoil(error.path());
                let path = error.path().to_owned();
                run.skip(Stage::Restore, below_target(&path), error);
            }
        }
        if planner.send_if_full() == Writer::Gone {
            return Ok(()); // it says itself why it gave up
        }
    }
    planner.leave_all();
    Ok(())
}

fn walk<'a>(run: &Run<'a>, root: TreeId) -> Walk<'a> {
    let walk = Walk::new(run.reader, root, "/");
    // Whoever wants a few things only enters few directories.
    if matches!(run.options.selection, Selection::Only(_)) { walk } else { walk.reading_ahead() }
}

/// Whether the walk goes on below an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Below,
    Past,
}

/// Whether there is somebody to take batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Waits,
    Gone,
}

struct Planner<'a> {
    run: &'a Run<'a>,
    out: &'a Queue<Batch>,
    batch: Batch,
    /// The directories above the current entry, the target first.
    frames: Vec<Frame>,
    /// The first name of each file that has several, with what it consists of.
    links: HashMap<(u64, u64), (PathBuf, Id)>,
}

struct Frame {
    path: PathBuf,
    node: Option<Node>,
    state: State,
    names: HashSet<OsString>,
    /// Whether all its entries are known.
    is_whole: bool,
    /// Whether anything in it is restored.
    is_used: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing in it is selected so far.
    Unmade,
    Made {
        is_new: bool,
    },
    /// It cannot be made.
    Barred,
}

impl Frame {
    fn new(path: PathBuf, node: Option<Node>, state: State) -> Self {
        Self { path, node, state, names: HashSet::new(), is_whole: true, is_used: false }
    }
}

impl Planner<'_> {
    /// Takes one entry of the walk.
    fn enter(&mut self, entry: Entry) -> Way {
        let Entry { path: location, node, .. } = entry;
        self.leave_until(parent(&location, &node.name));
        let name = match node.checked_name() {
            Ok(name) => OsStr::from_bytes(name).to_owned(),
            Err(source) => {
                self.run.forbid_deleting_if(true);
                let problem = Problem::Name { path: location.clone(), source };
                self.run.skip(Stage::Restore, below_target(&location), problem);
                return Way::Past;
            }
        };
        let path = below_target(&location).to_owned();
        let Some(frame) = self.frames.last_mut() else { return Way::Past };
        if !frame.names.insert(name) {
            self.run.forbid_deleting_if(true);
            self.run.skip(Stage::Restore, &path, Problem::Twice { path: location });
            return Way::Past;
        }
        let selected = self.run.options.selection.check(location.as_os_str().as_bytes());
        if node.is_dir() {
            if !selected.entry && !selected.below {
                return Way::Past;
            }
            self.frames.push(Frame::new(path, Some(node), State::Unmade));
            if selected.entry && !self.make_frames() {
                return Way::Past;
            }
            return if selected.below { Way::Below } else { Way::Past };
        }
        if selected.entry && node.kind != NodeKind::Socket && self.make_frames() {
            self.add(path, node);
        }
        Way::Past
    }

    /// Notes what is to be done about an entry that is no directory.
    fn add(&mut self, path: PathBuf, node: Node) {
        let is_new = self.frames.last().is_some_and(|frame| frame.state == State::Made { is_new: true });
        let existing = match if is_new { Ok(None) } else { self.run.inspect(&path) } {
            Ok(existing) => existing,
            Err(error) => return self.run.skip(Stage::Restore, &path, error),
        };
        if existing.as_ref().is_some_and(|existing| self.stays(existing, &node)) {
            return self.run.done(&path, Change::Unchanged, node.size);
        }
        let item = Item { path, node, existing };
        match &item.node.kind {
            NodeKind::File => self.add_file(item),
            NodeKind::Symlink | NodeKind::Fifo => self.batch.others.push(item),
            NodeKind::Device | NodeKind::CharDevice => {
                if self.run.options.fidelity.privileges == Privileges::Keep {
                    self.batch.others.push(item);
                } else {
                    let problem = Problem::Device { path: shown(&item.path) };
                    self.run.skip(Stage::Restore, &item.path, problem);
                }
            }
            other => {
                let word = other.word().to_owned();
                let problem = Problem::UnknownKind { path: shown(&item.path), word };
                self.run.skip(Stage::Restore, &item.path, problem);
            }
        }
    }

    fn add_file(&mut self, item: Item) {
        let node = &item.node;
        if node.links > 1 && node.inode != 0 {
            let content = digest(node);
            let first = self.links.entry((node.device_id, node.inode));
            let first = first.or_insert_with(|| (item.path.clone(), content));
            // A hostile snapshot could call different files one; only equal ones are linked.
            if first.0 != item.path && first.1 == content {
                let first = first.0.clone();
                return self.batch.links.push((item, first));
            }
        }
        self.batch.blobs += node.content.as_ref().map_or(0, Vec::len);
        self.batch.files.push(item);
    }

    /// Whether the options leave an existing entry alone.
    fn stays(&self, existing: &EntryMeta, node: &Node) -> bool {
        match self.run.options.overwrite {
            Overwrite::Always | Overwrite::IfChanged => false,
            Overwrite::IfNewer => node.mtime.instant <= existing.mtime,
            Overwrite::Never => true,
        }
    }

    /// Makes all directories above the current entry that are not made yet.
    fn make_frames(&mut self) -> bool {
        for at in 0..self.frames.len() {
            let above = at.checked_sub(1).and_then(|above| self.frames.get(above)).map(|frame| frame.state);
            let Some(frame) = self.frames.get(at) else { return false };
            let state = match (frame.state, above) {
                (State::Unmade, Some(State::Barred)) => State::Barred,
                (State::Unmade, _) => match make_dir(self.run, &frame.path) {
                    Ok(is_new) => State::Made { is_new },
                    Err(problem) => {
                        self.run.skip(Stage::Restore, &frame.path, problem);
                        State::Barred
                    }
                },
                (state, _) => state,
            };
            if let Some(frame) = self.frames.get_mut(at) {
                frame.state = state;
                frame.is_used = true;
            }
            if state == State::Barred {
                return false;
            }
        }
        true
    }

    /// The directory's entries are not all known.
    fn spoil(&mut self, location: &Path) {
        self.leave_until(Some(below_target(location)));
        if let Some(frame) = self.frames.last_mut() {
            frame.is_whole = false;
        }
        self.run.forbid_deleting_if(true);
    }

    /// Leaves directories until the innermost is `path`.
    fn leave_until(&mut self, path: Option<&Path>) {
        while self.frames.len() > 1 && self.frames.last().map(|frame| &*frame.path) != path {
            self.leave();
        }
    }

    fn leave(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let State::Made { is_new } = frame.state else { return };
        let names = (self.run.options.delete && frame.is_whole && frame.is_used).then_some(frame.names);
        self.batch.left.push(LeftDir { path: frame.path, node: frame.node, is_new, names });
    }

    fn leave_all(mut self) {
        while !self.frames.is_empty() {
            self.leave();
        }
        self.send();
    }

    fn send_if_full(&mut self) -> Writer {
        let Batch { files, links, others, left, blobs } = &self.batch;
        let entries = files.len() + links.len() + others.len() + left.len();
        if entries < BATCH_ENTRIES && *blobs < BATCH_BLOBS { Writer::Waits } else { self.send() }
    }

    fn send(&mut self) -> Writer {
        match self.out.push(mem::take(&mut self.batch), 1) {
            Ok(()) => Writer::Waits,
            Err(_) => Writer::Gone,
        }
    }
}

/// Makes a directory, or finds one; tells whether it is new.
fn make_dir(run: &Run<'_>, path: &Path) -> Result<bool, Problem> {
    let Some(target) = run.writable() else {
        return Ok(run.inspect(path)?.is_none_or(|existing| !existing.is_dir()));
    };
    match target.create_dir(path) {
        Ok(made) => Ok(made == Made::New),
        Err(error) if error.kind() == FaultKind::Changed => {
            if run.options.overwrite == Overwrite::Never {
                return Err(Problem::InTheWay { path: shown(path) });
            }
            target.remove_single(path)?;
            Ok(target.create_dir(path)? == Made::New)
        }
        Err(error) => Err(error.into()),
    }
}

/// Counts all that is selected and tells it. Gives whether all trees could be read and all names are safe.
pub(super) fn measure(run: &Run<'_>, root: TreeId) -> Result<bool, RestoreError> {
    let (mut entries, mut bytes, mut count, mut is_sound) = (0, 0, 0, true);
    let mut links = HashSet::new();
    let mut walk = walk(run, root);
    while let Some(step) = walk.next() {
        run.check()?;
        count += 1;
        if count > run.options.entries_max {
            return Err(RestoreError::TooManyEntries { limit: run.options.entries_max });
        }
        let Ok(Entry { path, node, .. }) = step else {
            is_sound = false;
            continue;
        };
        if node.checked_name().is_err() {
            is_sound = false;
            walk.skip_dir();
            continue;
        }
        let selected = run.options.selection.check(path.as_os_str().as_bytes());
        if !selected.below {
            walk.skip_dir();
        }
        if selected.entry && node.kind != NodeKind::Socket {
            entries += 1;
            let is_first = node.links < 2 || links.insert((node.device_id, node.inode));
            bytes += if is_first { node.size } else { 0 };
        }
    }
    run.context.tell(&Event::Total { stage: Stage::Restore, total: entries, bytes });
    Ok(is_sound)
}

/// What a file consists of, in 32 bytes.
fn digest(node: &Node) -> Id {
    let mut hasher = Hasher::new();
    for blob in node.content.iter().flatten() {
        hasher.update(blob.0.as_bytes());
    }
    hasher.finish()
}

/// A walk's path as one below the target.
fn below_target(location: &Path) -> &Path {
    location.strip_prefix("/").unwrap_or(location)
}

/// The directory that an entry of this stored name lies in. The name may be anything, so the path is not parsed.
fn parent<'p>(location: &'p Path, name: &[u8]) -> Option<&'p Path> {
    let bytes = location.as_os_str().as_bytes();
    let end = bytes.len().checked_sub(name.len() + 1)?;
    let above = bytes.get(..end)?;
    Some(Path::new(OsStr::from_bytes(above.strip_prefix(b"/").unwrap_or(above))))
}
