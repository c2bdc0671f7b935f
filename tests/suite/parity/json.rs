//! Keys and types of everything that both programs print as JSON. Wrappers parse it, so nothing may be missing or be
//! something else; what larder says beyond that is listed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::fixtures::{Damaged, Fixture, empty_repository};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::restic::{self, restic};
use tests::tree::{dir, file, noise, symlink};

/// What is said: the types met at each place, such as `summary.data_blobs` or `[].tags[]`.
type Shape = BTreeMap<String, BTreeSet<&'static str>>;

fn shape(text: &str) -> Shape {
    let mut shape = Shape::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.unwrap_or_else(|error| panic!("{error} in {text}"));
        let kind = value["message_type"].as_str().unwrap_or_default().to_owned();
        add(&mut shape, &kind, &value);
    }
    shape
}

fn add(shape: &mut Shape, at: &str, value: &Value) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    shape.entry(at.to_owned()).or_default().insert(kind);
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| add(shape, &format!("{at}[]"), element)),
        Value::Object(keys) => keys.iter().for_each(|(key, value)| add(shape, &format!("{at}.{key}"), value)),
        _ => {}
    }
}

/// What larder says and restic does not, by the end of its place.
const MORE: [&str; 13] = [
    "version.program",
    ".packs_read",
    ".packs",
    ".packs_never_read",
    ".oldest_read",
    ".label",
    ".freed_bytes",
    ".protected",
    ".restic_version",
    ".larder_version",
    ".current_files",
    ".current_files[]",
    ".seconds_remaining",
];

/// A program with everything that it needs, in folders of its own.
struct Side {
    program: Program,
    folder: tempfile::TempDir,
}

