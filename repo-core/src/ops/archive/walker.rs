//! The walker: targets and everything below them, in the order of names.
//!
//! Directories are gone through one after the other, with an explicit stack. The walker only looks: files are
//! handed to the readers, but for those whose content the parent snapshot has.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use crate::context::{Added, Change, Event, Stage};
use crate::format::{Node, NodeKind, Xattr};
use crate::fs::metadata::{EntryMeta, to_node};
use crate::fs::source::targets::{TargetNode, TargetTree};
use crate::fs::source::{Detail, Entry, Links, Listing};
use crate::fs::{FaultKind, SourceError};
use crate::id::BlobId;
use crate::ops::archive::change::ParentDir;
use crate::ops::archive::directory::{Directory, Slot};
use crate::ops::archive::report::{ArchiveError, Problem};
use crate::ops::archive::run::{FileJob, Run};

type Targets = BTreeMap<OsString, TargetNode>;

/// A directory on the walker's stack.
struct Level {
    directory: Arc<Directory>,
    /// What the parent snapshot has here.
    before: ParentDir,
    steps: vec::IntoIter<Step>,
    /// The file system to stay on, if so asked for.
    device: Option<u64>,
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
    level: &'l Level,
    name: &'l OsStr,
    path: PathBuf,
    before: Option<Node>,
}

