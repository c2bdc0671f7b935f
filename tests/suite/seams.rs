//! Where other programs take hold of a backup: sources that know more than a folder does.
//!
//! Goal: whatever a source spares the engine, the snapshot is the one that a full walk and a full read give. Method:
//! random changes, made known to one backup and not to another; the trees must be the same to the last bit.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use repo_core::LocalSource;
use repo_core::backend::MemoryBackend;
use repo_core::format::{NodeKind, Snapshot as Record};
use repo_core::fs::metadata::{EntryMeta, Xattrs};
use repo_core::fs::source::{
    Cuts, Detail, Entry, Links, Listing, OpenFile, Piece, RelocatedSource, Source, StreamSource, WithFiles,
};
use repo_core::fs::{FaultKind, Operation, SourceError};
use repo_core::id::{DataId, SnapshotId};
use repo_core::ops::archive::{ArchiveError, ArchiveOptions, ChangedPaths, ParentChoice, Report, archive};
use repo_core::repository::Repository;
use repo_core::time::Timestamp;
use repo_core::walk::Walk;
use tests::repo;
use tests::restic::restic;
use tests::tree::{dir, file, noise};
use tests::trouble::{Random, for_seeds};

fn backup(repository: &Repository, source: &dyn Source, target: &Path, options: &ArchiveOptions) -> Report {
    let report = archive(&repo::context(), repository, source, &[target.to_owned()], options).unwrap();
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    report
}

/// The folder, and which of its directories were read.
struct Watched {
    inner: LocalSource,
    listed: Mutex<BTreeSet<PathBuf>>,
}

impl Source for Watched {
    fn list(&self, dir: &Path, detail: Detail) -> Result<Listing, SourceError> {
        self.listed.lock().unwrap().insert(dir.to_owned());
        self.inner.list(dir, detail)
    }

    fn stat(&self, path: &Path, links: Links) -> Result<EntryMeta, SourceError> {
        self.inner.stat(path, links)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        self.inner.open(path)
    }

    fn xattrs(&self, path: &Path, links: Links) -> Xattrs {
        self.inner.xattrs(path, links)
    }
}

/// Changes something at random below `root` and says where.
fn change(root: &Path, random: &mut Random) -> PathBuf {
    let folder = root.join(format!("d{}/e{}", random.below(4), random.below(3)));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("f{}", random.below(5)));
    match random.below(5) {
        0 if path.exists() => fs::remove_file(&path).unwrap(),
        1 => {
            fs::remove_dir_all(&folder).unwrap();
            return folder;
        }
        2 => {
            let new = folder.join("new");
            fs::create_dir_all(&new).unwrap();
            fs::write(new.join("inside"), noise(100, random.number())).unwrap();
            return new;
        }
        _ => fs::write(&path, noise(1000, random.number())).unwrap(),
    }
    path
}

#[test]
fn tree_of_known_changes_is_that_of_a_full_walk() {
    for_seeds("tree_of_known_changes_is_that_of_a_full_walk", 0..12, |seed| {
        let mut random = Random::new(seed);
        let folder = tempfile::tempdir().unwrap();
        // Not by its path: others change the folders above.
        let here = Path::new(".");
        for d in 0..4 {
            for e in 0..3 {
                let names = (0..4).map(|f| (format!("f{f}"), file(noise(500, d * 100 + e * 10 + f))));
                dir(names.collect::<Vec<_>>()).build(&folder.path().join(format!("d{d}/e{e}")));
            }
        }
        let source = Watched { inner: LocalSource::new(), listed: Mutex::default() };
        let edited = repo::open(Arc::new(repo::in_memory(2)));
        let walked = repo::open(Arc::new(repo::in_memory(2)));
        backup(&edited, &source, here, &repo::options(folder.path()));
        for _ in 0..3 {
            let mut changed = ChangedPaths::default();
            let paths: Vec<_> = (0..random.below(4)).map(|_| change(folder.path(), &mut random)).collect();
            for path in &paths {
                changed.add(path);
            }
            source.listed.lock().unwrap().clear();
            let options = ArchiveOptions { changed: Some(changed.clone()), ..repo::options(folder.path()) };
            let quick = backup(&edited, &source, here, &options);
            let listed = std::mem::take(&mut *source.listed.lock().unwrap());
            let idle: Vec<_> =
                listed.iter().filter(|dir| *dir != folder.path() && !changed.touches(dir)).collect();
            let new = |dir: &PathBuf| paths.iter().any(|path| dir.starts_with(path));
            assert!(idle.iter().all(|dir| new(dir)), "{idle:?} were read for {paths:?}");
            let options = ArchiveOptions { parent: ParentChoice::None, ..repo::options(folder.path()) };
            let full = backup(&walked, &source, here, &options);
            assert_eq!(quick.snapshot.tree, full.snapshot.tree, "{paths:?}");
        }
    });
}