impl Side {
    fn new(program: Program) -> Self {
        let folder = tempfile::tempdir().unwrap();
        empty_repository(2, &folder.path().join("repository"));
        let source = folder.path().join("source");
        dir([
            ("a", file("some text")),
            ("b", file(noise(600_000, 1))),
            ("c", dir([("d", file("deep")), ("link", symlink("../a"))])),
            ("empty", file("")),
        ])
        .build(&source);
        Self { program, folder }
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn run(&self, line: &str) -> Ran {
        self.run_on(&self.repository(), line)
    }

    fn run_on(&self, repository: &Path, line: &str) -> Ran {
        let call = self.program.on(repository).within(self.folder.path());
        call.args(line.split(' ').map(|word| word.trim_matches('\''))).run()
    }
}

fn sides() -> [Side; 2] {
    [Side::new(restic()), Side::new(larder())]
}

/// The same line through both: the same exit code, and every place that restic fills is filled with the same type.
fn compare(line: &str, ran: &[Ran; 2]) {
    let [theirs, ours] = ran;
    assert_eq!(ours.code, theirs.code, "{line}\n{theirs}\n{ours}");
    for (theirs, ours) in
        [(json_of(&theirs.stdout), json_of(&ours.stdout)), (json_of(&theirs.stderr), json_of(&ours.stderr))]
    {
        let (theirs, ours) = (shape(&theirs), shape(&ours));
        let is_status = |place: &String| place.starts_with("status");
        for (place, types) in theirs.iter().filter(|(place, _)| !is_status(place)) {
            assert_eq!(ours.get(place), Some(types), "{line}: {place}\n{}", ran[1]);
        }
        let more =
            |place: &&String| !theirs.contains_key(*place) && !MORE.iter().any(|end| place.ends_with(end));
        let invented: Vec<_> = ours.keys().filter(|place| !is_status(place)).filter(more).collect();
        assert!(invented.is_empty(), "{line}: {invented:?}\n{}", ran[1]);
        let known = [
            "seconds_elapsed",
            "seconds_remaining",
            "percent_done",
            "total_files",
            "files_done",
            "total_bytes",
            "bytes_done",
            "error_count",
            "current_files",
            "files_restored",
            "files_skipped",
            "files_deleted",
            "bytes_restored",
            "bytes_skipped",
            "message_type",
        ];
        for place in ours.keys().filter(|place| is_status(place) && place.contains('.')) {
            let key = place.trim_start_matches("status.").trim_end_matches("[]");
            assert!(known.contains(&key), "{line}: {place}");
        }
    }
}

/// The lines that are JSON, or everything if it is one value over several lines.
fn json_of(text: &str) -> String {
    let is_value = |text: &str| serde_json::from_str::<Value>(text).is_ok();
    if is_value(text) {
        return text.to_owned();
    }
    text.lines().filter(|line| is_value(line) && line.starts_with(['{', '['])).collect::<Vec<_>>().join("\n")
}

fn same(sides: &[Side; 2], line: &str) {
    let ran = [sides[0].run(line), sides[1].run(line)];
    assert!(
        ran.iter().any(|ran| !json_of(&ran.stdout).is_empty() || !json_of(&ran.stderr).is_empty()),
        "{line}: no JSON\n{}",
        ran[0]
    );
    compare(line, &ran);
}

#[test]
fn what_makes_snapshots_and_changes_them_says_the_same() {
    if restic::version() < (0, 19, 0) {
        return; // older ones have other keys
    }
    let sides = sides();
    same(&sides, "backup --json --dry-run source");
    same(&sides, "backup --json -vv --tag one,two --exclude '*.tmp' source");
    for side in &sides {
        fs::write(side.folder.path().join("source/a"), "another text").unwrap();
        fs::remove_file(side.folder.path().join("source/empty")).unwrap();
    }
    same(&sides, "backup --json -vv source");
    same(&sides, "backup --json --skip-if-unchanged source");
    same(&sides, "backup --json source nowhere");
    same(&sides, "backup --json nowhere");
    same(&sides, "tag --json --add three");
    same(&sides, "restore --json -vv latest --target restored");
    same(&sides, "restore --json latest --target restored --delete");
    same(&sides, "forget --json --keep-last 1");
    same(&sides, "forget --json --keep-last 1 --prune");
    same(&sides, "init --json");
    let ran = [0, 1].map(|at| sides[at].run_on(&sides[at].folder.path().join("new"), "init --json"));
    compare("init --json", &ran);
}

#[test]
fn what_looks_into_a_repository_says_the_same() {
    if restic::version() < (0, 19, 0) {
        return;
    }
    let fixture = Fixture::unpack("v2-r019");
    let sides = sides();
    let list = |kind: &str| restic().on(&fixture.repo()).args(["list", kind]).ok().stdout;
    let all = restic().on(&fixture.repo()).args(["snapshots", "--json"]).ok().json();
    let ids: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    let blob = |kind: &str| {
        let blobs = list("blobs");
        blobs.lines().find_map(|line| line.strip_prefix(kind)).unwrap().trim().to_owned()
    };
    let first = |kind: &str| list(kind).lines().next().unwrap().to_owned();
    let lines = [
        "snapshots --json".to_owned(),
        "snapshots --json -g host,paths,tags".to_owned(),
        "snapshots --json --latest 1".to_owned(),
        "snapshots --json --host nobody".to_owned(),
        format!("ls --json {}", ids[0]),
        format!("ls --ncdu {}", ids[0]),
        "find --json *.txt".to_owned(),
        "find --json nothing-of-this-name".to_owned(),
        format!("find --json --tree {}", blob("tree")),
        format!("find --json --blob {}", blob("data")),
        format!("find --json --pack {}", first("packs")),
        format!("diff --json --metadata {} {}", ids[0], ids[1]),
        "stats --json".to_owned(),
        "stats --json --mode raw-data".to_owned(),
        "stats --json --mode files-by-contents".to_owned(),
        "stats --json --mode blobs-per-file".to_owned(),
        "forget --json --dry-run --keep-last 1 -g host".to_owned(),
        "forget --json --dry-run --keep-tag alpha --keep-daily 2".to_owned(),
        "check --json".to_owned(),
        "check --json --read-data".to_owned(),
        "key list --json".to_owned(),
        "cat config".to_owned(),
        "cat masterkey".to_owned(),
        format!("cat snapshot {}", ids[0]),
        format!("cat tree {}", ids[0]),
        format!("cat key {}", first("keys")),
        format!("cat index {}", first("index")),
        "snapshots --json bogus".to_owned(),
        "ls --json bogus".to_owned(),
        "cat --json bogus".to_owned(),
        "stats --json --mode bogus".to_owned(),
        "snapshots --json --bogus".to_owned(),
        "version --json".to_owned(),
    ];
    for line in &lines {
        let run = |at: usize| sides[at].run_on(&fixture.repo(), line);
        let ran = [run(0), run(1)];
        // An unknown id among many is told by the exit code; restic's is kept in strict compatibility.
        if line == "snapshots --json bogus" {
            assert_eq!((ran[0].code, ran[1].code), (0, 1));
            continue;
        }
        compare(line, &ran);
    }
}

#[test]
fn what_finds_damage_says_the_same() {
    if restic::version() < (0, 19, 0) {
        return;
    }
    let (fixture, sides) = (Fixture::unpack("damaged"), sides());
    for case in Damaged::manifest().cases.keys() {
        let line = "check --json --read-data";
        let ran = [0, 1].map(|at| sides[at].run_on(&fixture.case(case), line));
        assert_eq!(ran[1].code, ran[0].code, "{case}\n{}\n{}", ran[0], ran[1]);
        let summary = |ran: &Ran| {
            let messages: Vec<Value> =
                json_of(&ran.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            messages.into_iter().find(|message| message["message_type"] == "summary")
        };
        let (Some(theirs), Some(ours)) = (summary(&ran[0]), summary(&ran[1])) else { continue };
        for key in ["message_type", "num_errors", "broken_packs", "suggest_repair_index", "suggest_prune"] {
            let kind = |value: &Value| match &value[key] {
                Value::Null | Value::Array(_) => "list",
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                _ => "string",
            };
            assert_eq!(kind(&ours), kind(&theirs), "{case}: {key}\n{}", ran[1]);
        }
        assert_eq!(ours["broken_packs"], theirs["broken_packs"], "{case}\n{}\n{}", ran[0], ran[1]);
    }
}
