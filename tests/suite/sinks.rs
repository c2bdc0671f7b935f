//! One file of a snapshot onto a device, into an image, through a pipe.
//!
//! Goal: the content is there byte for byte, nothing is written that was right, nothing is fetched twice, and whatever goes
//! wrong is told with its place. Method: images that restic or larder saved, a loop device where the machine has one, and
//! sinks that count, lie and fail.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use repo_core::backend::{MemoryBackend, Operation, RecordBackend};
use repo_core::format::Node;
use repo_core::fs::sink::{Holds, ImageSink, Order, Sink, SinkProperties, StreamSink};
use repo_core::id::FileKind;
use repo_core::ops::restore::{SinkError, SinkOptions, SinkReport, restore_to_sink};
use repo_core::repository::{Reader, Repository};
use repo_core::walk;
use tempfile::TempDir;
use tests::fixtures::empty_repository;
use tests::larder::larder;
use tests::repo;
use tests::restic::restic;
use tests::tree::noise;

const NAME: &str = "/disk.raw";

/// Noise, a long hole, noise, zeros that are shorter than a chunk, noise; of odd length.
fn content() -> Vec<u8> {
    let zeros = |len| vec![0; len];
    [noise(3_000_000, 1), zeros(9_000_000), noise(2_000_000, 2), zeros(300_000), noise(5_000_003, 3)].concat()
}

/// A folder with `disk.raw`, and a repository into which restic has saved it.
fn saved(content: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.raw"), content).unwrap();
    empty_repository(2, &folder.path().join("repository"));
    let restic = restic();
    restic.on(&folder.path().join("repository")).args(["backup", "disk.raw"]).within(folder.path()).ok();
    folder
}

/// What is needed to restore the one file of the one snapshot.
struct File {
    reader: Reader,
    node: Node,
    /// What is asked of the storage, and how many packs it has.
    storage: Arc<RecordBackend>,
    packs: u64,
}

impl File {
    fn of(repository: &Path) -> Self {
        Self::on(Arc::new(repo::load(repository)))
    }

    fn on(memory: Arc<MemoryBackend>) -> Self {
        let packs = memory.files().into_iter().filter(|(file, _)| file.kind == FileKind::Pack).count() as u64;
        let storage = Arc::new(RecordBackend::new(memory));
        let repository: Repository = repo::open(storage.clone());
        let latest = repo_core::snapshots::list(&repo::context(), &repository).unwrap().pop().unwrap();
        let reader = repository.reader(&repo::context()).unwrap();
        let node = walk::lookup(&reader, latest.snapshot.tree, Path::new(NAME)).unwrap().unwrap();
        Self { reader, node, storage, packs }
    }

    fn restore(&self, sink: &dyn Sink, options: &SinkOptions) -> Result<SinkReport, SinkError> {
        restore_to_sink(&repo::context(), &self.reader, Path::new(NAME), &self.node, sink, options)
    }

    fn reads(&self) -> u64 {
        self.storage.counters().of(Operation::Read, FileKind::Pack).requests
    }
}

/// A loop device over a file, if the machine lets us have one; gone when dropped.
struct Loop {
    path: PathBuf,
}

