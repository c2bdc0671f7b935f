//! How to archive.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::fs::metadata::{Atime, ChangeDetection};
use crate::fs::source::{Everything, Select};
use crate::ops::archive::change::ParentChoice;
use crate::ops::archive::edit::ChangedPaths;
use crate::repository::{LockOptions, LockOwner, WriterOptions};
use crate::time::Time;

/// Whose backup it is, as the snapshot records it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The host's name.
    pub hostname: String,
    /// The user's name.
    pub username: String,
    /// The user's id.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
}

impl Origin {
    /// This machine and the user of this process.
    pub fn this_process() -> Self {
        let LockOwner { hostname, username, uid, gid, .. } = LockOwner::this_process();
        Self { hostname, username, uid, gid }
    }
}

/// How to archive. Name what matters and take the rest from [`Default`].
///
/// ```
/// use repo_core::ArchiveOptions;
///
/// let options = ArchiveOptions { tags: vec!["nightly".into()], scan: true, ..ArchiveOptions::default() };
/// assert!(options.lock.is_some(), "a backup locks the repository unless told otherwise");
/// ```
#[derive(Clone)]
pub struct ArchiveOptions {
    /// How to lock the repository; `None` takes no lock, for dry runs.
    pub lock: Option<LockOptions>,
    /// Where relative targets start; absolute.
    pub cwd: PathBuf,
    /// Whose backup it is.
    pub origin: Origin,
    /// The time on record; `None` is when the backup began.
    pub time: Option<Time>,
    /// Tags on record.
    pub tags: Vec<String>,
    /// Exclude patterns on record; what is left out is decided by `select`.
    pub excludes_on_record: Vec<String>,
    /// What is wanted.
    pub select: Arc<dyn Select>,
    /// Stay on the file system of each target.
    pub one_file_system: bool,
    /// Which snapshot to compare with.
    pub parent: ParentChoice,
    /// When a file counts as unchanged.
    pub change: ChangeDetection,
    /// What may differ from the parent, if somebody knows: all else is taken over without a look at it, and not
    /// counted one by one. `None` walks everything.
    pub changed: Option<ChangedPaths>,
    /// Which access time is recorded.
    pub atime: Atime,
    /// How many large files (over 8 MiB) are read at once.
    pub read_concurrency: usize,
    /// Count files and bytes ahead, for progress.
    pub scan: bool,
    /// Save no snapshot when nothing differs from the parent.
    pub skip_if_unchanged: bool,
    /// How blobs are stored.
    pub writer: WriterOptions,
    /// Which program the snapshot names.
    pub program_version: String,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self {
            lock: Some(LockOptions::default()),
            cwd: PathBuf::from("/"),
            origin: Origin::this_process(),
            time: None,
            tags: Vec::new(),
            excludes_on_record: Vec::new(),
            select: Arc::new(Everything),
            one_file_system: false,
            parent: ParentChoice::default(),
            change: ChangeDetection::default(),
            changed: None,
            atime: Atime::default(),
            read_concurrency: 2,
            scan: false,
            skip_if_unchanged: false,
            writer: WriterOptions::default(),
            program_version: concat!("larder ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl fmt::Debug for ArchiveOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveOptions")
            .field("origin", &self.origin)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}