impl Run<'_> {
    /// The story of the walker.
    pub(super) fn walk(&self, plan: TargetTree) -> Result<(), ArchiveError> {
        for problem in plan.problems {
            if !problem.is_vanished() {
                let path = problem.path().to_owned();
                self.skip(&path, problem);
            }
        }
        let root = Directory::new(PathBuf::from("/"), PathBuf::from("/"), None);
        let before = self.parent.map(|parent| parent.dir(parent.tree(), Path::new("/"))).unwrap_or_default();
        let mut levels =
            vec![Level { directory: root, before, steps: target_steps(plan.nodes), device: None }];
        while let Some(level) = levels.last_mut() {
            self.context.cancel.check()?;
            if let Some(step) = level.steps.next() {
                let before = level.before.take(step.name().as_bytes());
                if let Some(deeper) = self.step(level, step, before) {
                    levels.push(deeper);
                }
            } else if let Some(Level { directory, .. }) = levels.pop()
                && directory.seal()
            {
                self.complete(directory);
            }
        }
        self.files.close();
        Ok(())
    }

    /// Looks at one thing; gives the directory to enter, if it is one.
    fn step(&self, level: &Level, step: Step, before: Option<Node>) -> Option<Level> {
        match step {
            Step::Target(name, target) if !target.is_whole() => {
                self.enter_waypoint(level, &name, target.path, target.children, before)
            }
            Step::Target(name, target) => {
                let look = Look { level, name: &name, path: target.path, before };
                let level = Entry { name: name.clone(), kind: None, meta: None };
                self.look_at(look, level, target.children, None)
            }
            Step::Found(entry, targets) => {
                let path = level.directory.path.join(&entry.name);
                let name = entry.name.clone();
                let is_dir = entry.kind == Some(NodeKind::Dir);
                let named = targets
                    .get(&name)
                    .is_some_and(|target| target.role == crate::fs::source::targets::Role::Named);
                if !named && self.options.select.leaves_out(&path, is_dir) {
                    let target = targets.into_iter().next()?.1;
                    return self.enter_waypoint(level, &name, path, target.children, before);
                }
                let below = targets.into_iter().next().map(|(_, target)| target.children).unwrap_or_default();
                let look = Look { level, name: &name, path, before };
                self.look_at(look, entry, below, level.device)
            }
        }
    }

    /// Whether somebody vouches that nothing at or below a path has changed, and the parent's entry is whole.
    fn is_as_before(&self, path: &Path, node: &Node) -> bool {
        let Some(changed) = &self.options.changed else { return false };
        // In a later round nobody knows what is missing deeper down.
        self.is_first_round
            && !changed.touches(path)
            && self.parent.is_some_and(|parent| parent.has_all_of(node))
    }

    /// An entry that is as it was, with all below it.
    fn keep(&self, level: &Level, node: &Node) {
        let slot = level.directory.reserve();
        let since = self.context.clock.elapsed();
        for id in node.content.iter().flatten() {
            self.writer.rely(&BlobId::from(*id));
        }
        self.kept_trees().extend(node.subtree);
        if node.kind == NodeKind::Dir {
            self.found().count_dir(Change::Unchanged);
        } else {
            self.count_file(node, Some(node), &slot, node.size, Added::default(), since);
        }
        self.fill(slot, Some(node.clone()));
    }

    /// A directory that only leads to targets; real metadata, but of its entries only those targets.
    fn enter_waypoint(
        &self,
        level: &Level,
        name: &OsStr,
        path: PathBuf,
        children: Targets,
        before: Option<Node>,
    ) -> Option<Level> {
        let meta = match self.source.stat(&path, Links::Follow) {
            Ok(meta) => meta,
            Err(error) => {
                // Targets below that do not exist were told already.
                if !error.is_vanished() {
                    self.skip(&path, error);
                }
                return None;
            }
        };
        let meta = EntryMeta { kind: NodeKind::Dir, ..meta };
        let xattrs = self.source.xattrs(&path, Links::Follow).found;
        let node = self.node(name, &meta, xattrs);
        Some(self.enter(level.directory.reserve(), path, name, node, before, target_steps(children), None))
    }

    /// An entry to archive, whatever it is.
    fn look_at(&self, look: Look<'_>, entry: Entry, targets: Targets, device: Option<u64>) -> Option<Level> {
        if targets.is_empty()
            && let Some(node) = look.before.as_ref().filter(|node| self.is_as_before(&look.path, node))
        {
            self.keep(look.level, node);
            return None;
        }
        let (kind, meta) = match self.kind_of(&look.path, entry) {
            Ok(known) => known,
            Err(error) => {
                self.skip(&look.path, error);
                return None;
            }
        };
        match kind {
            NodeKind::Dir => self.enter_dir(look, targets, device),
            NodeKind::File => {
                self.look_at_file(look, meta.as_ref());
                None
            }
            NodeKind::Socket => None,
            NodeKind::Symlink | NodeKind::Fifo | NodeKind::Device | NodeKind::CharDevice => {
                self.look_at_special(look, meta);
                None
            }
            NodeKind::Irregular | NodeKind::Other(_) => {
                self.skip(&look.path, Problem::UnknownKind { path: look.path.clone() });
                None
            }
        }
    }

    /// What an entry is, asking the source only if the listing did not say.
    fn kind_of(&self, path: &Path, entry: Entry) -> Result<(NodeKind, Option<EntryMeta>), SourceError> {
        match entry {
            Entry { meta: Some(meta), .. } => Ok((meta.kind.clone(), Some(meta))),
            Entry { kind: Some(kind), .. } => Ok((kind, None)),
            _ => self.source.stat(path, Links::Keep).map(|meta| (meta.kind.clone(), Some(meta))),
        }
    }

    fn enter_dir(&self, look: Look<'_>, targets: Targets, device: Option<u64>) -> Option<Level> {
        let Look { level, name, path, before } = look;
        let slot = level.directory.reserve();
        // Files of a directory that the parent knows are probably unchanged: their metadata will do.
        let sizes_matter = self.options.select.file_bytes_max().is_some();
        let known = before.as_ref().is_some_and(|node| node.subtree.is_some());
        let detail = if known || sizes_matter || self.options.one_file_system {
            Detail::Metadata
        } else {
            Detail::Kinds
        };
        let Listing { meta, xattrs, entries } = match self.source.list(&path, detail) {
            Ok(listing) => listing,
            Err(error) => {
                self.skip(&path, error);
                self.fill(slot, None);
                return None;
            }
        };
        if let Some(problem) = xattrs.problem {
            self.skip(&path, problem);
        }
        let node = self.node(name, &meta, xattrs.found);
        let leaves_file_system = device.is_some_and(|device| device != meta.device);
        let steps =
            if leaves_file_system { Vec::new().into_iter() } else { self.steps(&path, entries, targets) };
        let device = self.options.one_file_system.then_some(device.unwrap_or(meta.device));
        Some(self.enter(slot, path, name, node, before, steps, device))
    }

    #[expect(clippy::too_many_arguments, reason = "a directory has that many parts")]
    fn enter(
        &self,
        slot: Slot,
        path: PathBuf,
        name: &OsStr,
        node: Node,
        before: Option<Node>,
        steps: vec::IntoIter<Step>,
        device: Option<u64>,
    ) -> Level {
        let item = slot.directory.item.join(name);
        let parent_dir = match (self.parent, before.as_ref().and_then(|node| node.subtree)) {
            (Some(parent), Some(tree)) => parent.dir(tree, &item),
            _ => ParentDir::default(),
        };
        let directory = Directory::new(path, item, Some((node, slot, before)));
        Level { directory, before: parent_dir, steps, device }
    }

    /// What to look at in a directory, in order; each entry with the targets at or below it.
    fn steps(&self, path: &Path, mut entries: Vec<Entry>, mut targets: Targets) -> vec::IntoIter<Step> {
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
        steps.into_iter()
    }

    fn look_at_file(&self, look: Look<'_>, meta: Option<&EntryMeta>) {
        let Look { level, name, path, before } = look;
        let too_large =
            |meta: &EntryMeta| self.options.select.file_bytes_max().is_some_and(|max| meta.size > max);
        if meta.is_some_and(too_large) {
            return;
        }
        let slot = level.directory.reserve();
        if let (Some(parent), Some(meta), Some(old)) = (self.parent, meta, &before)
            && parent.has_content_of(meta, old, &self.context.zone, self.options.change)
        {
            match self.lost_blob(old) {
                None => return self.take_over(slot, name, &path, meta, old),
                Some(blob) if self.is_first_round => {
                    self.skip(&path, Problem::Healed { path: path.clone(), blob });
                }
                Some(_) => {}
            }
        }
        let job = FileJob { slot, name: name.as_bytes().to_vec(), path, before };
        // Closed means that the run has failed already.
        let _ = self.files.push(job, 1);
    }

    /// A blob of a file's recorded content that the repository has lost. If there is none, the snapshot relies on all
    /// of them.
    fn lost_blob(&self, node: &Node) -> Option<BlobId> {
        let content = node.content.as_deref().unwrap_or_default();
        content.iter().map(|id| BlobId::from(*id)).find(|blob| !self.writer.rely(blob))
    }

    /// A file whose content the parent has: new metadata, old content.
    fn take_over(&self, slot: Slot, name: &OsStr, path: &Path, meta: &EntryMeta, old: &Node) {
        let since = self.context.clock.elapsed();
        let xattrs = self.xattrs(path, meta, Some(old));
        let node = Node { content: old.content.clone(), ..self.node(name, meta, xattrs) };
        self.context.tell(&Event::Progress { stage: Stage::Archive, items: 0, bytes: meta.size });
        self.count_file(&node, Some(old), &slot, meta.size, Added::default(), since);
        self.fill(slot, Some(node));
    }

    /// A link, pipe or device: all of it is metadata.
    fn look_at_special(&self, look: Look<'_>, meta: Option<EntryMeta>) {
        let Look { level, name, path, before } = look;
        let slot = level.directory.reserve();
        let meta = match meta.map_or_else(|| self.source.stat(&path, Links::Keep), Ok) {
            Ok(meta) if matches!(meta.kind, NodeKind::File | NodeKind::Dir | NodeKind::Socket) => {
                Err(SourceError::new(FaultKind::Changed, crate::fs::Operation::Stat, &path))
            }
            other => other,
        };
        match meta {
            Ok(meta) => {
                let node = self.node(name, &meta, self.xattrs(&path, &meta, before.as_ref()));
                self.fill(slot, Some(node));
            }
            Err(error) => {
                self.skip(&path, error);
                self.fill(slot, None);
            }
        }
    }

    /// Extended attributes: the parent's, if they are surely the same.
    fn xattrs(&self, path: &Path, meta: &EntryMeta, before: Option<&Node>) -> Vec<Xattr> {
        if let (Some(parent), Some(old)) = (self.parent, before)
            && parent.has_xattrs_of(meta, old, &self.context.zone)
        {
            return old.xattrs.clone();
        }
        let xattrs = self.source.xattrs(path, Links::Keep);
        if let Some(problem) = xattrs.problem {
            self.skip(path, problem);
        }
        xattrs.found
    }

    fn node(&self, name: &OsStr, meta: &EntryMeta, xattrs: Vec<Xattr>) -> Node {
        let name = name.to_owned().into_vec();
        to_node(name, meta, xattrs, &self.context.zone, &self.names, self.options.atime)
    }
}

fn target_steps(targets: Targets) -> vec::IntoIter<Step> {
    targets.into_iter().map(|(name, target)| Step::Target(name, target)).collect::<Vec<_>>().into_iter()
}
