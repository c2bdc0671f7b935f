//! A source that is read in one place and recorded in another.
//!
//! In: a source, and for a recorded folder the place where its content really lies: a mounted snapshot of the file
//! system, a disk of another machine, a staging area. Out: the same entries under the recorded paths, so that parents
//! are found and trees keep their ids wherever the content is mounted this time. Errors name the place that was read.

use std::path::{Path, PathBuf};

use crate::fs::SourceError;
use crate::fs::metadata::{EntryMeta, Xattrs};

use super::{Detail, Links, Listing, OpenFile, Source};

/// Reads folders somewhere else than they are recorded.
///
/// Directories above a recorded folder are read where they stand; those that do not exist there are taken to be plain
/// directories with the times of what is read.
#[derive(Debug)]
pub struct RelocatedSource<S> {
    inner: S,
    /// Recorded, and where it is read.
    places: Vec<(PathBuf, PathBuf)>,
}

impl<S: Source> RelocatedSource<S> {
    /// Relocates nothing yet.
    pub fn new(inner: S) -> Self {
        Self { inner, places: Vec::new() }
    }

    /// What is recorded at and below `recorded` is read at `read`. Both are absolute.
    #[must_use]
    pub fn reading(mut self, recorded: impl Into<PathBuf>, read: impl Into<PathBuf>) -> Self {
        self.places.push((recorded.into(), read.into()));
        // The innermost place that fits decides.
        self.places.sort_by_key(|(recorded, _)| std::cmp::Reverse(recorded.components().count()));
        self
    }

    /// Where a recorded path is read.
    fn place(&self, path: &Path) -> PathBuf {
        let inside = |(recorded, read): &(PathBuf, PathBuf)| {
            let rest = path.strip_prefix(recorded).ok()?;
            Some(if rest.as_os_str().is_empty() { read.clone() } else { read.join(rest) })
        };
        self.places.iter().find_map(inside).unwrap_or_else(|| path.to_owned())
    }

    /// A directory that only exists on record.
    fn only_recorded(&self, path: &Path) -> Option<EntryMeta> {
        let (_, read) = self.places.iter().find(|(recorded, _)| recorded.starts_with(path))?;
        let meta = self.inner.stat(read, Links::Follow).ok()?;
        Some(EntryMeta { uid: meta.uid, gid: meta.gid, ..EntryMeta::dir(meta.mtime) })
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Source> Source for RelocatedSource<S> {
    fn list(&self, dir: &Path, detail: Detail) -> Result<Listing, SourceError> {
        self.inner.list(&self.place(dir), detail)
    }

    fn stat(&self, path: &Path, links: Links) -> Result<EntryMeta, SourceError> {
        let found = self.inner.stat(&self.place(path), links);
        found.or_else(|error| match self.only_recorded(path) {
            Some(meta) if error.is_vanished() => Ok(meta),
            _ => Err(error),
        })
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        self.inner.open(&self.place(path))
    }

    fn reads_once(&self) -> bool {
        self.inner.reads_once()
    }

    fn xattrs(&self, path: &Path, links: Links) -> Xattrs {
        let place = self.place(path);
        if self.inner.stat(&place, links).is_err() {
            Xattrs::default()
        } else {
            self.inner.xattrs(&place, links)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::source::LocalSource;

    #[test]
    fn innermost_place_decides_where_a_path_is_read() {
        let source = RelocatedSource::new(LocalSource::new())
            .reading("/home", "/snapshots/home")
            .reading("/home/ann/mail", "/mail/ann");
        let check =
            |path: &str, expected: &str| assert_eq!(source.place(Path::new(path)), Path::new(expected));
        check("/home", "/snapshots/home");
        check("/home/ann/letters", "/snapshots/home/ann/letters");
        check("/home/ann/mail", "/mail/ann");
        check("/home/ann/mail/1", "/mail/ann/1");
        check("/homes/x", "/homes/x");
        check("/etc", "/etc");
    }

    #[test]
    fn directories_that_exist_only_on_record_are_plain_and_others_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), "content").unwrap();
        let source = RelocatedSource::new(LocalSource::new()).reading("/no/such/place", folder.path());
        assert!(source.stat(Path::new("/no/such"), Links::Follow).unwrap().is_dir());
        assert_eq!(source.stat(Path::new("/no/such/place/f"), Links::Keep).unwrap().size, 7);
        assert!(source.stat(Path::new("/no/other"), Links::Follow).unwrap_err().is_vanished());
        let listing = source.list(Path::new("/no/such/place"), Detail::Metadata).unwrap();
        assert_eq!(listing.entries[0].name, "f");
        assert_eq!(source.open(Path::new("/no/such/place/f")).unwrap().meta().size, 7);
    }
}
