//! Stats: how much there is, counted in one of four ways.
//!
//! In: the roots of snapshots. Out: sums. Every different directory is read once, however many snapshots share
//! it. A number that would be wrong is never given: what cannot be read is an error. Memory on top of 32 bytes
//! per different directory:
//!
//! ```text
//! restore-size        about 120 bytes per different directory, 24 per hard link
//! files-by-contents   about 40 bytes per different content
//! blobs-per-file      about 75 bytes per different content, 25 for each further blob of it
//! raw-data            one bit per blob of the repository
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::context::{Cancelled, Context};
use crate::format::{Node, Tree, limits};
use crate::hash::sha256;
use crate::id::{BlobId, DataId, TreeId};
use crate::index::BlobSet;
use crate::repository::{ReadError, Reader};
use crate::walk::{SeenTrees, Walk, WalkError, reach};

/// What to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatsMode {
    /// What restoring every snapshot would write: all entries; names of one hard-linked file count their bytes
    /// once per snapshot.
    #[default]
    RestoreSize,
    /// Different contents of files; all entries without content count as one.
    FilesByContents,
    /// The blobs of each file: different contents at different paths.
    BlobsPerFile,
    /// The stored blobs that snapshots need.
    RawData,
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes, of the kind the mode counts.
    pub bytes: u64,
    /// Entries or files; zero in raw-data mode.
    pub files: u64,
    /// Blobs; zero where the mode counts none.
    pub blobs: u64,
    /// How well blobs are compressed; raw-data mode, repository version 2.
    pub compression: Option<Compression>,
}

/// Lengths in bytes of sealed blobs, nonce and tag included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    /// All blobs as they are stored.
    pub stored: u64,
    /// All blobs, were they not compressed.
    pub uncompressed: u64,
    /// The compressed ones as they are stored.
    pub compressed_stored: u64,
    /// The compressed ones, were they not.
    pub compressed_uncompressed: u64,
}

impl Compression {
    /// How much smaller compression makes what it compresses; `None` without compressed blobs.
    pub fn ratio(&self) -> Option<f64> {
        quotient(self.compressed_uncompressed, self.compressed_stored)
    }

    /// How many percent of the bytes are compressed, as long as there are bytes.
    pub fn progress_percent(&self) -> Option<f64> {
        quotient(self.compressed_uncompressed, self.uncompressed).map(|part| part * 100.0)
    }

    /// How many percent of the bytes are saved, as long as there are bytes.
    pub fn saving_percent(&self) -> Option<f64> {
        quotient(self.stored, self.uncompressed).map(|part| (1.0 - part) * 100.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn quotient(a: u64, b: u64) -> Option<f64> {
    (b > 0).then(|| a as f64 / b as f64)
}

/// Why nothing could be counted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatsError {
    /// A directory cannot be read.
    #[error("cannot count what lies below {tree}")]
    Tree {
        /// Its tree.
        tree: TreeId,
        /// Why.
        source: Box<ReadError>,
    },
    /// A directory cannot be entered.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// A blob that a file needs is in no index, so nobody knows its size.
    #[error("{blob} is in no index")]
    Unknown {
        /// Which blob.
        blob: BlobId,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Counts over the snapshots with these roots, in this order.
///
/// The order matters for blobs-per-file alone: a content found at several paths belongs to the first.
pub fn stats(
    context: &Context,
    reader: &Reader,
    roots: &[TreeId],
    mode: StatsMode,
) -> Result<Stats, StatsError> {
    let stats = match mode {
        StatsMode::RestoreSize => restore_size(context, reader, roots)?,
        StatsMode::FilesByContents => files_by_contents(context, reader, roots)?,
        StatsMode::BlobsPerFile => blobs_per_file(context, reader, roots)?,
        StatsMode::RawData => raw_data(context, reader, roots)?,
    };
    Ok(Stats { snapshots: roots.len() as u64, ..stats })
}

/// Visits every different directory below the roots once, on several threads, in no order.
fn each_tree(
    context: &Context,
    reader: &Reader,
    roots: &[TreeId],
    visit: impl Fn(TreeId, Tree) + Sync,
) -> Result<(), StatsError> {
    let unreadable = Mutex::new(None);
    reach(context, reader, roots.iter().copied(), &Mutex::new(SeenTrees::new()), |reached| {
        match reached.tree {
            Ok(tree) => visit(reached.id, tree),
            Err(error) => {
                let mut first = unreadable.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert((reached.id, error));
            }
        }
    })?;
    match unreadable.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((tree, source)) => Err(StatsError::Tree { tree, source: source.into() }),
        None => Ok(()),
    }
}

fn raw_data(context: &Context, reader: &Reader, roots: &[TreeId]) -> Result<Stats, StatsError> {
    let used = BlobSet::new(reader.index().clone());
    each_tree(context, reader, roots, |id, tree| {
        used.insert(&id.into());
        for id in tree.nodes.iter().filter(|node| node.is_file()).flat_map(content) {
            used.insert(&BlobId::from(*id));
        }
    })?;
    let (mut stats, mut sizes) = (Stats::default(), Compression::default());
    for blob in used.iter() {
        let place = reader.index().place_of(&blob).ok_or(StatsError::Unknown { blob })?;
        let (stored, plain) =
            (u64::from(place.len), u64::from(place.opened_len()) + u64::from(limits::SEAL_BYTES));
        sizes.stored += stored;
        sizes.uncompressed += plain;
        if place.plain_len.is_some() {
            sizes.compressed_stored += stored;
            sizes.compressed_uncompressed += plain;
        }
        stats.blobs += 1;
    }
    stats.bytes = sizes.stored;
    stats.compression = (reader.repository().config().version >= 2).then_some(sizes);
    Ok(stats)
}

fn files_by_contents(context: &Context, reader: &Reader, roots: &[TreeId]) -> Result<Stats, StatsError> {
    let sizes: Mutex<HashMap<Key, u64>> = Mutex::default();
    each_tree(context, reader, roots, |_, tree| {
        // The key is made outside the lock.
        let found: Vec<(Key, u64)> =
            tree.nodes.iter().map(|node| (content_key(node), content_size(node))).collect();
        let mut sizes = sizes.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, size) in found {
            // Equal contents have equal sizes; should a damaged node say otherwise, no order may show.
            let known = sizes.entry(key).or_default();
            *known = size.max(*known);
        }
    })?;
    let sizes = sizes.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Stats { bytes: sizes.values().sum(), files: sizes.len() as u64, ..Stats::default() })
}

/// Half a SHA-256: enough to tell billions of things apart.
type Key = [u8; 16];

fn key(bytes: &[u8]) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&sha256(bytes).as_bytes()[..16]);
    key
}

