//! What would be free if snapshots went: never another number than prune frees.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tests::fixtures::empty_repository;
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::restic::restic;
use tests::tree::{dir, file, noise};

/// Three snapshots: in the second one `grows/` has a megabyte more, in the third `b` is gone.
struct Place {
    larder: Program,
    folder: TempDir,
    ids: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let mut place = Self { larder: larder(), folder: tempfile::tempdir().unwrap(), ids: Vec::new() };
        empty_repository(2, &place.repository());
        let files = place.folder.path().join("files");
        dir([("grows", dir([("a", file(noise(100_000, 1)))])), ("b", file(noise(50_000, 2)))]).build(&files);
        place.backup();
        fs::write(files.join("grows/new"), noise(1_000_000, 3)).unwrap();
        place.backup();
        fs::remove_file(files.join("b")).unwrap();
        fs::remove_file(files.join("grows/new")).unwrap();
        place.backup();
        let listed = place.run(&["snapshots", "--json"]).json();
        let id = |one: &Value| one["id"].as_str().unwrap().to_owned();
        place.ids = listed.as_array().unwrap().iter().map(id).collect();
        place
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn backup(&self) {
        let ran = self.run(&["backup", "files"]);
        assert_eq!(ran.code, 0, "{ran}");
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.larder.on(&self.repository()).within(self.folder.path()).args(words).run()
    }

    fn du(&self, words: &[&str]) -> Vec<Value> {
        let ran = self.run(&[&["du", "--json"], words].concat());
        assert_eq!(ran.code, 0, "{ran}");
        ran.messages()
    }
}

fn pack_bytes(repository: &Path) -> u64 {
    tests::fixtures::packs_in(repository).iter().map(|pack| fs::metadata(pack).unwrap().len()).sum()
}

#[test]
fn what_is_counted_is_what_prune_frees() {
    for gone in [&[1][..], &[0, 1], &[2]] {
        let place = Place::new();
        let ids: Vec<&str> = gone.iter().map(|at| place.ids[*at].as_str()).collect();
        let counted = place.du(&[&["--unique"], &ids[..]].concat());
        let counted = counted.last().unwrap()["stored_bytes"].as_u64().unwrap();
        let before = pack_bytes(&place.repository());
        let forget = [&["forget", "--prune", "--max-unused", "0"], &ids[..]].concat();
        restic().on(&place.repository()).args(forget).ok();
        let freed = before.abs_diff(pack_bytes(&place.repository()));
        // Beside the blobs a pack has 36 bytes, and prune may join or split some.
        assert!(counted.abs_diff(freed) < 36 * 10, "{gone:?}: counted {counted}, freed {freed}");
    }
}

#[test]
fn folders_that_grow_are_named() {
    let place = Place::new();
    let messages = place.du(&["--unique", &place.ids[1]]);
    let grown = messages.iter().find(|one| one["path"] == "/files/grows").expect("the folder that grows");
    assert!(grown["stored_bytes"].as_u64().unwrap() > 1_000_000, "{grown}");
    assert_eq!(messages.last().unwrap()["snapshots"], 1);
    let all = place.du(&[]);
    let total = &all.last().unwrap()["stored_bytes"];
    let root = all.iter().find(|one| one["path"] == "/").unwrap();
    assert_eq!(&root["stored_bytes"], total);
    let few = place.du(&["--at-least", "900k", "latest"]);
    assert_eq!(few.len(), 1, "{few:?}");
}

#[test]
fn snapshots_with_equal_content_have_nothing_of_their_own() {
    let place = Place::new();
    place.backup();
    let shown = place.run(&["du", "--unique", "latest"]);
    assert!(shown.stdout.contains("1 snapshot alone: 0 B in 0 blobs"), "{shown}");
}

#[test]
fn nothing_is_compared_with_nothing() {
    let place = Place::new();
    let ran = place.run(&["du", "--unique"]);
    assert!(ran.code == 1 && ran.stderr.contains("compares some snapshots with all others"), "{ran}");
}
