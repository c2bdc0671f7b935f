//! Backups, prunes, forgets and unlocks at the same time, by larder and by a program with restic's manners, with
//! processes that are stopped for longer than a lock lives, killed, and with clocks two hours apart: no blob is lost that
//! a snapshot needs, no success is taken back, and nobody sees damage where there is none.
//!
//! Each run is a seed; a failure prints it and what happened. `LARDER_TEST_RUNS` asks for more runs than are made every time.

mod programs; // the real programs, as processes

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use repo_core::backend::MemoryBackend;
use repo_core::context::Context;
use repo_core::format::Snapshot;
use repo_core::fs::source::LocalSource;
use repo_core::id::SnapshotId;
use repo_core::ops::archive::archive;
use repo_core::ops::check::{CheckOptions, Finding, ReadData, check};
use repo_core::ops::prune::{MaxUnused, PruneMode, PruneOptions, prune};
use repo_core::repository::{LockKind, LockOptions, LockOwner, OpenOptions, Password, Repository};
use repo_core::snapshots;
use tests::fixtures::PASSWORD;
use tests::repo::{in_memory, options};
use tests::tree::noise;
use tests::trouble::{for_seeds, runs};
use tests::turns::{Roughness, Stage};

use crate::prune::History;

const ACTORS: usize = 3;
const STEPS: u64 = 4;

struct World {
    stage: Arc<Stage>,
    memory: Arc<MemoryBackend>,
    /// Snapshots that a backup said it had made.
    made: Mutex<Vec<SnapshotId>>,
    forgotten: Mutex<HashSet<SnapshotId>>,
    /// Whether locks of stopped or killed processes were taken away.
    unlocked: Mutex<bool>,
}

impl World {
    fn context(&self, actor: usize) -> Context {
        // Each clock two hours from the next one.
        let ahead = [0, 7200, -7200][actor % 3];
        Context { clock: self.stage.clock(Some(actor), ahead), ..Context::new() }
    }

    /// Whoever it is this time: every operation is a process of its own, on a machine of its own.
    fn owner(actor: usize, step: u64) -> LockOwner {
        let pid = i64::try_from(step).unwrap();
        LockOwner { hostname: format!("host-{actor}"), username: "user".into(), pid, uid: 1, gid: 1 }
    }

    fn act(&self, actor: usize, step: u64, folder: &Path) {
        let choice = self.stage.chance(12);
        let what = match choice {
            0..4 => "backup",
            4..7 => "backup with restic's manners",
            7..9 => "prune beside",
            9 => "prune alone",
            10 => "forget",
            _ => "unlock",
        };
        change(folder, self.stage.chance(1000));
        self.stage.begin(actor, what);
        let context = self.context(actor);
        let backend = self.stage.backend(actor, self.memory.clone());
        let opened = Repository::open(&context, backend, &Password::new(PASSWORD), &OpenOptions::default());
        let lock = LockOptions { owner: Some(Self::owner(actor, step)), ..LockOptions::default() };
        let result = match opened {
            Err(error) => Err(error.to_string()),
            Ok(repository) => match choice {
                0..4 => self.back_up(&context, &repository, lock, folder),
                4..7 => self.back_up_as_restic(actor, &context, &repository, &lock),
                7..9 => Self::prune(&context, &repository, lock, PruneMode::BESIDE),
                9 => Self::prune(&context, &repository, lock, PruneMode::Instant),
                10 => self.forget(&context, &repository, &lock),
                _ => self.unlock(&context, &repository),
            },
        };
        self.stage.end(actor, &format!("{result:?}"));
    }

    fn back_up(
        &self,
        context: &Context,
        repository: &Repository,
        lock: LockOptions,
        folder: &Path,
    ) -> Result<(), String> {
        let options = repo_core::ops::archive::ArchiveOptions { lock: Some(lock), ..options(folder) };
        let report = archive(context, repository, &LocalSource::new(), &[".".into()], &options);
        let report = report.map_err(|error| repo_core::context::with_causes(&error))?;
        self.made.lock().unwrap().extend(report.id);
        Ok(())
    }

    /// Lock, index, blobs, snapshot: nothing is looked at again. Whoever was stopped for long looks for its lock first.
    fn back_up_as_restic(
        &self,
        actor: usize,
        context: &Context,
        repository: &Repository,
        lock: &LockOptions,
    ) -> Result<(), String> {
        let held = repository.lock(context, LockKind::Shared, lock).map_err(|error| error.to_string())?;
        let index = repository.load_index(context).map_err(|error| error.to_string())?;
        let picks: Vec<u8> = (0..12).map(|_| u8::try_from(self.stage.chance(40)).unwrap()).collect();
        let mut history = History::with(context.clone(), repository.clone(), self.memory.clone());
        let owner = lock.owner.clone().unwrap();
        let id = history.try_back_up(index, &picks, || {
            // It finds out when it renews the lock that it should have renewed long ago.
            if self.stage.stops(actor) > 0 {
                let mine =
                    |lock: &repo_core::format::Lock| lock.hostname == owner.hostname && lock.pid == owner.pid;
                let locks = repository.locks(context).map_err(|error| error.to_string())?;
                if !locks.iter().any(|(_, lock)| lock.as_ref().is_ok_and(|stored| mine(&stored.lock))) {
                    return Err("the lock is gone".to_owned());
                }
            }
            held.check().map_err(|error| error.to_string())
        })?;
        self.made.lock().unwrap().push(id);
        Ok(())
    }