#[test]
fn folder_that_changed_somewhere_is_walked_whole() {
    let folder = tempfile::tempdir().unwrap();
    dir([("a", dir([("deep", dir([("f", file("old"))]))])), ("b", file("old"))]).build(folder.path());
    let repository = repo::open(Arc::new(repo::in_memory(2)));
    let first = repo::backup(&repository, folder.path()).unwrap();
    fs::write(folder.path().join("a/deep/f"), "newer").unwrap();
    fs::write(folder.path().join("b"), "newer, but nobody said so").unwrap();
    let mut changed = ChangedPaths::default();
    changed.add_whole(folder.path().join("a"));
    let options = ArchiveOptions { changed: Some(changed), ..repo::options(folder.path()) };
    let report =
        archive(&repo::context(), &repository, &LocalSource::new(), &[".".into()], &options).unwrap();
    assert_eq!((report.summary.files_changed, report.summary.files_unmodified), (1, 1));
    assert_ne!(report.snapshot.tree, first.snapshot.tree);
}

#[test]
fn what_the_repository_lost_is_read_again_though_nobody_named_it() {
    let folder = tempfile::tempdir().unwrap();
    dir([("f", file(noise(3000, 1)))]).build(folder.path());
    let memory = Arc::new(repo::in_memory(2));
    repo::backup(&repo::open(memory.clone()), folder.path()).unwrap();
    let lost = MemoryBackend::with_files(memory.files().into_iter().filter(|(file, _)| {
        !matches!(file.kind, repo_core::id::FileKind::Index | repo_core::id::FileKind::Pack)
    }));
    let repository = repo::open(Arc::new(lost.copy()));
    let options = ArchiveOptions { changed: Some(ChangedPaths::default()), ..repo::options(folder.path()) };
    let report =
        archive(&repo::context(), &repository, &LocalSource::new(), &[".".into()], &options).unwrap();
    assert_eq!(report.summary.data_blobs, 1);
}

/// `/disk/image`, a file in memory that may know its changes.
#[derive(Default)]
struct Disk {
    content: Vec<u8>,
    /// Holes, at rising places, within the content.
    holes: Vec<Range<usize>>,
    time: i64,
    every: Option<u32>,
    changes: Option<(SnapshotId, Vec<Range<u64>>)>,
    bytes_read: Arc<AtomicU64>,
}

impl Disk {
    fn meta(&self, path: &Path) -> Result<EntryMeta, SourceError> {
        let time = Timestamp { seconds: self.time, nanos: 0 };
        match path.to_str() {
            Some("/disk") => Ok(EntryMeta::dir(time)),
            Some("/disk/image") => Ok(EntryMeta::file(self.content.len() as u64, time)),
            _ => Err(SourceError::new(FaultKind::Vanished, Operation::Stat, path)),
        }
    }
}

impl Source for Disk {
    fn list(&self, dir: &Path, _detail: Detail) -> Result<Listing, SourceError> {
        let entry = Entry { name: "image".into(), kind: Some(NodeKind::File), meta: None };
        Ok(Listing { meta: self.meta(dir)?, xattrs: Xattrs::default(), entries: vec![entry] })
    }

    fn stat(&self, path: &Path, _links: Links) -> Result<EntryMeta, SourceError> {
        self.meta(path)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        let meta = self.meta(path)?;
        let (content, holes, changes) = (self.content.clone(), self.holes.clone(), self.changes.clone());
        let bytes_read = self.bytes_read.clone();
        Ok(Box::new(Image { meta, content, holes, at: 0, every: self.every, changes, bytes_read }))
    }
}

struct Image {
    meta: EntryMeta,
    content: Vec<u8>,
    holes: Vec<Range<usize>>,
    at: usize,
    every: Option<u32>,
    changes: Option<(SnapshotId, Vec<Range<u64>>)>,
    bytes_read: Arc<AtomicU64>,
}

impl OpenFile for Image {
    fn meta(&self) -> &EntryMeta {
        &self.meta
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let at = self.at;
        if at >= self.content.len() {
            return Ok(Piece::End);
        }
        if let Some(hole) = self.holes.iter().find(|hole| hole.contains(&at)) {
            self.at = hole.end;
            return Ok(Piece::Hole((hole.end - at) as u64));
        }
        let end = self.holes.iter().map(|hole| hole.start).find(|start| *start > at);
        let end = end.unwrap_or(self.content.len()).min(at + buffer.len());
        buffer[..end - at].copy_from_slice(&self.content[at..end]);
        self.at = end;
        self.bytes_read.fetch_add((end - at) as u64, Ordering::Relaxed);
        Ok(Piece::Data(end - at))
    }

