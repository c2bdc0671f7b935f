//! `forget`: what was typed.

use std::ffi::OsString;

use clap::Args;
use repo_core::ops::forget::{Count, Each, Policy, Span};
use repo_core::snapshots::GroupBy;
use repo_core::time::Zone;

use super::filter::SnapshotFilter;
use super::prune_flags::PruneFlags;
use super::values;

/// Remove snapshots that no rule keeps, or those that are named
///
/// Snapshots are sorted into groups, and the rules count in each group anew. A count keeps the newest snapshot of
/// each of the last N hours, days … that have one, and the oldest of all while it is not used up. Spans are measured
/// back from the group's newest snapshot. Protected snapshots always stay, see `tag --protect`. Only the snapshots
/// go; their data stays until it is pruned.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Forget {
    /// Remove these, whatever the rules say; `latest` and the start of an id will do
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,

    /// Keep the newest N; unlimited keeps all, here and below
    #[arg(short = 'l', long, value_name = "N", value_parser = values::count, help_heading = RULES)]
    pub keep_last: Option<Count>,

    /// Keep one of each of the last N hours
    #[arg(short = 'H', long, value_name = "N", value_parser = values::count, help_heading = RULES)]
    pub keep_hourly: Option<Count>,

    /// Keep one of each of the last N days
    #[arg(short = 'd', long, value_name = "N", value_parser = values::count, help_heading = RULES)]
    pub keep_daily: Option<Count>,

    /// Keep one of each of the last N weeks
    #[arg(short = 'w', long, value_name = "N", value_parser = values::count, help_heading = RULES)]
    pub keep_weekly: Option<Count>,

    /// Keep one of each of the last N months
    #[arg(short = 'm', long, value_name = "N", value_parser = values::count, help_heading = RULES)]
    pub keep_monthly: Option<Count>,

    /// Keep one of each of the last N years
    #[arg(short = 'y', long, value_name = "N", value_parser = values::count, help_heading = RULES)]
    pub keep_yearly: Option<Count>,

    /// Keep all of this span, such as 1y5m7d2h
    #[arg(long, value_name = "SPAN", value_parser = str::parse::<Span>, help_heading = RULES)]
    pub keep_within: Option<Span>,

    /// Keep one of each hour of this span
    #[arg(long, value_name = "SPAN", value_parser = str::parse::<Span>, help_heading = RULES)]
    pub keep_within_hourly: Option<Span>,

    /// Keep one of each day of this span
    #[arg(long, value_name = "SPAN", value_parser = str::parse::<Span>, help_heading = RULES)]
    pub keep_within_daily: Option<Span>,

    /// Keep one of each week of this span
    #[arg(long, value_name = "SPAN", value_parser = str::parse::<Span>, help_heading = RULES)]
    pub keep_within_weekly: Option<Span>,

    /// Keep one of each month of this span
    #[arg(long, value_name = "SPAN", value_parser = str::parse::<Span>, help_heading = RULES)]
    pub keep_within_monthly: Option<Span>,

    /// Keep one of each year of this span
    #[arg(long, value_name = "SPAN", value_parser = str::parse::<Span>, help_heading = RULES)]
    pub keep_within_yearly: Option<Span>,

    /// Keep what has all of these tags; repeat for "or"
    #[arg(long, value_name = "TAG[,TAG…]", help_heading = RULES)]
    pub keep_tag: Vec<String>,

    /// Keep more, the newest first, until what all snapshots need is so much (500G); what is left over goes
    ///
    /// Counts what is stored for all snapshots that stay, those kept by other rules and those that the filters leave out
    /// included, each piece once. Says for each snapshot that goes how much a prune then frees.
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = RULES)]
    pub keep_until_size: Option<u64>,

    /// Without any rule, remove all that the filters choose
    #[arg(long, help_heading = RULES)]
    pub unsafe_allow_remove_all: bool,

    /// Judge hours, days and longer on the clock of this zone, such as Europe/Berlin or local, not on each snapshot's
    #[arg(long, value_name = "ZONE", value_parser = values::zone, help_heading = RULES)]
    pub time_zone: Option<Zone>,

    /// Count snapshots dated in the future as the newest ones
    #[arg(long, help_heading = RULES)]
    pub allow_future: bool,

    /// Only snapshots of this host; repeatable, '' takes back RESTIC_HOST
    #[arg(long = "host", value_name = "HOST", help_heading = CHOOSING)]
    pub hosts: Vec<String>,

    /// Only snapshots with all of these tags; repeat for "or", '' means no tags
    #[arg(long = "tag", value_name = "TAG[,TAG…]", help_heading = CHOOSING)]
    pub tags: Vec<String>,

    /// Only snapshots that include this absolute path; repeat for "and"
    #[arg(long = "path", value_name = "PATH", help_heading = CHOOSING)]
    pub paths: Vec<OsString>,

    /// Group by host, paths, tags; '' makes one group
    #[arg(short, long, value_name = "GROUP", default_value = "host,paths", value_parser = str::parse::<GroupBy>, help_heading = CHOOSING)]
    pub group_by: GroupBy,

    /// Short tables
    #[arg(short, long)]
    pub compact: bool,

    /// Remove nothing, say what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Remove nothing, show how many snapshots the rules would leave over this span, such as 1y
    #[arg(long, value_name = "SPAN", value_parser = str::parse::<Span>, conflicts_with = "keep_until_size")]
    pub simulate: Option<Span>,

    /// Then free the space of what was removed
    #[arg(long, help_heading = "Pruning")]
    pub prune: bool,

    #[command(flatten)]
    pub pruning: PruneFlags,

    /// Join packs below 80 percent of the target size too
    #[arg(long, hide = true)]
    pub repack_small: bool,

    /// Outdated form of --host
    #[arg(long, value_name = "HOST", hide = true)]
    pub hostname: Vec<String>,
}

impl Forget {
    /// Which snapshots the rules are applied to.
    pub fn filter(&self) -> SnapshotFilter {
        let hosts = self.hosts.iter().chain(&self.hostname).cloned().collect();
        SnapshotFilter { hosts, tags: self.tags.clone(), paths: self.paths.clone() }
    }

    /// The rules.
    pub fn policy(&self) -> Policy {
        Policy {
            last: self.keep_last.unwrap_or_default(),
            each: Each {
                hourly: self.keep_hourly.unwrap_or_default(),
                daily: self.keep_daily.unwrap_or_default(),
                weekly: self.keep_weekly.unwrap_or_default(),
                monthly: self.keep_monthly.unwrap_or_default(),
                yearly: self.keep_yearly.unwrap_or_default(),
            },
            within: self.keep_within.unwrap_or_default(),
            each_within: Each {
                hourly: self.keep_within_hourly.unwrap_or_default(),
                daily: self.keep_within_daily.unwrap_or_default(),
                weekly: self.keep_within_weekly.unwrap_or_default(),
                monthly: self.keep_within_monthly.unwrap_or_default(),
                yearly: self.keep_within_yearly.unwrap_or_default(),
            },
            tags: self.keep_tag.iter().map(|tags| values::tags(tags)).collect(),
        }
    }
}

const RULES: &str = "Rules";
const CHOOSING: &str = "Choosing snapshots";
