//! The names in a directory.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::format::NodeKind;

/// A name, and what it names if the system tells that along.
pub(in crate::fs) type Name = (OsString, Option<NodeKind>);

/// All names of an open directory that was not read before, in the order the system gives them.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(in crate::fs) fn read_names(directory: &OwnedFd) -> Result<Vec<Name>, Errno> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut raw = rustix::fs::RawDir::new(directory, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        push(&mut names, entry.file_name().to_bytes(), entry.file_type());
    }
    Ok(names)
}

/// All names of an open directory that was not read before, in the order the system gives them.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(in crate::fs) fn read_names(directory: &OwnedFd) -> Result<Vec<Name>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        push(&mut names, entry.file_name().to_bytes(), entry.file_type());
    }
    Ok(names)
}

fn push(names: &mut Vec<Name>, name: &[u8], file_type: FileType) {
    if name == b"." || name == b".." {
        return;
    }
    let kind = match file_type {
        FileType::Unknown => None,
        known => Some(super::kind(known)),
    };
    names.push((OsStr::from_bytes(name).to_owned(), kind));
}
