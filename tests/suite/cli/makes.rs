//! Commands that make something: repositories, keys, snapshots, files.

use std::fs;

use tests::fixtures::{PASSWORD, empty_repository};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::tree::{Tree, dir, file};

use super::check;

/// A folder with a source and an empty repository.
struct Place {
    larder: Program,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        source().build(&folder.path().join("source"));
        empty_repository(2, &folder.path().join("repository"));
        Self { larder: larder(), folder }
    }

    fn run(&self, line: &str) -> Ran {
        let call = self.larder.on(&self.folder.path().join("repository")).within(self.folder.path());
        call.env("RESTIC_HOST", "host").args(line.split(' ')).run()
    }

    fn check(&self, name: &str, line: &str) {
        let folder = self.folder.path().canonicalize().unwrap();
        check(name, &self.run(line), &[(&folder, "[folder]"), (self.folder.path(), "[folder]")]);
    }
}

fn source() -> Tree {
    dir([("a.txt", file("hello\n")), ("b", dir([("c.log", file("log\n")), ("d.txt", file("more\n"))]))])
}

#[test]
fn backups_say_what_they_did() {
    let place = Place::new();
    place.check("backup_first", "backup source");
    place.check("backup_unchanged", "backup source --skip-if-unchanged");
    fs::write(place.folder.path().join("source/a.txt"), "changed\n").unwrap();
    place.check("backup_dry_run", "backup source --dry-run --no-scan");
    place.check("backup_json", "backup source --json --tag a,b");
    place.check("backup_with_excludes", "backup source --exclude *.log --verbose --no-scan");
    place.check("backup_of_nothing", "backup");
    place.check("backup_of_missing", "backup nowhere");
    place.check("backup_of_partly_missing", "backup source nowhere");
    place.check("backup_of_partly_missing_json", "backup source nowhere --json");
    place.check("backup_quiet", "backup source --quiet");
    place.check("backup_bad_pattern", "backup source --exclude [bad");
    let snapshots = place.run("snapshots --json").json();
    assert_eq!(snapshots.as_array().unwrap().len(), 6);
    assert_eq!(snapshots[1]["tags"], serde_json::json!(["a", "b"]));
    assert_eq!(snapshots[2]["excludes"], serde_json::json!(["*.log"]));
}

