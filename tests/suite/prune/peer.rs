//! Restic and larder prune the same repositories: each is content with what the other leaves, both keep the same blobs,
//! and both count alike.

use std::path::Path;
use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use repo_core::ops::prune::{MaxUnused, PruneOptions, plan, prune};
use repo_core::repository::LockGuard;
use tests::repo::{context, load, open, save};
use tests::restic::restic;

use super::{History, assert_sound, listed, model};

/// Some of the histories of the model, the same in every run.
fn histories(count: usize) -> impl Iterator<Item = History> {
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    (0..count).map(move |number| {
        let steps = proptest::collection::vec(model::step(), 6..14).new_tree(&mut runner).unwrap().current();
        let mut history = History::new(if number % 4 == 3 { 1 } else { 2 });
        for step in &steps {
            history.go(step);
        }
        history
    })
}

fn exact() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() }
}

#[test]
fn restic_is_content_with_what_our_prune_leaves() {
    for history in histories(8) {
        prune(&context(), &history.repository, &exact()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        save(&history.memory, folder.path());
        let said = restic().on(folder.path()).args(["check", "--read-data"]).ok();
        assert!(said.stdout.contains("no errors were found"), "{said}");
        assert!(!said.stdout.contains("additional files"), "{said}");
        // It may want to join small packs where our new ones have made them ten.
        let (counts, said) = restic_counts(folder.path());
        assert_eq!(counts[1..], [0; 3], "restic finds nothing more to free\n{said}");
    }
}

#[test]
fn restics_prune_keeps_the_same_blobs_and_we_are_content_with_it() {
    for history in histories(8) {
        let folder = tempfile::tempdir().unwrap();
        save(&history.memory, folder.path());
        restic().on(folder.path()).args(["prune", "--max-unused", "0"]).ok();
        let after = Arc::new(load(folder.path()));
        assert_sound(&after, &history.needed(), &String::new);
        prune(&context(), &history.repository, &exact()).unwrap();
        assert_eq!(listed(&open(after)), listed(&history.repository));
    }
}

/// Where no blob lies in two packs (which copy counts is a matter of order) and there are few packs (what is small has
/// changed from version to version) the numbers are the same.
#[test]
fn plans_count_as_restics_do() {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3, 4, 5, 6], false);
    history.back_up(&[5, 6, 7, 8, 9], false);
    history.back_up(&[30, 31, 32], false);
    history.forget(0);
    history.forget(1);
    let folder = tempfile::tempdir().unwrap();
    save(&history.memory, folder.path());
    let (blobs, said) = restic_counts(folder.path());
    let plan = plan(&context(), &history.repository, LockGuard::none(), &exact()).unwrap();
    let stats = plan.stats();
    let ours = [stats.repack.blobs, stats.repack_removes.blobs, stats.remove.blobs, stats.pruned().blobs];
    assert_eq!(ours, blobs, "{said}");
    assert!(ours.iter().all(|count| *count > 0), "{said}");
}

/// To repack, this removes, to delete, total prune: in blobs, as restic says in a dry run.
fn restic_counts(folder: &Path) -> ([u64; 4], String) {
    let said = restic().on(folder).args(["prune", "--max-unused", "0", "--dry-run"]).ok().stdout;
    let count = |label: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{said}"))
    };
    (["to repack:", "this removes:", "to delete:", "total prune:"].map(count), said)
}
