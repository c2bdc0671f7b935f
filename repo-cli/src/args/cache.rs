//! `cache`: what was typed.

use clap::Args;

/// List or clean up local caches
///
/// A cache keeps snapshots, index files and trees of a repository on this machine. Removing one costs nothing but the
/// time to fetch all that again.
#[derive(Debug, Args)]
pub struct Cache {
    /// Remove old caches
    #[arg(long)]
    pub cleanup: bool,

    /// A cache is old when nobody used it for so many days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub max_age: u64,

    /// Do not add up sizes
    #[arg(long)]
    pub no_size: bool,

    /// None
    #[arg(hide = true)]
    pub extra: Vec<String>,
}
