//! A repository's whole life on every kind of location, on real servers, with restic in turns.
//!
//! One test per kind of server; on both of them restic works too.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::fixtures::PASSWORD;
use tests::larder::larder;
use tests::program::{Call, Program, Ran};
use tests::repo;
use tests::restic::restic;
use tests::servers::{Moto, Place, Sshd};
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
    let fourth = backup(ours(), &source);
    assert_eq!(fourth["data_blobs"], 0, "larder adds data that restic had kept: {fourth}");
    restic.at(theirs).arg("check").ok();
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

fn check_both(init: [&Place; 2], cycle: [&Place; 2]) {
    check_init(init[0], init[1]);
    check_cycle(cycle[0], cycle[1]);
}

#[test]
fn life_of_a_repository_on_an_sftp_server() {
    let server = Sshd::start();
    check_both([&server.place("init"); 2], [&server.place("cycle"); 2]);
    check_init(&server.place_by_args("by-args"), &server.place("by-args"));
}

#[test]
fn life_of_a_repository_on_s3_beside_restic() {
    let server = Moto::start();
    check_both([&server.place("init"); 2], [&server.place("cycle"); 2]);
}
