//! What `check` finds: every fault of the damaged fixtures, and every changed byte of a healthy repository.

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_core::backend::MemoryBackend;
use repo_core::id::{FileId, FileKind};
use repo_core::ops::check::{CheckOptions, CheckReport, Finding, ReadData, Remedy, check};
use repo_core::repository::{OpenOptions, Password, Repository};
use tests::fixtures::{Damaged, Fixture, PASSWORD};
use tests::repo::{context, load, open};

fn check_all(repository: &Repository) -> CheckReport {
    let options = CheckOptions { lock: None, read_data: ReadData::All, ..CheckOptions::default() };
    check(&context(), repository, &options).unwrap()
}

/// A case, the findings it must have, what to do first, and the ends of affected paths.
type Expected<'a> = (&'a str, &'a [&'a str], Option<Remedy>, &'a [&'a str]);

/// Finding (as its variant), remedy, and affected files of each case. What is affected is what restic could not
/// restore of the three snapshots, of which each has the files of the one before and some more.
#[test]
fn every_damaged_fixture_is_found_out_with_its_remedy_and_its_files() {
    use Remedy::{Prune, RemoveFile, RepairIndex, RepairPacks};
    let expected: [Expected; 12] = [
        ("empty-lock", &[], None, &[]),
        ("stale-lock", &[], None, &[]),
        ("temp-files", &[], None, &[]),
        ("orphan-pack", &["PackUnreferenced"], Some(Prune), &[]),
        ("flip-data-blob", &["PackDamaged", "BlobDamaged"], Some(RepairPacks), &["three"]),
        ("flip-pack-header", &["PackDamaged", "HeaderDamaged"], Some(RepairPacks), &[]),
        ("flip-snapshot", &["SnapshotUnreadable"], Some(RemoveFile), &[]),
        ("missing-data-pack", &["PackMissing"], Some(RepairIndex), &["two"]),
        ("missing-tree-pack", &["PackMissing", "TreeUnreadable"], Some(RepairIndex), &["/"]),
        (
            "missing-index",
            &["TreeUnreadable", "BlobMissing", "PackUnreferenced"],
            Some(RepairIndex),
            &["one"],
        ),
        ("truncated-index", &["IndexUnreadable"], Some(RepairIndex), &["two"]),
        ("truncated-pack", &["PackSize"], Some(RepairPacks), &["big"]),
    ];
    let fixture = Fixture::unpack("damaged");
    assert_eq!(expected.len(), Damaged::manifest().cases.len(), "every case is looked at");
    for (case, findings, remedy, files) in expected {
        let report = check_all(&open(Arc::new(load(&fixture.case(case)))));
        let story =
            || format!("{case}: {:#?}\n{:?}\n{:#?}", report.findings, report.remedies(), report.affected);
        let found: BTreeSet<String> = report.findings.iter().map(variant).collect();
        for finding in findings {
            assert!(found.contains(*finding), "{finding} is missing in {}", story());
        }
        assert_eq!(findings.is_empty(), found.is_empty(), "{}", story());
        assert_eq!(report.remedies().first().copied(), remedy, "the first thing to do about {}", story());
        let may_prune = report.remedies().contains(&Prune);
        assert!(
            !may_prune || report.is_sound(),
            "to prune before the rest is mended loses more: {}",
            story()
        );
        let names: BTreeSet<_> =
            report.affected.iter().map(|file| file.path.to_string_lossy().into_owned()).collect();
        for file in files {
            assert!(names.iter().any(|name| name.ends_with(file)), "{file} is missing in {}", story());
        }
        assert_eq!(files.is_empty(), names.is_empty(), "{}", story());
    }
}

