//! Checks that read a part of the packs, and go on where the last one ended.
//!
//! Goal: whatever the parts, every pack has its turn, and one that is not right is never taken for verified. Method:
//! repositories of six packs in memory, a clock that a test moves on, checks with the smallest budget: one pack each.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use repo_core::Context;
use repo_core::backend::{Backend, ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::context::{Cancel, Cancelled, Clock, Event, Observer, Stage, SystemClock, with_causes};
use repo_core::format::Checked;
use repo_core::id::{CheckedId, FileId, FileKind, PackId};
use repo_core::ops::check::{CheckError, CheckOptions, CheckReport, NotKept, ReadData, VerifiedAge, check};
use repo_core::time::Timestamp;
use tests::larder::larder;
use tests::repo;
use tests::rest_server::{Manners, RestServer};
use tests::restic::restic;
use tests::tree::{dir, file, noise};

const PACKS: u64 = 6;
const DAY: Duration = Duration::from_hours(24);

/// The next pack whose turn it is, and no other.
const ONE: ReadData = ReadData::Oldest { bytes: Some(1), span: None };

/// The system's clock, so many seconds later.
#[derive(Default)]
struct Later(SystemClock, AtomicU64);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        self.0.now().saturating_add(Duration::from_secs(self.1.load(Ordering::SeqCst)))
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        if span <= Duration::from_secs(1) { cancel.check() } else { self.0.sleep(span, cancel) }
    }
}

/// Takes down what the check warns of, and may stop it at the first pack.
#[derive(Default)]
struct Listener {
    told: Mutex<Vec<String>>,
    stop: Option<Cancel>,
}

impl Observer for Listener {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Warning { error } if error.is::<NotKept>() => {
                self.told.lock().unwrap().push(with_causes(*error));
            }
            Event::Progress { stage: Stage::ReadPacks, .. } => {
                self.stop.iter().for_each(Cancel::cancel);
            }
            _ => {}
        }
    }
}

/// A repository of six packs, and a clock.
struct Bench {
    memory: Arc<MemoryBackend>,
    clock: Arc<Later>,
    listener: Arc<Listener>,
}

impl Bench {
    fn new() -> Self {
        Self::of(PACKS)
    }

    /// As many packs as asked for: each backup makes one of data and one of trees.
    fn of(packs: u64) -> Self {
        let memory = Arc::new(repo::in_memory(2));
        let folder = tempfile::tempdir().unwrap();
        for round in 0..packs / 2 {
            dir([("file", file(noise(5000, round)))]).build(folder.path());
            repo::backup(&repo::open(memory.clone()), folder.path()).unwrap();
        }
        assert_eq!(memory.list(FileKind::Pack).unwrap().len() as u64, packs);
        Self { memory, clock: Arc::default(), listener: Arc::default() }
    }

    fn context(&self) -> Context {
        Context { clock: self.clock.clone(), ..Context::new() }.with_observer(self.listener.clone())
    }

    fn check_on(&self, storage: Arc<dyn Backend>, options: &CheckOptions) -> CheckReport {
        check(&self.context(), &repo::open(storage), options).unwrap()
    }

    fn check(&self, read_data: ReadData) -> CheckReport {
        let options = CheckOptions { read_data, ..CheckOptions::default() };
        self.check_on(self.memory.clone(), &options)
    }

    /// Reads one pack, and says how things stand after it.
    fn turn(&self) -> VerifiedAge {
        let report = self.check(ONE);
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.packs_read, 1);
        report.verified.unwrap()
    }

    fn next_day(&self) {
        self.clock.1.fetch_add(DAY.as_secs(), Ordering::SeqCst);
    }

    fn records(&self) -> Vec<FileId> {
        let listed = self.memory.list(FileKind::Checked).unwrap();
        listed.iter().map(|listed| FileId { kind: FileKind::Checked, id: listed.id }).collect()
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.listener.told.lock().unwrap())
    }

    fn a_pack(&self) -> PackId {
        PackId(self.memory.list(FileKind::Pack).unwrap()[0].id)
    }
}

