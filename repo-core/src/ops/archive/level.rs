//! Levels: the directories that the walker is in, with what is still to be looked at in each.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use crate::format::{Node, NodeKind};
use crate::fs::source::targets::TargetNode;
use crate::fs::source::{Detail, Entry};
use crate::ops::archive::ahead::WANTED_MAX;
use crate::ops::archive::change::ParentDir;
use crate::ops::archive::directory::Directory;
use crate::ops::archive::run::Run;

pub(super) type Targets = BTreeMap<OsString, TargetNode>;

/// A directory on the walker's stack.
pub(super) struct Level {
    /// Where it lies on the source.
    pub(super) path: PathBuf,
    /// Where it appears in the snapshots.
    pub(super) item: PathBuf,
    /// What it is in each draft that wants it.
    pub(super) here: Vec<Here>,
    pub(super) steps: Steps,
    /// The file system to stay on, if so asked for.
    pub(super) device: Option<u64>,
}

/// What is to be looked at in a directory, in order.
pub(super) struct Steps {
    pub(super) left: vec::IntoIter<Step>,
    /// So many of the last ones were not looked at for directories to read ahead.
    unseen: usize,
    /// Directories that are wanted ahead and not come to yet.
    wanted: VecDeque<PathBuf>,
}

impl Steps {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        Self { unseen: steps.len(), left: steps.into_iter(), wanted: VecDeque::new() }
    }
}

/// A directory in one of the drafts.
pub(super) struct Here {
    pub(super) draft: usize,
    pub(super) directory: Arc<Directory>,
    /// What the parent snapshot has here.
    pub(super) before: ParentDir,
}

/// One thing to look at in a directory.
pub(super) enum Step {
    /// An entry of the source, by its name there; with targets that lie below it.
    Found(Entry, Targets),
    /// A target, or a directory on the way to one, by its name in the snapshot.
    Target(OsString, TargetNode),
}

impl Step {
    pub(super) fn name(&self) -> &OsStr {
        match self {
            Self::Found(entry, _) => &entry.name,
            Self::Target(name, _) => name,
        }
    }
}

/// An entry to look at, and where it belongs.
pub(super) struct Look<'l> {
    pub(super) name: &'l OsStr,
    pub(super) path: PathBuf,
    /// The drafts that want it.
    pub(super) wanted: Vec<Wanted<'l>>,
}

/// An entry in one of the drafts.
pub(super) struct Wanted<'l> {
    pub(super) draft: usize,
    pub(super) directory: &'l Arc<Directory>,
    pub(super) before: Option<Node>,
}

impl Look<'_> {
    pub(super) fn drafts(&self) -> impl Iterator<Item = usize> {
        self.wanted.iter().map(|wanted| wanted.draft)
    }
}

impl Run<'_> {
    /// Has the next directories of a level read while this step is taken.
    pub(super) fn look_ahead(&self, level: &mut Level, step: &Step) {
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
    pub(super) fn detail(&self, has_parent: bool) -> Detail {
        let sizes_matter = self.options.select.file_bytes_max().is_some();
        if has_parent || sizes_matter || self.options.one_file_system {
            Detail::Metadata
        } else {
            Detail::Kinds
        }
    }

    pub(super) fn root(&self, steps: Steps) -> Level {
        let path = PathBuf::from("/");
        let here = self.drafts.iter().enumerate().map(|(draft, its)| {
            let directory = Directory::new(path.clone(), None);
            Here { draft, directory, before: its.root_before() }
        });
        Level { here: here.collect(), item: path.clone(), path, steps, device: None }
    }

    /// A directory to go on with.
    pub(super) fn enter(
        &self,
        look: Look<'_>,
        above: &Path,
        node: &Node,
        steps: Steps,
        device: Option<u64>,
    ) -> Level {
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
    pub(super) fn steps(&self, path: &Path, mut entries: Vec<Entry>, mut targets: Targets) -> Steps {
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
}

/// Targets in the order of their names.
pub(super) fn target_steps(targets: Targets) -> Steps {
    Steps::new(targets.into_iter().map(|(name, target)| Step::Target(name, target)).collect())
}
