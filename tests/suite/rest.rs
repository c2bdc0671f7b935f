//! Repositories on REST servers: a strict one in this process with all the manners of others, and rclone's.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use backends::{Network, Options};
use repo_core::Context;
use repo_core::backend::conformance::{self, Scale, Subject};
use repo_core::backend::{Backend, BackendError, ErrorKind};
use repo_core::context::{HandClock, with_causes};
use repo_core::hash::sha256;
use repo_core::id::{FileId, FileKind};
use tests::larder::larder;
use tests::program::Program;
use tests::rest_server::{Existing, Manners, Ranges, RestServer, Trouble};
use tests::restic::restic;
use tests::servers::{Place, Rclone};
use tests::tree::{Snapshot, assert_same, dir, file, noise};

/// A context whose waits take no time: what is tried again is tried at once.
fn unhurried() -> Context {
    Context { clock: Arc::new(HandClock::new()), ..Context::new() }
}

fn opened(location: &str) -> Arc<dyn Backend> {
    backends::open(&unhurried(), &location.parse().unwrap(), &Options::default()).unwrap()
}

fn pack(content: &[u8]) -> FileId {
    FileId { kind: FileKind::Pack, id: sha256(content) }
}

/// Every promise of a backend, on a server of these manners.
fn keeps_every_promise(manners: Manners, scale: Scale) {
    let server = Arc::new(RestServer::start(manners));
    let count = Cell::new(0);
    let make = || {
        count.set(count.get() + 1);
        let name = format!("repository-{}", count.get());
        let (server, location) = (Arc::clone(&server), server.location(&name));
        Subject::new(opened(&location)).with_plant(move |path, content| {
            let path = server.folder(&name).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        })
    };
    conformance::check(make, scale);
}

#[test]
fn every_promise_is_kept_on_a_strict_server() {
    keeps_every_promise(Manners::default(), Scale::Full);
}

#[test]
fn every_promise_is_kept_on_a_server_of_the_first_version() {
    keeps_every_promise(Manners { lists_sizes: false, ..Manners::default() }, Scale::Quick);
}

#[test]
fn every_promise_is_kept_on_a_server_that_overwrites() {
    keeps_every_promise(Manners { existing: Existing::Overwritten, ..Manners::default() }, Scale::Quick);
}

#[test]
fn every_promise_is_kept_on_a_server_with_faults_instead_of_answers() {
    let manners = Manners { existing: Existing::Fault, missing_is_fault: true, ..Manners::default() };
    keeps_every_promise(manners, Scale::Quick);
}

#[test]
fn every_promise_is_kept_on_a_server_that_only_says_it_overwrites() {
    keeps_every_promise(Manners { existing: Existing::Kept, ..Manners::default() }, Scale::Quick);
}

#[test]
fn every_promise_is_kept_on_a_server_that_knows_no_ranges() {
    keeps_every_promise(Manners { ranges: Ranges::Ignored, ..Manners::default() }, Scale::Quick);
}

#[test]
fn every_promise_is_kept_on_a_server_that_refuses_no_range() {
    keeps_every_promise(Manners { ranges: Ranges::NeverRefused, ..Manners::default() }, Scale::Quick);
}

/// Tries again while that may help, as whoever is above a storage does.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, BackendError>) -> Result<T, BackendError> {
    let mut tries = 0;
    loop {
        match attempt() {
            Err(error) if error.kind().is_passing() && tries < 3 => tries += 1,
            result => return result,
        }
    }
}

#[test]
fn an_append_only_server_takes_new_files_and_gives_up_only_locks() {
    let server = RestServer::start(Manners { append_only: true, ..Manners::default() });
    let backend = opened(&server.location("x"));
    backend.create().unwrap();
    let (file, lock) = (pack(b"pack"), FileId { kind: FileKind::Lock, id: sha256(b"lock") });
    for _ in 0..2 {
        backend.write(FileId::CONFIG, b"config").unwrap();
        backend.write(file, b"pack").unwrap();
        backend.write(lock, b"lock").unwrap();
        backend.remove(lock).unwrap();
    }
    let denied = |result: Result<(), BackendError>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Denied);
    denied(backend.remove(file));
    denied(backend.write(FileId::CONFIG, b"another"));
    let mut buffer = Vec::new();
    backend.read_all(FileId::CONFIG, 100, &mut buffer).unwrap();
    assert_eq!(buffer, b"config");
}

