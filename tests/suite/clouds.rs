//! Repositories in clouds that the opendal library reaches, on their emulators.

use std::cell::Cell;

use repo_core::backend::conformance::{self, Scale, Subject};
use repo_core::context::Context;
use tests::larder::larder;
use tests::servers::{Azurite, Place};

#[test]
fn every_promise_is_kept_on_azure() {
    let server = Azurite::start();
    let count = Cell::new(0);
    let make = || {
        count.set(count.get() + 1);
        let storage = server.place("container", &format!("repository-{}", count.get())).open(&Context::new());
        storage.create().unwrap();
        Subject::new(storage)
    };
    conformance::check(make, Scale::Quick);
}

#[test]
fn a_wrong_key_of_azure_is_refused_and_not_shown() {
    let server = Azurite::start();
    let mut place = server.place("container", "repository");
    let wrong = "d3Jvbmcga2V5";
    for (name, value) in &mut place.variables {
        if name == "AZURE_ACCOUNT_KEY" {
            wrong.clone_into(value);
        }
    }
    let ran = larder().at(&place).arg("snapshots").run();
    assert!(ran.code == 1 && ran.stderr.contains("403"), "{ran}");
    assert!(!ran.stderr.contains(wrong), "{ran}");
}

#[test]
fn a_variable_that_google_s_library_cannot_read_is_named() {
    use std::os::unix::ffi::OsStrExt as _;
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    for location in ["gs:bucket:/path", "opendal:gcs?bucket=bucket"] {
        let place = Place::new(location).variable("GOOGLE_ACCESS_TOKEN", "token");
        let ran = larder().at(&place).env("ODD", odd).arg("snapshots").run();
        assert!(ran.code == 1 && ran.stderr.contains("ODD") && !ran.stderr.contains("panicked"), "{ran}");
    }
}
