//! Exit codes, command line by command line, of both programs in the same situation.

use std::path::Path;

use tests::fixtures::{Damaged, Fixture};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::restic::{self, restic};

fn run(program: &Program, repository: &Path, folder: &Path, line: &str) -> Ran {
    program
        .on(repository)
        .within(folder)
        .args(line.split_whitespace().map(|word| word.trim_matches('\'')))
        .run()
}

/// Lines that change nothing that the ones behind them would see.
const LINES: [&str; 74] = [
    "",
    "bogus",
    "help",
    "help bogus",
    "help backup",
    "key",
    "key bogus",
    "key list",
    "key list extra",
    "key remove",
    "key remove 00000000",
    "repair",
    "repair bogus",
    "repair packs",
    "repair packs 00",
    "repair packs 0000000000000000000000000000000000000000000000000000000000000001",
    "repair index",
    "repair snapshots --dry-run",
    "repair snapshots --dry-run latest",
    "rebuild-index",
    "recover",
    "migrate",
    "migrate bogus",
    "migrate upgrade_repo_v2",
    "options",
    "features",
    "features extra",
    "version",
    "version extra",
    "snapshots",
    "snapshots latest",
    "snapshots --bogus",
    "snapshots --host",
    "snapshots -q -v",
    "snapshots -vvv",
    "snapshots --host nobody",
    "snapshots --latest x",
    "snapshots -g bogus",
    "ls",
    "ls latest",
    "ls bogus",
    "ls latest:bogus",
    "ls latest --ncdu --json",
    "ls latest --sort bogus",
    "find",
    "find x",
    "find --tree --blob x",
    "find [",
    "diff",
    "diff latest",
    "dump latest",
    "dump latest /bogus",
    "dump latest / --archive bogus",
    "cat",
    "cat bogus",
    "cat config",
    "cat snapshot bogus",
    "cat blob 00",
    "list",
    "list bogus",
    "list blobs packs",
    "list locks",
    "stats",
    "stats --mode bogus",
    "check",
    "check --read-data --read-data-subset 1/2",
    "check --read-data-subset 0/2",
    "check --check-unused",
    "unlock",
    "unlock stray",
    "cache --no-cache",
    "generate",
    "prune --dry-run",
    "prune --max-unused 100%",
];

/// The same, for what is saved, restored and removed.
const CHANGES: [&str; 28] = [
    "backup",
    "backup nowhere",
    "backup . nowhere",
    "backup . --exclude [",
    "backup . --exclude-if-present :x",
    "backup . --parent bogus",
    "backup . --time bogus",
    "backup . --read-concurrency x",
    "backup . --stdin",
    "backup --stdin",
    "backup --stdin-from-command false",
    "backup --stdin-from-command true",
    "backup --files-from nowhere",
    "backup . --compression bogus",
    "backup . --pack-size 1",
    "backup .",
    "restore latest",
    "restore bogus --target t",
    "restore latest --target t --exclude a --include b",
    "restore latest --target t --overwrite bogus",
    "restore latest --target t",
    "restore latest --target / --delete",
    "tag",
    "tag --set a --add b",
    "forget",
    "forget --keep-last 0",
    "forget --keep-last -1",
    "forget --keep-within 1w",
];

/// Where larder's code is another one on purpose: the line, its code, and that of restic.
const DIFFERENT: [(&str, i32, i32); 0] = [];

fn compare(lines: &[&str]) {
    if restic::version() < (0, 19, 0) {
        return; // an older one has other commands
    }
    let fixture = Fixture::unpack("v2-r019");
    let programs = [restic(), larder()];
    let places = programs.each_ref().map(|_| tempfile::tempdir().unwrap());
    for place in &places {
        std::fs::write(place.path().join("note"), "milk").unwrap();
        super::copy(&fixture.repo(), &place.path().join("repository"));
    }
    let mut wrong = Vec::new();
    for line in lines {
        let [theirs, ours] = [0, 1].map(|at| {
            let place = places[at].path();
            run(&programs[at], &place.join("repository"), place, line)
        });
        let expected = DIFFERENT.iter().find(|(other, ..)| other == line);
        let expected = expected.map_or((theirs.code, theirs.code), |(_, ours, theirs)| (*ours, *theirs));
        if (ours.code, theirs.code) != expected {
            wrong.push(format!("{line:?}: {} instead of {}\n{theirs}\n{ours}", ours.code, theirs.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn looking_ends_with_the_same_code() {
    compare(&LINES);
}

#[test]
fn changes_end_with_the_same_code() {
    compare(&CHANGES);
}

/// No repository, a wrong password, somebody else's lock.
#[test]
fn what_stands_in_the_way_has_its_own_code() {
    let damaged = Fixture::unpack("damaged");
    for program in [restic(), larder()] {
        let nowhere = damaged.path().join("nowhere");
        let place = tempfile::tempdir().unwrap();
        let code = |ran: Ran| ran.code;
        if restic::version() >= (0, 19, 0) || program.name() == "larder" {
            assert_eq!(code(run(&program, &nowhere, place.path(), "snapshots")), 10);
            assert_eq!(code(run(&program, &damaged.case("stale-lock"), place.path(), "check")), 11);
            let wrong = program.on(&damaged.case("base")).env("RESTIC_PASSWORD", "no").arg("snapshots").run();
            assert_eq!(wrong.code, 12, "{wrong}");
            let none = program.on(&damaged.case("base")).env("RESTIC_PASSWORD", "").arg("snapshots").run();
            assert_eq!(none.code, 1, "{none}");
        }
    }
}

/// Where restic says 0 although a word named nothing, larder says 1, unless it is told to be strict.
#[test]
fn unknown_ids_are_an_error_unless_compatibility_is_strict() {
    let fixture = Fixture::unpack("v2-r019");
    for line in ["snapshots zzzz", "forget zzzz", "stats zzzz", "tag --add x zzzz", "find x -s zzzz"] {
        let words: Vec<&str> = line.split(' ').collect();
        let theirs = restic().on(&fixture.repo()).args(&words).run();
        let ours = larder().on(&fixture.repo()).args(&words).run();
        let strict = larder().on(&fixture.repo()).env("LARDER_COMPATIBILITY", "strict").args(&words).run();
        assert_eq!((theirs.code, ours.code, strict.code), (0, 1, 0), "{line}\n{theirs}\n{ours}\n{strict}");
        assert!(ours.stderr.contains("Ignoring \"zzzz\""), "{ours}");
    }
    assert!(Damaged::manifest().cases.len() > 5);
}
