//! A repository as a folder, through the kernel: the same as a restore, the same as restic's mount.
//!
//! Needs FUSE and the right to mount: root, as containers of test machines have it, or the package fuse3.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tests::fixtures::empty_repository;
use tests::larder::larder;
use tests::mounted::{Showing, is_mounted};
use tests::program::{Call, Program};
use tests::restic::restic;
use tests::tree::{
    Entry, Kind, Snapshot, Tree, assert_same, dir, fifo, file, hard_link, noise, sparse, symlink,
};

/// A repository, what was saved in it, and a folder to mount on.
struct Place {
    folder: tempfile::TempDir,
    larder: Program,
    restic: Program,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        empty_repository(2, &folder.path().join("repository"));
        Self { folder, larder: larder(), restic: restic() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn repository(&self) -> PathBuf {
        self.at("repository")
    }

    /// Saves a tree with some more words for restic.
    fn save(&self, tree: &Tree, words: &[&str]) {
        let source = self.at("source");
        if !source.exists() {
            tree.build(&source);
        }
        self.restic
            .on(&self.repository())
            .args(["backup", "source"])
            .args(words)
            .within(self.folder.path())
            .ok();
    }

    fn mount(&self, words: &[&str]) -> Showing {
        Showing::mount(self.call(words), &self.at("mount"))
    }

    fn call(&self, words: &[&str]) -> Call {
        self.larder.on(&self.repository()).arg("mount").args(words)
    }

    fn locks(&self) -> usize {
        fs::read_dir(self.repository().join("locks")).unwrap().count()
    }
}

/// One of everything, its largest file of that length.
fn zoo(len: usize) -> Tree {
    dir([
        ("big".as_bytes(), file(noise(len, 1)).mode(0o600).mtime(1_234_567_890, 123_456_789)),
        (b"empty", file("").mode(0o4755)),
        (b"bad \xff name", file("1")),
        (b"new\nline", file("2").mtime(-1_000_000, 500)),
        (b"sparse", sparse(2 * len as u64, [(len as u64, b"island".to_vec())])),
        (b"sub", dir([("twin", hard_link("big")), ("none", dir::<&str>([]).mode(0o700))]).mode(0o1777)),
        (b"link", symlink(b"sub/../nowhere \xfe")),
        (b"pipe", fifo()),
        (b"tagged", file("x").xattr("user.colour", "blue").xattr("user.empty", "")),
    ])
}

#[test]
fn a_mounted_snapshot_is_what_was_saved() {
    let place = Place::new();
    place.save(&zoo(9 << 20), &[]);
    let device = place.at("source/null");
    let mode = rustix::fs::Mode::from(0o640);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &device,
        rustix::fs::FileType::CharacterDevice,
        mode,
        rustix::fs::makedev(1, 3),
    )
    .expect("tests run as root, or in a container that looks like it");
    place.save(&zoo(9 << 20), &[]);
    let mounted = place.mount(&[]);
    assert_same(
        &Snapshot::of(&place.at("mount/snapshots/latest/source")),
        &Snapshot::of(&place.at("source")),
    );
    let number = fs::symlink_metadata(place.at("mount/snapshots/latest/source/null")).unwrap().rdev();
    assert_eq!(number, rustix::fs::makedev(1, 3));
    drop(mounted);
}

