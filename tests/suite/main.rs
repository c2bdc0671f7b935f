//! Larder's tests that need more than one room, in one program.

#![allow(missing_docs)]

mod golden_records;
mod golden_trees;
mod tidy;
