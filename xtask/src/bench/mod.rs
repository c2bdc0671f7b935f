//! Larder against the clock.

pub(crate) mod peers; // whole flows, in turns with restic
