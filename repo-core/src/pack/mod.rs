//! Sealed blobs ⇄ one pack, the file that holds them.
//!
//! In: sealed blobs. Out: a finished pack with its name, and the other way round few large reads for many
//! blobs of a pack. No I/O here.

mod builder;
mod ranges;
mod size;

pub use builder::{FinishedPack, PackBuilder, SealedPack};
pub use ranges::{Joined, join};
pub use size::{PackSize, PackSizeError};
