//! A repository over `WebDAV`: what a real client sees, parts of files, and everything that is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tests::fixtures::{empty_repository, files_in, packs_in};
use tests::larder::larder;
use tests::mounted::Showing;
use tests::program::Program;
use tests::servers::process::find;
use tests::tree::{Kind, Snapshot, Tree, dir, fifo, file, noise, symlink};

/// A repository with one snapshot.
struct Place {
    folder: tempfile::TempDir,
    larder: Program,
}

impl Place {
    fn with(tree: &Tree) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder, larder: larder() };
        empty_repository(2, &place.repository());
        tree.build(&place.at("source"));
        place.larder.on(&place.repository()).args(["backup", "source"]).within(place.folder.path()).ok();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn repository(&self) -> PathBuf {
        self.at("repository")
    }

    /// Serves it at a port that is free; says where.
    fn serve(&self, words: &[&str]) -> (Showing, SocketAddr) {
        let call = self.larder.on(&self.repository()).args(["serve", "webdav", "--listen", "127.0.0.1:0"]);
        let showing = Showing::start(call.args(words));
        let url = showing.greeting.trim().rsplit_once("http://").expect("it says where").1.to_owned();
        (showing, url.trim_end_matches('/').parse().unwrap())
    }
}

/// An answer: its status, its head in lower case, its body as far as it came.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// Sends a request with these lines in its head, and a body.
fn ask(address: SocketAddr, method: &str, path: &str, lines: &[&str], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let host = format!("Host: {address}");
    let own_host = lines.iter().any(|line| line.starts_with("Host:"));
    let lines = if own_host { lines.to_vec() } else { [lines, &[host.as_str()]].concat() }.join("\r\n");
    let len = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len}\r\n{lines}\r\n");
    write!(stream, "{head}\r\n{body}").unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes); // a connection that breaks is an answer too
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    Answer { status: head[9..12].parse().unwrap(), head, body: bytes[end + 4..].to_vec() }
}

fn rclone(address: SocketAddr, folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(find("rclone"));
    command.args(["--config", "/dev/null", "--webdav-url", &format!("http://{address}/")]).args(words);
    let output = command.current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_client_copies_what_was_saved() {
    let place = Place::with(&dir([
        ("big", file(noise(6 << 20, 1)).mtime(1_234_567_890, 0)),
        ("empty", file("")),
        ("100% #1 ü?.txt", file("odd")),
        ("sub", dir([("deep", dir([("f", file("deep down"))]))])),
        ("link", symlink("big")),
        ("pipe", fifo()),
    ]));
    let (showing, address) = place.serve(&[]);
    assert_eq!(
        rclone(address, place.folder.path(), &["lsf", ":webdav:"]),
        "hosts/\nids/\nsnapshots/\ntags/\n"
    );
    rclone(address, place.folder.path(), &["copy", ":webdav:snapshots/latest/source", "copied"]);
    let files = |folder: &Path| -> BTreeMap<Vec<u8>, (Kind, i128)> {
        let found = Snapshot::of(folder).0.into_iter();
        let files = found.filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }));
        files.map(|(path, entry)| (path, (entry.kind, entry.mtime_ns / 1_000_000_000))).collect()
    };
    assert_eq!(files(&place.at("copied")), files(&place.at("source")));

    showing.signal(Signal::INT);
    let (code, errors) = showing.end();
    assert_eq!(code, 0, "{errors}");
    assert_eq!(fs::read_dir(place.repository().join("locks")).unwrap().count(), 0);
}

#[test]
fn parts_of_files_are_served_as_asked() {
    let bytes = noise(5 << 20, 2);
    let place = Place::with(&dir([("big", file(&bytes))]));
    let (_showing, address) = place.serve(&["--path-template", "x/%T", "--time-template", "2006"]);
    assert_eq!(ask(address, "GET", "/x/", &[], "").status, 200, "a browser is shown the folders");
    let path = "/x/latest/source/big";
    let part = |range: &str| ask(address, "GET", path, &[&format!("Range: bytes={range}")], "");
    for (range, expected) in
        [("0-9", 0..10), ("4000000-4099999", 4_000_000..4_100_000), ("-7", (5 << 20) - 7..5 << 20)]
    {
        let answer = part(range);
        assert_eq!(answer.status, 206, "{range}: {}", answer.head);
        assert!(answer.body == bytes[expected], "{range}");
    }
    assert_eq!(part("99999999-").status, 416);
    let whole = ask(address, "GET", path, &[], "");
    assert!(whole.status == 200 && whole.body == bytes);
    // A page out of a backup is held apart from the rest of it.
    assert!(whole.head.contains("content-security-policy: sandbox"), "{}", whole.head);
    let head = ask(address, "HEAD", path, &[], "");
    assert!(head.status == 200 && head.body.is_empty() && head.head.contains("content-length: 5242880"));
}

