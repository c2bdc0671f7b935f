//! The real larder and the real restic on one folder at the same time.
//!
//! A round: some snapshots go; then three programs at once, each a backup or a prune of larder or of restic; one of them
//! is stopped or killed after it has done something. Stopped for long means: the others end, its lock is taken away as
//! `unlock` would, prunes go by, and then it goes on. Marks grow old between the rounds, so that packs really go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use repo_core::format::IndexFile;
use repo_core::time::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tests::fixtures::empty_repository;
use tests::larder::larder;
use tests::program::Program;
use tests::repo::{assert_complete, context, on_disk, open};
use tests::restic::restic;
use tests::tree::noise;
use tests::trouble::runs;

/// A small generator, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct Place {
    folder: tempfile::TempDir,
    larder: Program,
    restic: Program,
    chance: Chance,
}

impl Place {
    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// A folder with some of few contents, so that backups share much.
    fn source(&mut self, number: usize) -> PathBuf {
        let folder = self.folder.path().join(format!("source-{number}"));
        fs::create_dir_all(&folder).unwrap();
        for name in 0..6 {
            let content = self.chance.below(25);
            fs::write(folder.join(format!("file-{name}")), noise(20_000, content)).unwrap();
        }
        folder
    }

    fn start(&mut self, number: usize) -> (&'static str, Child) {
        let source = self.source(number);
        let choice = self.chance.below(8);
        let repository = self.repository();
        let call = |program: &Program, words: &[&str]| program.on(&repository).args(words).within(&source);
        let (what, call) = match choice {
            0..2 => ("larder backup", call(&self.larder, &["backup", "--quiet", "."])),
            2..5 => ("restic backup", call(&self.restic, &["backup", "--quiet", "."])),
            5 => ("restic prune", call(&self.restic, &["prune", "--quiet", "--max-unused", "0"])),
            _ => ("larder prune", call(&self.larder, &["prune", "--quiet", "--max-unused", "0"])),
        };
        (what, call.spawn())
    }

    fn prune(&self) {
        self.larder.on(&self.repository()).args(["prune", "--max-unused", "0"]).ok();
    }

    fn no_locks(&self) {
        for lock in files_below(&self.repository().join("locks")) {
            let _ = fs::remove_file(lock);
        }
    }

    /// All marks are two days older.
    fn marks_grow_old(&self) {
        let repository = open(on_disk(&self.repository()));
        for id in repository.list::<IndexFile>().unwrap() {
            let mut file = repository.load::<IndexFile>(id).unwrap();
            if file.packs_to_delete.is_empty() {
                continue;
            }
            for mark in &mut file.packs_to_delete {
                if let Some(time) = &mut mark.time {
                    time.instant = Timestamp { seconds: time.instant.seconds - 48 * 3600, ..time.instant };
                }
            }
            repository.save(&context(), &file).unwrap();
            repository.backend().remove(id.into()).unwrap();
        }
    }

    fn round(&mut self, story: &mut Vec<String>) {
        let repository = self.repository();
        if self.chance.below(2) == 0 {
            self.restic.on(&repository).args(["forget", "--keep-last", "3", "--group-by", ""]).ok();
        }
        self.marks_grow_old();
        let before = files_below(&repository).len();
        let mut running: Vec<(&str, Child)> = (0..3).map(|number| self.start(number)).collect();
        story.push(running.iter().map(|(what, _)| *what).collect::<Vec<_>>().join(", "));
        let victim = usize::try_from(self.chance.below(3)).unwrap();
        let moment = before + 1 + usize::try_from(self.chance.below(8)).unwrap();
        let deed = self.chance.below(4);
        while running[victim].1.try_wait().unwrap().is_none() && files_below(&repository).len() < moment {
            std::thread::yield_now();
        }
        let pid = Pid::from_child(&running[victim].1);
        let mut lost_a_lock = false;
        match deed {
            0 => drop(running[victim].1.kill()),
            1 | 2 => drop(kill_process(pid, Signal::STOP)), // it may have ended
            _ => {}
        }
        for (number, (_, child)) in running.iter_mut().enumerate() {
            if number != victim {
                child.wait().unwrap();
            }
        }
        if deed == 1 {
            story.push(format!("the {} is stopped for long", running[victim].0));
            lost_a_lock = true;
            self.no_locks();
            self.prune();
            self.prune();
        }
        if deed < 3 {
            let _ = kill_process(pid, Signal::CONT);
        }
        running[victim].1.wait().unwrap();
        self.no_locks();
        if !lost_a_lock {
            self.is_content(story);
        }
        self.prune();
        self.is_content(story);
    }

    /// restic finds nothing wrong, and everything reads.
    fn is_content(&self, story: &[String]) {
        let said = self.restic.on(&self.repository()).args(["check", "--read-data"]).run();
        assert_eq!(said.code, 0, "{said}\n{}", story.join("\n"));
        assert_complete(on_disk(&self.repository()));
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn the_real_programs_lose_nothing_together() {
    for seed in 0..runs(10).div_ceil(5) {
        let folder = tempfile::tempdir().unwrap();
        empty_repository(2, &folder.path().join("repository"));
        let mut place = Place { folder, larder: larder(), restic: restic(), chance: Chance(seed * 77 + 5) };
        let mut story = vec![format!("seed {seed}")];
        for _ in 0..5 {
            place.round(&mut story);
        }
    }
}
