//! Backs up something that is no file system: letters in a mailbox, each as a file.
//!
//! `cargo run -p repo-core --example own_source`
//! Makes its own mailbox, and a repository in memory.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use repo_core::backend::MemoryBackend;
use repo_core::fs::metadata::{EntryMeta, Xattrs};
use repo_core::fs::source::{Detail, Entry, Links, Listing, OpenFile, Piece, Source};
use repo_core::fs::{FaultKind, Operation, SourceError};
use repo_core::time::Timestamp;
use repo_core::{ArchiveOptions, Context, InitOptions, Repository, archive};

fn main() -> Result<(), Box<dyn Error>> {
    let mut mailbox = Mailbox::default();
    mailbox.take_in("ann.txt", 1_700_000_000, "Dear Ann");
    mailbox.take_in("bob.txt", 1_700_000_900, "Dear Bob");

    let context = Context::new();
    let storage = Arc::new(MemoryBackend::new());
    let repository = Repository::init(&context, storage, &"secret".into(), &InitOptions::default())?;
    let options = ArchiveOptions { tags: vec!["mail".into()], ..ArchiveOptions::default() };
    let first = archive(&context, &repository, &mailbox, &["/mail".into()], &options)?.summary;
    println!("{} new letters, {} bytes", first.files_new, first.data_added);

    // Letters with the same time and size are taken to be the same: only the new one is read.
    mailbox.take_in("eve.txt", 1_700_001_800, "Dear Eve");
    let second = archive(&context, &repository, &mailbox, &["/mail".into()], &options)?.summary;
    println!("{} new, {} as before", second.files_new, second.files_unmodified);
    if (second.files_new, second.files_unmodified) == (1, 2) { Ok(()) } else { Err("unexpected".into()) }
}

/// Letters by name, each with the time it was written.
#[derive(Default)]
struct Mailbox {
    letters: BTreeMap<String, (Timestamp, String)>,
}

impl Mailbox {
    fn take_in(&mut self, name: &str, seconds: i64, text: &str) {
        self.letters.insert(name.into(), (Timestamp { seconds, nanos: 0 }, text.into()));
    }

    /// The letter at `/mail/NAME`.
    fn letter(&self, path: &Path) -> Option<&(Timestamp, String)> {
        self.letters.get(path.strip_prefix("/mail").ok()?.to_str()?)
    }

    fn newest(&self) -> Timestamp {
        self.letters.values().map(|(time, _)| *time).max().unwrap_or_default()
    }
}

impl Source for Mailbox {
    fn list(&self, dir: &Path, _detail: Detail) -> Result<Listing, SourceError> {
        if dir != Path::new("/mail") {
            return Err(SourceError::new(FaultKind::Vanished, Operation::List, dir));
        }
        // In the order of names, as a BTreeMap has them.
        let entry = |(name, (time, text)): (&String, &(Timestamp, String))| {
            let meta = EntryMeta::file(text.len() as u64, *time);
            Entry { name: name.into(), kind: Some(meta.kind.clone()), meta: Some(meta) }
        };
        let entries = self.letters.iter().map(entry).collect();
        Ok(Listing { meta: EntryMeta::dir(self.newest()), xattrs: Xattrs::default(), entries })
    }

    fn stat(&self, path: &Path, _links: Links) -> Result<EntryMeta, SourceError> {
        match self.letter(path) {
            Some((time, text)) => Ok(EntryMeta::file(text.len() as u64, *time)),
            None if Path::new("/mail").starts_with(path) => Ok(EntryMeta::dir(self.newest())),
            None => Err(SourceError::new(FaultKind::Vanished, Operation::Stat, path)),
        }
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OpenFile>, SourceError> {
        let (time, text) =
            self.letter(path).ok_or_else(|| SourceError::new(FaultKind::Vanished, Operation::Open, path))?;
        let meta = EntryMeta::file(text.len() as u64, *time);
        Ok(Box::new(OpenLetter { meta, rest: text.clone().into_bytes() }))
    }
}

struct OpenLetter {
    meta: EntryMeta,
    rest: Vec<u8>,
}

impl OpenFile for OpenLetter {
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
