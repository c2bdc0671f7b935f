//! Copies between repositories: equal trees, nothing twice, stopped at every call, beside restic.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use repo_core::backend::{Backend, Fault, FaultBackend, MemoryBackend, Rule};
use repo_core::format::Snapshot;
use repo_core::id::{FileKind, Id, TreeId};
use repo_core::ops::copy::{CopyError, CopyOptions, CopyOutcome, CopyReport, copy};
use repo_core::ops::prune::{MaxUnused, PruneOptions, prune};
use repo_core::repository::{LockGuard, Repository};
use repo_core::snapshots;
use tempfile::TempDir;
use tests::fixtures::empty_repository;
use tests::larder::larder;
use tests::meddle::MeddledBackend;
use tests::program::{Program, Ran};
use tests::repo::{assert_complete, backup, context, in_memory, open, save};
use tests::restic::restic;
use tests::tree::{dir, file, noise};

/// A repository with three snapshots, of which each has something of its own.
fn source(version: u32) -> Arc<MemoryBackend> {
    let memory = Arc::new(in_memory(version));
    let repository = open(memory.clone());
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("files");
    dir([("a", file(noise(300_000, 1))), ("deep", dir([("b", file("text\n".repeat(9000)))]))]).build(&place);
    backup(&repository, &place).unwrap();
    fs::write(place.join("c"), noise(100_000, 3)).unwrap();
    backup(&repository, &place).unwrap();
    fs::remove_file(place.join("a")).unwrap();
    backup(&repository, &place).unwrap();
    memory
}

fn run(from: &Repository, to: &Repository) -> Result<CopyReport, Box<CopyError>> {
    let all = snapshots::list(&context(), from).unwrap();
    let (lock, options) = (LockGuard::none(), CopyOptions::default());
    copy(&context(), from, to, &lock, &all, &options, |_, _| ()).map_err(Box::new)
}

/// The trees of all snapshots, sorted.
fn trees(repository: &Repository) -> Vec<TreeId> {
    let stored = snapshots::list(&context(), repository).unwrap();
    let mut trees: Vec<TreeId> = stored.iter().map(|stored| stored.snapshot.tree).collect();
    trees.sort_unstable();
    trees
}

#[test]
fn copies_have_equal_trees_and_say_where_they_come_from() {
    for (from_version, to_version) in [(2, 2), (1, 2), (2, 1)] {
        let (from, to) = (source(from_version), Arc::new(in_memory(to_version)));
        let (from, target) = (open(from), open(to.clone()));
        let report = run(&from, &target).unwrap();
        assert_complete(to.clone());
        assert_eq!(trees(&target), trees(&from), "{from_version} → {to_version}");
        for (source, outcome) in &report.snapshots {
            let CopyOutcome::Copied { id } = outcome else { panic!("{outcome:?}") };
            let copied = target.load::<Snapshot>(*id).unwrap();
            let original = from.load::<Snapshot>(*source).unwrap();
            let expected = Snapshot { parent: None, original: Some(*source), ..original };
            assert_eq!(copied, expected);
        }
        let folder = tempfile::tempdir().unwrap();
        save(&to, folder.path());
        restic_is_content(folder.path());
    }
}

#[test]
fn what_was_copied_is_not_copied_again() {
    let (from, to) = (open(source(2)), Arc::new(in_memory(2)));
    run(&from, &open(to.clone())).unwrap();
    let files = to.files().len();
    let report = run(&from, &open(to.clone())).unwrap();
    assert!(report.snapshots.iter().all(|(_, outcome)| matches!(outcome, CopyOutcome::Present { .. })));
    assert_eq!((report.packs, to.files().len()), (0, files));
}

