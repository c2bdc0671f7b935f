//! What is lost comes back from another repository, whatever its key, and nothing becomes worse.

#![expect(clippy::result_large_err, reason = "errors of tests are looked at, not passed on")]

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_core::backend::{Backend, Fault, FaultBackend, MemoryBackend, Rule};
use repo_core::id::{BlobId, FileKind};
use repo_core::ops::check::{CheckOptions, ReadData, check};
use repo_core::ops::repair::{FetchError, FetchReport, plan_fetch};
use repo_core::repository::{LockGuard, Repository, WriterOptions};
use tests::fixtures::PASSWORD;
use tests::larder::larder;
use tests::repo::{backup, context, in_memory, load, open, save};
use tests::restic::restic;
use tests::tree::{dir, file, noise};

use super::repair as repair_index;
use crate::prune::packs;

/// Two repositories with backups of the same folder, under different keys. Each cuts large files in its own way, so there are none.
fn two() -> (Arc<MemoryBackend>, Arc<MemoryBackend>) {
    let folder = tempfile::tempdir().unwrap();
    dir([
        ("large", file(noise(400_000, 5))),
        ("small", file("small")),
        ("sub", dir([("deeper", dir([("other", file(noise(2000, 6)))])), ("more", file("more"))])),
    ])
    .build(folder.path());
    // Version 1 and version 2 are fixtures of their own, with keys of their own.
    let repositories = [2, 1].map(|version| Arc::new(in_memory(version)));
    for memory in &repositories {
        backup(&open(memory.clone()), folder.path()).unwrap();
    }
    let [here, there] = repositories;
    assert_ne!(open(here.clone()).key().encrypt(), open(there.clone()).key().encrypt());
    (here, there)
}

fn fetch(here: &Repository, there: &Repository) -> Result<FetchReport, FetchError> {
    plan_fetch(&context(), here, there)?.execute(&context(), &LockGuard::none(), WriterOptions::default())
}

fn is_sound(memory: &Arc<MemoryBackend>) -> bool {
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    check(&context(), &open(memory.clone()), &options).unwrap().is_sound()
}

#[test]
fn whatever_pack_is_lost_comes_back() {
    let (start, there) = two();
    let other = open(there.clone());
    let before = there.files();
    for pack in packs(&start) {
        for index_first in [true, false] {
            let here = Arc::new(start.copy());
            here.remove(pack).unwrap();
            if index_first {
                repair_index(&here, false);
            }
            let report = fetch(&open(here.clone()), &other).unwrap();
            assert!(report.fetched > 0 && report.damaged.is_empty(), "{report:?}");
            repair_index(&here, false);
            assert!(is_sound(&here), "{pack}");
            assert_eq!(fetch(&open(here), &other).unwrap().fetched, 0, "now there is nothing to do");
        }
    }
    // All of them at once, and a tree that leads to others.
    let here = Arc::new(start.copy());
    for pack in packs(&start) {
        here.remove(pack).unwrap();
    }
    fetch(&open(here.clone()), &other).unwrap();
    repair_index(&here, false);
    assert!(is_sound(&here));
    assert_eq!(there.files(), before, "the other one is only read");
}

#[test]
fn damaged_trees_come_back_and_what_is_nowhere_is_told() {
    let (start, there) = two();
    let here = Arc::new(start.copy());
    for pack in packs(&start) {
        here.tamper(pack, |bytes| bytes[40] ^= 1);
    }
    let plan = plan_fetch(&context(), &open(here.clone()), &open(there.clone())).unwrap();
    assert!(!plan.found.is_empty() && plan.nowhere.is_empty(), "{plan:?}");

    let nothing = Arc::new(in_memory(1));
    for pack in packs(&start) {
        here.remove(pack).unwrap();
    }
    let plan = plan_fetch(&context(), &open(here), &open(nothing)).unwrap();
    assert!(plan.found.is_empty() && plan.nowhere.len() == 1, "the root alone is known to be lost: {plan:?}");
}

/// What was there is there, and the next run ends what this one began.
#[test]
fn a_fetch_may_stop_anywhere() {
    let (start, there) = two();
    for pack in packs(&start).into_iter().take(2) {
        start.remove(pack).unwrap();
    }
    repair_index(&start, false);
    let other = open(there);
    let needed = |memory: &Arc<MemoryBackend>| -> BTreeSet<BlobId> {
        let index = open(memory.clone()).load_index(&context()).unwrap();
        index.iter().map(|(blob, _)| blob).collect()
    };
    let known = needed(&start);
    let clean = Arc::new(FaultBackend::new(Arc::new(start.copy()), []));
    let repository = open(clean.clone());
    let opening = clean.calls();
    fetch(&repository, &other).unwrap();
    for number in opening + 1..=clean.calls() {
        for fault in [Fault::FreezeBefore, Fault::FreezeAfter, Fault::TearAndFreeze(20)] {
            let memory = Arc::new(start.copy());
            let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [Rule::nth(number, fault)]));
            let _ = fetch(&open(faulty.clone()), &other);
            let story = || format!("{fault:?} at call {number}\n{}", faulty.log().join("\n"));
            assert!(needed(&memory).is_superset(&known), "{}", story());
            fetch(&open(memory.clone()), &other).unwrap();
            repair_index(&memory, false);
            assert!(is_sound(&memory), "{}", story());
        }
    }
}

#[test]
fn the_program_fetches_from_another_repository() {
    let (here, there) = two();
    let lost = packs(&here)[0];
    here.remove(lost).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("here"), folder.path().join("there"));
    save(&here, &ours);
    save(&there, &theirs);
    let run = |words: &[&str]| larder().on(&ours).env("RESTIC_FROM_PASSWORD", PASSWORD).args(words).run();
    assert_eq!(run(&["repair", "index"]).code, 0);
    assert_eq!(run(&["check"]).code, 1);
    let from = theirs.to_string_lossy().into_owned();
    let dry = run(&["repair", "--from-repo", &from, "--dry-run"]);
    assert!(dry.code == 0 && dry.stdout.contains("would bring back "), "{dry}");
    assert_eq!(run(&["check"]).code, 1);
    let json = run(&["repair", "--from", &from, "--json"]);
    assert!(json.summary()["fetched"].as_u64() > Some(0), "{json}");
    restic().on(&ours).args(["check", "--read-data"]).ok();
    let again = run(&["repair", "--from-repo", &from]);
    assert!(again.stdout.contains("nothing is lost that a snapshot needs"), "{again}");
    assert_eq!(run(&["repair", "--from-repo", &from, "index"]).code, 1, "an action or another repository");
    let left = load(&theirs).files();
    assert!(!left.keys().any(|file| file.kind == FileKind::Lock), "no lock is left behind");
}
