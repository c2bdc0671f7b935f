//! `list`: what was typed.

use clap::Args;

/// List the ids of one kind of object
#[derive(Debug, Args)]
pub struct List {
    /// blobs, packs, index, snapshots, keys or locks
    #[arg(value_name = "KIND")]
    pub kind: Vec<String>,
}
