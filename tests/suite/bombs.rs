//! Small things that become huge: frames that inflate a thousandfold, lengths that lie, files without an end, folders in
//! each other. Every command ends with an error that names the thing, in bounded memory and time, or does its work.
//!
//! Somebody who has the key made them: everything is sealed and named as it should be. The program itself runs, and its
//! peak memory is the kernel's own count.

use std::fs::{self, File};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use repo_core::Context;
use repo_core::backend::MemoryBackend;
use repo_core::blob::seal_record;
use repo_core::compress::{Compression, Compressor};
use repo_core::format::{IndexFile, IndexedPack, Mode, Node, NodeKind, Snapshot, TreeWriter};
use repo_core::hash::sha256;
use repo_core::id::{BlobId, BlobKind, DataId, FileId, FileKind, Id, TreeId};
use repo_core::pack::PackBuilder;
use repo_core::repository::Repository;
use rustix::fs::{CWD, FileType, mknodat};
use tests::fixtures::packs_in;
use tests::larder::larder;
use tests::program::Ran;
use tests::repo::{backup, context, in_memory, open, save};
use tests::tree::{dir, file, noise, sparse};

const MEMORY_MAX: u64 = 512 << 20;
const TIME_MAX: Duration = Duration::from_mins(1);

/// A healthy repository with one snapshot, to which something is added.
struct Scene {
    memory: Arc<MemoryBackend>,
    repository: Repository,
    folder: tempfile::TempDir,
    snapshot: Snapshot,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        dir([("file", file("content")), ("noise", file(noise(20_000, 1)))])
            .build(&folder.path().join("source"));
        let memory = Arc::new(in_memory(2));
        let repository = open(memory.clone());
        let snapshot = backup(&repository, &folder.path().join("source")).unwrap().snapshot;
        Self { memory, repository, folder, snapshot }
    }

    fn record(&self, kind: FileKind, json: &[u8]) -> Id {
        let bytes = seal_record(self.repository.key(), 2, context().random.as_ref(), json);
        let id = sha256(&bytes);
        self.memory.insert(FileId { kind, id }, bytes);
        id
    }

    /// A pack with one sealed blob, of whatever length.
    fn blob(&self, kind: BlobKind, plain: &[u8]) -> BlobId {
        self.pack(kind, &[plain])[0]
    }

    fn pack(&self, kind: BlobKind, plains: &[&[u8]]) -> Vec<BlobId> {
        let (mut pack, mut compressor) = (PackBuilder::default(), Compressor::new(Compression::Auto));
        let (key, random) = (self.repository.key(), context().random);
        let mut blobs = Vec::new();
        for plain in plains {
            let blob = BlobId { kind, id: sha256(plain) };
            let (mut frame, mut sealed) = (Vec::new(), Vec::new());
            compressor.compress(plain, &mut frame);
            key.seal(random.as_ref(), &frame, &mut sealed);
            pack.add_sealed(&blob, &sealed, NonZeroU32::new(u32::try_from(plain.len()).unwrap()));
            blobs.push(blob);
        }
        let pack = pack.finish(key, random.as_ref());
        self.memory.insert(FileId::from(pack.content.id), pack.bytes);
        self.index(vec![pack.content]);
        blobs
    }

    /// Trees, of which the last is that of a new snapshot.
    fn trees(&self, plains: &[Vec<u8>]) {
        let blobs = self.pack(BlobKind::Tree, &plains.iter().map(Vec::as_slice).collect::<Vec<_>>());
        self.root(TreeId(blobs.last().unwrap().id));
    }

    fn index(&self, packs: Vec<IndexedPack>) {
        self.repository.save(&context(), &IndexFile { packs, ..IndexFile::default() }).unwrap();
    }

    fn tree(&self, plain: &[u8]) -> TreeId {
        TreeId(self.blob(BlobKind::Tree, plain).id)
    }

    fn root(&self, tree: TreeId) {
        self.repository.save(&context(), &Snapshot { tree, ..self.snapshot.clone() }).unwrap();
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Runs commands of all kinds; each stays within its bounds, and `check` names what is wrong with one of `words`.
    fn all_end_well(&self, what: &str, words: &str) {
        save(&self.memory, &self.repository());
        let commands = [
            "check --read-data",
            "restore latest --target target",
            "ls latest",
            "stats latest",
            "prune --dry-run",
        ];
        for command in commands.into_iter().chain(["repair snapshots --dry-run", "backup source"]) {
            let ran = self.bounded(what, command);
            if command.starts_with("check") {
                assert!(ran.code == 1 && ran.stderr.contains(words), "{what}: {words} is not told\n{ran}");
            }
        }
    }

    /// Runs one command, which must not take more memory or time than it may.
    fn bounded(&self, what: &str, command: &str) -> Ran {
        let (ran, peak, took) = run(&self.repository(), self.folder.path(), command);
        assert!(peak > 0 && peak <= MEMORY_MAX, "{what}: {} MiB\n{ran}", peak >> 20);
        assert!(took <= TIME_MAX, "{what}: {took:?}\n{ran}");
        let known = [0, 1, 3, 12].contains(&ran.code) && !ran.stderr.contains("panicked");
        assert!(known && (ran.code == 0 || !ran.stderr.is_empty()), "{what}\n{ran}");
        ran
    }
}

