//! Files that exist already: are they right, and if not, which of their parts are?
//!
//! In: a file of the snapshot and what stands in its place. Out: which parts need not be fetched. A part is right
//! only if its bytes hash to its name.

use crate::format::NodeKind;
use crate::fs::target::TargetFile;
use crate::hash::sha256;
use crate::id::DataId;
use crate::ops::restore::Overwrite;
use crate::ops::restore::plan::Item;
use crate::ops::restore::run::Run;

/// What is known about an existing file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It has the right content, and no more names than it should.
    Right,
    /// There is a file. These of its parts are right, in the order of the content.
    Parts(Vec<bool>),
    /// There is no file that could be read.
    Nothing,
}

/// One part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) blob: DataId,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Compares what stands in the place of a file. Anything that cannot be read counts as nothing.
pub(super) fn compare(run: &Run<'_>, item: &Item, parts: &[Part]) -> Found {
    let Some(existing) = item.existing.as_ref().filter(|existing| existing.kind == NodeKind::File) else {
        return Found::Nothing;
    };
    let len = parts.last().map_or(0, |part| part.offset + part.len);
    // Somebody may have planted a second name of a file elsewhere: it must not get our metadata.
    let has_own_names = existing.links <= item.node.links.max(1);
    if run.options.overwrite == Overwrite::IfChanged
        && has_own_names
        && existing.mtime == item.node.mtime.instant
        && existing.size == len
    {
        return Found::Right;
    }
    let Some(file) = run.readable().and_then(|target| target.open_file(&item.path).ok()) else {
        return Found::Nothing;
    };
    let mut buffer = Vec::new();
    let right: Vec<bool> =
        parts.iter().map(|part| part.offset < existing.size && is_right(&file, part, &mut buffer)).collect();
    if has_own_names && existing.size == len && right.iter().all(|right| *right) {
        Found::Right
    } else {
        Found::Parts(right)
    }
}

/// Whether a file has the right bytes in the place of a part; leaves them in the buffer.
pub(super) fn is_right(file: &TargetFile, part: &Part, buffer: &mut Vec<u8>) -> bool {
    let Ok(len) = usize::try_from(part.len) else { return false };
    buffer.resize(len, 0);
    file.read_at(part.offset, buffer).is_ok_and(|read| read == len) && sha256(buffer) == part.blob.0
}
