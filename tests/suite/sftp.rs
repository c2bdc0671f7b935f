//! Repositories behind a real sshd: every promise, both programs in turn, and a link that breaks.
//!
//! What a server that is itself broken may answer is tried in `backends`, beside the client.

use std::cell::Cell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use repo_core::Context;
use repo_core::backend::conformance::{self, Scale, Subject};
use repo_core::backend::{Backend, ErrorKind, Listed};
use repo_core::context::with_causes;
use repo_core::id::{FileId, FileKind, Id, PackId};
use tests::fixtures::PASSWORD;
use tests::larder::larder;
use tests::program::Program;
use tests::restic::restic;
use tests::servers::process::wait_until;
use tests::servers::{Place, Sshd};
use tests::tree::{Snapshot, assert_same, dir, file, noise};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_mins(1);

fn opened(place: &Place) -> Arc<dyn Backend> {
    place.open(&Context::new())
}

fn pack(byte: u8) -> FileId {
    PackId(Id::new([byte; 32])).into()
}

fn read(backend: &dyn Backend, file: FileId) -> Vec<u8> {
    let mut buffer = Vec::new();
    backend.read_all(file, 1 << 30, &mut buffer).unwrap();
    buffer
}

#[test]
fn a_real_server_keeps_every_promise() {
    let sshd = Sshd::start();
    // In memory if the system has such a folder: 20,000 syncs take their time on a disk.
    let memory = Path::new("/dev/shm");
    let storage = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let reached = sshd.place_by_args("repo");
    let count = Cell::new(0);
    let make = || {
        count.set(count.get() + 1);
        let root = storage.path().join(format!("deep/repo-{}", count.get()));
        let place = Place::new(format!("sftp:larder-test:{}", root.display())).option(&*reached.options[0]);
        Subject::new(opened(&place)).with_plant(move |path, content| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        })
    };
    conformance::check(make, Scale::Full);
    let left = files_below(storage.path()).into_iter().filter(|path| path.contains("-restic-temp-")).count();
    assert_eq!(left, 0, "temporary files are left");
}

fn files_below(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path.display().to_string()] })
        .collect()
}

#[test]
fn larder_and_restic_work_on_one_repository_in_turn() {
    let (sshd, larder, restic) = (Sshd::start(), larder(), restic());
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    dir((0..4).map(|number| (format!("file-{number}"), file(noise(2 << 20, number))))).build(&source);
    // restic 0.14 knows only sftp.command; larder is reached both ways.
    let in_turn = [(&larder, sshd.place_by_args("ours")), (&restic, sshd.place("theirs"))];
    for (first, place) in &in_turn {
        let second = if first.name() == "larder" { &restic } else { &larder };
        let their_place = sshd.place(place.location.rsplit('/').next().unwrap());
        first.at(place).arg("init").ok();
        for program in [*first, second, *first] {
            let place = if program.name() == "larder" { place } else { &their_place };
            program.at(place).args(["backup", "."]).within(&source).ok();
            fs::write(source.join(program.name()), noise(100_000, 99)).unwrap();
        }
        for (program, place) in [(&larder, place), (&restic, &their_place)] {
            program.at(place).args(["check", "--read-data"]).ok();
            let target = tempfile::tempdir().unwrap();
            program.at(place).args(["restore", "latest", "--target"]).arg(target.path()).ok();
            fs::remove_file(source.join(first.name())).unwrap();
            let newest = Snapshot::of(&source);
            fs::write(source.join(first.name()), noise(100_000, 99)).unwrap();
            fs::remove_file(target.path().join(first.name())).ok();
            assert_same(&Snapshot::of(target.path()), &newest);
        }
    }
}

