//! The judge: what lies in a storage, from its raw bytes.
//!
//! In: files and the master key. Out: which snapshots are whole and what is in them, which are not and why, which entries
//! of the index lead nowhere, and which files are nobody's. Shares nothing with the engine but decrypting, inflating and
//! parsing: no reader, no index, no walk, no check. As simple as it can be, and never mends anything.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use repo_core::blob::open_record;
use repo_core::compress::Decompressor;
use repo_core::crypto::Key;
use repo_core::format::{IndexFile, NodeKind, Snapshot, Tree};
use repo_core::id::{BlobId, BlobKind, FileId, FileKind, Id, PackId, SnapshotId};
use sha2::{Digest, Sha256};

/// Every file of a storage.
pub(super) type Files = BTreeMap<FileId, Vec<u8>>;

/// What is in a snapshot: for each path what it is, with the hash of its bytes.
pub(super) type Content = BTreeMap<Vec<u8>, (String, Id)>;

/// Longer than any record of these tests.
const RECORD_MAX: usize = 1 << 24;

/// What lies there.
#[derive(Debug, Default, Clone)]
pub(super) struct Found {
    /// Snapshots of which everything is there and right.
    pub(super) whole: BTreeMap<SnapshotId, (Snapshot, Content)>,
    /// Snapshots that can be read, but not everything below them.
    pub(super) broken: BTreeMap<SnapshotId, String>,
    /// Entries of the index without the right bytes behind them.
    pub(super) dangling: BTreeSet<(BlobId, PackId)>,
    /// Files whose bytes do not match their names.
    pub(super) torn: BTreeSet<FileId>,
    /// Files that match their names and yet are none of this repository.
    pub(super) foreign: BTreeSet<FileId>,
    /// Every blob that the index lists.
    pub(super) listed: BTreeSet<BlobId>,
    /// Every blob that a snapshot needs.
    pub(super) used: BTreeSet<BlobId>,
    /// Packs that no index file lists, or only as marked.
    pub(super) unlisted: BTreeSet<PackId>,
    /// Locks.
    pub(super) locks: BTreeSet<FileId>,
}

impl Found {
    /// Every snapshot that somebody who lists sees and can read.
    pub(super) fn visible(&self) -> BTreeSet<SnapshotId> {
        self.whole.keys().chain(self.broken.keys()).copied().collect()
    }

    /// What the whole snapshots hold, whatever they are called.
    pub(super) fn contents(&self) -> BTreeSet<&Content> {
        self.whole.values().map(|(_, content)| content).collect()
    }
}

/// Where a blob lies: pack, offset, length, and length when inflated.
type Place = (PackId, usize, usize, Option<NonZeroU32>);

struct Judge<'a> {
    files: &'a Files,
    key: &'a Key,
    places: BTreeMap<BlobId, Vec<Place>>,
    /// What was asked for so far.
    used: BTreeSet<BlobId>,
}

/// Looks at everything.
pub(super) fn look(files: &Files, key: &Key) -> Found {
    let mut found = Found::default();
    let mut judge = Judge { files, key, places: BTreeMap::new(), used: BTreeSet::new() };
    for (file, content) in files {
        if file.kind != FileKind::Config && name(content) != file.id {
            found.torn.insert(*file);
        }
        if file.kind == FileKind::Lock {
            found.locks.insert(*file);
        }
    }
    let sound = |kind| files.keys().filter(move |file| file.kind == kind);
    for file in sound(FileKind::Index).filter(|file| !found.torn.contains(*file)) {
        let Some(index) = judge.record(*file).and_then(|json| IndexFile::parse(&json).ok()) else {
            found.foreign.insert(*file);
            continue;
        };
        for pack in &index.packs {
            for blob in &pack.blobs {
                let place = (pack.id, blob.offset as usize, blob.len as usize, blob.plain_len);
                judge.places.entry(blob.blob_id()).or_default().push(place);
            }
        }
    }
    let listed: BTreeSet<PackId> = judge.places.values().flatten().map(|place| place.0).collect();
    found.unlisted = sound(FileKind::Pack).map(|file| PackId(file.id)).collect();
    found.unlisted.retain(|pack| !listed.contains(pack));
    for (blob, places) in &judge.places {
        let wrong = places.iter().filter(|place| judge.open(blob, place).is_none());
        found.dangling.extend(wrong.map(|place| (*blob, place.0)));
    }
    for file in sound(FileKind::Snapshot).filter(|file| !found.torn.contains(*file)) {
        let Some(snapshot) = judge.record(*file).and_then(|json| Snapshot::parse(&json).ok()) else {
            found.foreign.insert(*file);
            continue;
        };
        match judge.content(&snapshot) {
            Ok(content) => drop(found.whole.insert(SnapshotId(file.id), (snapshot, content))),
            Err(why) => drop(found.broken.insert(SnapshotId(file.id), why)),
        }
    }
    found.listed = judge.places.into_keys().collect();
    found.used = judge.used;
    found
}

impl Judge<'_> {
    fn record(&self, file: FileId) -> Option<Vec<u8>> {
        let mut json = Vec::new();
        open_record(self.key, &self.files[&file], RECORD_MAX, &mut json).ok()?;
        Some(json)
    }

    /// The bytes in one place, if they are those of the blob.
    fn open(&self, blob: &BlobId, (pack, offset, len, plain_len): &Place) -> Option<Vec<u8>> {
        let sealed = self.files.get(&FileId::from(*pack))?.get(*offset..offset + len)?;
        let mut plain = Vec::new();
        self.key.open(sealed, &mut plain).ok()?;
        if let Some(plain_len) = plain_len {
            let mut inflated = Vec::new();
            Decompressor::new().decompress_exact(&plain, plain_len.get() as usize, &mut inflated).ok()?;
            plain = inflated;
        }
        (name(&plain) == blob.id).then_some(plain)
    }

    fn blob(&mut self, kind: BlobKind, id: Id) -> Result<Vec<u8>, String> {
        let blob = BlobId { kind, id };
        self.used.insert(blob);
        let places = self.places.get(&blob).ok_or_else(|| format!("{blob} is in no index"))?;
        let found = places.iter().find_map(|place| self.open(&blob, place));
        found.ok_or_else(|| format!("{blob} is nowhere"))
    }

    /// Everything below a snapshot, or the first thing that is missing.
    fn content(&mut self, snapshot: &Snapshot) -> Result<Content, String> {
        let mut content = Content::new();
        let mut folders = vec![(Vec::new(), snapshot.tree)];
        while let Some((path, tree)) = folders.pop() {
            let text = self.blob(BlobKind::Tree, tree.into())?;
            let tree = Tree::parse(&text).map_err(|error| format!("{tree}: {error}"))?;
            for node in tree.nodes {
                let path = [&path[..], b"/", &node.name].concat();
                let mut hash = Sha256::new();
                for data in node.content.iter().flatten() {
                    hash.update(self.blob(BlobKind::Data, (*data).into())?);
                }
                if node.kind == NodeKind::Dir {
                    let subtree =
                        node.subtree.ok_or_else(|| format!("{} has no tree", path.escape_ascii()))?;
                    folders.push((path.clone(), subtree));
                }
                hash.update(&node.link_target);
                content.insert(path, (format!("{:?}", node.kind), Id::new(hash.finalize().into())));
            }
        }
        Ok(content)
    }
}

fn name(content: &[u8]) -> Id {
    Id::new(Sha256::digest(content).into())
}
