//! Shapes on disk: bytes ⇄ typed records, pure.
//!
//! In: decrypted bytes of a repository file or blob. Out: records, and the same bytes again. The JSON is
//! byte for byte what Go's `encoding/json` writes, because names are hashes of it. Never does I/O, never
//! panics on any input. The format itself is restic's; section numbers refer to its design document.

mod node;
mod place;
mod snapshot;

pub use node::{Mode, Node, NodeKind, Xattr};
pub use place::Place;
pub use snapshot::{Snapshot, Summary};
