//! Answers about snapshots, compared with those that restic 0.19.1 gave for the same repositories.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_core::backend::{Operation, RecordBackend};
use repo_core::context::Context;
use repo_core::filter::Case;
use repo_core::format::Snapshot;
use repo_core::hash::sha256;
use repo_core::id::{BlobId, BlobKind, FileKind, TreeId};
use repo_core::ops::query::diff::{Change, DiffOptions, DiffStatistics, Tally, diff};
use repo_core::ops::query::dump::{self, DumpError, Piece, Target};
use repo_core::ops::query::find::{self, Names, WantedBlobs};
use repo_core::ops::query::ls::{self, LsOptions};
use repo_core::ops::query::stats::{Stats, StatsMode, stats};
use repo_core::repository::Reader;
use repo_core::snapshots::Stored;
use repo_core::time::Timestamp;
use repo_core::walk::{self, Entry};
use serde_json::Value;
use tests::fixtures::{Fixture, Manifest};
use tests::repo;
use tests::tree::{Kind, Tree, dir, file};

/// The repositories that restic was asked about.
const ASKED: [&str; 5] = ["v1-r014", "v1-r019", "v2-r014", "v2-r018", "v2-r019"];

/// The repository, and what restic answered.
struct Asked {
    name: &'static str,
    reader: Reader,
    manifest: Manifest,
}

impl Asked {
    /// Runs the check on every repository that restic was asked about.
    fn each(check: impl Fn(&Self)) {
        for name in ASKED {
            check(&Self::of(name));
        }
    }

    fn of(name: &'static str) -> Self {
        let repository = repo::open(Arc::new(repo::load(&Fixture::unpack(name).repo())));
        let index = repository.load_index(&Context::new()).unwrap();
        Self { name, reader: Reader::new(&repository, index), manifest: Manifest::of(name) }
    }

    /// The root of a snapshot, numbered as in the manifest.
    fn tree(&self, number: usize) -> TreeId {
        let id = self.manifest.snapshots[number].id.parse().unwrap();
        self.reader.repository().load::<Snapshot>(id).unwrap().tree
    }

    /// restic's answers to one question.
    fn answers(&self, question: &str) -> &[Value] {
        self.manifest.queries[question].as_array().unwrap()
    }
}

/// What restic's JSON says about an entry, the name aside.
fn shown(entry: &Entry) -> Value {
    let node = &entry.node;
    serde_json::json!({
        "path": entry.path.to_str().unwrap(),
        "type": node.kind.word(),
        "mode": node.mode.0,
        "permissions": node.mode.to_string(),
        "mtime": node.mtime.to_string(),
        "atime": node.atime.to_string(),
        "ctime": node.ctime.to_string(),
        "uid": node.uid,
        "gid": node.gid,
        "inode": node.inode,
    })
}

/// The answer's fields that [`shown`] gives.
fn answered(answer: &Value) -> Value {
    let fields = ["path", "type", "mode", "permissions", "mtime", "atime", "ctime", "uid", "gid", "inode"];
    fields.into_iter().map(|field| (field.to_owned(), answer[field].clone())).collect()
}

#[test]
fn ls_lists_what_restic_lists() {
    Asked::each(|asked| {
        let root = asked.tree(0);
        let folder = PathBuf::from("/fixture/src/dir");
        let inside = walk::lookup_dir(&asked.reader, root, &folder).unwrap();
        let all = LsOptions::default;
        let folders = || LsOptions { folders: vec![folder.clone()], ..LsOptions::default() };
        let recursive = LsOptions { recursive: true, ..folders() };
        for (question, root, options) in [
            ("ls_first_dir", root, folders()),
            ("ls_recursive_dir", root, recursive),
            ("ls_subfolder", inside, all()),
        ] {
            let context = Context::new();
            let listing = ls::ls(&context, &asked.reader, root, &options).unwrap();
            let found: Vec<Value> = listing.map(|entry| shown(&entry.unwrap())).collect();
            // The first line is about the snapshot.
            let expected: Vec<Value> = asked.answers(question)[1..].iter().map(answered).collect();
            assert_eq!(found, expected, "{}: {question}", asked.name);
        }
    });
}

