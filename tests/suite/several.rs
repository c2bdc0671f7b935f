//! One backup into several repositories: read once, and each gets what it would get alone.
//!
//! Goal: whatever the others are, do or suffer, a repository holds the snapshot that a backup of its own makes. Method:
//! the same backups together and one by one, over a source that counts what is asked of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use repo_core::backend::{Backend, ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::chunker::ChunkerParams;
use repo_core::crypto::ScryptParams;
use repo_core::fs::metadata::{EntryMeta, Xattrs};
use repo_core::fs::source::{Cuts, Detail, Links, Listing, OpenFile, Piece, Source, StreamSource};
use repo_core::fs::{FaultKind, SourceError};
use repo_core::id::FileKind;
use repo_core::ops::archive::{
    ArchiveError, ArchiveOptions, Destination, ParentChoice, Report, archive, archive_several,
};
use repo_core::ops::restore::RestoreOptions;
use repo_core::repository::{InitChunker, InitOptions, Password, Repository};
use repo_core::time::Timestamp;
use repo_core::{Context, LocalSource};
use tests::fixtures::{PASSWORD, empty_repository};
use tests::larder::larder;
use tests::program::Ran;
use tests::repo;
use tests::restic::restic;
use tests::tree::{dir, file, noise, sparse, symlink};
use tests::trouble::{Random, for_seeds};

/// How a repository cuts.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// By a polynomial of its own.
    Own,
    /// By the fixtures' polynomial.
    Shared,
    /// By lengths of a few KiB.
    Short,
}

fn repository(cut: Cut) -> (Arc<MemoryBackend>, Repository) {
    let chunker = match cut {
        Cut::Own => InitChunker::Rabin,
        Cut::Shared => {
            let fixture = repo::open(Arc::new(repo::in_memory(2)));
            InitChunker::SameAs(fixture.chunker_params().unwrap())
        }
        Cut::Short => InitChunker::SameAs(ChunkerParams::FastCdc { min: 512, average: 2048, max: 65_536 }),
    };
    let kdf = Some(ScryptParams { n: 1024, r: 8, p: 1 });
    let options = InitOptions { chunker, kdf, ..InitOptions::default() };
    let memory = Arc::new(MemoryBackend::new());
    let opened =
        Repository::init(&repo::context(), memory.clone(), &Password::new(PASSWORD), &options).unwrap();
    (memory, opened)
}

/// The folder, how often each thing in it was asked for, and a mind of its own about how much is read at a time.
struct Counted {
    inner: LocalSource,
    asked: Mutex<BTreeMap<(&'static str, PathBuf), u32>>,
    read_max: usize,
    cuts: Cuts,
}

impl Counted {
    fn new(read_max: usize) -> Self {
        let cuts = Cuts::AsRepository;
        Self { inner: LocalSource::new(), asked: Mutex::default(), read_max, cuts }
    }

    fn count(&self, what: &'static str, path: &Path) {
        *self.asked.lock().unwrap().entry((what, path.to_owned())).or_default() += 1;
    }

    /// What was opened since the last call, by name; nothing was listed or opened twice.
    fn opened_once(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let twice: Vec<_> = asked.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "asked for more than once: {twice:?}");
        let opened = asked.into_keys().filter(|(what, _)| *what == "open");
        opened.map(|(_, path)| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }
}

impl Source for Counted {
    fn list(&self, dir: &Path, detail: Detail) -> Result<Listing, SourceError> {
        self.count("list", dir);
        self.inner.list(dir, detail)
    }

    fn stat(&self, path: &Path, links: Links) -> Result<EntryMeta, SourceError> {
        self.inner.stat(path, links)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        self.count("open", path);
        let inner = self.inner.open(path)?;
        Ok(Box::new(Small { inner, read_max: self.read_max, cuts: self.cuts }))
    }

    fn xattrs(&self, path: &Path, links: Links) -> Xattrs {
        self.count("xattrs", path);
        self.inner.xattrs(path, links)
    }
}

/// A file that gives little at a time.
struct Small {
    inner: Box<dyn OpenFile>,
    read_max: usize,
    cuts: Cuts,
}

impl OpenFile for Small {
    fn meta(&self) -> &EntryMeta {
        self.inner.meta()
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let len = buffer.len().min(self.read_max);
        self.inner.read(&mut buffer[..len])
    }

