//! `check`: what was typed.

use clap::Args;
use repo_core::ops::check::ReadData;

use super::filter::SnapshotFilter;
use super::values;

/// Verify the repository
///
/// Always compares the index with the packs and walks all trees. With --read-data every stored byte is read
/// and verified too.
#[derive(Debug, Args)]
pub struct Check {
    /// Only the data of these snapshots
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,

    /// Read and verify every pack
    #[arg(long)]
    pub read_data: bool,

    /// Read and verify a part: n/t, a percentage, or a size
    #[arg(long, value_name = "SUBSET", value_parser = values::subset)]
    pub read_data_subset: Option<ReadData>,

    /// Use the local cache
    #[arg(long)]
    pub with_cache: bool,

    /// Outdated, does nothing
    #[arg(long, hide = true)]
    pub check_unused: bool,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
