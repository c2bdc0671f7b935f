//! Files come back as they were, whatever stood in the target; nothing else is touched, whatever the snapshot says.
//!
//! Most tests back a literal tree up into memory, restore it, and compare all that lies on disk. Hostile trees are
//! written blob by blob.

mod ground; // a backup and a target
mod hostile; // lies and losses
mod race; // directories of the target become links meanwhile

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ground::{Ground, assert_sound, options, patterns, zoo};
use repo_core::backend::{Operation, RecordBackend};
use repo_core::context::{Change, Event, Stage};
use repo_core::filter::Selection;
use repo_core::format::Snapshot as Record;
use repo_core::fs::target::Layout;
use repo_core::id::FileKind;
use repo_core::ops::restore::{Existing, Overwrite, Problem, RestoreError, RestoreOptions, restore};
use tests::fixtures::{Fixture, Manifest, REPOSITORIES};
use tests::repo::{context, on_disk, open};
use tests::tree::{Snapshot, assert_same, dir, empty_dir, fifo, file, noise, set_mtime, symlink};

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