    fn xattrs(&mut self) -> Xattrs {
        self.inner.xattrs()
    }

    fn cuts(&self) -> Cuts {
        self.cuts
    }
}

fn together(
    repositories: &[&Repository],
    source: &dyn Source,
    options: &ArchiveOptions,
) -> Vec<Result<Report, ArchiveError>> {
    let context = repo::context();
    let destinations: Vec<_> =
        repositories.iter().map(|repository| Destination::new(&context, repository, options)).collect();
    archive_several(&context, &destinations, source, &[".".into()], options)
}

/// A folder with files of all lengths that matter: around arenas, longest chunks, and holes.
fn build(root: &Path, random: &mut Random) {
    let mut lens = vec![0, 1, 511, 512 << 10, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (8 << 20) + 7];
    lens.extend((0..20).map(|_| usize::try_from(random.below(300_000)).unwrap()));
    let files = lens.into_iter().enumerate().map(|(at, len)| {
        let content = noise(len, random.number());
        (format!("f{at}"), file(content).xattr("user.at", at.to_string()))
    });
    let hole =
        sparse(12 << 20, [(0, noise(5000, 1)), (5 << 20, noise(100_000, 2)), ((12 << 20) - 9, noise(9, 3))]);
    let deeper = dir([("link", symlink("../f0")), ("hole", hole), ("zeros", sparse(3 << 20, []))]);
    dir(files.chain([("deeper".to_owned(), deeper)])).build(root);
}

#[test]
fn each_repository_gets_what_it_would_get_alone_and_everything_is_read_once() {
    for_seeds("each_repository_gets_what_it_would_get_alone", 0..6, |seed| {
        let mut random = Random::new(seed);
        let folder = tempfile::tempdir().unwrap();
        build(folder.path(), &mut random);
        let mut source = Counted::new([usize::MAX, 700_000, 4096][usize::try_from(seed % 3).unwrap()]);
        if seed == 5 {
            source.cuts = Cuts::Every(65_536);
        }
        let options = repo::options(folder.path());
        let stores = [Cut::Own, Cut::Shared, Cut::Short, Cut::Shared, Cut::Own].map(repository);
        let repositories: Vec<&Repository> = stores.iter().map(|(_, repository)| repository).collect();
        for report in together(&repositories, &source, &options) {
            let report = report.unwrap();
            assert!(report.skipped.is_empty(), "{:?}", report.skipped);
        }
        assert_eq!(source.opened_once().len(), 30);
        for (memory, repository) in &stores {
            let snapshots = repo::assert_complete(memory.clone());
            let [id] = snapshots[..] else { panic!("{snapshots:?}") };
            let record = repository.load::<repo_core::format::Snapshot>(id).unwrap();
            // The same repository once more, alone: nothing is new.
            let options = ArchiveOptions { parent: ParentChoice::None, ..options.clone() };
            let alone = archive(&repo::context(), repository, &source, &[".".into()], &options).unwrap();
            assert_eq!(alone.snapshot.tree, record.tree);
            assert_eq!((alone.summary.data_blobs, alone.summary.tree_blobs), (0, 0));
            source.opened_once();
        }
    });
}

#[test]
fn file_is_read_only_for_those_who_do_not_have_it() {
    let folder = tempfile::tempdir().unwrap();
    dir([("a", dir([("same", file("same")), ("grows", file("one"))])), ("new", file("two"))])
        .build(folder.path());
    let source = Counted::new(usize::MAX);
    let options = repo::options(folder.path());
    let [(_, first), (_, second)] = [Cut::Own, Cut::Own].map(repository);
    archive(&repo::context(), &first, &source, &[".".into()], &options).unwrap();
    source.opened_once();

    fs::write(folder.path().join("a/grows"), "one more").unwrap();
    let both = together(&[&first, &second], &source, &options);
    let [old, new] = both.map_each(|report| report.unwrap().summary);
    assert_eq!((old.files_changed, old.files_unmodified), (1, 2));
    assert_eq!((new.files_new, new.total_bytes_processed), (3, old.total_bytes_processed));
    assert_eq!(source.opened_once(), ["grows", "same", "new"]);

    let [old, new] =
        together(&[&first, &second], &source, &options).map_each(|report| report.unwrap().summary);
    assert_eq!((old.files_unmodified, new.files_unmodified), (3, 3));
    // What changed in the moment in which the last backup began may be read again.
    assert!(source.opened_once().iter().all(|name| name == "grows"));
}

/// Two results as an array.
trait MapEach<T> {
    fn map_each<R>(self, map: impl FnMut(T) -> R) -> [R; 2];
}

impl<T> MapEach<T> for Vec<T> {
    fn map_each<R>(self, map: impl FnMut(T) -> R) -> [R; 2] {
        self.into_iter().map(map).collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("two of them"))
    }
}