/// Repositories with one master key: what is sealed stays as it is, byte for byte.
#[test]
fn blobs_under_the_same_master_key_are_not_sealed_again() {
    let memory = source(2);
    let key_and_config =
        memory.files().into_iter().filter(|(file, _)| [FileKind::Key, FileKind::Config].contains(&file.kind));
    let to = Arc::new(MemoryBackend::with_files(key_and_config));
    run(&open(memory.clone()), &open(to.clone())).unwrap();
    assert_complete(to.clone());
    let sealed = |memory: &Arc<MemoryBackend>| {
        let repository = open(memory.clone());
        let index = repository.load_index(&context()).unwrap();
        let stored = index.iter().map(|(blob, place)| {
            let mut bytes = Vec::new();
            memory.read(place.pack.into(), place.range(), &mut bytes).unwrap();
            (blob, bytes)
        });
        stored.collect::<Vec<_>>()
    };
    assert_eq!(sealed(&to), sealed(&memory));
    let packs = |memory: &Arc<MemoryBackend>| {
        let files = memory.files().into_iter();
        files.filter(|(file, _)| file.kind == FileKind::Pack).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(packs(&to), packs(&memory), "every pack is needed whole, and goes over byte for byte");
}

#[test]
fn pack_goes_over_whole_only_if_all_of_it_is_wanted_and_right() {
    let memory = source(2);
    let repository = open(memory.clone());
    let all = snapshots::list(&context(), &repository).unwrap();
    let packs = |memory: &Arc<MemoryBackend>| -> BTreeSet<Id> {
        memory.list(FileKind::Pack).unwrap().into_iter().map(|listed| listed.id).collect()
    };
    // The last snapshot needs a part of what the first backup stored.
    let to = Arc::new(in_memory(2));
    let last = &all.iter().max_by_key(|stored| stored.snapshot.time).unwrap();
    let (lock, options) = (LockGuard::none(), CopyOptions::default());
    let wanted = std::slice::from_ref(*last);
    copy(&context(), &repository, &open(to.clone()), &lock, wanted, &options, |_, _| ()).unwrap();
    assert_complete(to.clone());
    assert!(packs(&to).intersection(&packs(&memory)).count() < packs(&to).len());
    // A header that is damaged makes a pack unfit to go over, but not its blobs.
    let mut files: Vec<_> = memory.files().into_iter().collect();
    let (file, content) = files.iter_mut().find(|(file, _)| file.kind == FileKind::Pack).unwrap();
    let (file, near_the_end) = (*file, content.len() - 20);
    content[near_the_end] ^= 1;
    let memory = Arc::new(MemoryBackend::with_files(files));
    let to = Arc::new(in_memory(2));
    run(&open(memory), &open(to.clone())).unwrap();
    assert_eq!(assert_complete(to.clone()).len(), 3);
    assert!(!packs(&to).contains(&file.id));
}

/// Goal: whatever call on either side is the last one, nothing visible is incomplete and the next run ends it.
#[test]
fn copy_may_stop_at_every_call_on_either_side() {
    let from = source(2);
    let expected = trees(&open(from.clone()));
    let empty = in_memory(2);
    for target_fails in [false, true] {
        let mut number = 1;
        loop {
            let to = Arc::new(empty.copy());
            let faulty = |memory: &Arc<MemoryBackend>, fails: bool| {
                let rules = fails.then(|| Rule::nth(number, Fault::FreezeAfter));
                Arc::new(FaultBackend::new(memory.clone(), rules))
            };
            let (source, target) = (faulty(&from, !target_fails), faulty(&to, target_fails));
            let opened = (opened(&source), opened(&target));
            if let (Some(source), Some(target)) = &opened
                && let Ok(all) = snapshots::list(&context(), source)
            {
                let options = CopyOptions::default();
                let _ = copy(&context(), source, target, &LockGuard::none(), &all, &options, |_, _| ());
            }
            assert_complete(to.clone());
            run(&open(from.clone()), &open(to.clone())).unwrap();
            assert_complete(to.clone());
            assert_eq!(trees(&open(to)), expected, "call {number}, target: {target_fails}");
            if !source.is_frozen() && !target.is_frozen() {
                break;
            }
            number += 1;
        }
        assert!(number > 8, "there is something to do");
    }
}

/// Somebody who respects no lock forgets every snapshot of a repository and frees all that is not needed any more.
fn wipe(memory: &Arc<MemoryBackend>) {
    let repository = open(memory.clone());
    for id in repository.list::<Snapshot>().unwrap() {
        snapshots::remove(&repository, id).unwrap();
    }
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    prune(&context(), &repository, &options).unwrap();
}

/// Goal: whatever is removed from the target before whichever call, no snapshot is left that is not whole.
#[test]
fn what_is_removed_from_the_target_during_a_copy_leaves_no_broken_snapshot() {
    let from = source(2);
    let half = Arc::new(in_memory(2));
    let oldest = snapshots::list(&context(), &open(from.clone())).unwrap();
    let (lock, options) = (LockGuard::none(), CopyOptions::default());
    copy(&context(), &open(from.clone()), &open(half.clone()), &lock, &oldest[..1], &options, |_, _| ())
        .unwrap();
    let clean = Arc::new(MeddledBackend::new(Arc::new(half.copy()), 0, || ()));
    let expected = run(&open(from.clone()), &open(clean.clone())).unwrap().packs;
    let mut again = 0;
    for number in 1..=clean.calls() {
        let to = Arc::new(half.copy());
        let storage = {
            let to = to.clone();
            Arc::new(MeddledBackend::new(to.clone(), number, move || wipe(&to)))
        };
        let report = run(&open(from.clone()), &open(storage.clone()));
        let report = report
            .unwrap_or_else(|error| panic!("before call {number}: {error:?}\n{}", storage.log().join("\n")));
        again += usize::from(report.packs > expected);
        assert_complete(to.clone());
        run(&open(from.clone()), &open(to.clone())).unwrap();
        assert_complete(to);
    }
    assert!(again > 0, "something that is needed was removed, and stored again");
}

fn opened(backend: &Arc<FaultBackend>) -> Option<Repository> {
    let password = repo_core::Password::new(tests::fixtures::PASSWORD);
    Repository::open(&context(), backend.clone(), &password, &repo_core::OpenOptions::default()).ok()
}

/// The blob that only the oldest snapshots need is gone: they are not copied, and the newest one is.
#[test]
fn snapshot_with_a_damaged_blob_is_not_copied_and_the_others_are() {
    let memory = source(2);
    let repository = open(memory.clone());
    let stored = snapshots::list(&context(), &repository).unwrap();
    let reader = repository.reader(&context()).unwrap();
    let root = reader.tree(stored[0].snapshot.tree).unwrap();
    let lost = root.nodes.iter().find(|node| node.name == b"a").unwrap();
    let place = reader.index().place_of(&lost.content.as_ref().unwrap()[0].into()).unwrap();
    assert!(memory.tamper(place.pack.into(), |bytes| bytes[place.offset as usize + 20] ^= 1));
    let from = open(memory);
    let to = Arc::new(in_memory(2));
    let report = run(&from, &open(to.clone())).unwrap();
    let copied: Vec<bool> = report
        .snapshots
        .iter()
        .map(|(_, outcome)| match outcome {
            CopyOutcome::Copied { .. } => true,
            CopyOutcome::Incomplete { .. } => false,
            CopyOutcome::Present { .. } => panic!("nothing was there"),
        })
        .collect();
    assert_eq!(copied, [false, false, true], "{report:?}");
    assert_eq!(assert_complete(to).len(), copied.iter().filter(|copied| **copied).count());
}

/// Two repositories in folders, and a folder of files.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        empty_repository(2, &place.repository("one"));
        empty_repository(2, &place.repository("two"));
        dir([("a", file(noise(300_000, 1))), ("b", file("text"))]).build(&place.repository("files"));
        larder().on(&place.repository("one")).within(place.0.path()).args(["backup", "files"]).ok();
        fs::write(place.repository("files").join("c"), "more").unwrap();
        larder().on(&place.repository("one")).within(place.0.path()).args(["backup", "files"]).ok();
        place
    }

    fn repository(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn copy(&self, program: &Program, words: &[&str]) -> Ran {
        let call = program.on(&self.repository("two")).env("RESTIC_FROM_PASSWORD", tests::fixtures::PASSWORD);
        call.env("RESTIC_FROM_REPOSITORY", self.repository("one")).arg("copy").args(words).run()
    }
}

