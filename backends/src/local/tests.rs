//! The conformance suite, and what only a folder can get wrong: rights, left-overs, missing folders.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;

use repo_core::backend::conformance::{self, Scale, Subject};
use repo_core::id::{Id, PackId};
use tempfile::TempDir;

use super::*;

fn backend(folder: &Path) -> LocalBackend {
    LocalBackend::new(folder, &LocalOptions::default()).unwrap()
}

fn created() -> (TempDir, LocalBackend) {
    let folder = TempDir::new().unwrap();
    let backend = backend(folder.path());
    backend.create().unwrap();
    (folder, backend)
}

fn pack(byte: u8) -> FileId {
    PackId(Id::new([byte; 32])).into()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

#[test]
fn a_folder_keeps_every_promise() {
    keeps_every_promise(&TempDir::new().unwrap(), Scale::Quick);
}

/// In memory if the system has such a folder: 20,000 syncs take their time on a disk.
#[test]
fn a_folder_of_10_000_packs_keeps_every_promise() {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    keeps_every_promise(&place.unwrap(), Scale::Full);
}

fn keeps_every_promise(place: &TempDir, scale: Scale) {
    let count = std::cell::Cell::new(0);
    let make = || {
        count.set(count.get() + 1);
        let root = place.path().join(format!("deep/repo-{}", count.get()));
        let subject = Subject::new(Arc::new(backend(&root)));
        subject.with_plant(move |path, content| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        })
    };
    conformance::check(make, scale);
    let left: Vec<_> = files_below(place.path()).into_iter().filter(|path| path.contains("-tmp-")).collect();
    let planted = |path: &String| path.ends_with("-tmp-1") || path.ends_with("-tmp-77-1");
    assert!(left.iter().all(planted), "temporary files are left: {left:?}");
}

fn files_below(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path.display().to_string()] })
        .collect()
}

#[test]
fn create_makes_all_folders_for_the_owner_alone() {
    let (folder, _) = created();
    let root = folder.path();
    for name in ["data", "data/00", "data/ff", "index", "keys", "locks", "snapshots"] {
        assert_eq!(mode(&root.join(name)), 0o700, "{name}");
    }
    assert_eq!(fs::read_dir(root.join("data")).unwrap().count(), 256);
}

#[test]
fn files_are_read_only_and_can_yet_be_replaced_and_removed() {
    let (folder, backend) = created();
    backend.write(FileId::CONFIG, b"one").unwrap();
    backend.write(FileId::CONFIG, b"another").unwrap();
    backend.write(pack(1), b"x").unwrap();
    assert_eq!(mode(&folder.path().join("config")), 0o400);
    assert_eq!(mode(&backend.path(pack(1))), 0o400);
    backend.remove(pack(1)).unwrap();
    assert!(!backend.path(pack(1)).exists());
}

#[test]
fn a_config_that_the_group_may_read_gives_rights_to_the_group() {
    let (folder, first) = created();
    first.write(FileId::CONFIG, b"config").unwrap();
    fs::set_permissions(folder.path().join("config"), fs::Permissions::from_mode(0o440)).unwrap();
    fs::remove_dir(folder.path().join("data/01")).unwrap();
    let backend = backend(folder.path());
    backend.write(pack(1), b"x").unwrap();
    assert_eq!(mode(&folder.path().join("data/01")), 0o770);
    assert_eq!(mode(&backend.path(pack(1))), 0o440);
}

#[test]
fn a_missing_folder_is_made_again_in_a_repository_only() {
    let (folder, backend) = created();
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    let lost = backend.write(pack(1), b"x").unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::NotFound, "no config: the disk is not mounted any more");
    assert!(!folder.path().join("data").exists());
    backend.write(FileId::CONFIG, b"config").unwrap();
    backend.write(pack(1), b"x").unwrap();
    assert_eq!(backend.list(FileKind::Pack).unwrap().len(), 1);
    fs::remove_dir_all(folder.path().join("locks")).unwrap();
    assert_eq!(backend.list(FileKind::Lock).unwrap(), []);
}

#[test]
fn a_place_that_is_not_there_is_told_from_an_empty_one() {
    let folder = TempDir::new().unwrap();
    let gone = backend(&folder.path().join("gone"));
    let empty = backend(folder.path());
    for kind in FileKind::ALL {
        assert_eq!(gone.list(kind).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(empty.list(kind).unwrap(), []);
    }
    assert_eq!(
        gone.size(FileId::CONFIG).unwrap_err().to_string(),
        "cannot look up the repository: not found"
    );
    assert_eq!(empty.size(FileId::CONFIG).unwrap_err().to_string(), "cannot look up config: not found");
    assert_eq!(gone.write(FileId::CONFIG, b"x").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!folder.path().join("gone").exists(), "only create makes the place itself");
}

#[test]
fn what_is_no_regular_file_is_an_error_and_is_not_listed() {
    let (_folder, backend) = created();
    let fifo = backend.path(pack(1));
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    fs::create_dir(backend.path(pack(2))).unwrap();
    symlink("nowhere", backend.path(pack(3))).unwrap();
    for byte in 1..=2 {
        assert_eq!(backend.read(pack(byte), 0..1, &mut Vec::new()).unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(backend.size(pack(byte)).unwrap_err().kind(), ErrorKind::Other);
    }
    assert_eq!(backend.list(FileKind::Pack).unwrap(), []);
}

#[test]
fn a_file_in_the_place_of_the_repository_is_a_mistake_in_the_settings() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let backend = backend(&path);
    assert_eq!(backend.size(FileId::CONFIG).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(backend.list(FileKind::Key).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(backend.create().unwrap_err().kind(), ErrorKind::Exists);
}

#[test]
fn a_write_that_cannot_take_its_name_leaves_nothing_behind() {
    let (folder, backend) = created();
    fs::create_dir(backend.path(pack(1))).unwrap();
    fs::write(backend.path(pack(1)).join("x"), "").unwrap();
    backend.write(pack(1), b"x").unwrap_err();
    assert_eq!(fs::read_dir(folder.path().join("data/01")).unwrap().count(), 1);
}

#[test]
fn a_damaged_file_is_mended_by_writing_it_again() {
    let (_folder, backend) = created();
    for damaged in [&b"tor"[..], b"torn"] {
        let _ = fs::remove_file(backend.path(pack(1)));
        fs::write(backend.path(pack(1)), damaged).unwrap();
        backend.write(pack(1), b"good").unwrap();
        let mut buffer = Vec::new();
        backend.read_all(pack(1), 100, &mut buffer).unwrap();
        assert_eq!(buffer, b"good");
    }
}

#[test]
fn holds_compares_every_byte() {
    let (_folder, backend) = created();
    let content = vec![7; 200_000];
    backend.write(pack(1), &content).unwrap();
    let path = backend.path(pack(1));
    let mut other = content.clone();
    assert!(durable::holds(&path, &content));
    other[199_999] = 8;
    assert!(!durable::holds(&path, &other));
    assert!(!durable::holds(&path, &content[1..]));
    assert!(!durable::holds(&backend.path(pack(2)), &[]));
}

#[test]
fn errors_say_where_and_why() {
    let (_folder, backend) = created();
    let error = backend.size(pack(1)).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(cause.to_string(), backend.path(pack(1)).display().to_string());
    assert!(cause.source().unwrap().to_string().starts_with("No such file or directory"));
}
