//! Which snapshots are forgotten: thousands of random sets and policies against the real restic, and what restic kept
//! of a fixture; then removing, stopped at every point.
//!
//! One repository holds many groups, each a host of its own, so that one run of restic answers for all of them. Spans
//! depend on the zone a program runs in, so that one is drawn as well. Snapshots of the same instant are alike, because
//! restic judges such in no certain order. Restics before 0.16 have no rule for the oldest snapshot; what only that rule
//! keeps is taken out of the expectation for them. `LARDER_TEST_FORGET_CASES=50000` runs as many cases.

use std::collections::BTreeMap;
use std::sync::Arc;

use repo_core::Context;
use repo_core::backend::{ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::format::Snapshot;
use repo_core::id::{FileKind, Id, SnapshotId, TreeId};
use repo_core::ops::forget::{self, Count, Each, ForgetOptions, Policy, Span};
use repo_core::ops::tag::{TagChange, tag};
use repo_core::repository::{LockKind, LockOptions, Repository};
use repo_core::snapshots::{self, GroupBy, GroupKey, Stored};
use repo_core::time::{Time, Timestamp, Zone};
use serde_json::Value;
use tests::fixtures::{self, Fixture};
use tests::larder::larder;
use tests::repo::{context, in_memory, open, save};
use tests::restic::{self, restic};

/// So many cases run in the ordinary test run; the variable asks for more.
const CASES: usize = 5000;
const CASES_WANTED: &str = "LARDER_TEST_FORGET_CASES";
/// How many groups a repository has: each policy is judged on all of them.
const GROUPS: usize = 60;

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"];

#[test]
fn random_policies_keep_what_restic_keeps() {
    #[expect(clippy::disallowed_methods, reason = "who runs the tests says so in the environment")]
    let wanted = std::env::var(CASES_WANTED).ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    for batch in 0..wanted.div_ceil(GROUPS * 20) {
        let mut dice = Dice(0x5eed + batch as u64);
        let memory = Arc::new(in_memory(2));
        let repository = open(memory.clone());
        for group in 0..GROUPS {
            for snapshot in random_group(&mut dice, group) {
                repository.save(&context(), &snapshot).unwrap();
            }
        }
        let found = snapshots::list(&context(), &repository).unwrap();
        let folder = tempfile::tempdir().unwrap();
        save(&memory, folder.path());
        for _ in 0..20 {
            compare_with_restic(&mut dice, folder.path(), &found);
        }
    }
}

/// What is kept of a group with the reasons, and what is removed; by time, because ties have no order.
type Verdict = (Vec<(String, Vec<String>)>, Vec<String>);

fn compare_with_restic(dice: &mut Dice, folder: &std::path::Path, found: &[Stored]) {
    let zone = dice.one_of(&ZONES);
    let group_by = dice.one_of(&["host", "host,paths", "host,tags", "host,paths,tags"]);
    let (policy, flags) = random_policy(dice);
    let restic = restic();
    let call = restic.on(folder).env("TZ", zone).args(["forget", "--dry-run", "--no-lock", "--json"]);
    let ran = call.args(["--group-by", group_by]).args(&flags).ok();
    let theirs: BTreeMap<GroupKey, Verdict> =
        ran.json().as_array().unwrap().iter().map(|group| their_verdict(group, group_by)).collect();

    let context = Context { zone: Zone::from_tz(Some(zone)), ..Context::new() };
    let options = ForgetOptions {
        policy,
        group_by: group_by.parse().unwrap(),
        allow_future: true,
        ..ForgetOptions::default()
    };
    let plan = forget::plan(&context, found.to_vec(), &options).unwrap();
    let ours: BTreeMap<GroupKey, Verdict> = plan.groups.iter().map(our_verdict).collect();
    assert_eq!(ours.len(), theirs.len(), "{ran}");
    for (key, verdict) in &ours {
        let story = || format!("TZ={zone} restic forget --group-by {group_by} {flags:?}\n{key:?}");
        assert_eq!(Some(verdict), theirs.get(key), "{}", story());
    }
}

fn our_verdict(group: &forget::GroupPlan) -> (GroupKey, Verdict) {
    let old = restic::version() < (0, 16, 0);
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for forget::Kept { stored, reasons } in &group.keep {
        let mut reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        reasons.retain(|reason| !old || !reason.starts_with("oldest "));
        let time = stored.snapshot.time.to_string();
        if reasons.is_empty() { removed.push(time) } else { kept.push((time, reasons)) }
    }
    removed.extend(group.remove.iter().map(|stored| stored.snapshot.time.to_string()));
    kept.sort();
    removed.sort();
    (group.key.clone(), (kept, removed))
}

fn their_verdict(group: &Value, group_by: &str) -> (GroupKey, Verdict) {
    let by: GroupBy = group_by.parse().unwrap();
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let time = |snapshot: &Value| snapshot["time"].as_str().unwrap().to_owned();
    let list = |name: &str| group[name].as_array().cloned().unwrap_or_default();
    let reasons = list("reasons").into_iter().map(|one| (time(&one["snapshot"]), strings(&one["matches"])));
    let key = GroupKey {
        host: by.host.then(|| group["host"].as_str().unwrap().to_owned()),
        paths: by.paths.then(|| strings(&group["paths"])),
        tags: by.tags.then(|| strings(&group["tags"])),
    };
    let (mut kept, mut removed): Verdict = (reasons.collect(), list("remove").iter().map(time).collect());
    assert_eq!(kept.len(), list("keep").len());
    kept.sort();
    removed.sort();
    (key, (kept, removed))
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Instants around which clocks are put forward or back, years end, and February is short.
const CORNERS: [&str; 10] = [
    "2024-03-31T01:00:00Z",
    "2024-10-27T01:00:00Z",
    "2024-03-10T07:00:00Z",
    "2024-11-03T06:00:00Z",
    "2024-10-05T15:30:00Z",
    "2025-01-01T00:00:00Z",
    "2024-02-29T12:00:00Z",
    "2021-01-03T23:30:00Z",
    "2023-08-31T10:00:00Z",
    "2098-12-31T23:00:00Z",
];

fn random_group(dice: &mut Dice, number: usize) -> Vec<Snapshot> {
    let corner: Time = dice.one_of(&CORNERS).parse().unwrap();
    let span_seconds = dice.one_of(&[&7200, &86_400, &864_000, &8_640_000, &63_072_000, &400_000_000]);
    let at_home = Zone::from_tz(Some(dice.one_of(&ZONES)));
    let count = 1 + dice.below(24);
    let mut group: Vec<Snapshot> = Vec::new();
    for _ in 0..count {
        if let Some(last) = group.last().filter(|_| dice.once_in(12)) {
            group.push(last.clone());
            continue;
        }
        let seconds = corner.instant.seconds + i64::try_from(dice.below(*span_seconds)).unwrap()
            - i64::try_from(span_seconds / 2).unwrap();
        // Half of them to the second, so that some lie exactly on a border.
        let seconds = if dice.once_in(3) { seconds - seconds % 1800 } else { seconds };
        let nanos = if dice.once_in(2) { 0 } else { u32::try_from(dice.below(1_000_000_000)).unwrap() };
        let instant = Timestamp { seconds, nanos };
        let time = match dice.below(6) {
            0 => Time::utc(instant),
            1 => Zone::from_tz(Some(dice.one_of(&ZONES))).at(instant),
            2 => Time { instant, offset_seconds: i32::try_from(dice.below(27)).unwrap() * 3600 - 43_200 },
            _ => at_home.at(instant),
        };
        if group.iter().any(|other| other.time.instant == time.instant) {
            continue;
        }
        let tags = ["a", "b", "c"].into_iter().filter(|_| dice.once_in(4)).map(str::to_owned).collect();
        let path = dice.one_of(&["/x", "/x", "/x", "/y"]).to_owned();
        let hostname = format!("host{number}");
        let tree = TreeId(Id::new([7; 32]));
        group.push(Snapshot { hostname, tags, ..Snapshot::new(time, tree, vec![path]) });
    }
    group
}

/// A policy that keeps at least the newest of every group, and the flags that say the same.
fn random_policy(dice: &mut Dice) -> (Policy, Vec<String>) {
    let mut policy = Policy::default();
    let mut flags = Vec::new();
    let mut add = |name: &str, value: String| flags.push(format!("--keep-{name}={value}"));
    let unlimited = restic::version() >= (0, 17, 0);
    let count = |dice: &mut Dice| match dice.below(8) {
        0 if unlimited => (Count::Unlimited, "unlimited".to_owned()),
        1 => (Count::AtMost(1000), "1000".to_owned()),
        _ => {
            let count = 1 + dice.below(7);
            (Count::AtMost(count), count.to_string())
        }
    };
    let span = |dice: &mut Dice| {
        let mut part = |limit| if dice.once_in(2) { u32::try_from(dice.below(limit)).unwrap() } else { 0 };
        let span = Span { years: part(3), months: part(14), days: part(40), hours: part(60) };
        if span.is_zero() { Span { days: 7, ..span } } else { span }
    };
    let Policy { last, each, within, each_within, .. } = &mut policy;
    let Each { hourly, daily, weekly, monthly, yearly } = each;
    for (name, field) in [
        ("last", last),
        ("hourly", hourly),
        ("daily", daily),
        ("weekly", weekly),
        ("monthly", monthly),
        ("yearly", yearly),
    ] {
        if dice.once_in(4) {
            let (value, text) = count(dice);
            *field = value;
            add(name, text);
        }
    }
    let Each { hourly, daily, weekly, monthly, yearly } = each_within;
    for (name, field) in [
        ("within", within),
        ("within-hourly", hourly),
        ("within-daily", daily),
        ("within-weekly", weekly),
        ("within-monthly", monthly),
        ("within-yearly", yearly),
    ] {
        if dice.once_in(6) {
            *field = span(dice);
            add(name, field.to_string());
        }
    }
    if policy.is_empty() {
        policy.last = Count::AtMost(2);
        add("last", "2".to_owned());
    }
    if dice.once_in(3) {
        let set = dice.one_of(&["a", "b,c", "", "a,b"]);
        policy.tags.push(set.split(',').map(str::to_owned).collect());
        add("tag", set.to_owned());
    }
    (policy, flags)
}

/// 48 policies on a fixture, by our program: the same groups, the same snapshots, the same reasons.
#[test]
fn policies_on_the_fixture_keep_what_restic_kept() {
    let fixture = Fixture::unpack("forget");
    let manifest: Value = serde_json::from_str(&fixtures::text("forget.json")).unwrap();
    let larder = larder();
    for case in manifest["policies"].as_array().unwrap() {
        let flags = case["args"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap());
        let call =
            larder.on(&fixture.repo()).args(["forget", "--dry-run", "--no-lock", "--json", "--allow-future"]);
        let ran = call.args(flags).run();
        let Some(groups) = case["groups"].as_array() else {
            assert_eq!(ran.code, 1, "{case}\n{ran}");
            continue;
        };
        assert_eq!(ran.code, 0, "{case}\n{ran}");
        let found: Vec<Value> = ran.json().as_array().unwrap().iter().map(as_in_the_manifest).collect();
        assert_eq!(sorted(found), sorted(groups.clone()), "{}", case["args"]);
    }
}

/// A group of `forget --json` in the short form of the manifest; ties by id.
fn as_in_the_manifest(group: &Value) -> Value {
    let reasons = group["reasons"].as_array().cloned().unwrap_or_default();
    let keep = reasons.iter().map(|one| {
        let snapshot = &one["snapshot"];
        serde_json::json!([snapshot["short_id"], snapshot["time"], one["matches"]])
    });
    let removed = group["remove"].as_array().map_or(0, Vec::len);
    serde_json::json!({
        "host": group["host"], "paths": group["paths"], "tags": group["tags"],
        "keep": keep.collect::<Vec<_>>(), "removed_count": removed,
    })
}

fn sorted(mut groups: Vec<Value>) -> Vec<Value> {
    for group in &mut groups {
        group["keep"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
    }
    groups.sort_by_key(ToString::to_string);
    groups
}

/// A repository with snapshots of two hosts, an hour apart, in memory.
fn some_snapshots() -> Arc<MemoryBackend> {
    let memory = Arc::new(in_memory(2));
    let repository = open(memory.clone());
    for hour in 0..20 {
        let time = Time::utc(Timestamp { seconds: 1_700_000_000 + hour * 3600, nanos: 0 });
        let hostname = format!("host{}", hour % 2);
        let tree = TreeId(Id::new([7; 32]));
        let snapshot = Snapshot { hostname, ..Snapshot::new(time, tree, vec!["/x".to_owned()]) };
        repository.save(&context(), &snapshot).unwrap();
    }
    memory
}

/// Keeps each day's newest of a short span: the rule with which a wrong order shows.
fn daily() -> ForgetOptions {
    let each_within = Each { daily: "5h".parse().unwrap(), ..Each::default() };
    let policy = Policy { last: Count::AtMost(2), each_within, ..Policy::default() };
    ForgetOptions { policy, ..ForgetOptions::default() }
}

fn forget_all(repository: &Repository) -> Option<forget::ForgetReport> {
    let lock = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).ok()?;
    let found = snapshots::list(&context(), repository).ok()?;
    forget::plan(&context(), found, &daily()).unwrap().execute(&context(), repository, &lock).ok()
}

fn left(memory: &Arc<MemoryBackend>) -> Vec<SnapshotId> {
    let repository = open(memory.clone());
    snapshots::list(&context(), &repository).unwrap().iter().map(|stored| stored.id).collect()
}

#[test]
fn forgetting_may_stop_anywhere_and_ends_the_same_when_run_again() {
    let start = some_snapshots();
    let whole = Arc::new(start.copy());
    assert!(forget_all(&open(whole.clone())).unwrap().failed.is_empty());
    let expected = left(&whole);
    assert!(expected.len() < 8, "something was removed");
    for number in 1..=40 {
        for fault in [Fault::FreezeBefore, Fault::FreezeAfter] {
            let memory = Arc::new(start.copy());
            let rule = Rule::nth(number, fault).on(Operation::Remove).of(FileKind::Snapshot);
            let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [rule]));
            let _ = forget_all(&open(faulty));
            open(memory.clone()).remove_all_locks().unwrap();
            forget_all(&open(memory.clone())).unwrap();
            assert_eq!(left(&memory), expected, "{fault:?} at {number}");
        }
    }
}

