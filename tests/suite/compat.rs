//! Larder and the real restic on the same repositories, both ways round, on both repository versions.
//!
//! Works with every restic from 0.14 on: the trees here hold only what all of them write in the same way; what
//! newer ones write differently is added when this restic is new enough.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tests::fixtures::{self, empty_repository, files_in};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::restic::{self, restic};
use tests::tree::{
    Snapshot, Tree, assert_same, dir, empty_dir, fifo, file, hard_link, noise, sparse, symlink,
};

/// A bit of everything a file system holds and anybody may make.
fn everything() -> Tree {
    let mut names: Vec<(Vec<u8>, Tree)> = [
        "space name",
        "quo\"te",
        "back\\slash",
        "lt<gt>&amp",
        "new\nline",
        "ls-\u{2028}",
        "äöü",
        "日本",
        "😀",
        "star*?[x]",
        "-dash",
        "$HOME",
        "..dots",
    ]
    .into_iter()
    .map(|name| (name.as_bytes().to_vec(), file(name)))
    .collect();
    names.push((b"latin1-\xe4\xf6".to_vec(), file("latin1")));
    names.push((vec![b'n'; 255], file("long")));
    if restic::version() >= (0, 18, 0) {
        names.push((b"control-\x01\x07\x08\x0b\x0c\x1b\x7f".to_vec(), file("control")));
    }
    dir([
        ("readme.txt", file("hello\n").mode(0o640).mtime(1_500_000_000, 123_456_789)),
        ("empty", file("").mtime(-1_262_304_000, 0)),
        ("empty folder", empty_dir().mode(0o700)),
        ("several chunks", file(noise(5 << 20, 1)).mode(0o400)),
        ("zeros", file(vec![0; 2 << 20])),
        ("hole", sparse(3 << 20, [(1 << 20, b"data in the middle".to_vec())])),
        ("names", dir(names)),
        (
            "links",
            dir([
                ("twin", hard_link("readme.txt")),
                ("to", symlink("../readme.txt")),
                ("nowhere", symlink("/no/<where>")),
            ]),
        ),
        (
            "modes",
            dir([
                ("sticky", empty_dir().mode(0o1777)),
                ("setgid", file("x").mode(0o2755)),
                ("none", file("y").mode(0o600)),
            ]),
        ),
        ("times", dir([("future", file("f").mtime(4_102_444_800, 5)), ("epoch", file("e").mtime(0, 0))])),
        (
            "attributes",
            dir([(
                "f",
                file("a").xattr("user.b", "value").xattr("user.a", b"\0\xff").xattr("user.empty", ""),
            )])
            .xattr("user.dir", "d"),
        ),
        ("pipe", fifo()),
        ("deep", dir([("er", dir([("and", dir([("deeper", file("bottom"))]))]))])),
    ])
}

/// A source tree and an empty repository of that version.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(version: u32) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        everything().build(&place.source());
        empty_repository(version, &place.repository());
        place
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Backs up what is in the source; its entries become the top level, so nothing above it is recorded.
    fn backup(&self, program: &Program) -> Ran {
        program.on(&self.repository()).args(["backup", "--json", "."]).within(&self.source()).ok()
    }

    fn restore(&self, program: &Program) -> Snapshot {
        let target = tempfile::tempdir_in(self.folder.path()).unwrap();
        program.on(&self.repository()).args(["restore", "latest", "--target"]).arg(target.path()).ok();
        Snapshot::of(target.path())
    }

    /// The tree of every snapshot, oldest first.
    fn trees(&self, program: &Program) -> Vec<Value> {
        let snapshots = program.on(&self.repository()).args(["snapshots", "--json"]).ok().json();
        let mut snapshots = snapshots.as_array().expect("a list of snapshots").clone();
        snapshots.sort_by_key(|snapshot| snapshot["time"].to_string());
        snapshots.iter().map(|snapshot| snapshot["tree"].clone()).collect()
    }
}

/// A full round: one program writes, the other one checks, reads everything, restores, and writes on.
fn check_round(version: u32, writer: &Program, reader: &Program) {
    let place = Place::new(version);
    place.backup(writer);
    reader.on(&place.repository()).args(["check", "--read-data"]).ok();
    assert_same(&place.restore(reader), &Snapshot::of(&place.source()));

    let summary = place.backup(reader).summary();
    assert_eq!(summary["data_blobs"], 0, "{} adds data that {} had stored", reader.name(), writer.name());
    assert_eq!(summary["tree_blobs"], 0, "{} adds trees that {} had stored", reader.name(), writer.name());
    let trees = place.trees(writer);
    assert_eq!(trees.len(), 2);
    assert_eq!(trees[0], trees[1], "the tree ids agree");
    assert_eq!(trees, place.trees(reader));
}

#[test]
fn restic_reads_and_continues_what_larder_wrote_in_version_1() {
    check_round(1, &larder(), &restic());
}

#[test]
fn restic_reads_and_continues_what_larder_wrote_in_version_2() {
    check_round(2, &larder(), &restic());
}