/// A part of an upload that a server kept under the final name, as some do when they lose the connection.
#[test]
fn a_damaged_file_in_the_way_is_replaced_unless_nothing_may_be_removed() {
    for append_only in [false, true] {
        let server = RestServer::start(Manners { append_only, ..Manners::default() });
        let backend = opened(&server.location("x"));
        backend.create().unwrap();
        let content = b"the whole pack";
        let file = pack(content);
        let folder = server.folder("x").join("data").join(&file.id.to_string()[..2]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file.id.to_string()), b"the wh").unwrap();
        if append_only {
            let error = backend.write(file, content).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exists);
            let told = with_causes(&error);
            assert!(told.contains("another file of that name, with 6 bytes"), "{told}");
        } else {
            backend.write(file, content).unwrap();
            assert_eq!(backend.size(file).unwrap(), content.len() as u64);
        }
    }
}

#[test]
fn a_full_server_is_told_from_a_broken_one() {
    let server = RestServer::start(Manners { room: 1000, ..Manners::default() });
    let backend = opened(&server.location("x"));
    backend.create().unwrap();
    let content = vec![7; 900];
    backend.write(pack(&content), &content).unwrap();
    let error = backend.write(pack(b"other bytes"), &[8; 200]).unwrap_err();
    assert!(error.kind().is_passing(), "bytes that do not fit their name were changed on the way: {error:?}");
    let content = vec![8; 200];
    assert_eq!(backend.write(pack(&content), &content).unwrap_err().kind(), ErrorKind::Full);
}

#[test]
fn whatever_goes_wrong_once_the_second_try_is_right() {
    let server = RestServer::start(Manners::default());
    let location = server.location("x");
    let network = Network { stall_timeout: Duration::from_millis(300), ..Network::default() };
    let mut options = Options::default();
    options.network = network;
    let backend = backends::open(&unhurried(), &location.parse().unwrap(), &options).unwrap();
    backend.create().unwrap();
    let mut buffer = Vec::new();
    let troubles = [
        Trouble::Refused(500, None),
        Trouble::Refused(502, None),
        Trouble::Refused(503, Some(1)),
        Trouble::Refused(429, Some(1)),
        Trouble::Truncated,
        Trouble::Shorter,
        Trouble::Stalled,
        Trouble::Reset,
        Trouble::AnswerLost,
    ];
    for (round, trouble) in (0_u8..).zip(troubles) {
        let content = vec![round; 300_000];
        let file = pack(&content);
        let case = format!("{trouble:?}");
        server.make_trouble("POST", "/data/", trouble);
        patiently(|| backend.write(file, &content)).expect(&case);
        server.make_trouble("GET", file.id.to_string(), trouble);
        patiently(|| backend.read(file, 1..299_999, &mut buffer)).expect(&case);
        assert!(buffer == content[1..299_999], "{case}");
        server.make_trouble("GET", file.id.to_string(), trouble);
        patiently(|| backend.read_all(file, 300_000, &mut buffer)).expect(&case);
        // A whole file that is shorter than it was is the business of who knows its name.
        assert!(buffer == content || trouble == Trouble::Shorter, "{case}");
        if trouble != Trouble::Shorter {
            server.make_trouble("GET", "/data/", trouble);
            let listed = patiently(|| backend.list(FileKind::Pack)).expect(&case);
            assert_eq!(listed.len(), usize::from(round) + 1, "{case}");
        }
        assert!(server.is_out_of_trouble(), "{case}");
    }
    let file = pack(&vec![0; 300_000]);
    for trouble in [Trouble::Refused(500, None), Trouble::Stalled, Trouble::AnswerLost] {
        server.make_trouble("DELETE", "/data/", trouble);
        patiently(|| backend.remove(file)).unwrap();
        server.make_trouble("HEAD", "/data/", trouble);
        assert!(patiently(|| backend.size(file)).unwrap_err().is_not_found());
    }
}