#[test]
fn nothing_can_be_changed() {
    let place = Place::with(&dir([("f", file("x"))]));
    let before = files_in(&place.repository());
    let (showing, address) = place.serve(&[]);
    let path = "/snapshots/latest/source/f";
    let destination = format!("Destination: http://{address}/snapshots/latest/source/g");
    for method in ["PUT", "DELETE", "MKCOL", "MOVE", "COPY", "PROPPATCH", "LOCK", "PATCH", "POST"] {
        let answer = ask(address, method, path, &[&destination], "y");
        assert!(matches!(answer.status, 403 | 405 | 501), "{method}: {}", answer.head);
        assert_eq!(ask(address, method, "/new", &[&destination], "y").status, answer.status, "{method}");
    }
    assert_eq!(ask(address, "GET", path, &[], "").body, b"x");
    assert_eq!(ask(address, "GET", "/snapshots/latest/source/g", &[], "").status, 404);
    assert!(matches!(ask(address, "GET", "/../../../etc/passwd", &[], "").status, 400 | 403 | 404));
    // The whole tree at once is for nobody.
    for test_program in [&["Depth: infinity"][..], &["Depth: infinity", "X-Litmus: 1"]] {
        assert_eq!(ask(address, "PROPFIND", "/", test_program, "").status, 501);
    }
    drop(showing);
    let left: Vec<_> = files_in(&place.repository())
        .into_iter()
        .filter(|path| !path.to_string_lossy().contains("/locks/"))
        .collect();
    assert_eq!(left, before);
}

#[test]
fn only_this_machine_or_whoever_has_the_password_may_read() {
    let place = Place::with(&dir([("f", file("x"))]));
    let (showing, address) = place.serve(&[]);
    assert_eq!(ask(address, "GET", "/ids/", &["Host: localhost"], "").status, 200);
    // A page of another site whose name leads to this machine.
    assert_eq!(ask(address, "GET", "/ids/", &["Host: evil.example"], "").status, 421);
    drop(showing);

    let refuse = |words: &[&str]| {
        let ran = place.larder.on(&place.repository()).args(["serve", "webdav"]).args(words).run();
        assert_eq!(ran.code, 1, "{ran}");
        ran.stderr
    };
    assert!(refuse(&["--listen", "0.0.0.0:0"]).contains("everybody who reaches 0.0.0.0:0 could read"));
    let secret = place.at("secret");
    fs::write(&secret, "sesame\n").unwrap();
    let secret = secret.to_str().unwrap();
    assert!(refuse(&["--user", "a:b", "--user-password-file", secret]).contains("no colon"));

    let (_showing, address) = place.serve(&["--user", "ali", "--user-password-file", secret]);
    let refused = ask(address, "GET", "/ids/", &[], "");
    assert!(refused.status == 401 && refused.head.contains("www-authenticate: basic"), "{}", refused.head);
    assert_eq!(ask(address, "GET", "/ids/", &["Authorization: Basic YWxpOndyb25n"], "").status, 401);
    assert_eq!(ask(address, "GET", "/ids/", &["Authorization: Basic YWxpOnNlc2FtZQ=="], "").status, 200);
}

#[test]
fn damage_ends_an_answer_early_and_is_told() {
    let bytes = noise(9 << 20, 3);
    let place = Place::with(&dir([("big", file(&bytes))]));
    let packs = packs_in(&place.repository());
    let large = packs.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut content = fs::read(large).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::remove_file(large).unwrap();
    fs::write(large, content).unwrap();

    let (showing, address) = place.serve(&[]);
    let answer = ask(address, "GET", "/snapshots/latest/source/big", &[], "");
    assert!(answer.head.contains("content-length: 9437184"), "{}", answer.head);
    assert!(answer.body.len() < bytes.len(), "the answer is shorter than it was to be");
    assert!(bytes.starts_with(&answer.body), "and what came is right");
    showing.signal(Signal::INT);
    let (_, errors) = showing.end();
    assert!(errors.contains("cannot read /snapshots/"), "{errors}");
}