#[test]
fn other_tags_may_stop_anywhere_and_never_lose_a_snapshot() {
    let start = Arc::new(in_memory(2));
    let time = "2024-01-01T00:00:00Z".parse().unwrap();
    let snapshot = Snapshot::new(time, TreeId(Id::new([7; 32])), vec!["/x".to_owned()]);
    open(start.clone()).save(&context(), &snapshot).unwrap();
    let change = TagChange { protect: Some(true), ..TagChange::default() };
    let run = |repository: &Repository| -> Option<()> {
        let lock = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).ok()?;
        for stored in snapshots::list(&context(), repository).ok()? {
            tag(&context(), repository, &lock, &stored, &change).ok()?;
        }
        Some(())
    };
    for operation in [Operation::Write, Operation::Remove] {
        for fault in [Fault::FreezeBefore, Fault::FreezeAfter] {
            let memory = Arc::new(start.copy());
            let rule = Rule::nth(1, fault).on(operation).of(FileKind::Snapshot);
            let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [rule]));
            assert_eq!(run(&open(faulty)), None, "{operation:?} {fault:?}");
            assert!(!left(&memory).is_empty(), "{operation:?} {fault:?}");
            open(memory.clone()).remove_all_locks().unwrap();
            run(&open(memory.clone())).unwrap();
            let found = snapshots::list(&context(), &open(memory)).unwrap();
            let protected =
                found.iter().filter(|stored| snapshots::is_protected(&stored.snapshot.tags)).count();
            assert!(protected > 0 && protected == found.len(), "{operation:?} {fault:?}");
        }
    }
}