#[test]
fn checks_come_round_to_every_pack_and_begin_again_with_the_oldest() {
    let bench = Bench::new();
    for turn in 1..=PACKS {
        assert_eq!(bench.turn().never, PACKS - turn);
        assert_eq!(bench.records().len(), 1, "old records go");
        bench.next_day();
    }
    let mut oldest = None;
    for _ in 0..PACKS {
        let age = bench.turn();
        assert!(age.never == 0 && age.oldest > oldest, "{age:?} after {oldest:?}");
        oldest = age.oldest;
        bench.next_day();
    }
    assert_eq!(bench.told(), [] as [String; 0]);
}

#[test]
fn every_check_that_reads_packs_counts_and_no_other_looks() {
    let bench = Bench::new();
    assert_eq!(bench.check(ReadData::Nothing).verified, None);
    assert_eq!(bench.records(), []);
    let age = bench.check(ReadData::Part { part: 1, parts: 1 }).verified.unwrap();
    assert_eq!((age.packs, age.never), (PACKS, 0));
}

#[test]
fn damaged_pack_is_never_taken_for_verified_and_has_its_turn_first() {
    let bench = Bench::new();
    bench.check(ReadData::All);
    bench.next_day();
    let pack = bench.a_pack();
    let is_last = |content: &mut Vec<u8>| *content.last_mut().unwrap() ^= 1;
    bench.memory.tamper(pack.into(), |content| content[20] ^= 1);
    let found = |report: &CheckReport| report.broken_packs() == [pack];
    let rounds = (0..PACKS).map(|_| bench.check(ONE)).filter(found).count();
    assert!(rounds > 0, "it has its turn in every round");
    // Whoever is read in between, every sound one is newer after this.
    bench.next_day();
    assert!(found(&bench.check(ReadData::All)));
    assert!(found(&bench.check(ONE)), "not verified the last time, so it is the oldest");

    // One that was never verified stays so.
    let bench = Bench::new();
    bench.memory.tamper(bench.a_pack().into(), is_last);
    assert_eq!(bench.check(ReadData::All).verified.unwrap().never, 1);
}

#[test]
fn short_time_reads_one_pack_and_long_time_all() {
    let bench = Bench::new();
    let span = |span| bench.check(ReadData::Oldest { bytes: None, span: Some(span) });
    let short = span(Duration::ZERO);
    assert_eq!((short.packs_read, short.verified.unwrap().never), (1, PACKS - 1));
    let long = span(Duration::from_hours(1));
    assert_eq!((long.packs_read, long.verified.unwrap().never), (PACKS, 0));
}

#[test]
fn stopped_check_keeps_what_it_has_verified() {
    // More than are under way when the first is told.
    const MANY: u64 = 240;
    let mut bench = Bench::of(MANY);
    let cancel = Cancel::new();
    bench.listener = Arc::new(Listener { stop: Some(cancel.clone()), ..Listener::default() });
    let context = Context { cancel, ..bench.context() };
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let stopped = check(&context, &repo::open(bench.memory.clone()), &options);
    assert!(matches!(stopped, Err(CheckError::Cancelled(_))), "{stopped:?}");
    bench.listener = Arc::default();
    assert!(bench.turn().never < MANY - 1);
}

#[test]
fn lost_damaged_or_impossible_records_only_mean_reading_again() {
    let bench = Bench::new();
    let spoil = |change: &dyn Fn(FileId)| {
        bench.check(ReadData::All);
        bench.records().into_iter().for_each(change);
        let age = bench.turn();
        assert_eq!((age.never, bench.records().len()), (PACKS - 1, 1));
        bench.told()
    };
    let lost = spoil(&|file| bench.memory.remove(file).unwrap());
    assert_eq!(lost, [] as [String; 0]);
    let garbled = spoil(&|file| assert!(bench.memory.tamper(file, |content| content[3] ^= 1)));
    assert!(garbled.len() == 1 && garbled[0].contains("earlier check"), "{garbled:?}");

    // Made by a clock that was two days ahead.
    bench.next_day();
    bench.next_day();
    bench.check(ReadData::All);
    bench.clock.1.store(0, Ordering::SeqCst);
    assert_eq!(bench.turn().never, PACKS - 1);
}

