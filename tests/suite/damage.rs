//! Damaged repositories: the documented verdict on each, and a matrix of action × place × next operation.
//!
//! What must always hold: no operation ends with success and wrong content, none panics, and reading all data
//! finds every damage and names the damaged thing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tests::fixtures::{Damaged, Fixture, files_in};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::tree::{Snapshot, assert_same, noise};

// ── the fixtures ───────────────────────────────────────────────────────────────────────────────────────────

/// The verdict of `check` and `check --read-data` on each case is restic's own, and names what is damaged.
#[test]
fn check_gives_the_documented_verdict_on_every_damaged_fixture() {
    let (larder, fixture, manifest) = (larder(), Fixture::unpack("damaged"), Damaged::manifest());
    larder.on(&fixture.case("base")).args(["check", "--read-data"]).ok();
    for (name, case) in &manifest.cases {
        let repository = fixture.case(name);
        for words in [vec!["check"], vec!["check", "--read-data"]] {
            let wanted = format!("{} --json", words.join(" "));
            let step =
                case.steps.iter().find(|step| step.command == words.join(" ") || step.command == wanted);
            let expected = step.unwrap_or_else(|| panic!("{name} has no step {words:?}")).exit;
            let ran = larder.on(&repository).args(&words).run();
            assert_eq!(ran.code, expected, "{name}: {}\n{ran}", case.description);
            if ran.code == 1 {
                assert!(
                    names_the_damage(name, &manifest, &ran),
                    "{name}: {} is not named\n{ran}",
                    case.description
                );
            }
        }
    }
}

/// Whether the output names the damaged file or, where the file's own name is gone, what is missing with it.
fn names_the_damage(case: &str, manifest: &Damaged, ran: &Ran) -> bool {
    let named = match case {
        "missing-data-pack" | "flip-pack-header" => &manifest.packs_of["s2"].data,
        "missing-tree-pack" => &manifest.packs_of["s2"].tree,
        "flip-data-blob" => &manifest.packs_of["s1"].data,
        "truncated-pack" => &manifest.packs_of["s3"].data,
        "truncated-index" => &manifest.index_of["s2"],
        // The index entry of these packs is gone: what the snapshots miss is named instead.
        "missing-index" => return ran.stdout.contains("a26e2cf7") || ran.stderr.contains("a26e2cf7"),
        "flip-snapshot" => &manifest.base.snapshots[1].id,
        other => panic!("no damage is expected in {other}"),
    };
    let short = &named[..8];
    ran.stdout.contains(short) || ran.stderr.contains(short)
}

/// What is still whole restores; what is not ends with an error, and says which file.
#[test]
fn restore_of_a_damaged_fixture_gives_right_content_or_an_error() {
    let (larder, fixture, manifest) = (larder(), Fixture::unpack("damaged"), Damaged::manifest());
    // The cases whose damage does not touch the newest snapshot.
    let whole =
        ["missing-tree-pack", "flip-pack-header", "orphan-pack", "temp-files", "empty-lock", "stale-lock"];
    for name in manifest.cases.keys() {
        let target = tempfile::tempdir().unwrap();
        let newest = &manifest.base.snapshots[2];
        let ran =
            larder.on(&fixture.case(name)).args(["restore", &newest.id, "--target"]).arg(target.path()).run();
        if whole.contains(&name.as_str()) {
            assert_eq!(ran.code, 0, "{name}\n{ran}");
        }
        if ran.code == 0 {
            assert_same(&Snapshot::of(target.path()).for_anybody(), &newest.restored().for_anybody());
        } else {
            assert_eq!(ran.code, 1, "{name}\n{ran}");
        }
    }
}

// ── the matrix ─────────────────────────────────────────────────────────────────────────────────────────────

const ACTIONS: [Action; 5] = [Action::Delete, Action::Truncate, Action::Flip, Action::Empty, Action::Junk];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Delete,
    Truncate,
    Flip,
    Empty,
    /// A file beside it that is none of ours: a right name, wrong content.
    Junk,
}

const PLACES: [Place; 7] =
    [Place::DataPack, Place::TreePack, Place::Index, Place::Snapshot, Place::Key, Place::Config, Place::Lock];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    DataPack,
    TreePack,
    Index,
    Snapshot,
    Key,
    Config,
    Lock,
}