impl Loop {
    fn over(file: &Path) -> Option<Self> {
        let made = Command::new("losetup").args(["--show", "-f"]).arg(file).output().ok()?;
        let path = String::from_utf8(made.stdout).ok()?.trim().to_owned();
        let found = made.status.success() && !path.is_empty();
        if !found {
            eprintln!("no loop device here: {}", String::from_utf8_lossy(&made.stderr));
        }
        found.then(|| Self { path: path.into() })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}

#[test]
fn image_is_restored_once_and_then_only_where_it_differs() {
    let content = content();
    let place = saved(&content);
    let file = File::of(&place.path().join("repository"));
    let image = place.path().join("image");
    let restore = |options: &SinkOptions| file.restore(&ImageSink::open(&image).unwrap(), options).unwrap();

    let before = file.reads();
    let first = restore(&SinkOptions { verify: true, ..SinkOptions::default() });
    assert!(fs::read(&image).unwrap() == content);
    assert!(first.is_verified && first.bytes_kept == 0, "{first:?}");
    assert!(first.bytes_zeroed >= 8_500_000, "{first:?}");
    assert_eq!(first.bytes_written + first.bytes_zeroed, content.len() as u64);
    assert!(fs::metadata(&image).unwrap().blocks() * 512 < 11_000_000, "the hole takes space");
    assert!(file.reads() - before <= file.packs, "{} reads of {} packs", file.reads() - before, file.packs);

    let before = file.reads();
    let second = restore(&SinkOptions::default());
    assert_eq!((second.bytes_written, second.bytes_zeroed, second.bytes_kept), (0, 0, content.len() as u64));
    assert_eq!(file.reads(), before, "what is right was fetched");

    let mut spoiled = content.clone();
    spoiled[5_000_000] = 1; // in the hole
    spoiled[12_500_000] ^= 1;
    spoiled.truncate(content.len() - 10);
    fs::write(&image, &spoiled).unwrap();
    let dry = restore(&SinkOptions { dry_run: true, ..SinkOptions::default() });
    assert!(fs::read(&image).unwrap() == spoiled, "a dry run has written");
    let third = restore(&SinkOptions::default());
    assert!(fs::read(&image).unwrap() == content);
    assert_eq!(dry.bytes_written, third.bytes_written + third.bytes_zeroed);
    assert!((1..=12 << 20).contains(&dry.bytes_written) && third.bytes_zeroed > 0, "{third:?}");
}

#[test]
fn device_is_written_in_place_and_keeps_what_lies_behind() {
    let content = content();
    let place = saved(&content);
    let behind = noise(1 << 20, 9);
    let disk = place.path().join("disk");
    fs::write(&disk, [noise(content.len().next_multiple_of(4096), 8), behind.clone()].concat()).unwrap();
    let Some(device) = Loop::over(&disk) else { return };
    let repository = place.path().join("repository");
    let larder = larder();
    let into = |more: &[&str]| {
        let call = larder.on(&repository).args(["restore", "latest:/disk.raw", "--json", "--into"]);
        call.arg(&device.path).args(more).run()
    };
    let len = content.len() as u64;
    let first = into(&["--verify"]);
    assert_eq!(first.code, 0, "{first}");
    let summary = first.summary();
    assert_eq!(summary["bytes_restored"], len, "{first}");
    assert!(summary["bytes_zeroed"].as_u64().unwrap() > 8_500_000, "{first}");
    let second = into(&[]).summary();
    assert_eq!((&second["bytes_skipped"], second.get("bytes_restored")), (&len.into(), None));
    drop(device);
    let written = fs::read(&disk).unwrap();
    assert!(written[..content.len()] == content);
    assert!(written.ends_with(&behind));
}

#[test]
fn device_that_is_too_small_or_in_use_is_not_written() {
    let content = noise(3_000_000, 1);
    let place = saved(&content);
    let disk = place.path().join("disk");
    let old = noise(2 << 20, 8);
    fs::write(&disk, &old).unwrap();
    let Some(device) = Loop::over(&disk) else { return };
    let user = ImageSink::open(&device.path).unwrap();
    let error = ImageSink::open(&device.path).unwrap_err();
    assert!(error.to_string().contains(device.path.to_str().unwrap()), "{error}");
    drop(user);
    let larder = larder();
    let ran = larder
        .on(&place.path().join("repository"))
        .args(["restore", "latest:/disk.raw", "--into"])
        .arg(&device.path)
        .run();
    assert_eq!(ran.code, 1, "{ran}");
    let device_name = device.path.to_str().unwrap();
    assert!(ran.stderr.contains(device_name) && ran.stderr.contains("/disk.raw has 3000000 bytes"), "{ran}");
    drop(device);
    assert!(fs::read(&disk).unwrap() == old);
}

#[test]
fn pipe_gets_the_bytes_in_order() {
    let content = content();
    let place = saved(&content);
    let file = File::of(&place.path().join("repository"));
    let sink = StreamSink::new("pipe", Vec::new());
    let report = file.restore(&sink, &SinkOptions { verify: true, ..SinkOptions::default() }).unwrap();
    assert!(sink.into_inner() == content);
    assert!(!report.is_verified, "nobody can read a pipe again");

    let pipe = place.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reading = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    let larder = larder();
    let call = larder.on(&place.path().join("repository")).args(["restore", "latest:/disk.raw", "--into"]);
    let ran = call.arg(&pipe).ok();
    assert!(ran.stdout.contains("Summary: Wrote"), "{ran}");
    assert!(reading.join().unwrap() == content);
}

/// Takes bytes in any order, with troubles.
#[derive(Default)]
struct Odd {
    bytes_max: Option<u64>,
    calls: AtomicU64,
    held: Mutex<Vec<u8>>,
    /// Writing this byte fails.
    fails_at: Option<u64>,
    /// This byte never arrives.
    loses: Option<usize>,
    fails_to_sync: bool,
}

impl Odd {
    fn touch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fails_at {
            Some(at) if (offset..offset + len).contains(&at) => Err(io::Error::other("worn out")),
            _ => Ok(()),
        }
    }
}

impl Sink for Odd {
    fn path(&self) -> &Path {
        Path::new("/dev/odd")
    }

    fn properties(&self) -> SinkProperties {
        SinkProperties { order: Order::Any, bytes_max: self.bytes_max, holds: Holds::Something }
    }

