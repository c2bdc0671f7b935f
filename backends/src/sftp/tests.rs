//! The conformance suite on a server in memory, and what a bad one may do: nothing wrong is ever reported as right.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use repo_core::backend::conformance::{self, Scale, Subject};
use repo_core::context::{Cancel, Cancelled, Clock};
use repo_core::id::{Id, PackId};

use super::fake::{self, Act, Asked, Shared, attributes, packet, status, string};
use super::process::Asking;
use super::*;

fn backend(server: &Shared) -> SftpBackend {
    backend_with(server, Duration::from_mins(2))
}

fn backend_with(server: &Shared, patience: Duration) -> SftpBackend {
    let server = Arc::clone(server);
    over(patience, Box::new(move |_| Ok(fake::dial(&server))))
}

fn over(patience: Duration, dial: pool::Dial) -> SftpBackend {
    over_with(&Context::new(), patience, dial)
}

fn over_with(context: &Context, patience: Duration, dial: pool::Dial) -> SftpBackend {
    let location = Sftp { user: None, host: "h".to_owned(), port: None, path: "repo".to_owned() };
    let mut options = Options::default();
    options.network.stall_timeout = patience;
    SftpBackend::over(context, &location, &options, 5, dial, Box::new(|_| {}))
}

fn created() -> (Shared, SftpBackend) {
    let server = fake::server();
    let backend = backend(&server);
    backend.create().unwrap();
    backend.write(FileId::CONFIG, b"config").unwrap();
    (server, backend)
}

fn pack(byte: u8) -> FileId {
    PackId(Id::new([byte; 32])).into()
}

/// Not the same in any two places.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect()
}

fn plan(server: &Shared, plan: impl FnMut(&Asked) -> Act + Send + 'static) {
    server.lock().unwrap().plan = Box::new(plan);
}

/// Does this to the request number `at` of a kind, counted from 0, and leaves all others alone.
fn once(
    kind: u8,
    at: usize,
    act: impl Fn(&Asked) -> Act + Send + 'static,
) -> impl FnMut(&Asked) -> Act + Send {
    let mut seen = 0;
    move |asked| {
        let hit = asked.kind == kind && {
            seen += 1;
            seen == at + 1
        };
        if hit { act(asked) } else { Act::Properly }
    }
}

fn temporaries(server: &Shared) -> usize {
    server.lock().unwrap().files.keys().filter(|path| path.contains("-restic-temp-")).count()
}

fn read(backend: &SftpBackend, file: FileId) -> Result<Vec<u8>, ErrorKind> {
    let mut buffer = Vec::new();
    backend.read_all(file, 1 << 30, &mut buffer).map_err(|error| error.kind())?;
    Ok(buffer)
}

#[test]
fn a_server_keeps_every_promise() {
    conformance::check(|| subject(fake::server()), Scale::Quick);
}

#[test]
fn a_server_without_extensions_keeps_every_promise() {
    let bare = || {
        let server = fake::server();
        server.lock().unwrap().extensions.clear();
        subject(server)
    };
    conformance::check(bare, Scale::Quick);
    assert!(!bare_properties().atomic_replace);
}

fn bare_properties() -> Properties {
    let server = fake::server();
    server.lock().unwrap().extensions.clear();
    let backend = backend(&server);
    backend.create().unwrap();
    backend.properties()
}

fn subject(server: Shared) -> Subject {
    server.lock().unwrap().folders.remove("repo");
    Subject::new(Arc::new(backend(&server))).with_plant(move |path, content| {
        let path = format!("repo/{path}");
        let mut server = server.lock().unwrap();
        for (at, _) in path.match_indices('/') {
            server.folders.insert(path[..at].to_owned());
        }
        server.files.insert(path, content.to_vec());
    })
}

#[test]
fn a_write_takes_three_round_trips() {
    let (server, backend) = created();
    backend.size(FileId::CONFIG).unwrap(); // as whoever opens a repository asks
    let (told, asked) = std::sync::mpsc::channel();
    plan(&server, move |asked| {
        told.send(asked.clone()).unwrap();
        Act::Properly
    });
    backend.write(pack(1), &content(10_000)).unwrap();
    let kinds: Vec<_> = asked.try_iter().map(|asked| (asked.kind, asked.extension)).collect();
    let named = |name: &str| (200, name.to_owned());
    let plain = |kind| (kind, String::new());
    let (rename, sync) = (named("posix-rename@openssh.com"), named("fsync@openssh.com"));
    let write = [plain(3), plain(6), plain(6), plain(6), plain(10), sync.clone(), plain(8)];
    let finish = [rename, sync, plain(4)];
    assert_eq!(kinds, [&write[..], &finish].concat());
}