/// The content of one file.
fn content(reader: &Reader, root: TreeId, path: &str) -> Result<Vec<u8>, DumpError> {
    let path = Path::new(path);
    let Target::File(node) = dump::target(reader, root, path)? else {
        panic!("{} is a folder", path.display())
    };
    let mut bytes = Vec::new();
    dump::file(&Context::new(), reader, path, &node, &mut bytes).map(|()| bytes)
}

#[test]
fn dump_of_a_file_gives_the_bytes_that_restic_gives() {
    Asked::each(|asked| {
        for (path, hash) in asked.manifest.queries["dump_sha256"].as_object().unwrap() {
            let bytes = content(&asked.reader, asked.tree(0), path).unwrap();
            assert_eq!(sha256(&bytes).to_string(), hash.as_str().unwrap(), "{}: {path}", asked.name);
        }
    });
}

/// Every file of every snapshot, against what restic restored of it.
#[test]
fn dump_of_a_folder_gives_every_entry_and_each_file_behind_its_entry() {
    Asked::each(|asked| {
        for (number, snapshot) in asked.manifest.snapshots.iter().enumerate() {
            let mut found: BTreeMap<Vec<u8>, (u64, Vec<u8>)> = BTreeMap::new();
            let mut last = Vec::new();
            let sink = |piece: Piece<'_>| {
                match piece {
                    Piece::Entry { entry, len } => {
                        last = entry.path.as_os_str().as_bytes()[1..].to_vec();
                        found.insert(last.clone(), (len, Vec::new()));
                    }
                    Piece::Bytes(bytes) => found.get_mut(&last).unwrap().1.extend_from_slice(bytes),
                }
                Ok::<_, DumpError>(())
            };
            dump::folder(&Context::new(), &asked.reader, asked.tree(number), "/", sink).unwrap();
            let restored = snapshot.restored();
            assert!(found.keys().eq(restored.0.keys()), "{}: {number}", asked.name);
            for (path, entry) in restored.0 {
                let (len, bytes) = &found[&path];
                assert_eq!(*len, bytes.len() as u64);
                if let Kind::File { sha256: hash, .. } = entry.kind {
                    assert_eq!(sha256(bytes).to_string(), hash, "{}: {}", asked.name, path.escape_ascii());
                }
            }
        }
    });
}

#[test]
fn dump_tells_what_has_no_content() {
    let asked = Asked::of("v2-r019");
    let check = |path, expected: &str| {
        let error = content(&asked.reader, asked.tree(0), path).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check("/fixture/src/links/sym", "/fixture/src/links/sym is a symlink, neither a file nor a folder");
    check("/fixture/src/readme.txt/x", "/fixture/src/readme.txt is not a directory");
    check("/fixture/nope/x", "path /fixture/nope not found");
}

/// A part that is gone is an error with the file's name, not a shorter file.
#[test]
fn dump_without_a_blob_fails_and_names_the_file() {
    let memory = repo::in_memory(2);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), vec![7; 3000]).unwrap();
    std::fs::write(folder.path().join("b"), vec![8; 3000]).unwrap();
    let repository = repo::open(Arc::new(memory));
    let root = repo::backup(&repository, folder.path()).unwrap().snapshot.tree;
    let index = repository.load_index(&Context::new()).unwrap();
    let lost = BlobId { kind: BlobKind::Data, id: sha256(&[8; 3000]) };
    let place = index.place_of(&lost).unwrap();
    repository.backend().remove(place.pack.into()).unwrap();
    let reader = Reader::new(&repository, index);
    let outcome = dump::folder(&Context::new(), &reader, root, "/top", |_| Ok::<_, DumpError>(()));
    assert!(matches!(outcome, Err(DumpError::Walk(_) | DumpError::Read { .. })), "{outcome:?}");
    assert!(outcome.unwrap_err().to_string().starts_with("cannot read /top/a"));
}

#[test]
fn stats_count_what_restic_counts() {
    let modes = [
        ("restore-size", StatsMode::RestoreSize),
        ("files-by-contents", StatsMode::FilesByContents),
        ("blobs-per-file", StatsMode::BlobsPerFile),
        ("raw-data", StatsMode::RawData),
    ];
    Asked::each(|asked| {
        let all: Vec<TreeId> = (0..asked.manifest.snapshots.len()).map(|number| asked.tree(number)).collect();
        for (question, roots) in [("stats", &all[..]), ("stats_first_snapshot", &all[..1])] {
            for (word, mode) in modes {
                let found = stats(&Context::new(), &asked.reader, roots, mode).unwrap();
                let expected = &asked.manifest.queries[question][word];
                assert_eq!(
                    numbers(&stats_json(&found)),
                    numbers(expected),
                    "{}: {question} {word}",
                    asked.name
                );
            }
        }
    });
}

