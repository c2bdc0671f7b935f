//! `check`: what was typed.

use std::time::Duration;

use clap::Args;
use repo_core::ops::check::ReadData;

use super::filter::SnapshotFilter;
use super::values;

/// Verify the repository
///
/// Always compares the index with the packs and walks all trees. With --read-data every stored byte is read
/// and verified too.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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

    /// Read packs for so long (30m, 2h), beginning with those that were read longest ago
    ///
    /// Every check that reads packs takes down in the repository which ones it found right, so checks that follow
    /// each other come round to all of them.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub read_data_for: Option<Duration>,

    /// Read so many bytes of packs (50G), beginning with those that were read longest ago
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub read_data_budget: Option<u64>,

    /// Compare packs with the checksums that the storage keeps of them, without a download; for S3
    ///
    /// The storage has to have a SHA-256 of each pack. Larder sends one with every upload to a bucket; restic does not.
    #[arg(long)]
    pub verify_remote: bool,

    /// Use the local cache
    #[arg(long)]
    pub with_cache: bool,

    /// Outdated, does nothing
    #[arg(long, hide = true)]
    pub check_unused: bool,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
