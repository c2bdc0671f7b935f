//! Random histories: backups that know nothing of each other, forgotten snapshots, packs of older programs, leftovers of
//! stopped ones. What prune leaves is compared with what a naive mark and sweep keeps: the blobs of the snapshots that
//! are left, which are known without reading the repository.

use std::time::Duration;

use proptest::prelude::*;
use repo_core::ops::prune::{Fate, MaxUnused, PruneMode, PruneOptions, plan, prune};
use repo_core::pack::PackSize;
use repo_core::repository::{LockGuard, WriterOptions};
use tests::repo::context;
use tests::trouble::runs;

use super::{History, assert_sound, listed, packs};

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Backup { files: Vec<u8>, blind: bool },
    Forget { number: usize },
    OddPack { picks: Vec<u8>, compressed: bool, listed: bool },
    StaleEntry { number: u8 },
    ListAgain,
    Prune { options: Choice },
}

/// How to prune, in a form that can be printed.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "restic's switches, independent of each other")]
pub(super) struct Choice {
    max_unused: MaxUnused,
    repack_max: Option<u64>,
    cacheable_only: bool,
    uncompressed: bool,
    small: bool,
    no_space: bool,
    /// Beside others, so many hours after what was before.
    beside: Option<u64>,
}

impl Choice {
    const EXACT: Self = Self {
        max_unused: MaxUnused::Bytes(0),
        repack_max: None,
        cacheable_only: false,
        uncompressed: false,
        small: false,
        no_space: false,
        beside: None,
    };

    fn options(&self, version: u32) -> PruneOptions {
        PruneOptions {
            max_unused: self.max_unused,
            repack_bytes_max: self.repack_max,
            repack_cacheable_only: self.cacheable_only,
            repack_uncompressed: self.uncompressed && version > 1,
            repack_small: self.small,
            recover_no_free_space: self.no_space && self.beside.is_none(),
            mode: if self.beside.is_some() { PruneMode::BESIDE } else { PruneMode::Instant },
            writer: WriterOptions { pack_size: PackSize::from_mib(4).unwrap(), ..WriterOptions::default() },
            ..PruneOptions::default()
        }
    }
}

fn choice() -> impl Strategy<Value = Choice> {
    let max_unused = prop_oneof![
        3 => Just(MaxUnused::Bytes(0)),
        1 => (0..20_000_u64).prop_map(MaxUnused::Bytes),
        1 => (0..100_u32).prop_map(|percent| MaxUnused::Percent(percent.into())),
        1 => Just(MaxUnused::Unlimited),
    ];
    let repack_max = prop_oneof![3 => Just(None), 1 => (0..30_000_u64).prop_map(Some)];
    let flags = (prop::bool::weighted(0.1), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1));
    let beside = prop_oneof![1 => Just(None), 2 => (0..40_u64).prop_map(Some)];
    (max_unused, repack_max, flags, beside).prop_map(
        |(max_unused, repack_max, (cacheable_only, uncompressed, small, no_space), beside)| Choice {
            max_unused,
            repack_max,
            cacheable_only,
            uncompressed,
            small,
            no_space,
            beside,
        },
    )
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let picks = |max| prop::collection::vec(0..60_u8, 0..max);
    prop_oneof![
        6 => (picks(25), prop::bool::weighted(0.3)).prop_map(|(files, blind)| Step::Backup { files, blind }),
        4 => (0..20_usize).prop_map(|number| Step::Forget { number }),
        2 => (picks(12), any::<bool>(), prop::bool::weighted(0.7))
            .prop_map(|(picks, compressed, listed)| Step::OddPack { picks, compressed, listed }),
        1 => (1..255_u8).prop_map(|number| Step::StaleEntry { number }),
        1 => Just(Step::ListAgain),
        2 => choice().prop_map(|options| Step::Prune { options }),
    ]
}

