//! `cat`: one inner object, as it is inside.

use std::path::Path;
use std::str::FromStr;

use anyhow::Result;
use repo_core::format::{IndexFile, Lock, MasterKeyJson, Snapshot};
use repo_core::hash::sha256;
use repo_core::id::{BlobId, BlobKind, FileId, FileKind, Id, IndexId, KeyId, LockId, PackId};
use repo_core::repository::{KeyError, LockKind, ReadError, Reader, Repository};
use repo_core::snapshots::Filter;
use repo_core::walk::lookup_dir;

use crate::args::cat::Cat;
use crate::exit::wrong;
use crate::select;
use crate::session::Session;
use crate::ui::records::indented;

const KINDS: [&str; 9] = ["config", "index", "snapshot", "key", "masterkey", "lock", "pack", "blob", "tree"];

pub fn run(session: &Session, args: &Cat) -> Result<()> {
    const USAGE: &str = "Write `larder cat KIND ID`; see `larder help cat`.";
    let Some(kind) = args.words.first() else { return Err(wrong("type not specified", USAGE)) };
    if !KINDS.contains(&kind.as_str()) {
        return Err(wrong(format!("invalid type {kind:?}, must be one of [{}]", KINDS.join("|")), USAGE));
    }
    let id = match (kind.as_str(), args.words.get(1)) {
        ("config" | "masterkey", _) => "",
        (_, Some(id)) => id,
        (_, None) => return Err(wrong("ID not specified", USAGE)),
    };
    if args.words.len() > 2 {
        return Err(wrong("too many arguments", USAGE));
    }
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let content = load(session, &repository, kind, id)?;
    session.screen.bytes(&content);
    Ok(())
}

/// The bytes to print, the last line end included where there is one.
fn load(session: &Session, repository: &Repository, kind: &str, id: &str) -> Result<Vec<u8>> {
    match kind {
        "config" => Ok(text(indented(&repository.config().to_json()))),
        "masterkey" => {
            let key = repository.key();
            let json =
                MasterKeyJson { encrypt: *key.encrypt(), mac_k: *key.mac_k(), mac_r: *key.mac_r() }.to_json();
            Ok(text(indented(&json)))
        }
        "key" => key(repository, full(id)?),
        "index" => Ok(text(repository.load_json::<IndexFile>(full::<IndexId>(id)?)?)),
        "lock" => Ok(text(indented(&repository.load_json::<Lock>(full::<LockId>(id)?)?))),
        "snapshot" => {
            let found = select::one(session, repository, id, &Filter::default())?;
            Ok(text(indented(&repository.load_json::<Snapshot>(found.id)?)))
        }
        "tree" => {
            let (id, folder) = select::split(id);
            let found = select::one(session, repository, id, &Filter::default())?;
            let reader = reader(session, repository)?;
            let tree = lookup_dir(&reader, found.snapshot.tree, Path::new(folder))?;
            Ok(reader.blob(&tree.into())?)
        }
        "blob" => blob(&reader(session, repository)?, full(id)?),
        _ => pack(session, repository, full(id)?),
    }
}

fn reader(session: &Session, repository: &Repository) -> Result<Reader> {
    Ok(Reader::new(repository, repository.load_index(&session.context)?))
}

fn key(repository: &Repository, id: KeyId) -> Result<Vec<u8>> {
    let mut keys = repository.keys()?;
    keys.retain(|(found, _)| *found == id);
    let (_, key) =
        keys.pop().ok_or_else(|| wrong(format!("key {id} does not exist"), "See `larder list keys`."))?;
    let key: Result<_, KeyError> = key;
    Ok(text(indented(&key?.file.to_json())))
}

/// A blob of either kind; the same name may belong to both, then file content goes first.
fn blob(reader: &Reader, id: Id) -> Result<Vec<u8>> {
    match reader.blob(&BlobId { kind: BlobKind::Data, id }) {
        Err(ReadError::Unknown { .. }) => Ok(reader.blob(&BlobId { kind: BlobKind::Tree, id })?),
        other => Ok(other?),
    }
}

/// A pack as it lies in the storage; one that does not match its name is printed too, with a warning.
fn pack(session: &Session, repository: &Repository, id: PackId) -> Result<Vec<u8>> {
    let file = FileId { kind: FileKind::Pack, id: id.0 };
    let mut content = Vec::new();
    repository.backend().read_all(file, PACK_BYTES_MAX, &mut content)?;
    let found = sha256(&content);
    if found != id.0 {
        session.screen.warn(format!("Warning: hash of data does not match ID, want {id}, got {found}"));
    }
    Ok(content)
}

/// Larger packs exist nowhere: offsets in them have 32 bits.
const PACK_BYTES_MAX: u64 = 1 << 32;

/// An id in full length.
fn full<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| {
        wrong(format!("unable to parse ID: {text:?}"), "Give all 64 digits; `larder list` shows them.")
    })
}

/// With a line end, if there is none yet.
fn text(mut content: Vec<u8>) -> Vec<u8> {
    if content.last() != Some(&b'\n') {
        content.push(b'\n');
    }
    content
}
