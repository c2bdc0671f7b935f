//! What changed since a snapshot: exactly what the next backup finds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use repo_core::context::{Cancel, Cancelled, Clock, Context, SystemClock};
use repo_core::filter::{Case, Excludes, Patterns};
use repo_core::format::Snapshot;
use repo_core::fs::source::LocalSource;
use repo_core::ops::archive::{Report, archive};
use repo_core::ops::status::{Pair, State, StatusOptions, StatusReport, status};
use repo_core::repository::Repository;
use repo_core::snapshots;
use repo_core::time::Timestamp;
use tests::fixtures::empty_repository;
use tests::larder::larder;
use tests::repo::{context, in_memory, open, options};
use tests::tree::{dir, empty_dir, file, symlink};

/// The machine's clock, but ahead: to it, the files of the test are old.
struct AnHourLater(SystemClock);

impl Clock for AnHourLater {
    fn now(&self) -> Timestamp {
        self.0.now().saturating_add(Duration::from_hours(1))
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        self.0.sleep(span, cancel)
    }
}

fn later() -> Context {
    Context { clock: Arc::new(AnHourLater(SystemClock::new())), ..context() }
}

fn save(repository: &Repository, folder: &Path) -> Report {
    archive(&later(), repository, &LocalSource::new(), &[".".into()], &options(folder)).unwrap()
}

fn latest(repository: &Repository) -> Snapshot {
    snapshots::list(&context(), repository).unwrap().pop().unwrap().snapshot
}

/// The state of everything in a folder against the last snapshot, by the path below it.
fn states(
    repository: &Repository,
    folder: &Path,
    options: &StatusOptions,
) -> (BTreeMap<String, State>, StatusReport) {
    let (reader, snapshot) = (repository.reader(&context()).unwrap(), latest(repository));
    let pairs = [Pair::root(folder.to_owned(), snapshot.tree)];
    let mut states = BTreeMap::new();
    let report = status(&context(), &reader, &snapshot, &LocalSource::new(), &pairs, options, |found| {
        let path = found.path.strip_prefix(folder).unwrap().display().to_string();
        assert!(states.insert(path, found.state).is_none(), "{found:?} is told once");
    });
    (states, report.unwrap())
}

#[test]
fn every_kind_of_change_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("files");
    dir([
        ("same", file("same")),
        ("edited", file("before")),
        ("gone", dir([("inner", file("x"))])),
        ("mode", file("mode")),
        ("link", symlink("here")),
        ("still", symlink("here")),
        ("turned", file("a file")),
        ("empty", empty_dir()),
    ])
    .build(&place);
    let repository = open(Arc::new(in_memory(2)));
    save(&repository, &place);
    fs::write(place.join("edited"), "after!").unwrap();
    fs::remove_dir_all(place.join("gone")).unwrap();
    fs::set_permissions(place.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(place.join("link")).unwrap();
    std::os::unix::fs::symlink("elsewhere", place.join("link")).unwrap();
    fs::remove_file(place.join("turned")).unwrap();
    dir([("inside", file("new"))]).build(&place.join("turned"));
    dir([("deep", dir([("new", file("12345"))]))]).build(&place.join("added"));
    let (states, report) = states(&repository, &place, &StatusOptions::default());
    let expected = [
        ("", State::Unchanged),
        ("added", State::New),
        ("added/deep", State::New),
        ("added/deep/new", State::New),
        ("edited", State::Changed),
        ("empty", State::Unchanged),
        ("gone", State::Deleted),
        ("gone/inner", State::Deleted),
        ("link", State::Changed),
        ("mode", State::Changed),
        ("same", State::Unchanged),
        ("still", State::Unchanged),
        ("turned", State::Changed),
        ("turned/inside", State::New),
    ];
    let expected: BTreeMap<String, State> =
        expected.iter().map(|(path, state)| ((*path).to_owned(), *state)).collect();
    assert_eq!(states, expected);
    assert!(report.unknown.is_empty());
    assert_eq!(report.bytes_to_read, 5 + 6 + 4 + 3);
}

#[test]
fn what_is_left_out_is_asked_for_on_neither_side() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("files");
    dir([("keep", file("k")), ("old.tmp", file("t")), ("big", file("1234567890"))]).build(&place);
    let repository = open(Arc::new(in_memory(2)));
    save(&repository, &place);
    fs::remove_file(place.join("old.tmp")).unwrap();
    fs::write(place.join("new.tmp"), "t").unwrap();
    let patterns = vec![Patterns::new(["*.tmp"], Case::Sensitive).unwrap()];
    let excludes = Excludes { patterns, larger_than: Some(5), ..Excludes::default() };
    let options = StatusOptions { select: Arc::new(excludes), ..StatusOptions::default() };
    let (states, _) = states(&repository, &place, &options);
    assert_eq!(states.keys().collect::<Vec<_>>(), ["", "keep"]);
}

