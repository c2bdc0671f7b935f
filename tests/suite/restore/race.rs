//! Somebody swaps directories of the target for links to the outside, again and again, while a restore runs into it:
//! nothing outside is written, changed or removed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use repo_core::ops::restore::RestoreOptions;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tests::tree::{Snapshot, Tree, dir, file, noise};

use super::ground::{Ground, options};

/// Directories, each with a directory inside, and so many files in either.
const DIRS: usize = 150;
const FILES: usize = 50;

/// A folder that nobody but the swapping thread leads to, with a folder of the name that the target's have.
struct Outside {
    path: PathBuf,
    link: PathBuf,
}

impl Outside {
    fn new(beside: &Path) -> Self {
        let outside = Self { path: beside.join("outside"), link: beside.join("link") };
        fs::create_dir_all(outside.path.join("sub")).unwrap();
        fs::write(outside.path.join("0"), "witness").unwrap();
        std::os::unix::fs::symlink(&outside.path, &outside.link).unwrap();
        outside
    }

    /// All that lies there, and when names in it last came or went.
    fn state(&self) -> (Snapshot, [(i64, i64, u32); 2]) {
        let times = [self.path.clone(), self.path.join("sub")].map(|path| {
            let meta = fs::metadata(path).unwrap();
            (meta.ctime(), meta.ctime_nsec(), meta.mode())
        });
        (Snapshot::of(&self.path), times)
    }

    /// Swaps each directory below `target` for the link and back while `work` runs; says how often.
    fn swap_during(&self, target: &Path, work: impl FnOnce()) -> u64 {
        let (done, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let one = target.join(format!("{}", round % DIRS));
                    let swapped = if (round / DIRS).is_multiple_of(2) {
                        self.exchange(&one)
                    } else {
                        self.replace(&one)
                    };
                    swaps.fetch_add(u64::from(swapped), Ordering::Relaxed);
                }
            });
            work();
            done.store(true, Ordering::Relaxed);
        });
        swaps.into_inner()
    }

    /// At no moment is there nothing under that name: who looks it up finds the directory or the link.
    fn exchange(&self, one: &Path) -> bool {
        let exchange = || renameat_with(CWD, one, CWD, &self.link, RenameFlags::EXCHANGE).is_ok();
        exchange() && {
            std::thread::yield_now(); // time for others to fall for it
            exchange()
        }
    }

    /// The same in steps, for who makes what is missing.
    fn replace(&self, one: &Path) -> bool {
        let aside = one.with_file_name("aside");
        let swapped = fs::rename(one, &aside).is_ok() && std::os::unix::fs::symlink(&self.path, one).is_ok();
        let _ = fs::remove_file(one);
        let _ = fs::rename(&aside, one);
        swapped
    }
}

fn many_files() -> Tree {
    let files = || (0..FILES).map(|number| (format!("{number}"), file(noise(100, number as u64))));
    let one = || dir(files().chain([("sub".to_owned(), dir(files()))]));
    dir((0..DIRS).map(|number| (format!("{number}"), one())))
}

#[test]
fn restore_of_15_000_files_never_leaves_the_target_while_directories_become_links() {
    let ground = Ground::new(&many_files());
    let outside = Outside::new(ground.folder.path());
    fs::create_dir(ground.target()).unwrap();
    let before = outside.state();
    let mut restored = 0;
    let swaps = outside.swap_during(&ground.target(), || {
        // What is swapped away may be told as a problem; that is not the question here.
        restored = ground.restore(&RestoreOptions::default()).summary.entries_restored;
        ground.restore(&options(|options| options.delete = true));
    });
    assert_eq!(outside.state(), before, "after {swaps} swaps");
    assert!(swaps > 1000 && restored > 5000, "{swaps} swaps while {restored} entries came back are no race");
}

/// The race above is one that can be lost: who trusts a path does write outside.
#[test]
fn who_writes_by_path_is_led_outside_by_the_same_swaps() {
    let folder = tempfile::tempdir().unwrap();
    let (outside, target) = (Outside::new(folder.path()), folder.path().join("target"));
    (0..DIRS).for_each(|number| fs::create_dir_all(target.join(format!("{number}/sub"))).unwrap());
    let mut lost = false;
    outside.swap_during(&target, || {
        let escaped = |number: usize| {
            let _ = fs::write(target.join(format!("{}/sub/{number}", number % DIRS)), "");
            outside.path.join(format!("sub/{number}")).exists()
        };
        lost = (0..1_000_000).any(escaped);
    });
    assert!(lost, "a million writes, and none was led outside");
}
