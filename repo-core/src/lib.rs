//! The engine of Larder: everything a backup repository can do.
//!
//! Silent, without a terminal, without environment variables, without async. The rooms stand in reading
//! order, and a room uses only rooms declared above it; `ARCHITECTURE.md` explains the house.

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

// ── verbs ──────────────────────────────────────────────────────────────────────────────────────────────────
pub mod ops; // one folder or file per operation
