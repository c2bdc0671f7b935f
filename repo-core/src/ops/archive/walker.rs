//! The walker: targets and everything below them, in the order of names.
//!
//! Directories are gone through one after the other, with an explicit stack. The walker only looks: files are
//! handed to the readers, but for those whose content the parent snapshot has. What is seen goes to every draft that
//! wants it.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use crate::context::{Added, Cancelled, Change};
use crate::format::{Node, NodeKind, Xattr};
use crate::fs::metadata::{EntryMeta, to_node};
use crate::fs::source::targets::{Role, TargetNode, TargetTree};
use crate::fs::source::{Detail, Entry, Links, Listing};
use crate::fs::{FaultKind, Operation, SourceError};
use crate::id::BlobId;
use crate::ops::archive::ahead::WANTED_MAX;
use crate::ops::archive::batch::Place;
use crate::ops::archive::change::ParentDir;
use crate::ops::archive::directory::{Directory, Slot};
use crate::ops::archive::report::Problem;
use crate::ops::archive::run::{FileJob, Run};

type Targets = BTreeMap<OsString, TargetNode>;

/// A directory on the walker's stack.
struct Level {
    /// Where it lies on the source.
    path: PathBuf,
    /// Where it appears in the snapshots.
    item: PathBuf,
    /// What it is in each draft that wants it.
    here: Vec<Here>,
    steps: Steps,
    /// The file system to stay on, if so asked for.
    device: Option<u64>,
}

/// What is to be looked at in a directory, in order.
struct Steps {
    left: vec::IntoIter<Step>,
    /// So many of the last ones were not looked at for directories to read ahead.
    unseen: usize,
    /// Directories that are wanted ahead and not come to yet.
    wanted: VecDeque<PathBuf>,
}

impl Steps {
    fn new(steps: Vec<Step>) -> Self {
        Self { unseen: steps.len(), left: steps.into_iter(), wanted: VecDeque::new() }
    }
}

/// A directory in one of the drafts.
struct Here {
    draft: usize,
    directory: Arc<Directory>,
    /// What the parent snapshot has here.
    before: ParentDir,
}

/// One thing to look at in a directory.
enum Step {
    /// An entry of the source, by its name there; with targets that lie below it.
    Found(Entry, Targets),
    /// A target, or a directory on the way to one, by its name in the snapshot.
    Target(OsString, TargetNode),
}

impl Step {
    fn name(&self) -> &OsStr {
        match self {
            Self::Found(entry, _) => &entry.name,
            Self::Target(name, _) => name,
        }
    }
}

/// An entry to look at, and where it belongs.
struct Look<'l> {
    name: &'l OsStr,
    path: PathBuf,
    /// The drafts that want it.
    wanted: Vec<Wanted<'l>>,
}

/// An entry in one of the drafts.
struct Wanted<'l> {
    draft: usize,
    directory: &'l Arc<Directory>,
    before: Option<Node>,
}

impl Look<'_> {
    fn drafts(&self) -> impl Iterator<Item = usize> {
        self.wanted.iter().map(|wanted| wanted.draft)
    }
}

