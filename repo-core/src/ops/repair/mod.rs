//! Repair: mends what is left of a damaged repository, and never makes it worse.
//!
//! ```text
//! packs.rs      packs whose content is damaged: what is still readable moves to new packs, then they go
//! index.rs      the index, from what packs say they hold
//! fetch.rs      what is lost here and whole in another repository
//! snapshots/    snapshots of which something is lost: new ones without that
//! ```
//!
//! In this order: once the index has forgotten a pack whose header is lost, nothing of it can be found any more, and
//! what is lost for good is known only when the index is right.

mod fetch;
mod index;
mod packs;
mod snapshots;

pub use fetch::{FetchError, FetchPlan, FetchReport, plan_fetch};
pub use index::{RepairIndexError, RepairIndexOptions, RepairIndexReport, repair_index};
pub use packs::{DamagedBlob, PackSalvage, PacksPlan, PacksReport, RepairPacksError, plan_repair_packs};
pub use snapshots::{
    Cut, Fate, Loss, OldSnapshots, REPAIRED, RepairSnapshotsError, SnapshotFailure, SnapshotOutcome,
    SnapshotRepair, SnapshotsPlan, TreeError, plan_repair_snapshots,
};
