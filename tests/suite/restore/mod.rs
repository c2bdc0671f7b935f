//! Files come back as they were, whatever stood in the target; nothing else is touched, whatever the snapshot says.
//!
//! Most tests back a literal tree up into memory, restore it, and compare all that lies on disk. Hostile trees are
//! written blob by blob.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use repo_core::backend::{Backend, MemoryBackend, Operation, RecordBackend};
use repo_core::context::{Change, Event, Stage};
use repo_core::filter::{Case, Patterns, Selection};
use repo_core::format::{Mode, Node, NodeKind, Snapshot as Record};
use repo_core::fs::target::Layout;
use repo_core::hash::sha256;
use repo_core::id::{BlobId, BlobKind, DataId, FileId, FileKind, TreeId};
use repo_core::ops::restore::{Existing, Overwrite, Problem, Report, RestoreError, RestoreOptions, restore};
use repo_core::repository::{Repository, Writer, WriterOptions};
use tests::fixtures::{Fixture, Manifest, REPOSITORIES};
use tests::repo::{backup, context, in_memory, on_disk, open};
use tests::tree::{
    Kind, MTIME, Snapshot, Tree, assert_same, dir, empty_dir, fifo, file, hard_link, noise, set_mtime,
    sparse, symlink,
};

/// A backup of a tree, and a target beside its source.
struct Ground {
    folder: tempfile::TempDir,
    memory: Arc<MemoryBackend>,
    repository: Repository,
    record: Record,
}

impl Ground {
    fn new(tree: &Tree) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::new(in_memory(2));
        let repository = open(memory.clone());
        tree.build(&folder.path().join("source"));
        let record = backup(&repository, &folder.path().join("source")).unwrap().snapshot;
        Self { folder, memory, repository, record }
    }

    /// A repository with a tree that nobody would write: the nodes as they are, in their order.
    fn hostile(nodes: impl FnOnce(&mut dyn FnMut(&[u8]) -> DataId) -> Vec<Node>) -> Self {
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

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.target().join(path)
    }

    fn restore(&self, options: &RestoreOptions) -> Report {
        restore(&context(), &self.repository, &self.record, &self.target(), options).unwrap()
    }

    /// Restores, and expects no problem and all of the source.
    fn restore_all(&self, options: &RestoreOptions) -> Report {
        let report = self.restore(options);
        assert_sound(&report);
        self.assert_restored();
        report
    }

    fn assert_restored(&self) {
        assert_same(&Snapshot::of(&self.target()), &Snapshot::of(&self.source()));
    }
}

fn options(change: impl FnOnce(&mut RestoreOptions)) -> RestoreOptions {
    let mut options = RestoreOptions::default();
    change(&mut options);
    options
}