fn content(node: &Node) -> &[DataId] {
    node.content.as_deref().unwrap_or_default()
}

fn content_key(node: &Node) -> Key {
    let ids: Vec<u8> = content(node).iter().flat_map(|id| *id.id().as_bytes()).collect();
    key(&ids)
}

fn content_size(node: &Node) -> u64 {
    if content(node).is_empty() { 0 } else { node.size }
}

/// Goes through directories in order: which path a content is met at first decides.
fn blobs_per_file(context: &Context, reader: &Reader, roots: &[TreeId]) -> Result<Stats, StatsError> {
    let mut stats = Stats::default();
    let mut seen = SeenTrees::new();
    let (mut contents, mut files, mut parts) = (HashSet::new(), HashSet::new(), HashSet::new());
    for root in roots {
        if !seen.insert(*root) {
            continue;
        }
        let mut walk = Walk::new(reader, *root, "/").reading_ahead();
        while let Some(entry) = walk.next() {
            context.cancel.check()?;
            let entry = entry?;
            // A directory met before has only contents met before, wherever it lies now.
            if entry.node.subtree.is_some_and(|tree| !seen.insert(tree)) {
                walk.skip_dir();
            }
            if content(&entry.node).is_empty() || !contents.insert(content_key(&entry.node)) {
                continue;
            }
            let path = key(entry.path.as_os_str().as_encoded_bytes());
            stats.files += u64::from(files.insert(path));
            for id in content(&entry.node) {
                let part = key(&[&path[..], id.id().as_bytes()].concat());
                if parts.insert(part) {
                    let blob = BlobId::from(*id);
                    stats.bytes += reader.index().opened_len(&blob).ok_or(StatsError::Unknown { blob })?;
                    stats.blobs += 1;
                }
            }
        }
    }
    Ok(stats)
}

/// Adds up every different directory once, then snapshots from these sums.
fn restore_size(context: &Context, reader: &Reader, roots: &[TreeId]) -> Result<Stats, StatsError> {
    let sums: Mutex<Sums> = Mutex::default();
    each_tree(context, reader, roots, |id, tree| {
        let sum = Sum::of(&tree);
        sums.lock().unwrap_or_else(PoisonError::into_inner).0.insert(id, sum);
    })?;
    let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut stats = Stats::default();
    for root in roots {
        context.cancel.check()?;
        sums.complete(*root);
        let Some(sum) = sums.0.get(root) else { continue };
        stats.files += sum.entries;
        stats.bytes += sum.bytes;
        stats.bytes += sums.linked_bytes(*root);
    }
    Ok(stats)
}

/// What lies in a directory; once complete, what lies below it.
struct Sum {
    entries: u64,
    /// Without hard-linked files.
    bytes: u64,
    /// The hard-linked files right inside.
    links: Box<[Link]>,
    children: Box<[TreeId]>,
    is_complete: bool,
    /// Whether a hard-linked file lies inside; once complete, below.
    has_links: bool,
}

