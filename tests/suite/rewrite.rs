//! New snapshots from old ones: the trees, records, texts and exit codes that restic makes of the same repository; stopped
//! at every call.

use std::path::Path;
use std::sync::Arc;

use repo_core::backend::{Fault, FaultBackend, MemoryBackend, Rule};
use repo_core::filter::{Case, Patterns, Selection};
use repo_core::ops::rewrite::{Old, RewriteChange, RewriteOptions, Rewritten, SnapshotError, rewrite};
use repo_core::repository::{LockGuard, OpenOptions, Password, Repository};
use repo_core::snapshots::{self, Stored};
use serde_json::Value;
use tests::fixtures::{Fixture, PASSWORD};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::repo::{assert_complete, context, load, open};
use tests::restic::restic;

fn run(program: &Program, repository: &Path, flags: &[&str]) -> Ran {
    program.on(repository).arg("rewrite").args(flags).run()
}

/// All snapshots, without their names, as restic lists them.
fn records(restic: &Program, repository: &Path) -> Vec<Value> {
    let listed = restic.on(repository).args(["snapshots", "--json"]).ok().json();
    let mut records = listed.as_array().unwrap().clone();
    for record in &mut records {
        let record = record.as_object_mut().unwrap();
        record.remove("id");
        record.remove("short_id");
    }
    records.sort_by_key(ToString::to_string);
    records
}

