//! `ls`: what was typed.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::filter::SnapshotFilter;

/// List the files of a snapshot
///
/// With folders given, lists what is directly inside them; --recursive goes deeper.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Ls {
    /// Which snapshot
    #[arg(value_name = "SNAPSHOT[:FOLDER]")]
    pub snapshot: Option<String>,

    /// Only what is in these absolute folders
    #[arg(value_name = "DIR")]
    pub folders: Vec<OsString>,

    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,

    /// Show sizes with units
    #[arg(long)]
    pub human_readable: bool,

    /// Go into the folders below the given ones too
    #[arg(long)]
    pub recursive: bool,

    /// Print what ncdu reads with `ncdu -f -`
    #[arg(long)]
    pub ncdu: bool,

    /// Order
    #[arg(short, long, value_name = "ORDER", default_value = "name")]
    pub sort: Order,

    /// The other way round
    #[arg(long)]
    pub reverse: bool,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// Order of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    Name,
    Size,
    #[value(alias = "mtime")]
    Time,
    Atime,
    Ctime,
    Extension,
}
