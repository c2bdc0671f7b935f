//! A source with files that it does not have: a manifest, a database's layout, the description of a machine.
//!
//! In: a source, and files by path with their content. Out: one source that has both; a file of ours stands in front of
//! one of the same path. Directories on the way that the source lacks are plain ones.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::NodeKind;
use crate::fs::metadata::{EntryMeta, Xattrs};
use crate::fs::{FaultKind, Operation, SourceError};
use crate::time::Timestamp;

use super::{Detail, Entry, Links, Listing, OpenFile, Piece, Source};

/// A source, and files of ours among its own.
///
/// ```
/// use std::path::Path;
/// use repo_core::LocalSource;
/// use repo_core::fs::source::{Links, Source, WithFiles};
/// use repo_core::time::Timestamp;
///
/// let time = Timestamp { seconds: 1_700_000_000, nanos: 0 };
/// let source = WithFiles::new(LocalSource::new()).file("/machine/disks.json", time, "[]");
/// assert_eq!(source.stat(Path::new("/machine/disks.json"), Links::Keep)?.size, 2);
/// # Ok::<(), repo_core::fs::SourceError>(())
/// ```
#[derive(Debug)]
pub struct WithFiles<S> {
    inner: S,
    /// By absolute path. 100 bytes and the content each.
    files: BTreeMap<PathBuf, File>,
}

#[derive(Debug, Clone)]
struct File {
    meta: EntryMeta,
    content: Arc<[u8]>,
}

impl<S: Source> WithFiles<S> {
    /// No files yet.
    pub fn new(inner: S) -> Self {
        Self { inner, files: BTreeMap::new() }
    }

