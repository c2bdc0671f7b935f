//! Directories that are kept open, the most recently used ones.
//!
//! In: descriptors by path. Out: the same, as long as not too many others were used meanwhile.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How many directories stay open: far below the usual limit of descriptors, 1024 on Linux and 256 on macOS.
const OPEN_MAX: usize = if cfg!(target_os = "macos") { 64 } else { 256 };

/// Open directories by path.
#[derive(Debug, Default)]
pub(in crate::fs) struct KeptDirs(Mutex<Cache>);

#[derive(Debug, Default)]
struct Cache {
    open: HashMap<PathBuf, Kept>,
    tick: u64,
}

#[derive(Debug)]
struct Kept {
    directory: Arc<OwnedFd>,
    used: u64,
}

impl KeptDirs {
    /// Keeps a directory open.
    pub(in crate::fs) fn keep(&self, path: &Path, directory: Arc<OwnedFd>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.tick += 1;
        let used = cache.tick;
        cache.open.insert(path.to_owned(), Kept { directory, used });
        if cache.open.len() > OPEN_MAX {
            // The older half goes at once, so that one addition costs little on average.
            let mut ticks: Vec<u64> = cache.open.values().map(|kept| kept.used).collect();
            let (_, median, _) = ticks.select_nth_unstable(OPEN_MAX / 2);
            let median = *median;
            cache.open.retain(|_, kept| kept.used > median);
        }
    }

    /// The directory, if it is still open.
    pub(in crate::fs) fn look_up(&self, path: &Path) -> Option<Arc<OwnedFd>> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.tick += 1;
        let used = cache.tick;
        let kept = cache.open.get_mut(path)?;
        kept.used = used;
        Some(Arc::clone(&kept.directory))
    }

    /// Forgets a directory and all below it, because they were removed.
    pub(in crate::fs) fn forget(&self, path: &Path) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.open.retain(|kept, _| !kept.starts_with(path));
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::*;

    #[test]
    fn oldest_directories_are_closed_first_and_used_ones_stay() {
        let directories = KeptDirs::default();
        let fd = Arc::new(rustix::fs::open("/", OFlags::RDONLY, Mode::empty()).unwrap());
        let name = |number: usize| PathBuf::from(format!("/{number}"));
        directories.keep(&name(0), Arc::clone(&fd));
        for number in 1..=OPEN_MAX {
            assert!(directories.look_up(&name(0)).is_some());
            directories.keep(&name(number), Arc::clone(&fd));
        }
        assert!(directories.look_up(&name(0)).is_some());
        assert!(directories.look_up(&name(1)).is_none());
        assert!(directories.look_up(&name(OPEN_MAX)).is_some());
        assert!(directories.0.lock().unwrap().open.len() <= OPEN_MAX);
    }

    #[test]
    fn removed_directory_is_forgotten_with_all_below_it() {
        let directories = KeptDirs::default();
        let fd = Arc::new(rustix::fs::open("/", OFlags::RDONLY, Mode::empty()).unwrap());
        for path in ["a", "a/b", "a/b/c", "ab"] {
            directories.keep(Path::new(path), Arc::clone(&fd));
        }
        directories.forget(Path::new("a/b"));
        let left = ["a", "a/b", "a/b/c", "ab"].map(|path| directories.look_up(Path::new(path)).is_some());
        assert_eq!(left, [true, false, false, true]);
    }
}