#[test]
fn storage_that_keeps_no_records_is_told_and_checked_all_the_same() {
    let bench = Bench::new();
    for operation in [Operation::List, Operation::Write] {
        let rule = Rule::every(Fault::FailBefore(ErrorKind::Denied)).on(operation).of(FileKind::Checked);
        let storage = Arc::new(FaultBackend::over_memory(bench.memory.clone(), [rule]));
        let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
        let report = bench.check_on(storage, &options);
        assert!(report.is_sound() && report.packs_read == PACKS, "{report:?}");
        assert_eq!(bench.told().len(), 1);
    }
}

#[test]
fn check_without_a_lock_writes_nothing() {
    let bench = Bench::new();
    let before = bench.memory.files();
    let options = CheckOptions { lock: None, read_data: ReadData::All, ..CheckOptions::default() };
    bench.check_on(bench.memory.clone(), &options);
    assert_eq!(bench.memory.files(), before);
}

#[test]
fn packs_that_are_gone_leave_the_record() {
    let bench = Bench::new();
    bench.check(ReadData::All);
    let repository = repo::open(bench.memory.clone());
    let packs = || {
        let id = CheckedId(bench.records()[0].id);
        repository.load::<Checked>(id).unwrap().runs.iter().map(|run| run.packs.len()).sum::<usize>() as u64
    };
    assert_eq!(packs(), PACKS);
    let pack = bench.a_pack();
    bench.memory.remove(pack.into()).unwrap();
    bench.check(ReadData::All);
    assert_eq!(packs(), PACKS - 1);
}

#[test]
fn program_says_whose_turn_it_was_and_restic_does_not_mind() {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("repository");
    repo::save(&Bench::new().memory, &storage);
    let check = |arguments: &[&str]| larder().on(&storage).arg("check").args(arguments).run();
    let one = check(&["--read-data-budget", "1"]);
    assert!(one.code == 0 && one.stdout.contains("1 packs read; of 6 packs 5 were never read"), "{one}");
    let all = check(&["--read-data-for", "1h"]);
    assert!(all.code == 0 && all.stdout.contains("6 packs read; each of 6 packs was read since"), "{all}");
    let summary = check(&["--read-data-budget", "1", "--json"]).summary();
    assert_eq!((&summary["packs_read"], &summary["packs"]), (&1.into(), &6.into()), "{summary}");
    let both = check(&["--read-data-for", "1h", "--read-data"]);
    assert_eq!(both.code, 1, "{both}");

    assert_eq!(fs::read_dir(storage.join("checked")).unwrap().count(), 1);
    restic().on(&storage).args(["check", "--read-data"]).ok();
    restic().on(&storage).args(["forget", "--keep-last", "1", "--prune"]).ok();
    assert_eq!(fs::read_dir(storage.join("checked")).unwrap().count(), 1);
    assert_eq!(check(&["--read-data"]).code, 0);
}

#[test]
fn server_that_keeps_only_restic_s_files_is_checked_and_the_rest_is_told() {
    let server = RestServer::start(Manners::default());
    repo::save(&Bench::new().memory, &server.folder("repository"));
    let location = server.location("repository");
    let checked = larder().on(location.as_ref()).args(["check", "--read-data"]).ok();
    assert!(checked.stdout.contains("no errors were found"), "{checked}");
    assert!(checked.stderr.contains("cannot keep which packs this check has read"), "{checked}");
    assert!(!server.folder("repository").join("checked").exists());
}
