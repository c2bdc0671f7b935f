//! Every operation meets every fault at every call: nothing that was there is lost, what said success is done, and the same
//! command again ends it.
//!
//! A scenario is a repository and one command. Its calls are counted in a clean run; then it is run once for each call and
//! each thing that can go wrong there, and judged from the raw bytes (`judge`): the repository opens with a password, every
//! snapshot is as whole as before, the index leads nowhere it did not lead before, nothing is torn but what the fault tore.
//! A following backup works beside whatever was left, the same command again succeeds, and after a prune no file is
//! nobody's. A sample of pairs has a second fault in that second run; `LARDER_TEST_RUNS` asks for more pairs.

mod judge; // what lies in a storage, from its raw bytes
mod points; // which call meets which fault
mod backups; // scenarios that add
mod removals; // scenarios that remove and replace
mod repairs; // scenarios that mend
mod keys; // scenarios about keys, locks and the config

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use repo_core::backend::{Backend, FaultBackend, MemoryBackend, RetryBackend, RetryOptions, Rule};
use repo_core::context::{Cancel, Cancelled, Clock, Context, SystemClock, with_causes};
use repo_core::fs::source::StreamSource;
use repo_core::id::{FileId, FileKind, SnapshotId};
use repo_core::ops::archive::{ArchiveOptions, archive};
use repo_core::ops::prune::{MaxUnused, PruneOptions, prune};
use repo_core::ops::repair::{RepairIndexOptions, repair_index};
use repo_core::repository::{OpenOptions, Password, Repository};
use repo_core::time::Timestamp;
use tests::fixtures::PASSWORD;
use tests::trouble::runs;

use judge::{Found, look};
use points::{Point, pairs, singles};

type Run = dyn Fn(&Ground) -> Result<(), String>;
type Done = dyn Fn(&Found, &Arc<MemoryBackend>) -> bool;

/// One command on one repository.
struct Scenario {
    start: MemoryBackend,
    /// The command; `Err` says why it failed.
    run: Box<Run>,
    /// Whether the command has its result.
    done: Box<Done>,
    /// Snapshots that the command takes away.
    goes: BTreeSet<SnapshotId>,
    /// Whether it replaces snapshots by others that name them.
    replaces: bool,
    /// One of these opens the repository at every moment.
    passwords: &'static [&'static str],
}

impl Scenario {
    fn new(start: &MemoryBackend, run: impl Fn(&Ground) -> Result<(), String> + 'static) -> Self {
        Self {
            start: start.copy(),
            run: Box::new(run),
            done: Box::new(|_, _| true),
            goes: BTreeSet::new(),
            replaces: false,
            passwords: &[PASSWORD],
        }
    }

    fn done(self, done: impl Fn(&Found, &Arc<MemoryBackend>) -> bool + 'static) -> Self {
        Self { done: Box::new(done), ..self }
    }
}

/// Where a command runs.
struct Ground {
    context: Context,
    storage: Arc<dyn Backend>,
    /// The same without faults, for those who work beside.
    memory: Arc<MemoryBackend>,
}

impl Ground {
    fn new(memory: &Arc<MemoryBackend>, storage: Arc<dyn Backend>, retried: bool) -> Self {
        let context = context();
        let storage = if retried {
            Arc::new(RetryBackend::new(storage, &context, RetryOptions::default()))
        } else {
            storage
        };
        Self { context, storage, memory: memory.clone() }
    }

    fn open(&self) -> Result<Repository, String> {
        self.open_with(PASSWORD)
    }

    fn open_with(&self, password: &str) -> Result<Repository, String> {
        let (password, options) = (Password::from(password), OpenOptions::default());
        Repository::open(&self.context, self.storage.clone(), &password, &options).map_err(said)
    }
}

/// An error with its causes.
fn said(error: impl std::error::Error) -> String {
    with_causes(&error)
}

/// A context in which every pause is over at once and yet counts as time; who renews a lock waits for its end.
fn context() -> Context {
    Context { clock: Arc::<Skipping>::default(), ..Context::new() }
}

#[derive(Default)]
struct Skipping {
    system: SystemClock,
    skipped_ms: AtomicU64,
}

impl Clock for Skipping {
    fn now(&self) -> Timestamp {
        self.system.now()
    }