    /// A file at an absolute path, readable by everybody, of user and group 0. The same time and length mean the same
    /// content to a later backup.
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>, time: Timestamp, content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let meta = EntryMeta::file(content.len() as u64, time);
        self.file_with(path, meta, content)
    }

    /// The same with all that is to be said of it; kind and size follow from the content.
    #[must_use]
    pub fn file_with(
        mut self,
        path: impl Into<PathBuf>,
        meta: EntryMeta,
        content: impl Into<Vec<u8>>,
    ) -> Self {
        let content: Arc<[u8]> = content.into().into();
        let meta = EntryMeta { kind: NodeKind::File, size: content.len() as u64, ..meta };
        self.files.insert(path.into(), File { meta, content });
        self
    }

    /// Our files below a directory.
    fn below<'s>(&'s self, dir: &'s Path) -> impl Iterator<Item = (&'s Path, &'s File)> {
        let after = self.files.range::<Path, _>((Bound::Excluded(dir), Bound::Unbounded));
        after.map(|(path, file)| (path.as_path(), file)).take_while(move |(path, _)| path.starts_with(dir))
    }

    /// A directory that is there only because one of our files lies below it.
    fn plain_dir(&self, dir: &Path) -> Option<EntryMeta> {
        let newest = self.below(dir).map(|(_, file)| file.meta.mtime).max()?;
        Some(EntryMeta::dir(newest))
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Source> Source for WithFiles<S> {
    fn list(&self, dir: &Path, detail: Detail) -> Result<Listing, SourceError> {
        let mut listing = match (self.inner.list(dir, detail), self.plain_dir(dir)) {
            (Err(error), Some(meta)) if error.is_vanished() => {
                Listing { meta, xattrs: Xattrs::default(), entries: Vec::new() }
            }
            (found, _) => found?,
        };
        for (path, _) in self.below(dir) {
            let Some(name) = path.strip_prefix(dir).ok().and_then(|rest| rest.components().next()) else {
                continue;
            };
            let name = name.as_os_str();
            let known = listing.entries.iter().position(|entry| entry.name == *name);
            let path = dir.join(name);
            let meta = self.files.get(&path).map(|file| file.meta.clone());
            match (known, meta) {
                (Some(at), Some(meta)) => listing.entries[at] = entry(name, meta),
                (Some(_), None) => {}
                (None, meta) => {
                    let meta = meta.or_else(|| self.plain_dir(&path));
                    listing.entries.extend(meta.map(|meta| entry(name, meta)));
                }
            }
        }
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    fn stat(&self, path: &Path, links: Links) -> Result<EntryMeta, SourceError> {
        if let Some(file) = self.files.get(path) {
            return Ok(file.meta.clone());
        }
        self.inner.stat(path, links).or_else(|error| match self.plain_dir(path) {
            Some(meta) if error.is_vanished() => Ok(meta),
            _ => Err(error),
        })
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        match self.files.get(path) {
            Some(file) => Ok(Box::new(Reading { path: path.to_owned(), file: file.clone(), at: 0 })),
            None => self.inner.open(path),
        }
    }

    fn reads_once(&self) -> bool {
        self.inner.reads_once()
    }

    fn xattrs(&self, path: &Path, links: Links) -> Xattrs {
        let is_ours = self.files.contains_key(path)
            || (self.plain_dir(path).is_some() && self.inner.stat(path, links).is_err());
        if is_ours { Xattrs::default() } else { self.inner.xattrs(path, links) }
    }
}

fn entry(name: &std::ffi::OsStr, meta: EntryMeta) -> Entry {
    Entry { name: name.to_owned(), kind: Some(meta.kind.clone()), meta: Some(meta) }
}

struct Reading {
    path: PathBuf,
    file: File,
    at: usize,
}

impl OpenFile for Reading {
    fn meta(&self) -> &EntryMeta {
        &self.file.meta
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let rest = self
            .file
            .content
            .get(self.at..)
            .ok_or_else(|| SourceError::new(FaultKind::Other, Operation::Read, &self.path))?;
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(if len == 0 { Piece::End } else { Piece::Data(len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::source::LocalSource;

    #[test]
    fn what_is_read_once_stays_so_with_files_beside_it_and_recorded_elsewhere() {
        use crate::fs::source::{RelocatedSource, StreamSource};
        let stream = || StreamSource::new("/f", &b""[..], Timestamp::default(), (0, 0));
        assert!(WithFiles::new(stream()).reads_once() && RelocatedSource::new(stream()).reads_once());
        assert!(!WithFiles::new(LocalSource::new()).reads_once());
    }

    #[test]
    fn files_stand_among_and_in_front_of_those_of_the_source() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "theirs").unwrap();
        std::fs::write(folder.path().join("c"), "theirs").unwrap();
        let time = Timestamp { seconds: 9, nanos: 0 };
        let at = |name: &str| folder.path().join(name);
        let source = WithFiles::new(LocalSource::new())
            .file(at("b"), time, "ours")
            .file(at("c"), time, "ours, longer")
            .file(at("new/deep/d"), time, "ours");
        let listing = source.list(folder.path(), Detail::Metadata).unwrap();
        let seen: Vec<_> =
            listing.entries.iter().map(|e| (e.name.to_str().unwrap(), e.kind.clone().unwrap())).collect();
        assert_eq!(
            seen,
            [("a", NodeKind::File), ("b", NodeKind::File), ("c", NodeKind::File), ("new", NodeKind::Dir)]
        );
        assert_eq!(source.open(&at("c")).unwrap().meta().size, 12);
        assert_eq!(source.open(&at("a")).unwrap().meta().size, 6);
        assert_eq!(source.list(&at("new"), Detail::Kinds).unwrap().entries[0].name, "deep");
        assert!(source.stat(&at("new/deep"), Links::Keep).unwrap().is_dir());
        assert!(source.stat(&at("newer"), Links::Keep).unwrap_err().is_vanished());
        let mut file = source.open(&at("new/deep/d")).unwrap();
        let mut buffer = [0; 3];
        assert_eq!(file.read(&mut buffer).unwrap(), Piece::Data(3));
        assert_eq!(file.read(&mut buffer).unwrap(), Piece::Data(1));
        assert_eq!(file.read(&mut buffer).unwrap(), Piece::End);
    }
}
