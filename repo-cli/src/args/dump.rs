//! `dump`: what was typed.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::filter::SnapshotFilter;

/// Print a file of a snapshot, or a folder as an archive
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    larder dump latest /home/ada/notes.txt\n  \
    larder dump latest /home/ada > ada.tar\n  \
    larder dump --archive zip --target all.zip latest /")]
pub struct Dump {
    /// Which snapshot, and the path in it
    #[arg(value_name = "SNAPSHOT[:FOLDER] PATH")]
    pub words: Vec<OsString>,

    /// Archive for folders
    #[arg(short, long, value_name = "FORMAT", default_value = "tar")]
    pub archive: Archive,

    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    pub target: Option<OsString>,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// Form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Archive {
    Tar,
    Zip,
}