#[test]
fn larder_reads_and_continues_what_restic_wrote_in_version_1() {
    check_round(1, &restic(), &larder());
}

#[test]
fn larder_reads_and_continues_what_restic_wrote_in_version_2() {
    check_round(2, &restic(), &larder());
}

/// Both programs take turns while the source changes; each change is stored once, by whoever comes first.
#[test]
fn alternating_backups_store_each_change_once() {
    let place = Place::new(2);
    let programs = [larder(), restic()];
    place.backup(&programs[0]);
    for turn in 0..4_u32 {
        let content = noise(100_000, u64::from(turn) + 7);
        fs::write(place.source().join("changing"), &content).unwrap();
        let first = place.backup(&programs[turn as usize % 2]).summary();
        let second = place.backup(&programs[(turn as usize + 1) % 2]).summary();
        assert_eq!(first["data_blobs"], 1, "turn {turn}");
        assert_eq!(second["data_blobs"], 0, "turn {turn}");
        assert_eq!(second["tree_blobs"], 0, "turn {turn}");
    }
    for program in &programs {
        program.on(&place.repository()).args(["check", "--read-data"]).ok();
        assert_same(&place.restore(program), &Snapshot::of(&place.source()));
        assert_eq!(place.trees(program).len(), 9);
    }
}

/// Both find the other's snapshot as parent: nothing is read again.
#[test]
fn each_takes_the_other_s_snapshot_as_parent() {
    for (first, second) in [(larder(), restic()), (restic(), larder())] {
        let place = Place::new(2);
        place.backup(&first);
        let summary = place.backup(&second).summary();
        assert_eq!(summary["files_new"], 0, "{} then {}", first.name(), second.name());
        assert_eq!(summary["files_changed"], 0, "{} then {}", first.name(), second.name());
    }
}

/// A whole life with the programs' own keys and configs: `init` on one side, everything on the other.
#[test]
fn repositories_made_by_either_init_open_in_the_other() {
    let (larder, restic) = (larder(), restic());
    for (maker, user) in [(&larder, &restic), (&restic, &larder)] {
        for version in ["1", "2"] {
            let folder = tempfile::tempdir().unwrap();
            let repository = folder.path().join("repository");
            maker.on(&repository).args(["init", "--repository-version", version]).ok();
            let config = user.on(&repository).args(["cat", "config"]).ok().json();
            assert_eq!(config["version"].to_string(), version);
            let polynomial = config["chunker_polynomial"].as_str().expect("a polynomial");
            assert_eq!(u64::from_str_radix(polynomial, 16).unwrap().ilog2(), 53, "{polynomial}");
        }
    }
}

#[test]
fn restic_works_on_a_fastcdc_repository() {
    let (larder, restic) = (larder(), restic());
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    let source = folder.path().join("source");
    everything().build(&source);
    larder.on(&repository).args(["init", "--chunker", "fastcdc"]).ok();
    larder.on(&repository).args(["backup", "."]).within(&source).ok();
    restic.on(&repository).args(["check", "--read-data"]).ok();
    restic.on(&repository).args(["backup", "--force", "."]).within(&source).ok();
    larder.on(&repository).args(["check", "--read-data"]).ok();
    for program in [&larder, &restic] {
        let target = tempfile::tempdir_in(folder.path()).unwrap();
        program.on(&repository).args(["restore", "latest", "--target"]).arg(target.path()).ok();
        assert_same(&Snapshot::of(target.path()), &Snapshot::of(&source));
    }
}

/// While one program makes a backup (a stream that has not ended), the other one may make one too, but neither
/// checks nor removes keys.
#[test]
fn locks_of_one_program_bind_the_other() {
    for (holder, other) in [(larder(), restic()), (restic(), larder())] {
        let place = Place::new(2);
        let mut command = holder.command();
        command.env("RESTIC_REPOSITORY", place.repository()).env("RESTIC_PASSWORD", fixtures::PASSWORD);
        command.args(["backup", "--stdin", "--no-cache"]).stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::null());
        let mut holding = command.spawn().unwrap();
        await_lock(&place.repository());

        let refused = other.on(&place.repository()).arg("check").run();
        // restic gives locks a code of their own only since 0.17.
        let code = if other.name() == "restic" && restic::version() < (0, 17, 0) { 1 } else { 11 };
        assert_eq!(refused.code, code, "{} holds the lock\n{refused}", holder.name());
        place.backup(&other);

        drop(holding.stdin.take());
        holding.wait().unwrap();
        other.on(&place.repository()).arg("check").ok();
        assert_eq!(
            files_in(&place.repository().join("locks")),
            Vec::<PathBuf>::new(),
            "no lock stays behind"
        );
    }
}

/// Waits for another process, so it has to look again and again; gives up after half a minute.
fn await_lock(repository: &Path) {
    for _ in 0..3000 {
        // Not yet the temporary file, which becomes the lock by its name: 64 digits.
        let is_lock = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
        if files_in(&repository.join("locks")).iter().any(is_lock) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no lock appeared in {}", repository.display());
}
