//! Programs that people drive restic with, from Python's package index and unchanged, with larder in restic's place.
//!
//! `runrestic` starts whatever is called `restic` and parses its text into metrics; `resticpy` parses its JSON.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::fixtures::PASSWORD;
use tests::larder::larder;
use tests::program::Program;
use tests::restic::{self, restic};
use tests::servers::process::find;
use tests::tree::{dir, file, noise};

/// A folder in which `runrestic` finds a program as `restic`, and its configuration.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(program: &Program) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        fs::create_dir(at("bin")).unwrap();
        symlink(program.path(), at("bin/restic")).unwrap();
        let source = dir([("a", file("some text")), ("b", file(noise(100_000, 1))), ("c.tmp", file("no"))]);
        source.build(Path::new(&at("source")));
        let config = format!(
            "repositories = [\"{}\"]\n\
             [execution]\nexit_on_error = false\nparallel = false\nretry_count = 0\n\
             [environment]\nRESTIC_PASSWORD = \"{PASSWORD}\"\n\
             [backup]\nsources = [\"{}\"]\nexclude_patterns = [\"*.tmp\"]\n\
             [prune]\nkeep-last = 1\n\
             [check]\nchecks = [\"read-data\"]\n\
             [metrics.prometheus]\npath = \"{}\"\n",
            at("repository"),
            at("source"),
            at("metrics"),
        );
        fs::write(at("config.toml"), config).unwrap();
        Self { folder }
    }

    /// Runs an action and gives the metrics that the wrapper made of what was said.
    fn run(&self, action: &str) -> BTreeMap<String, f64> {
        let at = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(find("runrestic"));
        let path = std::env::join_paths([at("bin"), "/usr/bin".into(), "/bin".into()]).unwrap();
        command.env_clear().env("PATH", path).env("HOME", self.folder.path()).env("LC_ALL", "C.UTF-8");
        let output = command.arg("-c").arg(at("config.toml")).arg(action).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{action}: {said}");
        let metrics = fs::read_to_string(at("metrics")).unwrap_or_default();
        let lines = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let number = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            (name.split('{').next().unwrap().to_owned(), value.parse().unwrap_or(f64::NAN))
        };
        lines.map(number).collect()
    }
}

#[test]
fn runrestic_drives_a_repository_s_life_and_reads_the_same_numbers() {
    if restic::version() < (0, 19, 0) {
        return; // older ones say other things
    }
    let places = [restic(), larder()].map(|program| Place::new(&program));
    for action in ["init", "backup", "backup", "prune", "check", "stats", "unlock"] {
        let [theirs, ours] = [0, 1].map(|at| places[at].run(action));
        let names = |metrics: &BTreeMap<String, f64>| metrics.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs), "{action}");
        assert!(ours["restic_total_errors"].abs() < 0.5, "{action}: {ours:#?}");
        let steady = |name: &&String| {
            let ends = [
                "_errors",
                "_rc",
                "files_new",
                "files_changed",
                "files_unmodified",
                "processed_files",
                "processed_bytes",
                "_snapshots",
                "read_data",
                "file_count",
                "size_bytes",
                "removed",
                "kept",
            ];
            ends.iter().any(|end| name.ends_with(end))
        };
        for name in ours.keys().filter(steady) {
            let (ours, theirs) = (ours[name], theirs[name]);
            assert!((ours - theirs).abs() < 0.001, "{action}: {name} is {ours} instead of {theirs}");
        }
        assert!(
            !["backup", "prune", "check", "stats"].contains(&action) || ours.len() > 5,
            "{action}: {ours:#?}"
        );
    }
}

#[test]
fn resticpy_reads_the_same_answers() {
    let answers = [restic(), larder()].map(|program| {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/wrappers/drive.py");
        // The Python beside the library.
        let mut command = Command::new(find("runrestic").with_file_name("python"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder.path()).env("LC_ALL", "C.UTF-8");
        let output = command.arg(script).arg(program.path()).arg(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", program.name());
        let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["init"].as_str().unwrap().len(), 64, "{answer}");
        for varies in ["init", "version"] {
            answer[varies] = Value::Null;
        }
        answer
    });
    let [theirs, ours] = answers;
    if restic::version() >= (0, 19, 0) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours["left"], serde_json::json!([["second"]]), "{ours}");
    assert_eq!((&ours["check"], &ours["missing"]), (&true.into(), &true.into()), "{ours}");
    assert_eq!(ours["restored"], serde_json::json!(["milk and eggs"]), "{ours}");
}
