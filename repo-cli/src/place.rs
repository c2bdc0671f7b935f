//! A path as it was typed → where it is on this machine.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use repo_core::filter::clean;

/// The path from the root, without `.` and `..`. Links are not followed: snapshots name files as they were typed.
pub fn absolute(typed: &OsStr) -> Result<PathBuf> {
    let path = std::path::absolute(Path::new(typed)).context("cannot find out the current folder")?;
    Ok(cleaned(&path))
}

/// The path as a tree would have it: from the root, whatever the current folder is.
pub fn in_tree(typed: &OsStr) -> PathBuf {
    cleaned(&Path::new("/").join(typed))
}

fn cleaned(path: &Path) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(clean(path.as_os_str().as_encoded_bytes())))
}
