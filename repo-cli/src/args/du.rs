//! `du`: what was typed.

use clap::Args;

use super::filter::SnapshotFilter;
use super::values;

/// Show which folders of snapshots take how much room in the repository
///
/// Parts that several files share count once. With --unique only what no other snapshot needs is counted: what would be
/// free if these went, and for the newest one, which folders grew.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  larder du latest
  larder du --unique latest
  larder du --unique 1a2b3c4d 5e6f7a8b")]
pub struct Du {
    /// Which snapshots [default: all]
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,

    /// Count only what no other snapshot needs
    #[arg(long)]
    pub unique: bool,

    /// Show folders that take at least so much, such as 10m [default: a hundredth of all]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub at_least: Option<u64>,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
