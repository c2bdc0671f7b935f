//! Repositories through rclone: as a child on our pipes, and as a server with and without certificates.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use repo_core::Context;
use repo_core::backend::{Backend, ErrorKind};
use repo_core::context::{HandClock, with_causes};
use repo_core::hash::sha256;
use repo_core::id::{FileId, FileKind};
use tempfile::TempDir;
use tests::http_proxy::{HttpProxy, Misdeed};
use tests::larder::larder;
use tests::program::Program;
use tests::restic::restic;
use tests::servers::process::wait_until;
use tests::servers::{Place, Rclone};
use tests::tree::{Snapshot, assert_same, dir, file, noise};

/// A context whose waits take no time: what is tried again is tried at once.
fn unhurried() -> Context {
    Context { clock: Arc::new(HandClock::new()), ..Context::new() }
}

/// A folder reached through a child, and the program's path inside it, by which the child can be told from others.
fn child() -> (TempDir, Place) {
    let folder = tempfile::tempdir().unwrap();
    let place = Rclone::child(folder.path());
    (folder, place)
}

/// How many rclones run on this folder.
fn running(folder: &TempDir) -> usize {
    let name = folder.path().to_str().unwrap().to_owned();
    let words = |process: fs::DirEntry| fs::read(process.path().join("cmdline")).unwrap_or_default();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(words);
    processes.filter(|words| String::from_utf8_lossy(words).split('\0').any(|word| word == name)).count()
}

/// All that a repository asks of its storage. Not the whole conformance suite: rclone writes over a file in place,
/// so who reads one that is just written once more may see a part of it.
fn does_its_work(backend: &dyn Backend) {
    let pack = |content: &[u8]| FileId { kind: FileKind::Pack, id: sha256(content) };
    let mut buffer = Vec::new();
    assert!(backend.size(FileId::CONFIG).unwrap_err().is_not_found());
    backend.create().unwrap();
    for config in [&b"config"[..], b"another", b""] {
        backend.write(FileId::CONFIG, config).unwrap();
        backend.read_all(FileId::CONFIG, 100, &mut buffer).unwrap();
        assert_eq!(buffer, config);
    }
    let content = noise(20 << 20, 1);
    for len in [0, 1, 100_000, content.len()] {
        let (content, file) = (&content[..len], pack(&content[..len]));
        for _ in 0..2 {
            backend.write(file, content).unwrap();
        }
        assert_eq!(backend.size(file).unwrap(), len as u64);
        backend.read_all(file, len as u64, &mut buffer).unwrap();
        assert!(buffer == content, "{len} bytes");
        let (first, last) = (len / 3, len - len / 5);
        backend.read(file, first as u64..last as u64, &mut buffer).unwrap();
        assert!(buffer == content[first..last], "{len} bytes");
        for range in [0..len as u64 + 1, len as u64 + 5..len as u64 + 10] {
            assert_eq!(backend.read(file, range, &mut buffer).unwrap_err().kind(), ErrorKind::TooShort);
        }
        if len > 0 {
            let error = backend.read_all(file, len as u64 - 1, &mut buffer).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLong);
        }
    }
    let mut sizes: Vec<_> = backend.list(FileKind::Pack).unwrap().iter().map(|listed| listed.size).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 1, 100_000, 20 << 20]);
    assert_eq!(backend.list(FileKind::Snapshot).unwrap(), []);
    for _ in 0..2 {
        backend.remove(pack(&content)).unwrap();
        assert!(backend.read(pack(&content), 0..1, &mut buffer).unwrap_err().is_not_found());
    }
    assert_eq!(backend.list(FileKind::Pack).unwrap().len(), 3);
}

#[test]
fn a_child_does_the_work_of_a_storage() {
    let (_folder, place) = child();
    does_its_work(&*place.open(&unhurried()));
}

#[test]
fn a_server_of_rclone_does_the_work_of_a_storage() {
    let server = Rclone::serve_restic();
    does_its_work(&*server.place("x").open(&unhurried()));
}

#[test]
fn a_child_ends_with_its_storage() {
    let (folder, place) = child();
    let backend = place.open(&unhurried());
    backend.create().unwrap();
    backend.write(FileId::CONFIG, b"config").unwrap();
    assert_eq!(running(&folder), 1);
    drop(backend);
    assert_eq!(running(&folder), 0);
}