impl History {
    pub(super) fn go(&mut self, step: &Step) {
        match step {
            Step::Backup { files, blind } => self.back_up(files, *blind),
            Step::Forget { number } => self.forget(*number),
            Step::OddPack { picks, compressed, listed } => self.odd_pack(picks, *compressed, *listed),
            Step::StaleEntry { number } => self.stale_entry(*number),
            Step::ListAgain => self.list_again(),
            Step::Prune { options } => {
                self.clock.wind(Duration::from_hours(options.beside.unwrap_or(0)));
                let options = options.options(self.repository.config().version);
                let report = prune(&context(), &self.repository, &options).unwrap();
                assert!(report.not_removed.is_empty());
                assert_sound(&self.memory, &self.needed(), &|| format!("{options:?}"));
            }
        }
    }
}

/// Beside others it takes two runs, with the time of grace between them.
fn check_beside(version: u32, steps: &[Step]) {
    let mut history = History::new(version);
    for step in steps {
        history.go(step);
    }
    let options = Choice { beside: Some(0), ..Choice::EXACT }.options(version);
    let needed = history.needed();
    let report = prune(&context(), &history.repository, &options).unwrap();
    assert!(report.postponed.is_none(), "{report:?}");
    assert_sound(&history.memory, &needed, &|| format!("{steps:#?}"));
    assert_eq!(listed(&history.repository), needed.iter().copied().collect::<Vec<_>>());
    let marked = packs(&history.memory).len();
    history.clock.wind(Duration::from_hours(23));
    prune(&context(), &history.repository, &options).unwrap();
    assert_sound(&history.memory, &needed, &|| format!("{steps:#?}"));
    assert_eq!(listed(&history.repository), needed.iter().copied().collect::<Vec<_>>());
    let index = history.repository.load_index(&context()).unwrap();
    let left = packs(&history.memory).len();
    // At most the new packs were small enough to be joined once more, and wait.
    assert!(
        left == index.packs().len() || left > index.packs().len() && marked >= 10,
        "{left} {marked} {steps:#?}"
    );
}

fn check_history(version: u32, steps: &[Step]) {
    let mut history = History::new(version);
    for step in steps {
        history.go(step);
    }
    let options = Choice::EXACT.options(version);
    let before = packs(&history.memory).len() as u64;
    let planned = plan(&context(), &history.repository, LockGuard::none(), &options).unwrap();
    let (stats, keeps) = (*planned.stats(), planned.packs(Fate::Keep).len());
    assert_eq!(packs(&history.memory).len() as u64, before, "a plan changes nothing");
    assert_eq!(
        stats.packs_keep
            + stats.packs_repack
            + stats.packs_remove
            + stats.packs_unindexed
            + stats.packs_expired,
        before,
        "every pack is counted: {stats:?}"
    );
    drop(planned);

    let report = prune(&context(), &history.repository, &options).unwrap();
    assert_eq!(report.stats, stats, "what is done is what was planned");
    let needed = history.needed();
    assert_sound(&history.memory, &needed, &|| format!("{steps:#?}"));
    // Each once: no blob that a naive sweep would drop, no second copy, and nothing less.
    assert_eq!(listed(&history.repository), needed.iter().copied().collect::<Vec<_>>());
    assert_eq!(stats.remaining().blobs, needed.len() as u64);
    assert_eq!(packs(&history.memory).len() as u64, keeps as u64 + report.packs_written);
    let again = plan(&context(), &history.repository, LockGuard::none(), &options).unwrap();
    // Nothing is left to free; at most the new packs are the ones that make it worth while to join small ones.
    assert_eq!(again.stats().pruned().blobs, 0, "{:?}", again.stats());
    assert!(again.is_empty() || again.stats().packs_repack >= 10, "{:?}", again.stats());
}

/// How many histories: the fixed sample, or as many as are asked for.
fn cases() -> u32 {
    u32::try_from(runs(700)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn prune_leaves_what_a_naive_sweep_keeps(
        version in prop_oneof![1 => Just(1), 4 => Just(2)],
        steps in prop::collection::vec(step(), 1..14),
    ) {
        check_history(version, &steps);
        check_beside(version, &steps);
    }
}
