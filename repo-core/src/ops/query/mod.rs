//! Query: answers about snapshots. Changes nothing, takes no lock: the caller holds a shared one.
//!
//! Everything works on a [`Reader`](crate::repository::Reader) and on trees: which snapshots are meant, and which
//! folder of them, is decided before (`snapshots::find`, `walk::lookup_dir`).

pub mod ls; // the entries of a snapshot
pub mod dump; // the content of a file, or of a folder
pub mod stats; // how much there is
pub mod diff; // what changed from one tree to another
pub mod find; // entries by name or by blob
pub mod log; // all versions of a file
pub mod usage; // what some snapshots alone need, by folder
