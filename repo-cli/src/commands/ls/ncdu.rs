//! A listing as ncdu reads it: nested arrays, each directory's own entry first in its array.

use std::io::Write;

use anyhow::Result;
use repo_core::format::Node;
use repo_core::format::json::Object;
use repo_core::snapshots::Stored;
use repo_core::walk::Entry;

use super::Printer;

/// Prints a listing for ncdu.
pub struct Ncdu<'a, W> {
    out: W,
    stored: &'a Stored,
    /// How many directories are open, the root not counted.
    depth: usize,
}

impl<'a, W: Write> Ncdu<'a, W> {
    /// Prints to `out`.
    pub fn new(out: W, stored: &'a Stored) -> Self {
        Self { out, stored, depth: 0 }
    }

    /// Closes directories until so many are left open.
    fn close(&mut self, depth: usize) -> Result<()> {
        while self.depth > depth {
            write!(self.out, "\n{}]", "  ".repeat(self.depth))?;
            self.depth -= 1;
        }
        Ok(())
    }
}

impl<W: Write> Printer for Ncdu<'_, W> {
    fn begin(&mut self) -> Result<()> {
        self.out.write_all(b"[1, 2, ")?;
        self.out.write_all(&self.stored.snapshot.to_json())?;
        Ok(self.out.write_all(b", [{\"name\":\"/\"}")?)
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let above = entry.path.components().count().saturating_sub(2);
        self.close(above)?;
        let mut line = Vec::new();
        record(&mut line, &entry.node);
        self.out.write_all(b",\n")?;
        if entry.node.is_dir() {
            self.depth += 1;
            writeln!(self.out, "{}[", "  ".repeat(self.depth))?;
        }
        write!(self.out, "{}", "  ".repeat(self.depth + 1))?;
        Ok(self.out.write_all(&line)?)
    }

    fn end(&mut self) -> Result<()> {
        self.close(0)?;
        Ok(self.out.write_all(b"\n]\n]\n")?)
    }
}

fn record(out: &mut Vec<u8>, node: &Node) {
    let mut object = Object::begin(out);
    object.string("name", &node.name).number("asize", node.size);
    object.number("dsize", node.size.div_ceil(512).saturating_mul(512));
    object.number("dev", node.device_id).number("ino", node.inode).number("nlink", node.links);
    object.bool("notreg", !node.is_file() && !node.is_dir());
    object.number("uid", node.uid).number("gid", node.gid).number("mode", node.mode.unix_permissions());
    object.key("mtime").extend_from_slice(node.mtime.instant.seconds.to_string().as_bytes());
    object.end();
}
