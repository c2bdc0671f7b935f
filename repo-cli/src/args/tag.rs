//! `tag`: what was typed.

use clap::Args;

use super::filter::SnapshotFilter;

/// Change tags of snapshots, or protect snapshots
///
/// A changed snapshot is a new one in place of the old one. A protected snapshot is not forgotten, whatever rules or
/// ids say, until it is no longer protected; other programs see a tag with the name larder-protected.
#[derive(Debug, Args)]
pub struct Tag {
    /// Only these; `latest` and the start of an id will do
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,

    /// Tags to have instead of all others; '' for none
    #[arg(long, value_name = "TAG[,TAG…]")]
    pub set: Vec<String>,

    /// Tags to add
    #[arg(long, value_name = "TAG[,TAG…]")]
    pub add: Vec<String>,

    /// Tags to remove
    #[arg(long, value_name = "TAG[,TAG…]")]
    pub remove: Vec<String>,

    /// Keep from being forgotten
    #[arg(long)]
    pub protect: bool,

    /// Take that back
    #[arg(long)]
    pub unprotect: bool,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
