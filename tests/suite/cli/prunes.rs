//! Commands that put a repository in order: prune, forget --prune, repair index.

use std::fs;

use tests::fixtures::empty_repository;
use tests::larder::larder;
use tests::program::Ran;
use tests::restic::restic;
use tests::tree::{dir, file, noise};

use super::{compare, hidden};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A repository with three snapshots, of which each has something of its own.
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        empty_repository(2, &place.folder.path().join("repository"));
        let source = place.folder.path().join("source");
        dir([("a", file(noise(300_000, 1))), ("b", file(noise(200_000, 2)))]).build(&source);
        place.done("backup source");
        fs::remove_file(source.join("b")).unwrap();
        fs::write(source.join("c"), noise(100_000, 3)).unwrap();
        place.done("backup source");
        fs::write(source.join("d"), noise(50_000, 4)).unwrap();
        place.done("backup source");
        place
    }

    fn run(&self, line: &str) -> Ran {
        let larder = larder();
        let call = larder.on(&self.folder.path().join("repository")).within(self.folder.path());
        call.env("RESTIC_HOST", "host").args(line.split(' ')).run()
    }

    fn done(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{ran}");
        ran
    }

    /// Compares with a stored text, sizes aside: trees hold owners and times, so theirs are not the same everywhere.
    fn check(&self, name: &str, line: &str) {
        let ran = self.run(line);
        let sizes = |line: &str| {
            let cut = |mark: &str| line.split_once(mark).map(|(before, _)| format!("{before}{mark}[size]"));
            let names = line.starts_with('{') && line.ends_with('}');
            let hidden = cut(" blobs / ").or_else(|| cut("unused size: ")).or_else(|| cut("after prune: "));
            let hidden = hidden.or_else(|| cut("estimated:    "));
            hidden.unwrap_or_else(|| if names { "{[packs]}".to_owned() } else { line.to_owned() })
        };
        let lines: String = ran.stdout.lines().map(|line| sizes(line) + "\n").collect();
        let stderr: String = ran.stderr.lines().flat_map(|line| ["stderr: ", line, "\n"]).collect();
        compare(name, &hidden(&format!("exit code {}\n{lines}{stderr}", ran.code)));
    }

    fn restic_is_content(&self) {
        let said = restic().on(&self.folder.path().join("repository")).args(["check", "--read-data"]).ok();
        assert!(said.stdout.contains("no errors were found"), "{said}");
    }
}

#[test]
fn prune_says_what_it_would_do_and_does_it() {
    let place = Place::new();
    place.done("forget latest~2");
    place.check("prune_dry_run_verbose", "prune --max-unused 0 --dry-run -v");
    place.check("prune_dry_run", "prune --max-unused 0 --dry-run --no-lock");
    let planned = place.done("prune --max-unused 0 --dry-run --json").json();
    assert_eq!(planned["message_type"], "plan");
    place.check("prune", "prune --max-unused 0");
    place.check("prune_again", "prune --max-unused 0");
    place.check("prune_quiet", "prune -q");
    let messages = place.done("prune --json").messages();
    assert_eq!(messages[0]["remaining"]["blobs"], planned["remaining"]["blobs"], "{planned}");
    assert_eq!(messages[1]["message_type"], "summary");
    place.restic_is_content();
}

#[test]
fn prune_refuses_what_makes_no_sense() {
    let place = Place::new();
    place.check("prune_without_lock", "prune --no-lock");
    place.check("prune_too_large", "prune --repack-smaller-than 500M");
    place.check("prune_contradiction", "prune --repack-uncompressed --compression off");
    place.check("prune_wrong_id", "prune --unsafe-recover-no-free-space 12");
}

#[test]
fn forget_prunes_at_once() {
    let place = Place::new();
    place.check("forget_prune_dry_run", "forget --keep-last 2 --prune --dry-run -q");
    let dry = place.done("forget --keep-last 2 --prune --dry-run");
    assert!(dry.stdout.contains("1 snapshots would be removed, running prune dry run"), "{dry}");
    let json = place.done("forget --keep-last 2 --prune --json").json();
    assert_eq!(json.as_array().unwrap().len(), 1, "one value, for wrappers");
    let nothing = place.done("prune --max-unused 0 --dry-run --json").json();
    assert_eq!(nothing["remove"]["blobs"], 0, "{nothing}");
    let done = place.done("forget --keep-last 1 --prune --max-unused 0");
    assert!(done.stdout.contains("1 snapshots have been removed, running prune"), "{done}");
    place.restic_is_content();
}

#[test]
fn repair_index_says_what_it_found() {
    let place = Place::new();
    place.check("repair_index_unchanged", "repair index");
    fs::remove_dir_all(place.folder.path().join("repository/index")).unwrap();
    fs::create_dir(place.folder.path().join("repository/index")).unwrap();
    let ran = place.done("repair index");
    assert_eq!(
        ran.stderr.lines().filter(|line| line.starts_with("adding pack file to index ")).count(),
        6,
        "{ran}"
    );
    assert!(ran.stdout.contains("6 / 6 packs"), "{ran}");
    place.check("rebuild_index", "rebuild-index");
    let all = place.done("repair index --read-all-packs");
    assert!(all.stdout.contains("1 / 1 old indexes deleted"), "{all}");
    place.restic_is_content();
}