/// The name of the variant.
fn variant(finding: &Finding) -> String {
    let text = format!("{finding:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

/// Whatever byte changes, reading everything notices: either the repository does not open, or there is a finding.
/// All bytes of small files, a sample of large ones. Key files are named by their hash, too.
#[test]
fn every_changed_byte_is_found() {
    let fixture = Fixture::unpack("damaged");
    let healthy = load(&fixture.case("base"));
    assert!(check_all(&open(Arc::new(healthy.copy()))).is_sound());
    let mut looked_at = 0;
    for (file, content) in healthy.files() {
        let step = (content.len() / 150).max(1);
        for at in (0..content.len()).step_by(step) {
            let damaged = healthy.copy();
            assert!(damaged.tamper(file, |bytes| bytes[at] ^= 1 << (at % 8)));
            assert!(is_found(damaged), "a changed byte {at} of {file} is not found");
            looked_at += 1;
        }
    }
    assert!(looked_at > 1000, "only {looked_at} changes were tried");
}

/// The same without any sample: every byte of every file of a small repository.
fn no_byte_changes_unnoticed(version: u32) {
    let folder = tempfile::tempdir().unwrap();
    let text = tests::tree::file("milk ".repeat(30));
    let noise = tests::tree::file(tests::tree::noise(50, 1));
    tests::tree::dir([("text", text), ("sub", tests::tree::dir([("noise", noise)]))]).build(folder.path());
    let memory = Arc::new(tests::repo::in_memory(version));
    tests::repo::backup(&open(memory.clone()), folder.path()).unwrap();
    let repository = open(memory.clone());
    assert!(check_all(&repository).is_sound());
    let files = memory.files();
    for kind in [FileKind::Config, FileKind::Key, FileKind::Snapshot, FileKind::Index, FileKind::Pack] {
        assert!(files.keys().any(|file| file.kind == kind), "there is no {kind:?} to change");
    }
    for (file, content) in files {
        // What an open repository has read already must be read anew; the rest need not, which saves most of the time.
        let read_once = matches!(file.kind, FileKind::Config | FileKind::Key);
        for at in 0..content.len() {
            let change = || assert!(memory.tamper(file, |bytes| bytes[at] ^= 1 << (at % 8)));
            change();
            let found = if read_once { is_found(memory.copy()) } else { !check_all(&repository).is_sound() };
            assert!(found, "a changed byte {at} of {file} is not found");
            change();
        }
    }
    assert!(check_all(&repository).is_sound(), "every change was taken back");
}

#[test]
fn no_byte_of_a_small_repository_of_version_1_changes_unnoticed() {
    no_byte_changes_unnoticed(1);
}

#[test]
fn no_byte_of_a_small_repository_of_version_2_changes_unnoticed() {
    no_byte_changes_unnoticed(2);
}

/// Whatever file is cut at whatever length, reading everything notices.
#[test]
fn every_cut_is_found() {
    let fixture = Fixture::unpack("damaged");
    let healthy = load(&fixture.case("base"));
    for (file, content) in healthy.files() {
        for len in [0, 1, 15, 16, 31, 32, 33, content.len() / 2, content.len() - 1] {
            let damaged = healthy.copy();
            assert!(damaged.tamper(file, |bytes| bytes.truncate(len)));
            assert!(is_found(damaged), "{file} cut to {len} bytes is not found");
        }
    }
}

/// Two files of one kind that change places are both found: each is sound in itself, but not what its name says.
#[test]
fn exchanged_files_are_found() {
    let fixture = Fixture::unpack("damaged");
    let healthy = load(&fixture.case("base"));
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Snapshot] {
        let files: Vec<(FileId, Vec<u8>)> =
            healthy.files().into_iter().filter(|file| file.0.kind == kind).collect();
        let damaged = healthy.copy();
        damaged.insert(files[0].0, files[1].1.clone());
        damaged.insert(files[1].0, files[0].1.clone());
        assert!(is_found(damaged), "two exchanged {kind:?} files are not found");
    }
}

fn is_found(memory: MemoryBackend) -> bool {
    let backend = Arc::new(memory);
    match Repository::open(&context(), backend, &Password::new(PASSWORD), &OpenOptions::default()) {
        Ok(repository) => !check_all(&repository).is_sound(),
        Err(_) => true,
    }
}

/// Storage that hashes what it holds finds a changed pack without sending it.
#[test]
fn a_changed_pack_is_found_by_the_storage_s_own_hash() {
    let fixture = Fixture::unpack("damaged");
    let healthy = load(&fixture.case("base"));
    let options = CheckOptions { lock: None, verify_remote: true, ..CheckOptions::default() };
    let packs = healthy.files().into_keys().filter(|file| file.kind == FileKind::Pack);
    for pack in packs {
        let damaged = Arc::new(healthy.copy());
        damaged.tamper(pack, |bytes| bytes[40] ^= 1);
        let report = check(&context(), &open(damaged), &options).unwrap();
        assert_eq!(report.broken_packs(), [pack.id.into()], "{:?}", report.findings);
        assert_eq!(report.packs_read, 0);
    }
    let report = check(&context(), &open(Arc::new(healthy)), &options).unwrap();
    let remote = report.remote.clone().unwrap();
    assert!(report.is_sound() && remote.packs == 6 && remote.unknown == 0, "{report:?}");
}
