//! `snapshots`: what was typed.

use clap::Args;
use repo_core::snapshots::GroupBy;

use super::filter::SnapshotFilter;

/// List snapshots
#[derive(Debug, Args)]
pub struct Snapshots {
    /// Only these; `latest` and the start of an id will do
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,

    /// Short table
    #[arg(short, long)]
    pub compact: bool,

    /// Group by host, paths, tags
    #[arg(short, long, value_name = "GROUP", value_parser = str::parse::<GroupBy>)]
    pub group_by: Option<GroupBy>,

    /// Only the newest N of each host and paths, or of each group
    #[arg(long, value_name = "N")]
    pub latest: Option<i64>,

    /// Outdated form of --latest 1
    #[arg(long, hide = true)]
    pub last: bool,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