#[test]
fn a_folder_that_cannot_be_compared_is_told_and_the_rest_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("files");
    dir([("a", dir([("x", file("x"))])), ("b", file("b"))]).build(&place);
    let memory = Arc::new(in_memory(2));
    let repository = open(memory.clone());
    save(&repository, &place);
    let reader = repository.reader(&context()).unwrap();
    let root = reader.tree(latest(&repository).tree).unwrap();
    let lost = root.nodes.iter().find(|node| node.name == b"a").unwrap().subtree.unwrap();
    let at = reader.index().place_of(&lost.into()).unwrap();
    assert!(memory.tamper(at.pack.into(), |bytes| bytes[at.offset as usize + 20] ^= 1));
    let (states, report) = states(&repository, &place, &StatusOptions::default());
    assert_eq!(states.get("b"), Some(&State::Unchanged));
    assert!(!states.contains_key("a/x"));
    assert_eq!(report.unknown.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: the numbers are those of the backup that is made right after.
    #[test]
    fn status_and_the_next_backup_agree(
        before in prop::collection::btree_map("[a-c](/[a-c]){0,2}f", "[xy]{0,3}", 0..8),
        after in prop::collection::btree_map("[a-c](/[a-c]){0,2}f", "[xy]{0,3}", 0..8),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("files");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("always"), "there").unwrap();
        let write = |files: &BTreeMap<String, String>| for (path, content) in files {
            let path = place.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write(&before);
        let repository = open(Arc::new(in_memory(2)));
        save(&repository, &place);
        for path in before.keys().filter(|path| !after.contains_key(*path)).step_by(2) {
            fs::remove_file(place.join(path)).unwrap();
        }
        write(&after);
        let (_, found) = states(&repository, &place, &StatusOptions::default());
        let summary = save(&repository, &place).snapshot.summary.unwrap();
        let ours = (found.files.new, found.files.changed, found.files.unchanged);
        prop_assert_eq!(ours, (summary.files_new, summary.files_changed, summary.files_unmodified));
        prop_assert_eq!(found.dirs.new, summary.dirs_new);
    }
}

/// The program: which snapshot, which folder, which words.
#[test]
fn the_last_snapshot_of_this_host_that_has_the_folder_is_compared() {
    let (larder, folder) = (larder(), tempfile::tempdir().unwrap());
    let repository = folder.path().join("repository");
    empty_repository(2, &repository);
    dir([("one", dir([("a", file("a"))])), ("two", dir([("b", file("b"))]))])
        .build(&folder.path().join("files"));
    let run = |words: &[&str]| larder.on(&repository).within(folder.path()).args(words).run();
    assert_eq!(run(&["backup", "files/one"]).code, 0);
    assert_eq!(run(&["backup", "files/two"]).code, 0);
    assert_eq!(run(&["backup", "files/one", "--host", "other", "--exclude", "*.tmp"]).code, 0);
    let listed = run(&["snapshots", "--json"]).json();
    let compared = |words: &[&str]| {
        let ran = run(&[words, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{ran}");
        let at = listed.as_array().unwrap().iter().position(|one| one["id"] == ran.summary()["snapshot"]);
        at.unwrap()
    };
    assert_eq!(compared(&["status"]), 1);
    assert_eq!(compared(&["status", "files/one"]), 0);
    assert_eq!(compared(&["status", "files/one/a"]), 0);
    assert_eq!(compared(&["status", "--host", "other"]), 2);
    assert_eq!(compared(&["status", "--host", ""]), 2);
    fs::write(folder.path().join("files/one/new.tmp"), "").unwrap();
    let shown = run(&["status", "files/one"]);
    assert!(shown.code == 0 && shown.stdout.contains("+    ") && shown.stdout.contains("new.tmp"), "{shown}");
    let left_out = run(&["status", "files/one", "--host", "other"]);
    assert!(!left_out.stdout.contains("new.tmp"), "the snapshot has left it out: {left_out}");
    let nothing = run(&["status", "repository"]);
    assert!(nothing.code == 1 && nothing.stderr.contains("no snapshot of this host"), "{nothing}");
}
