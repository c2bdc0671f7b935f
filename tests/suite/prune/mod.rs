//! Pruning: exactly what no snapshot needs goes, whatever happened before and whenever the machine stops.

mod model; // random histories against plain sets
pub(crate) mod crash; // what a prune must meet, and storage that does not do its part
mod beside; // prunes beside others: marks, their time, and backups that begin and end at any moment
mod peer; // restic prunes what we wrote, and checks what we pruned
mod cost; // what it asks of the storage
mod again; // what was walked once is not walked again

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use repo_core::Context;
use repo_core::backend::{Backend, MemoryBackend};
use repo_core::blob::{SealPolicy, Sealer};
use repo_core::compress::Compression;
use repo_core::context::HandClock;
use repo_core::format::{IndexFile, IndexedPack, Node, NodeKind, Snapshot, TreeWriter};
use repo_core::hash::sha256;
use repo_core::id::{BlobId, BlobKind, DataId, FileId, FileKind, Id, PackId, SnapshotId, TreeId};
use repo_core::index::Index;
use repo_core::ops::check::{CheckOptions, Finding, ReadData, check};
use repo_core::pack::PackBuilder;
use repo_core::repository::{Repository, Writer, WriterOptions};
use repo_core::snapshots;
use repo_core::time::{Time, Timestamp};
use tests::repo::{context, in_memory, open};
use tests::tree::noise;

/// An empty repository, opened once and copied often.
fn empty(version: u32) -> MemoryBackend {
    static EMPTY: [OnceLock<MemoryBackend>; 2] = [const { OnceLock::new() }; 2];
    EMPTY[version as usize - 1].get_or_init(|| in_memory(version)).copy()
}

/// A repository whose content is known without reading it: what every snapshot needs is kept beside.
pub(crate) struct History {
    pub(crate) memory: Arc<MemoryBackend>,
    /// The storage's; moves only by hand.
    pub(crate) clock: Arc<HandClock>,
    pub(crate) repository: Repository,
    context: Context,
    /// What each snapshot needs.
    pub(crate) snapshots: Vec<(SnapshotId, BTreeSet<BlobId>)>,
    /// The content of everything that was ever stored.
    known: BTreeMap<BlobId, Vec<u8>>,
}

impl History {
    pub(crate) fn new(version: u32) -> Self {
        let memory = Arc::new(empty(version));
        let clock = Arc::new(HandClock::new());
        memory.keep_time(clock.clone());
        let repository = open(memory.clone());
        Self { memory, clock, repository, context: context(), snapshots: Vec::new(), known: BTreeMap::new() }
    }

    /// Goes on with a repository of which nothing is known.
    pub(crate) fn over(memory: Arc<MemoryBackend>) -> Self {
        Self::with(context(), open(memory.clone()), memory)
    }