    fn elapsed(&self) -> Duration {
        self.system.elapsed() + Duration::from_millis(self.skipped_ms.load(Ordering::SeqCst))
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        if span >= Duration::from_mins(5) {
            return self.system.sleep(span, cancel);
        }
        self.skipped_ms.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
        cancel.check()
    }
}

// ── one point ──────────────────────────────────────────────────────────────────────────────────────────────

/// So many locks a run leaves at most: a prune beside others holds two, and one of them may be being renewed.
const LOCKS_MAX: usize = 3;

/// What is looked at while one point is judged.
struct Trial<'a> {
    scenario: &'a Scenario,
    before: &'a Found,
    memory: Arc<MemoryBackend>,
    /// The repository as it was opened after the last run; deriving a key takes longer than all the rest.
    opened: RefCell<Option<Repository>>,
    /// What happened so far.
    story: String,
    /// Whether a fault left torn files, which lie there until somebody takes them away.
    torn: bool,
}

impl Trial<'_> {
    fn open(&self) -> Option<Repository> {
        let open = |password: &&str| {
            let backend: Arc<dyn Backend> = self.memory.clone();
            Repository::open(&context(), backend, &Password::from(*password), &OpenOptions::default()).ok()
        };
        let mut opened = self.opened.borrow_mut();
        if opened.is_none() {
            *opened = self.scenario.passwords.iter().find_map(open);
        }
        opened.clone()
    }

    fn is_made(&self) -> bool {
        self.memory.files().contains_key(&FileId::CONFIG)
    }

    fn look(&self) -> Found {
        let repository = self.open().unwrap_or_else(|| panic!("no password opens it\n{}", self.story));
        look(&self.memory.files(), repository.key())
    }

    /// Runs the command with one fault or none, and judges what is there afterwards.
    fn run(&mut self, fault: Option<(u64, repo_core::backend::Fault)>, retried: bool) -> Result<(), String> {
        self.opened.take();
        let rules = fault.map(|(call, fault)| Rule::nth(call, fault));
        let faulty = Arc::new(FaultBackend::over_memory(self.memory.clone(), rules));
        let result = (self.scenario.run)(&Ground::new(&self.memory, faulty.clone(), retried));
        self.torn |= fault.is_some_and(|(_, fault)| points::tears(fault));
        faulty.deliver();
        self.story.extend([faulty.log().join("\n"), format!("\n── ends with {result:?}\n")]);
        if result.is_err() && !self.is_made() {
            return result;
        }
        let found = self.look();
        self.judge(&found);
        assert!(fault.is_some() || found.locks.is_subset(&self.before.locks), "a lock stays\n{}", self.story);
        // Who was told something else about what is there cannot know whether all is done.
        if result.is_ok() && !fault.is_some_and(|(_, fault)| points::lies(fault)) {
            assert!((self.scenario.done)(&found, &self.memory), "it says that it is done\n{}", self.story);
        }
        result
    }

    /// Nothing is less whole than before, but what the command takes away.
    fn judge(&self, found: &Found) {
        let (before, story) = (self.before, &self.story);
        for (id, (snapshot, content)) in &before.whole {
            let replaced = || {
                let originals = found.whole.values().map(|(new, _)| new.original);
                originals.flatten().any(|original| original == *id || Some(original) == snapshot.original)
            };
            match found.whole.get(id) {
                Some((_, now)) => assert_eq!(now, content, "snapshot {id} is another\n{story}"),
                None if found.broken.contains_key(id) => {
                    panic!("snapshot {id} is not whole any more: {}\n{story}", found.broken[id])
                }
                None if self.scenario.goes.contains(id) => {}
                None => assert!(self.scenario.replaces && replaced(), "snapshot {id} is gone\n{story}"),
            }
        }
        for (id, why) in &found.broken {
            assert!(before.broken.contains_key(id), "snapshot {id} is visible but not whole: {why}\n{story}");
        }
        let new: Vec<_> = found.dangling.difference(&before.dangling).collect();
        assert!(new.is_empty(), "the index leads nowhere: {new:?}\n{story}");
        let new: Vec<_> = found.torn.difference(&before.torn).collect();
        assert!(new.is_empty() || self.torn, "torn: {new:?}\n{story}");
        assert!(found.foreign.is_subset(&before.foreign), "{:?}\n{story}", found.foreign);
        assert!(found.locks.len() <= before.locks.len() + LOCKS_MAX, "too many locks\n{story}");
    }

    /// Takes away the locks of the dead, as a user would who knows that nobody is at work.
    fn unlock(&self) {
        if let Some(repository) = self.open() {
            repository.remove_all_locks().unwrap();
        }
    }

    /// A backup works beside whatever was left.
    fn back_up(&mut self) {
        let repository = self.open().unwrap_or_else(|| panic!("no password opens it\n{}", self.story));
        let time = Timestamp { seconds: 1_700_000_000, nanos: 0 };
        let source = StreamSource::new("/after", &b"after that"[..], time, (0, 0));
        let options = ArchiveOptions::default();
        let report = archive(&context(), &repository, &source, &[PathBuf::from("/after")], &options)
            .unwrap_or_else(|error| panic!("the next backup fails: {}\n{}", with_causes(&error), self.story));
        let found = self.look();
        assert!(
            found.whole.contains_key(&report.id.unwrap()),
            "the next backup is not whole\n{}",
            self.story
        );
        self.judge(&found);
    }

    /// What `check` tells a user to do about torn files: records go, and the index is repaired.
    fn mend(&self) {
        if !self.torn {
            return; // only torn files need it
        }
        let found = self.look();
        let of = |kind: FileKind| {
            let bad = found.torn.iter().chain(&found.foreign);
            bad.filter(move |file| file.kind == kind && !self.before.torn.contains(file))
        };
        for file in [FileKind::Snapshot, FileKind::Key, FileKind::Checked].into_iter().flat_map(of) {
            self.memory.remove(*file).unwrap();
        }
        if of(FileKind::Index).next().is_some() {
            let repository = self.open().unwrap();
            let result = repair_index(&context(), &repository, &RepairIndexOptions::default());
            result.unwrap_or_else(|error| panic!("no repair: {}\n{}", with_causes(&error), self.story));
        }
    }

    /// After a prune everything is there that was there before it, and nothing that is nobody's.
    fn prune(&mut self) {
        let before = self.look();
        let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
        let repository = self.open().unwrap();
        match prune(&context(), &repository, &options) {
            Ok(_) => {}
            // What is not whole might come back one day.
            Err(_) if !before.broken.is_empty() => return self.judge(&self.look()),
            Err(error) => panic!("the next prune fails: {}\n{}", with_causes(&error), self.story),
        }
        let found = self.look();
        assert_eq!(found.visible(), before.visible(), "{}", self.story);
        assert_eq!(found.whole, before.whole, "{}", self.story);
        self.judge(&found);
        assert!(found.listed.is_subset(&found.used), "blobs are nobody's\n{}", self.story);
        assert!(found.unlisted.is_empty(), "packs are nobody's: {:?}\n{}", found.unlisted, self.story);
        assert!(found.torn.is_subset(&self.before.torn), "{:?}\n{}", found.torn, self.story);
        assert!(found.locks.is_empty(), "locks are left: {:?}\n{}", found.locks, self.story);
    }
}

