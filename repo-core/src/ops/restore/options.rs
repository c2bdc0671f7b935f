//! How to restore.

use std::path::PathBuf;

use crate::filter::Selection;
use crate::fs::target::{Fidelity, Layout};
use crate::repository::{LockOptions, ThawOptions};

/// What happens to entries that exist in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// They become those of the snapshot. Existing content is compared, and only what differs is fetched.
    #[default]
    Always,
    /// As always, but files of the same size and time of change are taken to be equal.
    IfChanged,
    /// They are replaced if the snapshot's entry was changed later, else left alone.
    IfNewer,
    /// They are left alone.
    Never,
}

/// How an existing file gets other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// A new file takes its place once it is complete; until then the old one is as it was.
    #[default]
    Replace,
    /// It is changed where it is: needs no space for a second copy, but is broken if the restore is. A file
    /// with several names is replaced all the same.
    Update,
}

/// How to restore. Name what matters and take the rest from [`Default`].
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "switches that do not depend on each other")]
pub struct RestoreOptions {
    /// How to lock the repository; `None` takes no lock.
    pub lock: Option<LockOptions>,
    /// Which folder of the snapshot becomes the target; `/` for all of it.
    pub folder: PathBuf,
    /// Which entries are restored; paths begin with `/` at the folder. Directories on the way are made.
    pub selection: Selection,
    /// What happens to entries that exist.
    pub overwrite: Overwrite,
    /// How existing files get other content.
    pub existing: Existing,
    /// Remove what the restored directories of the snapshot do not have, as far as it is selected.
    pub delete: bool,
    /// What becomes of zeros in files.
    pub layout: Layout,
    /// How much of the metadata is restored.
    pub fidelity: Fidelity,
    /// Thaw the packs that are needed before anything is restored, and wait for them; `None` takes them as they
    /// are. A dry run only says which.
    pub thaw: Option<ThawOptions>,
    /// Read every restored file back and compare.
    pub verify: bool,
    /// Change nothing, but tell what would be changed.
    pub dry_run: bool,
    /// Count entries and bytes ahead, for progress.
    pub scan: bool,
    /// Snapshots with more entries than this are refused: a small repository can describe endless trees.
    pub entries_max: u64,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            lock: Some(LockOptions::default()),
            folder: PathBuf::from("/"),
            selection: Selection::All,
            overwrite: Overwrite::default(),
            existing: Existing::default(),
            delete: false,
            layout: Layout::default(),
            fidelity: Fidelity::default(),
            thaw: None,
            verify: false,
            dry_run: false,
            scan: false,
            entries_max: 1_000_000_000,
        }
    }
}
