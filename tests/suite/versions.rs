//! One file through all snapshots: its versions, and any of them back beside it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tests::fixtures::empty_repository;
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::tree::{dir, file, noise};

/// A folder `files` and an empty repository beside it.
struct Place {
    larder: Program,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { larder: larder(), folder: tempfile::tempdir().unwrap() };
        empty_repository(2, &place.repository());
        dir([("letter.txt", file("one\n")), ("deep", dir([("big", file(noise(3_000_000, 1)))]))])
            .build(&place.files());
        place
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    fn run<S: AsRef<std::ffi::OsStr>>(&self, within: &Path, words: impl IntoIterator<Item = S>) -> Ran {
        self.larder.on(&self.repository()).within(within).args(words).run()
    }

    fn backup(&self, within: &Path, target: &str, content: &str) {
        fs::write(self.files().join("letter.txt"), content).unwrap();
        let ran = self.run(within, ["backup", target]);
        assert_eq!(ran.code, 0, "{ran}");
    }

    fn log(&self, within: &Path, path: &str) -> Vec<Value> {
        let ran = self.run(within, ["log", "--json", path]);
        assert_eq!(ran.code, 0, "{ran}");
        ran.json().as_array().unwrap().clone()
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.files()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// However the folder was named when it was saved, the path on the machine finds the file.
#[test]
fn a_file_is_found_by_its_path_on_the_machine_in_every_kind_of_snapshot() {
    let place = Place::new();
    let (above, files) = (place.folder.path().to_owned(), place.files());
    place.backup(&above, "files", "one\n");
    place.backup(&above, files.to_str().unwrap(), "two\n");
    place.backup(&files, ".", "three\n");
    for (within, path) in [
        (&above, "files/letter.txt".to_owned()),
        (&files, "letter.txt".to_owned()),
        (&files, "../files/./letter.txt".to_owned()),
        (&above, files.join("letter.txt").display().to_string()),
    ] {
        let sizes: Vec<u64> =
            place.log(within, &path).iter().map(|version| version["size"].as_u64().unwrap()).collect();
        assert_eq!(sizes, [6, 4, 4], "{path}");
    }
    let in_tree = place.log(Path::new("/"), "/letter.txt");
    assert_eq!(in_tree.len(), 1, "{in_tree:?}");
}

#[test]
fn a_folder_with_a_folder_of_its_own_name_is_not_mistaken() {
    let place = Place::new();
    dir([("letter.txt", file("inner\n"))]).build(&place.files().join("files"));
    place.backup(&place.files(), ".", "outer\n");
    let [version] = &place.log(&place.files(), "letter.txt")[..] else { panic!("one version") };
    assert_eq!(version["path"], "/letter.txt");
}

#[test]
fn equal_contents_are_one_version_with_the_newest_snapshot_to_restore_from() {
    let place = Place::new();
    let above = place.folder.path();
    for content in ["one\n", "two\n", "one\n"] {
        place.backup(above, "files", content);
    }
    let versions = place.log(above, "files/letter.txt");
    let listed = place.run(above, ["snapshots", "--json"]).json();
    let id = |at: usize| listed[at]["id"].clone();
    assert_eq!(versions.len(), 2);
    assert_eq!((&versions[0]["snapshot"], &versions[0]["first_snapshot"]), (&id(2), &id(0)));
    assert_eq!((&versions[0]["snapshots"], &versions[1]["snapshots"]), (&2.into(), &1.into()));
    let shown = place.run(above, ["log", "files/letter.txt"]);
    assert!(shown.stdout.contains("2 versions\n"), "{shown}");
    let nowhere = place.run(above, ["log", "files/nothing"]);
    assert!(nowhere.code == 1 && nowhere.stderr.contains("no snapshot has files/nothing"), "{nowhere}");
}

#[test]
fn a_version_comes_back_beside_the_file_and_replaces_nothing() {
    let place = Place::new();
    let above = place.folder.path();
    place.backup(above, "files", "one\n");
    place.backup(above, "files", "two\n");
    let versions = place.log(above, "files/letter.txt");
    let old = versions.last().unwrap();
    let digits = &old["content_id"].as_str().unwrap()[..8];
    let name = format!("letter.{digits}.txt");
    let restore =
        || place.run(above, ["restore", old["snapshot"].as_str().unwrap(), "--as-copy", "files/letter.txt"]);
    let first = restore();
    assert!(first.code == 0 && first.stdout.contains(&name), "{first}");
    assert_eq!(fs::read_to_string(place.files().join(&name)).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(place.files().join("letter.txt")).unwrap(), "two\n");
    let again = restore();
    assert!(again.code == 0 && again.stdout.contains("is there already"), "{again}");
    fs::write(place.files().join(&name), "mine\n").unwrap();
    let blocked = restore();
    assert!(blocked.code == 1 && blocked.stderr.contains("holds something else"), "{blocked}");
    assert_eq!(fs::read_to_string(place.files().join(&name)).unwrap(), "mine\n");
    assert_eq!(place.names(), ["deep", &name, "letter.txt"]);
}

#[test]
fn without_a_snapshot_the_newest_that_has_the_file_is_taken() {
    let place = Place::new();
    let above = place.folder.path();
    place.backup(above, "files", "one\n");
    let big = fs::read(place.files().join("deep/big")).unwrap();
    fs::remove_file(place.files().join("deep/big")).unwrap();
    place.backup(above, "files", "two\n");
    let ran = place.run(above, ["restore", "--as-copy", "files/deep/big", "--json"]);
    assert_eq!(ran.code, 0, "{ran}");
    let summary = ran.summary();
    assert_eq!(summary["action"], "restored");
    assert_eq!(fs::read(summary["path"].as_str().unwrap()).unwrap(), big);
}

#[test]
fn what_makes_no_sense_beside_a_file_is_refused() {
    let place = Place::new();
    place.backup(place.folder.path(), "files", "one\n");
    for words in [
        &["restore", "latest", "--as-copy", "files/deep"][..],
        &["restore", "latest", "--as-copy", "files/nothing"],
        &["restore", "latest:/files", "--as-copy", "files/letter.txt"],
        &["restore", "latest", "--as-copy", "files/letter.txt", "--target", "elsewhere"],
        &["restore", "latest", "--as-copy", "files/letter.txt", "--delete"],
    ] {
        let ran = place.run(place.folder.path(), words);
        assert_eq!(ran.code, 1, "{ran}");
    }
    assert_eq!(place.names(), ["deep", "letter.txt"]);
}
