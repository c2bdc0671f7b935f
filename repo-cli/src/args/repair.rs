//! `repair`: what was typed.

use clap::{Args, Subcommand};

/// Mend a damaged repository
#[derive(Debug, Args)]
pub struct Repair {
    #[command(subcommand)]
    pub action: Option<RepairAction>,
}

/// What to mend.
#[derive(Debug, Subcommand)]
pub enum RepairAction {
    /// Rebuild the index from the packs
    Index(RepairIndex),
    /// Make the hot half of a split repository anew from the cold one
    ///
    /// Copies what the storage given by --repo-hot lacks (everything but packs of data), and removes there what the
    /// repository does not have. The storage given by --repo decides, and is not changed.
    Hot,
}

/// How to rebuild the index.
#[derive(Debug, Args)]
pub struct RepairIndex {
    /// Read every pack's header instead of those that the index lists wrongly or not at all
    #[arg(long)]
    pub read_all_packs: bool,

    /// Ignored
    #[arg(hide = true)]
    pub extra: Vec<String>,
}

/// Outdated name of `repair index`
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct RebuildIndex {
    #[command(flatten)]
    pub index: RepairIndex,
}
