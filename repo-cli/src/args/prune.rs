//! `prune`: what was typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::prune_flags::PruneFlags;
use super::values;

/// Free the space of what no snapshot needs
///
/// What is in use moves out of packs that hold too much that is not. Packs without anything in use are marked, and a
/// later run removes them after the time of grace; so backups need not wait. With --instant they are removed at once,
/// and the repository is locked for the time of it. Nothing is removed when anything that snapshots need is missing.
#[derive(Debug, Args)]
pub struct Prune {
    /// Show what would be done, and what it would cost
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub how: PruneFlags,

    /// Remove at once what nobody needs; nobody else can work on the repository meanwhile
    #[arg(long)]
    pub instant: bool,

    /// How long packs stay after they were marked, by the storage's clock
    #[arg(long, value_name = "DURATION", default_value = "23h", value_parser = values::grace, conflicts_with = "instant")]
    pub grace: Duration,

    /// A file with what the storage charges: a dry run says what pruning would cost
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,

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
