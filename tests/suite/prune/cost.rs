//! What a prune asks of the storage.

use std::sync::Arc;

use repo_core::backend::{Counters, Operation, RecordBackend};
use repo_core::id::FileKind;
use repo_core::ops::prune::{MaxUnused, PruneCost, PruneOptions, plan, prune};
use repo_core::repository::LockGuard;
use tests::repo::{context, open};

use super::History;

/// What a prune costs and what the plan said it would.
fn cost(history: &History) -> (Counters, PruneCost) {
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    let planned = *plan(&context(), &history.repository, LockGuard::none(), &options).unwrap().cost();
    let counted = Arc::new(RecordBackend::new(history.memory.clone()));
    let repository = open(counted.clone());
    let before = counted.counters();
    prune(&context(), &repository, &options).unwrap();
    (&counted.counters() - &before, planned)
}

fn requests(counters: &Counters, operation: Operation, kind: FileKind) -> u64 {
    counters.of(operation, kind).requests
}

#[test]
fn nothing_to_prune_costs_one_look_at_everything_and_no_change() {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3], false);
    history.back_up(&[3, 4, 5], false);
    let (cost, planned) = cost(&history);
    assert_eq!(cost.total(Operation::Write).requests, 1, "the lock\n{cost}");
    assert_eq!(cost.total(Operation::Remove).requests, 1, "the lock\n{cost}");
    assert_eq!(requests(&cost, Operation::Read, FileKind::Index), 2, "{cost}");
    assert!(requests(&cost, Operation::Read, FileKind::Pack) <= 6, "each tree once\n{cost}");
    assert_eq!(planned, PruneCost::default());
}

#[test]
fn unused_packs_go_for_one_new_index_file_and_no_download() {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3], false);
    history.back_up(&[4, 5, 6], false);
    history.forget(0);
    let (cost, planned) = cost(&history);
    assert_eq!(requests(&cost, Operation::Write, FileKind::Index), 1, "{cost}");
    assert_eq!(requests(&cost, Operation::Write, FileKind::Pack), 0, "{cost}");
    assert_eq!(requests(&cost, Operation::Remove, FileKind::Pack), 2, "{cost}");
    assert!(requests(&cost, Operation::Read, FileKind::Pack) <= 3, "each tree once\n{cost}");
    assert_eq!((planned.read_bytes, planned.written_bytes), (0, 0));
    assert_eq!((planned.write_requests, planned.remove_requests), (1, 4), "{planned:?}");
}

/// What lies beside something unused moves in one read per pack, into one pack per kind.
#[test]
fn repacking_reads_each_pack_once() {
    let mut history = History::new(2);
    history.back_up(&[1, 2, 3, 4, 5, 6], false);
    history.back_up(&[2, 3, 4, 5], false);
    history.forget(0);
    let before = history.repository.load_index(&context()).unwrap();
    let (cost, planned) = cost(&history);
    assert_eq!(before.packs().len(), 3, "the second backup has new trees alone");
    assert_eq!(
        requests(&cost, Operation::Write, FileKind::Pack),
        planned.write_requests - 2,
        "{cost}\n{planned:?}"
    );
    assert!(requests(&cost, Operation::Read, FileKind::Pack) <= 3 + 2, "trees, then packs\n{cost}");
    assert!(planned.read_bytes > 0 && planned.written_bytes > 0, "{planned:?}");
    assert!(
        planned.read_bytes < planned.written_bytes + 8000,
        "only what is wanted and small gaps: {planned:?}"
    );
}