fn restic_is_content(folder: &Path) {
    let said = restic().on(folder).args(["check", "--read-data"]).ok();
    assert!(said.stdout.contains("no errors were found"), "{said}");
}

#[test]
fn restic_and_larder_go_on_where_the_other_one_ended() {
    let (larder, restic) = (larder(), restic());
    let place = Place::new();
    let first = place.copy(&larder, &["latest"]);
    assert!(first.code == 0 && first.stdout.contains(" saved, copied from source snapshot "), "{first}");
    let second = place.copy(&restic, &["--verbose"]);
    assert_eq!(second.code, 0, "{second}");
    assert!(second.stdout.contains("was already copied to snapshot"), "{second}");
    let silent = place.copy(&larder, &[]);
    assert!(silent.code == 0 && silent.stdout.is_empty(), "{silent}");
    let third = place.copy(&larder, &["--verbose"]);
    assert_eq!(third.stdout.matches("was already copied to snapshot").count(), 2, "{third}");
    restic_is_content(&place.repository("two"));
    let listed = |name: &str| restic.on(&place.repository(name)).args(["snapshots", "--json"]).ok().json();
    let trees = |name: &str| {
        let listed = listed(name);
        let mut trees: Vec<_> =
            listed.as_array().unwrap().iter().map(|one| one["tree"].to_string()).collect();
        trees.sort();
        trees
    };
    assert_eq!(trees("two"), trees("one"));
}