    fn begin(&self, len: u64) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.held.lock().unwrap().resize(usize::try_from(len).unwrap(), 9);
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let held = self.held.lock().unwrap();
        let rest = held.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.touch(offset, bytes.len() as u64)?;
        let start = usize::try_from(offset).unwrap();
        let mut held = self.held.lock().unwrap();
        let lost = self.loses.map(|at| (at, held[at]));
        held[start..start + bytes.len()].copy_from_slice(bytes);
        if let Some((at, old)) = lost {
            held[at] = old;
        }
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.touch(offset, len)?;
        let start = usize::try_from(offset).unwrap();
        self.held.lock().unwrap()[start..start + usize::try_from(len).unwrap()].fill(0);
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        if self.fails_to_sync { Err(io::Error::other("not there any more")) } else { Ok(()) }
    }
}

#[test]
fn troubles_of_a_sink_are_told_with_path_and_offset() {
    let content = content();
    let place = saved(&content);
    let file = File::of(&place.path().join("repository"));
    let restore = |sink: &Odd| file.restore(sink, &SinkOptions { verify: true, ..SinkOptions::default() });

    let small = Odd { bytes_max: Some(content.len() as u64 - 1), ..Odd::default() };
    let error = restore(&small).unwrap_err();
    assert!(matches!(error, SinkError::TooSmall { .. }), "{error}");
    assert!(error.to_string().contains("/disk.raw") && error.to_string().contains("/dev/odd"), "{error}");
    assert_eq!(small.calls.load(Ordering::Relaxed), 0, "it was touched");

    let exact = Odd { bytes_max: Some(content.len() as u64), ..Odd::default() };
    assert!(restore(&exact).unwrap().is_verified);
    assert!(*exact.held.lock().unwrap() == content);

    for fails_at in [0, 6_000_000, 14_500_000] {
        let error = restore(&Odd { fails_at: Some(fails_at), ..Odd::default() }).unwrap_err();
        let SinkError::Write { offset, .. } = &error else { panic!("{error:?}") };
        assert!(*offset <= fails_at, "{error}");
        assert_eq!(error.to_string(), format!("cannot write /dev/odd at offset {offset}"));
    }
    let error = restore(&Odd { loses: Some(1_000_000), ..Odd::default() }).unwrap_err();
    assert!(matches!(error, SinkError::Differs { offset, .. } if offset <= 1_000_000), "{error}");
    let error = restore(&Odd { fails_to_sync: true, ..Odd::default() }).unwrap_err();
    assert!(error.to_string().starts_with("cannot sync /dev/odd"), "{error}");
}

#[test]
fn damage_is_told_with_path_and_offset_and_never_written() {
    let content = noise(6_000_000, 1);
    let place = saved(&content);
    let memory = repo::load(&place.path().join("repository"));
    let damaged = MemoryBackend::with_files(memory.files().into_iter().map(|(file, mut bytes)| {
        if file.kind == FileKind::Pack && bytes.len() > 1_000_000 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        (file, bytes)
    }));
    let file = File::on(Arc::new(damaged));
    let image = place.path().join("image");
    let error = file.restore(&ImageSink::open(&image).unwrap(), &SinkOptions::default()).unwrap_err();
    let in_order = file.restore(&StreamSink::new("pipe", io::sink()), &SinkOptions::default()).unwrap_err();
    for error in [error, in_order] {
        let SinkError::Read { offset, .. } = &error else { panic!("{error:?}") };
        assert_eq!(
            error.to_string(),
            format!("cannot read /disk.raw at offset {offset} from the repository")
        );
    }
    let wrote = fs::read(&image).unwrap();
    let wrong = wrote.iter().zip(&content).filter(|(wrote, right)| **wrote != 0 && wrote != right).count();
    assert_eq!(wrong, 0);
}

#[test]
fn flags_that_make_no_sense_with_into_are_refused() {
    let place = saved(b"boot");
    let larder = larder();
    for words in [
        &["latest", "--into", "x"][..],
        &["latest:/", "--into", "x"],
        &["latest:/disk.raw", "--into", "x", "--target", "y"],
        &["latest:/disk.raw", "--into", "x", "--delete"],
        &["latest:/disk.raw", "--into", "x", "--as-copy", "y"],
        &["latest:/disk.raw", "--into", "x", "--include", "y"],
        &["latest:/disk.raw", "--into", "x", "--dry-run", "--verify"],
        &["latest:/disk.raw", "--into", "."],
    ] {
        let call = larder.on(&place.path().join("repository")).within(place.path());
        let ran = call.arg("restore").args(words).run();
        assert_eq!(ran.code, 1, "{ran}");
        assert!(!place.path().join("x").exists(), "{ran}");
    }
}