    fn cuts(&self) -> Cuts {
        self.every.map_or(Cuts::AsRepository, Cuts::Every)
    }

    fn changes_since(&self, parent: SnapshotId) -> Option<Vec<Range<u64>>> {
        self.changes.as_ref().filter(|(since, _)| *since == parent).map(|(_, changes)| changes.clone())
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        self.at = usize::try_from(offset).unwrap();
        Ok(())
    }
}

/// The image's chunks in a snapshot.
fn chunks(repository: &Repository, snapshot: &Record) -> Vec<DataId> {
    let reader = repository.reader(&repo::context()).unwrap();
    let entries = Walk::new(&reader, snapshot.tree, "/").map(Result::unwrap);
    let image = entries.map(|entry| entry.node).find(|node| node.name == b"image").unwrap();
    image.content.unwrap()
}

/// Changes an image at random, as programs do that know which blocks they write.
fn write_blocks(disk: &mut Disk, random: &mut Random) -> Vec<Range<u64>> {
    let mut changes = Vec::new();
    for _ in 0..random.below(4) {
        let start = usize::try_from(random.below(disk.content.len() as u64)).unwrap();
        let end = (start + usize::try_from(1 + random.below(200_000)).unwrap()).min(disk.content.len());
        disk.content[start..end].copy_from_slice(&noise(end - start, random.number()));
        changes.push(start as u64..end as u64);
    }
    match random.below(4) {
        0 => disk.content.extend(noise(usize::try_from(random.below(1_500_000)).unwrap(), random.number())),
        1 => disk.content.truncate(disk.content.len() - usize::try_from(random.below(1_000_000)).unwrap()),
        _ => {}
    }
    disk.holes.retain(|hole| hole.end <= disk.content.len());
    disk.holes.retain(|hole| disk.content[hole.clone()].iter().all(|byte| *byte == 0));
    changes
}

#[test]
fn content_of_known_changes_is_that_of_a_full_read() {
    for_seeds("content_of_known_changes_is_that_of_a_full_read", 0..4, |seed| {
        let mut random = Random::new(seed);
        let every = (seed % 3 == 1).then_some(64 << 10);
        let hole = 1_000_000..2_600_000;
        let mut content = noise(4_000_000, seed);
        content[hole.clone()].fill(0);
        let holes = if seed % 2 == 0 { vec![hole] } else { Vec::new() };
        let mut disk = Disk { content, holes, every, time: 1_000, ..Disk::default() };
        let target = Path::new("/disk");
        let (spared, full) =
            (repo::open(Arc::new(repo::in_memory(2))), repo::open(Arc::new(repo::in_memory(2))));
        let mut parent = backup(&spared, &disk, target, &repo::options(Path::new("/"))).id.unwrap();
        for round in 0..2 {
            let changes = write_blocks(&mut disk, &mut random);
            disk.time += 100;
            disk.changes = Some((parent, changes));
            disk.bytes_read.store(0, Ordering::Relaxed);
            let quick = backup(&spared, &disk, target, &repo::options(Path::new("/")));
            let read = disk.bytes_read.swap(0, Ordering::Relaxed);
            let whole = backup(
                &full,
                &Disk { changes: None, ..clone(&disk) },
                target,
                &repo::options(Path::new("/")),
            );
            assert_eq!(
                chunks(&spared, &quick.snapshot),
                chunks(&full, &whole.snapshot),
                "round {round}: {:?} of {}",
                disk.changes,
                disk.content.len()
            );
            assert_eq!(quick.summary.total_bytes_processed, whole.summary.total_bytes_processed);
            assert!(read <= disk.content.len() as u64 + (1 << 20), "{read}");
            parent = quick.id.unwrap();
        }
    });
}

fn clone(disk: &Disk) -> Disk {
    let (content, holes) = (disk.content.clone(), disk.holes.clone());
    Disk { content, holes, time: disk.time, every: disk.every, ..Disk::default() }
}

#[test]
fn one_changed_block_of_a_large_file_reads_few_bytes_of_it() {
    let target = Path::new("/disk");
    let mut disk = Disk { content: noise(16_000_000, 1), time: 1_000, ..Disk::default() };
    let repository = repo::open(Arc::new(repo::in_memory(2)));
    let first = backup(&repository, &disk, target, &repo::options(Path::new("/"))).id.unwrap();
    disk.content[8_000_000] ^= 1;
    disk.time += 100;
    let changed = 8_000_000..8_000_001;
    disk.changes = Some((first, std::iter::once(changed).collect()));
    disk.bytes_read.store(0, Ordering::Relaxed);
    let report = backup(&repository, &disk, target, &repo::options(Path::new("/")));
    let read = disk.bytes_read.load(Ordering::Relaxed);
    assert!(report.summary.data_blobs <= 2 && read <= 8 << 20, "{read} bytes, {:?}", report.summary);
}

