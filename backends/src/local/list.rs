//! Lists folders: names and sizes, everything or an error.
//!
//! Reads a folder once and asks each entry's size by the open folder, so no path is walked twice. The 256
//! folders of packs are shared out among threads: on a network mount each answer takes a round trip. An entry
//! that vanishes between the two questions was removed by somebody; it is left out like one that never was.

use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use repo_core::backend::{Listed, layout};
use repo_core::id::{FileId, FileKind, Id};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// Fewer threads would leave a network mount idle, more would only contend.
const THREADS_MIN: usize = 4;
const THREADS_MAX: usize = 16;

/// The config, if it is there.
pub(super) fn config(root: &Path) -> io::Result<Vec<Listed>> {
    match root.join(layout::path(FileId::CONFIG)).metadata() {
        Ok(config) if config.is_file() => Ok(vec![Listed { id: FileId::CONFIG.id, size: config.len() }]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(root),
        Err(error) => Err(error),
        Ok(_) => Ok(Vec::new()),
    }
}

/// All files of a kind that has one flat folder.
pub(super) fn folder(root: &Path, kind: FileKind) -> io::Result<Vec<Listed>> {
    let mut all = Vec::new();
    match open(CWD, root.join(kind.folder()))? {
        Some(folder) => entries(folder, |_| true, &mut all)?,
        None => return missing(root),
    }
    Ok(all)
}

/// All packs.
pub(super) fn packs(root: &Path, connections: usize) -> io::Result<Vec<Listed>> {
    let Some(packs) = open(CWD, root.join(FileKind::Pack.folder()))? else { return missing(root) };
    let shards: Vec<String> = layout::shards().collect();
    let next = AtomicUsize::new(0);
    let result = Mutex::new(Ok(Vec::new()));
    let work = || {
        let mut mine = Vec::new();
        let done = loop {
            let Some(shard) = shards.get(next.fetch_add(1, Ordering::Relaxed)) else { break Ok(()) };
            let in_place = |id: &Id| layout::shard(id) == *shard;
            match open(&packs, shard.as_str()) {
                Ok(None) => {}
                Ok(Some(folder)) => match entries(folder, in_place, &mut mine) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                Err(error) => break Err(error),
            }
        };
        let mut all = result.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match (&mut *all, done) {
            (Ok(all), Ok(())) => all.append(&mut mine),
            (Ok(_), Err(error)) => {
                // The others find no more work.
                next.store(shards.len(), Ordering::Relaxed);
                *all = Err(error);
            }
            (Err(_), _) => {}
        }
    };
    thread::scope(|scope| {
        for _ in 1..connections.clamp(THREADS_MIN, THREADS_MAX) {
            scope.spawn(work);
        }
        work();
    });
    result.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A folder that is missing in a repository is empty; a repository that is missing is an error.
fn missing(root: &Path) -> io::Result<Vec<Listed>> {
    root.metadata().map(|_| Vec::new())
}

/// Opens a folder, if it is there.
fn open(at: impl AsFd, path: impl rustix::path::Arg) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(at, path, flags, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Adds the regular files of a folder that are named by an id which belongs here.
fn entries(folder: OwnedFd, belongs: impl Fn(&Id) -> bool, all: &mut Vec<Listed>) -> io::Result<()> {
    let mut reader = Dir::new(folder)?;
    while let Some(entry) = reader.read() {
        let entry = entry?;
        let Some(id) = id_of(entry.file_name()).filter(&belongs) else { continue };
        let stat = match statat(reader.fd()?, entry.file_name(), AtFlags::empty()) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            all.push(Listed { id, size: u64::try_from(stat.st_size).unwrap_or_default() });
        }
    }
    Ok(())
}

fn id_of(name: &CStr) -> Option<Id> {
    layout::parse_name(name.to_str().ok()?)
}
