//! The search index: the same answers as without it, after everything that may happen to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use repo_core::backend::{MemoryBackend, Operation, RecordBackend};
use repo_core::filter::Case;
use repo_core::format::Snapshot;
use repo_core::id::FileKind;
use repo_core::ops::query::find::{FoundEntry, Names, NearSearch, entries, entries_near};
use repo_core::ops::query::log::log;
use repo_core::repository::{OpenOptions, Password, Repository};
use repo_core::search::SearchIndex;
use repo_core::snapshots::{self, Stored};
use tempfile::TempDir;
use tests::fixtures::{PASSWORD, empty_repository};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::repo::{backup, context, in_memory};
use tests::tree::{dir, empty_dir, file, symlink};

/// A repository in a folder, a folder of files, and one for caches.
struct Place {
    larder: Program,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { larder: larder(), folder: tempfile::tempdir().unwrap() };
        empty_repository(2, &place.at("repository"));
        dir([
            ("letter.txt", file("one\n")),
            ("deep", dir([("Letter.TXT", file("two\n")), ("letter.txt", dir([("inside", file("x"))]))])),
            ("empty", empty_dir()),
            ("link", symlink("letter.txt")),
        ])
        .build(&place.at("files"));
        place.backup();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn backup(&self) {
        let ran = self.near(&["backup", "files"]);
        assert_eq!(ran.code, 0, "{ran}");
    }

    fn near(&self, words: &[&str]) -> Ran {
        let call = self.larder.on_cached(&self.at("repository"), &self.at("cache"));
        call.within(self.folder.path()).args(words).run()
    }

    fn far(&self, words: &[&str]) -> Ran {
        self.larder.on(&self.at("repository")).within(self.folder.path()).args(words).run()
    }

    fn file(&self) -> PathBuf {
        let caches = fs::read_dir(self.at("cache")).unwrap().map(|entry| entry.unwrap().path());
        let mut files = caches.map(|cache| cache.join("search.redb")).filter(|file| file.is_file());
        files.next().expect("there is a search index")
    }

    /// Every question gets the answer that it gets without the index.
    fn assert_agrees(&self) {
        for words in [
            &["find", "letter.txt"][..],
            &["find", "--json", "letter.txt", "empty"],
            &["find", "--long", "-i", "LETTER*"],
            &["find", "/files/deep"],
            &["find", "files/*/letter.txt"],
            &["find", "**"],
            &["find", "deep/**"],
            &["find", "--newest", "2001-01-01", "letter.txt"],
            &["find", "-R", "-s", "latest", "*.txt"],
            &["find", "nothing"],
            &["log", "files/letter.txt"],
            &["log", "--json", "files/deep"],
            &["log", "files/link"],
            &["log", "nothing"],
        ] {
            let (near, far) = (self.near(words), self.far(words));
            assert_eq!((near.code, &near.stdout), (far.code, &far.stdout), "{near}\n{far}");
        }
    }
}

#[test]
fn answers_are_the_same_while_snapshots_come_and_go() {
    let place = Place::new();
    place.assert_agrees();
    fs::write(place.at("files/letter.txt"), "three\n").unwrap();
    dir([("new", file("letter"))]).build(&place.at("files/more"));
    place.backup();
    place.assert_agrees();
    let ran = place.near(&["forget", "--keep-last", "1", "--prune"]);
    assert_eq!(ran.code, 0, "{ran}");
    place.assert_agrees();
}

#[test]
fn an_index_that_is_damaged_is_made_anew() {
    let place = Place::new();
    place.assert_agrees();
    let sound = fs::read(place.file()).unwrap();
    let cut = sound[..sound.len() / 2].to_vec();
    let mut flipped = sound.clone();
    for at in (0..flipped.len()).step_by(97) {
        flipped[at] ^= 1;
    }
    for damaged in [Vec::new(), b"no database".to_vec(), cut, flipped, vec![0; sound.len()]] {
        fs::write(place.file(), &damaged).unwrap();
        let found = place.near(&["find", "letter.txt"]);
        if found.code != 0 {
            assert!(found.stderr.contains("Run the same again"), "{found}");
        }
        place.assert_agrees();
    }
}

#[test]
fn while_another_process_has_the_index_one_does_without() {
    let place = Place::new();
    place.assert_agrees();
    let options = OpenOptions { cache: Some(place.at("cache")), ..OpenOptions::default() };
    let disk = tests::repo::on_disk(&place.at("repository"));
    let repository = Repository::open(&context(), disk, &Password::new(PASSWORD), &options).unwrap();
    let held = SearchIndex::open(&context(), &repository).unwrap().expect("nobody else has it");
    place.assert_agrees();
    drop(held);
    place.assert_agrees();
}

/// Whoever reads the cache learns no names from it.
#[test]
fn the_index_says_nothing_without_the_key() {
    let place = Place::new();
    place.assert_agrees();
    let bytes = fs::read(place.file()).unwrap();
    let tree = place.far(&["snapshots", "--json"]).json()[0]["tree"].as_str().unwrap().to_owned();
    let tree: Vec<u8> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(&tree[at..at + 2], 16).unwrap()).collect();
    for secret in [b"letter.txt".as_slice(), b"inside", b"deep", &tree[..8]] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{secret:?}");
    }
}

