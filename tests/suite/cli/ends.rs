//! How a run ends: exit codes, mistakes on the command line, passwords, locks, signals.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use repo_core::repository::{LockKind, LockOptions};
use rustix::process::{Pid, Signal, kill_process};
use tests::fixtures::{Fixture, PASSWORD, empty_repository, files_in};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::repo::{context, on_disk, open};

use super::check;

#[test]
fn exit_codes_are_restics() {
    let (larder, fixture) = (larder(), Fixture::unpack("damaged"));
    let base = fixture.case("base");
    let code = |repository: &Path, line: &str| larder.on(repository).args(line.split(' ')).run().code;
    for (line, expected) in [
        ("snapshots", 0),
        ("check", 0),
        ("snapshots --host nobody", 0),
        ("snapshots 00ff", 1),
        ("ls 00ff", 1),
        ("bogus", 1),
        ("snapshots --bogus", 1),
        ("snapshots -z", 1),
        ("snapshots --repo", 1),
        ("snapshots --latest x", 1),
        ("snapshots --js", 1),
        ("-q -v snapshots", 1),
        ("snapshots --retry-lock 5", 1),
        ("snapshots --pack-size 3", 1),
        ("snapshots -o local.bogus=1", 1),
        ("snapshots -o local.connections=0", 1),
        ("snapshots -o s3.bogus=1", 0),
        ("snapshots --json=false", 0),
        ("check --read-data --read-data-subset 1/2", 1),
        ("list", 1),
        ("list bogus", 1),
        ("cat", 1),
        ("key remove", 1),
        ("help bogus", 0),
        ("key bogus", 0),
        ("version", 0),
        ("unlock stray words", 0),
    ] {
        assert_eq!(code(&base, line), expected, "{line}");
    }
    assert_eq!(code(Path::new("/nonexistent"), "snapshots"), 10);
    assert_eq!(code(Path::new("/nonexistent"), "version"), 0);
    assert_eq!(code(&fixture.case("stale-lock"), "check"), 11);
    assert_eq!(code(&fixture.case("stale-lock"), "check --no-lock"), 0);
    assert_eq!(code(&fixture.case("missing-data-pack"), "check"), 1);
}

#[test]
fn strict_mode_keeps_even_oddities() {
    let (larder, fixture) = (larder(), Fixture::unpack("damaged"));
    let call = larder.on(&fixture.case("base")).env("LARDER_COMPATIBILITY", "strict");
    let ran = call.args(["snapshots", "00ff"]).run();
    assert_eq!((ran.code, ran.stderr.lines().count()), (0, 1), "{ran}");
}

#[test]
fn mistakes_are_told_in_two_lines_or_in_json() {
    let larder = larder();
    let nowhere = Path::new("/nonexistent");
    for (name, line) in [
        ("mistake_command", "snap"),
        ("mistake_flag", "backup --exlude x"),
        ("mistake_letter", "backup -z"),
        ("mistake_value", "snapshots --latest x"),
        ("mistake_choice", "ls --sort foo"),
        ("mistake_duration", "snapshots --retry-lock 5"),
        ("mistake_json_before", "--json snapshots --bogus"),
        ("mistake_json_after", "snapshots --bogus --json"),
        ("no_repository", "snapshots"),
        ("no_repository_json", "snapshots --json"),
    ] {
        check(name, &larder.on(nowhere).args(line.split(' ')).run(), &[]);
    }
    let mut command = larder.command();
    let output = command.args(["snapshots", "--repo", ""]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("please specify the repository's location"));
}

#[test]
fn our_variables_go_before_restics_and_empty_ones_count_as_unset() {
    let (larder, folder) = (larder(), tempfile::tempdir().unwrap());
    let repository = folder.path().join("repository");
    empty_repository(2, &repository);
    let code = |variables: &[(&str, &str)]| {
        let mut command = larder.command();
        command.envs(variables.iter().copied()).arg("snapshots").output().unwrap().status.code().unwrap()
    };
    let here = repository.to_str().unwrap();
    let password = ("RESTIC_PASSWORD", PASSWORD);
    assert_eq!(code(&[("RESTIC_REPOSITORY", here), password]), 0);
    assert_eq!(code(&[("LARDER_REPOSITORY", here), ("RESTIC_REPOSITORY", "/nonexistent"), password]), 0);
    assert_eq!(code(&[("LARDER_REPOSITORY", ""), ("RESTIC_REPOSITORY", here), password]), 0);
    assert_eq!(
        code(&[("RESTIC_REPOSITORY", here), ("LARDER_PASSWORD", PASSWORD), ("RESTIC_PASSWORD", "x")]),
        0
    );
    // As Backrest sets them.
    let empty = [("RESTIC_PASSWORD_FILE", ""), ("RESTIC_PASSWORD_COMMAND", "")];
    assert_eq!(code(&[("RESTIC_REPOSITORY", here), password, empty[0], empty[1]]), 0);
    assert_eq!(code(&[("RESTIC_REPOSITORY", here), password, ("RESTIC_COMPRESSION", "bogus")]), 1);
    assert_eq!(code(&[("RESTIC_REPOSITORY", here), password, ("RESTIC_FEATURES", "bogus")]), 1);
}

