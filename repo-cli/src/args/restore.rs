//! `restore`: what was typed.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::filter::{Excludes, Includes, SnapshotFilter};

/// Write a snapshot, or part of it, to disk
///
/// SNAPSHOT is an id, the start of one, or `latest`; `ID:FOLDER` restores what lies below that folder.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "Examples:\n  \
    larder restore latest --target /tmp/back\n  \
    larder restore latest --target /tmp/back --include '*.odt'\n  \
    larder restore 1a2b3c4d:/home/ada --target /home/ada --overwrite if-changed\n  \
    larder restore 1a2b3c4d --as-copy ~/letter.txt\n  \
    larder restore latest:/vm/disk.raw --into /dev/vg/disk")]
pub struct Restore {
    /// Which snapshot
    #[arg(value_name = "SNAPSHOT[:FOLDER]")]
    pub snapshots: Vec<String>,

    /// Folder to restore into
    #[arg(short, long, value_name = "DIR")]
    pub target: Option<OsString>,

    /// Restore one file beside itself, as NAME.VERSION.EXT; without SNAPSHOT from the newest that has it
    #[arg(long, value_name = "FILE")]
    pub as_copy: Option<OsString>,

    /// Write one file (SNAPSHOT:FILE) onto a device, or into an image or a pipe, in place: only what differs
    #[arg(long, value_name = "PATH")]
    pub into: Option<OsString>,

    /// When to overwrite what exists
    #[arg(long, value_name = "WHEN", default_value = "always")]
    pub overwrite: Overwrite,

    /// Remove what the snapshot does not have; see first with --dry-run -vv
    #[arg(long)]
    pub delete: bool,

    /// Only report what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// Leave holes where a file is zero
    #[arg(long)]
    pub sparse: bool,

    /// Read everything back and compare
    #[arg(long)]
    pub verify: bool,

    /// Give files to the users and groups of the stored names, not numbers
    #[arg(long)]
    pub ownership_by_name: bool,

    #[command(flatten)]
    pub excludes: Excludes,

    #[command(flatten)]
    pub includes: Includes,

    /// Leave out extended attributes whose names match; repeatable
    #[arg(long, value_name = "PATTERN", help_heading = FILES)]
    pub exclude_xattr: Vec<String>,

    /// Restore only extended attributes whose names match; repeatable
    #[arg(long, value_name = "PATTERN", help_heading = FILES)]
    pub include_xattr: Vec<String>,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// When to overwrite what exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overwrite {
    Always,
    IfChanged,
    IfNewer,
    Never,
}

const FILES: &str = "Choosing files";
