//! `recover`: what was typed.

use clap::Args;

/// Make a snapshot of all folders that no snapshot has any more
///
/// For a snapshot that was removed by mistake and not pruned yet. The new snapshot has the tag `recovered` and a folder
/// for each root that was found, named by the first digits of its id.
#[derive(Debug, Args)]
pub struct Recover {
    /// Change nothing, only say what is there
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Ignored
    #[arg(hide = true)]
    pub extra: Vec<String>,
}