#[test]
fn short_and_disordered_answers_give_the_right_bytes() {
    let (server, backend) = created();
    let wanted = content(100_000);
    backend.write(pack(1), &wanted).unwrap();
    // Every answer is cut to a third, at least one byte.
    plan(&server, |asked| match asked.kind {
        5 => Act::Change(|answer| {
            let data = if answer[4] == 103 { &answer[13..] } else { return answer };
            packet(103, &[&answer[5..9], &string(&data[..data.len().div_ceil(3)])].concat())
        }),
        _ => Act::Properly,
    });
    assert_eq!(read(&backend, pack(1)).unwrap(), wanted);
    let mut buffer = Vec::new();
    backend.read(pack(1), 5000..77_777, &mut buffer).unwrap();
    assert_eq!(buffer, wanted[5000..77_777]);
}

#[test]
fn answers_out_of_order_are_put_in_order() {
    let (server, backend) = created();
    let wanted = content(9000);
    backend.write(pack(1), &wanted).unwrap();
    let held = Mutex::new(None);
    let whole = wanted.clone();
    // The first piece is answered after the second.
    plan(&server, move |asked| {
        let data = |id: u32, from: usize, to: usize| {
            packet(103, &[&id.to_be_bytes()[..], &string(&whole[from..to])].concat())
        };
        let mut held = held.lock().unwrap();
        match (asked.kind, held.take()) {
            (5, None) => {
                *held = Some(Some(asked.id));
                Act::Nothing
            }
            (5, Some(Some(first))) => {
                *held = Some(None);
                Act::Say([data(asked.id, 4096, 8192), data(first, 0, 4096)].concat())
            }
            (_, other) => {
                *held = other;
                Act::Properly
            }
        }
    });
    assert_eq!(read(&backend, pack(1)).unwrap(), wanted);
}

#[test]
fn a_bad_answer_to_a_read_is_an_error_and_the_next_read_goes_through() {
    fn check(what: &str, act: fn(&Asked) -> Act, expected: ErrorKind) {
        let server = fake::server();
        let backend = backend_with(&server, Duration::from_millis(400));
        backend.create().unwrap();
        let wanted = content(20_000);
        backend.write(pack(1), &wanted).unwrap();
        plan(&server, once(5, 2, act));
        let mut buffer = b"old".to_vec();
        let error = backend.read(pack(1), 0..20_000, &mut buffer).unwrap_err();
        assert_eq!(error.kind(), expected, "{what}: {}", repo_core::context::with_causes(&error));
        assert!(buffer.is_empty(), "{what}");
        assert_eq!(read(&backend, pack(1)).unwrap(), wanted, "{what}");
    }
    let eof = |asked: &Asked| Act::Say(status(asked.id, Status::EOF));
    check("the file ends early", eof, ErrorKind::TooShort);
    let failure = |asked: &Asked| Act::Say(status(asked.id, Status::FAILURE));
    check("the disk is broken", failure, ErrorKind::Other);
    let ok = |asked: &Asked| Act::Say(status(asked.id, Status::OK));
    check("ok instead of bytes", ok, ErrorKind::Other);
    let wrong_id = |asked: &Asked| Act::Say(status(asked.id.wrapping_add(1_000_000), Status::OK));
    check("an answer to nothing", wrong_id, ErrorKind::Other);
    let empty = |asked: &Asked| Act::Say(packet(103, &[&asked.id.to_be_bytes()[..], &string(b"")].concat()));
    check("no bytes at all", empty, ErrorKind::Other);
    let more =
        |asked: &Asked| Act::Say(packet(103, &[&asked.id.to_be_bytes()[..], &string(&[0; 5000])].concat()));
    check("more bytes than asked for", more, ErrorKind::Other);
    check("a huge packet", |_| Act::Say(vec![255; 100]), ErrorKind::Other);
    check("half a packet, then the end", |_| Act::HangUp, ErrorKind::Transient);
    check("silence", |_| Act::Nothing, ErrorKind::TimedOut);
}

