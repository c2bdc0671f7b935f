//! After damage: which files of which snapshots cannot be restored as they were.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::context::{Cancelled, Context};
use crate::id::{BlobId, PackId, SnapshotId, TreeId};
use crate::ops::check::report::Finding;
use crate::repository::Reader;
use crate::snapshots::Stored;
use crate::walk::Walk;

/// A file, or a directory with all below, that cannot be restored as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffectedFile {
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// Where in it.
    pub path: PathBuf,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Looks for damaged blobs in all snapshots, at most `limit` files.
///
/// Directories that turned out to be sound all through are not gone through again for the next snapshot.
pub(super) fn find(
    context: &Context,
    reader: &Reader,
    stored: &[Stored],
    findings: &[Finding],
    limit: usize,
) -> Result<Vec<AffectedFile>, Cancelled> {
    let damaged = Damaged::new(reader, findings);
    let mut affected = Vec::new();
    if damaged.is_empty() {
        return Ok(affected);
    }
    let mut sound = HashSet::new();
    for Stored { id, snapshot } in stored {
        let mut hit = HashSet::new();
        let mut met: HashMap<TreeId, Vec<PathBuf>> = HashMap::new();
        let mut walk = Walk::new(reader, snapshot.tree, "/");
        while let Some(entry) = walk.next() {
            context.cancel.check()?;
            if affected.len() >= limit {
                return Ok(affected);
            }
            match entry {
                Ok(entry) => {
                    if let Some(tree) = entry.node.subtree {
                        if sound.contains(&tree) {
                            walk.skip_dir();
                        } else {
                            met.entry(tree).or_default().push(entry.path.clone());
                        }
                    }
                    let content = entry.node.content.as_deref().unwrap_or_default();
                    if content.iter().any(|id| damaged.has(reader, &BlobId::from(*id))) {
                        hit.extend(entry.path.ancestors().map(std::path::Path::to_owned));
                        affected.push(AffectedFile { snapshot: *id, path: entry.path, is_dir: false });
                    }
                }
                Err(error) => {
                    hit.extend(error.path().ancestors().map(std::path::Path::to_owned));
                    let path = error.path().to_owned();
                    affected.push(AffectedFile { snapshot: *id, path, is_dir: true });
                }
            }
        }
        let clean = |(tree, paths): (TreeId, Vec<PathBuf>)| {
            (!paths.iter().any(|path| hit.contains(path))).then_some(tree)
        };
        sound.extend(met.into_iter().filter_map(clean));
    }
    Ok(affected)
}

/// What the findings say is lost.
#[derive(Default)]
struct Damaged {
    blobs: HashSet<(BlobId, PackId)>,
    packs: HashSet<PackId>,
    missing: HashSet<BlobId>,
    trees: bool,
}

impl Damaged {
    fn new(reader: &Reader, findings: &[Finding]) -> Self {
        let mut damaged = Self::default();
        for finding in findings {
            match finding {
                Finding::BlobDamaged { blob, pack } => drop(damaged.blobs.insert((*blob, *pack))),
                Finding::PackMissing { pack } => drop(damaged.packs.insert(*pack)),
                Finding::BlobMissing { blob, .. } => drop(damaged.missing.insert(*blob)),
                Finding::TreeUnreadable { .. } => damaged.trees = true,
                Finding::PackSize { pack, found, .. } => {
                    let beyond = reader.index().iter().filter(|(_, place)| place.pack == *pack);
                    let beyond = beyond.filter(|(_, place)| place.range().end > *found);
                    damaged.blobs.extend(beyond.map(|(blob, place)| (blob, place.pack)));
                }
                _ => {}
            }
        }
        damaged
    }

    fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.packs.is_empty() && self.missing.is_empty() && !self.trees
    }

    /// Whether no sound copy of a blob is left.
    fn has(&self, reader: &Reader, blob: &BlobId) -> bool {
        let lost = |pack: PackId| self.packs.contains(&pack) || self.blobs.contains(&(*blob, pack));
        self.missing.contains(blob) || reader.index().places(blob).all(|place| lost(place.pack))
    }
}
