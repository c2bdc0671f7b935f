//! Keeps a repository in storage of one's own, here a folder without subfolders, and proves that it may.
//!
//! `cargo run -p repo-core --example own_backend`
//! Works in a temporary folder.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use repo_core::backend::conformance::{self, Scale, Subject};
use repo_core::backend::{BackendError, ErrorKind, Listed, Operation, Properties};
use repo_core::id::{FileId, FileKind, Id};
use repo_core::{
    ArchiveOptions, Backend, CheckOptions, Context, InitOptions, LocalSource, Repository, archive, check,
};

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;

    // Every promise of the trait, each in a fresh place; panics at the first one that is broken.
    let places = AtomicU64::new(0);
    let fresh = || scratch.path().join(format!("place-{}", places.fetch_add(1, Ordering::Relaxed)));
    conformance::check(|| Subject::new(Arc::new(FlatFolder::new(fresh()))), Scale::Quick);
    println!("the backend keeps all promises");

    let context = Context::new();
    let storage = Arc::new(FlatFolder::new(scratch.path().join("repository")));
    let repository = Repository::init(&context, storage.clone(), &"secret".into(), &InitOptions::default())?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    archive(&context, &repository, &LocalSource::new(), &[sources], &ArchiveOptions::default())?;
    let report = check(&context, &repository, &CheckOptions::default())?;
    println!("{} files in {}", fs::read_dir(&storage.folder)?.count(), storage.folder.display());
    if report.is_sound() { Ok(()) } else { Err("the repository is damaged".into()) }
}

/// A folder with files named `pack-0123…`.
#[derive(Debug)]
struct FlatFolder {
    folder: PathBuf,
    unfinished: AtomicU64,
}

impl FlatFolder {
    fn new(folder: PathBuf) -> Self {
        Self { folder, unfinished: AtomicU64::new(0) }
    }

    fn path(&self, file: FileId) -> PathBuf {
        self.folder.join(format!("{}-{}", file.kind.word(), file.id))
    }

    /// Whole or not at all, and still there after a loss of power: written beside, synced, then renamed.
    fn store(&self, file: FileId, content: &[u8]) -> io::Result<()> {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(format!("unfinished-{number}"));
        let mut writer = File::create(&unfinished)?;
        writer.write_all(content)?;
        writer.sync_all()?;
        fs::rename(&unfinished, self.path(file))?;
        File::open(&self.folder)?.sync_all()
    }

    fn names(&self, kind: FileKind) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(kind.word())?.strip_prefix('-'));
            if let Some(id) = id.and_then(|id| id.parse::<Id>().ok()) {
                match entry.metadata() {
                    Ok(meta) => listed.push(Listed { id, size: meta.len() }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {} // removed meanwhile
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(listed)
    }
}

impl Backend for FlatFolder {
    fn properties(&self) -> Properties {
        let location = self.folder.display().to_string();
        Properties { location, connections: 4, atomic_replace: true }
    }

    fn create(&self) -> Result<(), BackendError> {
        let error = |error| BackendError::repository(kind_of(&error), Operation::Create).because(error);
        fs::create_dir_all(&self.folder).map_err(error)
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.store(file, content).map_err(|error| failed(error, Operation::Write, file))
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        buffer.clear();
        let len = range.end - range.start;
        let read = File::open(self.path(file)).and_then(|mut reader| {
            reader.seek(SeekFrom::Start(range.start))?;
            reader.take(len).read_to_end(buffer)
        });
        match read {
            Ok(read) if read as u64 == len => Ok(()),
            Ok(_) => Err(BackendError::file(ErrorKind::TooShort, Operation::Read, file)),
            Err(error) => Err(failed(error, Operation::Read, file)),
        }
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        buffer.clear();
        let error = |error| failed(error, Operation::Read, file);
        let mut reader = File::open(self.path(file)).map_err(error)?;
        if reader.metadata().map_err(error)?.len() > limit {
            return Err(BackendError::file(ErrorKind::TooLong, Operation::Read, file));
        }
        reader.read_to_end(buffer).map_err(error)?;
        Ok(())
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        match self.path(file).metadata() {
            Ok(meta) => Ok(meta.len()),
            Err(error) => Err(failed(error, Operation::Size, file)),
        }
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        match self.names(kind) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()), // not made yet
            listed => listed
                .map_err(|error| BackendError::folder(kind_of(&error), Operation::List, kind).because(error)),
        }
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        match fs::remove_file(self.path(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(error, Operation::Remove, file))
            }
            _ => Ok(()),
        }
    }
}

fn failed(error: io::Error, operation: Operation, file: FileId) -> BackendError {
    BackendError::file(kind_of(&error), operation, file).because(error)
}

/// What can be done about an error of the system.
fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    }
}
