//! A raw file or a block device, written where it is.
//!
//! Zeros become holes: in a new file they are left out; in what exists the system is asked to take the space back
//! (`fallocate(2)`, which on a device discards and promises zeros), and where it cannot, zeros are written.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::{Errno, retry_on_intr};

use super::{Holds, Order, Sink, SinkProperties};
use crate::fs::{FaultKind, Operation, TargetError};

/// Holes begin and end at multiples of this: no file system or device has larger blocks that would matter.
const HOLE_BYTES: u64 = 4096;

/// Zeros are written in pieces of so many bytes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A file or block device that becomes the content, in place.
///
/// ```
/// use repo_core::fs::sink::{ImageSink, Sink};
///
/// let folder = tempfile::tempdir()?;
/// let sink = ImageSink::open(&folder.path().join("disk.raw"))?;
/// sink.begin(1 << 20)?;
/// sink.write_at(4096, b"boot")?;
/// sink.finish()?;
/// assert_eq!(std::fs::metadata(sink.path())?.len(), 1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ImageSink {
    file: OwnedFd,
    path: PathBuf,
    /// How long a device is, in bytes; a file is made as long as need be.
    device_bytes: Option<u64>,
    holds: Holds,
    /// Whether the system has refused to make holes here.
    has_no_holes: AtomicBool,
}

impl ImageSink {
    /// Opens a file or a block device; what is missing is made, an empty file for the owner alone.
    ///
    /// A device that is mounted or otherwise in use is refused. Returns an error of kind [`FaultKind::NotSupported`] if
    /// something else lies there.
    pub fn open(path: &Path) -> Result<Self, TargetError> {
        let error = |operation| move |errno| TargetError::system(errno, operation, path);
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match rustix::fs::stat(path) {
            Err(Errno::NOENT) => {
                let flags = flags | OFlags::CREATE | OFlags::EXCL;
                rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(error(Operation::Create))?
            }
            Err(errno) => return Err(error(Operation::Stat)(errno)),
            Ok(stat) => {
                // Without CREATE, this asks the system that nobody else uses the device.
                let exclusive = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => OFlags::empty(),
                    FileType::BlockDevice => OFlags::EXCL,
                    _ => return Err(unfit(path)),
                };
                rustix::fs::open(path, flags | exclusive, Mode::empty()).map_err(error(Operation::Open))?
            }
        };
        let stat = rustix::fs::fstat(&file).map_err(error(Operation::Stat))?;
        let is_device = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => false,
            FileType::BlockDevice => true,
            _ => return Err(unfit(path)),
        };
        let len = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(error(Operation::Stat))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            device_bytes: is_device.then_some(len),
            holds: if is_device || len > 0 { Holds::Something } else { Holds::Zeros },
            has_no_holes: AtomicBool::new(false),
        })
    }

    fn write_zeros(&self, mut offset: u64, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let step = len.min(ZEROS.len() as u64);
            self.write_at(offset, &ZEROS[..usize::try_from(step).unwrap_or(ZEROS.len())])?;
            offset += step;
            len -= step;
        }
        Ok(())
    }
}

impl Sink for ImageSink {
    fn path(&self) -> &Path {
        &self.path
    }

    fn properties(&self) -> SinkProperties {
        SinkProperties { order: Order::Any, bytes_max: self.device_bytes, holds: self.holds }
    }

    fn begin(&self, len: u64) -> io::Result<()> {
        if self.device_bytes.is_none() {
            rustix::fs::ftruncate(&self.file, len)?;
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match retry_on_intr(|| rustix::io::pread(&self.file, &mut *rest, offset + filled as u64))? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match retry_on_intr(|| rustix::io::pwrite(&self.file, bytes, offset))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    offset += written as u64;
                }
            }
        }
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.holds == Holds::Zeros {
            return Ok(());
        }
        let end = offset + len;
        let (hole, hole_end) = (offset.next_multiple_of(HOLE_BYTES), end - end % HOLE_BYTES);
        if hole >= hole_end || self.has_no_holes.load(Ordering::Relaxed) {
            return self.write_zeros(offset, len);
        }
        self.write_zeros(offset, hole - offset)?;
        if let Err(errno) = make_hole(&self.file, hole, hole_end - hole) {
            if matches!(errno, Errno::IO | Errno::NOSPC) {
                return Err(errno.into());
            }
            // This one cannot; there is always the slow way.
            self.has_no_holes.store(true, Ordering::Relaxed);
            self.write_zeros(hole, hole_end - hole)?;
        }
        self.write_zeros(hole_end, end - hole_end)
    }

    fn finish(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fsync(&self.file))?)
    }
}

fn unfit(path: &Path) -> TargetError {
    TargetError::new(FaultKind::NotSupported, Operation::Open, path)
        .because("it is neither a file nor a block device")
}

#[cfg(target_os = "linux")]
fn make_hole(file: &OwnedFd, offset: u64, len: u64) -> Result<(), Errno> {
    use rustix::fs::FallocateFlags as Flags;
    let ask = |flags| retry_on_intr(|| rustix::fs::fallocate(file, flags | Flags::KEEP_SIZE, offset, len));
    // Of a device the first frees the space, the second at least spares sending zeros.
    ask(Flags::PUNCH_HOLE).or_else(|_| ask(Flags::ZERO_RANGE))
}

#[cfg(not(target_os = "linux"))]
fn make_hole(_: &OwnedFd, _: u64, _: u64) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}
