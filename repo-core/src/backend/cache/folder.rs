//! The folder of one repository's cache, laid out as restic does it.
//!
//! ```text
//! base/CACHEDIR.TAG                  backup programs leave the folder out
//! base/<id of the repository>/       0700; its time of change is that of the last use
//!   version                          `1`
//!   larder-…                         notes of ours, sealed; restic does not look at them
//!   snapshots/4f/4fab…  index/  data/   stored bytes as the repository has them, 0600
//! ```
//!
//! Entries are written under a temporary name and renamed, so whoever shares the folder sees whole ones only.
//! Nothing is synced: what a power cut tears does not match its name and is dropped when it is read.
//! Source: repository format, section "Cache".

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use crate::backend::cache::CacheError;
use crate::backend::layout;
use crate::hash::Hasher;
use crate::id::{FileId, FileKind, Id};
use crate::time::Timestamp;

/// By this line, and this name, programs know a folder that is not worth a backup (bford.info/cachedir).
const TAG: (&str, &str) = ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
/// The layout of the folder.
const VERSION: u32 = 1;
/// What begins like this is being written, or was left behind by a program that ended early.
const TEMPORARY: &str = "tmp-";
/// After this time nobody is writing it any more.
const ABANDONED: Duration = Duration::from_hours(24);

/// One repository's folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens the folder of a repository below `base`, making what is missing, and marks it as used now.
    ///
    /// Also gives whether it is new. `token` makes temporary names unique.
    pub(super) fn open(base: &Path, repository: &Id, token: u64) -> Result<(Self, bool), CacheError> {
        let folder = Self { path: base.join(repository.to_string()) };
        let failed = |source| CacheError::Folder { path: folder.path.clone(), source };
        let version = match fs::read_to_string(folder.path.join("version")) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let is_new = version.is_empty();
        if is_new {
            make_folder(base).and_then(|()| make_folder(&folder.path)).map_err(failed)?;
            let version = VERSION.to_string();
            store(&folder.path, "version", version.as_bytes(), token).map_err(failed)?;
        } else if version.parse::<u32>().is_ok_and(|version| version > VERSION)
            || version.parse::<u32>().is_err()
        {
            return Err(CacheError::Version { path: folder.path, version });
        }
        // Neither keeps anybody from using what is there.
        let _ = tag(base, token);
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = utimensat(
            CWD,
            &folder.path,
            &Timestamps { last_access: now, last_modification: now },
            rustix::fs::AtFlags::empty(),
        );
        Ok((folder, is_new))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a whole entry of at most `limit` bytes, unverified. `false` if there is none, or only a longer one.
    pub(super) fn read(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        let mut read = || {
            let mut entry = File::open(self.entry(file))?;
            let len = entry.metadata()?.len();
            if len > limit {
                return Ok(false);
            }
            buffer.reserve_exact(usize::try_from(len).unwrap_or_default());
            let found = (&mut entry).take(limit).read_to_end(buffer)?;
            io::Result::Ok(found as u64 == len)
        };
        read().unwrap_or(false)
    }

    /// Reads a part of an entry that is known to be sound and long enough.
    pub(super) fn read_range(
        &self,
        file: FileId,
        range: &Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        buffer.clear();
        let len = usize::try_from(range.end - range.start).map_err(|_| ErrorKind::OutOfMemory)?;
        let entry = File::open(self.entry(file))?;
        buffer.resize(len, 0);
        entry.read_exact_at(buffer, range.start)
    }

    /// Compares an entry with its name and gives its length; `None` if there is none that is sound.
    ///
    /// One that is not sound is removed.
    pub(super) fn verify(&self, file: FileId) -> Option<u64> {
        let mut entry = File::open(self.entry(file)).ok()?;
        let (mut hasher, mut len) = (Hasher::new(), 0);
        let mut piece = vec![0; 1 << 17];
        loop {
            match entry.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(piece.get(..count).unwrap_or_default());
                    len += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        if hasher.finish() == file.id {
            return Some(len);
        }
        self.remove(file);
        None
    }

    /// Stores an entry; whole or not at all.
    pub(super) fn store(&self, file: FileId, content: &[u8], token: u64) -> io::Result<()> {
        let folder = self.shard(file);
        let name = file.id.to_string();
        match store(&folder, &name, content, token) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_folder(&folder)?;
                store(&folder, &name, content, token)
            }
            stored => stored,
        }
    }

    /// Removes an entry, if it is there and can be removed.
    pub(super) fn remove(&self, file: FileId) {
        // One that stays is compared with its name before it is used, like any other.
        let _ = fs::remove_file(self.entry(file));
    }

    /// The names of all entries of a kind. Removes what was left behind under temporary names.
    pub(super) fn entries(&self, kind: FileKind, now: Timestamp) -> HashSet<Id> {
        let mut found = HashSet::new();
        for shard in children(&self.path.join(kind.folder())) {
            for entry in children(&shard) {
                let Some(name) = entry.file_name().and_then(|name| name.to_str()) else { continue };
                if let Some(id) = layout::parse_name(name)
                    && self.entry(FileId { kind, id }) == entry
                {
                    found.insert(id);
                } else if name.starts_with(TEMPORARY) && age(&entry, now) > ABANDONED {
                    let _ = fs::remove_file(&entry);
                }
            }
        }
        found
    }

    /// How long ago an entry was written.
    pub(super) fn age(&self, file: FileId, now: Timestamp) -> Duration {
        age(&self.entry(file), now)
    }

    /// A note that lies beside the entries.
    pub(super) fn note(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }

    /// Stores a note; whole or not at all.
    pub(super) fn store_note(
        &self,
        name: &str,
        token: u64,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        store_with(&self.path, name, token, write)
    }

    fn shard(&self, file: FileId) -> PathBuf {
        self.path.join(file.kind.folder()).join(layout::shard(&file.id))
    }

    fn entry(&self, file: FileId) -> PathBuf {
        self.shard(file).join(file.id.to_string())
    }
}

/// Writes a file of that name into a folder; whole or not at all.
pub(super) fn store(folder: &Path, name: &str, content: &[u8], token: u64) -> io::Result<()> {
    store_with(folder, name, token, |file| file.write_all(content))
}

fn store_with(
    folder: &Path,
    name: &str,
    token: u64,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = folder.join(format!("{TEMPORARY}{token:016x}"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let stored = write(&mut file).and_then(|()| fs::rename(&temporary, folder.join(name)));
    if stored.is_err() {
        // Best effort: the name says that it is temporary, and it is removed one day.
        let _ = fs::remove_file(&temporary);
    }
    stored
}

/// Makes a folder and all that is missing above it, for this user alone.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn tag(base: &Path, token: u64) -> io::Result<()> {
    let (name, signature) = TAG;
    if fs::symlink_metadata(base.join(name)).is_ok() {
        return Ok(());
    }
    store(base, name, signature.as_bytes(), token)
}

/// What lies in a folder; nothing if it cannot be listed.
pub(super) fn children(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// How long ago something was changed; zero if nobody knows.
fn age(path: &Path, now: Timestamp) -> Duration {
    let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    changed.map_or(Duration::ZERO, |changed| now.since(timestamp(changed)))
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    time.duration_since(UNIX_EPOCH).map_or(Timestamp::default(), |since| Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    })
}
