//! A pipe, or anything else that takes bytes one after the other.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Holds, Order, Sink, SinkProperties};

/// Zeros are written in pieces of so many bytes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes everything in order; zeros, too, because a pipe has no holes.
pub struct StreamSink<W> {
    path: PathBuf,
    out: Mutex<Out<W>>,
}

struct Out<W> {
    writer: W,
    /// How much was written.
    at: u64,
}

impl<W: Write + Send> StreamSink<W> {
    /// Writes to `writer`, which messages call `path`.
    pub fn new(path: impl Into<PathBuf>, writer: W) -> Self {
        Self { path: path.into(), out: Mutex::new(Out { writer, at: 0 }) }
    }

    /// The writer, after everything that was written to it.
    pub fn into_inner(self) -> W {
        self.out.into_inner().unwrap_or_else(PoisonError::into_inner).writer
    }

    fn at(&self, offset: u64, write: impl FnOnce(&mut W) -> io::Result<u64>) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.at != offset {
            let text = format!("it stands at byte {} and cannot go to {offset}", out.at);
            return Err(io::Error::new(io::ErrorKind::NotSeekable, text));
        }
        out.at += write(&mut out.writer)?;
        Ok(())
    }
}

impl<W: Write + Send> Sink for StreamSink<W> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn properties(&self) -> SinkProperties {
        SinkProperties { order: Order::Rising, bytes_max: None, holds: Holds::Zeros }
    }

    fn begin(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> io::Result<usize> {
        Ok(0) // what went through is gone
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.at(offset, |writer| writer.write_all(bytes).map(|()| bytes.len() as u64))
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.at(offset, |writer| {
            let mut left = len;
            while left > 0 {
                let step = left.min(ZEROS.len() as u64);
                writer.write_all(&ZEROS[..usize::try_from(step).unwrap_or(ZEROS.len())])?;
                left -= step;
            }
            Ok(len)
        })
    }

    fn finish(&self) -> io::Result<()> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).writer.flush()
    }
}

impl<W> fmt::Debug for StreamSink<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSink").field("path", &self.path).finish_non_exhaustive()
    }
}
