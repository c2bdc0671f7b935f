//! All caches below one base folder: which there are, how old and how large, and away with them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::backend::cache::folder::{children, make_folder, timestamp};
use crate::backend::cache::last_key;
use crate::id::Id;
use crate::time::Timestamp;

/// How the folders of temporary caches begin; digits follow.
const TEMPORARY: &str = "restic-check-cache-";

/// One cache below a base folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFolder {
    /// The id of its repository, or the name of a temporary cache.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// When it was last used.
    pub used: Timestamp,
}

impl CacheFolder {
    /// All caches below a base folder, the one that was not used for longest first. A base that is not there has
    /// none.
    pub fn all(base: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(base) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !is_cache(&name) {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => {
                    found.push(Self { name, path: entry.path(), used: timestamp(metadata.modified()?) });
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {} // no folder, or just removed by somebody
            }
        }
        found.sort_by(|a, b| (a.used, &a.name).cmp(&(b.used, &b.name)));
        Ok(found)
    }

    /// Makes a folder that is to be the base of one run's cache, and to be removed at its end.
    pub fn temporary(base: &Path, number: u64) -> io::Result<Self> {
        let name = format!("{TEMPORARY}{number}");
        let path = base.join(&name);
        make_folder(&path)?;
        let used = timestamp(fs::metadata(&path)?.modified()?);
        Ok(Self { name, path, used })
    }

    /// Whether it belongs to no repository, but to one run of a check.
    pub fn is_temporary(&self) -> bool {
        self.name.starts_with(TEMPORARY)
    }

    /// Whether it was not used for so long.
    pub fn is_older_than(&self, age: Duration, now: Timestamp) -> bool {
        now.since(self.used) > age
    }

    /// Its files' bytes together.
    pub fn size(&self) -> io::Result<u64> {
        let (mut sum, mut open) = (0, vec![self.path.clone()]);
        while let Some(folder) = open.pop() {
            for path in children(&folder) {
                match fs::symlink_metadata(&path) {
                    Ok(metadata) if metadata.is_dir() => open.push(path),
                    Ok(metadata) => sum += metadata.len(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {} // in use right now
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(sum)
    }

    /// Removes it with all that is in it.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }

    /// Forgets which keys opened repositories, where that was noted so long ago.
    pub fn forget_keys(base: &Path, age: Duration, now: Timestamp) {
        for path in children(&base.join(last_key::FOLDER)) {
            let used = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            if used.is_ok_and(|used| now.since(timestamp(used)) > age) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn is_cache(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.parse::<Id>().is_ok() || name.strip_prefix(TEMPORARY).is_some_and(digits)
}
