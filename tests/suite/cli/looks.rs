//! Commands that look into a repository: one that restic 0.19 wrote and nobody changes.

use tests::fixtures::Fixture;
use tests::larder::larder;

use super::{check, compare};

#[test]
fn commands_that_look_show_what_they_always_showed() {
    let (larder, fixture) = (larder(), Fixture::unpack("v2-r019"));
    for (name, line) in [
        ("snapshots", "snapshots"),
        ("snapshots_compact", "snapshots --compact"),
        ("snapshots_grouped", "snapshots --group-by host --latest 1"),
        ("snapshots_json", "snapshots --json latest"),
        ("snapshots_grouped_json", "snapshots --json --group-by host,tags --latest 1 --host fixture-b"),
        ("ls", "ls latest"),
        ("ls_long", "ls latest~1 --long --human-readable --sort size --reverse"),
        ("ls_folder", "ls latest:dir /nested"),
        ("ls_json", "ls --json latest /dir/nested/deep"),
        ("ls_ncdu", "ls --ncdu latest /dir"),
        ("find", "find file.txt --long --reverse"),
        ("find_json", "find --json new-in-2.txt --snapshot latest"),
        ("find_tree", "find --tree --show-pack-id --snapshot latest --json 2254a945"),
        ("diff", "diff latest~4 latest~3"),
        ("diff_json", "diff --json latest~4 latest~3"),
        ("stats", "stats --mode raw-data"),
        ("stats_json", "stats --json latest"),
        ("cat_config", "cat config"),
        ("cat_snapshot", "cat snapshot latest"),
        ("cat_tree", "cat tree latest:dir/nested"),
        ("list_snapshots_json", "list snapshots --json"),
        ("dump", "dump latest /dir/nested/deep/file.txt"),
        ("check_json", "check --json"),
    ] {
        let mut ran = larder.on(&fixture.repo()).args(line.split(' ')).run();
        if name.starts_with("list") {
            ran.stdout = sorted(&ran.stdout); // a storage lists in no order
        }
        let text = format!("exit code {}\n{}{}", ran.code, ran.stdout, ran.stderr);
        compare(name, &text);
    }
    check("check", &larder.on(&fixture.repo()).args(["check", "--read-data"]).run(), &[]);
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

#[test]
fn archives_of_folders_unpack_to_what_is_listed() {
    let (larder, fixture) = (larder(), Fixture::unpack("v2-r019"));
    let target = tempfile::tempdir().unwrap();
    let archive = target.path().join("all.tar");
    larder.on(&fixture.repo()).args(["dump", "latest~4", "/", "--target"]).arg(&archive).ok();
    let mut read = tar::Archive::new(std::fs::File::open(&archive).unwrap());
    let mut names: Vec<Vec<u8>> = read
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path_bytes().into_owned())
        .map(|name| [b"/", name.strip_suffix(b"/").unwrap_or(&name)].concat())
        .collect();
    names.sort_unstable();
    let listed = larder.on(&fixture.repo()).args(["ls", "latest~4", "--json"]).ok();
    let mut expected: Vec<Vec<u8>> = listed.messages()[1..]
        .iter()
        .filter(|entry| entry["type"] != "socket")
        .map(|entry| entry["path"].as_str().unwrap().as_bytes().to_vec())
        .collect();
    expected.sort_unstable();
    // JSON cannot hold names that are no text; they are counted, not compared.
    assert_eq!(names.len(), expected.len());
    let text = |names: &[Vec<u8>]| -> Vec<Vec<u8>> {
        names.iter().filter(|name| !name.contains(&0xef) && name.is_ascii()).cloned().collect()
    };
    assert_eq!(text(&names), text(&expected));

    let zip = target.path().join("all.zip");
    larder.on(&fixture.repo()).args(["dump", "--archive", "zip", "latest", "/", "--target"]).arg(&zip).ok();
    assert!(std::fs::read(&zip).unwrap().starts_with(b"PK\x03\x04"));
}

#[test]
fn versions_name_the_restic_they_stand_for() {
    let larder = larder();
    let version =
        |words: &[&str]| String::from_utf8(larder.command().args(words).output().unwrap().stdout).unwrap();
    for words in [&["version"][..], &["--version"]] {
        assert!(version(words).contains("\nrestic 0.19.1 compatible ("), "{}", version(words));
    }
    let json: serde_json::Value = serde_json::from_str(&version(&["version", "--json"])).unwrap();
    assert_eq!((&json["message_type"], &json["version"]), (&"version".into(), &"0.19.1".into()));
}

#[test]
fn every_command_has_a_page_and_the_first_page_names_them_all() {
    let larder = larder();
    let page = |words: &[&str]| {
        let output = larder.command().args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let first = page(&[]);
    assert_eq!(first, page(&["help"]));
    assert_eq!(first, page(&["--help"]));
    compare("help", &first);
    compare("help_backup", &page(&["help", "backup"]));
    assert_eq!(page(&["backup", "-h"]), page(&["help", "backup"]));
    assert_eq!(page(&["key", "bogus"]), page(&["help", "key"]));
    assert_eq!(page(&["help", "bogus"]), "");
}

#[test]
fn completions_and_manual_pages_are_generated() {
    let (larder, folder) = (larder(), tempfile::tempdir().unwrap());
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output =
            larder.command().args(["generate", &format!("--{shell}-completion"), "-"]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("larder") && script.contains("snapshots"), "{shell}");
    }
    let output = larder.command().args(["generate", "--man"]).arg(folder.path()).output().unwrap();
    assert!(output.status.success());
    assert!(folder.path().join("larder-backup.1").is_file());
    check("generate_nothing", &ran(&larder, &["generate"]), &[]);
}

fn ran(larder: &tests::program::Program, words: &[&str]) -> tests::program::Ran {
    larder.on(std::path::Path::new("/nonexistent")).args(words).run()
}