/// At every call to its storage one repository breaks; the other one never notices.
#[test]
fn repository_that_fails_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let files = (0..12).map(|at| (format!("f{at}"), file(noise(400_000, at))));
    dir(files.collect::<Vec<_>>()).build(folder.path());
    let options = repo::options(folder.path());
    for at in 1.. {
        let [(bad, opened), (good, other)] = [Cut::Own, Cut::Shared].map(repository);
        let faults = Arc::new(FaultBackend::new(bad.clone(), [Rule::nth(at, Fault::FreezeBefore)]));
        let failing = opened.with_backend(faults.clone());
        let source = Counted::new(usize::MAX);
        let results = together(&[&failing, &other], &source, &options);
        let [failed, saved] = results.map_each(Box::new);
        assert_eq!(saved.unwrap().summary.files_new, 12);
        assert_eq!(repo::assert_complete(good).len(), 1);
        source.opened_once();
        if !faults.is_frozen() {
            failed.unwrap();
            assert!(at > 5, "{at} calls are too few");
            return;
        }
        if failed.is_ok() {
            // What is left to do is taking its lock away.
            assert_eq!(repo::assert_complete(bad).len(), 1);
        }
    }
}

#[test]
fn full_storage_is_told_for_its_repository_alone() {
    let folder = tempfile::tempdir().unwrap();
    dir([("a", file(noise(3 << 20, 1))), ("b", file(noise(20 << 20, 2)))]).build(folder.path());
    let [(bad, opened), (_, other)] = [Cut::Own, Cut::Own].map(repository);
    let full = Rule::every(Fault::FailBefore(ErrorKind::Full)).on(Operation::Write).of(FileKind::Pack);
    let failing = opened.with_backend(Arc::new(FaultBackend::new(bad.clone(), [full])));
    let results = together(&[&other, &failing], &LocalSource::new(), &repo::options(folder.path()));
    let [saved, failed] = results.map_each(Box::new);
    assert_eq!(saved.unwrap().summary.files_new, 2);
    let error = repo_core::context::with_causes(&failed.unwrap_err());
    assert!(error.contains("no space left"), "{error}");
    assert!(bad.list(FileKind::Snapshot).unwrap().is_empty());
}

#[test]
fn stream_that_can_be_read_only_once_goes_to_all() {
    let content = noise(9 << 20, 4);
    let [(_, first), (_, second)] = [Cut::Own, Cut::Short].map(repository);
    let context = repo::context();
    let options = repo::options(Path::new("/"));
    let destinations = [&first, &second].map(|repository| Destination::new(&context, repository, &options));
    let source =
        StreamSource::new("/dump", std::io::Cursor::new(content.clone()), Timestamp::default(), (0, 0));
    let results = archive_several(&context, &destinations, &source, &["/dump".into()], &options);
    for (result, repository) in results.into_iter().zip([&first, &second]) {
        let restored = tempfile::tempdir().unwrap();
        repo::restore(repository, result.unwrap().id.unwrap(), restored.path(), &RestoreOptions::default());
        assert!(fs::read(restored.path().join("dump")).unwrap() == content);
    }
}

/// A folder whose files say that they are not to be believed.
struct Broken(LocalSource);

impl Source for Broken {
    fn list(&self, dir: &Path, detail: Detail) -> Result<Listing, SourceError> {
        self.0.list(dir, detail)
    }

    fn stat(&self, path: &Path, links: Links) -> Result<EntryMeta, SourceError> {
        self.0.stat(path, links)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        Err(SourceError::new(FaultKind::Broken, repo_core::fs::Operation::Read, path))
    }
}