fn check(scenario: &Scenario, before: &Found, point: &Point) {
    let memory = Arc::new(scenario.start.copy());
    let mut trial = Trial {
        scenario,
        before,
        memory,
        story: format!("{point}\n"),
        opened: RefCell::default(),
        torn: false,
    };
    let result = trial.run(Some(point.first), point.retried);
    assert!(result.is_ok() || !point.retried, "whoever tries again gets through\n{}", trial.story);
    trial.unlock();
    if trial.is_made() {
        trial.back_up();
        trial.mend();
    }
    if let Some(second) = point.then {
        let _ = trial.run(Some(second), false); // judged there
        trial.unlock();
        if trial.is_made() {
            trial.mend();
        }
    }
    trial.run(None, false).unwrap_or_else(|error| panic!("again: {error}\n{}", trial.story));
    trial.unlock();
    trial.mend();
    trial.prune();
}

// ── the sweep ──────────────────────────────────────────────────────────────────────────────────────────────

/// What lies in a repository before anything happens.
fn before(scenario: &Scenario) -> Found {
    let memory = Arc::new(scenario.start.copy());
    let trial = Trial {
        scenario,
        before: &Found::default(),
        memory,
        story: "before it begins".into(),
        opened: RefCell::default(),
        torn: false,
    };
    if trial.is_made() { trial.look() } else { Found::default() }
}

