//! Storage behind the one blocking trait: where a repository lies becomes a [`Backend`](repo_core::backend::Backend).
//!
//! In: a [`Location`] as the user wrote it and extended [`Options`]. Out: a backend that keeps every promise of
//! `repo_core::backend`. This is the only crate that knows async, and no trace of it leaves. Nothing here knows
//! what the stored bytes mean, tries again, or reads the environment.

#![forbid(unsafe_code)]

pub mod location; // what the user typed → where a repository lies
pub mod options; // -o name=value
mod runtime; // the one tokio runtime, the one block_on
mod operator; // trait Backend for an opendal operator
mod local; // trait Backend for a folder
mod open; // location + options → backend

pub use local::LocalBackend;
pub use location::{Location, LocationError};
pub use open::{OpenError, open};
pub use options::{LocalOptions, Options, OptionsError, RemoteOptions};