#[test]
fn copy_says_what_it_did_and_what_it_needs() {
    let (larder, place) = (larder(), Place::new());
    let messages = place.copy(&larder, &["--json"]).messages();
    assert_eq!(messages.iter().filter(|message| message["message_type"] == "copied").count(), 2);
    let summary = messages.last().unwrap();
    assert_eq!((&summary["copied"], &summary["skipped"]), (&2.into(), &0.into()), "{summary}");
    let unknown = place.copy(&larder, &["deadbeef"]);
    assert_eq!(unknown.code, 1, "{unknown}");
    let nowhere = larder.on(&place.repository("two")).arg("copy").run();
    assert_eq!(nowhere.code, 1, "{nowhere}");
    assert!(nowhere.stderr.contains("--from-repo"), "{nowhere}");
}

/// Old scripts name the second repository, which gets the copies, and not the first one.
#[test]
fn old_words_name_the_repository_that_gets_the_copies() {
    let (larder, restic, place) = (larder(), restic(), Place::new());
    let password = place.repository("password2");
    fs::write(&password, "another one\n").unwrap();
    let other = larder.on(&place.repository("three")).arg("init").arg("--password-file").arg(&password);
    other.ok();
    let copy = || larder.on(&place.repository("one")).args(["copy", "--json"]);
    let typed = copy().arg("--repo2").arg(place.repository("three")).arg("--password-file2").arg(&password);
    assert_eq!(typed.ok().messages().last().unwrap()["copied"], 2);
    let set = copy()
        .env("RESTIC_REPOSITORY2", place.repository("three"))
        .env("RESTIC_PASSWORD_COMMAND2", format!("cat {}", password.display()));
    assert_eq!(set.ok().messages().last().unwrap()["skipped"], 2);
    let snapshots = restic.on(&place.repository("three")).args(["snapshots", "--json", "--password-file"]);
    assert_eq!(snapshots.arg(&password).ok().json().as_array().unwrap().len(), 2);
    let both = copy().arg("--repo2").arg("x").arg("--from-repo").arg("y").run();
    assert!(both.stderr.contains("mutually exclusive"), "{both}");
}

#[test]
fn rekey_takes_everything_under_a_new_master_key_and_goes_on_where_it_was_stopped() {
    let (larder, place) = (larder(), Place::new());
    let password = place.repository("new-password");
    fs::write(&password, "another one").unwrap();
    let rekey = |to: &str| {
        let call = larder.on(&place.repository("one")).args(["rekey", "--to"]).arg(place.repository(to));
        call.arg("--new-password-file").arg(&password)
    };
    let ran = rekey("new").ok();
    assert!(ran.stdout.contains("all 2 snapshots are in "), "{ran}");
    let again = rekey("new").arg("--verbose").ok();
    assert_eq!(again.stdout.matches("was already copied to snapshot").count(), 2, "{again}");
    let restic = restic();
    let check = restic.on(&place.repository("new")).env("RESTIC_PASSWORD", "another one");
    check.args(["check", "--read-data"]).ok();
    let master = |name: &str, password: &str| {
        let call = larder.on(&place.repository(name)).env("RESTIC_PASSWORD", password);
        call.args(["cat", "masterkey"]).ok().json()
    };
    assert_ne!(master("new", "another one"), master("one", tests::fixtures::PASSWORD));
}