#[test]
fn a_write_that_fails_anywhere_leaves_no_file_and_the_next_one_goes_through() {
    fn check(what: &str, kind: u8, at: usize, act: fn(&Asked) -> Act, expected: ErrorKind) {
        let server = fake::server();
        let backend = backend_with(&server, Duration::from_millis(400));
        backend.create().unwrap();
        backend.write(FileId::CONFIG, b"config").unwrap();
        plan(&server, once(kind, at, act));
        let error = backend.write(pack(1), &content(20_000)).unwrap_err();
        assert_eq!(error.kind(), expected, "{what}: {}", repo_core::context::with_causes(&error));
        assert_eq!(backend.list(FileKind::Pack).unwrap(), [], "{what}");
        backend.write(pack(1), &content(20_000)).unwrap();
        assert_eq!(read(&backend, pack(1)).unwrap(), content(20_000), "{what}");
        assert_eq!(temporaries(&server), 0, "{what}: nothing is left, also of the first try");
    }
    let failure = |asked: &Asked| Act::Say(status(asked.id, Status::FAILURE));
    let denied = |asked: &Asked| Act::Say(status(asked.id, Status::PERMISSION_DENIED));
    check("open fails", 3, 0, failure, ErrorKind::Transient);
    check("open is not allowed", 3, 0, denied, ErrorKind::Denied);
    check("a write in the middle fails", 6, 2, failure, ErrorKind::Transient);
    check("the sync fails", 200, 0, failure, ErrorKind::Transient);
    check("the link breaks in the middle", 6, 3, |_| Act::HangUp, ErrorKind::Transient);
    check("the link breaks before the sync", 200, 0, |_| Act::HangUp, ErrorKind::Transient);
    check("the link breaks before the rename", 200, 1, |_| Act::HangUp, ErrorKind::Transient);
    check("silence in the middle", 6, 3, |_| Act::Nothing, ErrorKind::TimedOut);
    let torn = |asked: &Asked| {
        Act::Say(packet(105, &[&asked.id.to_be_bytes()[..], &attributes(19_999, 0o100_600)].concat()))
    };
    check("fewer bytes are there than were sent", 8, 0, torn, ErrorKind::Transient);
    check("data instead of a status", 6, 1, |_| Act::Say(packet(103, &[0; 8])), ErrorKind::Other);
}

