//! `dump`: a file's content, or a folder as an archive.

mod acl;
mod tar;
mod zip;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use repo_core::filter::clean;
use repo_core::ops::query::dump::{self, DumpError, Piece, Target};
use repo_core::repository::{LockKind, Reader};
use repo_core::walk::{Entry, LookupError, lookup_dir};

use crate::args::dump::{Archive as Format, Dump};
use crate::exit::wrong;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::escape::visible;

pub fn run(session: &Session, args: &Dump) -> Result<()> {
    let [typed, path] = &args.words[..] else {
        return Err(wrong(
            "no file and no snapshot ID specified",
            "Write `larder dump SNAPSHOT PATH`; the whole is `/`.",
        ));
    };
    let typed = typed.to_string_lossy();
    let (id, folder) = select::split(&typed);
    let path = PathBuf::from(from_bytes(&clean(&[b"/", path.as_encoded_bytes()].concat())));
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let filter = select::filter(session, &args.filter, Paths::Absolute);
    let stored = select::one(session, &repository, id, &filter)?;
    let reader = Reader::new(&repository, repository.load_index(&session.context)?);
    let root = lookup_dir(&reader, stored.snapshot.tree, Path::new(folder))?;

    match dump::target(&reader, root, &path).map_err(|error| explained(error, &path))? {
        Target::File(node) => {
            let mut out = output(session, args)?;
            dump::file(&session.context, &reader, &path, &node, &mut out)?;
            Ok(out.flush()?)
        }
        Target::Folder(tree) => {
            if args.target.is_none() && session.screen.redraws {
                return Err(wrong(
                    "stdout is the terminal, please redirect output",
                    "An archive is no text: add `> file` or `--target file`.",
                ));
            }
            let out = output(session, args)?;
            let mut archive: Box<dyn Archive> = match args.archive {
                Format::Tar => Box::new(tar::Tar::new(out)),
                Format::Zip => Box::new(zip::Zip::new(out, session.settings.zone.clone())),
            };
            let mut unsafe_names = Unsafe::default();
            dump::folder(&session.context, &reader, tree, path, |piece| match piece {
                Piece::Entry { entry, len } if unsafe_names.check(session, entry) => {
                    archive.entry(entry, len)
                }
                Piece::Bytes(bytes) if !unsafe_names.skipping => archive.bytes(bytes),
                _ => Ok(()),
            })?;
            archive.finish()?;
            unsafe_names.verdict()
        }
    }
}

/// One form of an archive. Entries come in order, a file's bytes right behind it.
trait Archive {
    fn entry(&mut self, entry: &Entry, len: u64) -> Result<()>;
    fn bytes(&mut self, bytes: &[u8]) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<()>;
}

fn output<'a>(session: &'a Session, args: &Dump) -> Result<Box<dyn Write + 'a>> {
    match &args.target {
        None => Ok(Box::new(BufWriter::with_capacity(1 << 16, session.screen.writer()))),
        Some(file) => {
            let shown = Path::new(file).display();
            let file = File::create(file).with_context(|| format!("cannot create {shown}"))?;
            Ok(Box::new(BufWriter::with_capacity(1 << 16, file)))
        }
    }
}

/// Names that would lead a program that unpacks the archive to another place. They are left out, with all
/// that lies below them.
#[derive(Default)]
struct Unsafe {
    below: Option<PathBuf>,
    skipping: bool,
    count: u64,
}

impl Unsafe {
    /// Whether an entry may go into the archive.
    fn check(&mut self, session: &Session, entry: &Entry) -> bool {
        if self.below.as_ref().is_some_and(|below| !entry.path.starts_with(below)) {
            self.below = None;
        }
        if self.below.is_none() && entry.node.checked_name().is_err() {
            let shown = visible(entry.path.as_os_str().as_encoded_bytes());
            session.screen.warn(format!("error: {shown} has no safe name, it is left out"));
            self.count += 1;
            self.below = Some(entry.path.clone());
        }
        self.skipping = self.below.is_some();
        !self.skipping
    }

    fn verdict(&self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        Err(wrong(
            format!("{} entries have no safe names and are not in the archive", self.count),
            "Nobody makes such names by accident: find out who can write to the repository.",
        ))
    }
}

fn explained(error: DumpError, path: &Path) -> anyhow::Error {
    const LIST: &str = "`larder ls` shows what the snapshot has.";
    let shown = visible(path.as_os_str().as_encoded_bytes());
    match error {
        DumpError::Lookup(LookupError::NotFound { .. }) => {
            wrong(format!("cannot dump file: path \"{shown}\" not found in snapshot"), LIST)
        }
        DumpError::Kind { kind, .. } => wrong(
            format!("cannot dump file: \"{shown}\" should be a file, but is a \"{}\"", kind.word()),
            "Dump the folder it lies in; an archive can hold it.",
        ),
        error => error.into(),
    }
}

/// The path of an entry in an archive: without the slash in front, a directory's with one behind.
fn name(entry: &Entry) -> Vec<u8> {
    let path = entry.path.as_os_str().as_encoded_bytes();
    let mut name = path.strip_prefix(b"/").unwrap_or(path).to_vec();
    if entry.node.is_dir() {
        name.push(b'/');
    }
    name
}

#[cfg(unix)]
fn from_bytes(bytes: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn from_bytes(bytes: &[u8]) -> std::ffi::OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}