/// One name of a file that may have others.
struct Link {
    inode: u64,
    device: u64,
    size: u64,
}

impl Sum {
    fn of(tree: &Tree) -> Self {
        let (mut bytes, mut links) = (0, Vec::new());
        for node in &tree.nodes {
            if node.links == 1 || node.is_dir() || node.inode == 0 {
                bytes += node.size;
            } else if node.size > 0 {
                links.push(Link { inode: node.inode, device: node.device_id, size: node.size });
            }
        }
        Self {
            entries: tree.nodes.len() as u64,
            bytes,
            has_links: !links.is_empty(),
            links: links.into(),
            children: tree.nodes.iter().filter_map(|node| node.subtree).collect(),
            is_complete: false,
        }
    }
}

#[derive(Default)]
struct Sums(HashMap<TreeId, Sum>);

impl Sums {
    /// Adds to a directory what lies below it; before that, the same for its children.
    fn complete(&mut self, root: TreeId) {
        let mut open = vec![root];
        while let Some(id) = open.last().copied() {
            let Some(sum) = self.0.get(&id) else {
                open.pop();
                continue;
            };
            let child = |id: &TreeId| self.0.get(id);
            let waiting = open.len();
            if !sum.is_complete {
                open.extend(sum.children.iter().filter(|id| child(id).is_some_and(|sum| !sum.is_complete)));
            }
            if open.len() > waiting {
                continue;
            }
            open.pop();
            if sum.is_complete {
                continue;
            }
            let below = || sum.children.iter().filter_map(child);
            let entries: u64 = below().map(|sum| sum.entries).sum();
            let bytes: u64 = below().map(|sum| sum.bytes).sum();
            let has_links = below().any(|sum| sum.has_links);
            if let Some(sum) = self.0.get_mut(&id) {
                sum.entries += entries;
                sum.bytes += bytes;
                sum.has_links |= has_links;
                sum.is_complete = true;
            }
        }
    }

    /// The bytes of the hard-linked files below a complete directory, each file once.
    fn linked_bytes(&self, root: TreeId) -> u64 {
        let mut files: HashMap<(u64, u64), u64> = HashMap::new();
        let (mut open, mut seen) = (vec![root], HashSet::from([root]));
        while let Some(id) = open.pop() {
            let Some(sum) = self.0.get(&id).filter(|sum| sum.has_links) else { continue };
            for link in &sum.links {
                let size = files.entry((link.inode, link.device)).or_default();
                *size = link.size.max(*size);
            }
            open.extend(sum.children.iter().filter(|id| seen.insert(**id)));
        }
        files.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::NodeKind;
    use crate::id::{ID_LEN, Id};

    fn id(number: u8) -> TreeId {
        Id::new([number; ID_LEN]).into()
    }

    fn file(name: &str, size: u64, links: u64, inode: u64) -> Node {
        Node { size, links, inode, device_id: 7, ..Node::new(name, NodeKind::File) }
    }

    fn dir(name: &str, tree: u8) -> Node {
        Node { subtree: Some(id(tree)), size: 0, ..Node::new(name, NodeKind::Dir) }
    }

    /// Goal: sums of snapshots that share directories, one of them twice inside a snapshot.
    #[test]
    fn hard_linked_files_count_once_per_snapshot_and_shared_directories_as_often_as_they_occur() {
        let trees = [
            (1, vec![dir("a", 3), dir("b", 4), dir("c", 4), file("l", 100, 3, 5)]),
            (2, vec![dir("b", 4)]),
            (3, vec![file("l", 100, 3, 5), file("m", 30, 2, 6), file("odd", 9, 2, 0)]),
            (4, vec![dir("d", 5), file("x", 1, 1, 8)]),
            (5, vec![file("l", 100, 3, 5), file("y", 2, 1, 9)]),
        ];
        let mut sums = Sums::default();
        for (number, nodes) in trees {
            sums.0.insert(id(number), Sum::of(&Tree { nodes }));
        }
        let mut check = |root, entries, bytes| {
            sums.complete(id(root));
            let found = (sums.0[&id(root)].entries, sums.0[&id(root)].bytes + sums.linked_bytes(id(root)));
            assert_eq!(found, (entries, bytes), "root {root}");
        };
        check(1, 4 + 3 + 2 * 4, 100 + 30 + 9 + 2 * 3);
        check(2, 5, 100 + 3);
        check(1, 15, 145);
    }

    #[test]
    fn percentages_need_bytes() {
        let none = Compression::default();
        assert_eq!((none.ratio(), none.progress_percent(), none.saving_percent()), (None, None, None));
        let half =
            Compression { stored: 60, uncompressed: 80, compressed_stored: 20, compressed_uncompressed: 40 };
        assert_eq!(half.ratio(), Some(2.0));
        assert_eq!(half.progress_percent(), Some(50.0));
        assert_eq!(half.saving_percent(), Some(25.0));
    }
}