fn assert_sound(report: &Report) {
    let problems: Vec<String> = report.skipped.iter().map(|skipped| skipped.problem.to_string()).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// A file that its owner may read, as all tests here want.
fn node(name: impl Into<Vec<u8>>) -> Node {
    Node { mode: Mode(0o644), ..Node::new(name, NodeKind::File) }
}

fn patterns(patterns: &[&str]) -> Vec<Patterns> {
    vec![Patterns::new(patterns, Case::Sensitive).unwrap()]
}

/// Something of everything.
fn zoo() -> Tree {
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

#[test]
fn everything_comes_back_as_it_was() {
    let ground = Ground::new(&zoo());
    let report = ground.restore_all(&options(|options| options.verify = true));
    assert_eq!(report.summary.entries_restored, 12);
    assert_eq!(report.summary.bytes_restored, 5_000_000 + 1 + 3_000_000 + 1 + 1);
    assert_eq!(report.summary.files_verified, 6);
}

#[test]
fn sparse_files_have_holes_if_wanted() {
    for (layout, is_small) in [(Layout::Sparse, true), (Layout::Dense, false)] {
        let ground = Ground::new(&zoo());
        ground.restore_all(&options(|options| options.layout = layout));
        let blocks = fs::metadata(ground.at("sparse")).unwrap().blocks();
        assert_eq!(blocks * 512 < 1_000_000, is_small, "{layout:?}");
    }
}

#[test]
fn repositories_that_restic_wrote_are_restored_as_restic_restores_them() {
    for name in REPOSITORIES {
        let fixture = Fixture::unpack(name);
        let repository = open(on_disk(&fixture.repo()));
        for entry in Manifest::of(name).snapshots {
            let record = repository.load::<Record>(entry.id.parse().unwrap()).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("target");
            let report =
                restore(&context(), &repository, &record, &target, &RestoreOptions::default()).unwrap();
            if rustix::process::geteuid().is_root() {
                assert_sound(&report);
                assert_same(&Snapshot::of(&target), &entry.restored());
            } else {
                assert_same(&Snapshot::of(&target).for_anybody(), &entry.restored().for_anybody());
            }
        }
    }
}

#[test]
fn restoring_again_finds_everything_right_and_fetches_trees_alone() {
    let mut ground = Ground::new(&zoo());
    ground.restore_all(&RestoreOptions::default());
    let inode = fs::metadata(ground.at("large")).unwrap().ino();
    let counted = Arc::new(RecordBackend::new(ground.memory.clone()));
    ground.repository = open(counted.clone());
    for overwrite in [Overwrite::Always, Overwrite::IfChanged] {
        let before = counted.counters();
        let report = ground.restore_all(&options(|options| options.overwrite = overwrite));
        let cost = &counted.counters() - &before;
        assert_eq!(report.summary.bytes_restored, 0);
        assert_eq!(report.summary.bytes_unchanged, 8_000_003);
        assert_eq!(fs::metadata(ground.at("large")).unwrap().ino(), inode);
        assert!(cost.of(Operation::Read, FileKind::Pack).bytes < 10_000, "{cost}");
    }
}

#[test]
fn existing_file_with_some_right_parts_becomes_right() {
    let ground = Ground::new(&dir([("f", file(noise(8_000_000, 3)))]));
    let spoil = |len: u64| {
        let mut content = noise(8_000_000, 3);
        content[4_000_000..4_000_010].fill(0);
        content.resize(usize::try_from(len).unwrap(), 7);
        fs::create_dir_all(ground.target()).unwrap();
        fs::write(ground.at("f"), content).unwrap();
        fs::metadata(ground.at("f")).unwrap().ino()
    };
    for len in [8_000_000, 5_000_000, 9_000_000, 0] {
        let replaced = spoil(len);
        ground.restore_all(&RestoreOptions::default());
        assert_ne!(fs::metadata(ground.at("f")).unwrap().ino(), replaced);
        let kept = spoil(len);
        ground.restore_all(&options(|options| options.existing = Existing::Update));
        assert_eq!(fs::metadata(ground.at("f")).unwrap().ino(), kept);
    }
}

/// A second name that somebody planted must neither get our content nor our metadata.
#[test]
fn file_with_a_planted_second_name_is_replaced() {
    let ground = Ground::new(&dir([("f", file("content").mode(0o640))]));
    fs::create_dir(ground.target()).unwrap();
    for existing in [Existing::Replace, Existing::Update] {
        for planted in ["content", "other"] {
            let elsewhere = ground.folder.path().join("elsewhere");
            fs::write(&elsewhere, planted).unwrap();
            set_mtime(&elsewhere, 5, 5);
            let _ = fs::remove_file(ground.at("f"));
            fs::hard_link(&elsewhere, ground.at("f")).unwrap();
            ground.restore_all(&options(|options| options.existing = existing));
            let left = fs::metadata(&elsewhere).unwrap();
            assert_eq!((left.mtime(), left.nlink()), (5, 1));
            assert_eq!(fs::read(&elsewhere).unwrap(), planted.as_bytes());
        }
    }
}

#[test]
fn overwrite_policy_decides_about_what_exists() {
    let check = |overwrite, mtime, expected: &[u8]| {
        let ground = Ground::new(&dir([("f", file("stored").mtime(1000, 0)), ("l", symlink("stored"))]));
        fs::create_dir(ground.target()).unwrap();
        fs::write(ground.at("f"), "edited").unwrap();
        std::os::unix::fs::symlink("edited", ground.at("l")).unwrap();
        set_mtime(&ground.at("f"), mtime, 0);
        let report = ground.restore(&options(|options| options.overwrite = overwrite));
        assert_sound(&report);
        assert_eq!(fs::read(ground.at("f")).unwrap(), expected, "{overwrite:?} {mtime}");
        let link = fs::read_link(ground.at("l")).unwrap();
        // The link on disk is of now, and so newer than the stored one.
        let stays = matches!(overwrite, Overwrite::Never | Overwrite::IfNewer);
        assert_eq!(link.to_str() == Some("edited"), stays, "{overwrite:?}");
    };
    check(Overwrite::Always, 1000, b"stored");
    check(Overwrite::IfChanged, 1000, b"edited"); // same size, same time
    check(Overwrite::IfChanged, 1001, b"stored");
    check(Overwrite::IfNewer, 999, b"stored");
    check(Overwrite::IfNewer, 1000, b"edited");
    check(Overwrite::Never, 0, b"edited");
}

#[test]
fn what_stands_in_the_way_gives_way_unless_it_would_be_a_loss() {
    let ground = Ground::new(&dir([
        ("dir", dir([("inside", file("x"))])),
        ("file", file("y")),
        ("link", symlink("z")),
        ("pipe", fifo()),
    ]));
    fs::create_dir(ground.target()).unwrap();
    std::os::unix::fs::symlink("/tmp", ground.at("dir")).unwrap();
    for name in ["file", "link", "pipe"] {
        fs::create_dir(ground.at(name)).unwrap();
    }
    ground.restore_all(&RestoreOptions::default());

    for name in ["file", "link", "pipe"] {
        fs::remove_file(ground.at(name)).unwrap();
        fs::create_dir(ground.at(name)).unwrap();
        fs::write(ground.at(name).join("precious"), "data").unwrap();
    }
    let report = ground.restore(&RestoreOptions::default());
    assert_eq!(report.skipped.len(), 3);
    assert!(report.skipped.iter().all(|skipped| matches!(skipped.problem, Problem::InTheWay { .. })));
    assert!(ground.at("file/precious").exists());
    ground.restore_all(&options(|options| options.delete = true));
}

#[test]
fn delete_removes_what_the_snapshot_does_not_have_and_only_that() {
    let tree = dir([("keep", file("x")), ("sub", dir([("keep", file("y"))])), ("other", empty_dir())]);
    let litter = |ground: &Ground| {
        let _ = fs::remove_dir_all(ground.target());
        ground.restore_all(&RestoreOptions::default());
        fs::create_dir_all(ground.at("sub/extra/deep")).unwrap();
        fs::write(ground.at("sub/extra/deep/f"), "").unwrap();
        fs::write(ground.at("extra"), "").unwrap();
        std::os::unix::fs::symlink("..", ground.at("sub/extra/up")).unwrap();
    };
    let ground = Ground::new(&tree);
    litter(&ground);
    let dry = ground.restore(&options(|options| (options.delete, options.dry_run) = (true, true)));
    assert!(ground.at("sub/extra/deep/f").exists());
    let report = ground.restore_all(&options(|options| options.delete = true));
    assert_eq!(report.summary.entries_deleted, 5);
    assert_eq!(dry.summary.entries_deleted, 5);

    litter(&ground);
    let report = ground.restore(&options(|options| {
        options.delete = true;
        options.selection = Selection::Except(patterns(&["/sub/extra"]));
    }));
    assert_eq!(report.summary.entries_deleted, 1);
    assert!(ground.at("sub/extra/deep/f").exists() && !ground.at("extra").exists());

    litter(&ground);
    let report = ground.restore(&options(|options| {
        options.delete = true;
        options.selection = Selection::Only(patterns(&["/sub"]));
    }));
    assert_eq!(report.summary.entries_deleted, 4);
    assert!(ground.at("extra").exists() && !ground.at("sub/extra").exists());
}

#[test]
fn selection_makes_only_the_directories_on_the_way() {
    let tree = dir([
        ("a", dir([("x.log", file("1")), ("y.txt", file("2")), ("deep", dir([("keep.log", file("3"))]))])),
        ("b", dir([("z.txt", file("4"))])),
        ("c", empty_dir()),
    ]);
    let check = |selection: Selection, expected: &[&str]| {
        let ground = Ground::new(&tree);
        let report = ground.restore(&options(|options| options.selection = selection));
        assert_sound(&report);
        let restored = Snapshot::of(&ground.target());
        let paths: Vec<String> =
            restored.0.keys().map(|path| String::from_utf8(path.clone()).unwrap()).collect();
        assert_eq!(paths, expected);
        let source = Snapshot::of(&ground.source());
        for (path, entry) in &restored.0 {
            assert_eq!(entry, &source.0[path], "metadata, of directories on the way as well");
        }
        assert_eq!(report.summary.entries_restored, expected.len() as u64);
    };
    let only = |list: &[&str]| Selection::Only(patterns(list));
    check(only(&["*.log"]), &["a", "a/deep", "a/deep/keep.log", "a/x.log"]);
    check(only(&["*.log", "!keep.log"]), &["a", "a/x.log"]);
    check(only(&["/a/deep"]), &["a", "a/deep", "a/deep/keep.log"]);
    check(only(&["c"]), &["c"]);
    check(only(&["nothing"]), &[]);
    check(Selection::Except(patterns(&["*.log", "/b"])), &["a", "a/deep", "a/y.txt", "c"]);
}

#[test]
fn folder_of_a_snapshot_becomes_the_target() {
    let ground = Ground::new(&zoo());
    let report = ground.restore(&options(|options| {
        options.folder = "/sub".into();
        options.selection = Selection::Except(patterns(&["/empty", "/twin"]));
    }));
    assert_sound(&report);
    let mut expected = Snapshot::of(&ground.source()).below("sub");
    expected.0.remove(b"empty".as_slice());
    expected.0.remove(b"twin".as_slice());
    assert_same(&Snapshot::of(&ground.target()), &expected);
    let missing = options(|options| options.folder = "/no/such".into());
    let error = restore(&context(), &ground.repository, &ground.record, &ground.target(), &missing);
    assert!(matches!(error.unwrap_err(), RestoreError::Folder(_)));
}

#[test]
fn dry_run_changes_nothing_and_tells_what_would_be_done() {
    let ground = Ground::new(&zoo());
    let dry = options(|options| options.dry_run = true);
    let first = ground.restore(&dry);
    assert!(!ground.target().exists());
    let done = ground.restore_all(&RestoreOptions::default());
    assert_eq!(first.summary, done.summary);
    fs::write(ground.at("empty"), "no more").unwrap();
    let before = Snapshot::of(&ground.target());
    let second = ground.restore(&dry);
    assert_same(&Snapshot::of(&ground.target()), &before);
    let done = ground.restore_all(&RestoreOptions::default());
    assert_eq!(second.summary, done.summary);
}

#[test]
fn events_tell_of_every_entry_once() {
    let ground = Ground::new(&zoo());
    let heard: Arc<Mutex<Vec<(PathBuf, Change)>>> = Arc::default();
    let (ears, totals) = (Arc::clone(&heard), Arc::new(Mutex::new((0, 0, 0))));
    let sums = Arc::clone(&totals);
    let context = context().with_observer(Arc::new(move |event: &Event<'_>| match event {
        Event::Restored { path, change, .. } => ears.lock().unwrap().push((path.to_path_buf(), *change)),
        Event::Progress { stage: Stage::Restore, bytes, .. } => sums.lock().unwrap().0 += bytes,
        Event::Total { stage: Stage::Restore, total, bytes } => {
            let mut sums = sums.lock().unwrap();
            (sums.1, sums.2) = (*total, *bytes);
        }
        _ => {}
    }));
    let scan = options(|options| options.scan = true);
    restore(&context, &ground.repository, &ground.record, &ground.target(), &scan).unwrap();
    let mut heard = heard.lock().unwrap().clone();
    heard.sort_by(|a, b| a.0.cmp(&b.0));
    let expected: Vec<PathBuf> = Snapshot::of(&ground.source())
        .0
        .keys()
        .map(|path| Path::new("/").join(std::str::from_utf8(path).unwrap()))
        .collect();
    let mut paths: Vec<PathBuf> = heard.iter().map(|(path, _)| path.clone()).collect();
    paths.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    assert_eq!(paths, expected);
    assert!(heard.iter().all(|(_, change)| *change == Change::New));
    assert_eq!(*totals.lock().unwrap(), (8_000_003, 12, 8_000_003));
}

#[test]
fn hostile_names_lead_nowhere_and_stop_all_deleting() {
    let plain = |name: &[u8], blob| Node { content: Some(vec![blob]), size: 3, ..node(name) };
    let ground = Ground::hostile(|save| {
        let blob = save(b"bad");
        let mut nodes: Vec<Node> =
            [&b"../out"[..], b"/etc/out", b"..", b".", b"", b"a/b", b"nul\0", &[b'x'; 300]]
                .iter()
                .map(|name| plain(name, blob))
                .collect();
        nodes.push(plain(b"good", blob));
        nodes.push(plain(b"good", blob));
        nodes
    });
    fs::create_dir(ground.target()).unwrap();
    fs::write(ground.at("extra"), "kept").unwrap();
    let report = ground.restore(&options(|options| options.delete = true));
    let mut names: Vec<_> =
        fs::read_dir(ground.target()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["extra", "good"]);
    let of = |wanted: fn(&Problem) -> bool| report.skipped.iter().filter(|s| wanted(&s.problem)).count();
    assert_eq!(of(|problem| matches!(problem, Problem::Name { .. })), 8);
    assert_eq!(of(|problem| matches!(problem, Problem::Twice { .. })), 1);
    assert_eq!(of(|problem| matches!(problem, Problem::NotDeleted)), 1);
    assert_eq!(fs::read_dir(ground.folder.path()).unwrap().count(), 2);
}

#[test]
fn lies_about_links_and_lengths_are_not_believed() {
    let ground = Ground::hostile(|save| {
        let file = |name: &str, blobs: Vec<DataId>, size| Node {
            content: Some(blobs),
            size,
            links: 2,
            inode: 7,
            device_id: 1,
            ..node(name)
        };
        let (one, two) = (save(b"one"), save(b"two"));
        let target = Node { link_target: b"..".to_vec(), ..Node::new("up", NodeKind::Symlink) };
        let strange = Node::new("strange", NodeKind::Other("whiteout".into()));
        vec![
            file("a", vec![one], 3),
            file("b", vec![two], 3), // the same file, says the snapshot
            file("c", vec![one], 3),
            Node { links: 1, ..file("huge", vec![two], 1 << 50) },
            strange,
            target,
        ]
    });
    let report = ground.restore(&RestoreOptions::default());
    let inode = |name: &str| fs::metadata(ground.at(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("c"));
    assert_ne!(inode("a"), inode("b"));
    assert_eq!(fs::read(ground.at("b")).unwrap(), b"two");
    assert_eq!(fs::read(ground.at("huge")).unwrap(), b"two");
    assert_eq!(report.skipped.len(), 2);
    assert!(matches!(report.skipped[0].problem, Problem::UnknownKind { .. } | Problem::Length { .. }));
}

#[test]
fn endless_snapshot_is_refused() {
    let ground = Ground::new(&zoo());
    for delete in [false, true] {
        let options = options(|options| (options.entries_max, options.delete) = (5, delete));
        let error = restore(&context(), &ground.repository, &ground.record, &ground.target(), &options);
        assert!(matches!(error.unwrap_err(), RestoreError::TooManyEntries { limit: 5 }));
    }
}

/// Packs that hold only data are lost; the trees stay.
fn lose_data(ground: &Ground) {
    let index = ground.repository.load_index(&context()).unwrap();
    let trees: Vec<_> =
        index.iter().filter(|(blob, _)| blob.kind == BlobKind::Tree).map(|(_, place)| place.pack).collect();
    for listed in ground.memory.list(FileKind::Pack).unwrap() {
        if !trees.contains(&listed.id.into()) {
            ground.memory.remove(FileId { kind: FileKind::Pack, id: listed.id }).unwrap();
        }
    }
}

#[test]
fn lost_parts_become_zeros_but_replace_nothing() {
    let ground = Ground::new(&dir([
        ("empty", file("")),
        ("first", file(noise(3_000_000, 5))),
        ("second", file(noise(10, 6))),
        ("third", symlink("x")),
    ]));
    lose_data(&ground);
    fs::create_dir(ground.target()).unwrap();
    fs::write(ground.at("second"), "still here").unwrap();
    let report = ground.restore(&RestoreOptions::default());
    assert!(report.skipped.iter().all(|skipped| matches!(skipped.problem, Problem::Lost { .. })));
    assert!(fs::read(ground.at("first")).unwrap() == vec![0; 3_000_000]);
    assert_eq!(fs::read(ground.at("second")).unwrap(), b"still here");
    assert!(ground.at("empty").exists() && ground.at("third").is_symlink());
    assert_eq!(fs::read_dir(ground.target()).unwrap().count(), 4);
}

#[test]
fn unknown_part_leaves_the_file_out_and_nothing_else() {
    let ground = Ground::hostile(|save| {
        let known = save(b"x");
        let file = |name: &str, blob| Node { content: Some(vec![blob]), size: 1, ..node(name) };
        vec![file("bad", DataId(sha256(b"nobody has this"))), file("good", known)]
    });
    let report = ground.restore(&RestoreOptions::default());
    assert!(matches!(report.skipped[..], [ref one] if matches!(one.problem, Problem::Unknown { .. })));
    assert!(ground.at("good").exists() && !ground.at("bad").exists());
}

/// More files than may be open at once, each with its first half in one pack and its second half in another.
#[test]
fn files_that_are_complete_only_at_the_end_are_set_aside() {
    const FILES: usize = 900;
    let half = |file: usize, half: usize| noise(5000, (file * 2 + half) as u64 + 1);
    let ground = Ground::hostile(|save| {
        let mut blobs = vec![Vec::new(); FILES];
        for part in 0..2 {
            for (file, blobs) in blobs.iter_mut().enumerate() {
                blobs.push(save(&half(file, part)));
            }
        }
        let file = |(number, blobs): (usize, Vec<DataId>)| Node {
            content: Some(blobs),
            size: 10_000,
            ..node(format!("{number:04}"))
        };
        blobs.into_iter().enumerate().map(file).collect()
    });
    let report = ground.restore(&options(|options| options.verify = true));
    assert_sound(&report);
    assert_eq!(report.summary.files_verified, FILES as u64);
    for number in 0..FILES {
        let content = fs::read(ground.at(&format!("{number:04}"))).unwrap();
        assert!(content == [half(number, 0), half(number, 1)].concat(), "{number}");
    }
    assert_eq!(fs::read_dir(ground.target()).unwrap().count(), FILES);
}

#[test]
fn stopped_restore_leaves_no_unfinished_files() {
    let ground = Ground::new(&dir((0..200)
        .map(|number| (format!("{number}"), file(noise(40_000, number))))
        .collect::<Vec<_>>()));
    let context = context();
    let cancel = context.cancel.clone();
    let context = context.with_observer(Arc::new(move |event: &Event<'_>| {
        if matches!(event, Event::Restored { .. }) {
            cancel.cancel();
        }
    }));
    let result =
        restore(&context, &ground.repository, &ground.record, &ground.target(), &RestoreOptions::default());
    assert!(matches!(result.unwrap_err(), RestoreError::Cancelled(_)));
    let source = Snapshot::of(&ground.source());
    for (path, entry) in Snapshot::of(&ground.target()).0 {
        assert_eq!(entry, source.0[&path], "{}", String::from_utf8_lossy(&path));
    }
    ground.restore_all(&RestoreOptions::default());
}

/// Somebody swaps a directory for a link to the outside, again and again, while files are restored into it.
#[test]
fn swapped_directory_never_leads_outside() {
    let many = (0..40).map(|number| (format!("{number}"), file(noise(100, number)))).collect::<Vec<_>>();
    let ground = Ground::new(&dir((0..50).map(|number| (format!("{number}"), dir(many.clone())))));
    let outside = ground.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("witness"), "").unwrap();
    fs::create_dir(ground.target()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u64.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let (one, aside) = (ground.at(&format!("{}", round % 50)), ground.at("aside"));
                let _ = fs::rename(&one, &aside);
                let _ = std::os::unix::fs::symlink(&outside, &one);
                let _ = fs::remove_file(&one);
                let _ = fs::rename(&aside, &one);
            }
        });
        for _ in 0..3 {
            // What is swapped away may be told as a problem; that is not the question here.
            ground.restore(&options(|options| options.delete = true));
        }
        done.store(true, Ordering::Relaxed);
    });
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["witness"]);
    assert_ne!(fs::metadata(&outside).unwrap().mtime(), MTIME, "the time that restored directories get");
}

