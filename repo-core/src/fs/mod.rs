//! The user's files: where they are read, where they are restored, and what they are besides their content.
//!
//! In: paths of the machine. Out: entries, bytes and metadata, and the way back. Knows nothing of repositories;
//! the only words taken from there are nodes. Nothing here follows a symbolic link that it was not told to.

pub mod error; // why an entry could not be read or written
pub mod metadata; // what an entry is besides its content: machine ⇄ node
mod unix; // the calls that source and target share
pub mod source; // where files are read
pub mod target; // where files are restored
pub mod sink; // where one file's content goes: images, devices, pipes

pub use error::{FaultKind, Operation, SourceError, TargetError};