/// The way to lose data with a retry below whole files: what was written before the disk was full stays, and the rest
/// comes after it.
#[test]
fn a_full_disk_that_has_space_again_never_gives_a_wrong_file() {
    let (server, backend) = created();
    backend.write(pack(9), &content(30_000)).unwrap();
    server.lock().unwrap().disk = 50_000;
    let error = backend.write(pack(1), &content(40_000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{}", repo_core::context::with_causes(&error));
    assert_eq!(temporaries(&server), 0);
    backend.remove(pack(9)).unwrap();
    backend.write(pack(1), &content(40_000)).unwrap();
    assert_eq!(read(&backend, pack(1)).unwrap(), content(40_000));
    assert_eq!(backend.list(FileKind::Pack).unwrap(), [Listed { id: pack(1).id, size: 40_000 }]);
    // Full, and free again before anybody asks how much is left.
    server.lock().unwrap().disk = 50_000;
    plan(&server, once(6, 5, |asked| Act::Say(status(asked.id, Status::FAILURE))));
    assert_eq!(backend.write(pack(2), &content(5_000)).map_err(|error| error.kind()), Ok(()));
    assert_eq!(backend.write(pack(3), &content(20_000)).unwrap_err().kind(), ErrorKind::Full);
}

#[test]
fn a_listing_is_whole_or_an_error() {
    let (server, backend) = created();
    for byte in 0..10 {
        let mut id = [7; 32];
        id[31] = byte;
        backend.write(FileId { kind: FileKind::Pack, id: Id::new(id) }, b"x").unwrap();
    }
    backend.write(pack(8), b"x").unwrap();
    assert_eq!(backend.list(FileKind::Pack).unwrap().len(), 11);
    for (at, expected) in [(0, ErrorKind::Denied), (7, ErrorKind::Denied), (200, ErrorKind::Denied)] {
        plan(&server, once(12, at, |asked| Act::Say(status(asked.id, Status::PERMISSION_DENIED))));
        assert_eq!(backend.list(FileKind::Pack).unwrap_err().kind(), expected, "entries {at}");
        plan(&server, once(11, at, |asked| Act::Say(status(asked.id, Status::PERMISSION_DENIED))));
        assert_eq!(backend.list(FileKind::Pack).unwrap_err().kind(), expected, "folder {at}");
        plan(&server, once(12, at, |_| Act::HangUp));
        assert_eq!(backend.list(FileKind::Pack).unwrap_err().kind(), ErrorKind::Transient, "entries {at}");
    }
    plan(&server, |_| Act::Properly);
    assert_eq!(backend.list(FileKind::Pack).unwrap().len(), 11);
    plan(
        &server,
        once(12, 3, |asked| {
            let entry = [string(b"../../etc/passwd"), string(b""), attributes(1, 0o100_600)].concat();
            Act::Say(packet(104, &[&asked.id.to_be_bytes()[..], &1_u32.to_be_bytes(), &entry].concat()))
        }),
    );
    assert_eq!(backend.list(FileKind::Pack).unwrap_err().kind(), ErrorKind::Other, "a name is no path");
    plan(
        &server,
        once(12, 3, |asked| {
            Act::Say(packet(104, &[&asked.id.to_be_bytes()[..], &0_u32.to_be_bytes()].concat()))
        }),
    );
    assert_eq!(backend.list(FileKind::Pack).unwrap_err().kind(), ErrorKind::Other, "no end in sight");
}

#[test]
fn left_temporary_files_are_not_listed_and_stand_in_nobody_s_way() {
    let (server, backend) = created();
    let name = format!("{}-restic-temp-{}", backend.path(pack(1)), "0".repeat(32));
    server.lock().unwrap().files.insert(name, b"torn".to_vec());
    assert_eq!(backend.list(FileKind::Pack).unwrap(), []);
    backend.write(pack(1), b"good").unwrap();
    assert_eq!(read(&backend, pack(1)).unwrap(), b"good");
    assert_eq!(backend.list(FileKind::Pack).unwrap().len(), 1);
}

#[test]
fn a_login_that_fails_says_so_in_ssh_s_words() {
    fn check(refusal: &'static str, greeting: &'static [u8], expected: ErrorKind, words: &str) {
        let server = fake::server();
        server.lock().unwrap().refusal = refusal;
        server.lock().unwrap().greeting = greeting;
        let error = backend(&server).size(FileId::CONFIG).unwrap_err();
        assert_eq!(error.kind(), expected);
        let text = repo_core::context::with_causes(&error);
        assert!(text.contains(words), "{text}");
    }
    let denied = "ann@h: Permission denied (publickey).\r\n";
    check(denied, b"", ErrorKind::Denied, "does not accept the login: ann@h: Permission denied (publickey).");
    let key = "No ED25519 host key is known for h.\r\nHost key verification failed.\r\n";
    check(key, b"", ErrorKind::Denied, "cannot be verified: No ED25519 host key is known for h.; Host key");
    check("", b"Welcome to this machine!\n", ErrorKind::Config, "a script that runs at login prints text");
    let error = over(
        Duration::from_mins(2),
        Box::new(|_| Err(Loss::start("no-such-ssh", std::io::ErrorKind::NotFound.into()))),
    );
    let error = error.size(FileId::CONFIG).unwrap_err();
    let expected = "cannot look up config: invalid configuration: cannot start no-such-ssh: entity not found";
    assert_eq!(repo_core::context::with_causes(&error), expected);
}

/// Ctrl-C reaches only whoever has the terminal, and that is ssh while it asks.
#[test]
fn a_login_that_is_interrupted_stops_the_whole_run() {
    let server = fake::server();
    server.lock().unwrap().refusal = fake::INTERRUPTED;
    let backend = backend(&server);
    assert_eq!(backend.size(FileId::CONFIG).unwrap_err().kind(), ErrorKind::Other);
    assert!(backend.context.cancel.is_cancelled());
}

/// Time flies as long as this is set, and the flights are counted.
#[derive(Debug, Default)]
struct Hasty {
    flies: AtomicBool,
    flights: AtomicUsize,
}

impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        if self.flies.load(Ordering::SeqCst) {
            self.flights.fetch_add(1, Ordering::SeqCst);
            return cancel.check();
        }
        cancel.wait(span)
    }
}

