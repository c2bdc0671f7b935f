//! A cold storage: packs of data are thawed before they are read, and a hot half keeps everything else at hand.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use repo_core::backend::{Backend, FrozenBackend, MemoryBackend, TieredBackend};
use repo_core::context::{Clock, HandClock, with_causes};
use repo_core::filter::{Case, Patterns, Selection};
use repo_core::id::{FileKind, PackId};
use repo_core::ops::check::{CheckOptions, ReadData, check};
use repo_core::ops::prune::{self, MaxUnused, PruneOptions};
use repo_core::ops::restore::{Report, RestoreError, RestoreOptions, restore};
use repo_core::repository::{LockGuard, Needed, Repository, ThawOptions};
use repo_core::{Context, snapshots};
use tempfile::TempDir;
use tests::larder::larder;
use tests::repo::{backup, in_memory, open};
use tests::restic::restic;
use tests::tree::{Snapshot, Tree, assert_same, dir, file, noise};

const TAKES: Duration = Duration::from_hours(5);

fn source() -> Tree {
    dir([("letter", file(noise(300_000, 1))), ("folder", dir([("photo", file(noise(900_000, 2)))]))])
}

/// A backup in a storage whose packs of data are frozen, and a hot half before it.
struct Place {
    hot: Arc<MemoryBackend>,
    memory: Arc<MemoryBackend>,
    frozen: Arc<FrozenBackend>,
    clock: Arc<HandClock>,
    context: Context,
    repository: Repository,
    source: TempDir,
}

fn place() -> Place {
    let clock = Arc::new(HandClock::new());
    let context = Context { clock: clock.clone(), ..Context::new() };
    let (hot, memory) = (Arc::new(MemoryBackend::new()), Arc::new(in_memory(2)));
    hot.create().unwrap();
    let source = tempfile::tempdir().unwrap();
    self::source().build(source.path());
    backup(&open(Arc::new(TieredBackend::new(hot.clone(), memory.clone()))), source.path()).unwrap();
    // Another day, another process.
    let frozen = Arc::new(FrozenBackend::new(memory.clone(), &context, TAKES));
    let repository = open(Arc::new(TieredBackend::new(hot.clone(), frozen.clone())));
    Place { hot, memory, frozen, clock, context, repository, source }
}

impl Place {
    fn restore(&self, target: &Path, options: RestoreOptions) -> Result<Report, RestoreError> {
        let latest = snapshots::list(&self.context, &self.repository).unwrap().pop().unwrap();
        // The clock never rests, so nobody may hold a lock against it.
        let options = RestoreOptions { lock: None, ..options };
        restore(&self.context, &self.repository, &latest.snapshot, target, &options)
    }

    /// The packs that only the cold half has, sorted.
    fn data_packs(&self) -> Vec<PackId> {
        let packs = |backend: &MemoryBackend| backend.list(FileKind::Pack).unwrap();
        let hot: Vec<_> = packs(&self.hot).into_iter().map(|listed| listed.id).collect();
        let only_cold = packs(&self.memory).into_iter().filter(|listed| !hot.contains(&listed.id));
        let mut data: Vec<_> = only_cold.map(|listed| PackId(listed.id)).collect();
        data.sort_unstable();
        data
    }
}

#[test]
fn a_restore_thaws_what_it_needs_waits_and_brings_everything_back() {
    let place = place();
    let target = tempfile::tempdir().unwrap();
    let report = place
        .restore(target.path(), RestoreOptions { thaw: Some(ThawOptions::default()), ..Default::default() })
        .unwrap();
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    assert_same(&Snapshot::of(target.path()), &Snapshot::of(place.source.path()));
    assert_eq!(place.frozen.asked(), place.data_packs(), "every pack of data, and no other");
    assert!(place.clock.elapsed() >= TAKES);
}

#[test]
fn a_dry_run_says_what_would_be_thawed_and_asks_for_nothing() {
    let place = place();
    let target = tempfile::tempdir().unwrap();
    let options = RestoreOptions { thaw: Some(ThawOptions::default()), dry_run: true, ..Default::default() };
    let Needed { mut packs, bytes } = place.restore(target.path(), options).unwrap().needed.unwrap();
    packs.sort_unstable();
    assert_eq!(packs, place.data_packs());
    assert!(bytes > 1_200_000, "{bytes}");
    assert_eq!(place.frozen.asked(), []);
    assert_eq!(place.clock.elapsed(), Duration::ZERO);
}

#[test]
fn nothing_is_thawed_for_files_that_are_not_wanted() {
    let place = place();
    let target = tempfile::tempdir().unwrap();
    let nothing = Patterns::new(["nothing-of-that-name"], Case::Sensitive).unwrap();
    let options = RestoreOptions {
        thaw: Some(ThawOptions::default()),
        selection: Selection::Only(vec![nothing]),
        ..Default::default()
    };
    let report = place.restore(target.path(), options).unwrap();
    assert_eq!(report.needed, Some(Needed::default()));
    assert_eq!(place.frozen.asked(), []);
}

#[test]
fn without_thawing_a_restore_says_why_it_cannot_read() {
    let place = place();
    let target = tempfile::tempdir().unwrap();
    let report = place.restore(target.path(), RestoreOptions::default()).unwrap();
    assert_eq!(report.skipped.len(), 2);
    let text = with_causes(&report.skipped[0].problem);
    assert!(text.ends_with("not readable before it is thawed"), "{text}");
}

