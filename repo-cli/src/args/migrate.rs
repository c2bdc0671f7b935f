//! `migrate`: what was typed.

use clap::Args;

/// Say how the repository's format can be changed, or change it
///
/// Without a name those changes are listed that can be made. upgrade_repo_v2 makes a repository of version 1 one of
/// version 2, which compresses: it is checked first, then its config is replaced. Nothing else changes; what lies there
/// uncompressed is compressed by `larder prune --repack-uncompressed`. restic 0.14 and later read version 2.
#[derive(Debug, Args)]
pub struct Migrate {
    /// What to change
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Try it even if it seems that it was done already
    #[arg(short, long)]
    pub force: bool,
}
