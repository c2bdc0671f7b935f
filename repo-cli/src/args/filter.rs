//! The flags that choose among snapshots, and those that choose among files. Shared by many commands.

use std::ffi::OsString;

use clap::Args;

use super::values;

/// Which snapshots: all that pass every kind of filter given.
#[derive(Debug, Clone, Default, Args)]
pub struct SnapshotFilter {
    /// Only snapshots of this host; repeatable, '' takes back RESTIC_HOST
    #[arg(short = 'H', long = "host", value_name = "HOST", help_heading = HEADING)]
    pub hosts: Vec<String>,

    /// Only snapshots with all of these tags; repeat for "or", '' means no tags
    #[arg(long = "tag", value_name = "TAG[,TAG…]", help_heading = HEADING)]
    pub tags: Vec<String>,

    /// Only snapshots that include this absolute path; repeat for "and"
    #[arg(long = "path", value_name = "PATH", help_heading = HEADING)]
    pub paths: Vec<OsString>,
}

/// Which files to leave out.
#[derive(Debug, Clone, Default, Args)]
pub struct Excludes {
    /// Leave out what matches the pattern; repeatable
    #[arg(short, long, value_name = "PATTERN", help_heading = FILES)]
    pub exclude: Vec<OsString>,

    /// The same, ignoring case
    #[arg(long, value_name = "PATTERN", help_heading = FILES)]
    pub iexclude: Vec<OsString>,

    /// File with patterns to leave out, one per line; repeatable
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub exclude_file: Vec<OsString>,

    /// The same, ignoring case
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub iexclude_file: Vec<OsString>,
}

/// All that a backup may leave out.
#[derive(Debug, Clone, Default, Args)]
pub struct LeaveOut {
    #[command(flatten)]
    pub patterns: Excludes,

    /// Leave out the content of folders marked by a valid CACHEDIR.TAG
    #[arg(long, help_heading = FILES)]
    pub exclude_caches: bool,

    /// Leave out the content of folders that hold this file; repeatable
    #[arg(long, value_name = "NAME[:HEADER]", help_heading = FILES)]
    pub exclude_if_present: Vec<OsString>,

    /// Leave out files larger than this, such as 200m
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = FILES)]
    pub exclude_larger_than: Option<u64>,
}

/// Which files alone to take.
#[derive(Debug, Clone, Default, Args)]
pub struct Includes {
    /// Take only what matches the pattern; repeatable
    #[arg(short, long, value_name = "PATTERN", help_heading = FILES)]
    pub include: Vec<OsString>,

    /// The same, ignoring case
    #[arg(long, value_name = "PATTERN", help_heading = FILES)]
    pub iinclude: Vec<OsString>,

    /// File with patterns to take, one per line; repeatable
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub include_file: Vec<OsString>,

    /// The same, ignoring case
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub iinclude_file: Vec<OsString>,
}

const HEADING: &str = "Choosing snapshots";
const FILES: &str = "Choosing files";
