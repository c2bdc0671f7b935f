//! What the tests of restoring share: a backup of a literal tree, and a target beside its source.

use std::path::PathBuf;
use std::sync::Arc;

use repo_core::backend::MemoryBackend;
use repo_core::filter::{Case, Patterns};
use repo_core::format::{Mode, Node, NodeKind, Snapshot as Record};
use repo_core::hash::sha256;
use repo_core::id::{BlobId, BlobKind, DataId, TreeId};
use repo_core::ops::restore::{Report, RestoreOptions, restore};
use repo_core::repository::{Repository, Writer, WriterOptions};
use tests::repo::{backup, context, in_memory, open};
use tests::tree::{
    Snapshot, Tree, assert_same, dir, empty_dir, fifo, file, hard_link, noise, sparse, symlink,
};

/// A backup of a tree, and a target beside its source.
pub(super) struct Ground {
    pub(super) folder: tempfile::TempDir,
    pub(super) memory: Arc<MemoryBackend>,
    pub(super) repository: Repository,
    pub(super) record: Record,
}

impl Ground {
    pub(super) fn new(tree: &Tree) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::new(in_memory(2));
        let repository = open(memory.clone());
        tree.build(&folder.path().join("source"));
        let record = backup(&repository, &folder.path().join("source")).unwrap().snapshot;
        Self { folder, memory, repository, record }
    }

    /// A repository with a tree that nobody would write: the nodes as they are, in their order.
    pub(super) fn hostile(nodes: impl FnOnce(&mut dyn FnMut(&[u8]) -> DataId) -> Vec<Node>) -> Self {
        let mut ground = Self::new(&dir([("a", file("a"))]));
        let index = ground.repository.load_index(&context()).unwrap();
        let writer = Writer::start(&context(), &ground.repository, index, WriterOptions::default());
        let mut blobs = writer.blob_writer();
        let nodes = nodes(&mut |bytes| {
            let id = sha256(bytes);
            blobs.save(&BlobId { kind: BlobKind::Data, id }, bytes).unwrap();
            DataId(id)
        });
        let mut text = br#"{"nodes":["#.to_vec();
        for (number, node) in nodes.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            node.write(&mut text);
        }
        text.extend_from_slice(b"]}\n");
        let tree = TreeId(sha256(&text));
        blobs.save(&tree.into(), &text).unwrap();
        blobs.flush();
        writer.finish().unwrap();
        ground.record.tree = tree;
        ground
    }

    pub(super) fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    pub(super) fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.target().join(path)
    }

    pub(super) fn restore(&self, options: &RestoreOptions) -> Report {
        restore(&context(), &self.repository, &self.record, &self.target(), options).unwrap()
    }

    /// Restores, and expects no problem and all of the source.
    pub(super) fn restore_all(&self, options: &RestoreOptions) -> Report {
        let report = self.restore(options);
        assert_sound(&report);
        self.assert_restored();
        report
    }

    pub(super) fn assert_restored(&self) {
        assert_same(&Snapshot::of(&self.target()), &Snapshot::of(&self.source()));
    }
}

pub(super) fn options(change: impl FnOnce(&mut RestoreOptions)) -> RestoreOptions {
    let mut options = RestoreOptions::default();
    change(&mut options);
    options
}

pub(super) fn assert_sound(report: &Report) {
    let problems: Vec<String> = report.skipped.iter().map(|skipped| skipped.problem.to_string()).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// A file that its owner may read, as all tests here want.
pub(super) fn node(name: impl Into<Vec<u8>>) -> Node {
    Node { mode: Mode(0o644), ..Node::new(name, NodeKind::File) }
}

pub(super) fn patterns(patterns: &[&str]) -> Vec<Patterns> {
    vec![Patterns::new(patterns, Case::Sensitive).unwrap()]
}

/// Something of everything.
pub(super) fn zoo() -> Tree {
    dir([
        ("empty", file("").mtime(1, 2)),
        ("large", file(noise(5_000_000, 1)).mode(0o4711)),
        ("link", symlink("../nowhere")),
        ("pipe", fifo().mode(0o622)),
        ("old", file("x").mtime(-1_000_000, 123_456_789).mode(0o400)),
        ("sparse", sparse(3_000_000, [(1_000_000, noise(5000, 2))])),
        (
            "sub",
            dir([
                ("closed", dir([("inside", file("y"))]).mode(0o500).mtime(77, 7)),
                ("empty", empty_dir().mode(0o1777)),
                ("name\nline", file("z").xattr("user.a", b"\0\xff").xattr("user.empty", "")),
                ("twin", hard_link("large")),
            ])
            .mtime(1_000_000_000, 5)
            .xattr("user.dir", "d"),
        ),
    ])
}
