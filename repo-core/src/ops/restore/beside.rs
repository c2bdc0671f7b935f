//! One file of a snapshot beside the original: as `letter.1a2b3c4d.txt` next to `letter.txt`.
//!
//! In: a file's entry, and where the original lies or lay. Out: a file whose name tells its content, complete or not there
//! at all. Never replaces anything, and never touches the original. Memory: per thread what it reads of a pack at once.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::context::{Cancelled, Context, Event, Stage};
use crate::format::{Node, NodeKind, Place};
use crate::fs::target::{Fidelity, Layout, Target, TargetFile};
use crate::fs::{FaultKind, TargetError};
use crate::hash::sha256;
use crate::id::{BlobId, Id, PackId};
use crate::parallel;
use crate::repository::{ReadError, Reader};

/// How to restore a file beside its original.
#[derive(Debug, Clone, Default)]
pub struct BesideOptions {
    /// What becomes of zeros.
    pub layout: Layout,
    /// How much of the metadata is restored.
    pub fidelity: Fidelity,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// It is there now.
    Written(PathBuf),
    /// It was there before, with this content.
    Present(PathBuf),
}

/// Why a file was not restored. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BesideError {
    /// Only files can be restored like this.
    #[error("{} is a {} in the snapshot, not a file", path.display(), kind.word())]
    Kind {
        /// The original.
        path: PathBuf,
        /// What it is.
        kind: NodeKind,
    },
    /// The name is taken by something else.
    #[error("{} is there already and holds something else", path.display())]
    InTheWay {
        /// The name that the file would get.
        path: PathBuf,
    },
    /// A part of it cannot be read.
    #[error("cannot read {} from the repository", path.display())]
    Read {
        /// The original.
        path: PathBuf,
        /// Why.
        source: Box<ReadError>,
    },
    /// Its entry says another length than its parts have.
    #[error("{} has {stored} bytes in the snapshot, but its entry says {said}", path.display())]
    Length {
        /// The original.
        path: PathBuf,
        /// Bytes of its parts.
        stored: u64,
        /// Bytes by its entry.
        said: u64,
    },
    /// It cannot be written.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Where a file is to go: for each pack the blobs, and at which offsets of the file each belongs.
type Parts = BTreeMap<PackId, HashMap<BlobId, (Place, Vec<u64>)>>;

/// Restores the content of `node` next to `original`, an absolute path whose folder exists.
///
/// The name has the first eight digits of [`Node::content_id`] before its ending, so that versions do not meet.
pub fn restore_beside(
    context: &Context,
    reader: &Reader,
    node: &Node,
    original: &Path,
    options: &BesideOptions,
) -> Result<Beside, BesideError> {
    let (NodeKind::File, Some(content), Some(folder), Some(name)) =
        (&node.kind, node.content_id(), original.parent(), original.file_name())
    else {
        return Err(BesideError::Kind { path: original.to_owned(), kind: node.kind.clone() });
    };
    let name = PathBuf::from(name_beside(name, content));
    let path = folder.join(&name);
    let parts = parts(reader, node, original)?;
    let target = Target::open(folder, context.random.number())?;
    if target.inspect(&name)?.is_some() {
        let is_right = holds(&target, &name, &parts, node.size);
        return if is_right { Ok(Beside::Present(path)) } else { Err(BesideError::InTheWay { path }) };
    }
    let file = target.create_file(&name, node.size, options.layout)?;
    context.tell(&Event::Begin { stage: Stage::Restore, total: 1, bytes: node.size });
    write(context, reader, original, &file, parts)?;
    file.set_metadata(node, &options.fidelity)?;
    file.commit_new().map_err(|error| match error.kind() {
        FaultKind::Changed => BesideError::InTheWay { path: path.clone() },
        _ => error.into(),
    })?;
    context.tell(&Event::End { stage: Stage::Restore });
    Ok(Beside::Written(path))
}

/// `letter.txt` → `letter.1a2b3c4d.txt`; what has no ending gets the digits behind it.
fn name_beside(name: &OsStr, content: Id) -> OsString {
    let bytes = name.as_bytes();
    let dot = bytes.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0).unwrap_or(bytes.len());
    let (stem, ending) = bytes.split_at(dot);
    OsString::from_vec([stem, b".", content.short().as_bytes(), ending].concat())
}

fn parts(reader: &Reader, node: &Node, original: &Path) -> Result<Parts, BesideError> {
    let mut parts = Parts::new();
    let mut offset = 0;
    for blob in node.content.iter().flatten().map(|id| BlobId::from(*id)) {
        let place = reader.index().place_of(&blob).ok_or_else(|| BesideError::Read {
            path: original.to_owned(),
            source: ReadError::Unknown { blob }.into(),
        })?;
        let blobs = parts.entry(place.pack).or_default();
        blobs.entry(blob).or_insert_with(|| (place, Vec::new())).1.push(offset);
        offset += u64::from(place.opened_len());
    }
    if offset == node.size {
        return Ok(parts);
    }
    Err(BesideError::Length { path: original.to_owned(), stored: offset, said: node.size })
}

/// Whether a file has exactly these bytes. What cannot be read has not.
fn holds(target: &Target, name: &Path, parts: &Parts, size: u64) -> bool {
    let Ok(file) = target.open_file(name) else { return false };
    let mut buffer = Vec::new();
    let mut is_right = |blob: &BlobId, place: &Place, offset: u64| {
        buffer.resize(place.opened_len() as usize, 0);
        file.read_at(offset, &mut buffer).is_ok_and(|read| read == buffer.len()) && sha256(&buffer) == blob.id
    };
    file.meta().is_ok_and(|meta| meta.size == size)
        && parts
            .values()
            .flatten()
            .all(|(blob, (place, offsets))| offsets.iter().all(|offset| is_right(blob, place, *offset)))
}

fn write(
    context: &Context,
    reader: &Reader,
    original: &Path,
    file: &TargetFile,
    parts: Parts,
) -> Result<(), BesideError> {
    let connections = reader.repository().backend().properties().connections;
    parallel::stream(
        connections.max(1),
        parts,
        |(pack, blobs)| {
            context.cancel.check()?;
            let blobs = blobs.into_iter().map(|(blob, (place, offsets))| (blob, place, offsets));
            reader.pack_blobs(pack, blobs, |offsets, plain| {
                let plain = plain.map_err(|source| BesideError::Read {
                    path: original.to_owned(),
                    source: source.into(),
                })?;
                for offset in offsets {
                    file.write_at(offset, plain)?;
                    context.tell(&Event::Progress {
                        stage: Stage::Restore,
                        items: 0,
                        bytes: plain.len() as u64,
                    });
                }
                Ok(())
            })
        },
        |()| Ok(()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_before_the_ending() {
        let check = |name: &str, expected: &str| {
            assert_eq!(name_beside(OsStr::new(name), Id::new([0xab; 32])), OsStr::new(expected));
        };
        check("letter.txt", "letter.abababab.txt");
        check("backup.tar.gz", "backup.tar.abababab.gz");
        check("README", "README.abababab");
        check(".profile", ".profile.abababab");
        check("odd.", "odd.abababab.");
    }
}
