//! What is to be saved, whoever gets it.

use std::path::PathBuf;

use crate::context::Stage;
use crate::format::Snapshot;
use crate::fs::source::targets::{self, TargetTree};
use crate::fs::source::{Links, Source};
use crate::id::{Id, TreeId};
use crate::ops::archive::options::{ArchiveOptions, Origin};
use crate::ops::archive::report::{Problem, Skipped};
use crate::time::Time;

/// What is to be saved, and how.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) targets: &'a [PathBuf],
    pub(super) options: &'a ArchiveOptions,
}

impl Wish<'_> {
    /// The targets as the source has them now.
    pub(super) fn plan(&self) -> TargetTree {
        targets::plan(&self.options.cwd, self.targets, self.source)
    }

    /// Which targets do not exist; an error, with what is wrong with the first one, if none does.
    pub(super) fn missing(&self, plan: &TargetTree) -> Result<Vec<Skipped>, Option<Problem>> {
        let mut missing: Vec<Skipped> = Vec::new();
        for path in &plan.paths {
            if let Err(error) = self.source.stat(path, Links::Keep)
                && !missing.iter().any(|skipped| &skipped.path == path)
            {
                missing.push(Skipped { stage: Stage::Scan, path: path.clone(), problem: error.into() });
            }
        }
        let all = |path: &PathBuf| missing.iter().any(|skipped| &skipped.path == path);
        if plan.paths.iter().all(all) {
            return Err(missing.into_iter().next().map(|skipped| skipped.problem));
        }
        Ok(missing)
    }

    /// The snapshot's record before anything is known of its content.
    pub(super) fn snapshot(&self, plan: &TargetTree, start: Time) -> Snapshot {
        let options = self.options;
        let Origin { hostname, username, uid, gid } = options.origin.clone();
        Snapshot {
            time: options.time.unwrap_or(start),
            parent: None,
            tree: TreeId(Id::new([0; 32])),
            paths: plan.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            hostname,
            username,
            uid,
            gid,
            excludes: options.excludes_on_record.clone(),
            tags: options.tags.clone(),
            original: None,
            program_version: options.program_version.clone(),
            summary: None,
            unknown: Vec::new(),
        }
    }
}
