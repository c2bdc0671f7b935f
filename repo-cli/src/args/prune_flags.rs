//! How to prune, for `prune` and for `forget --prune`: what was typed.

use clap::Args;

use super::values::{self, Unused};

/// How much work pruning may make of it.
#[derive(Debug, Clone, Args)]
pub struct PruneFlags {
    /// Unused data that may stay: a size, a percentage of what remains, or unlimited
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = values::unused, help_heading = HEADING)]
    pub max_unused: Unused,

    /// Rewrite at most so many bytes of packs
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = HEADING)]
    pub max_repack_size: Option<u64>,

    /// Rewrite only packs that a cache holds
    #[arg(long, help_heading = HEADING)]
    pub repack_cacheable_only: bool,

    /// Rewrite what is not compressed
    #[arg(long, help_heading = HEADING)]
    pub repack_uncompressed: bool,

    /// Join packs smaller than this
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = HEADING)]
    pub repack_smaller_than: Option<u64>,
}

const HEADING: &str = "Pruning";
