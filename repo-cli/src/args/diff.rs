//! `diff`: what was typed.

use clap::Args;

/// Show what differs between two snapshots
///
/// The letters before each path: + added, - removed, M content, U metadata, T type, and ? for content that
/// differs although all metadata agrees, which means that a disk went bad.
#[derive(Debug, Args)]
pub struct Diff {
    /// Two snapshots, or folders of them
    #[arg(value_name = "SNAPSHOT[:FOLDER]")]
    pub snapshots: Vec<String>,

    /// Also show changes of metadata alone
    #[arg(long)]
    pub metadata: bool,
}