/// As restic shows it: what is zero is left out, the total aside.
fn stats_json(stats: &Stats) -> Value {
    let mut json = serde_json::json!({ "total_size": stats.bytes, "snapshots_count": stats.snapshots });
    for (key, count) in [("total_file_count", stats.files), ("total_blob_count", stats.blobs)] {
        if count > 0 {
            json[key] = count.into();
        }
    }
    if let Some(sizes) = &stats.compression {
        json["total_uncompressed_size"] = sizes.uncompressed.into();
        for (key, value) in [
            ("compression_ratio", sizes.ratio()),
            ("compression_progress", sizes.progress_percent()),
            ("compression_space_saving", sizes.saving_percent()),
        ] {
            json[key] = value.into();
        }
    }
    json
}

/// Numbers to nine places: JSON does not tell 100 from 100.0, and reading it may lose the last digit.
fn numbers(json: &Value) -> BTreeMap<&str, String> {
    let text = |number: &Value| format!("{:.9}", number.as_f64().unwrap());
    json.as_object().unwrap().iter().map(|(key, number)| (key.as_str(), text(number))).collect()
}

#[test]
fn diff_tells_what_restic_tells() {
    let with_metadata = DiffOptions { metadata: true };
    Asked::each(|asked| {
        for (question, old, new, options) in [
            ("diff_1_2", 0, 1, DiffOptions::default()),
            ("diff_1_2_metadata", 0, 1, with_metadata),
            ("diff_2_3", 1, 2, DiffOptions::default()),
        ] {
            let context = Context::new();
            let mut diff = diff(&context, &asked.reader, asked.tree(old), asked.tree(new), &options);
            let mut found: Vec<Value> = diff.by_ref().map(|change| change_json(&change.unwrap())).collect();
            let statistics = diff.finish().unwrap();
            found.push(serde_json::json!({
                "message_type": "statistics",
                "source_snapshot": asked.manifest.snapshots[old].id,
                "target_snapshot": asked.manifest.snapshots[new].id,
                "changed_files": statistics.changed_files,
                "added": tally_json(&statistics.added),
                "removed": tally_json(&statistics.removed),
            }));
            assert_eq!(found, asked.answers(question), "{}: {question}", asked.name);
        }
    });
}

fn change_json(change: &Change) -> Value {
    let slash = if change.is_dir() { "/" } else { "" };
    let path = format!("{}{slash}", change.path.to_str().unwrap());
    serde_json::json!({ "message_type": "change", "path": path, "modifier": change.mark.to_string() })
}

fn tally_json(tally: &Tally) -> Value {
    let Tally { files, dirs, others, data_blobs, tree_blobs, bytes, .. } = *tally;
    serde_json::json!({
        "files": files, "dirs": dirs, "others": others,
        "data_blobs": data_blobs, "tree_blobs": tree_blobs, "bytes": bytes,
    })
}

/// Two backups of a folder, the second one after a change. What is not touched stays the same tree.
struct Twice {
    counted: Arc<RecordBackend>,
    reader: Reader,
    snapshots: Vec<Stored>,
}

impl Twice {
    fn new(tree: &Tree, change: impl FnOnce(&Path)) -> Self {
        let counted = Arc::new(RecordBackend::new(Arc::new(repo::in_memory(2))));
        let repository = repo::open(counted.clone());
        let folder = tempfile::tempdir().unwrap();
        tree.build(folder.path());
        let backup = || {
            let report = repo::backup(&repository, folder.path()).unwrap();
            Stored { id: report.id.unwrap(), snapshot: report.snapshot }
        };
        let first = backup();
        change(folder.path());
        let snapshots = vec![first, backup()];
        let index = repository.load_index(&Context::new()).unwrap();
        Self { counted, reader: Reader::new(&repository, index), snapshots }
    }

    fn reads(&self) -> u64 {
        self.counted.counters().of(Operation::Read, FileKind::Pack).requests
    }

