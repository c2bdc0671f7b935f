//! A backup is stopped after operation N, for every N: the real restic finds nothing wrong with what is left. What we say of
//! it, after every fault and for every operation, is in `sweep/`.

use std::path::Path;
use std::sync::Arc;

use repo_core::backend::{Fault, FaultBackend, Rule};
use tests::repo::{backup, in_memory, open, save};
use tests::restic::restic;
use tests::tree::{dir, file, noise, symlink};

/// A small tree with a file of several chunks.
fn source(folder: &Path) {
    dir([
        ("large", file(noise(3 << 20, 5))),
        ("small", file("small")),
        ("sub", dir([("link", symlink("../small")), ("other", file(noise(2000, 6)))])),
    ])
    .build(folder);
}

/// The real restic finds nothing wrong with what a stopped backup leaves; locks are taken away first, as a user would.
#[test]
fn restic_accepts_what_a_stopped_backup_leaves() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path());
    let start = in_memory(2);
    let clean = Arc::new(FaultBackend::new(Arc::new(start.copy()), []));
    let repository = open(clean.clone());
    let opening = clean.calls();
    backup(&repository, folder.path()).unwrap();
    for number in opening + 1..=clean.calls() {
        let memory = Arc::new(start.copy());
        let faulty = Arc::new(FaultBackend::new(memory.clone(), [Rule::nth(number, Fault::FreezeAfter)]));
        let _ = backup(&open(faulty), folder.path());
        let left = tempfile::tempdir().unwrap();
        save(&memory, left.path());
        let restic = restic();
        restic.on(left.path()).args(["unlock", "--remove-all"]).ok();
        restic.on(left.path()).args(["check", "--read-data"]).ok();
    }
}
