//! How long it takes to find a file in many snapshots, with the search index and without: `search SNAPSHOTS FILES`.
//!
//! Makes a repository in memory, of folders with a hundred files each, in which every snapshot changes twenty files. Then
//! builds the index, and asks it what `find` and `log` ask (docs/decisions/0019).

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use repo_core::backend::MemoryBackend;
use repo_core::crypto::ScryptParams;
use repo_core::filter::Case;
use repo_core::fs::metadata::{EntryMeta, Xattrs};
use repo_core::fs::source::{Detail, Entry, Links, Listing, OpenFile, Piece, Source};
use repo_core::fs::{FaultKind, Operation, SourceError};
use repo_core::ops::archive::ChangedPaths;
use repo_core::ops::query::find::{Names, NearSearch, entries, entries_near};
use repo_core::ops::query::log::log;
use repo_core::search::SearchIndex;
use repo_core::snapshots;
use repo_core::time::Timestamp;
use repo_core::{ArchiveOptions, Context, InitOptions, Repository, archive};

const TOP: &str = "/files";
const PER_FOLDER: usize = 100;
const CHANGES: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [snapshots, files] = &words[..] else { return Err("SNAPSHOTS FILES".into()) };
    let (count, files): (usize, usize) = (snapshots.parse()?, files.parse()?);
    let context = Context::new();
    let folder = tempfile::tempdir()?;
    let kdf = Some(ScryptParams { n: 1024, r: 8, p: 1 });
    let init = InitOptions { kdf, cache: Some(folder.path().to_owned()), ..InitOptions::default() };
    let repository = Repository::init(&context, Arc::new(MemoryBackend::new()), &"many".into(), &init)?;
    timed(&format!("{count} snapshots of {files} files"), || fill(&context, &repository, count, files))?;

    let reader = repository.reader(&context)?;
    let all = snapshots::list(&context, &repository)?;
    let roots = || all.iter().map(|stored| stored.snapshot.tree);
    let index = SearchIndex::open(&context, &repository)?.ok_or("no cache")?;
    timed("index built", || index.update(&context, &reader, roots()))?;
    timed("index up to date", || index.update(&context, &reader, roots()))?;
    let middle = format!("f{:07}", files / 2);
    for pattern in [middle.as_str(), "f*5", "/files/d00001", "nothing"] {
        let names = Names::new([pattern], Case::Sensitive)?;
        let near = timed(&format!("find {pattern:14} with the index"), || -> Result<u64, Box<dyn Error>> {
            let view = index.view()?;
            let search = NearSearch::new(&view, &names)?;
            let finds = entries_near(&context, &search, None, &all, &names);
            finds.map(|find| find.map(|_| 1)).sum::<Result<u64, _>>().map_err(Into::into)
        })?;
        if pattern != "f*5" {
            let far = timed(&format!("find {pattern:14} without"), || {
                entries(&context, &reader, &all, &names).map(|find| find.map(|_| 1)).sum::<Result<u64, _>>()
            })?;
            assert_eq!(near, far, "both find the same");
        }
    }
    let path = Path::new(TOP).join(format!("d{:05}", files / 2 / PER_FOLDER)).join(middle);
    let near = timed("log with the index", || -> Result<usize, Box<dyn Error>> {
        Ok(log(&context, &index.view()?, &all, &path)?.versions.len())
    })?;
    let far = timed("log without", || log(&context, &reader, &all, &path).map(|found| found.versions.len()))?;
    assert_eq!(near, far, "both find the same");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn timed<T, E>(what: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let start = Instant::now();
    let done = work();
    println!("{what:32} {:9.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    done
}

fn fill(
    context: &Context,
    repository: &Repository,
    count: usize,
    files: usize,
) -> Result<(), Box<dyn Error>> {
    let source = Changing(Mutex::new(vec![0; files]));
    for number in 0..count {
        let mut changed = ChangedPaths::default();
        for step in 0..CHANGES {
            let file = (number * 7919 + step * 104_729) % files;
            source.set(file, i64::try_from(number)?);
            changed
                .add(Path::new(TOP).join(format!("d{:05}", file / PER_FOLDER)).join(format!("f{file:07}")));
        }
        let changed = (number > 0).then_some(changed);
        // Nobody else is there, and a lock is waited for.
        let options = ArchiveOptions { changed, lock: None, ..ArchiveOptions::default() };
        archive(context, repository, &source, &[TOP.into()], &options)?;
    }
    Ok(())
}

/// Folders `d00000` … with files `f0000000` …, and when each was changed last.
struct Changing(Mutex<Vec<i64>>);

impl Changing {
    fn set(&self, file: usize, seconds: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[file] = seconds;
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn meta(&self, file: usize) -> EntryMeta {
        let seconds = self.0.lock().unwrap_or_else(PoisonError::into_inner)[file];
        EntryMeta::file(16, Timestamp { seconds: 1_600_000_000 + seconds, nanos: 0 })
    }

    fn number(path: &Path, letter: char) -> Option<usize> {
        path.file_name()?.to_str()?.strip_prefix(letter)?.parse().ok()
    }
}

fn folder() -> EntryMeta {
    EntryMeta::dir(Timestamp { seconds: 1_600_000_000, nanos: 0 })
}

impl Source for Changing {
    fn list(&self, dir: &Path, _: Detail) -> Result<Listing, SourceError> {
        let entry = |name: String, meta: EntryMeta| Entry {
            name: name.into(),
            kind: Some(meta.kind.clone()),
            meta: Some(meta),
        };
        let entries = if dir == Path::new(TOP) {
            (0..self.len().div_ceil(PER_FOLDER))
                .map(|number| entry(format!("d{number:05}"), folder()))
                .collect()
        } else {
            let vanished = || SourceError::new(FaultKind::Vanished, Operation::List, dir);
            let first = Self::number(dir, 'd').ok_or_else(vanished)? * PER_FOLDER;
            let files = first..(first + PER_FOLDER).min(self.len());
            files.map(|number| entry(format!("f{number:07}"), self.meta(number))).collect()
        };
        Ok(Listing { meta: folder(), xattrs: Xattrs::default(), entries })
    }

    fn stat(&self, path: &Path, _: Links) -> Result<EntryMeta, SourceError> {
        Ok(Self::number(path, 'f').map_or_else(folder, |file| self.meta(file)))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        let vanished = || SourceError::new(FaultKind::Vanished, Operation::Open, path);
        let meta = self.meta(Self::number(path, 'f').ok_or_else(vanished)?);
        let mut rest = meta.mtime.seconds.to_le_bytes().to_vec();
        rest.extend_from_slice(&path.as_os_str().as_encoded_bytes()[path.as_os_str().len() - 8..]);
        Ok(Box::new(Open { meta, rest }))
    }
}

struct Open {
    meta: EntryMeta,
    rest: Vec<u8>,
}

impl OpenFile for Open {
    fn meta(&self) -> &EntryMeta {
        &self.meta
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let len = self.rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.rest.drain(..len)) {
            *to = from;
        }
        Ok(if len == 0 { Piece::End } else { Piece::Data(len) })
    }
}