#[test]
fn directory_that_cannot_be_read_is_told_and_its_content_is_not_deleted() {
    let ground = Ground::hostile(|save| {
        let blob = save(b"x");
        let file = Node { content: Some(vec![blob]), size: 1, ..node("file") };
        let gone = TreeId(sha256(b"no such tree"));
        vec![
            Node { subtree: Some(gone), mode: Mode(Mode::DIR | 0o755), ..Node::new("dir", NodeKind::Dir) },
            file,
        ]
    });
    fs::create_dir_all(ground.at("dir")).unwrap();
    fs::write(ground.at("dir/precious"), "data").unwrap();
    let report = ground.restore(&options(|options| options.delete = true));
    assert!(report.skipped.iter().any(|skipped| matches!(skipped.problem, Problem::Walk(_))));
    assert!(ground.at("dir/precious").exists() && ground.at("file").exists());
    let Kind::File { len, .. } = Snapshot::of(&ground.target()).0[b"file".as_slice()].kind else { panic!() };
    assert_eq!(len, 1);
}

#[test]
fn restored_snapshot_is_the_second_opinion_of_the_walk() {
    let ground = Ground::new(&zoo());
    let index = ground.repository.load_index(&context()).unwrap();
    let reader = repo_core::repository::Reader::new(&ground.repository, index);
    let expected: Snapshot = tests::repo::contents(&reader, ground.record.tree);
    ground.restore_all(&RestoreOptions::default());
    assert_same(&Snapshot::of(&ground.target()), &expected);
}
