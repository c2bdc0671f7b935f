//! `rewrite`: what was typed.

use clap::Args;

use super::filter::{Excludes, Includes, SnapshotFilter};

/// Make new snapshots from old ones, with files left out, or with another host or time
///
/// The new snapshots stand beside the old ones with the tag rewrite, or in their place with --forget. The space of what
/// was left out is free once the old snapshots are forgotten and the repository is pruned.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    larder rewrite --exclude '*.iso' --dry-run\n  \
    larder rewrite --exclude /home/ada/secret.txt --forget\n  \
    larder rewrite --new-host laptop latest")]
pub struct Rewrite {
    /// Only these; `latest` and the start of an id will do
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,

    /// Another host
    #[arg(long, value_name = "HOST")]
    pub new_host: Option<String>,

    /// Another time, YYYY-MM-DD hh:mm:ss
    #[arg(long, value_name = "TIME")]
    pub new_time: Option<String>,

    /// Count files and bytes anew, also where a snapshot has no summary
    #[arg(short, long)]
    pub snapshot_summary: bool,

    /// Remove the old snapshots
    #[arg(long)]
    pub forget: bool,

    /// Only report what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub excludes: Excludes,

    #[command(flatten)]
    pub includes: Includes,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
