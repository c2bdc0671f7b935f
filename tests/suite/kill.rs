//! The program is killed in the middle of a backup, on a real disk: restic finds nothing wrong, the next backup goes through.
//!
//! `crash` stops the engine at every single call; here the real process dies, with its threads and open files. It is
//! killed when a given number of packs is there, so each round dies at another place.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use tests::fixtures::{PASSWORD, empty_repository};
use tests::larder::larder;
use tests::restic::restic;
use tests::tree::{Snapshot, assert_same, dir, file, noise};

#[test]
fn killed_backup_leaves_a_sound_repository_and_the_next_one_goes_through() {
    let (larder, restic) = (larder(), restic());
    let folder = tempfile::tempdir().unwrap();
    let (source, repository) = (folder.path().join("source"), folder.path().join("repository"));
    dir((0..12).map(|number| (format!("file-{number}"), file(noise(3 << 20, number))))).build(&source);
    empty_repository(2, &repository);
    let mut killed = 0;
    for packs in 0..8 {
        let mut command = larder.command();
        command.env("RESTIC_REPOSITORY", &repository).env("RESTIC_PASSWORD", PASSWORD).current_dir(&source);
        command.args(["backup", "--no-cache", "--pack-size", "4", "--quiet", "--force", "."]);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        killed += usize::from(kill_at(&mut running, &repository, packs));
        // restic sees that the process of the lock is gone, and takes it away.
        restic.on(&repository).arg("unlock").ok();
        restic.on(&repository).arg("check").ok();
    }
    assert!(killed >= 4, "only {killed} of 8 backups were killed, the others were too quick");

    larder.on(&repository).args(["backup", "."]).within(&source).ok();
    restic.on(&repository).args(["check", "--read-data"]).ok();
    let target = folder.path().join("target");
    restic.on(&repository).args(["restore", "latest", "--target"]).arg(&target).ok();
    assert_same(&Snapshot::of(&target), &Snapshot::of(&source));
}

/// Kills the program as soon as so many more packs are stored; says whether it was still at work.
fn kill_at(running: &mut Child, repository: &Path, packs: usize) -> bool {
    let wanted = files_below(&repository.join("data")).len() + packs;
    while running.try_wait().unwrap().is_none() {
        let locked = !files_below(&repository.join("locks")).is_empty();
        if locked && files_below(&repository.join("data")).len() >= wanted {
            running.kill().unwrap();
            running.wait().unwrap();
            return true;
        }
        std::thread::yield_now();
    }
    false
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
