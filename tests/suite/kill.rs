//! The program is killed in the middle of a backup, on a real disk: restic finds nothing wrong, the next backup goes through.
//!
//! `crash` stops the engine at every single call; here the real process dies, with its threads and open files. It is
//! killed when a given number of packs is there, so each round dies at another place.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tests::fixtures::{PASSWORD, empty_repository};
use tests::larder::larder;
use tests::packs;
use tests::restic::restic;
use tests::tree::{Snapshot, assert_same, dir, file, noise};

/// The writer tells each pack that is stored, and is killed after so many of them.
#[test]
fn killed_writer_leaves_whatever_it_was_told_is_stored() {
    let place = tempfile::tempdir().unwrap();
    let mut known = 0;
    for lines in [1, 2, 3, 5, 8, 13, 21, 34] {
        let mut writer = Command::new(env!("CARGO_BIN_EXE_pack_writer"));
        let mut writer = writer.arg("write").arg(place.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(writer.stdout.take().unwrap()).lines();
        let told = out.by_ref().filter_map(|line| packs::number(&line.unwrap()));
        let stored: Vec<u32> = told.take(lines).collect();
        assert_eq!(stored.len(), lines, "the writer ended by itself");
        writer.kill().unwrap();
        let more = out.filter_map(|line| packs::number(&line.ok()?)).max();
        writer.wait().unwrap();
        known = known.max(more.unwrap_or(stored[lines - 1]));
        packs::everything_is_whole(place.path(), known);
    }
}

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
