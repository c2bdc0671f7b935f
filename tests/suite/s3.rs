//! Repositories in buckets, on two servers: moto, which knows cold classes, and rclone, which checks signatures.
//!
//! Whole lives of repositories and restic beside us are in `cycle`.

use std::cell::Cell;

use repo_core::backend::conformance::{self, Scale, Subject};
use repo_core::backend::{Backend, ErrorKind};
use repo_core::context::{Context, with_causes};
use repo_core::hash::sha256;
use repo_core::id::{FileId, FileKind, PackId};
use tests::larder::larder;
use tests::servers::{Moto, Place, Rclone, plain_http};

fn pack(content: &[u8]) -> FileId {
    FileId { kind: FileKind::Pack, id: sha256(content) }
}

#[test]
fn every_promise_is_kept_on_a_server_that_checks_signatures() {
    let server = Rclone::serve_s3();
    let count = Cell::new(0);
    let make = || {
        count.set(count.get() + 1);
        Subject::new(server.place(&format!("repository-{}", count.get())).open(&Context::new()))
    };
    conformance::check(make, Scale::Quick);
}

#[test]
fn every_promise_is_kept_on_a_server_that_knows_more_of_s3() {
    let server = Moto::start();
    let count = Cell::new(0);
    let make = || {
        count.set(count.get() + 1);
        // Also a bucket that is not there yet.
        let bucket = format!("bucket-{}", count.get());
        Subject::new(Moto::place_in(server.address(), &bucket, "place").open(&Context::new()))
    };
    conformance::check(make, Scale::Quick);
}

#[test]
fn a_cold_pack_is_thawed_and_metadata_never_freezes() {
    let server = Moto::start();
    let cold = server.place("cold").option("s3.storage-class=GLACIER");
    let storage = cold.open(&Context::new());
    let (data, tree) = (pack(b"data"), pack(b"tree"));
    storage.create().unwrap();
    storage.hint_trees(&[PackId::from(tree.id)]);
    storage.write(data, b"data").unwrap();
    storage.write(tree, b"tree").unwrap();
    storage.write(FileId::CONFIG, b"config").unwrap();
    let mut content = Vec::new();
    for warm in [tree, FileId::CONFIG] {
        storage.read_all(warm, 100, &mut content).unwrap();
    }
    let frozen = |storage: &dyn Backend| storage.read_all(data, 100, &mut Vec::new()).unwrap_err().kind();
    assert_eq!(frozen(&*storage), ErrorKind::Cold);
    let packs = [data.id, tree.id].map(PackId::from);
    assert_eq!(storage.thaw(&packs).unwrap(), [], "without the option nothing is asked");
    assert_eq!(frozen(&*storage), ErrorKind::Cold);
    let thawing = cold.option("s3.enable-restore=true").open(&Context::new());
    // moto thaws at once, but says so only when it is asked again.
    let waiting = thawing.thaw(&packs).unwrap();
    assert!(waiting.is_empty() || waiting == packs[..1], "{waiting:?}");
    assert_eq!(thawing.thaw(&packs).unwrap(), []);
    thawing.read_all(data, 100, &mut content).unwrap();
    assert_eq!(content, b"data");
}

#[test]
fn wrong_keys_are_named_as_the_cause_and_not_shown() {
    let server = Rclone::serve_s3();
    let keys = |id: &str, secret: &str| {
        let Place { location, .. } = server.place("place");
        Place::new(location).variable("AWS_ACCESS_KEY_ID", id).variable("AWS_SECRET_ACCESS_KEY", secret)
    };
    for (place, code) in [
        (keys("larder-test", "not-the-secret"), "SignatureDoesNotMatch"),
        (keys("somebody-else", "not-the-secret"), "InvalidAccessKeyId"),
    ] {
        let error = place.open(&Context::new()).size(FileId::CONFIG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(with_causes(&error).contains(code), "{}", with_causes(&error));
        let said = larder().at(&place).arg("snapshots").run();
        assert!(said.code == 1 && said.stderr.contains(code), "{said}");
        assert!(!said.stderr.contains("not-the-secret"), "{said}");
    }
}

#[test]
fn a_missing_bucket_is_a_missing_repository_until_init_makes_it() {
    let server = Moto::start();
    let place = Moto::place_in(server.address(), "missing", "place");
    let there = || plain_http::request(server.address(), "GET", "/missing?list-type=2").unwrap();
    let storage = place.open(&Context::new());
    assert!(storage.size(FileId::CONFIG).unwrap_err().is_not_found());
    assert!(storage.list(FileKind::Pack).is_err(), "nothing is not the same as an empty bucket");
    assert_eq!(larder().at(&place).arg("snapshots").run().code, 10);
    assert_eq!(there(), 404);
    storage.create().unwrap();
    assert_eq!(there(), 200);
    assert_eq!(storage.list(FileKind::Pack).unwrap(), []);
}

/// What was changed where it lies is found without reading it; what another program stored is told.
#[test]
fn packs_are_verified_by_the_server_s_own_checksums() {
    let server = Moto::start();
    let place = server.place("verified");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note"), "milk").unwrap();
    larder().at(&place).arg("init").ok();
    larder().at(&place).within(folder.path()).args(["backup", "note"]).ok();
    let check = || larder().at(&place).args(["check", "--verify-remote", "--json"]).run();
    let ran = check();
    let summary = ran.summary();
    assert_eq!(
        (ran.code, &summary["packs_verified_remotely"], &summary["packs_without_checksum"]),
        (0, &2.into(), &0.into()),
        "{ran}"
    );

    // Stored without a checksum, as restic does it.
    let storage = place.clone().option("s3.checksum=none").open(&Context::new());
    let packs = storage.list(FileKind::Pack).unwrap();
    let file = FileId { kind: FileKind::Pack, id: packs[0].id };
    let mut content = Vec::new();
    storage.read_all(file, 1 << 20, &mut content).unwrap();
    storage.write(file, &content).unwrap();
    let ran = check();
    assert_eq!((ran.code, &ran.summary()["packs_without_checksum"]), (0, &1.into()), "{ran}");
    assert!(ran.stderr.contains("of 1 packs the storage knows no SHA-256"), "{ran}");

    // The checksum is that of other bytes.
    let damaged: Vec<u8> = content.iter().map(|byte| byte ^ 1).collect();
    let other = FileId { kind: FileKind::Pack, id: sha256(&damaged) };
    let through = server.place("verified").open(&Context::new());
    through.write(other, &damaged).unwrap();
    assert_eq!(through.stored_hash(other).unwrap(), Some(other.id));
    assert!(through.stored_hash(pack(b"nothing")).unwrap_err().is_not_found());
}

/// A folder knows no checksums: that nothing was verified must not look like success.
#[test]
fn storage_without_checksums_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note"), "milk").unwrap();
    let repository = folder.path().join("repository");
    tests::fixtures::empty_repository(2, &repository);
    larder().on(&repository).within(folder.path()).args(["backup", "note"]).ok();
    let ran = larder().on(&repository).args(["check", "--verify-remote"]).run();
    assert!(
        ran.code == 1 && ran.stderr.contains("tells no SHA-256") && ran.stderr.contains("--read-data"),
        "{ran}"
    );
    let both = larder().on(&repository).args(["check", "--verify-remote", "--read-data"]).run();
    assert!(both.code == 1 && both.stderr.contains("goes with no --read-data flag"), "{both}");
}
