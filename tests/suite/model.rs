//! Random lives of a folder and its repository, against plain copies.
//!
//! Any sequence of changes, backups, lost indexes and removed snapshots; at its end every snapshot reads exactly as
//! the folder was when it was made, a check is content, and the newest backup is whole whatever was lost. A failure
//! prints the shortest sequence that fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use repo_core::backend::{Backend, MemoryBackend};
use repo_core::format::Snapshot as Record;
use repo_core::id::{FileId, FileKind, SnapshotId};
use repo_core::ops::check::{CheckOptions, ReadData, check};
use repo_core::ops::restore::{Existing, RestoreOptions};
use repo_core::repository::{Reader, Repository};
use repo_core::snapshots;
use tests::repo::{backup, contents, context, in_memory, open, restore};
use tests::tree::{Snapshot, assert_same, noise, set_mtime};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Write {
        name: usize,
        len: usize,
        seed: u64,
    },
    /// The middle of a file changes, its length does not.
    Overwrite {
        name: usize,
        seed: u64,
    },
    Append {
        name: usize,
        len: usize,
    },
    Folder {
        name: usize,
    },
    Link {
        name: usize,
        target: usize,
    },
    HardLink {
        name: usize,
        first: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
    Mode {
        name: usize,
        mode: u32,
    },
    Time {
        name: usize,
        seconds: i64,
    },
    Remove {
        name: usize,
    },
    Backup,
    /// The oldest snapshot goes.
    Forget,
    /// All index files are lost: the next backup must store everything again.
    LoseIndex,
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    prop_oneof![
        4 => (name.clone(), 0..300_000_usize, any::<u64>()).prop_map(|(name, len, seed)| Step::Write { name, len, seed }),
        1 => (name.clone(), 600_000..3_000_000_usize, any::<u64>()).prop_map(|(name, len, seed)| Step::Write { name, len, seed }),
        2 => (name.clone(), any::<u64>()).prop_map(|(name, seed)| Step::Overwrite { name, seed }),
        2 => (name.clone(), 1..5000_usize).prop_map(|(name, len)| Step::Append { name, len }),
        3 => name.clone().prop_map(|name| Step::Folder { name }),
        1 => (name.clone(), name.clone()).prop_map(|(name, target)| Step::Link { name, target }),
        2 => (name.clone(), name.clone()).prop_map(|(name, first)| Step::HardLink { name, first }),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => (name.clone(), prop_oneof![Just(0o600), Just(0o755), Just(0o4711), Just(0o1777)]).prop_map(|(name, mode)| Step::Mode { name, mode }),
        1 => (name.clone(), -2_000_000_000..5_000_000_000_i64).prop_map(|(name, seconds)| Step::Time { name, seconds }),
        2 => name.prop_map(|name| Step::Remove { name }),
        5 => Just(Step::Backup),
        1 => Just(Step::Forget),
        1 => Just(Step::LoseIndex),
    ]
}

/// The same few places again and again, so that steps meet each other.
const NAMES: [&str; 10] =
    ["a", "b", "c d", "ä", "folder", "folder/a", "folder/b", "folder/deep", "folder/deep/a", "other"];

struct Life {
    folder: tempfile::TempDir,
    memory: Arc<MemoryBackend>,
    /// What each snapshot must hold, oldest first.
    expected: Vec<(SnapshotId, Snapshot)>,
}

