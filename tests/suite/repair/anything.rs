//! Ten random damages of every fixture, mended step by step as `check` says: whatever was whole before is whole
//! afterwards, and nothing is left to find.
//!
//! What can be saved is known without our reading code: restic's manifest says where each blob lies, and a blob is
//! sound if its stored bytes are those of the healthy fixture. It can be found if an index file that lists its pack, or
//! the header of the pack, is as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use repo_core::backend::{Backend, MemoryBackend};
use repo_core::id::{BlobId, BlobKind, FileId, FileKind, Id, SnapshotId, TreeId};
use repo_core::ops::check::{CheckOptions, CheckReport, Finding, ReadData, Remedy, check};
use repo_core::ops::recover::{RECOVERED, plan_recover};
use repo_core::ops::repair::{
    OldSnapshots, RepairIndexOptions, plan_repair_packs, plan_repair_snapshots, repair_index,
};
use repo_core::repository::{LockKind, LockOptions, LockOwner, Reader, Repository, WriterOptions};
use repo_core::snapshots::{self, Stored};
use repo_core::walk::Walk;
use tests::fixtures::{Damaged, Fixture, Manifest, PackEntry, REPOSITORIES};
use tests::repo::{contents, context, load, open, save};
use tests::restic::restic;
use tests::tree::{Entry, noise};

/// Damages of each repository.
const SEEDS: u64 = 10;

// ── what is damaged ────────────────────────────────────────────────────────────────────────────────────────

/// The next number of a plain generator (Knuth's MMIX constants), below `bound`.
fn next(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap() % bound
}

/// Damages one to four files, packs more often than others; says what was done. Config and key stay: without them
/// there is no repository.
fn damage(memory: &MemoryBackend, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut story = format!("seed {seed}");
    for _ in 0..=next(&mut state, 4) {
        let kinds = [FileKind::Pack, FileKind::Pack, FileKind::Pack, FileKind::Index, FileKind::Snapshot];
        let kind = kinds[next(&mut state, kinds.len())];
        let files: Vec<FileId> = memory.files().into_keys().filter(|file| file.kind == kind).collect();
        if files.is_empty() {
            continue;
        }
        let file = files[next(&mut state, files.len())];
        let (what, at) = (next(&mut state, 6), next(&mut state, usize::MAX));
        if what == 0 {
            memory.remove(file).unwrap();
        } else {
            memory.tamper(file, |bytes| change(bytes, what, at));
        }
        let done = ["removed", "one bit", "a run of zeros", "cut", "longer", "emptied"][what];
        story.extend(["\n", &file.to_string(), ": ", done]);
    }
    story
}

fn change(bytes: &mut Vec<u8>, what: usize, at: usize) {
    let len = bytes.len();
    let at = at % len.max(1);
    match what {
        1 if len > 0 => bytes[at] ^= 1 << (at % 8),
        2 => bytes[at..(at + 3000).min(len)].fill(0),
        3 => bytes.truncate(at),
        4 => bytes.extend(noise(100, 1)),
        _ => bytes.clear(),
    }
}

// ── what can be saved ──────────────────────────────────────────────────────────────────────────────────────

/// The blobs that are sound and can be found.
fn savable(manifest: &Manifest, healthy: &MemoryBackend, damaged: &MemoryBackend) -> BTreeSet<BlobId> {
    let (healthy, damaged) = (healthy.files(), damaged.files());
    let is_listed = |pack: &str| {
        let listed = manifest.index_raw_json.iter().filter(|(_, json)| json.contains(pack));
        listed
            .map(|(index, _)| file(FileKind::Index, index))
            .any(|file| damaged.get(&file) == healthy.get(&file))
    };
    let mut savable = BTreeSet::new();
    for (name, blobs) in &manifest.packs {
        let (whole, Some(left)) =
            (&healthy[&file(FileKind::Pack, name)], damaged.get(&file(FileKind::Pack, name)))
        else {
            continue;
        };
        let header = blobs.iter().map(end).max().unwrap_or(0);
        if !is_listed(name) && (whole.len() != left.len() || whole[header..] != left[header..]) {
            continue;
        }
        for blob in blobs {
            let range = blob.offset as usize..end(blob);
            if left.get(range.clone()) == Some(&whole[range]) {
                savable.insert(blob_id(blob));
            }
        }
    }
    savable
}

fn file(kind: FileKind, name: &str) -> FileId {
    FileId { kind, id: name.parse().unwrap() }
}

fn end(blob: &PackEntry) -> usize {
    (blob.offset + blob.length) as usize
}

fn blob_id(blob: &PackEntry) -> BlobId {
    let kind = if blob.kind == "tree" { BlobKind::Tree } else { BlobKind::Data };
    BlobId { kind, id: blob.id.parse::<Id>().unwrap() }
}