/// Runs a command; gives the most memory it held, in bytes, and how long it took.
fn run(repository: &Path, within: &Path, words: &str) -> (Ran, u64, Duration) {
    let clock = Context::new().clock;
    let begun = clock.elapsed();
    let mut child = larder().on(repository).within(within).args(words.split(' ')).spawn();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    // What the system keeps of it only grows, so the last look before the end is the right one.
    while child.try_wait().unwrap().is_none() {
        let said = fs::read_to_string(&status).unwrap_or_default();
        let line = said.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        peak = peak.max(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10);
        if clock.elapsed().saturating_sub(begun) > TIME_MAX {
            let _ = child.kill();
        }
        std::thread::yield_now();
    }
    let took = clock.elapsed().saturating_sub(begun);
    let output = child.wait_with_output().unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (Ran { command: words.to_owned(), code: output.status.code().unwrap_or(-1), stdout, stderr }, peak, took)
}

/// A text that ends nowhere near its beginning.
fn endless(start: &str, again: &str, len: usize) -> Vec<u8> {
    [start.as_bytes(), &again.as_bytes().repeat(len / again.len())].concat()
}

const EMPTY_PACK: &str =
    r#"{"id":"5555555555555555555555555555555555555555555555555555555555555555","blobs":[]},"#;