#[test]
fn image_is_cut_at_fixed_places_holes_are_one_chunk_and_restic_reads_it() {
    let target = Path::new("/disk");
    let hole = 1 << 20..3 << 20;
    let mut content = noise(4 << 20, 3);
    content[hole.clone()].fill(0);
    content.extend([1, 2, 3]);
    let disk = Disk { content, holes: vec![hole], time: 1_000, every: Some(512 << 10), ..Disk::default() };
    let memory = Arc::new(repo::in_memory(2));
    let repository = repo::open(memory.clone());
    let report = backup(&repository, &disk, target, &repo::options(Path::new("/")));
    let chunks = chunks(&repository, &report.snapshot);
    assert_eq!(chunks.len(), 9);
    assert!(chunks[2..6].iter().all(|chunk| *chunk == chunks[2]), "{chunks:?}");
    assert_eq!(disk.bytes_read.load(Ordering::Relaxed), (2 << 20) + 3);

    let folder = tempfile::tempdir().unwrap();
    repo::save(&memory, &folder.path().join("repository"));
    let restic = restic();
    let on = || restic.on(&folder.path().join("repository"));
    on().args(["check", "--read-data"]).ok();
    on().args(["restore", "latest", "--target"]).arg(folder.path().join("restored")).ok();
    assert!(fs::read(folder.path().join("restored/disk/image")).unwrap() == disk.content);
}

/// Gives a few bytes, then fails.
struct Breaking(bool);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(io::Error::other("the dump ended badly"));
        }
        buffer[..3].copy_from_slice(b"abc");
        Ok(3)
    }
}

#[test]
fn stream_that_fails_closed_makes_no_snapshot() {
    let repository = repo::open(Arc::new(repo::in_memory(2)));
    let options = repo::options(Path::new("/"));
    let run = |source: &StreamSource| {
        let target = source.path().to_owned();
        archive(&repo::context(), &repository, source, &[target], &options).map_err(Box::new)
    };
    let source = || StreamSource::new("/dump.sql", Breaking(false), Timestamp::default(), (0, 0));
    let error = *run(&source().fail_closed()).unwrap_err();
    assert!(matches!(&error, ArchiveError::Source(cause) if cause.kind() == FaultKind::Broken), "{error:?}");
    assert_eq!(repository.list::<Record>().unwrap(), []);
    // Unless asked for, it is one more file that could not be read, here the only one.
    assert!(matches!(*run(&source()).unwrap_err(), ArchiveError::Empty));
}

#[test]
fn place_of_reading_leaves_no_trace_in_the_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("mount-1"), folder.path().join("mount-2"));
    dir([("content", dir([("sub", dir([("f", file("letter"))]))]))]).build(&first);
    let repository = repo::open(Arc::new(repo::in_memory(2)));
    let target = Path::new("/srv/data-of-ours");
    let read_at = |place: &Path| {
        let source = RelocatedSource::new(LocalSource::new()).reading(target, place.join("content"));
        backup(&repository, &source, target, &repo::options(Path::new("/")))
    };
    let once = read_at(&first);
    fs::rename(&first, &second).unwrap();
    let again = read_at(&second);
    assert_eq!(once.snapshot.paths, ["/srv/data-of-ours"]);
    assert_eq!(once.snapshot.paths, again.snapshot.paths);
    assert_eq!((again.summary.files_unmodified, again.summary.data_blobs), (1, 0));
    assert_eq!(again.snapshot.parent, once.id);
}

#[test]
fn synthetic_file_is_a_file_like_others() {
    let folder = tempfile::tempdir().unwrap();
    dir([("f", file("real"))]).build(folder.path());
    let memory = Arc::new(repo::in_memory(2));
    let repository = repo::open(memory.clone());
    let time = Timestamp { seconds: 1_700_000_000, nanos: 0 };
    let source =
        WithFiles::new(LocalSource::new()).file(folder.path().join("meta/disks.json"), time, "[1, 2]");
    let options = repo::options(folder.path());
    let run = || archive(&repo::context(), &repository, &source, &[".".into()], &options).unwrap();
    assert_eq!(run().summary.files_new, 2);
    assert_eq!(run().summary.files_unmodified, 2);
    let at = tempfile::tempdir().unwrap();
    repo::save(&memory, at.path());
    let printed = restic().on(at.path()).args(["dump", "latest", "/meta/disks.json"]).ok();
    assert_eq!(printed.stdout, "[1, 2]");
}
