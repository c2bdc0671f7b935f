//! Verbs: one folder or file per operation. Operations never use each other.

pub mod archive; // files → a snapshot
pub mod check; // is everything there, and what it should be
pub mod restore; // a snapshot → files below a directory
pub mod forget; // snapshots + rules → those that go
pub mod tag; // other tags, protection included
pub mod rewrite; // new snapshots from old ones
pub mod status; // what differs from a snapshot now
pub mod query; // ls, find, diff, stats, dump
pub mod prune; // frees what no snapshot needs
pub mod copy; // snapshots of one repository into another
pub mod repair; // mends what is left of a damaged repository
pub mod recover; // a snapshot of trees that nobody refers to
pub mod migrate; // version 1 → version 2
