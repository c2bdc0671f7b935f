//! `status`: what was typed.

use std::ffi::OsString;

use clap::Args;

use super::filter::{LeaveOut, SnapshotFilter};

/// Show what changed on this machine since the last snapshot
///
/// The letters before each path: + new, M changed, - deleted. Files are not read: one is changed if the next backup would
/// read it again. What that snapshot left out by --exclude is left out here too; give other excludes again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  larder status
  larder status ~/Documents
  larder status --snapshot 1a2b3c4d --json")]
pub struct Status {
    /// Only what lies here [default: all that the snapshot has]
    #[arg(value_name = "DIR")]
    pub folders: Vec<OsString>,

    /// Compare with this snapshot [default: the last one of this host]
    #[arg(short, long, value_name = "ID")]
    pub snapshot: Option<String>,

    #[command(flatten)]
    pub leave_out: LeaveOut,

    /// Another ctime does not make a file changed
    #[arg(long)]
    pub ignore_ctime: bool,

    /// Neither another inode nor another ctime makes a file changed
    #[arg(long)]
    pub ignore_inode: bool,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
