//! Goal: whatever stands or appears in a target, nothing outside is touched, and what is restored is exact.
//! Every test has a directory `in` to restore into and a witness beside it that must stay as it is.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::format::{Mode as NodeMode, Xattr};
use crate::time::{Time, Timestamp};

struct Ground {
    dir: tempfile::TempDir,
    target: Target,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("witness"), "untouched").unwrap();
        let target = Target::create(&dir.path().join("in"), 7).unwrap();
        Self { dir, target }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("in").join(path)
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), TargetError> {
        let file = self.target.create_file(Path::new(path), content.len() as u64, Layout::Dense)?;
        file.write_at(0, content)?;
        file.commit()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.at(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let witness = self.dir.path().join("witness");
            assert_eq!(fs::read(&witness).unwrap(), b"untouched");
            assert_eq!(fs::metadata(&witness).unwrap().nlink(), 1);
            assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 2);
        }
    }
}

fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}

fn node(kind: NodeKind, permissions: u32) -> Node {
    let time = Time::utc(Timestamp { seconds: 1_600_000_000, nanos: 123_456_789 });
    Node {
        mode: NodeMode::from_unix(0o100_000 | permissions),
        mtime: time,
        atime: Time::utc(Timestamp { seconds: 1_500_000_000, nanos: 1 }),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        ..Node::new("n", kind)
    }
}

#[test]
fn file_appears_when_it_is_complete_and_not_before() {
    let ground = Ground::new();
    let file = ground.target.create_file(Path::new("f"), 8, Layout::Dense).unwrap();
    file.write_at(4, b"rest").unwrap();
    assert!(!ground.at("f").exists());
    file.write_at(0, b"the ").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(ground.at("f")).unwrap(), b"the rest");
    assert_eq!(ground.names(), ["f"]);
}

#[test]
fn unfinished_file_is_private_and_vanishes_when_dropped() {
    let ground = Ground::new();
    let file = ground.target.create_file(Path::new("f"), 100_000, Layout::Dense).unwrap();
    let [temporary] = &ground.names()[..] else { panic!() };
    assert_eq!(fs::metadata(ground.at(temporary)).unwrap().mode() & 0o177, 0);
    drop(file);
    assert_eq!(ground.names().len(), 0);
}

