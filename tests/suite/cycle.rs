//! A repository's whole life on every kind of location, on real servers, with restic in turns.
//!
//! One table: each test starts a server and says how larder and restic reach the same files there. restic knows no
//! `WebDAV`, and no Unix socket, so there it looks at the folder that the server serves.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::fixtures::PASSWORD;
use tests::larder::larder;
use tests::program::{Call, Program, Ran};
use tests::repo;
use tests::rest_server::{Manners, RestServer};
use tests::restic::restic;
use tests::servers::{Azurite, Moto, Place, Rclone, Sshd};
use tests::tree::{Snapshot, assert_same, dir, file, noise, symlink};

/// What is backed up; `gone` goes before the second backup.
fn build(source: &Path) {
    dir([
        ("several chunks", file(noise(3 << 20, 1))),
        ("gone", file(noise(400_000, 2))),
        ("sub", dir([("name with ä", file("content")), ("link", symlink("../gone")), ("empty", file(""))])),
    ])
    .build(source);
}

/// An empty repository with the cheap key of the fixtures.
fn fill(place: &Place) {
    let storage = place.open(&repo::context());
    storage.create().unwrap();
    for (file, content) in repo::in_memory(2).files() {
        storage.write(file, &content).unwrap();
    }
}

fn count(snapshots: &Ran) -> usize {
    snapshots.json().as_array().map_or(0, Vec::len)
}

fn backup(call: Call, source: &Path) -> Value {
    call.args(["backup", "--json", "--host", "host", "."]).within(source).ok().summary()
}

/// The whole life of a repository at `place`, which restic knows as `theirs`.
fn check_cycle(place: &Place, theirs: &Place) {
    let (larder, restic) = (larder(), restic());
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    build(&source);
    let ours = || larder.at(place);
    let restored = |program: &Program, place: &Place| {
        let target = tempfile::tempdir_in(folder.path()).unwrap();
        program.at(place).args(["restore", "latest", "--target"]).arg(target.path()).ok();
        assert_same(&Snapshot::of(target.path()), &Snapshot::of(&source));
    };

    fill(place);
    assert_eq!(count(&ours().args(["snapshots", "--json"]).ok()), 0);
    let first = backup(ours(), &source);
    assert_eq!(first["files_new"], 4, "{first}");
    let second = backup(ours(), &source);
    assert_eq!((&second["files_unmodified"], &second["data_blobs"]), (&4.into(), &0.into()), "{second}");
    ours().args(["check", "--read-data"]).ok();
    restored(&larder, place);
    assert_eq!(count(&ours().args(["snapshots", "--json"]).ok()), 2);
    ours().arg("unlock").ok();

    restic.at(theirs).args(["check", "--read-data"]).ok();
    fs::remove_file(source.join("gone")).unwrap();
    let third = backup(restic.at(theirs), &source);
    assert_eq!(third["data_blobs"], 0, "restic adds data that larder had stored: {third}");
    restored(&restic, theirs);
    restic.at(theirs).args(["forget", "--keep-last", "1", "--prune", "--max-unused", "0"]).ok();

    // What restic removed is gone for us too, and what it moved is found.
    assert_eq!(count(&ours().args(["snapshots", "--json"]).ok()), 1);
    ours().args(["check", "--read-data"]).ok();
    restored(&larder, place);
    fs::write(source.join("late"), noise(300_000, 3)).unwrap();
    backup(ours(), &source);
    fs::remove_file(source.join("late")).unwrap();
    let last = backup(ours(), &source);
    assert_eq!(last["data_blobs"], 0, "larder adds data that restic had kept: {last}");

    // The other way round: what larder removes is gone for restic, and what it moved restic finds.
    ours().args(["forget", "--keep-last", "1", "--prune", "--max-unused", "0"]).ok();
    assert_eq!(count(&restic.at(theirs).args(["snapshots", "--json"]).ok()), 1);
    restic.at(theirs).args(["check", "--read-data"]).ok();
    restored(&restic, theirs);
    assert!(
        unused(&restic.at(theirs).args(["prune", "--dry-run", "--max-unused", "0"]).ok()),
        "prune left something"
    );
}

/// Whether restic's plan of a prune finds nothing to remove and nothing to move.
fn unused(plan: &Ran) -> bool {
    let zero = |what: &str| {
        plan.stdout.lines().any(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            line.starts_with(what) && words.windows(2).any(|pair| pair == ["0", "blobs"])
        })
    };
    zero("to repack:") && zero("this removes:") && zero("to delete:")
}

/// What larder's `init` makes there restic opens.
fn check_init(place: &Place, theirs: &Place) {
    larder().at(place).arg("init").ok();
    let config = restic().at(theirs).args(["cat", "config"]).ok().json();
    assert_eq!(config["version"], 2);
    let again = larder().at(place).arg("init").run();
    assert_eq!(again.code, 1, "{again}");
    assert!(!again.stderr.contains(PASSWORD), "{again}");
}

/// Both, at places that larder and restic reach as these two say.
fn check_life(ours: impl Fn(&str) -> Place, theirs: impl Fn(&str) -> Place) {
    check_init(&ours("init"), &theirs("init"));
    check_cycle(&ours("cycle"), &theirs("cycle"));
}

#[test]
fn life_of_a_repository_on_an_sftp_server() {
    let server = Sshd::start();
    check_life(|name| server.place(name), |name| server.place(name));
    check_init(&server.place_by_args("by-args"), &server.place("by-args"));
}

#[test]
fn life_of_a_repository_on_s3() {
    let server = Moto::start();
    check_life(|name| server.place(name), |name| server.place(name));
}

#[test]
fn life_of_a_repository_on_a_rest_server() {
    let server = RestServer::start(Manners::default());
    let place = |name: &str| Place::new(server.location(name));
    check_life(place, place);
}

#[test]
fn life_of_a_repository_on_a_rest_server_of_rclone() {
    let server = Rclone::serve_restic();
    check_life(|name| server.place(name), |name| server.place(name));
}

#[test]
fn life_of_a_repository_behind_rclone() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| Rclone::child(&folder.path().join(name));
    check_life(place, place);
}

#[test]
fn life_of_a_repository_on_a_webdav_server() {
    let server = Rclone::serve_webdav();
    check_life(|name| server.place(name), |name| server.folder_of(name));
}

#[test]
fn life_of_a_repository_on_a_unix_socket() {
    let server = Rclone::serve_restic_on_a_socket();
    check_life(|name| server.place_on_socket(name), |name| server.folder_of(name));
}

#[test]
fn life_of_a_repository_on_azure() {
    let server = Azurite::start();
    // Not every restic is built with Azure; all of them can start rclone.
    check_life(|name| server.place("container", name), |name| server.place_by_rclone("container", name));
}
