//! What people and programs see: text in restic's words, JSON in restic's shape, progress.

pub mod amount; // numbers for people
pub mod float; // numbers with a fraction, for JSON
pub mod escape; // names from outside, made harmless
pub mod records; // records of a repository as JSON
pub mod entry; // one entry of a snapshot as a line or as JSON
pub mod rate; // how fast, and how long still
pub mod snapshot_table; // snapshots as a table
pub mod table; // rows → aligned lines
pub mod screen; // standard output and error, and the status on a terminal
pub mod progress; // events of the core → what is seen while a command runs
pub mod foremost; // several repositories that get the same backup, as one
pub mod trouble; // calls to the storage that are made again
pub mod views; // what each kind of command shows