#[test]
fn finished_file_replaces_what_stood_there_without_touching_it() {
    let ground = Ground::new();
    fs::hard_link(ground.dir.path().join("witness"), ground.at("hard")).unwrap();
    symlink("../witness", ground.at("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, ground.at("pipe"), Mode::RWXU).unwrap();
    fs::write(ground.at("file"), "older and longer").unwrap();
    for name in ["hard", "link", "pipe", "file"] {
        ground.write(name, b"new").unwrap();
        assert!(fs::symlink_metadata(ground.at(name)).unwrap().is_file(), "{name}");
        assert_eq!(fs::read(ground.at(name)).unwrap(), b"new");
    }
    assert_eq!(ground.names().len(), 4);
}

#[test]
fn directory_in_the_way_is_told_and_kept() {
    let ground = Ground::new();
    fs::create_dir(ground.at("d")).unwrap();
    fs::write(ground.at("d/inside"), "x").unwrap();
    assert_eq!(ground.write("d", b"new").unwrap_err().kind(), FaultKind::Changed);
    assert_eq!(ground.target.symlink(Path::new("d"), b"x").unwrap_err().kind(), FaultKind::Changed);
    assert!(ground.at("d/inside").exists());
    assert_eq!(ground.names(), ["d"]);
}

#[test]
fn planted_links_lead_nowhere() {
    let ground = Ground::new();
    symlink("..", ground.at("up")).unwrap();
    symlink(ground.dir.path(), ground.at("absolute")).unwrap();
    symlink("../witness", ground.at("file")).unwrap();
    for above in ["up", "absolute"] {
        let path = Path::new(above).join("witness");
        let shown = path.to_str().unwrap();
        assert_eq!(ground.write(shown, b"bad").unwrap_err().kind(), FaultKind::Changed);
        assert_eq!(ground.target.create_dir(Path::new(above)).unwrap_err().kind(), FaultKind::Changed);
        assert!(ground.target.create_dir(&path).is_err());
        assert!(ground.target.symlink(&path, b"bad").is_err());
        assert!(ground.target.remove(&path).is_err());
        assert!(ground.target.list(Path::new(above)).is_err());
        assert!(ground.target.inspect(&path).unwrap().is_none());
        assert!(ground.target.open_file(&path).is_err());
        let directory = node(NodeKind::Dir, 0o700);
        assert!(ground.target.set_metadata(Path::new(above), &directory, &Fidelity::default()).is_err());
    }
    assert!(ground.target.open_file(Path::new("file")).is_err());
    assert!(ground.target.update_file(Path::new("file")).is_err());
    assert!(ground.target.hard_link(Path::new("file"), Path::new("other")).is_err());
    ground.target.remove(Path::new("up")).unwrap();
    assert_eq!(ground.names(), ["absolute", "file"]);
}

#[test]
fn paths_that_leave_the_target_are_refused() {
    let ground = Ground::new();
    for path in ["../witness", "/etc/passwd", "a/../../witness", "..", ""] {
        assert!(ground.write(path, b"bad").is_err(), "{path}");
        assert!(ground.target.remove(Path::new(path)).is_err(), "{path}");
        assert!(ground.target.symlink(Path::new(path), b"bad").is_err(), "{path}");
    }
}

#[test]
fn directory_swapped_for_a_link_meanwhile_stays_the_directory() {
    let ground = Ground::new();
    ground.target.create_dir(Path::new("d")).unwrap();
    let file = ground.target.create_file(Path::new("d/f"), 1, Layout::Dense).unwrap();
    fs::rename(ground.at("d"), ground.at("moved")).unwrap();
    symlink("..", ground.at("d")).unwrap();
    file.write_at(0, b"x").unwrap();
    file.commit().unwrap();
    ground.write("d/g", b"y").unwrap();
    assert!(ground.at("moved/f").exists() && ground.at("moved/g").exists());
}

/// A thread swaps a directory for a link to the outside and back while another one restores into it.
#[test]
fn swapping_all_the_time_never_leads_outside() {
    let ground = Ground::new();
    let outside = ground.at("outside"); // inside of the target, so that the witness need not know of it
    fs::create_dir(&outside).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (one, two) = (ground.at("d"), ground.at("aside"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = fs::rename(&one, &two);
                let _ = symlink("outside", &one);
                let _ = fs::remove_file(&one);
                let _ = fs::rename(&two, &one);
            }
        });
        for number in 0..2000 {
            // A target that knows nothing yet opens the directory anew each time.
            let target = Target::open(&ground.at(""), 8).unwrap();
            let _ = target.create_dir(Path::new("d"));
            let path = format!("d/{number}");
            if let Ok(file) = target.create_file(Path::new(&path), 0, Layout::Dense) {
                let _ = file.commit();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn holes_are_left_where_zeros_are() {
    let ground = Ground::new();
    let mut content = vec![0; 1 << 20];
    content[300_000..300_010].copy_from_slice(b"0123456789");
    content[1_000_000] = 1;
    for layout in [Layout::Sparse, Layout::Dense] {
        let file = ground.target.create_file(Path::new("f"), 1 << 20, layout).unwrap();
        // Pieces that do not lie on the file system's blocks.
        for (number, piece) in content.chunks(77_777).enumerate() {
            file.write_at(number as u64 * 77_777, piece).unwrap();
        }
        file.commit().unwrap();
        assert!(fs::read(ground.at("f")).unwrap() == content);
        let allocated = fs::metadata(ground.at("f")).unwrap().blocks() * 512;
        assert_eq!(allocated < 200_000, layout == Layout::Sparse, "{layout:?}: {allocated}");
    }
}

#[test]
fn file_that_was_set_aside_goes_on_or_goes_away() {
    let ground = Ground::new();
    let create = |name| ground.target.create_file(Path::new(name), 8, Layout::Dense).unwrap();
    let file = create("f");
    file.write_at(0, b"both ").unwrap();
    let suspended = file.suspend().unwrap();
    let file = ground.target.resume(suspended).unwrap();
    file.write_at(5, b"end").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(ground.at("f")).unwrap(), b"both end");
    ground.target.discard(create("g").suspend().unwrap());
    assert_eq!(ground.names(), ["f"]);
}

#[test]
fn file_that_was_replaced_while_set_aside_is_not_written() {
    let ground = Ground::new();
    let suspended = ground.target.create_file(Path::new("f"), 1, Layout::Dense).unwrap().suspend().unwrap();
    let temporary = ground.at(&ground.names()[0]);
    fs::rename(&temporary, ground.at("moved")).unwrap();
    fs::write(&temporary, "somebody's").unwrap();
    assert_eq!(ground.target.resume(suspended).unwrap_err().kind(), FaultKind::Changed);
    assert_eq!(fs::read(&temporary).unwrap(), b"somebody's");
}

#[test]
fn file_is_changed_in_place_only_if_it_has_one_name() {
    let ground = Ground::new();
    fs::write(ground.at("f"), "old content").unwrap();
    let file = ground.target.update_file(Path::new("f")).unwrap();
    let mut buffer = [0; 20];
    assert_eq!(file.read_at(4, &mut buffer).unwrap(), 7);
    assert_eq!(&buffer[..7], b"content");
    file.write_at(0, b"new").unwrap();
    file.set_len(3).unwrap();
    drop(file);
    assert_eq!(fs::read(ground.at("f")).unwrap(), b"new");
    fs::hard_link(ground.at("f"), ground.at("second")).unwrap();
    assert_eq!(ground.target.update_file(Path::new("f")).unwrap_err().kind(), FaultKind::Changed);
    rustix::fs::mkfifoat(rustix::fs::CWD, ground.at("pipe"), Mode::RWXU).unwrap();
    assert_eq!(ground.target.update_file(Path::new("pipe")).unwrap_err().kind(), FaultKind::Changed);
    assert_eq!(ground.target.open_file(Path::new("pipe")).unwrap_err().kind(), FaultKind::Changed);
}

#[test]
fn hard_link_replaces_what_stood_there() {
    let ground = Ground::new();
    ground.write("f", b"x").unwrap();
    fs::write(ground.at("taken"), "other").unwrap();
    for name in ["free", "taken", "free"] {
        ground.target.hard_link(Path::new("f"), Path::new(name)).unwrap();
        assert_eq!(fs::metadata(ground.at(name)).unwrap().ino(), fs::metadata(ground.at("f")).unwrap().ino());
    }
    assert_eq!(ground.names(), ["f", "free", "taken"]);
}

#[test]
fn links_and_pipes_replace_what_stood_there() {
    let ground = Ground::new();
    fs::write(ground.at("a"), "x").unwrap();
    fs::write(ground.at("b"), "x").unwrap();
    ground.target.symlink(Path::new("a"), b"to\xff").unwrap();
    ground.target.create_special(Path::new("b"), &NodeKind::Fifo, 0).unwrap();
    assert_eq!(fs::read_link(ground.at("a")).unwrap().as_os_str().as_bytes(), b"to\xff");
    assert_eq!(ground.target.inspect(Path::new("a")).unwrap().unwrap().link_target, b"to\xff");
    assert!(fs::symlink_metadata(ground.at("b")).unwrap().file_type().is_fifo());
    let device = ground.target.create_special(Path::new("null"), &NodeKind::CharDevice, 259);
    if is_superuser() {
        // Some containers do not let even the superuser make devices.
        if device.is_ok() {
            assert_eq!(fs::symlink_metadata(ground.at("null")).unwrap().rdev(), 259);
        }
    } else {
        assert_eq!(device.unwrap_err().kind(), FaultKind::Denied);
    }
    let socket = ground.target.create_special(Path::new("s"), &NodeKind::Socket, 0);
    assert_eq!(socket.unwrap_err().kind(), FaultKind::NotSupported);
}

#[test]
fn removal_takes_what_is_below_and_follows_no_link() {
    let ground = Ground::new();
    fs::create_dir_all(ground.at("d/e/f")).unwrap();
    fs::write(ground.at("d/e/g"), "x").unwrap();
    symlink("../../..", ground.at("d/e/up")).unwrap();
    symlink("../witness", ground.at("d/link")).unwrap();
    assert!(ground.target.remove_single(Path::new("d")).is_err());
    ground.target.remove(Path::new("d")).unwrap();
    ground.target.remove(Path::new("d")).unwrap();
    assert_eq!(ground.names().len(), 0);
    // The same name can be used again at once.
    ground.target.create_dir(Path::new("d")).unwrap();
    ground.write("d/f", b"x").unwrap();
    assert!(ground.at("d/f").exists());
}

#[test]
fn listing_names_everything() {
    let ground = Ground::new();
    fs::create_dir(ground.at("d")).unwrap();
    fs::write(ground.at("f"), "x").unwrap();
    symlink("x", ground.at("l")).unwrap();
    for _ in 0..2 {
        let mut listed = ground.target.list(Path::new("")).unwrap();
        listed.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [("d", NodeKind::Dir), ("f", NodeKind::File), ("l", NodeKind::Symlink)];
        assert_eq!(listed, expected.map(|(name, kind)| (OsString::from(name), kind)));
    }
}

#[test]
fn metadata_of_every_kind_is_set() {
    let ground = Ground::new();
    ground.write("f", b"x").unwrap();
    ground.target.create_dir(Path::new("d")).unwrap();
    ground.target.symlink(Path::new("l"), b"nowhere").unwrap();
    ground.target.create_special(Path::new("p"), &NodeKind::Fifo, 0).unwrap();
    let cases = [
        ("f", NodeKind::File, 0o4751),
        ("d", NodeKind::Dir, 0o1555),
        ("l", NodeKind::Symlink, 0o777),
        ("p", NodeKind::Fifo, 0o622),
    ];
    for (name, kind, permissions) in cases {
        let node = node(kind, permissions);
        ground.target.set_metadata(Path::new(name), &node, &Fidelity::default()).unwrap();
        let meta = ground.target.inspect(Path::new(name)).unwrap().unwrap();
        assert_eq!(meta.permissions, permissions, "{name}");
        assert_eq!((meta.mtime, meta.atime), (node.mtime.instant, node.atime.instant), "{name}");
        assert_eq!((meta.uid, meta.gid), (node.uid, node.gid), "{name}");
    }
    fs::set_permissions(ground.at("d"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn missing_time_is_left_alone() {
    let ground = Ground::new();
    ground.write("f", b"x").unwrap();
    let before = ground.target.inspect(Path::new("f")).unwrap().unwrap();
    let node = Node { mtime: Time::ZERO, atime: Time::ZERO, ..node(NodeKind::File, 0o600) };
    ground.target.set_metadata(Path::new("f"), &node, &Fidelity::default()).unwrap();
    let after = ground.target.inspect(Path::new("f")).unwrap().unwrap();
    assert_eq!((after.mtime, after.atime), (before.mtime, before.atime));
}

#[test]
fn nobody_gets_to_run_a_file_as_somebody_who_does_not_own_it() {
    let ground = Ground::new();
    let other = rustix::process::getuid().as_raw() + 4321;
    let strange = Node { uid: other, gid: other, ..node(NodeKind::File, 0o6755) };
    let mine = node(NodeKind::File, 0o6755);
    let nobody = Node { uid: u32::MAX, gid: u32::MAX, ..mine.clone() };
    let keep = Fidelity::default();
    let not_mine = Fidelity { owner: Owner::Nobody, ..Fidelity::default() };
    let careful = Fidelity { privileges: Privileges::Drop, ..Fidelity::default() };
    let check = |node: &Node, fidelity: &Fidelity, expected: u32| {
        ground.write("f", b"x").unwrap();
        ground.target.set_metadata(Path::new("f"), node, fidelity).unwrap();
        let meta = ground.target.inspect(Path::new("f")).unwrap().unwrap();
        assert_eq!(meta.permissions, expected);
        meta.uid
    };
    let owner = check(&strange, &keep, if is_superuser() { 0o6755 } else { 0o755 });
    assert_eq!(owner == other, is_superuser());
    check(&strange, &not_mine, 0o755);
    check(&strange, &careful, 0o755);
    check(&mine, &keep, 0o6755);
    check(&nobody, &keep, 0o755);
}

#[test]
fn owner_may_be_found_by_name() {
    let ground = Ground::new();
    ground.write("f", b"x").unwrap();
    let me = rustix::process::getuid().as_raw();
    let names = Arc::new(crate::fs::metadata::Names::fixed([(me, "ann")], []));
    let fidelity = Fidelity { owner: Owner::Names(names), ..Fidelity::default() };
    let node = Node { uid: me + 5, user: Arc::from("ann"), ..node(NodeKind::File, 0o4700) };
    ground.target.set_metadata(Path::new("f"), &node, &fidelity).unwrap();
    let meta = ground.target.inspect(Path::new("f")).unwrap().unwrap();
    assert_eq!((meta.uid, meta.permissions), (me, 0o4700));
}

#[test]
fn extended_attributes_become_those_of_the_node() {
    let ground = Ground::new();
    ground.write("f", b"x").unwrap();
    ground.target.create_dir(Path::new("d")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    for name in ["f", "d"] {
        for attribute in ["user.old", "user.kept", "user.special.left"] {
            match rustix::fs::setxattr(ground.at(name), attribute, b"old", flags) {
                Err(errno) if unix::is_unsupported(errno) => return, // nothing to test on this file system
                result => result.unwrap(),
            }
        }
        let xattr = |name: &str, value: Option<&[u8]>| Xattr {
            name: name.as_bytes().to_vec(),
            value: value.map(<[u8]>::to_vec),
        };
        let kind = if name == "f" { NodeKind::File } else { NodeKind::Dir };
        let xattrs = vec![
            xattr("user.kept", Some(b"new")),
            xattr("user.more", Some(b"\0\xff")),
            xattr("user.special.more", Some(b"x")),
            xattr("user.empty", None),
        ];
        let node = Node { xattrs, ..node(kind, 0o700) };
        let special =
            crate::filter::Patterns::new(["user.special.*"], crate::filter::Case::Sensitive).unwrap();
        let fidelity =
            Fidelity { xattrs: crate::filter::Selection::Except(vec![special]), ..Fidelity::default() };
        ground.target.set_metadata(Path::new(name), &node, &fidelity).unwrap();
        let (mut found, problem) = unix::Holder::Followed(&ground.at(name)).all();
        found.retain(|xattr| xattr.name.starts_with(b"user."));
        found.sort();
        let expected = [
            xattr("user.empty", Some(b"")),
            xattr("user.kept", Some(b"new")),
            xattr("user.more", Some(b"\0\xff")),
            xattr("user.special.left", Some(b"old")),
        ];
        assert!(problem.is_none());
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn metadata_never_goes_to_something_of_another_kind() {
    let ground = Ground::new();
    ground.target.create_dir(Path::new("d")).unwrap();
    ground.target.symlink(Path::new("l"), b"../witness").unwrap();
    for (name, kind) in
        [("d", NodeKind::Fifo), ("l", NodeKind::File), ("l", NodeKind::Dir), ("d", NodeKind::File)]
    {
        let result = ground.target.set_metadata(Path::new(name), &node(kind, 0o777), &Fidelity::default());
        assert_eq!(result.unwrap_err().kind(), FaultKind::Changed);
    }
}

#[test]
fn target_itself_may_be_reached_through_a_link() {
    let ground = Ground::new();
    symlink(".", ground.at("self")).unwrap();
    let target = Target::open(&ground.at("self"), 9).unwrap();
    target.create_dir(Path::new("d")).unwrap();
    assert!(ground.at("d").is_dir());
    assert_eq!(target.shown(Path::new("d")), ground.at("self/d"));
}

#[test]
fn a_new_file_takes_no_name_that_is_taken() {
    let ground = Ground::new();
    let new = |content: &[u8]| {
        let file = ground.target.create_file(Path::new("a"), content.len() as u64, Layout::Dense).unwrap();
        file.write_at(0, content).unwrap();
        file.commit_new()
    };
    new(b"first").unwrap();
    assert_eq!(new(b"second").unwrap_err().kind(), FaultKind::Changed);
    assert_eq!(
        (fs::read(ground.at("a")).unwrap().as_slice(), ground.names()),
        (&b"first"[..], vec!["a".to_owned()])
    );
    fs::remove_file(ground.at("a")).unwrap();
    symlink("../witness", ground.at("a")).unwrap();
    assert_eq!(new(b"third").unwrap_err().kind(), FaultKind::Changed);
}