#[test]
fn every_call_is_one_request() {
    let server = RestServer::start(Manners::default());
    let backend = opened(&server.location("x"));
    backend.create().unwrap();
    let file = pack(b"pack");
    server.take_requests();
    backend.write(file, b"pack").unwrap();
    backend.read(file, 1..3, &mut Vec::new()).unwrap();
    backend.read_all(file, 100, &mut Vec::new()).unwrap();
    backend.size(file).unwrap();
    backend.list(FileKind::Pack).unwrap();
    backend.remove(file).unwrap();
    let made: Vec<_> =
        server.take_requests().iter().map(|request| request.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(made, ["POST", "GET", "GET", "HEAD", "GET", "DELETE"]);
}

#[test]
fn the_login_comes_from_the_location_or_the_variables_and_is_never_shown() {
    let login = Some(("ann", "pass/word"));
    let server = RestServer::start(Manners { login, ..Manners::default() });
    let with_login = server.location("x").replace("//", "//ann:pass%2Fword@");
    opened(&with_login).create().unwrap();
    let mut options = Options::default();
    options.variables =
        [("RESTIC_REST_USERNAME", "ann"), ("RESTIC_REST_PASSWORD", "pass/word")].into_iter().collect();
    let location = server.location("x").parse().unwrap();
    backends::open(&unhurried(), &location, &options).unwrap().create().unwrap();
    let wrong = server.location("x").replace("//", "//ann:geheim@");
    for location in [server.location("x"), wrong.clone()] {
        let error = opened(&location).create().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        let shown = format!("{} {error:?} {:?}", with_causes(&error), opened(&location));
        assert!(!shown.contains("geheim") && shown.contains("401 Unauthorized"), "{shown}");
    }
    let ran = larder().on(wrong.as_ref()).arg("snapshots").run();
    assert_eq!(ran.code, 1, "{ran}");
    let told: Vec<_> = ran.stderr.lines().collect();
    assert!(told[0].starts_with("Fatal: ") && told[0].contains("401 Unauthorized"), "{ran}");
    assert!(told[1].contains("Check the user and the password") && told.len() == 2, "{ran}");
    assert!(!ran.stderr.contains("geheim"), "{ran}");
}

/// Each of the two makes a repository that the other one goes on with.
#[test]
fn restic_and_larder_take_turns_on_a_server() {
    let server = RestServer::start(Manners::default());
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    dir([("readme.txt", file("hello\n")), ("noise", file(noise(3 << 20, 7)))]).build(&source);
    for (name, first, second) in [("a", larder(), restic()), ("b", restic(), larder())] {
        let location = server.location(name);
        let on = |program: &Program| program.on(location.as_ref());
        on(&first).arg("init").ok();
        on(&first).arg("backup").arg(&source).ok();
        on(&second).arg("backup").arg(&source).ok();
        let packs = |program: &Program| {
            let listed = on(program).args(["list", "packs"]).ok().stdout;
            listed.lines().map(str::to_owned).collect::<BTreeSet<_>>()
        };
        assert_eq!(packs(&first), packs(&second));
        for program in [&first, &second] {
            on(program).args(["check", "--read-data"]).ok();
            let target = home.path().join(format!("{name}-{}", program.name()));
            on(program).args(["restore", "latest", "--target"]).arg(&target).ok();
            let restored = target.join(source.strip_prefix("/").unwrap());
            assert_same(&Snapshot::of(&source), &Snapshot::of(&restored));
        }
    }
}

/// Whoever may only add makes backups, and is told so when something is to go. By two servers, of which one is rclone.
#[test]
fn an_append_only_server_takes_backups_and_denies_what_removes() {
    let strict = RestServer::start(Manners { append_only: true, ..Manners::default() });
    let rclone = Rclone::serve_restic_append_only();
    let source = tempfile::tempdir().unwrap();
    dir([("noise", file(noise(300_000, 7)))]).build(source.path());
    let larder = larder();
    for place in [Place::new(strict.location("x")), rclone.place("x")] {
        let at = || larder.at(&place);
        at().arg("init").ok();
        for round in 0..2 {
            fs::write(source.path().join("more"), noise(100_000, round)).unwrap();
            at().args(["backup", "."]).within(source.path()).ok();
        }
        at().args(["check", "--read-data"]).ok();
        for arguments in [&["forget", "--keep-last", "1"][..], &["forget", "--keep-last", "1", "--prune"]] {
            let ran = at().args(arguments).run();
            assert_eq!(ran.code, 3, "{ran}");
            assert!(ran.stderr.contains("access denied: ") && ran.stderr.contains("403 Forbidden"), "{ran}");
        }
        assert_eq!(at().args(["snapshots", "--json"]).ok().json().as_array().unwrap().len(), 2);
        at().args(["check", "--read-data"]).ok();
        restic().at(&place).arg("check").ok();
        assert_eq!(at().args(["list", "locks"]).ok().stdout, "", "locks are the one thing that may go");
    }
}