/// A snapshot of the healthy repository: its entries, and the blobs each needs, from the root on.
struct Whole {
    stored: Stored,
    entries: BTreeMap<Vec<u8>, (Entry, BTreeSet<BlobId>)>,
}

impl Whole {
    fn all(repository: &Repository) -> Vec<Self> {
        let reader = repository.reader(&context()).unwrap();
        let stored = snapshots::list(&context(), repository).unwrap();
        stored.into_iter().map(|stored| Self::new(&reader, stored)).collect()
    }

    fn new(reader: &Reader, stored: Stored) -> Self {
        let root = stored.snapshot.tree;
        let mut needs: BTreeMap<Vec<u8>, BTreeSet<BlobId>> = BTreeMap::new();
        needs.insert(Vec::new(), BTreeSet::from([root.into()]));
        for entry in Walk::new(reader, root, "") {
            let entry = entry.unwrap();
            let path = entry.path.as_os_str().as_bytes();
            let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
            let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |at| &path[..at]);
            let mut blobs = needs[parent].clone();
            blobs.extend(entry.node.subtree.map(BlobId::from));
            blobs.extend(entry.node.content.iter().flatten().map(|data| BlobId::from(*data)));
            needs.insert(path, blobs);
        }
        let entries = contents(reader, root).0.into_iter();
        let entries = entries.map(|(path, entry)| (path.clone(), (entry, needs[&path].clone())));
        Self { stored, entries: entries.collect() }
    }

    /// The entries of which nothing was lost are all among `found`, as they were.
    fn assert_saved(
        &self,
        savable: &BTreeSet<BlobId>,
        found: &BTreeMap<Vec<u8>, Entry>,
        story: &str,
    ) -> usize {
        let mut saved = 0;
        for (path, (entry, _)) in self.entries.iter().filter(|(_, (_, needs))| needs.is_subset(savable)) {
            // The other name of a file may be lost, and the mode of what holds lost parts is still told.
            let alone = |entry: &Entry| Entry { same_as: None, ..entry.clone() };
            let now = found.get(path).map(alone);
            assert_eq!(now, Some(alone(entry)), "{} of {}\n{story}", path.escape_ascii(), self.stored.id);
            saved += 1;
        }
        saved
    }
}

// ── the way back ───────────────────────────────────────────────────────────────────────────────────────────

fn check_all(repository: &Repository) -> CheckReport {
    let options = CheckOptions { lock: None, read_data: ReadData::All, ..CheckOptions::default() };
    check(&context(), repository, &options).unwrap()
}

/// Does what the report asks for, in its order; then snapshots are cut if something is still lost.
fn mend_once(repository: &Repository, report: &CheckReport) {
    let lock = || repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap();
    for remedy in report.remedies() {
        match remedy {
            Remedy::RepairPacks => {
                let plan = plan_repair_packs(&context(), repository, &report.broken_packs()).unwrap();
                plan.execute(&context(), &lock(), WriterOptions::default(), &mut |_, _| Ok(())).unwrap();
            }
            Remedy::RepairIndex => {
                repair_index(&context(), repository, &RepairIndexOptions::default()).unwrap();
            }
            Remedy::RemoveFile => {
                for finding in &report.findings {
                    if let Finding::SnapshotUnreadable { id, .. } = finding {
                        snapshots::remove(repository, *id).unwrap();
                    }
                }
            }
            _ => {}
        }
    }
    if !report.affected.is_empty() {
        let all = snapshots::list(&context(), repository).unwrap();
        let plan = plan_repair_snapshots(&context(), repository, all).unwrap();
        plan.execute(&context(), &lock(), OldSnapshots::Remove, WriterOptions::default(), |_, outcome| {
            assert!(outcome.failed.is_none(), "{outcome:?}");
        })
        .unwrap();
    }
}

/// Mends until there is nothing more to find; gives the first name of every snapshot that is there in the end.
fn mend(repository: &Repository, story: &str) -> BTreeMap<SnapshotId, SnapshotId> {
    let list = || snapshots::list(&context(), repository).unwrap();
    let mut names: BTreeMap<_, _> = list().iter().map(|stored| (stored.id, stored.id)).collect();
    for _ in 0..5 {
        let report = check_all(repository);
        if report.is_sound() {
            return names;
        }
        mend_once(repository, &report);
        // A snapshot that changes again is named after the one before, not after the first.
        let renamed = |stored: &Stored| {
            let before = stored.snapshot.original.filter(|_| !names.contains_key(&stored.id));
            (stored.id, names[&before.unwrap_or(stored.id)])
        };
        names = list().iter().map(renamed).collect();
    }
    panic!("check goes on finding {:#?}\n{story}", check_all(repository).findings);
}

