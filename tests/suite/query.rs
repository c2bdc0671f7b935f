//! Answers about snapshots, compared with those that restic 0.19.1 gave for the same repositories.

use std::path::PathBuf;

use repo_core::context::Context;
use repo_core::format::Snapshot;
use repo_core::id::TreeId;
use repo_core::ops::query::ls::{self, LsOptions};
use repo_core::repository::Reader;
use repo_core::walk::{self, Entry};
use serde_json::Value;
use tests::fixtures::{Fixture, Manifest};
use tests::repo;

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
            let fixture = Fixture::unpack(name);
            let repository = repo::open(repo::on_disk(&fixture.repo()));
            let index = repository.load_index(&Context::new()).unwrap();
            check(&Self { name, reader: Reader::new(&repository, index), manifest: Manifest::of(name) });
        }
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
