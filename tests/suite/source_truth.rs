//! A backup says what it could not save, saves the rest, and reads again what may have changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use repo_core::backend::{ErrorKind, Fault, FaultBackend, Operation as Call, Rule};
use repo_core::context::{Cancel, Cancelled, Clock, Context, Event, Stage, SystemClock};
use repo_core::filter::{Excludes, Marker};
use repo_core::fs::metadata::{ChangeDetection, EntryMeta};
use repo_core::fs::source::{Detail, Links, Listing, LocalSource, OpenFile, Piece, Source};
use repo_core::fs::{FaultKind, Operation, SourceError};
use repo_core::id::{BlobId, FileKind};
use repo_core::ops::archive::{ArchiveError, ArchiveOptions, Problem, Report, Skipped, archive};
use repo_core::repository::{Reader, Repository, WriteError};
use repo_core::time::Timestamp;
use repo_core::walk;
use tests::repo::{assert_complete, backup, context, in_memory, open, options};
use tests::tree::{dir, file, noise};

/// The machine's clock, but ahead: to it, the files of the test are old.
struct AnHourLater(SystemClock);

impl Clock for AnHourLater {
    fn now(&self) -> Timestamp {
        self.0.now().saturating_add(Duration::from_hours(1))
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, _span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        cancel.check()
    }
}

/// The file system, but for one file that misbehaves.
struct Odd {
    below: LocalSource,
    name: &'static str,
    fault: OddFault,
}

#[derive(Clone, Copy)]
enum OddFault {
    Vanishes,
    Denied,
    /// So many more (or fewer) bytes come than the file had when it was opened.
    Size(i64),
    FailsInTheMiddle,
}

impl Source for Odd {
    fn list(&self, dir: &Path, detail: Detail) -> Result<Listing, SourceError> {
        self.below.list(dir, detail)
    }

    fn stat(&self, path: &Path, links: Links) -> Result<EntryMeta, SourceError> {
        self.below.stat(path, links)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        if !path.ends_with(self.name) {
            return self.below.open(path);
        }
        let error = |kind| Err(SourceError::new(kind, Operation::Open, path));
        match self.fault {
            OddFault::Vanishes => error(FaultKind::Vanished),
            OddFault::Denied => error(FaultKind::Denied),
            fault => {
                let file = self.below.open(path)?;
                let meta = file.meta().clone();
                Ok(Box::new(OddFile { path: path.to_owned(), meta, read: 0, fault }))
            }
        }
    }
}

struct OddFile {
    path: PathBuf,
    meta: EntryMeta,
    read: u64,
    fault: OddFault,
}

impl OpenFile for OddFile {
    fn meta(&self) -> &EntryMeta {
        &self.meta
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let len = match self.fault {
            OddFault::Size(by) => self.meta.size.saturating_add_signed(by),
            _ if self.read > 0 => {
                return Err(SourceError::new(FaultKind::Other, Operation::Read, &self.path));
            }
            _ => self.meta.size / 2,
        };
        let step = usize::try_from(len - self.read).unwrap().min(buffer.len());
        buffer[..step].fill(7);
        self.read += step as u64;
        Ok(if step == 0 { Piece::End } else { Piece::Data(step) })
    }

    fn stat_again(&mut self) -> Result<EntryMeta, SourceError> {
        let by = if let OddFault::Size(by) = self.fault { by } else { 0 };
        Ok(EntryMeta { size: self.meta.size.saturating_add_signed(by), ..self.meta.clone() })
    }
}

fn names(repository: &Repository, report: &Report) -> Vec<String> {
    let index = repository.load_index(&context()).unwrap();
    let reader = Reader::new(repository, index);
    let walk = walk::Walk::new(&reader, report.snapshot.tree, "/");
    walk.map(|entry| entry.unwrap().path.display().to_string()).collect()
}

fn back_up_odd(fault: OddFault) -> (Repository, Report) {
    let folder = tempfile::tempdir().unwrap();
    dir([("good", file("fine")), ("odd", file(noise(3 << 20, 9))), ("sub", dir([("deep", file("x"))]))])
        .build(folder.path());
    let repository = open(Arc::new(in_memory(2)));
    let source = Odd { below: LocalSource::new(), name: "odd", fault };
    let report = archive(&context(), &repository, &source, &[".".into()], &options(folder.path())).unwrap();
    assert_complete(repository.backend().clone());
    (repository, report)
}

