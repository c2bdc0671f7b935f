//! The engine as a part of somebody's program: watched, stopped, shared between threads; and the examples for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use repo_core::fs::source::Source;
use repo_core::index::Index;
use repo_core::ops::archive::{self, ArchiveError};
use repo_core::ops::check::CheckReport;
use repo_core::ops::restore::{self, RestoreError};
use repo_core::{
    ArchiveOptions, Backend, Cancel, CheckOptions, Context, Event, LocalSource, Password, Reader, Repository,
    RestoreOptions, archive, check, restore,
};
use tests::fixtures::files_in;
use tests::repo::{assert_complete, context, in_memory, open, options};
use tests::tree::{Snapshot, Tree, assert_same, dir, file, noise};

/// A repository in memory, and a folder to be saved.
struct Place {
    folder: tempfile::TempDir,
    backend: Arc<dyn Backend>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        source().build(&folder.path().join("source"));
        Self { folder, backend: Arc::new(in_memory(2)) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn backup(&self, context: &Context) -> Result<archive::Report, Box<ArchiveError>> {
        let options = ArchiveOptions { scan: true, ..options(&self.path("source")) };
        let source = LocalSource::new();
        archive(context, &open(self.backend.clone()), &source, &[".".into()], &options).map_err(Box::new)
    }

    fn restore(
        &self,
        context: &Context,
        report: &archive::Report,
    ) -> Result<restore::Report, Box<RestoreError>> {
        let options = RestoreOptions { scan: true, verify: true, ..RestoreOptions::default() };
        let repository = open(self.backend.clone());
        restore(context, &repository, &report.snapshot, &self.path("target"), &options).map_err(Box::new)
    }
}

fn source() -> Tree {
    let folder = |number: u64| {
        let files = (0..8).map(|at| (format!("file-{at}"), file(noise(20_000, number * 100 + at))));
        dir(files.collect::<Vec<_>>())
    };
    dir((0..5).map(|number| (format!("folder-{number}"), folder(number))).collect::<Vec<_>>())
}

/// A context that is cancelled while the `n`th event is told, from the thread that tells it.
fn stopped_at(n: u64) -> Context {
    let context = context();
    let (cancel, events) = (context.cancel.clone(), AtomicU64::new(0));
    context.with_observer(Arc::new(move |_: &Event<'_>| {
        if events.fetch_add(1, Ordering::Relaxed) + 1 == n {
            cancel.cancel();
        }
    }))
}

/// Wherever a backup is stopped, it says so, its lock is gone, what is visible is whole, and the next one works.
#[test]
fn backup_that_is_stopped_leaves_a_valid_repository() {
    let mut stopped = 0;
    for n in [1, 2, 3, 5, 10, 20, 40, 60, 80] {
        let place = Place::new();
        match place.backup(&stopped_at(n)) {
            Ok(_) => {} // it was stopped when all was done
            Err(error) => {
                assert!(matches!(*error, ArchiveError::Cancelled(_)), "stopped at event {n}: {error:?}");
                assert_eq!(assert_complete(place.backend.clone()), [], "stopped at event {n}");
                stopped += 1;
            }
        }
        let repository = open(place.backend.clone());
        assert_eq!(repository.locks(&context()).unwrap().len(), 0, "stopped at event {n}");
        place.backup(&context()).unwrap();
        let report = check(&context(), &repository, &CheckOptions::default()).unwrap();
        assert!(report.is_sound(), "stopped at event {n}: {:?}", report.findings);
    }
    assert!(stopped >= 6, "only {stopped} backups were stopped");
}

#[test]
fn restore_that_is_stopped_can_be_repeated() {
    let mut stopped = 0;
    for n in [1, 2, 10, 30, 60] {
        let place = Place::new();
        let report = place.backup(&context()).unwrap();
        if let Err(error) = place.restore(&stopped_at(n), &report) {
            assert!(matches!(*error, RestoreError::Cancelled(_)), "stopped at event {n}: {error:?}");
            stopped += 1;
        }
        place.restore(&context(), &report).unwrap();
        assert_same(&Snapshot::of(&place.path("target")), &Snapshot::of(&place.path("source")));
    }
    assert!(stopped >= 3, "only {stopped} restores were stopped");
}

/// What the observer heard of one stage.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    begins: u64,
    ends: u64,
    /// Bytes announced last, and bytes done.
    total: u64,
    done: u64,
}

type Log = Arc<Mutex<BTreeMap<String, Heard>>>;

fn listening() -> (Context, Log) {
    let log = Log::default();
    let heard = log.clone();
    let observer = move |event: &Event<'_>| {
        let mut heard = heard.lock().unwrap();
        let (Event::Begin { stage, .. }
        | Event::Total { stage, .. }
        | Event::Progress { stage, .. }
        | Event::End { stage }) = event
        else {
            return;
        };
        let heard = heard.entry(format!("{stage:?}")).or_default();
        match event {
            Event::Begin { bytes, .. } => (heard.begins, heard.total) = (heard.begins + 1, *bytes),
            Event::Total { bytes, .. } => heard.total = *bytes,
            Event::Progress { bytes, .. } => heard.done += bytes,
            _ => heard.ends += 1,
        }
    };
    (context().with_observer(Arc::new(observer)), log)
}

/// A progress bar reaches exactly its end.
#[test]
fn progress_adds_up_to_the_totals() {
    let place = Place::new();
    let bytes = 5 * 8 * 20_000;
    let (context, log) = listening();
    let report = place.backup(&context).unwrap();
    place.restore(&context, &report).unwrap();
    let heard = log.lock().unwrap();
    for stage in ["Archive", "Restore"] {
        let expected = Heard { begins: 1, ends: 1, total: bytes, done: bytes };
        assert_eq!(heard.get(stage), Some(&expected), "{stage}: {heard:#?}");
    }
    for (stage, Heard { begins, ends, .. }) in heard.iter() {
        assert_eq!(begins, ends, "{stage} begins as often as it ends");
    }
}

/// What a program keeps may move between its threads and be used from several of them.
#[test]
fn everything_may_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    fn shared_dyn<T: Send + Sync + ?Sized>() {}
    shared::<Context>();
    shared::<Cancel>();
    shared::<Repository>();
    shared::<Reader>();
    shared::<Index>();
    shared::<Password>();
    shared::<LocalSource>();
    shared::<ArchiveOptions>();
    shared::<archive::Report>();
    shared::<ArchiveError>();
    shared::<restore::Report>();
    shared::<RestoreError>();
    shared::<CheckReport>();
    shared_dyn::<dyn Backend>();
    shared_dyn::<dyn Source>();
}

/// Each example begins with how to run it, needs no arguments, and is short enough to be read. `cargo xtask test`
/// runs them all.
#[test]
fn examples_say_how_to_run_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../repo-core/examples");
    let examples = files_in(&folder);
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        let (name, text) =
            (example.file_stem().unwrap().to_str().unwrap(), fs::read_to_string(&example).unwrap());
        let run = format!("//! `cargo run -p repo-core --example {name}");
        assert!(text.lines().take(4).any(|line| line.starts_with(&run)), "{name} does not say how to run it");
        assert!(text.lines().count() <= 200, "{name} is too long to be an example");
        assert!(!text.contains("unwrap()"), "{name} shows how not to do it");
    }
}