#[test]
fn index_files_that_inflate_without_end_are_refused() {
    for (what, again, len) in
        [("blanks", " ", 511 << 20), ("packs", EMPTY_PACK, 400 << 20), ("too many", " ", 600 << 20)]
    {
        let scene = Scene::new();
        let id = scene.record(FileKind::Index, &endless(r#"{"packs":["#, again, len));
        scene.all_end_well(what, &id.to_string()[..8]);
    }
}

#[test]
fn snapshots_and_locks_that_inflate_without_end_are_refused() {
    for kind in [FileKind::Snapshot, FileKind::Lock] {
        let scene = Scene::new();
        let id = scene.record(kind, &endless(r#"{"paths":["#, r#""/a","#, 400 << 20));
        scene.all_end_well("record", &id.to_string()[..8]);
    }
}

#[test]
fn directories_that_are_cut_off_are_refused() {
    let scene = Scene::new();
    let tree = scene.tree(&endless(r#"{"nodes":["#, r#"{"name":"a","type":"file"},"#, 15 << 20));
    scene.root(tree);
    scene.all_end_well("just short", &tree.to_string()[..8]);
}

/// A directory may shrink more than a thousandfold for a good reason: a large file of holes is one chunk, over and over.
#[test]
fn directory_of_a_file_that_is_all_holes_is_read_again() {
    let scene = Scene::new();
    let holes = scene.folder.path().join("holes");
    dir([("image", sparse(200 << 30, []))]).build(&holes);
    let report = backup(&scene.repository, &holes).unwrap();
    let reader = scene.repository.reader(&context()).unwrap();
    let tree = BlobId::from(report.snapshot.tree);
    let place = reader.index().place_of(&tree).unwrap();
    assert!(place.opened_len() / place.len > 1000, "{} of {}", place.len, place.opened_len());
    assert_eq!(reader.tree(report.snapshot.tree).unwrap().nodes[0].size, 200 << 30);
}

#[test]
fn content_that_is_longer_than_any_chunk_is_refused() {
    let scene = Scene::new();
    let plain = vec![0; 100 << 20];
    let blob = scene.blob(BlobKind::Data, &plain);
    let mut tree = TreeWriter::new();
    let content = Some(vec![DataId(blob.id)]);
    tree.push(&Node {
        content,
        size: plain.len() as u64,
        mode: Mode(0o644),
        ..Node::new("zeros", NodeKind::File)
    })
    .unwrap();
    let tree = scene.tree(&tree.finish());
    scene.root(tree);
    scene.all_end_well("zeros", &blob.id.to_string()[..8]);
}

/// 10,000 folders in each other; and forty, each of which is there twice in the one above: 2⁴⁰ paths.
#[test]
fn folders_without_end_are_bounded() {
    let folder = |name: &str, tree| Node {
        subtree: Some(tree),
        mode: Mode(Mode::DIR | 0o755),
        ..Node::new(name, NodeKind::Dir)
    };
    let stack = |scene: &Scene, names: &[&str], levels: usize| {
        let mut pack = Vec::new();
        let mut tree = TreeWriter::new().finish();
        for _ in 0..levels {
            let below = TreeId(sha256(&tree));
            pack.push(tree);
            let mut level = TreeWriter::new();
            for name in names {
                level.push(&folder(name, below)).unwrap();
            }
            tree = level.finish();
        }
        pack.push(tree);
        scene.trees(&pack);
    };
    let scene = Scene::new();
    stack(&scene, &["d"], 10_000);
    save(&scene.memory, &scene.repository());
    for command in ["check --read-data", "restore latest --target target", "prune --dry-run", "backup source"]
    {
        scene.bounded("deep", command);
    }
    let scene = Scene::new();
    stack(&scene, &["a", "b"], 40);
    save(&scene.memory, &scene.repository());
    for command in ["check --read-data", "prune --dry-run", "repair snapshots --dry-run", "backup source"] {
        scene.bounded("wide", command);
    }
}

/// Packs that somebody made as long as the format allows, at no cost: the added part is a hole.
#[test]
fn packs_that_grew_to_gigabytes_are_not_read_whole_by_check() {
    let scene = Scene::new();
    save(&scene.memory, &scene.repository());
    for pack in packs_in(&scene.repository()) {
        File::options().write(true).open(pack).unwrap().set_len((4 << 30) - 1).unwrap();
    }
    let ran = scene.bounded("long packs", "check --read-data");
    assert!(ran.code == 1 && ran.stderr.contains("has 4294967295 bytes instead of"), "{ran}");
    for command in ["restore latest --target target", "repair index", "prune --dry-run"] {
        scene.bounded("long packs", command);
    }
}

/// Who opens a pipe waits for somebody at its other end; who reads a device of zeros never comes to an end.
#[test]
fn pipes_and_devices_in_the_way_stop_nobody() {
    let scene = Scene::new();
    save(&scene.memory, &scene.repository());
    let target = scene.folder.path().join("target");
    fs::create_dir(&target).unwrap();
    rustix::fs::mkfifoat(CWD, target.join("file"), rustix::fs::Mode::RWXU).unwrap();
    // Only root may make devices.
    let zeros = rustix::fs::makedev(1, 5);
    let _ = mknodat(CWD, target.join("noise"), FileType::CharacterDevice, rustix::fs::Mode::RWXU, zeros);
    let ran = scene.bounded("target", "restore latest --target target");
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(fs::read(target.join("file")).unwrap(), b"content");
    assert_eq!(fs::read(target.join("noise")).unwrap(), noise(20_000, 1));

    for (number, kind) in ["snapshots", "index", "keys", "locks"].into_iter().enumerate() {
        let [pipe, device] = [5, 6].map(|digit| {
            let name = format!("{digit}{number}").repeat(32);
            scene.repository().join(kind).join(name)
        });
        rustix::fs::mkfifoat(CWD, pipe, rustix::fs::Mode::RWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", device).unwrap();
    }
    for command in ["check --read-data", "restore latest --target again", "ls latest", "backup source"] {
        scene.bounded("repository", command);
    }
}
