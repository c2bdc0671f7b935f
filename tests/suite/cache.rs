//! The local cache: larder and the real restic on one folder, and what the program does with its caches.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use repo_core::hash::sha256;
use tempfile::TempDir;
use tests::fixtures::empty_repository;
use tests::larder::larder;
use tests::program::{Call, Program, Ran};
use tests::restic::{self, restic};
use tests::tree::{Snapshot, Tree, assert_same, dir, file, noise};

/// A source, an empty repository and a folder for caches.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        source().build(&place.source());
        empty_repository(2, &place.repository());
        place
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn base(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn on(&self, program: &Program, line: &str) -> Call {
        program
            .on_cached(&self.repository(), &self.base())
            .args(line.split_whitespace())
            .within(&self.source())
    }

    fn run(&self, program: &Program, line: &str) -> Ran {
        self.on(program, line).ok()
    }

    /// What is kept: kind and name of each entry with its bytes.
    fn entries(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let caches = subfolders(&self.base()).filter(|path| path.join("version").is_file());
        let kinds = caches.flat_map(|cache| ["snapshots", "index", "data"].map(|kind| cache.join(kind)));
        let shards = kinds.flat_map(|kind| subfolders(&kind).collect::<Vec<_>>());
        let files = shards.flat_map(|shard| tests::fixtures::files_in(&shard));
        files.map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
    }

    /// Every entry is a file of the repository under its own name, and no pack of data is among them.
    fn assert_sound(&self) {
        let entries = self.entries();
        for (path, bytes) in &entries {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let shard = path.parent().unwrap();
            let kind = shard.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(sha256(bytes).to_string(), name);
            let stored = match kind.as_str() {
                "data" => self.repository().join("data").join(&name[..2]).join(&name),
                kind => self.repository().join(kind).join(&name),
            };
            assert!(stored.is_file(), "{} is kept and not stored", path.display());
            assert!(kind != "data" || bytes.len() < 50_000, "a pack of data is kept");
        }
        assert!(!entries.is_empty());
    }
}

fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
}

/// Data is much larger than trees, so that packs of the one are told from packs of the other.
fn source() -> Tree {
    dir([
        ("large", file(noise(300_000, 1))),
        ("folder", dir([("a", file("a")), ("deeper", dir([("b", file("b"))]))])),
    ])
}

#[test]
fn both_programs_share_one_cache_in_turns() {
    let (place, larder, restic) = (Place::new(), larder(), restic());
    let programs = [&restic, &larder];
    for turn in 0..4_u32 {
        let (program, other) = (programs[turn as usize % 2], programs[(turn as usize + 1) % 2]);
        fs::write(place.source().join("changing"), noise(100_000, u64::from(turn))).unwrap();
        place.run(program, "backup .");
        let before = place.entries();
        place.run(other, "ls latest");
        place.run(other, "snapshots");
        place.assert_sound();
        for (path, bytes) in before {
            assert_eq!(fs::read(path).ok(), Some(bytes), "{} takes what it finds", other.name());
        }
    }
    place.run(&larder, "check --read-data");
    place.run(&restic, "check --read-data");
}

