//! JSON exactly as Go's `encoding/json` writes and reads it.
//!
//! Names in a repository are hashes of such text, so one different escape would change the id of every
//! directory above it. General JSON crates escape less, refuse text that Go reads, and know no `omitempty`;
//! hence a writer and a pull reader of our own, both small, both over plain byte slices.

mod text;
mod read;
mod value;
mod write;

pub(crate) use read::{Key, Reader};
pub(crate) use value::{Base64, Value};
pub use write::{Array, Object, write_id, write_number, write_string};
pub(crate) use write::{is_plain, write_escaped, write_signed};

/// Fields that a record does not know: key and raw JSON value, in the order read.
pub type Unknown = Vec<(String, Box<str>)>;