#[test]
fn a_child_that_was_killed_is_started_again() {
    let (folder, place) = child();
    let backend = place.open(&unhurried());
    backend.write(FileId::CONFIG, b"config").unwrap();
    let name = folder.path().to_str().unwrap();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let number = process.file_name().to_string_lossy().parse().ok();
        let pid = number.and_then(rustix::process::Pid::from_raw);
        if let Some(pid) =
            pid.filter(|_| String::from_utf8_lossy(&words).split('\0').any(|word| word == name))
        {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
    wait_until("the child is gone", Duration::from_secs(10), || running(&folder) == 0);
    let mut buffer = Vec::new();
    backend.read_all(FileId::CONFIG, 100, &mut buffer).unwrap();
    assert_eq!(buffer, b"config");
}

#[test]
fn what_cannot_be_started_or_does_not_serve_says_so_in_two_lines() {
    let (_folder, place) = child();
    let check = |options: &[&str], location: &str, expected: &str| {
        let larder = larder();
        let mut call = larder.on(location.as_ref());
        for option in options {
            call = call.arg("-o").arg(option);
        }
        let ran = call.arg("snapshots").run();
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert_eq!((ran.code, lines.len()), (1, 2), "{ran}");
        assert!(lines[0].contains(expected) && lines[1].contains("rclone"), "{ran}");
    };
    check(&["rclone.program=/nowhere/rclone"], &place.location, "cannot start /nowhere/rclone");
    let real = &place.options[0];
    // Whether its end or the broken pipe is seen first is a matter of chance.
    check(&[real], "rclone:no-such-remote:x", "through rclone");
    check(
        &["rclone.program=sleep", "rclone.args=60", "rclone.timeout=100ms"],
        "rclone:1",
        "within 0.1 seconds",
    );
    let error = Place::new("rclone:-v").try_open(&unhurried()).unwrap_err();
    assert!(with_causes(&error).contains("cannot begin with `-`"), "{error}");
}

#[test]
fn a_wrong_password_is_denied() {
    let server = Rclone::serve_restic_with_password();
    server.place("x").open(&unhurried()).create().unwrap();
    let mut place = server.place("x");
    place.variables.clear();
    let error = place.open(&unhurried()).size(FileId::CONFIG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}

/// rclone says that a file is not there also when it could not look; then a lock, a key or a snapshot would be passed
/// over, and a removal would count as done.
#[test]
fn a_file_that_rclone_could_not_look_for_is_not_missing() {
    let server = Rclone::serve_webdav();
    let content = b"snapshot";
    let file = FileId { kind: FileKind::Snapshot, id: sha256(content) };
    let straight = server.place("x").open(&unhurried());
    straight.create().unwrap();
    straight.write(file, content).unwrap();
    // Each child is a new one that knows nothing yet, and the first look at the file is refused to it.
    let child = || {
        let (name, mut looks) = (file.id.to_string(), 0);
        let proxy = HttpProxy::start(server.address(), move |request| {
            looks += u32::from(request.path.contains(&name));
            (request.path.contains(&name) && looks == 1).then_some(Misdeed::Answer(403, None))
        });
        (server.child_through(proxy.address(), "x").open(&unhurried()), proxy)
    };
    let (backend, proxy) = child();
    assert_eq!(backend.size(file).unwrap(), content.len() as u64);
    assert_eq!(proxy.misdeeds(), 1);
    let (backend, proxy) = child();
    let mut buffer = Vec::new();
    backend.read_all(file, 100, &mut buffer).unwrap();
    assert_eq!((buffer.as_slice(), proxy.misdeeds()), (&content[..], 1));
    let (backend, proxy) = child();
    backend.remove(file).unwrap();
    assert_eq!(proxy.misdeeds(), 1);
    assert!(straight.size(file).unwrap_err().is_not_found());
}

/// Each of the two makes a repository that the other one goes on with, both through rclone.
#[test]
fn restic_and_larder_take_turns_through_rclone() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    dir([("readme.txt", file("hello\n")), ("noise", file(noise(3 << 20, 7)))]).build(&source);
    for (name, first, second) in [("a", larder(), restic()), ("b", restic(), larder())] {
        let place = Rclone::child(&home.path().join(name));
        let on = |program: &Program| program.at(&place);
        on(&first).arg("init").ok();
        on(&first).arg("backup").arg(&source).ok();
        on(&second).arg("backup").arg(&source).ok();
        for program in [&first, &second] {
            on(program).args(["check", "--read-data"]).ok();
            let target = home.path().join(format!("{name}-{}", program.name()));
            on(program).args(["restore", "latest", "--target"]).arg(&target).ok();
            let restored = target.join(source.strip_prefix("/").unwrap());
            assert_same(&Snapshot::of(&source), &Snapshot::of(&restored));
        }
    }
}
