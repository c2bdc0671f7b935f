//! Which pack holds a blob, in memory.
//!
//! In: what index files list. Out: the places of a blob, every copy of it, and what a pack should hold.
//! [`Index`] is frozen once built; [`Pending`] knows the blobs that the present run adds. Pure, no I/O.
//!
//! ```text
//! entry: id 32 + pack 4 + offset 4 + stored length 4 + plain length 4 = 48 bytes
//! directory: one 4-byte position per 16 entries = 0.25 bytes per entry
//! pack: id 32 + counts 32 = 64 bytes
//! so 10 million blobs in 100,000 packs take 490 MB
//! ```

mod frozen;
mod pending;
mod blob_set;

pub use blob_set::BlobSet;
pub use frozen::{BlobCopy, Builder, Index, PackSummary};
pub use pending::Pending;