    fn changes(&self) -> Vec<String> {
        let [old, new] = &self.snapshots[..] else { panic!("two snapshots") };
        let (context, options) = (Context::new(), DiffOptions::default());
        let diff = diff(&context, &self.reader, old.snapshot.tree, new.snapshot.tree, &options);
        diff.map(|change| change.unwrap())
            .map(|change| format!("{} {}", change.mark, change.path.display()))
            .collect()
    }

    fn found(&self, pattern: &str) -> Vec<String> {
        let (context, names) = (Context::new(), Names::new([pattern], Case::Sensitive).unwrap());
        let found = find::entries(&context, &self.reader, &self.snapshots, &names).map(Result::unwrap);
        found.map(|found| format!("{} {}", self.number(found.snapshot), found.entry.path.display())).collect()
    }

    fn number(&self, snapshot: &Stored) -> usize {
        self.snapshots.iter().position(|stored| stored.id == snapshot.id).unwrap()
    }
}

#[test]
fn diff_shows_whole_folders_that_come_or_go_and_no_content_of_what_became_another_kind() {
    let inner = || dir([("x", file("x")), ("y", dir([("z", file("z"))]))]);
    let tree = dir([("goes", inner()), ("kept", inner()), ("turns", inner()), ("was", file("1"))]);
    let twice = Twice::new(&tree, |folder| {
        std::fs::rename(folder.join("goes"), folder.join("comes")).unwrap();
        std::fs::remove_dir_all(folder.join("turns")).unwrap();
        std::fs::write(folder.join("turns"), "t").unwrap();
        std::fs::write(folder.join("was"), "22").unwrap();
    });
    let expected = [
        "+ /comes",
        "+ /comes/x",
        "+ /comes/y",
        "+ /comes/y/z",
        "- /goes",
        "- /goes/x",
        "- /goes/y",
        "- /goes/y/z",
        "T /turns",
        "M /was",
    ];
    assert_eq!(twice.changes(), expected);
}

/// The content of all of these is somewhere on both sides, so no blob of it is new or gone.
#[test]
fn diff_counts_a_moved_file_as_file_and_its_content_not_at_all() {
    let tree = dir([("a", dir([("f", file("moved"))])), ("same", dir([("g", file("copied"))]))]);
    let twice = Twice::new(&tree, |folder| {
        std::fs::rename(folder.join("a/f"), folder.join("b")).unwrap();
        std::fs::remove_dir(folder.join("a")).unwrap();
        std::fs::write(folder.join("c"), "copied").unwrap();
    });
    let [old, new] = &twice.snapshots[..] else { panic!("two snapshots") };
    let (context, options) = (Context::new(), DiffOptions::default());
    let diff = diff(&context, &twice.reader, old.snapshot.tree, new.snapshot.tree, &options);
    let statistics = diff.finish().unwrap();
    assert_eq!((statistics.added.files, statistics.added.data_blobs), (2, 0));
    assert_eq!((statistics.removed.files, statistics.removed.dirs, statistics.removed.data_blobs), (1, 1, 0));
}

#[test]
fn diff_of_equal_trees_reads_nothing() {
    let twice = Twice::new(&dir([("a", dir([("f", file("f"))]))]), |_| {});
    let (context, before) = (Context::new(), twice.reads());
    let root = twice.snapshots[0].snapshot.tree;
    let statistics = diff(&context, &twice.reader, root, root, &DiffOptions::default()).finish().unwrap();
    assert_eq!(statistics, DiffStatistics::default());
    assert_eq!(twice.reads(), before);
}

#[test]
fn find_finds_what_restic_finds() {
    Asked::each(|asked| {
        let first = asked.manifest.snapshots[0].id.parse().unwrap();
        let snapshot = asked.reader.repository().load::<Snapshot>(first).unwrap();
        let snapshots = [Stored { id: first, snapshot }];
        for (question, pattern) in [
            ("find_txt_in_first", "*.txt"),
            ("find_path_in_first", "/fixture/src/dir/nested"),
            ("find_nothing", "no-such-name"),
        ] {
            let (context, names) = (Context::new(), Names::new([pattern], Case::Sensitive).unwrap());
            let found = find::entries(&context, &asked.reader, &snapshots, &names);
            let found: Vec<Value> = found.map(|found| shown(&found.unwrap().entry)).collect();
            let expected: Vec<Value> = match asked.answers(question) {
                [] => Vec::new(),
                [group] => group["matches"].as_array().unwrap().iter().map(answered).collect(),
                groups => panic!("{} groups for one snapshot", groups.len()),
            };
            assert_eq!(found, expected, "{}: {question}", asked.name);
        }
    });
}