#[test]
fn a_stranger_s_host_key_and_a_stranger_s_login_end_at_once_and_say_why() {
    fn check(program: &Program, place: &Place, words: &str) {
        let ran = program.at(place).arg("snapshots").run();
        assert_eq!(ran.code, 1, "{ran}");
        assert!(ran.stderr.contains(words), "{ran}");
    }
    let (sshd, larder) = (Sshd::start(), larder());
    let place = sshd.place_by_args("repo");
    larder.at(&place).arg("init").ok();
    let known = fs::read_to_string(sshd.known_hosts()).unwrap();
    let client = sshd.client_key();
    let stranger = fs::read_to_string(client.with_extension("pub")).unwrap();
    let host = known.split_whitespace().next().unwrap();
    fs::write(sshd.known_hosts(), format!("{host} {stranger}")).unwrap();
    check(&larder, &place, "host key");
    fs::write(sshd.known_hosts(), known).unwrap();
    larder.at(&place).arg("snapshots").ok();
    fs::remove_file(&client).unwrap();
    check(&larder, &place, "does not accept the login");
    check(&larder, &sshd.place("repo").option("sftp.args=-v"), "exclude each other");
    let nobody = Place::new(&*place.location).option("sftp.command=no-such-program-anywhere -s sftp");
    check(&larder, &nobody, "cannot start no-such-program-anywhere");
}

/// A command that reaches the server; the first time it is started, `cut` decides what gets through: `dd` passes
/// so many pieces of at most so many bytes on, each at once, and then ends.
fn breaking(sshd: &Sshd, folder: &Path, cut: &str) -> Place {
    let ssh = format!("ssh -F {} larder-test -s sftp", sshd.client_config().display());
    let script = folder.join("command");
    let cut = cut.replace("SSH", &ssh);
    let once = folder.join("once");
    let text =
        format!("#!/bin/sh\nif mkdir {} 2>/dev/null; then {cut}; else exec {ssh}; fi\n", once.display());
    fs::write(&script, text).unwrap();
    let place = sshd.place_by_args("repo");
    Place::new(place.location).option(format!("sftp.command=sh {}", script.display()))
}

