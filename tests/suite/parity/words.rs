//! The lines of text that two popular wrappers parse.

use std::path::Path;

use tests::fixtures::{Fixture, empty_repository};
use tests::larder::larder;
use tests::program::Program;
use tests::restic::restic;

/// A text with its numbers and names taken out: `processed N files, N KiB in N:N`.
fn pattern(line: &str) -> String {
    let mut out = String::new();
    for letter in line.chars() {
        if !letter.is_ascii_digit() {
            out.push(letter);
        } else if !out.ends_with('N') {
            out.push('N');
        }
    }
    out.replace("N.N", "N")
}

fn backup(program: &Program, folder: &Path) -> Vec<String> {
    let repository = folder.join(program.name());
    empty_repository(2, &repository);
    std::fs::write(folder.join("note"), vec![b'x'; 3000]).unwrap();
    let ran = program.on(&repository).within(folder).args(["backup", "note"]).ok();
    ran.stdout.lines().map(str::to_owned).collect()
}

/// `Files: …`, `Dirs: …`, `Added to the repository: …`, `processed …`, `snapshot … saved`.
#[test]
fn the_end_of_a_backup_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let [theirs, ours] = [restic(), larder()].map(|program| backup(&program, folder.path()));
    for start in ["Files:", "Dirs:", "Added to the repository:", "processed"] {
        let find = |lines: &[String]| {
            let line = lines.iter().find(|line| line.starts_with(start)).cloned();
            pattern(&line.unwrap_or_else(|| panic!("no {start} in {lines:#?}")))
        };
        assert_eq!(find(&ours), find(&theirs));
    }
    let saved = ours.iter().find(|line| line.starts_with("snapshot ")).unwrap();
    let id = saved.strip_prefix("snapshot ").and_then(|rest| rest.strip_suffix(" saved")).unwrap();
    assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{saved}");
}

#[test]
fn a_locked_repository_is_told_in_the_same_lines() {
    let fixture = Fixture::unpack("damaged");
    let said = |program: Program| {
        let ran = program.on(&fixture.case("stale-lock")).arg("check").run();
        let lines = ran.stderr.lines().filter(|line| !line.is_empty());
        let lock: Vec<String> =
            lines.filter(|line| line.contains("lock") || line.contains("storage ID")).map(pattern).collect();
        // How long ago is told in units of its own.
        (
            ran.code,
            lock.into_iter().map(|line| line.split('(').next().unwrap().to_owned()).collect::<Vec<_>>(),
        )
    };
    let (theirs, ours) = (said(restic()), said(larder()));
    assert_eq!(ours.0, 11);
    for line in &theirs.1 {
        assert!(ours.1.contains(line), "{line}\n{:#?}", ours.1);
    }
    let waiting = larder().on(&fixture.case("stale-lock")).arg("check").run();
    assert!(waiting.stdout.contains("repo already locked, waiting up to 0s for the lock"), "{waiting}");
}

/// One wrapper demands at least 0.19.1 in brackets of its own, another any three numbers.
#[test]
fn the_version_line_holds_what_wrappers_look_for() {
    let output = larder().command().arg("version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers = text.split("restic ").nth(1).and_then(|rest| rest.split([' ', '\n']).next()).unwrap();
    let numbers: Vec<u32> = numbers.split('.').map(|number| number.parse().unwrap()).collect();
    assert!(numbers >= vec![0, 19, 1], "{text}");
}

#[test]
fn json_lines_begin_as_wrappers_expect_it() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    empty_repository(2, &repository);
    std::fs::write(folder.path().join("note"), "milk").unwrap();
    let run = |words: &[&str]| larder().on(&repository).within(folder.path()).args(words).run();
    for line in run(&["backup", "--json", "note"]).stdout.lines() {
        assert!(line.starts_with(r#"{"message_type":""#) && line.ends_with('}'), "{line}");
    }
    let last = run(&["backup", "--json", "note"]).stdout.lines().last().unwrap().to_owned();
    assert!(last.starts_with(r#"{"message_type":"summary","#), "{last}");
    let first = run(&["ls", "--json", "latest", "/"]).stdout.lines().next().unwrap().to_owned();
    assert!(first.contains(r#""struct_type":"snapshot""#), "{first}");
    let again = run(&["init", "--json"]);
    let message = again.stderr.lines().last().unwrap();
    assert!(
        message.contains("config file already exists") || message.contains("already initialized"),
        "{again}"
    );
    let config = run(&["cat", "config"]);
    assert!(config.json()["id"].is_string(), "{config}");
    let larder = larder();
    let call = larder.on(&repository).env("RESTIC_PASSWORD_FILE", "").env("RESTIC_PASSWORD_COMMAND", "");
    call.args(["snapshots", "-o", "sftp.args=-oBatchMode=yes"]).ok();
}
