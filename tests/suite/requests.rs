//! What whole runs of the program cost on a real S3 server: requests, counted on the line.
//!
//! `cost` counts the same between engine and storage; this sees what the storage makes of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tests::http_proxy::HttpProxy;
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::servers::{Moto, Place};
use tests::tree::{dir, file, noise};

/// A bucket behind a proxy that writes down every request; a source, and a folder for caches.
struct Bucket {
    place: Place,
    seen: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
    larder: Program,
    _proxy: HttpProxy,
    _server: Moto,
}

impl Bucket {
    fn new() -> Self {
        let server = Moto::start();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let sees = seen.clone();
        let proxy = HttpProxy::start(server.address(), move |request| {
            sees.lock().unwrap().push(format!("{} {}", request.method, request.path));
            None
        });
        let place = server.place_through(proxy.address(), "repository");
        let folder = tempfile::tempdir().unwrap();
        Self { place, seen, folder, larder: larder(), _proxy: proxy, _server: server }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    /// Runs a command; gives what it said and its requests.
    fn run(&self, line: &str) -> (Ran, Vec<String>) {
        self.seen.lock().unwrap().clear();
        let cache = self.folder.path().join("cache");
        let mut call = self.larder.on_cached(self.place.location.as_ref(), &cache).within(&self.source());
        for (name, value) in &self.place.variables {
            call = call.env(name, value);
        }
        let ran = call.args(line.split_whitespace()).ok();
        (ran, self.seen.lock().unwrap().clone())
    }
}

#[test]
fn unchanged_backup_to_s3_and_a_list_of_its_snapshots_make_few_requests() {
    let bucket = Bucket::new();
    let folder = |number: u64| {
        dir((0..40).map(|at| (format!("file-{at}"), file(noise(50, number * 100 + at)))).collect::<Vec<_>>())
    };
    let tree = (0..10).map(|number| (format!("folder-{number}"), folder(number)));
    dir(tree.collect::<Vec<_>>()).build(&bucket.source());
    bucket.run("init");
    // Several snapshots, index files and packs of trees.
    for number in 0..3 {
        std::fs::write(bucket.source().join(format!("folder-{number}/new")), noise(50, number)).unwrap();
        bucket.run("backup .");
    }
    let (_, backup) = bucket.run("backup .");
    assert!(backup.len() <= 12, "{} requests: {backup:#?}", backup.len());
    let (ran, snapshots) = bucket.run("snapshots --json");
    assert_eq!(ran.json().as_array().map(Vec::len), Some(4));
    assert!(snapshots.len() <= 3, "{} requests: {snapshots:#?}", snapshots.len());
    // A machine that has never seen the repository.
    std::fs::remove_dir_all(bucket.folder.path().join("cache")).unwrap();
    let (_, first) = bucket.run("snapshots");
    assert!(first.len() <= 4 + 4, "keys are listed, and each snapshot is fetched: {first:#?}");
}
