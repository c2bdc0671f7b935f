//! `find`: what was typed.

use std::ffi::OsString;

use clap::Args;

use super::filter::SnapshotFilter;

/// Search files, blobs, trees or packs across snapshots
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "Examples:\n  \
    larder find config.json\n  \
    larder find --json '*.yml' '*.json'\n  \
    larder find --oldest 2024-01-01 --long '*.odt'\n  \
    larder find --blob 420f620f\n  \
    larder find --pack 025c1d06")]
pub struct Find {
    /// Names or patterns; with --blob, --tree, --pack ids
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<OsString>,

    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,

    /// Show sizes with units
    #[arg(long)]
    pub human_readable: bool,

    /// Ignore case
    #[arg(short, long)]
    pub ignore_case: bool,

    /// Only files changed at this time or later
    #[arg(short = 'O', long, value_name = "TIME")]
    pub oldest: Option<String>,

    /// Only files changed at this time or before
    #[arg(short = 'N', long, value_name = "TIME")]
    pub newest: Option<String>,

    /// Oldest snapshot first
    #[arg(short = 'R', long)]
    pub reverse: bool,

    /// Only in this snapshot; repeatable
    #[arg(short = 's', long = "snapshot", value_name = "ID")]
    pub snapshots: Vec<String>,

    /// The patterns are ids of blobs
    #[arg(long)]
    pub blob: bool,

    /// The patterns are ids of trees
    #[arg(long)]
    pub tree: bool,

    /// The patterns are ids of packs
    #[arg(long)]
    pub pack: bool,

    /// With --blob or --tree: also say in which pack it lies
    #[arg(long)]
    pub show_pack_id: bool,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
