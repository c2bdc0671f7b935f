//! Forgetting until what stays needs so many bytes, compared with what a prune then frees.

use repo_core::backend::MemoryBackend;
use repo_core::id::{FileKind, SnapshotId};
use repo_core::ops::forget::{self, Count, ForgetOptions, Policy};
use repo_core::ops::prune::{MaxUnused, PruneOptions, prune};
use repo_core::repository::{LockKind, LockOptions};
use repo_core::snapshots::{self, Stored};
use tests::larder::larder;
use tests::repo::{context, save};
use tests::restic::restic;

/// The newest snapshots stay as long as everything fits, and what each other one frees is what a prune then frees.
#[test]
fn a_size_keeps_the_newest_that_fit_and_says_what_the_others_free() {
    let mut history = crate::prune::History::new(2);
    for number in 0..6_u8 {
        history.back_up(&[number, number + 1, number + 2, 40 + number, 200], false);
    }
    let all = snapshots::list(&context(), &history.repository).unwrap();
    let reader = history.repository.reader(&context()).unwrap();
    let decide = |bytes: u64, policy: Policy, others: &[Stored]| {
        let options = ForgetOptions { policy, more_rules: true, ..ForgetOptions::default() };
        let judged: Vec<Stored> = all.iter().filter(|one| !others.contains(one)).cloned().collect();
        let plan = forget::plan(&context(), judged, &options).unwrap();
        forget::keep_until_size(&context(), &reader, plan, others, bytes)
    };
    let everything = decide(u64::MAX, Policy::default(), &[]).unwrap();
    assert_eq!((everything.plan.removed().count(), everything.freed.len()), (0, 0));
    let tight = everything.kept_bytes - 1;
    let one_less = decide(tight, Policy::default(), &[]).unwrap();
    assert_eq!(
        one_less.plan.removed().map(|stored| stored.id).collect::<Vec<_>>(),
        [all[0].id],
        "the oldest goes"
    );
    assert_eq!(one_less.kept_bytes + one_less.freed[0].1, everything.kept_bytes);

    // Whatever the limit: what stays is the newest, it fits, and one more would not.
    let mut seen = std::collections::BTreeSet::new();
    for tenth in 1..=10 {
        let limit = everything.kept_bytes * tenth / 10;
        let Ok(sized) = decide(limit, Policy::default(), &[]) else { continue };
        let gone: Vec<SnapshotId> = sized.freed.iter().map(|(id, _)| *id).collect();
        let oldest: Vec<SnapshotId> = all.iter().take(gone.len()).map(|stored| stored.id).collect();
        assert_eq!(gone, oldest, "the oldest go first");
        assert!(sized.kept_bytes <= limit);
        let last = sized.freed.last().map_or(u64::MAX, |(_, bytes)| *bytes);
        assert!(sized.kept_bytes.saturating_add(last) > limit, "one more would not fit");
        seen.insert(gone.len());
    }
    assert!(seen.len() > 3, "{seen:?}");
    assert!(decide(1, Policy::default(), &[]).is_err(), "nothing of the group would stay");

    // What another rule keeps, and what is not judged at all, counts first.
    let oldest = all[..1].to_vec();
    let with_other = decide(tight, Policy::default(), &oldest).unwrap();
    assert!(!with_other.plan.removed().any(|stored| stored.id == all[0].id));
    let last_one = Policy { last: Count::AtMost(1), ..Policy::default() };
    assert_eq!(decide(1, last_one, &[]).unwrap().plan.removed().count(), 5);

    // A prune agrees with the sum.
    let half = decide(everything.kept_bytes / 2, Policy::default(), &[]).unwrap();
    let freed: u64 = half.freed.iter().map(|(_, bytes)| bytes).sum();
    let lock = history.repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap();
    half.plan.execute(&context(), &history.repository, &lock).unwrap();
    drop(lock);
    let bytes = |memory: &MemoryBackend| {
        let packs = memory.files().into_iter().filter(|(file, _)| file.kind == FileKind::Pack);
        let (count, bytes) = packs
            .fold((0_u64, 0_u64), |(count, bytes), (_, content)| (count + 1, bytes + content.len() as u64));
        // Each pack's sealed header has 32 bytes, and 4 tell its length.
        bytes - 36 * count
    };
    let before = bytes(&history.memory);
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    prune(&context(), &history.repository, &options).unwrap();
    assert_eq!(before - bytes(&history.memory), freed);
    assert_eq!(bytes(&history.memory), half.kept_bytes);
}

#[test]
fn the_program_says_what_is_freed() {
    let mut history = crate::prune::History::new(2);
    for number in 0..4_u8 {
        history.back_up(&[number, 10 + number, 20 + number, 200], false);
    }
    let folder = tempfile::tempdir().unwrap();
    save(&history.memory, folder.path());
    let run = |line: &str| larder().on(folder.path()).args(line.split(' ')).run();
    let stays = run("forget --keep-until-size 1G --dry-run");
    assert!(stays.code == 0 && stays.stdout.contains("within size 1G"), "{stays}");
    let json = run("forget --keep-last 2 --keep-until-size 1 --dry-run --json");
    let group = &json.json()[0];
    assert_eq!(group["remove"].as_array().unwrap().len(), 2, "{json}");
    let freed: Vec<u64> =
        group["freed"].as_array().unwrap().iter().map(|one| one["bytes"].as_u64().unwrap()).collect();
    assert!(freed.len() == 2 && freed.iter().all(|bytes| *bytes > 500), "{json}");
    let refused = run("forget --keep-until-size 1");
    assert!(refused.code == 1 && refused.stderr.contains("--keep-last 1"), "{refused}");
    let done = run("forget --keep-last 2 --keep-until-size 1 --prune --max-unused 0");
    assert!(done.code == 0 && done.stdout.contains("what stays needs "), "{done}");
    assert_eq!(
        done.stdout.lines().filter(|line| line.starts_with("removing ") && line.contains(" frees ")).count(),
        2
    );
    restic().on(folder.path()).args(["check", "--read-data"]).ok();
}