#[test]
fn the_folders_are_those_of_restic_s_mount() {
    let place = Place::new();
    let day = |day: u32| format!("2024-05-{day:02} 07:08:09");
    place.save(&zoo(30_000), &["--host", "one", "--tag", "a,b", "--time", &day(6)]);
    place.save(&zoo(30_000), &["--host", "one", "--tag", "a", "--time", &day(6)]);
    place.save(&zoo(30_000), &["--host", "two/three", "--tag", "c/d", "--time", &day(6)]);
    place.save(&zoo(30_000), &["--host", "two", "--tag", ".", "--tag", "..", "--time", &day(7)]);
    place.save(&zoo(30_000), &["--host", "four", "--time", &day(8)]);
    for words in [
        &[][..],
        &[
            "--path-template",
            "by/%u/%h/%T/x",
            "--path-template",
            "%I",
            "--time-template",
            "Jan _2 2006 (15h)",
        ],
        &["--host", "one", "--tag", "a", "--owner-root"],
        &["--path-template", "all-%h%%/%T", "--time-template", "2006/01/2"],
    ] {
        let (ours, theirs) = (place.at("mount"), place.at("theirs"));
        let mounted = place.mount(words);
        let call = place.restic.on(&place.repository()).arg("mount").args(words);
        let peer = Showing::mount(call, &theirs);
        assert_same(&comparable(&ours), &comparable(&theirs));
        drop((mounted, peer));
    }
}

/// Without what restic shows differently: the numbers of devices, which names are one file in different snapshots,
/// and when the program was started.
fn comparable(folder: &Path) -> Snapshot {
    let made_up = |entry: &Entry| entry.kind == Kind::Dir && entry.mode == 0o555;
    let mut shown = Snapshot::of(folder);
    for entry in shown.0.values_mut() {
        entry.same_as = None;
        if made_up(entry) && entry.mtime_ns > 1_750_000_000_000_000_000 {
            entry.mtime_ns = 0;
        }
        // restic 0.19.1 shows parts of seconds before 1970 wrongly; ours are compared with the saved ones above.
        entry.mtime_ns = entry.mtime_ns.max(0);
    }
    assert!(shown.0.len() > 10, "something is shown");
    shown
}

#[test]
fn many_readers_at_a_time_read_what_was_saved() {
    let place = Place::new();
    let bytes: Vec<Vec<u8>> = (0..3).map(|seed| noise(5 << 20, 70 + seed)).collect();
    place
        .save(&dir(bytes.iter().enumerate().map(|(number, bytes)| (format!("f{number}"), file(bytes)))), &[]);
    let mounted = place.mount(&[]);
    std::thread::scope(|scope| {
        for reader in 0..6_usize {
            let (bytes, path) =
                (&bytes[reader % 3], place.at(&format!("mount/snapshots/latest/source/f{}", reader % 3)));
            scope.spawn(move || {
                if reader < 3 {
                    assert!(fs::read(path).unwrap() == *bytes);
                    return;
                }
                let file = File::open(path).unwrap();
                for step in 0..200_usize {
                    let offset = step * 7_919_003 % bytes.len();
                    let mut piece = vec![0; 5000.min(bytes.len() - offset)];
                    file.read_exact_at(&mut piece, offset as u64).unwrap();
                    assert!(piece == bytes[offset..offset + piece.len()]);
                }
            });
        }
    });
    drop(mounted);
}

/// A way to end a mount on a folder.
type End = fn(&Showing, &Path);

#[test]
fn a_signal_or_umount_ends_it_with_success_and_leaves_nothing() {
    let place = Place::new();
    place.save(&dir([("f", file("x"))]), &[]);
    let (folder, inside) = (place.at("mount"), place.at("mount/snapshots/latest/source/f"));
    let ends: [(&str, End); 3] = [
        ("SIGINT", |mounted, _| mounted.signal(Signal::INT)),
        ("SIGTERM", |mounted, _| mounted.signal(Signal::TERM)),
        ("umount", |_, folder| {
            rustix::mount::unmount(folder, rustix::mount::UnmountFlags::empty()).unwrap();
        }),
    ];
    for (name, end) in ends {
        let mounted = place.mount(&[]);
        assert_eq!(fs::read(&inside).unwrap(), b"x");
        assert_eq!(place.locks(), 1, "{name}");
        end(&mounted, &folder);
        let (code, errors) = mounted.end();
        assert_eq!(code, 0, "{name}: {errors}");
        assert!(!is_mounted(&folder), "{name}");
        assert_eq!(place.locks(), 0, "{name}");
    }
    // Somebody has a file open: it goes all the same.
    let mounted = place.mount(&[]);
    let open = File::open(&inside).unwrap();
    mounted.signal(Signal::INT);
    let (code, errors) = mounted.end();
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("was still in use"), "{errors}");
    assert!(!is_mounted(&folder) && place.locks() == 0);
    assert!(open.read_exact_at(&mut [0; 1], 1 << 30).is_err());
}

