//! Larder against the clock.

pub(crate) mod peers; // whole flows, in turns with restic
pub(crate) mod network; // backup and restore over a long line, in turns with restic
pub(crate) mod prune; // what nobody needs any more, in turns with restic
pub(crate) mod memory; // memory as it is after a while