/// Output with the names of new snapshots hidden, which differ from run to run where restic writes them in another order.
fn said(ran: &Ran) -> String {
    let line = |line: &str| match line.strip_prefix("saved new snapshot ") {
        Some(_) => "saved new snapshot".to_owned(),
        None => line.to_owned(),
    };
    ran.stdout.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn snapshots_are_rewritten_as_restic_does_it() {
    let (larder, restic) = (larder(), restic());
    for fixture in ["v1-r014", "v2-r019"] {
        for flags in [
            &["--exclude", "*.txt"][..],
            &["--iexclude", "*.TXT", "--forget"],
            &["--include", "*.txt"],
            &["--iinclude", "*.TXT", "--include", "empty*"],
            &["--include", "nowhere"],
            &["--exclude", "nowhere"],
            &["--exclude", "*"],
            &["--exclude", "**/*", "--forget"],
            &["--snapshot-summary"],
            &["--new-host", "elsewhere"],
            &["--new-host", ""],
            &["--new-time", "2020-01-02 03:04:05", "--forget"],
            &["--new-host", "elsewhere", "--new-time", "2020-01-02 03:04:05", "--exclude", "*.txt"],
            &["--exclude", "*.txt", "--dry-run"],
            &["--exclude", "*.txt", "--host", "nobody"],
        ] {
            let (mine, theirs) = (Fixture::unpack(fixture), Fixture::unpack(fixture));
            let they = run(&restic, &theirs.repo(), flags);
            let we = run(&larder, &mine.repo(), flags);
            assert_eq!(we.code, they.code, "{fixture} {flags:?}\n{we}\n{they}");
            let records = |repository: &Path| records(&restic, repository);
            assert_eq!(records(&mine.repo()), records(&theirs.repo()), "{fixture} {flags:?}\n{we}\n{they}");
            restic.on(&mine.repo()).arg("check").ok();
        }
    }
}

#[test]
fn a_run_says_what_restic_says() {
    let (larder, restic) = (larder(), restic());
    for flags in [
        &["--exclude", "*", "latest"][..],
        &["--exclude", "*", "--forget", "latest"],
        &["--exclude", "*", "--dry-run", "latest"],
        &["--exclude", "*", "--dry-run", "--forget", "latest"],
        &["--exclude", "nowhere", "latest"],
        &["--exclude", "nowhere", "--dry-run", "latest"],
        &[],
        &["--exclude", "[", "latest"],
        &["--exclude", "a", "--include", "b", "latest"],
        &["--new-time", "yesterday", "latest"],
    ] {
        let (mine, theirs) = (Fixture::unpack("v2-r019"), Fixture::unpack("v2-r019"));
        let they = run(&restic, &theirs.repo(), flags);
        let we = run(&larder, &mine.repo(), flags);
        assert_eq!(we.code, they.code, "{flags:?}\n{we}\n{they}");
        // A broken pattern is told by restic when it has begun, by larder before.
        if they.code == 0 {
            assert_eq!(said(&we), said(&they), "{flags:?}\n{we}\n{they}");
        }
    }
}

#[test]
fn a_word_that_names_no_snapshot_is_told() {
    let (larder, fixture) = (larder(), Fixture::unpack("v2-r019"));
    let flags = ["--exclude", "*", "deadbeef"];
    let ran = run(&larder, &fixture.repo(), &flags);
    assert!(ran.code == 1 && ran.stderr.contains("Ignoring \"deadbeef\""), "{ran}");
    let strict = larder.on(&fixture.repo()).env("LARDER_COMPATIBILITY", "strict").arg("rewrite").args(flags);
    assert_eq!(strict.run().code, run(&restic(), &fixture.repo(), &flags).code);
}

#[test]
fn a_script_is_told_every_new_snapshot() {
    let (larder, fixture) = (larder(), Fixture::unpack("v2-r019"));
    let messages = run(&larder, &fixture.repo(), &["--exclude", "*", "--json"]).messages();
    let (summary, changed) = messages.split_last().unwrap();
    assert_eq!(summary["changed_snapshots"], changed.len());
    assert!(!changed.is_empty());
    let names = tests::fixtures::files_in(&fixture.repo().join("snapshots"));
    let is_there = |id: &Value| names.iter().any(|name| name.ends_with(id.as_str().unwrap()));
    for message in changed {
        assert_eq!(message["message_type"], "changed");
        assert!(is_there(&message["old_snapshot_id"]) && is_there(&message["new_snapshot_id"]), "{message}");
    }
}

#[test]
fn a_protected_snapshot_stays_and_says_so() {
    let (larder, fixture) = (larder(), Fixture::unpack("v2-r019"));
    larder.on(&fixture.repo()).args(["tag", "--protect", "latest"]).ok();
    let before = records(&restic(), &fixture.repo());
    let ran = run(&larder, &fixture.repo(), &["--exclude", "*", "--forget", "latest"]);
    assert!(ran.code == 1 && ran.stderr.contains("it is protected"), "{ran}");
    assert_eq!(records(&restic(), &fixture.repo()), before);
}

fn change() -> RewriteChange {
    let texts = Patterns::new(["*.txt"], Case::Sensitive).unwrap();
    RewriteChange { selection: Selection::Except(vec![texts]), ..RewriteChange::default() }
}

fn rewrite_all(repository: &Repository, old: Old) -> Option<Vec<Rewritten>> {
    let all = snapshots::list(&context(), repository).ok()?;
    let options = RewriteOptions { old, ..RewriteOptions::default() };
    rewrite(&context(), repository, &LockGuard::none(), &all, &change(), &options).ok()
}

/// Goal: whatever call is the last one, every snapshot is there as it was or in its new form, and all are whole.
#[test]
fn rewrite_may_stop_at_every_call() {
    let before = load(&Fixture::unpack("v2-r019").repo());
    let listed = |memory: &Arc<MemoryBackend>| snapshots::list(&context(), &open(memory.clone())).unwrap();
    let old: Vec<Stored> = listed(&Arc::new(before.copy()));
    for kind in [Old::Keep, Old::Remove] {
        for number in 1.. {
            let memory = Arc::new(before.copy());
            let faulty = Arc::new(FaultBackend::new(memory.clone(), [Rule::nth(number, Fault::FreezeAfter)]));
            let password = Password::new(PASSWORD);
            if let Ok(opened) =
                Repository::open(&context(), faulty.clone(), &password, &OpenOptions::default())
            {
                rewrite_all(&opened, kind);
            }
            assert_complete(memory.clone());
            let now = listed(&memory);
            for one in &old {
                let there = now.iter().any(|now| now.id == one.id);
                let replaced = now.iter().any(|now| now.snapshot.original == Some(one.id));
                assert!(there || replaced && kind == Old::Remove, "call {number}: {} is lost", one.id);
            }
            if !faulty.is_frozen() {
                assert!(number > 8, "there is something to do");
                break;
            }
        }
    }
}

/// What cannot be read is never left out in silence.
#[test]
fn a_snapshot_with_a_damaged_folder_stays_as_it_is() {
    let memory = Arc::new(load(&Fixture::unpack("v2-r019").repo()));
    let repository = open(memory.clone());
    let all = snapshots::list(&context(), &repository).unwrap();
    let reader = repository.reader(&context()).unwrap();
    let place = reader.index().place_of(&all[0].snapshot.tree.into()).unwrap();
    assert!(memory.tamper(place.pack.into(), |bytes| bytes[place.offset as usize + 20] ^= 1));
    let done = rewrite_all(&repository, Old::Remove).unwrap();
    assert!(
        matches!(&done[0], Rewritten::Failed(SnapshotError::Read { path, .. }) if path == "/"),
        "{done:?}"
    );
    let now = snapshots::list(&context(), &repository).unwrap();
    assert!(now.contains(&all[0]));
}