#[test]
fn a_killed_mount_hangs_nobody_and_says_what_to_do() {
    let place = Place::new();
    place.save(&dir([("f", file("x"))]), &[]);
    let mounted = place.mount(&[]);
    mounted.signal(Signal::KILL);
    let folder = place.at("mount");
    let again = place.call(&[]).arg(&folder);
    // Dropped only now: it takes the folder away.
    let error = loop {
        match fs::read_dir(&folder) {
            Err(error) => break error,
            Ok(_) => std::thread::yield_now(),
        }
    };
    // The kernel's word depends on whether it has noticed already.
    let gone = [std::io::ErrorKind::NotConnected, std::io::ErrorKind::ConnectionAborted];
    assert!(gone.contains(&error.kind()), "{error}");
    let refused = again.run();
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("umount"), "{refused}");
    drop(mounted);
    place.restic.on(&place.repository()).arg("unlock").ok();
    drop(place.mount(&[]));
}

#[test]
fn unusable_folders_are_refused_before_anything_is_mounted() {
    let place = Place::new();
    fs::write(place.at("file"), "").unwrap();
    fs::create_dir(place.at("mount")).unwrap();
    std::os::unix::fs::symlink(place.repository().join("data"), place.at("other-way")).unwrap();
    let check = |words: &[&str], folder: Option<PathBuf>, expected: &str| {
        let call = folder.iter().fold(place.call(words), Call::arg);
        let refused = call.run();
        assert_eq!(refused.code, 1, "{refused}");
        assert!(refused.stderr.contains(expected), "{refused}");
        assert_eq!(refused.stderr.trim_end().lines().count(), 2, "what happened, and what to do: {refused}");
        assert_eq!(place.locks(), 0);
    };
    check(&[], None, "wrong number of parameters");
    check(&["a"], Some(place.at("mount")), "wrong number of parameters");
    check(&[], Some(place.at("none")), "does not exist");
    check(&[], Some(place.at("file")), "is not a directory");
    check(&[], Some(place.repository()), "is the local repository directory");
    check(&[], Some(place.repository().join("data")), "is inside the local repository");
    check(&[], Some(place.at("other-way")), "is inside the local repository");
    check(&[], Some(place.folder.path().to_owned()), "is inside the mountpoint");
    check(&["--time-template", ""], Some(place.at("mount")), "time template string cannot be empty");
    check(&["--time-template", "/2006"], Some(place.at("mount")), "cannot start or end with '/'");
}

#[test]
fn damage_is_an_error_for_its_reader_and_a_line_for_everybody() {
    let place = Place::new();
    place.save(&dir([("bad", file(noise(1 << 20, 8))), ("sub", dir([("good", file("fine"))]))]), &[]);
    let packs = tests::fixtures::packs_in(&place.repository());
    let large =
        packs.iter().find(|pack| fs::metadata(pack).unwrap().len() > 1 << 19).expect("a pack of data");
    let mut content = fs::read(large).unwrap();
    content[300_000] ^= 1;
    fs::remove_file(large).unwrap();
    fs::write(large, content).unwrap();

    let mounted = place.mount(&[]);
    let read = |name: &str| fs::read(place.at("mount/snapshots/latest/source").join(name));
    let error = read("bad").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{error}");
    assert_eq!(read("sub/good").unwrap(), b"fine");
    assert_eq!(fs::metadata(place.at("mount/snapshots/latest/source/bad")).unwrap().len(), 1 << 20);
    mounted.signal(Signal::INT);
    let (code, errors) = mounted.end();
    assert_eq!(code, 0);
    assert!(errors.contains("cannot read /snapshots/"), "{errors}");
    assert!(errors.contains("source/bad"), "{errors}");
}
