//! The engine of Larder: everything a backup repository can do.
//!
//! Silent, without a terminal, without environment variables, without async. The rooms stand in reading
//! order, and a room uses only rooms declared above it; `ARCHITECTURE.md` explains the house.
//!
//! # From a first backup to a verified one
//!
//! ```
//! use std::sync::Arc;
//!
//! use repo_core::backend::MemoryBackend;
//! use repo_core::snapshots::{self, Filter, Wanted};
//! use repo_core::walk::Walk;
//! use repo_core::{ArchiveOptions, CheckOptions, Context, InitOptions, LocalSource, Repository, RestoreOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # std::fs::write(folder.path().join("letter.txt"), "Dear reader")?;
//! # let folder = folder.path().to_owned();
//! let context = Context::new();
//! let storage = Arc::new(MemoryBackend::new()); // or `backends::open(&context, &"/srv/backup".parse()?, …)?`
//! let repository = Repository::init(&context, storage, &"password".into(), &InitOptions::default())?;
//! let options = ArchiveOptions { tags: vec!["first".into()], ..ArchiveOptions::default() };
//! let report = repo_core::archive(&context, &repository, &LocalSource::new(), &[folder], &options)?;
//! assert!(report.skipped.is_empty(), "everything could be read");
//!
//! let latest = snapshots::find(&context, &repository, &Wanted::LATEST, &Filter::default())?;
//! let reader = repository.reader(&context)?;
//! for entry in Walk::new(&reader, latest.snapshot.tree, "/") {
//!     println!("{}", entry?.path.display());
//! }
//! # let target = tempfile::tempdir()?;
//! # let target = target.path();
//! repo_core::restore(&context, &repository, &latest.snapshot, target, &RestoreOptions::default())?;
//! assert!(repo_core::check(&context, &repository, &CheckOptions::default())?.is_sound());
//! # Ok(())
//! # }
//! ```
//!
//! # What to know
//!
//! - A [`Context`] comes first everywhere: who is told about progress ([`Observer`]), who may stop the run
//!   ([`Cancel`]), clock and randomness. An operation that is stopped leaves a valid repository.
//! - Options are plain structs with a [`Default`]: name what matters, take the rest with `..`. Fields are added
//!   over time, so always end with `..Options::default()`.
//! - What could not be read is data in the report ([`ops::archive::Report::skipped`]), never a log line, and does
//!   not end a run. Errors name the thing and leave the cause to `source`; [`context::with_causes`] joins both.
//! - Everything blocks. In an async program call it on a thread that may wait, such as those of tokio's
//!   `spawn_blocking`; the `backends` crate shows how. Everything here is `Send + Sync`.
//! - Your own storage implements [`backend::Backend`] and proves it with [`backend::conformance`]; files that are
//!   none come from your own [`fs::source::Source`]. The folder `examples` has a program for each.

#![deny(unsafe_code, missing_docs)]

// ── names ──────────────────────────────────────────────────────────────────────────────────────────────────
pub mod id; // what things are called
pub mod time; // instants, and how records write them
pub mod context; // what a run takes from outside: observer, cancellation, clock, randomness
pub mod parallel; // bounded queues and worker threads; the only room that starts a thread

// ── bytes to bytes ─────────────────────────────────────────────────────────────────────────────────────────
pub mod chunker; // file bytes → chunks
pub mod hash; // bytes → id
pub mod compress; // bytes ⇄ zstd frames
pub mod crypto; // bytes ⇄ encrypted, authenticated bytes; passwords → keys

// ── shapes on disk ─────────────────────────────────────────────────────────────────────────────────────────
pub mod format; // bytes ⇄ typed records, pure
pub mod blob; // chunk or tree ⇄ sealed blob
pub mod pack; // sealed blobs ⇄ one pack
pub mod index; // which pack holds a blob, in memory

// ── the two shores ─────────────────────────────────────────────────────────────────────────────────────────
pub mod filter; // include and exclude patterns: path → keep or skip
pub mod fs; // the user's files: source, target, metadata
pub mod backend; // the storage

// ── the waist ──────────────────────────────────────────────────────────────────────────────────────────────
pub mod repository; // backend + key + config as one thing

// ── views ──────────────────────────────────────────────────────────────────────────────────────────────────
pub mod snapshots; // list, select, group, find the parent
pub mod walk; // stored trees as a stream
pub mod search; // names of all trees, kept near
pub mod view; // all of it as one tree of folders that can be browsed

// ── verbs ──────────────────────────────────────────────────────────────────────────────────────────────────
pub mod ops; // one folder or file per operation

// ── what nearly every user needs ───────────────────────────────────────────────────────────────────────────
pub use backend::Backend;
pub use context::{Cancel, Context, Event, MemoryLimit, Observer};
pub use fs::source::LocalSource;
pub use ops::archive::{ArchiveOptions, Destination, archive, archive_several};
pub use ops::check::{CheckOptions, check};
pub use ops::restore::{RestoreOptions, restore};
pub use repository::{InitOptions, OpenOptions, Password, Reader, Repository};