/// The calls of a clean run.
fn clean(scenario: &Scenario) -> Vec<String> {
    let memory = Arc::new(scenario.start.copy());
    let counting = Arc::new(FaultBackend::new(memory.clone(), []));
    let result = (scenario.run)(&Ground::new(&memory, counting.clone(), false));
    result.unwrap_or_else(|error| panic!("without a fault: {error}\n{}", counting.log().join("\n")));
    counting.log()
}

/// After so many violations nobody reads on.
const FAILURES_MAX: usize = 20;

/// Judges the points one after the other; a failure says how to repeat it alone. `LARDER_TEST_POINT` takes one of them.
#[expect(clippy::disallowed_methods, reason = "who runs the tests says so in the environment")]
fn sweep(name: &str, scenario: &Scenario) {
    let calls = clean(scenario);
    let (singles, pairs) = (singles(&calls), pairs(name, &calls, runs(20)));
    let before = before(scenario);
    let only = std::env::var("LARDER_TEST_POINT").ok();
    let mut failed = Vec::new();
    for point in singles.iter().chain(&pairs) {
        let text = point.to_string();
        if only.as_ref().is_some_and(|only| *only != text) {
            continue;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(scenario, &before, point))) {
            eprintln!(
                "\nrepeat it with: LARDER_TEST_POINT='{text}' cargo nextest run -p tests sweep::{name}\n"
            );
            let said =
                panic.downcast_ref::<String>().map_or("", |said| said.lines().next().unwrap_or_default());
            failed.push(format!("{text}: {said}"));
            if failed.len() == FAILURES_MAX {
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{name}\n{}", failed.join("\n"));
    eprintln!("{name}: {} calls, {} faults, {} pairs", calls.len(), singles.len(), pairs.len());
}

/// One test for each scenario, so that they run beside each other, and one that counts.
macro_rules! scenarios {
    ($($name:ident = $make:expr;)*) => {
        $(#[test]
        fn $name() {
            sweep(stringify!($name), &$make);
        })*

        /// The floor is what was asked for; a scenario that lost its calls would show here.
        #[test]
        fn there_are_points_enough() {
            let counts = [$((stringify!($name), singles(&clean(&$make)).len())),*];
            let total: usize = counts.iter().map(|(_, count)| count).sum();
            eprintln!("{} scenarios, {total} points: {counts:?}", counts.len());
            assert!(counts.len() >= 17 && total >= 10_000, "{total}: {counts:?}");
            for (name, count) in counts {
                assert!(count > 50, "{name} has {count} points only");
            }
        }
    };
}

scenarios! {
    init = keys::init();
    first_backup = backups::first(2);
    first_backup_version_1 = backups::first(1);
    later_backup = backups::later();
    unchanged_backup = backups::unchanged();
    empty_backup = backups::empty();
    backup_beside_another = backups::beside();
    backup_of_a_stream = backups::stream();
    backup_into_several = backups::several();
    copy_at_the_target = backups::copy_to();
    copy_at_the_source = backups::copy_from();
    restore = backups::restore_all();
    forget = removals::forget_some();
    forget_prune = removals::forget_and_prune();
    prune_instant = removals::prune_instant();
    prune_removes_only = removals::prune_removes_only();
    prune_nothing = removals::prune_nothing();
    prune_beside_marks = removals::prune_marks();
    prune_beside_removes = removals::prune_marked();
    tag = removals::tag_all();
    rewrite = removals::rewrite_all(false);
    rewrite_forget = removals::rewrite_all(true);
    repair_lost_index = repairs::lost_index();
    repair_bad_index = repairs::bad_index();
    repair_packs = repairs::packs();
    repair_snapshots = repairs::snapshots(false);
    repair_snapshots_forget = repairs::snapshots(true);
    repair_from_another = repairs::from_another();
    recover = repairs::recover_forgotten();
    check_all = repairs::check_all();
    key_add = keys::add();
    key_passwd = keys::passwd();
    key_remove = keys::remove();
    unlock = keys::unlock();
    migrate = keys::migrate();
}
