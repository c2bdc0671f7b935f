//! Repair: mends what is left of a damaged repository, and never makes it worse.
//!
//! ```text
//! packs.rs   packs whose content is damaged: what is still readable moves to new packs, then they go
//! index.rs   the index, from what packs say they hold
//! ```
//!
//! In this order: once the index has forgotten a pack whose header is lost, nothing of it can be found any more.

mod index;

pub use index::{RepairIndexError, RepairIndexOptions, RepairIndexReport, repair_index};
