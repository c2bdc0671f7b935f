//! Stored trees as a stream.
//!
//! In: a root tree. Out: its entries in order with their paths, one entry by its path, or all trees that can
//! be reached. Memory: one tree per level, or 33 bytes per different tree. Never recursive, so no input can
//! exhaust the stack.

mod ahead;
mod locate;
mod lookup;
mod reach;
mod stream;

pub(crate) use ahead::Ahead;
pub use locate::{Child, Folders, Located, Locator};
pub use lookup::{LookupError, lookup, lookup_dir};
pub use reach::{Reached, SeenTrees, reach};
pub(crate) use stream::child_path;
pub use stream::{Entry, Walk, WalkError};
