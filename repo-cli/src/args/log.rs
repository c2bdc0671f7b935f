//! `log`: what was typed.

use std::ffi::OsString;

use clap::Args;

use super::filter::SnapshotFilter;

/// Show all versions of a file
///
/// One line for each content that any snapshot has of it, newest first, with the newest snapshot to restore it from. The
/// path is that on this machine, or as `larder ls` shows it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  larder log ~/Documents/letter.txt
  larder restore 1a2b3c4d --as-copy ~/Documents/letter.txt")]
pub struct Log {
    /// The file
    #[arg(value_name = "PATH")]
    pub files: Vec<OsString>,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
