//! `prune`: what was typed.

use clap::Args;

use super::prune_flags::PruneFlags;

/// Free the space of what no snapshot needs
///
/// Packs without anything in use are removed; what is in use moves out of packs that hold too much that is not.
/// Nothing is removed when anything that snapshots need is missing. The repository is locked for the time of it.
#[derive(Debug, Args)]
pub struct Prune {
    /// Show what would be done, and what it would cost
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub how: PruneFlags,

    /// Join packs below 80 percent of the target size too
    #[arg(long, hide = true)]
    pub repack_small: bool,

    /// For storage without any free space: the repository's id. Try --max-repack-size 0 first
    #[arg(long, value_name = "ID")]
    pub unsafe_recover_no_free_space: Option<String>,

    /// Ignored
    #[arg(hide = true)]
    pub extra: Vec<String>,
}