impl Run<'_> {
    /// The story of the walker.
    pub(super) fn walk(&self, plan: TargetTree) -> Result<(), Cancelled> {
        for problem in plan.problems {
            if !problem.is_vanished() {
                let path = problem.path().to_owned();
                self.skip(0..self.drafts.len(), &path, problem);
            }
        }
        let mut levels = vec![self.root(target_steps(plan.nodes))];
        while let Some(level) = levels.last_mut() {
            self.context.cancel.check()?;
            if let Some(step) = level.steps.left.next() {
                self.look_ahead(level, &step);
                let Level { here, path, item, device, .. } = level;
                let wanted: Vec<Wanted<'_>> = here
                    .iter_mut()
                    .filter(|here| !self.drafts[here.draft].is_over())
                    .map(|Here { draft, directory, before }| {
                        let before = before.take(step.name().as_bytes());
                        Wanted { draft: *draft, directory, before }
                    })
                    .collect();
                if let Some(deeper) = self.step(path, item, *device, step, wanted) {
                    levels.push(deeper);
                }
            } else if let Some(Level { here, .. }) = levels.pop() {
                for Here { draft, directory, .. } in here {
                    if directory.seal() {
                        self.drafts[draft].complete(directory);
                    }
                }
            }
        }
        self.files.close();
        self.ahead.end();
        Ok(())
    }

    /// Has the next directories of a level read while this step is taken.
    fn look_ahead(&self, level: &mut Level, step: &Step) {
        let Level { path, steps, here, .. } = level;
        if let (Step::Found(entry, _), Some(first)) = (step, steps.wanted.front())
            && first.file_name() == Some(&entry.name)
        {
            steps.wanted.pop_front();
        }
        // Where somebody knows what has changed, most directories are not even looked at.
        let is_known = here.iter().any(|here| self.drafts[here.draft].base.changed.is_some());
        if is_known || steps.wanted.len() >= WANTED_MAX || steps.unseen == 0 {
            return;
        }
        let left = steps.left.as_slice();
        let detail = self.detail(here.iter().any(|here| !here.before.is_empty()));
        let mut wanted = Vec::new();
        steps.unseen = steps.unseen.min(left.len());
        while steps.unseen > 0 && steps.wanted.len() < WANTED_MAX {
            let step = &left[left.len() - steps.unseen];
            steps.unseen -= 1;
            if let Step::Found(entry, targets) = step
                && entry.kind == Some(NodeKind::Dir)
                && targets.is_empty()
            {
                let path = path.join(&entry.name);
                if !self.options.select.leaves_out(&path, true) {
                    steps.wanted.push_back(path.clone());
                    wanted.push((path, detail));
                }
            }
        }
        self.ahead.want(wanted.into_iter());
    }

    /// How much is to be known of the entries of a directory. If a parent has it, its files are probably unchanged, and
    /// their metadata will do.
    fn detail(&self, has_parent: bool) -> Detail {
        let sizes_matter = self.options.select.file_bytes_max().is_some();
        if has_parent || sizes_matter || self.options.one_file_system {
            Detail::Metadata
        } else {
            Detail::Kinds
        }
    }

    fn root(&self, steps: Steps) -> Level {
        let path = PathBuf::from("/");
        let here = self.drafts.iter().enumerate().map(|(draft, its)| {
            let directory = Directory::new(path.clone(), None);
            Here { draft, directory, before: its.root_before() }
        });
        Level { here: here.collect(), item: path.clone(), path, steps, device: None }
    }

    /// Looks at one thing; gives the directory to enter, if it is one.
    fn step(
        &self,
        dir: &Path,
        item: &Path,
        device: Option<u64>,
        step: Step,
        wanted: Vec<Wanted<'_>>,
    ) -> Option<Level> {
        if wanted.is_empty() {
            return None;
        }
        match step {
            Step::Target(name, target) if !target.is_whole() => {
                let look = Look { name: &name, path: target.path, wanted };
                self.enter_waypoint(look, item, target.children)
            }
            Step::Target(name, target) => {
                let look = Look { name: &name, path: target.path, wanted };
                let entry = Entry { name: name.clone(), kind: None, meta: None };
                self.look_at(look, item, entry, target.children, None)
            }
            Step::Found(entry, targets) => {
                let path = dir.join(&entry.name);
                let name = entry.name.clone();
                let is_dir = entry.kind == Some(NodeKind::Dir);
                let named = targets.get(&name).is_some_and(|target| target.role == Role::Named);
                let leaves_out = !named && self.options.select.leaves_out(&path, is_dir);
                let look = Look { name: &name, path, wanted };
                let target = targets.into_iter().next().map(|(_, target)| target.children);
                if leaves_out {
                    return self.enter_waypoint(look, item, target?);
                }
                self.look_at(look, item, entry, target.unwrap_or_default(), device)
            }
        }
    }

    /// An entry that is as it was, with all below it.
    fn keep(&self, wanted: &Wanted<'_>, node: &Node) {
        let draft = &self.drafts[wanted.draft];
        let slot = wanted.directory.reserve();
        let since = self.context.clock.elapsed();
        for id in node.content.iter().flatten() {
            draft.base.writer.rely(&BlobId::from(*id));
        }
        draft.kept_trees().extend(node.subtree);
        if node.kind == NodeKind::Dir {
            draft.found().count_dir(Change::Unchanged);
        } else {
            draft.count_file(node, Some(node), &slot, node.size, Added::default(), since);
        }
        draft.fill(slot, Some(node.clone()));
    }

    /// A directory that only leads to targets; real metadata, but of its entries only those targets.
    fn enter_waypoint(&self, look: Look<'_>, item: &Path, children: Targets) -> Option<Level> {
        let meta = match self.source.stat(&look.path, Links::Follow) {
            Ok(meta) => meta,
            Err(error) => {
                // Targets below that do not exist were told already.
                if !error.is_vanished() {
                    self.skip(look.drafts(), &look.path, error);
                }
                return None;
            }
        };
        let meta = EntryMeta { kind: NodeKind::Dir, ..meta };
        let xattrs = self.source.xattrs(&look.path, Links::Follow).found;
        let node = self.node(look.name, &meta, xattrs);
        Some(self.enter(look, item, &node, target_steps(children), None))
    }

    /// An entry to archive, whatever it is.
    fn look_at(
        &self,
        mut look: Look<'_>,
        item: &Path,
        entry: Entry,
        targets: Targets,
        device: Option<u64>,
    ) -> Option<Level> {
        if targets.is_empty() {
            let Look { path, wanted, .. } = &mut look;
            wanted.retain(|wanted| match &wanted.before {
                Some(node) if self.drafts[wanted.draft].is_as_before(path, node) => {
                    self.keep(wanted, node);
                    false
                }
                _ => true,
            });
            if wanted.is_empty() {
                return None;
            }
        }
        let (kind, meta) = match self.kind_of(&look.path, entry) {
            Ok(known) => known,
            Err(error) => {
                self.skip(look.drafts(), &look.path, error);
                return None;
            }
        };
        match kind {
            NodeKind::Dir => return self.enter_dir(look, item, targets, device),
            NodeKind::File => self.look_at_file(look, meta.as_ref()),
            NodeKind::Socket => {}
            NodeKind::Symlink | NodeKind::Fifo | NodeKind::Device | NodeKind::CharDevice => {
                self.look_at_special(&look, meta);
            }
            NodeKind::Irregular | NodeKind::Other(_) => {
                self.skip(look.drafts(), &look.path, Problem::UnknownKind { path: look.path.clone() });
            }
        }
        None
    }

    /// What an entry is, asking the source only if the listing did not say.
    fn kind_of(&self, path: &Path, entry: Entry) -> Result<(NodeKind, Option<EntryMeta>), SourceError> {
        match entry {
            Entry { meta: Some(meta), .. } => Ok((meta.kind.clone(), Some(meta))),
            Entry { kind: Some(kind), .. } => Ok((kind, None)),
            _ => self.source.stat(path, Links::Keep).map(|meta| (meta.kind.clone(), Some(meta))),
        }
    }

    fn enter_dir(&self, look: Look<'_>, item: &Path, targets: Targets, device: Option<u64>) -> Option<Level> {
        let has_tree =
            |wanted: &Wanted<'_>| wanted.before.as_ref().is_some_and(|node| node.subtree.is_some());
        let detail = self.detail(look.wanted.iter().any(has_tree));
        let Listing { meta, xattrs, entries } = match self.ahead.list(self.source, &look.path, detail) {
            Ok(listing) => listing,
            Err(error) => {
                self.skip(look.drafts(), &look.path, error);
                return None;
            }
        };
        if let Some(problem) = xattrs.problem {
            self.skip(look.drafts(), &look.path, problem);
        }
        let node = self.node(look.name, &meta, xattrs.found);
        let leaves_file_system = device.is_some_and(|device| device != meta.device);
        let steps = if leaves_file_system {
            Steps::new(Vec::new())
        } else {
            self.steps(&look.path, entries, targets)
        };
        let device = self.options.one_file_system.then_some(device.unwrap_or(meta.device));
        Some(self.enter(look, item, &node, steps, device))
    }

    fn enter(&self, look: Look<'_>, above: &Path, node: &Node, steps: Steps, device: Option<u64>) -> Level {
        let Look { name, path, wanted } = look;
        let item = above.join(name);
        let here = wanted.into_iter().map(|Wanted { draft, directory, before }| {
            let parent_dir = self.drafts[draft].dir_before(before.as_ref(), &item);
            let own = (node.clone(), directory.reserve(), before);
            let directory = Directory::new(item.clone(), Some(own));
            Here { draft, directory, before: parent_dir }
        });
        Level { here: here.collect(), path, item, steps, device }
    }

    /// What to look at in a directory, in order; each entry with the targets at or below it.
    fn steps(&self, path: &Path, mut entries: Vec<Entry>, mut targets: Targets) -> Steps {
        // A source of somebody else's may not keep its promise.
        entries.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        entries.dedup_by(|a, b| a.name == b.name);
        let select = self.options.select.as_ref();
        let marker = select.marker(self.context, path, &entries, self.source).map(OsStr::to_owned);
        let mut steps: Vec<Step> = Vec::with_capacity(entries.len());
        for entry in entries {
            let target = targets.remove_entry(&entry.name);
            if marker.as_ref().is_some_and(|marker| *marker != entry.name) && target.is_none() {
                continue;
            }
            steps.push(Step::Found(entry, target.into_iter().collect()));
        }
        Steps::new(steps)
    }

    fn look_at_file(&self, look: Look<'_>, meta: Option<&EntryMeta>) {
        let too_large =
            |meta: &EntryMeta| self.options.select.file_bytes_max().is_some_and(|max| meta.size > max);
        if meta.is_some_and(too_large) {
            return;
        }
        let Look { name, path, wanted } = look;
        let mut places = Vec::new();
        for Wanted { draft: number, directory, before } in wanted {
            let draft = &self.drafts[number];
            let slot = directory.reserve();
            if let (Some(parent), Some(meta), Some(old)) = (draft.base.parent, meta, &before)
                && parent.has_content_of(meta, old, &self.context.zone, self.options.change)
            {
                match draft.lost_blob(old) {
                    None => {
                        self.take_over(number, slot, name, &path, meta, old);
                        continue;
                    }
                    Some(blob) if draft.base.is_first_round => {
                        self.skip([number], &path, Problem::Healed { path: path.clone(), blob });
                    }
                    Some(_) => {}
                }
            }
            places.push(Place::new(number, slot, before));
        }
        if !places.is_empty() {
            let job = FileJob { name: name.as_bytes().to_vec(), path, places };
            // Closed means that the run is over already.
            let _ = self.files.push(job, 1);
        }
    }

    /// A file whose content the parent has: new metadata, old content.
    fn take_over(&self, number: usize, slot: Slot, name: &OsStr, path: &Path, meta: &EntryMeta, old: &Node) {
        let draft = &self.drafts[number];
        let since = self.context.clock.elapsed();
        let xattrs = self.xattrs(path, meta, [(number, Some(old))]);
        let node = Node { content: old.content.clone(), ..self.node(name, meta, xattrs) };
        draft.tell_bytes(meta.size);
        draft.count_file(&node, Some(old), &slot, meta.size, Added::default(), since);
        draft.fill(slot, Some(node));
    }

    /// A link, pipe or device: all of it is metadata.
    fn look_at_special(&self, look: &Look<'_>, meta: Option<EntryMeta>) {
        let Look { name, path, wanted } = look;
        let meta = match meta.map_or_else(|| self.source.stat(path, Links::Keep), Ok) {
            Ok(meta) if matches!(meta.kind, NodeKind::File | NodeKind::Dir | NodeKind::Socket) => {
                Err(SourceError::new(FaultKind::Changed, Operation::Stat, path))
            }
            other => other,
        };
        match meta {
            Ok(meta) => {
                let before = wanted.iter().map(|wanted| (wanted.draft, wanted.before.as_ref()));
                let node = self.node(name, &meta, self.xattrs(path, &meta, before));
                for Wanted { draft, directory, .. } in wanted {
                    self.drafts[*draft].fill(directory.reserve(), Some(node.clone()));
                }
            }
            Err(error) => self.skip(look.drafts(), path, error),
        }
    }

    /// Extended attributes: those of any draft's parent, if they are surely the same.
    fn xattrs<'n>(
        &self,
        path: &Path,
        meta: &EntryMeta,
        before: impl IntoIterator<Item = (usize, Option<&'n Node>), IntoIter: Clone>,
    ) -> Vec<Xattr> {
        let before = before.into_iter();
        for (draft, old) in before.clone() {
            if let (Some(parent), Some(old)) = (self.drafts[draft].base.parent, old)
                && parent.has_xattrs_of(meta, old, &self.context.zone)
            {
                return old.xattrs.clone();
            }
        }
        let xattrs = self.source.xattrs(path, Links::Keep);
        if let Some(problem) = xattrs.problem {
            self.skip(before.map(|(draft, _)| draft), path, problem);
        }
        xattrs.found
    }

    fn node(&self, name: &OsStr, meta: &EntryMeta, xattrs: Vec<Xattr>) -> Node {
        let name = name.to_owned().into_vec();
        to_node(name, meta, xattrs, &self.context.zone, &self.names, self.options.atime)
    }
}

fn target_steps(targets: Targets) -> Steps {
    Steps::new(targets.into_iter().map(|(name, target)| Step::Target(name, target)).collect())
}
