//! `stats`: what was typed.

use clap::{Args, ValueEnum};

use super::filter::SnapshotFilter;

/// Show sizes and counts
///
/// Modes: restore-size counts what a restore would write; files-by-contents counts equal files once;
/// blobs-per-file counts equal parts of files once; raw-data counts what the repository stores.
#[derive(Debug, Args)]
pub struct Stats {
    /// Only these snapshots
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,

    /// What to count
    #[arg(long, default_value = "restore-size")]
    pub mode: Mode,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// What `stats` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    RestoreSize,
    FilesByContents,
    BlobsPerFile,
    RawData,
    /// Sizes of the repository's files and blobs, as restic prints them for its developers.
    #[value(hide = true)]
    Debug,
}