#[test]
fn a_check_thaws_what_it_reads() {
    let place = place();
    let check = |read_data| {
        let options = CheckOptions {
            lock: None,
            read_data,
            thaw: Some(ThawOptions::default()),
            ..CheckOptions::default()
        };
        let report = check(&place.context, &place.repository, &options).unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
    };
    check(ReadData::Nothing);
    assert_eq!(place.frozen.asked(), [], "trees are hot");
    check(ReadData::All);
    assert_eq!(place.frozen.asked(), place.data_packs());
}

#[test]
fn a_prune_says_which_cold_packs_it_reads_and_does_not_touch_them_frozen() {
    let place = place();
    // Half of the only pack of data is in nobody's use any more.
    std::fs::remove_file(place.source.path().join("letter")).unwrap();
    let report = backup(&place.repository, place.source.path()).unwrap();
    let first = report.snapshot.parent.unwrap();
    snapshots::remove(&place.repository, first).unwrap();
    let plan = || {
        let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
        prune::plan(&place.context, &place.repository, LockGuard::none(), &options).unwrap()
    };
    let needed = plan().needed();
    let of_data: Vec<_> =
        needed.packs.iter().filter(|pack| place.data_packs().contains(pack)).copied().collect();
    assert_eq!(of_data, place.data_packs());
    assert!(needed.bytes > 1_200_000, "{needed:?}");
    assert_eq!(place.frozen.asked(), [], "a plan asks for nothing");
    let before = place.memory.files().len();
    plan().execute(&place.context).unwrap_err();
    assert!(place.memory.files().len() >= before);

    place.repository.thaw(&place.context, &needed, &ThawOptions::default()).unwrap();
    let report = plan().execute(&place.context).unwrap();
    assert!(report.stats.packs_repack > 0, "{report:?}");
    tests::repo::assert_complete(place.memory.clone());
}

/// The program on two folders: the cold one is a repository of its own, the hot one saves the way to it.
#[test]
fn the_program_keeps_a_hot_half_and_has_packs_warmed_up_by_a_command() {
    let (larder, restic) = (larder(), restic());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (cold, hot, log) = (path("cold"), path("hot"), path("log"));
    source().build(&path("source"));
    let on_both = || larder.on(&cold).env("LARDER_REPO_HOT", &hot);
    on_both().arg("init").ok();
    on_both().arg("backup").arg(path("source")).ok();
    restic.on(&cold).args(["check", "--read-data"]).ok();
    let packs = |below: &Path| {
        let shards = std::fs::read_dir(below.join("data")).unwrap();
        let files = shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap());
        files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let mut data = packs(&cold);
    assert_eq!(packs(&hot).len(), 1, "the pack of trees");
    data.retain(|pack| !packs(&hot).contains(pack));

    std::fs::remove_dir_all(hot.join("snapshots")).unwrap();
    let target = path("target");
    let warm_up = format!("sh -c 'echo $1 >> {}' sh %id", log.display());
    let restore = || {
        let call = on_both().args(["restore", "latest", "--warm-up-command", &warm_up, "--target"]);
        call.arg(&target)
    };
    let ran = restore().arg("--dry-run").ok();
    assert!(ran.stdout.contains(&format!("would warm up {} packs with 1.1", data.len())), "{ran}");
    assert!(!log.exists());
    let ran = restore().ok();
    assert!(ran.stdout.contains("all packs are warm"), "{ran}");
    let mut warmed: Vec<String> = std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    warmed.sort_unstable();
    data.sort_unstable();
    assert_eq!(warmed, data);
    assert_eq!(std::fs::read_dir(hot.join("snapshots")).unwrap().count(), 1, "the hot half was mended");

    // The hot half is lost, and made anew without what belongs to nobody.
    let whole = Snapshot::of(&hot);
    std::fs::remove_dir_all(&hot).unwrap();
    std::fs::create_dir_all(hot.join("snapshots")).unwrap();
    std::fs::write(hot.join("snapshots").join("ab".repeat(32)), "nobody's").unwrap();
    let ran = on_both().args(["repair", "hot", "--json"]).ok().summary();
    assert_eq!((&ran["copied"], &ran["removed"]), (&5.into(), &1.into()), "{ran}");
    let names = |tree: &Snapshot| tree.0.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&Snapshot::of(&hot)), names(&whole));
    let ran = larder.on(&cold).args(["repair", "hot"]).run();
    assert!(ran.code == 1 && ran.stderr.contains("no hot storage was named"), "{ran}");

    // What is set for another kind of storage is not looked at.
    larder.on(&cold).args(["check", "-o", "s3.enable-restore=perhaps"]).ok();

    // A prune asks for the packs that it reads, and only for those.
    std::fs::remove_file(path("source").join("letter")).unwrap();
    on_both().arg("backup").arg(path("source")).ok();
    on_both().args(["forget", "--keep-last", "1"]).ok();
    let prune = || on_both().args(["prune", "--max-unused", "0", "--warm-up-command", &warm_up]);
    let ran = prune().arg("--dry-run").ok();
    assert!(ran.stdout.contains("would warm up"), "{ran}");
    std::fs::remove_file(&log).ok();
    prune().ok();
    assert!(log.exists());
    restic.on(&cold).args(["check", "--read-data"]).ok();

    let elsewhere = path("elsewhere");
    larder.on(&elsewhere).arg("init").ok();
    let ran = larder.on(&cold).arg("--repo-hot").arg(&elsewhere).arg("snapshots").run();
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.stderr.contains("belongs to another repository"), "{ran}");
}