/// resticprofile takes a line for JSON only if it begins so.
#[test]
fn json_lines_begin_with_their_type() {
    let place = Place::new();
    for line in [
        "backup source --json --verbose",
        "restore latest --target t --json -vv",
        "check --json",
        "init --json",
    ] {
        let ran = place.run(line);
        for line in ran.stdout.lines().chain(ran.stderr.lines()) {
            assert!(line.starts_with(r#"{"message_type":""#) && line.ends_with('}'), "{line}\n{ran}");
        }
        assert!(!(ran.stdout + &ran.stderr).is_empty());
    }
}

#[test]
fn streams_become_single_files() {
    let place = Place::new();
    place.check("backup_command", "backup --stdin-filename out.txt --stdin-from-command -- echo hi");
    assert_eq!(place.run("dump latest /out.txt").stdout, "hi\n");
    place.check("backup_command_failed", "backup --stdin-from-command -- false");
    place.check("backup_command_missing", "backup --stdin-from-command -- /no/such/program");
    let snapshots = place.run("snapshots --json").json();
    assert_eq!(snapshots.as_array().unwrap().len(), 1, "a failed command leaves no snapshot");
    let ran = place.run("backup --stdin");
    assert_eq!(ran.code, 3, "an empty stream is most likely a mistake\n{ran}");
}

#[test]
fn sources_come_from_lists_too() {
    let place = Place::new();
    let list = |name: &str, content: &str| fs::write(place.folder.path().join(name), content).unwrap();
    let saved = |line: &str| {
        let ran = place.run(line);
        let files: Vec<String> = place.run("ls latest").stdout.lines().skip(1).map(str::to_owned).collect();
        (ran.code, files)
    };
    list("globs", "# a comment\n source/*.txt \n\nsource/none*\n");
    assert_eq!(saved("backup --files-from globs"), (0, vec!["/source".into(), "/source/a.txt".into()]));
    list("lines", "source/b/d.txt\nsource/gone\n");
    assert_eq!(saved("backup --files-from-verbatim lines").0, 3);
    list("raw", "source/b/c.log\0");
    let expected = ["/source", "/source/b", "/source/b/c.log"].map(str::to_owned).to_vec();
    assert_eq!(saved("backup --files-from-raw raw"), (0, expected));
    list("torn", "source/b/c.log");
    assert_eq!(place.run("backup --files-from-raw torn").code, 1);
}

#[test]
fn restores_say_what_they_did() {
    let place = Place::new();
    place.run("backup source");
    place.check("restore_first", "restore latest --target target");
    place.check("restore_again", "restore latest --target target --verify");
    fs::write(place.folder.path().join("target/source/extra"), "x").unwrap();
    place.check("restore_delete_json", "restore latest --target target --delete --json");
    place.check("restore_included", "restore latest:source --target other --include *.log -vv");
    assert!(place.folder.path().join("other/b/c.log").is_file());
    place.check("restore_without_target", "restore latest");
    place.check("restore_with_both_kinds_of_patterns", "restore latest --target t --include a --exclude b");
    place.check("restore_of_missing_folder", "restore latest:nope --target t");
}

#[test]
fn repositories_are_made_once() {
    let place = Place::new();
    let init = |flags: &[&str]| {
        let call = place.larder.on(&place.folder.path().join("new")).within(place.folder.path());
        call.args(["init"]).args(flags).run()
    };
    let folder = place.folder.path();
    check("init", &init(&[]), &[(folder, "[folder]")]);
    check("init_again", &init(&[]), &[(folder, "[folder]")]);
    check("init_again_json", &init(&["--json"]), &[(folder, "[folder]")]);
    assert_eq!(init(&["--repository-version", "3"]).code, 1);
}

#[test]
fn passwords_are_added_changed_and_removed() {
    let place = Place::new();
    let file = |name: &str, content: &str| fs::write(place.folder.path().join(name), content).unwrap();
    file("one", " one \n");
    file("two", "two");
    assert_eq!(place.run("key add --new-password-file one --user u --host h").code, 0);
    let keys = place.run("key list --json").json();
    assert_eq!(keys.as_array().unwrap().len(), 2);
    let added = keys.as_array().unwrap().iter().find(|key| key["userName"] == "u").unwrap().clone();
    assert_eq!((&added["current"], &added["hostName"]), (&false.into(), &"h".into()));

    let with = |password: &str, line: &str| {
        let call = place.larder.on(&place.folder.path().join("repository")).within(place.folder.path());
        call.env("RESTIC_PASSWORD", password).args(line.split(' ')).run()
    };
    assert_eq!(with("one", "key passwd --new-password-file two").code, 0);
    assert_eq!(with("one", "snapshots").code, 12);
    assert_eq!(with("two", "snapshots").code, 0);
    let own = with("two", "key list --json").json();
    let own = own.as_array().unwrap().iter().find(|key| key["current"] == true).unwrap()["id"].clone();
    assert_eq!(with("two", &format!("key remove {}", own.as_str().unwrap())).code, 1, "never the one in use");
    assert_eq!(with(PASSWORD, &format!("key remove {}", &own.as_str().unwrap()[..8])).code, 0);
    assert_eq!(with("two", "snapshots").code, 12);
}

#[test]
fn quickstart_makes_all_that_is_needed_and_then_the_next_backup() {
    let place = Place::new();
    let quickstart = || {
        let mut command = place.larder.command();
        command
            .env("HOME", place.folder.path())
            .current_dir(place.folder.path())
            .args(["quickstart", "source"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let first = quickstart();
    assert!(
        first.contains("(new)") && first.contains("no errors were found") && first.contains("1 snapshots")
    );
    let second = quickstart();
    assert!(!second.contains("(new)") && second.contains("using parent snapshot"), "{second}");

    let find = |name: &str| {
        let line =
            first.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} in {first}"));
        line.split_once('=').unwrap().1.trim_matches('\'').to_owned()
    };
    let (repository, password) = (find("RESTIC_REPOSITORY"), find("RESTIC_PASSWORD_FILE"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&password).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut command = place.larder.command();
    command.env("RESTIC_REPOSITORY", &repository).env("RESTIC_PASSWORD_FILE", &password);
    let output = command.args(["snapshots", "--json"]).output().unwrap();
    let snapshots: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(snapshots.as_array().unwrap().len(), 2);
}