#[test]
fn a_link_that_breaks_in_a_write_leaves_no_file_and_the_next_write_goes_through() {
    for cut in [20, 3000] {
        let (sshd, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
        opened(&sshd.place_by_args("repo")).create().unwrap();
        let place = breaking(&sshd, folder.path(), &format!("dd bs=1000 count={cut} | SSH"));
        let bare = backends::open(&Context::new(), &place.parsed(), &place.options()).unwrap();
        let content = noise(8 << 20, 1);
        // Whether the first try was repeated is for whoever opened it to decide; never is there half a file.
        let first = bare.write(pack(1), &content);
        let listed = bare.list(FileKind::Pack).unwrap();
        match first {
            Ok(()) => assert_eq!(listed, [Listed { id: pack(1).id, size: content.len() as u64 }]),
            Err(error) => {
                assert!(error.kind().is_passing(), "{}", with_causes(&error));
                assert_eq!(listed, []);
            }
        }
        assert!(folder.path().join("once").is_dir(), "the link did break");
        bare.write(pack(1), &content).unwrap();
        assert!(read(&*bare, pack(1)) == content);
        drop(bare);
        let left = files_below(&sshd.storage());
        assert_eq!(left.len(), 1, "nothing but the pack is there: {left:?}");
    }
}

#[test]
fn a_link_that_breaks_in_a_read_gives_no_wrong_bytes() {
    let (sshd, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let content = noise(8 << 20, 1);
    let whole = opened(&sshd.place_by_args("repo"));
    whole.create().unwrap();
    whole.write(pack(1), &content).unwrap();
    let place = breaking(&sshd, folder.path(), "SSH | dd bs=1000 count=3000");
    let backend = opened(&place);
    let mut buffer = Vec::new();
    match backend.read(pack(1), 0..content.len() as u64, &mut buffer) {
        Ok(()) => assert!(buffer == content),
        Err(error) => assert!(error.kind().is_passing() && buffer.is_empty(), "{}", with_causes(&error)),
    }
    assert!(folder.path().join("once").is_dir(), "the link did break");
    assert!(read(&*backend, pack(1)) == content);
}

#[test]
fn a_temporary_file_that_somebody_left_is_not_listed_and_stands_in_nobody_s_way() {
    let sshd = Sshd::start();
    let backend = opened(&sshd.place_by_args("repo"));
    backend.create().unwrap();
    let shard = sshd.storage().join("repo/data/01");
    let name = format!("{}-restic-temp-{}", pack(1).id, "0".repeat(32));
    fs::write(shard.join(name), "torn").unwrap();
    assert_eq!(backend.list(FileKind::Pack).unwrap(), []);
    backend.write(pack(1), b"whole").unwrap();
    assert_eq!(read(&*backend, pack(1)), b"whole");
    assert_eq!(backend.list(FileKind::Pack).unwrap(), [Listed { id: pack(1).id, size: 5 }]);
}

#[test]
fn no_ssh_outlives_us() {
    let (sshd, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let pids = folder.path().join("pids");
    let script = folder.path().join("command");
    let ssh = format!("ssh -F {} larder-test -s sftp", sshd.client_config().display());
    fs::write(&script, format!("#!/bin/sh\necho $$ >> {}\nexec {ssh}\n", pids.display())).unwrap();
    let place = Place::new(sshd.place_by_args("repo").location)
        .option(format!("sftp.command=sh {}", script.display()));
    let started = || fs::read_to_string(&pids).unwrap_or_default();
    let all_gone = || started().lines().all(|pid| !is_alive(pid));

    let backend = opened(&place);
    backend.create().unwrap();
    assert!(!all_gone(), "this test sees processes");
    drop(backend);
    assert!(all_gone(), "dropping waits for them: {}", started());

    fs::remove_file(&pids).unwrap();
    fs::remove_dir_all(sshd.storage().join("repo")).unwrap();
    let larder = larder();
    larder.at(&place).arg("init").ok();
    let source = folder.path().join("source");
    dir((0..8).map(|number| (format!("file-{number}"), file(noise(4 << 20, number))))).build(&source);
    let mut running = larder.at(&place).args(["backup", "--pack-size", "4", "."]).within(&source).spawn();
    let packs = sshd.storage().join("repo/data");
    wait_until("a pack is stored", LIMIT, || {
        !files_below(&packs).is_empty() || running.try_wait().unwrap().is_some()
    });
    running.kill().unwrap();
    running.wait().unwrap();
    wait_until("all ssh processes of a killed program end", LIMIT, all_gone);
}

fn is_alive(pid: &str) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // Who has ended and was not yet waited for holds nothing any more.
    !state.is_empty() && !state.starts_with('Z')
}

/// ssh asks on the terminal, not through us; so it must be able to.
#[cfg(target_os = "linux")]
#[test]
fn ssh_may_ask_for_a_passphrase_on_the_terminal() {
    let (sshd, larder) = (Sshd::start(), larder());
    larder.at(&sshd.place_by_args("repo")).arg("init").ok();
    let mut protect = Command::new("ssh-keygen");
    protect.args(["-q", "-p", "-P", "", "-N", "a passphrase", "-f"]).arg(sshd.client_key());
    assert!(protect.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
    let place = sshd.place_by_args("repo");
    let config = fs::read_to_string(sshd.client_config()).unwrap();
    fs::write(sshd.client_config(), config.replace("BatchMode yes\n", "")).unwrap();
    let command = format!(
        "{} -r {} -o '{}' --no-cache snapshots --json",
        larder.path().display(),
        place.location,
        place.options[0]
    );
    // A terminal of its own, with the program in its foreground.
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env("RESTIC_PASSWORD", PASSWORD).env("HOME", "/nonexistent");
    script.env_remove("SSH_ASKPASS").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let (mut keyboard, mut screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut seen = String::new();
    let mut typed = false;
    let mut piece = [0; 256];
    while let Ok(len @ 1..) = screen.read(&mut piece) {
        seen.push_str(&String::from_utf8_lossy(&piece[..len]));
        if !typed && seen.contains("passphrase for key") {
            keyboard.write_all(b"a passphrase\n").unwrap();
            typed = true;
        }
    }
    let status = script.wait().unwrap();
    assert!(status.success() && typed, "{status}: {seen}");
    assert!(seen.trim().ends_with("[]"), "{seen}");
}

#[test]
fn a_repository_that_is_not_there_is_told_from_a_server_that_is_not_there() {
    let (sshd, larder) = (Sshd::start(), larder());
    let place = sshd.place_by_args("repo");
    let ran = larder.at(&place).arg("snapshots").run();
    assert_eq!(ran.code, 10, "{ran}");
    let backend = opened(&place);
    assert_eq!(backend.list(FileKind::Snapshot).unwrap_err().kind(), ErrorKind::NotFound);
    backend.create().unwrap();
    assert_eq!(backend.list(FileKind::Snapshot).unwrap(), []);
    assert_eq!(backend.size(FileId::CONFIG).unwrap_err().kind(), ErrorKind::NotFound);
}