#[test]
fn what_cannot_be_read_is_left_out_and_told_with_path_and_cause() {
    for fault in [OddFault::Vanishes, OddFault::Denied, OddFault::FailsInTheMiddle] {
        let (repository, report) = back_up_odd(fault);
        let [skipped] = &report.skipped[..] else { panic!("{:?}", report.skipped) };
        assert!(skipped.path.ends_with("odd") && skipped.stage == Stage::Archive);
        assert!(skipped.problem.to_string().contains("odd"), "{}", skipped.problem);
        assert_eq!(names(&repository, &report), ["/good", "/sub", "/sub/deep"]);
        assert_eq!(report.summary.files_new, 2);
    }
}

#[test]
fn a_file_that_grows_or_shrinks_is_saved_as_it_was_read_and_told() {
    for by in [-1_000_000, -1, 1, 9_000_000] {
        let (repository, report) = back_up_odd(OddFault::Size(by));
        let [skipped] = &report.skipped[..] else { panic!("{:?}", report.skipped) };
        let Problem::SizeChanged { expected, read, .. } = skipped.problem else { panic!("{skipped:?}") };
        assert_eq!((expected, read), (3 << 20, (3_u64 << 20).saturating_add_signed(by)));
        let index = repository.load_index(&context()).unwrap();
        let reader = Reader::new(&repository, index);
        let node = walk::lookup(&reader, report.snapshot.tree, Path::new("/odd")).unwrap().unwrap();
        assert_eq!(node.size, read);
    }
}

/// A program shows what is in work; a file that stayed in that list would stay for good.
#[test]
fn every_file_that_is_begun_is_ended_under_the_same_name_however_it_went() {
    for fault in [OddFault::Denied, OddFault::FailsInTheMiddle, OddFault::Size(1)] {
        let folder = tempfile::tempdir().unwrap();
        dir([("good", file("fine")), ("odd", file(noise(3 << 20, 9)))]).build(folder.path());
        let (begun, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (to_begun, to_ended) = (begun.clone(), ended.clone());
        let observer = move |event: &Event<'_>| match event {
            Event::Started { path } => to_begun.lock().unwrap().push(path.to_path_buf()),
            Event::Finished { path } => to_ended.lock().unwrap().push(path.to_path_buf()),
            _ => {}
        };
        let context = context().with_observer(Arc::new(observer));
        let source = Odd { below: LocalSource::new(), name: "odd", fault };
        let repository = open(Arc::new(in_memory(2)));
        archive(&context, &repository, &source, &[".".into()], &options(folder.path())).unwrap();
        let sorted = |paths: &Mutex<Vec<PathBuf>>| {
            let mut paths = paths.lock().unwrap().clone();
            paths.sort();
            paths
        };
        assert_eq!(sorted(&begun).len(), 2);
        assert_eq!(sorted(&begun), sorted(&ended));
    }
}

/// The clock of the file system advances in steps: a change right after the file was read may leave no trace.
#[test]
fn a_file_changed_within_the_clocks_grain_of_the_backup_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    dir([("fresh", file("fresh"))]).build(folder.path());
    let repository = open(Arc::new(in_memory(2)));
    let first = backup(&repository, folder.path()).unwrap();
    // Another content of the same length, with the same times: as if written in the same step of the clock.
    let path = folder.path().join("fresh");
    let times = std::fs::metadata(&path).unwrap().modified().unwrap();
    let open_file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &open_file, b"other").unwrap();
    open_file.set_modified(times).unwrap();
    let mut options = options(folder.path());
    options.change = ChangeDetection { ignore_ctime: true, ignore_inode: false };
    let second = archive(&context(), &repository, &LocalSource::new(), &[".".into()], &options).unwrap();
    assert_ne!(first.snapshot.tree, second.snapshot.tree);
    assert_eq!(second.summary.files_changed, 1);
}

