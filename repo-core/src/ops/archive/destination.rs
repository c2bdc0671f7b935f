//! Where a backup goes.

use std::fmt;

use crate::context::Context;
use crate::ops::archive::change::ParentChoice;
use crate::ops::archive::edit::ChangedPaths;
use crate::ops::archive::options::ArchiveOptions;
use crate::repository::{LockOptions, Repository, WriterOptions};

/// One of the repositories that a backup goes to, and what is different there.
///
/// Made with [`new`](Self::new) from the options that are the same for all; then change what differs.
#[derive(Clone)]
pub struct Destination<'a> {
    /// Is told what happens to this repository; stops this one's part alone. Its memory is this one's part, too.
    pub context: Context,
    /// The repository.
    pub repository: &'a Repository,
    /// How to lock it; `None` takes no lock.
    pub lock: Option<LockOptions>,
    /// Which of its snapshots to compare with.
    pub parent: ParentChoice,
    /// What may differ from that one, if somebody knows.
    pub changed: Option<ChangedPaths>,
    /// How blobs are stored there.
    pub writer: WriterOptions,
}

impl<'a> Destination<'a> {
    /// A repository that is treated as the options say.
    pub fn new(context: &Context, repository: &'a Repository, options: &ArchiveOptions) -> Self {
        Self {
            context: context.clone(),
            repository,
            lock: options.lock.clone(),
            parent: options.parent.clone(),
            changed: options.changed.clone(),
            writer: options.writer.clone(),
        }
    }
}

impl fmt::Debug for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("parent", &self.parent).finish_non_exhaustive()
    }
}
