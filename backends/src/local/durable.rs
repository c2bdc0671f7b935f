//! Makes files and folders that survive a power cut.
//!
//! A file: temporary name in the final folder, write, sync, rename, sync the folder. In this order a crash at
//! any moment leaves the whole file, or nothing but a temporary name. Every folder that is made is synced into
//! its parent before anything in it is acknowledged. A failed sync is never repeated on the same file: the
//! kernel may have dropped the pages, and a second sync would claim success. The whole write fails instead.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::cause::is_unsupported;
use crate::modes::Modes;

/// Below this length asking for the space first costs more than it gives.
const PREALLOCATE_FROM: usize = 1 << 20;

/// Stores a file, replacing what has its name. Afterwards it is durable.
///
/// Returns "not found" if the folder is missing. On failure nothing is left behind.
pub(super) fn write(path: &Path, content: &[u8], modes: Modes) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&temporary)?;
    let stored = fill(file, content).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = stored {
        // Best effort: the name says that it is temporary.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(folder_of(path))?;
    // Against accidents only. Some mounts refuse it, some forget it; the file is stored all the same.
    let _ = fs::set_permissions(path, Permissions::from_mode(modes.file));
    Ok(())
}

/// Removes a file if it is there; `durable` waits until it cannot come back.
pub(super) fn remove(path: &Path, durable: bool) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) if durable => sync_folder(folder_of(path)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a file is there with exactly this content and durable.
pub(super) fn holds(path: &Path, content: &[u8]) -> bool {
    let compare = || {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != content.len() as u64 {
            return Ok(false);
        }
        let mut rest = content;
        let mut piece = vec![0; 1 << 16];
        while !rest.is_empty() {
            let (same, after) = match file.read(&mut piece)? {
                0 => return Ok(false),
                len => (rest.get(..len) == piece.get(..len), rest.get(len..).unwrap_or_default()),
            };
            if !same {
                return Ok(false);
            }
            rest = after;
        }
        tolerate_unsupported(file.sync_all())?;
        sync_folder(folder_of(path))?;
        io::Result::Ok(true)
    };
    compare().unwrap_or(false)
}

/// Makes a folder whose parent exists, unless it is there. Durable.
pub(super) fn make_folder(path: &Path, modes: Modes) -> io::Result<()> {
    if make_folder_unsynced(path, modes)? { sync_folder(folder_of(path)) } else { Ok(()) }
}

/// Makes a folder and all that is missing above it. Durable.
pub(super) fn make_folder_with_parents(path: &Path, modes: Modes) -> io::Result<()> {
    match make_folder(path, modes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.parent().is_some() => {
            make_folder_with_parents(folder_of(path), modes)?;
            make_folder(path, modes)
        }
        made => made,
    }
}

/// Makes a folder unless it is there; returns whether it was made. The caller syncs the parent.
pub(super) fn make_folder_unsynced(path: &Path, modes: Modes) -> io::Result<bool> {
    match DirBuilder::new().mode(modes.folder).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(false),
        Err(error) => return Err(error),
    }
    if modes != Modes::PRIVATE {
        // Undo the umask, but keep an inherited set-group-id bit.
        let now = fs::metadata(path)?.permissions().mode();
        let _ = fs::set_permissions(path, Permissions::from_mode(now | modes.folder));
    }
    Ok(true)
}

/// Waits until the entries of a folder are durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    tolerate_unsupported(File::open(path)?.sync_all())
}

fn fill(mut file: File, content: &[u8]) -> io::Result<()> {
    preallocate(&file, content.len())?;
    file.write_all(content)?;
    tolerate_unsupported(file.sync_all())
}

/// Asks for the space at once: one piece on the disk, and "disk full" before anything is written.
#[cfg(target_os = "linux")]
fn preallocate(file: &File, len: usize) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;

    if len < PREALLOCATE_FROM {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, len as u64) {
        Err(full @ (Errno::NOSPC | Errno::DQUOT)) => Err(full.into()),
        // Any other failure only means that the write has to find its space itself.
        _ => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn preallocate(_file: &File, _len: usize) -> io::Result<()> {
    Ok(())
}

fn tolerate_unsupported(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if is_unsupported(&error) => Ok(()),
        synced => synced,
    }
}

/// `<name>-tmp-<process>-<random>` in the same folder.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(format!("-tmp-{}-{random:016x}", std::process::id()));
    Ok(path.with_file_name(name))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