/// What is left of each snapshot.
fn left(
    repository: &Repository,
    names: &BTreeMap<SnapshotId, SnapshotId>,
) -> BTreeMap<SnapshotId, BTreeMap<Vec<u8>, Entry>> {
    let reader = repository.reader(&context()).unwrap();
    let all = snapshots::list(&context(), repository).unwrap().into_iter();
    all.map(|stored| (names[&stored.id], contents(&reader, stored.snapshot.tree).0)).collect()
}

/// Everything below the folders that a recovery has made, by the first digits of their trees. It begins with the index:
/// where no snapshot misses anything, packs that are listed nowhere are no error.
fn recovered(repository: &Repository, story: &str) -> BTreeMap<Vec<u8>, Entry> {
    repair_index(&context(), repository, &RepairIndexOptions::default()).unwrap();
    let lock = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap();
    let plan = plan_recover(&context(), repository).unwrap();
    plan.execute(&context(), &lock, &LockOwner::this_process(), WriterOptions::default()).unwrap();
    drop(lock);
    mend(repository, story);
    let reader = repository.reader(&context()).unwrap();
    let all = snapshots::list(&context(), repository).unwrap().into_iter();
    all.filter(|stored| stored.snapshot.tags.iter().any(|tag| tag == RECOVERED))
        .flat_map(|stored| contents(&reader, stored.snapshot.tree).0)
        .collect()
}

/// What lies below the folder for `root` in a recovery.
fn below(recovered: &BTreeMap<Vec<u8>, Entry>, root: TreeId) -> BTreeMap<Vec<u8>, Entry> {
    let root = root.to_string();
    let inside = |path: &[u8]| {
        let at = path.iter().position(|byte| *byte == b'/')?;
        root.as_bytes().starts_with(&path[..at]).then(|| path[at + 1..].to_vec())
    };
    recovered.iter().filter_map(|(path, entry)| Some((inside(path)?, entry.clone()))).collect()
}

/// Damages, mends and compares; tells how many entries were saved, and how many were lost.
fn check_repository(name: &str, manifest: &Manifest, healthy: &MemoryBackend) -> (usize, usize) {
    let wholes = Whole::all(&open(Arc::new(healthy.copy())));
    assert_eq!(wholes.len(), manifest.snapshots.len(), "{name}");
    let (mut saved, mut all) = (0, 0);
    for seed in 0..SEEDS {
        let memory = Arc::new(healthy.copy());
        let story = format!("{name}, {}", damage(&memory, seed));
        let savable = savable(manifest, healthy, &memory);
        let damaged = memory.files();
        let is_left = |whole: &Whole| {
            let file = FileId::from(whole.stored.id);
            damaged.get(&file) == healthy.files().get(&file)
        };
        let repository = open(memory.clone());
        let found = left(&repository, &mend(&repository, &story));
        let (here, gone): (Vec<&Whole>, Vec<&Whole>) = wholes.iter().partition(|whole| is_left(whole));
        let nothing = BTreeMap::new();
        for whole in &here {
            saved += whole.assert_saved(&savable, found.get(&whole.stored.id).unwrap_or(&nothing), &story);
        }
        if !gone.is_empty() {
            // A snapshot that is lost is only a name for trees that are still there.
            let recovered = recovered(&repository, &story);
            let named: BTreeSet<TreeId> = here.iter().map(|whole| whole.stored.snapshot.tree).collect();
            for whole in gone.iter().filter(|whole| !named.contains(&whole.stored.snapshot.tree)) {
                saved += whole.assert_saved(&savable, &below(&recovered, whole.stored.snapshot.tree), &story);
            }
        }
        all += wholes.iter().map(|whole| whole.entries.len()).sum::<usize>();
        if seed < 2 {
            let folder = tempfile::tempdir().unwrap();
            save(&memory, folder.path());
            restic().on(folder.path()).args(["check", "--read-data"]).ok();
        }
    }
    (saved, all - saved)
}

#[test]
fn whatever_is_damaged_all_that_is_whole_is_saved_and_check_is_content() {
    let (mut saved, mut lost) = (0, 0);
    let mut count = |(more, less)| {
        saved += more;
        lost += less;
    };
    for name in REPOSITORIES {
        count(check_repository(name, &Manifest::of(name), &load(&Fixture::unpack(name).repo())));
    }
    let base = load(&Fixture::unpack("damaged").case("base"));
    count(check_repository("damaged", &Damaged::manifest().base, &base));
    assert!(saved > 1000 && lost > 100, "{saved} entries saved and {lost} lost: this shows little");
}