/// Damage of any sort costs a request, not a result. Old versions of restic do not mend it, but can use what larder
/// has mended.
#[test]
fn larder_mends_a_damaged_cache_for_both_programs() {
    let (place, larder, restic) = (Place::new(), larder(), restic());
    place.run(&restic, "backup .");
    let damages: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes.truncate(40), |bytes| bytes.push(b'x'), Vec::clear, |bytes| bytes[20] ^= 1];
    for damage in damages {
        place.run(&larder, "backup .");
        for (path, mut bytes) in place.entries() {
            damage(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
        let target = tempfile::tempdir().unwrap();
        place.on(&larder, "restore latest --target").arg(target.path()).ok();
        assert_same(&Snapshot::of(target.path()), &Snapshot::of(&place.source()));
        place.run(&larder, "check --with-cache");
        place.assert_sound();
        place.run(&restic, "ls latest");
    }
}

#[test]
fn what_the_other_program_removes_leaves_the_cache_with_the_next_listing() {
    let (place, larder, restic) = (Place::new(), larder(), restic());
    for turn in 0..3 {
        fs::write(place.source().join("changing"), noise(100_000, turn)).unwrap();
        place.run(&larder, "backup .");
    }
    // As from another machine: nothing of this is seen in the cache.
    restic.on(&place.repository()).args(["forget", "--keep-last", "1", "--prune"]).ok();
    place.run(&larder, "snapshots");
    let snapshots = |place: &Place| {
        place.entries().keys().filter(|path| path.to_string_lossy().contains("/snapshots/")).count()
    };
    assert_eq!(snapshots(&place), 1);
    place.run(&larder, "list packs");
    place.run(&larder, "list index");
    place.assert_sound();
    place.run(&larder, "ls latest");
    place.run(&larder, "check --with-cache --read-data");
}

#[test]
fn both_programs_use_one_cache_at_the_same_time() {
    let (place, larder, restic) = (Place::new(), larder(), restic());
    place.run(&larder, "backup .");
    for turn in 10..13 {
        fs::write(place.source().join("changing"), noise(50_000, turn)).unwrap();
        let running = [&larder, &restic, &larder, &restic]
            .map(|program| (program.name(), place.on(program, "backup .").spawn()));
        for (name, child) in running {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{name}: {said}");
        }
    }
    place.run(&larder, "snapshots");
    place.assert_sound();
    place.run(&larder, "check --read-data");
    place.run(&restic, "check");
}

#[test]
fn a_folder_has_no_cache_unless_one_is_named() {
    let (place, larder) = (Place::new(), larder());
    let caches = larder.command().get_envs().find(|(name, _)| *name == "HOME").unwrap().1.unwrap().to_owned();
    let home = Path::new(&caches).join(".cache");
    let call = |line: &str| {
        let call = larder.on_cached(&place.repository(), Path::new("")).within(&place.source());
        call.args(line.split_whitespace()).ok()
    };
    call("backup .");
    assert!(!home.exists());
    assert_eq!(call("cache").stdout, format!("no cache dirs found, basedir is {}/larder\n", home.display()));
    let named = place.base();
    call(&format!("snapshots --cache-dir {}", named.display()));
    assert!(named.join("CACHEDIR.TAG").is_file());
    place.run(&larder, "backup .");
    call(&format!("snapshots --no-cache --cache-dir {}/other", named.display()));
    assert!(!named.join("other").exists());
}

/// The table is compared with restic's own, which sees the same folder.
#[test]
fn caches_are_listed_and_cleaned_up_as_restic_does() {
    let (place, larder, restic) = (Place::new(), larder(), restic());
    let empty = |program: &Program| place.run(program, "cache").stdout;
    assert_eq!(empty(&larder), empty(&restic));
    place.run(&larder, "backup .");
    let old = place.base().join("c0".repeat(32));
    fs::create_dir(&old).unwrap();
    fs::write(old.join("version"), "1").unwrap();
    fs::create_dir(place.base().join("restic-check-cache-77")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "files bear the machine's time")]
    let long_ago = SystemTime::now() - Duration::from_hours(24 * 40 + 1);
    fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();

    for line in ["cache --no-size", "cache --max-age 50 --no-size"] {
        assert_eq!(place.run(&larder, line).stdout, place.run(&restic, line).stdout, "{line}");
    }
    let json = place.run(&larder, "cache --json").json();
    let list = json.as_array().unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(list[0]["old"], true);
    assert_eq!(list[0]["size"], 1);
    let cleaned = place.run(&larder, "cache --cleanup");
    assert_eq!(cleaned.stdout, "remove 1 old cache directories\n");
    assert!(!old.exists());
    assert_eq!(place.run(&larder, "cache --cleanup").stdout, "no old cache dirs found\n");
    for line in ["cache --no-cache", "cache extra"] {
        assert_eq!(place.on(&larder, line).run().code, 1, "{line}");
    }
    if restic::version() >= (0, 15, 0) {
        // Earlier ones counted blocks of the disk.
        assert_eq!(place.run(&larder, "cache").stdout, place.run(&restic, "cache").stdout);
    }
}

#[test]
fn old_caches_go_on_request_while_a_repository_is_used() {
    let (place, larder) = (Place::new(), larder());
    let old = place.base().join("c0".repeat(32));
    fs::create_dir_all(&old).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();
    place.run(&larder, "snapshots");
    assert!(old.exists());
    place.run(&larder, "snapshots --cleanup-cache");
    assert!(!old.exists());
}

#[test]
fn check_believes_no_lasting_cache_and_leaves_none_behind() {
    let (place, larder) = (Place::new(), larder());
    place.run(&larder, "backup .");
    let kept = place.entries();
    let snapshot = tests::fixtures::files_in(&place.repository().join("snapshots")).pop().unwrap();
    fs::set_permissions(&snapshot, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&snapshot, "damaged").unwrap();
    place.run(&larder, "check --with-cache");
    let ran = place.on(&larder, "check").run();
    assert_eq!(ran.code, 1, "{ran}");
    let temporary = place.base().join("restic-check-cache-");
    assert!(ran.stdout.starts_with(&format!("using temporary cache in {}", temporary.display())), "{ran}");
    let left: Vec<_> = subfolders(&place.base()).filter(|path| path.join("version").is_file()).collect();
    assert_eq!(left.len(), 1);
    assert!(!subfolders(&place.base()).any(|path| path.to_string_lossy().contains("check-cache")));
    assert_eq!(place.entries(), kept);
}

/// The cache is in the source: it is not backed up, however it is called.
#[test]
fn the_cache_is_not_part_of_a_backup() {
    let (place, larder) = (Place::new(), larder());
    let base = place.source().join("folder/[odd] *name?");
    let on = |line: &str| {
        let call = larder.on_cached(&place.repository(), &base).within(&place.source());
        call.args(line.split_whitespace()).ok()
    };
    on("snapshots");
    assert!(base.join("CACHEDIR.TAG").is_file());
    on("backup .");
    let listed = on("ls latest").stdout;
    assert!(listed.contains("/folder/deeper/b") && !listed.contains("odd"), "{listed}");
}

#[test]
fn a_cache_that_cannot_be_used_is_a_warning() {
    let (place, larder) = (Place::new(), larder());
    fs::write(place.base(), "a file, no folder").unwrap();
    let ran = place.run(&larder, "backup .");
    assert!(ran.stderr.contains("cannot use the cache in "), "{ran}");
    fs::remove_file(place.base()).unwrap();
    place.run(&larder, "snapshots");
    let cache = subfolders(&place.base()).find(|path| path.join("version").is_file()).unwrap();
    for kind in ["snapshots", "index", "data"] {
        fs::remove_dir_all(cache.join(kind)).ok();
        fs::write(cache.join(kind), "in the way").unwrap();
    }
    let ran = place.run(&larder, "backup .");
    assert_eq!(ran.stderr.matches("cannot add to the cache in ").count(), 1, "{ran}");
    fs::write(cache.join("version"), "2").unwrap();
    assert!(place.run(&larder, "snapshots").stderr.contains("unknown version"));
}
