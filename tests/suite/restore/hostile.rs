//! Snapshots that lie, repositories that lost something, restores that are stopped: nothing else is touched.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use repo_core::backend::Backend;
use repo_core::context::Event;
use repo_core::format::{Mode, Node, NodeKind};
use repo_core::hash::sha256;
use repo_core::id::{BlobKind, DataId, FileId, FileKind, TreeId};
use repo_core::ops::restore::{Problem, RestoreError, RestoreOptions, restore};
use tests::repo::context;
use tests::tree::{Kind, Snapshot, assert_same, dir, file, noise, symlink};

use super::ground::{Ground, assert_sound, node, options, zoo};

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
