//! Answers about snapshots, compared with those that restic 0.19.1 gave for the same repositories.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_core::context::Context;
use repo_core::format::Snapshot;
use repo_core::hash::sha256;
use repo_core::id::{BlobId, BlobKind, TreeId};
use repo_core::ops::query::dump::{self, DumpError, Piece, Target};
use repo_core::ops::query::ls::{self, LsOptions};
use repo_core::ops::query::stats::{Stats, StatsMode, stats};
use repo_core::repository::Reader;
use repo_core::walk::{self, Entry};
use serde_json::Value;
use tests::fixtures::{Fixture, Manifest};
use tests::repo;
use tests::tree::Kind;

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
        let folders = || {
            let mut options = LsOptions::default();
            options.folders.push(folder.clone());
            options
        };
        let mut recursive = folders();
        recursive.recursive = true;
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
