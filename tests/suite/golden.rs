//! Repositories that restic versions wrote, opened, listed, read and restored, against manifests that restic made.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use backends::{Location, Options};
use repo_core::backend::Backend;
use repo_core::context::Context;
use repo_core::format::{IndexFile, PackHeader, Snapshot};
use repo_core::hash::sha256;
use repo_core::id::{BlobKind, FileId, FileKind, Id, SnapshotId, TreeId};
use repo_core::ops;
use repo_core::ops::restore::RestoreOptions;
use repo_core::repository::{OpenError, OpenOptions, Password, Reader, Repository};
use repo_core::walk;
use tests::fixtures::{
    Fixture, Manifest, Multikey, PASSWORD, PackEntry, REPOSITORIES, Reachable, SLOW_PASSWORD, files_in,
};
use tests::repo::{contents, context, restore};
use tests::tree::{Snapshot as Found, assert_same};

fn storage(folder: &Path) -> Arc<dyn Backend> {
    let location = Location::parse(folder.as_os_str()).unwrap();
    backends::open(&Context::new(), &location, &Options::default()).unwrap()
}

fn open(folder: &Path, password: &str) -> Result<Repository, OpenError> {
    let password = Password::new(password.as_bytes());
    Repository::open(&Context::new(), storage(folder), &password, &OpenOptions::default())
}

/// Runs the check on every repository with a full manifest.
fn each(check: impl Fn(&str, &Manifest, &Repository)) {
    for name in REPOSITORIES {
        let fixture = Fixture::unpack(name);
        check(name, &Manifest::of(name), &open(&fixture.repo(), PASSWORD).unwrap());
    }
}

/// A version folder must not be forgotten when a fixture is added.
#[test]
fn every_fixture_with_a_manifest_is_looked_at() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let archives = files_in(&folder).into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".tar.gz")?.to_owned();
        Some(name)
    });
    let others = ["damaged", "forget", "golden-trees", "multikey"];
    let known: BTreeSet<String> = REPOSITORIES.iter().chain(&others).map(|name| (*name).to_owned()).collect();
    assert_eq!(archives.collect::<BTreeSet<_>>(), known);
}

#[test]
fn every_repository_opens_with_its_cheap_key() {
    each(|name, manifest, repository| {
        assert_eq!(manifest.keys, [repository.key_id().to_string()], "{name}");
        let config = repository.config();
        assert_eq!(config.version, manifest.config.version, "{name}");
        assert_eq!(config.id.to_string(), manifest.config.id, "{name}");
        assert_eq!(format!("{:x}", config.chunker_polynomial), manifest.config.chunker_polynomial, "{name}");
    });
}

#[test]
fn every_repository_opens_with_the_key_that_restic_wrote() {
    for name in REPOSITORIES {
        let fixture = Fixture::unpack(name);
        fixture.use_original_keys();
        let repository = open(&fixture.repo(), SLOW_PASSWORD).unwrap();
        assert_eq!(repository.config().id.to_string(), Manifest::of(name).config.id, "{name}");
    }
}

#[test]
fn wrong_password_opens_nothing() {
    let fixture = Fixture::unpack("v2-r019");
    for password in ["", "fixture ", "Fixture", "fixture-slow"] {
        let opened = open(&fixture.repo(), password);
        assert!(matches!(opened, Err(OpenError::WrongPassword)), "{password:?}: {opened:?}");
    }
}

#[test]
fn every_password_of_a_repository_with_many_keys_opens_it() {
    let fixture = Fixture::unpack("multikey");
    let manifest = Multikey::manifest();
    for key in &manifest.keys {
        let repository = open(&fixture.repo(), &key.password).unwrap();
        assert_eq!(repository.key_id().to_string(), key.id, "the key of {}", key.username);
        for (id, json) in &manifest.snapshots {
            let id: SnapshotId = id.parse().unwrap();
            assert_eq!(repository.load_json::<Snapshot>(id).unwrap(), json.as_bytes());
        }
    }
}

#[test]
fn every_snapshot_and_index_file_reads_as_restic_wrote_it() {
    each(|name, manifest, repository| {
        let snapshots: BTreeSet<SnapshotId> = repository.list::<Snapshot>().unwrap().into_iter().collect();
        assert_eq!(snapshots.len(), manifest.snapshots.len(), "{name}");
        for snapshot in &manifest.snapshots {
            let id = snapshot.id.parse().unwrap();
            assert!(snapshots.contains(&id), "{name}");
            assert_eq!(repository.load_json::<Snapshot>(id).unwrap(), snapshot.raw_json.as_bytes(), "{name}");
        }
        assert_eq!(repository.list::<IndexFile>().unwrap().len(), manifest.index_files.len(), "{name}");
        for (id, json) in &manifest.index_raw_json {
            let found = repository.load_json::<IndexFile>(id.parse().unwrap()).unwrap();
            assert_eq!(found, json.as_bytes(), "{name}");
        }
    });
}

