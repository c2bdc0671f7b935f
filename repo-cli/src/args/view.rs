//! The flags of what shows a repository as folders: which snapshots stand where.

use clap::Args;
use repo_core::view::TIME_TEMPLATE;

use super::filter::SnapshotFilter;

/// Where snapshots stand.
#[derive(Debug, Clone, Default, Args)]
pub struct Templates {
    /// Where snapshots stand, repeatable: %i and %I are short and long id, %u, %h, %t user, host and tags, %T the
    /// time [default: ids/%i, snapshots/%T, hosts/%h/%T, tags/%t/%T]
    #[arg(long, value_name = "TEMPLATE", help_heading = HEADING)]
    pub path_template: Vec<String>,

    /// How %T is written: the moment Mon Jan 2 15:04:05 MST 2006, as it should look
    #[arg(long, value_name = "TEMPLATE", default_value = TIME_TEMPLATE, help_heading = HEADING)]
    pub time_template: String,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}

const HEADING: &str = "Folders";