#[test]
fn source_that_breaks_makes_no_snapshot_anywhere_and_what_cannot_be_read_is_told_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    dir([("a", file("here"))]).build(folder.path());
    let [(_, first), (_, second)] = [Cut::Own, Cut::Own].map(repository);
    let options = repo::options(folder.path());
    let missing: [PathBuf; 2] = [".".into(), "nowhere".into()];
    let context: Context = repo::context();
    let destinations = [&first, &second].map(|repository| Destination::new(&context, repository, &options));
    for result in archive_several(&context, &destinations, &LocalSource::new(), &missing, &options) {
        let report = result.unwrap();
        let nowhere = folder.path().join("nowhere");
        assert!(report.skipped.iter().all(|skipped| skipped.path == nowhere), "{:?}", report.skipped);
        // Before and while the files are read.
        assert_eq!(report.skipped.len(), 2);
    }
    let none = archive_several(&context, &destinations, &LocalSource::new(), &["nowhere".into()], &options);
    assert!(none.iter().all(|result| matches!(result, Err(ArchiveError::NoTarget { first: Some(_) }))));

    let options = ArchiveOptions { parent: ParentChoice::None, ..options };
    let destinations = [&first, &second].map(|repository| Destination::new(&context, repository, &options));
    let broken =
        archive_several(&context, &destinations, &Broken(LocalSource::new()), &[".".into()], &options);
    assert!(broken.iter().all(|result| matches!(result, Err(ArchiveError::Source(_)))), "{broken:?}");
}

/// A folder with two repositories, the second with another password.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        dir([("a", file("hello\n")), ("b", file(noise(3 << 20, 1)))]).build(&folder.path().join("source"));
        empty_repository(2, &folder.path().join("repository"));
        fs::write(folder.path().join("other-password"), "another one\n").unwrap();
        let place = Self(folder);
        let other = larder().on(&place.0.path().join("other")).within(place.0.path());
        other.args(["init", "--password-file", "other-password"]).ok();
        place
    }

    fn run(&self, line: &str) -> Ran {
        let call = larder().on(&self.0.path().join("repository")).within(self.0.path());
        call.args(line.split(' ')).run()
    }
}

#[test]
fn command_saves_to_all_repositories_and_restic_reads_each() {
    let place = Place::new();
    let other = place.0.path().join("other");
    let line = format!("backup source --also-repo {} --also-password-file other-password", other.display());
    let ran = place.run(&line);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains(&format!("repository {}:", other.display())), "{ran}");
    let summaries: Vec<_> = place
        .run(&format!("{line} --json"))
        .messages()
        .into_iter()
        .filter(|message| message["message_type"] == "summary")
        .collect();
    assert_eq!(summaries.len(), 2);
    assert!(summaries.iter().all(|summary| summary["files_unmodified"] == 2));
    assert_eq!(summaries[1]["repository"], other.display().to_string());
    restic().on(&place.0.path().join("repository")).args(["check", "--read-data"]).ok();
    let check = restic().on(&other).within(place.0.path());
    check.args(["check", "--read-data", "--password-file", "other-password"]).ok();
}

#[test]
fn command_tells_which_repository_failed_and_saves_to_the_others() {
    let place = Place::new();
    let wrong = place.run("backup source --also-repo other");
    assert_eq!(wrong.code, 1, "{wrong}");
    assert!(wrong.stderr.contains("no snapshot in repository other: wrong password"), "{wrong}");
    assert!(wrong.stderr.contains("1 of 2 repositories have no new snapshot"), "{wrong}");
    assert_eq!(place.run("snapshots --json").json().as_array().unwrap().len(), 1);

    let json = place.run("backup source --json --also-repo nowhere");
    assert_eq!(json.code, 1, "{json}");
    assert!(json.stderr.contains(r#""item":"nowhere"}"#), "{json}");

    let all = place.run("-r nothere backup source --also-repo nowhere");
    assert_eq!(all.code, 10, "{all}");
    let twice = place.run("backup source --also-repo other --also-repo other");
    assert!(twice.stderr.contains("named twice"), "{twice}");
    let partial = place.run("backup source missing --also-repo other --also-password-file other-password");
    assert_eq!(partial.code, 3, "{partial}");
}
