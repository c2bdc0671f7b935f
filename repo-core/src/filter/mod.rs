//! Include and exclude patterns: path → keep or skip.
//!
//! In: paths as raw bytes, and what a user typed. Out: decisions, exactly as restic decides. Never reads a file
//! or the environment: contents and variables are handed in.

mod clean; // paths in their shortest form
mod glob; // one name against one wildcard
mod marker; // directories that a file in them excludes
mod patterns; // paths against lists of patterns
mod pattern_file; // patterns from a text file
mod select; // all that a backup leaves out, all that a restore wants

pub use clean::clean;
pub use marker::{Marker, MarkerError};
pub use pattern_file::{decode_text, pattern_lines};
pub use patterns::{Case, GlobMode, GlobModeError, InvalidPatterns, Matched, Patterns};
pub use select::{Excludes, Selected, Selection};
