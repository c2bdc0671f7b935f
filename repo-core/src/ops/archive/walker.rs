//! The walker: targets and everything below them, in the order of names.
//!
//! Directories are gone through one after the other, with an explicit stack. The walker only looks: files are
//! handed to the readers, but for those whose content the parent snapshot has. What is seen goes to every draft that
//! wants it.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::context::{Added, Cancelled, Change};
use crate::format::{Node, NodeKind, Xattr};
use crate::fs::metadata::{EntryMeta, to_node};
use crate::fs::source::targets::{Role, TargetTree};
use crate::fs::source::{Entry, Links, Listing};
use crate::fs::{FaultKind, Operation, SourceError};
use crate::id::BlobId;
use crate::ops::archive::batch::Place;
use crate::ops::archive::directory::Slot;
use crate::ops::archive::level::{Here, Level, Look, Step, Steps, Targets, Wanted, target_steps};
use crate::ops::archive::report::Problem;
use crate::ops::archive::run::{FileJob, Run};

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