/// A repository with one file damaged, and what its only backup held.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(original: &Path, manifest: &Damaged, action: Action, place: Place) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        copy(original, &scene.repository());
        let file = scene.file(manifest, place);
        if action == Action::Junk {
            let beside = file.with_file_name("5".repeat(64));
            fs::write(beside, noise(500, 3)).unwrap();
        } else {
            let mut bytes = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            match action {
                Action::Truncate => bytes.truncate(bytes.len() / 2),
                Action::Flip => {
                    let at = bytes.len() / 2;
                    bytes[at] ^= 0x10;
                }
                Action::Empty => bytes.clear(),
                Action::Delete | Action::Junk => {}
            }
            if action != Action::Delete {
                fs::write(&file, bytes).unwrap();
            }
        }
        scene
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn file(&self, manifest: &Damaged, place: Place) -> PathBuf {
        let repository = self.repository();
        let pack = |id: &str| repository.join("data").join(&id[..2]).join(id);
        match place {
            Place::DataPack => pack(&manifest.packs_of["s1"].data),
            Place::TreePack => pack(&manifest.packs_of["s3"].tree),
            Place::Index => repository.join("index").join(&manifest.index_of["s1"]),
            Place::Snapshot => repository.join("snapshots").join(&manifest.base.snapshots[2].id),
            Place::Key => files_in(&repository.join("keys")).remove(0),
            Place::Config => repository.join("config"),
            Place::Lock => files_in(&repository.join("locks")).remove(0),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn check_matrix(actions: &[Action]) {
    let (larder, fixture, manifest) = (larder(), Fixture::unpack("damaged"), Damaged::manifest());
    let original = fixture.case("base");
    copy(&fixture.case("stale-lock").join("locks"), &original.join("locks"));
    let source = tempfile::tempdir().unwrap();
    larder
        .on(&original)
        .args(["restore", &manifest.base.snapshots[2].id, "--target"])
        .arg(source.path())
        .ok();
    let healthy = Snapshot::of(source.path());
    for action in actions {
        for place in PLACES {
            let scene = || Scene::new(&original, &manifest, *action, place);
            let what = format!("{action:?} {place:?}");
            check_is_right(&larder, &scene(), *action, place, &what);
            restore_is_right(&larder, &scene(), &healthy, &manifest, &what);
            backup_is_right(&larder, &scene(), source.path(), &healthy, &what);
            let listed = larder.on(&scene().repository()).arg("snapshots").run();
            assert_no_panic(&listed, &what);
        }
    }
}

/// Reading everything finds everything that is damaged, and nothing that is not.
fn check_is_right(larder: &Program, scene: &Scene, action: Action, place: Place, what: &str) {
    // The lock in the scene is long stale, but only `unlock` may say so.
    let ran = larder.on(&scene.repository()).args(["check", "--read-data", "--no-lock"]).run();
    assert_no_panic(&ran, what);
    let harmless = match place {
        Place::Lock => true,
        // A snapshot that is gone was forgotten, as far as anybody can tell.
        Place::Snapshot => action == Action::Delete,
        // A file that nobody refers to, or one more key that does not open.
        Place::DataPack | Place::TreePack | Place::Key | Place::Config => action == Action::Junk,
        Place::Index => false,
    };
    assert_eq!(ran.code == 0, harmless, "{what}\n{ran}");
    let expected = match (place, action) {
        _ if harmless => 0,
        (Place::Config, Action::Delete) => 10,
        (Place::Key, _) => 12,
        _ => 1,
    };
    if ran.code != expected {
        // A key that cannot be read is either no key or a damaged one.
        assert!(place == Place::Key && ran.code == 1, "{what}: exit code {expected} expected\n{ran}");
    }
}

/// Success means the right content.
fn restore_is_right(larder: &Program, scene: &Scene, healthy: &Snapshot, manifest: &Damaged, what: &str) {
    let target = tempfile::tempdir().unwrap();
    let id = &manifest.base.snapshots[2].id;
    let ran = larder.on(&scene.repository()).args(["restore", id, "--target"]).arg(target.path()).run();
    assert_no_panic(&ran, what);
    if ran.code == 0 {
        assert_same(&Snapshot::of(target.path()), healthy);
    }
    for (path, entry) in Snapshot::of(target.path()).0 {
        if let (tests::tree::Kind::File { sha256, .. }, Some(right)) = (&entry.kind, healthy.0.get(&path)) {
            let tests::tree::Kind::File { sha256: expected, .. } = &right.kind else { continue };
            assert!(ran.code != 0 || sha256 == expected, "{what}: {} is wrong", path.escape_ascii());
        }
    }
}

/// After a backup that ended well the newest snapshot restores as the source is, whatever was damaged before.
fn backup_is_right(larder: &Program, scene: &Scene, source: &Path, healthy: &Snapshot, what: &str) {
    let repository = scene.repository();
    let ran = larder.on(&repository).args(["backup", "."]).within(source).run();
    assert_no_panic(&ran, what);
    if ran.code != 0 {
        return;
    }
    let target = tempfile::tempdir().unwrap();
    let restored = larder.on(&repository).args(["restore", "latest", "--target"]).arg(target.path()).run();
    assert_no_panic(&restored, what);
    if restored.code == 0 {
        assert_same(&Snapshot::of(target.path()), healthy);
    }
}

fn assert_no_panic(ran: &Ran, what: &str) {
    let known = [0, 1, 3, 10, 11, 12].contains(&ran.code);
    assert!(known && !ran.stderr.contains("panicked"), "{what}\n{ran}");
}

#[test]
fn missing_files_never_lead_to_wrong_content() {
    check_matrix(&ACTIONS[..1]);
}

#[test]
fn truncated_files_never_lead_to_wrong_content() {
    check_matrix(&ACTIONS[1..2]);
}

#[test]
fn flipped_bits_never_lead_to_wrong_content() {
    check_matrix(&ACTIONS[2..3]);
}

#[test]
fn emptied_files_never_lead_to_wrong_content() {
    check_matrix(&ACTIONS[3..4]);
}

#[test]
fn junk_files_never_lead_to_wrong_content() {
    check_matrix(&ACTIONS[4..]);
}