#[test]
fn a_lost_blob_of_an_unchanged_file_is_stored_again_and_told() {
    let folder = tempfile::tempdir().unwrap();
    dir([("a", file(noise(100_000, 1))), ("b", file(noise(100_000, 2)))]).build(folder.path());
    let memory = Arc::new(in_memory(2));
    let repository = open(memory.clone());
    let later = Context { clock: Arc::new(AnHourLater(SystemClock::new())), ..context() };
    let save =
        || archive(&later, &repository, &LocalSource::new(), &[".".into()], &options(folder.path())).unwrap();
    let first = save();
    let index = repository.load_index(&context()).unwrap();
    let data: Vec<BlobId> = index
        .iter()
        .map(|(blob, _)| blob)
        .filter(|blob| blob.kind == repo_core::id::BlobKind::Data)
        .collect();
    assert_eq!(data.len(), 2);
    for listed in repository.backend().list(FileKind::Index).unwrap() {
        let id = listed.id.into();
        let mut file: repo_core::format::IndexFile = repository.load(id).unwrap();
        file.packs.retain(|pack| pack.blobs.iter().all(|blob| blob.kind == repo_core::id::BlobKind::Tree));
        repository.backend().remove(id.into()).unwrap();
        repository.save(&context(), &file).unwrap();
    }
    let second = save();
    let healed = |skipped: &&Skipped| matches!(skipped.problem, Problem::Healed { .. });
    assert_eq!(second.skipped.iter().filter(healed).count(), 2, "{:?}", second.skipped);
    assert_eq!(first.snapshot.tree, second.snapshot.tree);
    assert_eq!(second.summary.data_blobs, 2);
    assert_complete(memory);
    assert!(save().skipped.is_empty());
}

#[test]
fn a_full_disk_ends_the_backup_with_the_cause_and_leaves_the_repository_valid() {
    let folder = tempfile::tempdir().unwrap();
    dir([("large", file(noise(40 << 20, 3)))]).build(folder.path());
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Snapshot] {
        let memory = Arc::new(in_memory(2));
        let full = Rule::every(Fault::FailBefore(ErrorKind::Full)).on(Call::Write).of(kind);
        let repository = open(Arc::new(FaultBackend::new(memory.clone(), [full])));
        let error = backup(&repository, folder.path()).unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&*error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        assert!(text.contains("no space left"), "{kind}: {text}");
        assert!(!matches!(*error, ArchiveError::Write(WriteError::Stopped)), "{kind}: {text}");
        assert!(assert_complete(memory.clone()).is_empty());
        let report = backup(&open(memory.clone()), folder.path()).unwrap();
        assert!(report.skipped.is_empty());
        assert_eq!(assert_complete(memory).len(), 1);
    }
}

/// A file named like the mark of a cache that does not begin like one: the folder is saved, and somebody is told why.
#[test]
fn a_false_cache_tag_excludes_nothing_and_is_told() {
    const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    dir([
        ("other", dir([("CACHEDIR.TAG", file(TAG.to_lowercase())), ("kept", file("kept"))])),
        ("short", dir([("CACHEDIR.TAG", file("Sign")), ("kept", file("kept"))])),
        ("true", dir([("CACHEDIR.TAG", file(TAG)), ("left", file("left"))])),
    ])
    .build(&source);
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = Arc::clone(&told);
        move |event: &Event<'_>| {
            if let Event::Warning { error } = event {
                told.lock().unwrap().push(error.to_string());
            }
        }
    };
    let repository = open(Arc::new(in_memory(2)));
    let excludes = Excludes { markers: vec![Marker::cachedir()], ..Excludes::default() };
    let options = ArchiveOptions { select: Arc::new(excludes), ..options(&source) };
    let context = context().with_observer(Arc::new(observer));
    let report = archive(&context, &repository, &LocalSource::new(), &[".".into()], &options).unwrap();
    assert_eq!(report.summary.total_files_processed, 5, "all but what lies beside the true mark");
    let mut told = told.lock().unwrap().clone();
    told.sort();
    let of = |name: &str| source.join(name).join("CACHEDIR.TAG").display().to_string();
    let expected = [
        format!("could not read signature from exclusion tagfile {}: it is too short", of("short")),
        format!("invalid signature in exclusion tagfile {}", of("other")),
    ];
    assert_eq!(told, expected);
}
