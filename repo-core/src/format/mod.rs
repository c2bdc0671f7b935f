//! Shapes on disk: bytes ⇄ typed records, pure.
//!
//! In: decrypted bytes of a repository file or blob. Out: records, and the same bytes again. The JSON is
//! byte for byte what Go's `encoding/json` writes, because names are hashes of it. Never does I/O, never
//! panics on any input. The format itself is restic's; section numbers refer to its design document.

mod error;
pub mod limits;
pub mod json;

mod checked;
mod config;
mod index_file;
mod key_file;
mod lock;
mod isprint;
mod name;
mod node;
mod mode;
mod pack_header;
mod place;
mod snapshot;
mod tree;

pub use checked::{CheckRun, Checked};
pub use config::{ChunkerField, Config};
pub use error::FormatError;
pub use index_file::{IndexFile, IndexedBlob, IndexedPack, MarkedPack};
pub use key_file::{KeyFile, MasterKeyJson};
pub use lock::Lock;
pub use mode::Mode;
pub use name::{NameError, checked_name, quote_name};
pub use node::{Node, NodeKind, Xattr};
pub use pack_header::{HeaderError, PackHeader};
pub use place::Place;
pub use snapshot::{Snapshot, Summary};
pub use tree::{OrderError, Tree, TreeWriter};