fn cached(storage: Arc<RecordBackend>, cache: &TempDir) -> Repository {
    let options = OpenOptions { cache: Some(cache.path().to_owned()), ..OpenOptions::default() };
    Repository::open(&context(), storage, &Password::new(PASSWORD), &options).unwrap()
}

#[test]
fn what_the_index_has_is_not_read_again() {
    let (memory, cache): (Arc<MemoryBackend>, _) = (Arc::new(in_memory(2)), tempfile::tempdir().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("files");
    dir([("a", dir([("x", file("x"))])), ("b", dir([("y", file("y"))]))]).build(&place);
    backup(&tests::repo::open(memory.clone()), &place).unwrap();
    let storage = Arc::new(RecordBackend::new(memory));
    let repository = cached(storage.clone(), &cache);
    let all = snapshots::list(&context(), &repository).unwrap();
    let index = SearchIndex::open(&context(), &repository).unwrap().unwrap();
    let reader = repository.reader(&context()).unwrap();
    index.update(&context(), &reader, all.iter().map(|stored| stored.snapshot.tree)).unwrap();
    let before = storage.counters().of(Operation::Read, FileKind::Pack).requests;
    let view = index.view().unwrap();
    let names = Names::new(["x"], Case::Sensitive).unwrap();
    let search = NearSearch::new(&view, &names).unwrap();
    assert_eq!(entries_near(&context(), &search, None, &all, &names).count(), 1);
    assert_eq!(log(&context(), &view, &all, "/a/x".as_ref()).unwrap().versions.len(), 1);
    assert_eq!(storage.counters().of(Operation::Read, FileKind::Pack).requests, before);
}

/// A snapshot of which a tree cannot be read is searched as without the index, and its damage is told.
#[test]
fn a_damaged_snapshot_is_not_covered() {
    let (memory, cache) = (Arc::new(in_memory(2)), tempfile::tempdir().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("files");
    dir([("a", dir([("x", file("x"))])), ("b", dir([("x", file("y"))]))]).build(&place);
    let plain = tests::repo::open(memory.clone());
    backup(&plain, &place).unwrap();
    let root = plain.load::<Snapshot>(plain.list::<Snapshot>().unwrap()[0]).unwrap().tree;
    let reader = plain.reader(&context()).unwrap();
    let lost = reader.tree(root).unwrap().nodes[0].subtree.unwrap();
    let at = reader.index().place_of(&lost.into()).unwrap();
    assert!(memory.tamper(at.pack.into(), |bytes| bytes[at.offset as usize + 20] ^= 1));
    let repository = cached(Arc::new(RecordBackend::new(memory)), &cache);
    let all = snapshots::list(&context(), &repository).unwrap();
    let reader = repository.reader(&context()).unwrap();
    let index = SearchIndex::open(&context(), &repository).unwrap().unwrap();
    index.update(&context(), &reader, [root]).unwrap();
    assert!(!index.covers(root).unwrap());
    let (view, names) = (index.view().unwrap(), Names::new(["x"], Case::Sensitive).unwrap());
    let search = NearSearch::new(&view, &names).unwrap();
    let context = context();
    let found: Vec<bool> =
        entries_near(&context, &search, Some(&reader), &all, &names).map(|find| find.is_ok()).collect();
    assert_eq!(found, [false, true]);
}

fn lines<'a>(finds: impl Iterator<Item = FoundEntry<'a>>) -> Vec<String> {
    let line = |find: FoundEntry<'_>| {
        let FoundEntry { snapshot, entry } = find;
        format!("{} {} {:?} {}", snapshot.id, entry.path.display(), entry.tree, entry.node.size)
    };
    finds.map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: whatever the trees and patterns, the index finds the same in the same order.
    #[test]
    fn every_find_is_found(
        rounds in prop::collection::vec(
            prop::collection::btree_map("[ab](/[abc]){0,3}/[xyz]", "[01]", 1..8), 1..4),
        patterns in prop::collection::vec("/?([abcxyz*]|\\*\\*)(/([abcxyz*]|\\*\\*)){0,3}", 1..3),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (memory, cache) = (Arc::new(in_memory(2)), tempfile::tempdir().unwrap());
        let repository = cached(Arc::new(RecordBackend::new(memory)), &cache);
        let index = SearchIndex::open(&context(), &repository).unwrap().unwrap();
        let names = Names::new(&patterns, Case::Sensitive).unwrap();
        let context = context();
        for (number, files) in rounds.iter().enumerate() {
            write(&folder.path().join(number.to_string()), files);
            backup(&repository, &folder.path().join(number.to_string())).unwrap();
            let all: Vec<Stored> = snapshots::list(&context, &repository).unwrap();
            let reader = repository.reader(&context).unwrap();
            index.update(&context, &reader, all.iter().map(|stored| stored.snapshot.tree)).unwrap();
            let view = index.view().unwrap();
            let search = NearSearch::new(&view, &names).unwrap();
            let near = entries_near(&context, &search, None, &all, &names).map(Result::unwrap);
            let far = entries(&context, &reader, &all, &names).map(Result::unwrap);
            prop_assert_eq!(lines(near), lines(far), "{:?}", patterns);
        }
    }
}

fn write(place: &std::path::Path, files: &BTreeMap<String, String>) {
    for (path, content) in files {
        let path = place.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