#[test]
fn removal_whose_answer_was_lost_is_no_failure() {
    let check = |fault, expected_failures| {
        let memory = some_snapshots();
        let rule = Rule::nth(3, fault).on(Operation::Remove).of(FileKind::Snapshot);
        let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [rule]));
        let report = forget_all(&open(faulty)).unwrap();
        assert_eq!(report.failed.len(), expected_failures, "{fault:?}");
        let rest = left(&memory).len();
        assert_eq!(rest + report.removed.len(), 20, "{fault:?}");
    };
    check(Fault::FailAfter(ErrorKind::Transient), 0);
    check(Fault::FailBefore(ErrorKind::Denied), 1);
}

/// A page that comes twice must not use up a count: the newest two are two snapshots.
#[test]
fn a_snapshot_that_is_listed_twice_counts_once() {
    let memory = some_snapshots();
    let rule = Rule::every(Fault::ListTwice).on(Operation::List).of(FileKind::Snapshot);
    let faulty = Arc::new(FaultBackend::new(memory.clone(), [rule]));
    assert!(forget_all(&open(faulty)).unwrap().failed.is_empty());
    let honest = some_snapshots();
    forget_all(&open(honest.clone())).unwrap();
    let times = |memory: &Arc<MemoryBackend>| -> Vec<Time> {
        let found = snapshots::list(&context(), &open(memory.clone())).unwrap();
        found.iter().map(|stored| stored.snapshot.time).collect()
    };
    assert_eq!(times(&memory), times(&honest));
}