/// The same tree lies in two places, and only in one of them it is asked for.
#[test]
fn find_by_path_tells_equal_folders_in_different_places_apart() {
    let twice = Twice::new(&dir([("a", dir([("f", file("f"))]))]), |folder| {
        std::fs::rename(folder.join("a"), folder.join("b")).unwrap();
    });
    assert_eq!(twice.found("b/f"), ["1 /b/f"]);
    assert_eq!(twice.found("/a"), ["0 /a", "0 /a/f"]);
    assert_eq!(twice.found("f"), ["0 /a/f", "1 /b/f"]);
}

#[test]
fn find_reads_folders_without_a_find_once_for_all_snapshots() {
    let inner = |name: &str| dir([(name, file("f"))]);
    let tree = dir([("a", inner("x")), ("b", inner("x")), ("c", inner("wanted"))]);
    let twice = Twice::new(&tree, |folder| {
        std::fs::create_dir(folder.join("d")).unwrap();
    });
    let reads = twice.reads();
    assert_eq!(twice.found("wanted"), ["0 /c/wanted", "1 /c/wanted"]);
    // Both roots, a and b once, c twice, d once.
    assert_eq!(twice.reads() - reads, 2 + 2 + 2 + 1);
}

#[test]
fn find_heeds_the_time_of_the_last_change() {
    let at = |seconds, content: &str| file(content).mtime(seconds, 0);
    let twice = Twice::new(&dir([("a", at(10, "1")), ("b", at(20, "2")), ("c", at(30, "3"))]), |_| {});
    let mut names = Names::new([""], Case::Sensitive).unwrap();
    let at = Timestamp { seconds: 20, nanos: 0 };
    (names.oldest, names.newest) = (Some(at), Some(at));
    let context = Context::new();
    let found = find::entries(&context, &twice.reader, &twice.snapshots[..1], &names);
    let found: Vec<PathBuf> = found.map(|found| found.unwrap().entry.path).collect();
    assert_eq!(found, [PathBuf::from("/b")]);
}

#[test]
fn find_by_blob_names_every_place_of_a_chunk_or_folder() {
    let tree = dir([("a", dir([("f", file("same"))])), ("g", file("same"))]);
    let twice = Twice::new(&tree, |folder| {
        std::fs::rename(folder.join("a"), folder.join("b")).unwrap();
        std::fs::remove_file(folder.join("g")).unwrap();
    });
    let context = Context::new();
    let check = |wanted: &WantedBlobs, expected: &[&str]| {
        let found = find::blobs(&context, &twice.reader, &twice.snapshots, wanted).map(Result::unwrap);
        let found: Vec<String> = found
            .map(|found| {
                format!("{} {} {}", twice.number(found.snapshot), found.blob.kind, found.path.display())
            })
            .collect();
        assert_eq!(found, expected, "{wanted:?}");
    };
    let named = |kind, name: &str| WantedBlobs::named(kind, [name]);
    let chunk = sha256(b"same");
    let files = ["0 data /a/f", "0 data /g", "1 data /b/f"];
    check(&named(BlobKind::Data, &chunk.to_string()), &files);
    check(&named(BlobKind::Data, &chunk.short()), &files);
    check(&named(BlobKind::Tree, &chunk.to_string()), &[]);
    let pack = twice.reader.index().place_of(&BlobId { kind: BlobKind::Data, id: chunk }).unwrap().pack;
    check(&WantedBlobs::in_packs(twice.reader.index(), [pack.to_string().as_str()]).unwrap(), &files);

    let root = twice.snapshots[0].snapshot.tree;
    let folder = walk::lookup_dir(&twice.reader, root, Path::new("a")).unwrap();
    check(&named(BlobKind::Tree, &folder.to_string()), &["0 tree /a", "1 tree /b"]);
    check(&named(BlobKind::Tree, &root.to_string()), &["0 tree /"]);
}
