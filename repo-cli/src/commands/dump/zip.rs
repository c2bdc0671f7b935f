//! A zip archive, written as it comes. It holds files, directories and symbolic links; nothing else fits in.

use std::io::Write;

use ::zip::write::{FullFileOptions, StreamWriter};
use ::zip::{CompressionMethod, DateTime, ZipWriter};
use anyhow::Result;
use repo_core::format::{Node, NodeKind};
use repo_core::time::Zone;
use repo_core::walk::Entry;

use super::{Archive, name};

/// Writes a zip archive.
pub struct Zip<W: Write> {
    writer: ZipWriter<StreamWriter<W>>,
    zone: Zone,
}

impl<W: Write> Zip<W> {
    /// Writes to `out`. Times are shown on the clock of `zone`, since zip knows no offsets.
    pub fn new(out: W, zone: Zone) -> Self {
        Self { writer: ZipWriter::new_stream(out), zone }
    }
}

impl<W: Write> Archive for Zip<W> {
    fn entry(&mut self, entry: &Entry, len: u64) -> Result<()> {
        let node = &entry.node;
        let name = String::from_utf8_lossy(&name(entry)).into_owned();
        let options = options(node, &self.zone, len)?;
        match node.kind {
            NodeKind::File => {
                let options = options.compression_method(CompressionMethod::Deflated);
                self.writer.start_file(name, options)?;
            }
            NodeKind::Dir => self.writer.add_directory(name, options)?,
            NodeKind::Symlink => {
                self.writer.add_symlink(name, String::from_utf8_lossy(&node.link_target), options)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.writer.write_all(bytes)?)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let mut out = self.writer.finish()?.into_inner();
        Ok(out.flush()?)
    }
}

/// The tag of the extra field with a time in UTC.
const EXTENDED_TIMESTAMP: u16 = 0x5455;

fn options(node: &Node, zone: &Zone, len: u64) -> Result<FullFileOptions<'static, 'static>> {
    let civil = zone.at(node.mtime.instant).civil();
    let year = u16::try_from(civil.year.clamp(1980, 2107))?;
    let time =
        DateTime::from_date_and_time(year, civil.month, civil.day, civil.hour, civil.minute, civil.second);
    let mut options = FullFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .unix_permissions(node.mode.unix_permissions())
        .large_file(len >= u64::from(u32::MAX));
    if let Ok(time) = time {
        options = options.last_modified_time(time);
    }
    if let Ok(seconds) = i32::try_from(node.mtime.instant.seconds) {
        let mut field = vec![1];
        field.extend(seconds.to_le_bytes());
        options.add_extra_field(EXTENDED_TIMESTAMP, field, false)?;
    }
    Ok(options)
}