impl Life {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), memory: Arc::new(in_memory(2)), expected: Vec::new() }
    }

    fn path(&self, name: usize) -> PathBuf {
        self.folder.path().join(NAMES[name])
    }

    /// Steps that make no sense where they stand (a file below a file) do nothing.
    fn go(&mut self, step: &Step) {
        match step {
            Step::Write { name, len, seed } => drop(fs::write(self.path(*name), noise(*len, *seed))),
            Step::Overwrite { name, seed } => overwrite(&self.path(*name), *seed),
            Step::Append { name, len } => append(&self.path(*name), *len),
            Step::Folder { name } => drop(fs::create_dir(self.path(*name))),
            Step::Link { name, target } => {
                drop(std::os::unix::fs::symlink(NAMES[*target], self.path(*name)));
            }
            Step::HardLink { name, first } => {
                // Names of one symbolic link are restored as links of their own, here and by restic.
                if self.path(*first).symlink_metadata().is_ok_and(|data| data.is_file()) {
                    drop(fs::hard_link(self.path(*first), self.path(*name)));
                }
            }
            Step::Rename { from, to } => drop(fs::rename(self.path(*from), self.path(*to))),
            Step::Mode { name, mode } => set_mode(&self.path(*name), *mode),
            Step::Time { name, seconds } => {
                if self.path(*name).symlink_metadata().is_ok() {
                    set_mtime(&self.path(*name), *seconds, 7);
                }
            }
            Step::Remove { name } => {
                let path = self.path(*name);
                drop(fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)));
            }
            Step::Backup => self.backup(),
            Step::Forget => {
                if !self.expected.is_empty() {
                    let (id, _) = self.expected.remove(0);
                    snapshots::remove(&open(self.memory.clone()), id).unwrap();
                }
            }
            Step::LoseIndex => self.lose_index(),
        }
    }

    fn backup(&mut self) {
        if fs::read_dir(self.folder.path()).unwrap().next().is_none() {
            return; // an empty snapshot is refused
        }
        let report = backup(&open(self.memory.clone()), self.folder.path()).unwrap();
        self.expected.push((report.id.unwrap(), Snapshot::of(self.folder.path())));
    }

    /// Without an index nothing of the old snapshots can be read, so they go too; only their parents' records help.
    fn lose_index(&mut self) {
        for listed in self.memory.list(FileKind::Index).unwrap() {
            self.memory.remove(FileId { kind: FileKind::Index, id: listed.id }).unwrap();
        }
        let repository = open(self.memory.clone());
        let newest = self.expected.pop();
        for (id, _) in self.expected.drain(..) {
            snapshots::remove(&repository, id).unwrap();
        }
        // The newest one stays as the parent of the next backup, which then finds that its blobs are gone.
        self.backup();
        if let Some((id, _)) = newest {
            snapshots::remove(&repository, id).unwrap();
        }
    }

    /// Everything that must hold at any time.
    fn look(&self) {
        let repository = open(self.memory.clone());
        let mut stored = repository.list::<Record>().unwrap();
        let mut expected: Vec<SnapshotId> = self.expected.iter().map(|(id, _)| *id).collect();
        stored.sort();
        expected.sort();
        assert_eq!(stored, expected);
        let reader = Reader::new(&repository, repository.load_index(&context()).unwrap());
        for (id, expected) in &self.expected {
            let snapshot = repository.load::<Record>(*id).unwrap();
            assert_same(&contents(&reader, snapshot.tree), expected);
        }
        self.restore_all(&repository);
        let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
        let report = check(&context(), &repository, &options).unwrap();
        assert!(report.is_sound(), "{:#?}", report.findings);
    }
}

impl Life {
    /// Every snapshot into an empty folder, and all of them one after the other into the same one, each time with
    /// `delete`, so that what is there is compared, changed and removed.
    fn restore_all(&self, repository: &Repository) {
        let again = tempfile::tempdir().unwrap();
        let mut over = RestoreOptions { delete: true, verify: true, ..RestoreOptions::default() };
        for (number, (id, expected)) in self.expected.iter().enumerate() {
            let fresh = tempfile::tempdir().unwrap();
            restore(repository, *id, fresh.path(), &RestoreOptions::default());
            assert_same(&Snapshot::of(fresh.path()), expected);
            over.existing = if number % 2 == 0 { Existing::Replace } else { Existing::Update };
            restore(repository, *id, again.path(), &over);
            assert_same(&Snapshot::of(again.path()), expected);
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    let Ok(data) = path.symlink_metadata() else { return };
    if !data.is_symlink() {
        // Folders stay open to their owner, or nobody but root could go on.
        let mode = if data.is_dir() { mode | 0o700 } else { mode | 0o400 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn overwrite(path: &Path, seed: u64) {
    let Ok(mut content) = fs::read(path) else { return };
    let middle = content.len() / 2;
    let len = (content.len() - middle).min(1000);
    content[middle..middle + len].copy_from_slice(&noise(len, seed));
    drop(fs::write(path, content));
}

fn append(path: &Path, len: usize) {
    let Ok(mut content) = fs::read(path) else { return };
    content.extend(noise(len, 9));
    drop(fs::write(path, content));
}

fn check_life(steps: &[Step]) {
    let mut life = Life::new();
    for step in steps {
        life.go(step);
    }
    life.backup();
    life.look();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_reads_as_the_folder_was(steps in prop::collection::vec(step(), 5..40)) {
        check_life(&steps);
    }
}
