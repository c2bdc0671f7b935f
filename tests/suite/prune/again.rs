//! What was walked once is not walked again: a later prune with a cache reads new trees alone.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use repo_core::backend::{Operation, RecordBackend};
use repo_core::id::FileKind;
use repo_core::ops::prune::{MaxUnused, PruneOptions, plan, prune};
use repo_core::repository::{LockGuard, OpenOptions, Password, Repository};
use tests::fixtures::PASSWORD;
use tests::repo::context;

use super::{History, assert_sound, listed};

fn exact() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() }
}

/// The repository through a cache that holds no packs any more, so that a tree that is read is fetched.
fn open(history: &History, cache: &Path) -> (Arc<RecordBackend>, Repository) {
    for folder in fs::read_dir(cache).unwrap() {
        let _ = fs::remove_dir_all(folder.unwrap().path().join("data"));
    }
    let counted = Arc::new(RecordBackend::new(history.memory.clone()));
    let options = OpenOptions { cache: Some(cache.to_owned()), ..OpenOptions::default() };
    let password = Password::new(PASSWORD);
    let repository = Repository::open(&context(), counted.clone(), &password, &options).unwrap();
    (counted, repository)
}

/// How many reads of packs it takes to plan.
fn reads(history: &History, cache: &Path) -> u64 {
    let (counted, repository) = open(history, cache);
    let planned = plan(&context(), &repository, LockGuard::none(), &exact()).unwrap();
    let plain = plan(&context(), &history.repository, LockGuard::none(), &exact()).unwrap();
    assert_eq!(planned.stats(), plain.stats(), "what is remembered changes nothing");
    counted.counters().of(Operation::Read, FileKind::Pack).requests
}

fn note(cache: &Path) -> std::path::PathBuf {
    let folders = fs::read_dir(cache).unwrap().map(|folder| folder.unwrap().path().join("larder-walked"));
    folders.into_iter().find(|path| path.exists()).unwrap()
}

fn start() -> History {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3, 4, 5], false);
    history.back_up(&[3, 4, 5, 6, 7, 8], false);
    history
}

#[test]
fn a_prune_walks_only_trees_that_none_before_has_walked() {
    let cache = tempfile::tempdir().unwrap();
    let mut history = start();
    assert_eq!(reads(&history, cache.path()), 2, "two packs of trees");
    assert_eq!(reads(&history, cache.path()), 0);
    history.back_up(&[9, 10], false);
    history.forget(0);
    assert_eq!(reads(&history, cache.path()), 1, "the new one");
    assert_eq!(reads(&history, cache.path()), 0);

    let (_, repository) = open(&history, cache.path());
    prune(&context(), &repository, &exact()).unwrap();
    assert_sound(&history.memory, &history.needed(), &String::new);
    assert_eq!(listed(&history.repository), history.needed().into_iter().collect::<Vec<_>>());
    assert_eq!(reads(&history, cache.path()), 0, "where it lies makes no difference");
}

#[test]
fn a_note_that_was_changed_is_as_good_as_none() {
    let cache = tempfile::tempdir().unwrap();
    let history = start();
    reads(&history, cache.path());
    let path = note(cache.path());
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(reads(&history, cache.path()), 2, "cut to {len} bytes");
    }
    for at in (0..whole.len()).step_by(5) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert_eq!(reads(&history, cache.path()), 2, "byte {at} changed");
    }
    fs::write(&path, [whole.clone(), whole].concat()).unwrap();
    assert_eq!(reads(&history, cache.path()), 0, "what comes after the end is not looked at");
}

/// A tree that is known names what the index does not list any more: that is found out, not passed over.
#[test]
fn what_is_remembered_hides_no_damage() {
    let cache = tempfile::tempdir().unwrap();
    let history = start();
    reads(&history, cache.path());
    let files = history.repository.list::<repo_core::format::IndexFile>().unwrap();
    for id in files {
        let mut file = history.repository.load::<repo_core::format::IndexFile>(id).unwrap();
        file.packs.retain(|pack| pack.blobs.iter().all(|blob| blob.kind == repo_core::id::BlobKind::Tree));
        history.repository.save(&context(), &file).unwrap();
        repo_core::backend::Backend::remove(history.memory.as_ref(), id.into()).unwrap();
    }
    let (_, repository) = open(&history, cache.path());
    let error = plan(&context(), &repository, LockGuard::none(), &exact()).unwrap_err();
    assert!(error.to_string().contains("the index is not complete: 8 blobs"), "{error}");
}