    fn prune(
        context: &Context,
        repository: &Repository,
        lock: LockOptions,
        mode: PruneMode,
    ) -> Result<(), String> {
        let options = PruneOptions { mode, lock, max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
        let report = prune(context, repository, &options);
        report.map(drop).map_err(|error| repo_core::context::with_causes(&error))
    }

    fn forget(&self, context: &Context, repository: &Repository, lock: &LockOptions) -> Result<(), String> {
        let held = repository.lock(context, LockKind::Exclusive, lock).map_err(|error| error.to_string())?;
        let all = repository.list::<Snapshot>().map_err(|error| error.to_string())?;
        if all.len() > 1 {
            let at = self.stage.chance(all.len() as u64);
            let id = all[usize::try_from(at).unwrap()];
            held.check().map_err(|error| error.to_string())?;
            self.forgotten.lock().unwrap().insert(id);
            snapshots::remove(repository, id).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn unlock(&self, context: &Context, repository: &Repository) -> Result<(), String> {
        let removed = repository.remove_stale_locks(context).map_err(|error| error.to_string())?;
        *self.unlocked.lock().unwrap() |= removed > 0;
        Ok(())
    }
}

/// A folder's files change: some of many contents that others have too.
fn change(folder: &Path, chance: u64) {
    for at in 0..3 {
        let content = (chance * 7 + at * 13) % 40;
        fs::write(
            folder.join(format!("file-{at}")),
            noise(300 + usize::try_from(content).unwrap() * 50, content),
        )
        .unwrap();
    }
}

/// What is there when everybody has gone home.
fn verdict(world: &World, seed: u64) {
    let story = || format!("seed {seed}\n{}", world.stage.log());
    let context = Context { clock: world.stage.clock(None, 0), ..Context::new() };
    let open = || {
        Repository::open(&context, world.memory.clone(), &Password::new(PASSWORD), &OpenOptions::default())
            .unwrap()
    };
    let repository = open();
    repository.remove_all_locks().unwrap();
    let look = |repository: &Repository, when: &str| {
        let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
        let report = check(&context, repository, &options).unwrap();
        assert!(report.is_sound(), "{when}: {:#?}\n{}", report.findings, story());
        report
    };
    // Only who lost its lock may see that something left the index, and then until the next prune.
    if !*world.unlocked.lock().unwrap() {
        look(&repository, "at once");
    }
    let visible: HashSet<SnapshotId> = repository.list::<Snapshot>().unwrap().into_iter().collect();
    for id in &*world.made.lock().unwrap() {
        let forgotten = world.forgotten.lock().unwrap().contains(id);
        assert!(visible.contains(id) || forgotten, "snapshot {id} is gone\n{}", story());
    }
    let options =
        PruneOptions { mode: PruneMode::BESIDE, max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    for _ in 0..3 {
        let done = prune(&context, &repository, &options);
        done.unwrap_or_else(|error| panic!("{}\n{}", repo_core::context::with_causes(&error), story()));
        let report = look(&repository, "after a prune");
        let unlisted = |finding: &Finding| matches!(finding, Finding::PackUnreferenced { .. });
        assert!(!report.findings.iter().any(unlisted), "{:#?}\n{}", report.findings, story());
        world.stage.wind(Duration::from_hours(24));
    }
    assert_eq!(repository.list::<Snapshot>().unwrap().len(), visible.len());
}

fn run(start: &MemoryBackend, seed: u64) {
    let roughness =
        Roughness { stops: 60, kills: 500, stop_minutes: if seed.is_multiple_of(4) { 3000 } else { 90 } };
    let stage = Stage::new(ACTORS, seed, roughness);
    let memory = Arc::new(start.copy());
    memory.keep_time(stage.clock(None, 0));
    let world = World {
        stage,
        memory,
        made: Mutex::default(),
        forgotten: Mutex::default(),
        unlocked: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for actor in 0..ACTORS {
            let world = &world;
            scope.spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                for step in 0..STEPS {
                    world.act(actor, step + 1, folder.path());
                }
            });
        }
    });
    verdict(&world, seed);
}

#[test]
fn nothing_is_lost_whoever_works_together_and_whatever_stops() {
    let start = in_memory(2);
    let name = "nothing_is_lost_whoever_works_together_and_whatever_stops";
    for_seeds(name, 0..runs(24), |seed| run(&start, seed));
}