/// The header of every pack, as the manifest shows it.
#[test]
fn every_pack_header_reads_as_listed() {
    each(|name, manifest, repository| {
        let packs = repository.backend().list(FileKind::Pack).unwrap();
        assert_eq!(packs.len(), manifest.packs.len(), "{name}");
        for listed in packs {
            let mut pack = Vec::new();
            let file = FileId { kind: FileKind::Pack, id: listed.id };
            repository.backend().read_all(file, listed.size, &mut pack).unwrap();
            assert_eq!(sha256(&pack), listed.id, "{name}");
            let (body, trailer) = pack.split_last_chunk::<4>().unwrap();
            let sealed_len = PackHeader::sealed_len(*trailer, listed.size).unwrap() as usize;
            let mut header = Vec::new();
            repository.key().open(&body[body.len() - sealed_len..], &mut header).unwrap();
            let header = PackHeader::parse(&header, listed.size).unwrap();
            let found: Vec<PackEntry> = header.blobs.iter().map(pack_entry).collect();
            assert_eq!(found, manifest.packs[&listed.id.to_string()], "{name}: pack {}", listed.id);
        }
    });
}

fn pack_entry(blob: &repo_core::format::IndexedBlob) -> PackEntry {
    PackEntry {
        kind: blob.kind.word().to_owned(),
        compressed: blob.plain_len.is_some(),
        offset: blob.offset,
        length: blob.len,
        uncompressed_length: blob.plain_len.map(std::num::NonZeroU32::get),
        id: blob.id.to_string(),
    }
}

/// The index knows every blob of every pack and nothing else, and every blob opens and hashes to its name.
#[test]
fn every_blob_is_in_the_index_and_hashes_to_its_name() {
    each(|name, manifest, repository| {
        let index = repository.load_index(&Context::new()).unwrap();
        let indexed: BTreeSet<(String, String)> =
            index.iter().map(|(blob, place)| (place.pack.to_string(), blob.id.to_string())).collect();
        let listed = manifest
            .packs
            .iter()
            .flat_map(|(pack, blobs)| blobs.iter().map(|blob| (pack.clone(), blob.id.clone())));
        assert_eq!(indexed, listed.collect(), "{name}");
        let reader = Reader::new(repository, index.clone());
        for (blob, _) in index.iter() {
            assert_eq!(sha256(&reader.blob(&blob).unwrap()), blob.id, "{name}");
        }
    });
}

#[test]
fn every_snapshot_reaches_the_blobs_that_restic_counted() {
    each(|name, manifest, repository| {
        let index = repository.load_index(&Context::new()).unwrap();
        let reader = Reader::new(repository, index);
        for entry in &manifest.snapshots {
            let snapshot = repository.load::<Snapshot>(entry.id.parse().unwrap()).unwrap();
            assert_eq!(reachable(&reader, snapshot.tree), entry.reachable, "{name}: snapshot {}", entry.id);
        }
    });
}

/// Every entry of every snapshot has the content and metadata that restic restored.
#[test]
fn every_file_reads_with_the_listed_content_and_metadata() {
    each(|name, manifest, repository| {
        let reader = Reader::new(repository, repository.load_index(&Context::new()).unwrap());
        for entry in &manifest.snapshots {
            println!("{name}: snapshot {}", entry.id);
            let snapshot = repository.load::<Snapshot>(entry.id.parse().unwrap()).unwrap();
            assert_same(&contents(&reader, snapshot.tree), &entry.restored());
        }
    });
}

/// Every snapshot restores as restic restored it: owners, devices and privileged attributes only for root.
#[test]
fn every_snapshot_restores_as_restic_restores_it() {
    each(|name, manifest, repository| {
        for entry in &manifest.snapshots {
            println!("{name}: snapshot {}", entry.id);
            let target = tempfile::tempdir().unwrap();
            let expected = entry.restored();
            let id = entry.id.parse().unwrap();
            if rustix::process::geteuid().is_root() {
                restore(repository, id, target.path(), &RestoreOptions::default());
                assert_same(&Found::of(target.path()), &expected);
            } else {
                // Devices cannot be made and are reported; owners are what they can be.
                let snapshot = repository.load::<Snapshot>(id).unwrap();
                let options = RestoreOptions::default();
                ops::restore::restore(&context(), repository, &snapshot, target.path(), &options).unwrap();
                assert_same(&Found::of(target.path()).for_anybody(), &expected.for_anybody());
            }
        }
    });
}

fn reachable(reader: &Reader, root: TreeId) -> Reachable {
    let blobs: Mutex<BTreeSet<(BlobKind, Id)>> = Mutex::default();
    walk::reach(&Context::new(), reader, [root], &Mutex::default(), |reached| {
        let tree = reached.tree.as_ref().unwrap();
        let mut blobs = blobs.lock().unwrap();
        blobs.insert((BlobKind::Tree, reached.id.into()));
        let content = tree.nodes.iter().filter_map(|node| node.content.as_ref()).flatten();
        blobs.extend(content.map(|id| (BlobKind::Data, Id::from(*id))));
    })
    .unwrap();
    let blobs = blobs.into_inner().unwrap();
    let mut lines: Vec<String> = blobs.iter().map(|(kind, id)| format!("{} {id}\n", kind.word())).collect();
    lines.sort();
    let count = |kind| blobs.iter().filter(|blob| blob.0 == kind).count() as u64;
    Reachable {
        trees: count(BlobKind::Tree),
        data: count(BlobKind::Data),
        sha256_of_sorted_lines: sha256(lines.concat().as_bytes()).to_string(),
    }
}