#[test]
fn passwords_come_from_commands_files_variables_and_standard_input() {
    let (larder, folder) = (larder(), tempfile::tempdir().unwrap());
    let repository = folder.path().join("repository");
    empty_repository(2, &repository);
    std::fs::write(folder.path().join("file"), format!("\u{feff}{PASSWORD}\n")).unwrap();
    std::fs::write(folder.path().join("wrong"), "wrong").unwrap();
    let code = |flags: &str, variable: &str, stdin: &str| {
        let mut command = larder.command();
        command.env("RESTIC_REPOSITORY", &repository).env("RESTIC_PASSWORD", variable).current_dir(&folder);
        command.args(["list", "keys"]).args(flags.split('|').filter(|flag| !flag.is_empty()));
        let mut running =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let _ = running.stdin.take().unwrap().write_all(stdin.as_bytes());
        running.wait().unwrap().code().unwrap()
    };
    assert_eq!(code("", PASSWORD, ""), 0);
    assert_eq!(code("", "wrong", ""), 12);
    assert_eq!(code("--password-file=file", "wrong", ""), 0);
    assert_eq!(code("--password-file=wrong", PASSWORD, ""), 12);
    assert_eq!(code("--password-file=missing", PASSWORD, ""), 1);
    assert_eq!(code(&format!("--password-command=echo '{PASSWORD}'"), "wrong", ""), 0);
    assert_eq!(code("--password-command=false", PASSWORD, ""), 1);
    assert_eq!(code("--password-command=echo x|--password-file=file", "", ""), 1);
    assert_eq!(code("", "", &format!("{PASSWORD}\n")), 0);
    assert_eq!(code("", "", "wrong\n"), 12);
    assert_eq!(code("", "", ""), 1, "an empty password needs its flag");
    assert_eq!(code("--insecure-no-password", "", ""), 12);
    assert_eq!(code("--insecure-no-password", PASSWORD, ""), 1);
}

/// Wrappers read these four lines.
#[test]
fn locks_of_others_are_told_as_restic_tells_them() {
    let fixture = Fixture::unpack("damaged");
    let ran = larder().on(&fixture.case("stale-lock")).arg("check").run();
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines[0],
        "unable to create lock in backend: repository is already locked by PID 1 on other-host by x (UID 0, GID 0)"
    );
    assert!(lines[1].starts_with("lock was created at 2024-01-01 00:00:00 ("), "{ran}");
    assert!(lines[2].starts_with("storage ID "), "{ran}");
    assert_eq!(lines[3], "the `unlock` command can be used to remove stale locks");
    assert!(ran.stdout.contains("repo already locked, waiting up to 0s for the lock\n"), "{ran}");
}

/// Nothing that happens to a repository meanwhile can spoil a list of snapshots.
#[test]
fn snapshots_are_listed_while_somebody_works_alone_and_files_are_not() {
    let fixture = Fixture::unpack("damaged");
    let repository = open(on_disk(&fixture.case("base")));
    let alone = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap();
    let code = |line: &str| larder().on(&fixture.case("base")).args(line.split(' ')).run().code;
    assert_eq!(code("snapshots"), 0);
    assert_eq!(code("ls latest"), 11);
    alone.release().unwrap();
    assert_eq!(code("ls latest"), 0);
}

#[test]
fn signals_stop_a_backup_cleanly_even_while_it_waits_for_its_input() {
    for signal in [Signal::INT, Signal::TERM] {
        let (larder, folder) = (larder(), tempfile::tempdir().unwrap());
        let repository = folder.path().join("repository");
        empty_repository(2, &repository);
        let mut running = waiting_backup(&larder, &repository);
        // More than a pipe holds: once all of it is written, most of it was read, and more is waited for.
        running.stdin.as_mut().unwrap().write_all(&vec![7; 1 << 20]).unwrap();
        kill_process(Pid::from_child(&running), signal).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(130), "{signal:?}");
        let mut said = String::new();
        running.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("cleaning up"), "{said}");
        assert!(files_in(&repository.join("locks")).is_empty(), "the lock is gone");
        assert!(files_in(&repository.join("snapshots")).is_empty(), "no snapshot was made");
    }
}

#[test]
fn reader_that_leaves_early_ends_the_run_without_a_trace() {
    let (larder, fixture) = (larder(), Fixture::unpack("v2-r019"));
    let mut command = larder.command();
    command.env("RESTIC_REPOSITORY", fixture.repo()).env("RESTIC_PASSWORD", PASSWORD);
    command.args(["ls", "latest~4", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    drop(running.stdout.take());
    let ran = running.wait_with_output().unwrap();
    assert_eq!((ran.status.code(), &*String::from_utf8_lossy(&ran.stderr)), (Some(141), ""));
    assert!(files_in(&fixture.repo().join("locks")).is_empty());
}

fn waiting_backup(larder: &Program, repository: &Path) -> Child {
    let mut command = larder.command();
    command.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", PASSWORD);
    command.args(["backup", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn refused_output_is_an_error_and_no_panic() {
    let fixture = Fixture::unpack("v2-r019");
    let target = Path::new("/nonexistent/folder/file");
    let ran: Ran =
        larder().on(&fixture.repo()).args(["dump", "latest", "/dir", "--target"]).arg(target).run();
    assert_eq!((ran.code, ran.stderr.lines().count()), (1, 2), "{ran}");
}