    /// The same through a repository and in surroundings of one's own.
    pub(crate) fn with(context: Context, repository: Repository, memory: Arc<MemoryBackend>) -> Self {
        Self {
            memory,
            clock: Arc::default(),
            repository,
            context,
            snapshots: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    /// A snapshot of two folders with files made of numbered chunks. `blind` knows no index, and so stores everything
    /// again, as two programs at the same time would.
    pub(crate) fn back_up(&mut self, files: &[u8], blind: bool) {
        let index = if blind { Arc::default() } else { self.repository.load_index(&self.context).unwrap() };
        self.back_up_with(index, files);
    }

    /// A backup that loaded the index at some time before.
    pub(crate) fn back_up_with(&mut self, index: Arc<Index>, files: &[u8]) {
        self.try_back_up(index, files, || Ok(())).unwrap();
    }

    /// The same where anything may fail; `sure` is asked before the snapshot is saved.
    pub(crate) fn try_back_up(
        &mut self,
        index: Arc<Index>,
        files: &[u8],
        sure: impl FnOnce() -> Result<(), String>,
    ) -> Result<SnapshotId, String> {
        let said = |error: &dyn std::error::Error| error.to_string();
        let writer = Writer::start(&self.context, &self.repository, index, WriterOptions::default());
        let mut blobs = writer.blob_writer();
        let mut needed = BTreeSet::new();
        let (left, right) = files.split_at(files.len() / 2);
        let mut store = |kind, plain: Vec<u8>| {
            let blob = BlobId { kind, id: sha256(&plain) };
            blobs.save(&blob, &plain).map_err(|error| said(&error))?;
            needed.insert(blob);
            self.known.insert(blob, plain);
            Ok::<_, String>(blob.id)
        };
        let mut folders = Vec::new();
        for files in [left, right] {
            let chunks: BTreeSet<u8> = files.iter().copied().collect();
            let mut tree = TreeWriter::new();
            for number in chunks {
                let plain = chunk(number);
                let mut node = Node::new(format!("file-{number:03}"), NodeKind::File);
                node.size = plain.len() as u64;
                node.content = Some(vec![DataId(store(BlobKind::Data, plain)?)]);
                tree.push(&node).unwrap();
            }
            folders.push(TreeId(store(BlobKind::Tree, tree.finish())?));
        }
        let mut root = TreeWriter::new();
        for (name, folder) in ["a", "b"].into_iter().zip(folders) {
            let mut node = Node::new(name, NodeKind::Dir);
            node.subtree = Some(folder);
            root.push(&node).unwrap();
        }
        let tree = TreeId(store(BlobKind::Tree, root.finish())?);
        blobs.flush();
        writer.finish().map_err(|error| said(&error))?;
        sure()?;
        let saved = self.repository.save(&self.context, &snapshot(tree, self.snapshots.len()));
        let id = saved.map_err(|error| said(&error))?;
        self.snapshots.push((id, needed));
        Ok(id)
    }

    pub(crate) fn forget(&mut self, number: usize) {
        if !self.snapshots.is_empty() {
            let (id, _) = self.snapshots.remove(number % self.snapshots.len());
            snapshots::remove(&self.repository, id).unwrap();
        }
    }

    /// A pack with known blobs, some of them twice, data and trees mixed as it comes, compressed or not; as other and
    /// older programs write it. `listed` says whether an index file lists it.
    pub(crate) fn odd_pack(&mut self, picks: &[u8], compressed: bool, listed: bool) {
        let known: Vec<_> = self.known.iter().collect();
        if known.is_empty() || picks.is_empty() {
            return;
        }
        let version = if compressed { self.repository.config().version } else { 1 };
        let policy = SealPolicy { version, compression: Compression::Auto, verify: false };
        let mut sealer = Sealer::new(self.repository.key().clone(), policy);
        let mut pack = PackBuilder::default();
        for pick in picks {
            let (blob, plain) = known[usize::from(*pick) % known.len()];
            pack.add(&mut sealer, self.context.random.as_ref(), blob, plain).unwrap();
        }
        let pack = pack.finish(self.repository.key(), self.context.random.as_ref());
        self.memory.write(pack.content.id.into(), &pack.bytes).unwrap();
        if listed {
            self.list(vec![pack.content]);
        }
    }

    /// An index file for a pack that never was, with a blob that nobody has.
    pub(crate) fn stale_entry(&self, number: u8) {
        let blob = repo_core::format::IndexedBlob {
            kind: BlobKind::Data,
            id: Id::new([number; 32]),
            offset: 0,
            len: 50,
            plain_len: None,
        };
        self.list(vec![IndexedPack { id: PackId(Id::new([number ^ 0xff; 32])), blobs: vec![blob] }]);
    }

    /// All packs stand in one more index file.
    pub(crate) fn list_again(&self) {
        let files = self.repository.list::<IndexFile>().unwrap();
        let packs = files.into_iter().flat_map(|id| self.repository.load::<IndexFile>(id).unwrap().packs);
        let packs: Vec<_> = packs.collect();
        if !packs.is_empty() {
            self.list(packs);
        }
    }

    fn list(&self, packs: Vec<IndexedPack>) {
        self.repository.save(&self.context, &IndexFile { packs, ..IndexFile::default() }).unwrap();
    }

    /// Everything that the snapshots need.
    pub(crate) fn needed(&self) -> BTreeSet<BlobId> {
        self.snapshots.iter().flat_map(|(_, needed)| needed.iter().copied()).collect()
    }
}

fn snapshot(tree: TreeId, number: usize) -> Snapshot {
    let seconds = 1_700_000_000 + i64::try_from(number).unwrap();
    Snapshot {
        time: Time { instant: Timestamp { seconds, nanos: 0 }, ..Time::ZERO },
        parent: None,
        tree,
        paths: vec!["/a".into()],
        hostname: "host".into(),
        username: "user".into(),
        uid: 1,
        gid: 1,
        excludes: Vec::new(),
        tags: Vec::new(),
        original: None,
        program_version: String::new(),
        summary: None,
        unknown: Vec::new(),
    }
}

/// The same number gives the same bytes; every third one compresses well.
fn chunk(number: u8) -> Vec<u8> {
    let len = 200 + usize::from(number) * 37 % 4000;
    if number.is_multiple_of(3) { vec![number; len] } else { noise(len, u64::from(number)) }
}

/// Every copy that the index lists, sorted.
pub(crate) fn listed(repository: &Repository) -> Vec<BlobId> {
    let index = repository.load_index(&context()).unwrap();
    index.copies().map(|copy| copy.blob).collect()
}

/// Every snapshot is whole, every byte sound, and no pack lies about that no index lists.
pub(crate) fn assert_sound(
    memory: &Arc<MemoryBackend>,
    needed: &BTreeSet<BlobId>,
    story: &dyn Fn() -> String,
) {
    let repository = open(memory.clone());
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let report = check(&context(), &repository, &options).unwrap();
    assert!(report.is_sound(), "{:#?}\n{}", report.findings, story());
    let unindexed = |finding: &Finding| matches!(finding, Finding::PackUnreferenced { .. });
    assert!(!report.findings.iter().any(unindexed), "{:#?}\n{}", report.findings, story());
    let listed: BTreeSet<_> = listed(&repository).into_iter().collect();
    assert!(listed.is_superset(needed), "{}", story());
}

/// The repository's packs.
pub(crate) fn packs(memory: &MemoryBackend) -> Vec<FileId> {
    memory.files().into_keys().filter(|file| file.kind == FileKind::Pack).collect()
}
