//! One file of the file system that is being read.
//!
//! In: its descriptor. Out: its bytes up to the real end, and its holes without reading them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::local::read_xattrs;
use super::{OpenFile, Piece};
use crate::fs::metadata::{EntryMeta, Xattrs};
use crate::fs::unix::{self, Holder};
use crate::fs::{Operation, SourceError};

/// Files from this length on are worth a hint that they will be read from start to end.
const HINT_BYTES_MIN: u64 = 1 << 20;

/// A regular file that is being read.
pub(super) struct LocalFile {
    file: OwnedFd,
    path: PathBuf,
    meta: EntryMeta,
    position: u64,
    /// Where the data at `position` ends, if there may be holes; the end of time if there are none.
    data_end: u64,
}

impl LocalFile {
    pub(super) fn new(file: OwnedFd, path: &Path, stat: &Stat) -> Self {
        let meta = unix::meta(stat);
        if meta.size >= HINT_BYTES_MIN {
            advise_sequential(&file);
        }
        // Blocks count 512 bytes. A compressed file looks sparse, too: asking for its holes does no harm.
        let may_have_holes = unix::number(stat.st_blocks).saturating_mul(512) < meta.size;
        let data_end = if may_have_holes { 0 } else { u64::MAX };
        Self { file, path: path.to_owned(), meta, position: 0, data_end }
    }

    fn error(&self, errno: Errno) -> SourceError {
        SourceError::system(errno, Operation::Read, &self.path)
    }

    /// At the end of known data: finds the next data, and returns the length of the hole before it.
    fn skip_hole(&mut self) -> Result<u64, Errno> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(self.position)) {
            Ok(start) => start,
            // No data from here on: a hole up to the end, or nothing.
            Err(Errno::NXIO) => {
                let len = unix::number(rustix::fs::fstat(&self.file)?.st_size);
                self.data_end = u64::MAX;
                len.max(self.position)
            }
            Err(Errno::INVAL) => {
                self.data_end = u64::MAX;
                return Ok(0); // this file system does not know holes
            }
            Err(errno) => return Err(errno),
        };
        if self.data_end != u64::MAX {
            self.data_end = match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
                Ok(end) => end.max(start + 1),
                Err(Errno::NXIO) => u64::MAX, // the file was cut meanwhile
                Err(errno) => return Err(errno),
            };
        }
        let hole = start.saturating_sub(self.position);
        self.position += hole;
        Ok(hole)
    }
}

impl OpenFile for LocalFile {
    fn meta(&self) -> &EntryMeta {
        &self.meta
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        if self.position >= self.data_end {
            match self.skip_hole().map_err(|errno| self.error(errno))? {
                0 => {}
                hole => return Ok(Piece::Hole(hole)),
            }
        }
        let wanted = usize::try_from(self.data_end - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let read = retry_on_intr(|| rustix::io::pread(&self.file, &mut buffer[..wanted], self.position));
        match read.map_err(|errno| self.error(errno))? {
            0 => Ok(Piece::End),
            len => {
                self.position += len as u64;
                Ok(Piece::Data(len))
            }
        }
    }

    fn stat_again(&mut self) -> Result<EntryMeta, SourceError> {
        let stat = rustix::fs::fstat(&self.file);
        stat.map(|stat| unix::meta(&stat))
            .map_err(|errno| SourceError::system(errno, Operation::Stat, &self.path))
    }

    fn xattrs(&mut self) -> Xattrs {
        read_xattrs(Holder::Open(self.file.as_fd()), &self.path)
    }
}

#[cfg(not(target_vendor = "apple"))]
fn advise_sequential(file: &OwnedFd) {
    // Only a hint: a file system that does not take it is as good.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
}

#[cfg(target_vendor = "apple")]
fn advise_sequential(_file: &OwnedFd) {}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::super::{LocalSource, Source};
    use super::*;

    /// Reads to the end: the plain content, and how many bytes of it were given as holes.
    fn read(file: &mut dyn OpenFile) -> (Vec<u8>, u64) {
        let (mut content, mut holes) = (Vec::new(), 0);
        let mut buffer = vec![0xaa; 10_000];
        loop {
            match file.read(&mut buffer).unwrap() {
                Piece::Data(len) => content.extend_from_slice(&buffer[..len]),
                Piece::Hole(len) => {
                    holes += len;
                    content.resize(content.len() + usize::try_from(len).unwrap(), 0);
                }
                Piece::End => return (content, holes),
            }
        }
    }

    #[test]
    fn file_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for len in [0, 1, 9_999, 10_000, 10_001, 3_000_000] {
            let content: Vec<u8> = (0..len).map(|i: u32| i.to_le_bytes()[0] ^ 0x5a).collect();
            fs::write(&path, &content).unwrap();
            let mut file = LocalSource::new().open(&path).unwrap();
            assert_eq!(file.meta().size, u64::from(len));
            assert_eq!(read(&mut *file), (content, 0), "{len}");
        }
    }

    #[test]
    fn holes_are_given_without_being_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let sparse = fs::File::create(&path).unwrap();
        sparse.set_len(10 << 20).unwrap();
        sparse.write_all_at(b"data", 4 << 20).unwrap();
        let (content, holes) = read(&mut *LocalSource::new().open(&path).unwrap());
        assert!(content == fs::read(&path).unwrap());
        assert!(holes > 9 << 20, "{holes}");
        sparse.set_len(0).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let mut file = LocalSource::new().open(&path).unwrap();
        assert_eq!(file.read(&mut [0; 8]).unwrap(), Piece::Hole(1 << 40));
        assert_eq!(file.read(&mut [0; 8]).unwrap(), Piece::End);
    }

    #[test]
    fn file_that_grows_or_shrinks_is_read_to_its_real_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, vec![1; 15_000]).unwrap();
        let mut file = LocalSource::new().open(&path).unwrap();
        assert_eq!(file.read(&mut [0; 10_000]).unwrap(), Piece::Data(10_000));
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[2; 7_000]).unwrap();
        assert_eq!(read(&mut *file).0.len(), 12_000);
        assert_eq!((file.meta().size, file.stat_again().unwrap().size), (15_000, 22_000));

        let mut file = LocalSource::new().open(&path).unwrap();
        assert_eq!(file.read(&mut [0; 10_000]).unwrap(), Piece::Data(10_000));
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
        assert_eq!(file.read(&mut [0; 10_000]).unwrap(), Piece::End);
    }

    #[test]
    fn sparse_file_that_is_cut_meanwhile_ends_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let sparse = fs::File::create(&path).unwrap();
        sparse.set_len(1 << 20).unwrap();
        sparse.write_all_at(&vec![7; 65_536], 65_536).unwrap();
        let mut file = LocalSource::new().open(&path).unwrap();
        assert!(matches!(file.read(&mut [0; 10]).unwrap(), Piece::Hole(_)));
        sparse.set_len(0).unwrap();
        assert_eq!(file.read(&mut [0; 10]).unwrap(), Piece::End);
    }
}
