//! Makes a repository with one snapshot of very many small files, the same every time: `many_files LOCATION FILES PER_FOLDER`.
//!
//! The files are made up while they are read, each with a content of its own. The password is `many`. To measure
//! what browsing costs: mount it and list a folder (docs/decisions/0018).

use std::error::Error;
use std::path::Path;

use backends::{Location, Options};
use repo_core::crypto::ScryptParams;
use repo_core::fs::metadata::{EntryMeta, Xattrs};
use repo_core::fs::source::{Detail, Entry, Links, Listing, OpenFile, Piece, Source};
use repo_core::fs::{FaultKind, Operation, SourceError};
use repo_core::time::Timestamp;
use repo_core::{ArchiveOptions, Context, InitOptions, Repository, archive};

const TIME: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 0 };
const TOP: &str = "/files";

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [location, files, per_folder] = &words[..] else { return Err("LOCATION FILES PER_FOLDER".into()) };
    let source = ManyFiles { files: files.parse()?, per_folder: per_folder.parse()? };
    let context = Context::new();
    let storage = backends::open(&context, &location.parse::<Location>()?, &Options::default())?;
    let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
    let repository = Repository::init(&context, storage, &"many".into(), &cheap)?;
    let report = archive(&context, &repository, &source, &[TOP.into()], &ArchiveOptions::default())?;
    println!("{} files, {} folders", report.summary.files_new, report.summary.dirs_new);
    Ok(())
}

/// Folders `d00000` … with files `f0000000` ….
struct ManyFiles {
    files: u64,
    per_folder: u64,
}

impl ManyFiles {
    fn folder(&self, path: &Path) -> Option<u64> {
        let number = path.strip_prefix(TOP).ok()?.to_str()?.strip_prefix('d')?.parse().ok()?;
        (number < self.files.div_ceil(self.per_folder)).then_some(number)
    }

    fn text(path: &Path) -> Vec<u8> {
        path.as_os_str().as_encoded_bytes().to_vec()
    }
}

impl Source for ManyFiles {
    fn list(&self, dir: &Path, _: Detail) -> Result<Listing, SourceError> {
        let entry = |name: String, meta: EntryMeta| Entry {
            name: name.into(),
            kind: Some(meta.kind.clone()),
            meta: Some(meta),
        };
        let entries = if dir == Path::new(TOP) {
            let folders = 0..self.files.div_ceil(self.per_folder);
            folders.map(|number| entry(format!("d{number:05}"), EntryMeta::dir(TIME))).collect()
        } else {
            let vanished = || SourceError::new(FaultKind::Vanished, Operation::List, dir);
            let first = self.folder(dir).ok_or_else(vanished)? * self.per_folder;
            let file = |number: u64| {
                let name = format!("f{number:07}");
                let len = Self::text(&dir.join(&name)).len() as u64;
                entry(name, EntryMeta::file(len, TIME))
            };
            (first..(first + self.per_folder).min(self.files)).map(file).collect()
        };
        Ok(Listing { meta: EntryMeta::dir(TIME), xattrs: Xattrs::default(), entries })
    }

    fn stat(&self, path: &Path, _: Links) -> Result<EntryMeta, SourceError> {
        let is_dir = Path::new(TOP).starts_with(path) || self.folder(path).is_some();
        Ok(if is_dir { EntryMeta::dir(TIME) } else { EntryMeta::file(Self::text(path).len() as u64, TIME) })
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        let text = Self::text(path);
        let meta = EntryMeta::file(text.len() as u64, TIME);
        Ok(Box::new(Open { meta, rest: text }))
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