#[test]
fn a_connection_may_be_idle_for_longer_than_a_server_may_be_silent() {
    let server = fake::server();
    server.lock().unwrap().extensions.clear();
    let clock = Arc::new(Hasty::default());
    let context = Context { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Context::new() };
    let dialled = Arc::clone(&server);
    let backend = over_with(&context, Duration::from_secs(2), Box::new(move |_| Ok(fake::dial(&dialled))));
    drop(backend.pool.lease(0).unwrap());
    clock.flies.store(true, Ordering::SeqCst);
    while clock.flights.load(Ordering::SeqCst) < 100 {
        std::thread::yield_now();
    }
    clock.flies.store(false, Ordering::SeqCst);
    backend.create().unwrap();
    assert_eq!(server.lock().unwrap().connections, 1);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let server = fake::server();
    plan(&server, |_| Act::Nothing);
    let error = backend_with(&server, Duration::from_millis(100)).size(FileId::CONFIG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn only_large_files_get_connections_of_their_own_and_only_the_first_may_ask() {
    let server = fake::server();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (dialled, heard) = (Arc::clone(&server), Arc::clone(&asked));
    let backend = over(
        Duration::from_mins(2),
        Box::new(move |asking| {
            heard.lock().unwrap().push(asking);
            Ok(fake::dial(&dialled))
        }),
    );
    backend.create().unwrap();
    std::thread::scope(|scope| {
        for byte in 0..6 {
            let backend = &backend;
            scope.spawn(move || backend.write(pack(byte), &content(20_000)).unwrap());
        }
    });
    assert_eq!(*asked.lock().unwrap(), [Asking::Allowed]);
    // Each waits until all are under way.
    let under_way = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&under_way);
    plan(&server, move |asked| {
        counted.fetch_add(usize::from(asked.kind == 3), Ordering::SeqCst);
        Act::Properly
    });
    std::thread::scope(|scope| {
        for byte in 0..6 {
            let backend = &backend;
            scope.spawn(move || backend.write(pack(byte), &content(8 << 20)).unwrap());
        }
    });
    let asked = asked.lock().unwrap();
    assert!((2..=4).contains(&asked.len()), "{asked:?}");
    assert!(asked[1..].iter().all(|asking| *asking == Asking::Forbidden));
}

#[test]
fn further_connections_that_cannot_be_had_are_done_without() {
    let server = fake::server();
    let refused = fake::server();
    refused.lock().unwrap().refusal = "Permission denied (password).";
    let (good, bad) = (Arc::clone(&server), Arc::clone(&refused));
    let dial = move |asking| Ok(fake::dial(if asking == Asking::Allowed { &good } else { &bad }));
    let backend = over(Duration::from_mins(2), Box::new(dial));
    backend.create().unwrap();
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for byte in 0..4 {
                let backend = &backend;
                scope.spawn(move || backend.write(pack(byte), &content(4 << 20)).unwrap());
            }
        });
    }
    assert_eq!(server.lock().unwrap().connections, 1);
    assert!(refused.lock().unwrap().connections <= 3, "it is not tried for ever");
    assert_eq!(backend.list(FileKind::Pack).unwrap().len(), 4);
}

#[test]
fn nobody_writes_into_a_place_that_is_not_the_repository_any_more() {
    let (server, backend) = created();
    let mut there = server.lock().unwrap();
    there.files.clear();
    there.folders.retain(|folder| !folder.starts_with("repo/"));
    drop(there);
    assert_eq!(backend.write(pack(1), b"x").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(server.lock().unwrap().folders.iter().all(|folder| !folder.starts_with("repo/")));
    backend.write(FileId::CONFIG, b"config").unwrap();
    backend.write(pack(1), b"x").unwrap();
    assert_eq!(read(&backend, pack(1)).unwrap(), b"x");
}
