//! Include and exclude patterns: path → keep or skip.
//!
//! In: paths as raw bytes, and what a user typed. Out: decisions. Never reads a file or the environment.

mod clean;

pub use clean::clean;
