//! Where one file's content goes that becomes no file below a folder: an image, a block device, a pipe.
//!
//! In: bytes and runs of zeros, each with its offset. Out: the same bytes on a device, in a file that is changed where it
//! is, or on their way through a pipe. A sink tells how it wants to be written; what it is told is right. Knows nothing of
//! blobs, never makes a second copy, and never takes back what was written.

mod image;
mod stream;
#[cfg(test)]
mod tests;

pub use image::ImageSink;
pub use stream::StreamSink;

use std::io;
use std::path::Path;

/// Something that takes the content of one file.
///
/// First [`begin`](Self::begin), then every byte of the content once, by [`write_at`](Self::write_at) or
/// [`zero`](Self::zero), then [`finish`](Self::finish). Errors need not say where: the caller adds path and offset.
pub trait Sink: Send + Sync {
    /// What the user calls it, for messages.
    fn path(&self) -> &Path;

    /// How it wants to be written, and what is in it now.
    fn properties(&self) -> SinkProperties;

    /// Makes room for a content of so many bytes, no more than [`SinkProperties::bytes_max`]. What it holds below that
    /// stays until it is written over.
    fn begin(&self, len: u64) -> io::Result<()>;

    /// Fills the buffer with what it holds from an offset on; gives fewer bytes only at its end. Called from several
    /// threads, and only if it [holds](SinkProperties::holds) [`Holds::Something`].
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes bytes at an offset. With [`Order::Any`] called from several threads, for ranges that do not overlap.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes so many bytes zero, by a hole if it can have holes. Called as [`write_at`](Self::write_at) is.
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;

    /// All is written: makes it durable, as far as it can be.
    fn finish(&self) -> io::Result<()>;
}

/// What a sink can do and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkProperties {
    /// In which order it takes bytes.
    pub order: Order,
    /// The longest content it can take, in bytes; `None` if nobody knows.
    pub bytes_max: Option<u64>,
    /// What it holds before it is written.
    pub holds: Holds,
}

/// In which order a sink takes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they come, from several threads at once.
    Any,
    /// From the first to the last, each call where the one before has ended.
    Rising,
}

/// What a sink holds before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Nothing but zeros, once it has begun.
    Zeros,
    /// Something that can be read, and may be right already.
    Something,
}
