//! `list`: the ids of one kind of object.

use anyhow::Result;
use repo_core::format::json::Object;
use repo_core::id::{FileKind, Id};
use repo_core::repository::{LockGuard, LockKind};

use crate::args::list::List;
use crate::exit::wrong;
use crate::session::Session;

pub fn run(session: &Session, args: &List) -> Result<()> {
    const KINDS: &str = "The kind is one of blobs, packs, index, snapshots, keys, locks.";
    let [kind] = &args.kind[..] else {
        return Err(wrong(format!("list takes exactly one kind, got {}", args.kind.len()), KINDS));
    };
    let files = match kind.as_str() {
        "blobs" => None,
        "packs" => Some(FileKind::Pack),
        "index" => Some(FileKind::Index),
        "snapshots" => Some(FileKind::Snapshot),
        "keys" => Some(FileKind::Key),
        "locks" => Some(FileKind::Lock),
        _ => return Err(wrong(format!("invalid argument {kind:?} for \"larder list\""), KINDS)),
    };
    let repository = session.open()?;
    // The locks themselves are listed without adding one.
    let _lock = match files {
        Some(FileKind::Lock) => LockGuard::none(),
        _ => session.lock(&repository, LockKind::Shared)?,
    };
    if let Some(kind) = files {
        for file in repository.backend().list(kind)? {
            print(session, kind.word(), file.id, "");
        }
    } else {
        let index = repository.load_index(&session.context)?;
        for (blob, _) in index.iter() {
            print(session, blob.kind.word(), blob.id, &format!("{} ", blob.kind));
        }
    }
    Ok(())
}

fn print(session: &Session, kind: &str, id: Id, prefix: &str) {
    if !session.settings.json || session.settings.strict {
        return session.screen.line(format!("{prefix}{id}"));
    }
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.string("message_type", "object").string("kind", kind).id("id", id);
    object.end();
    session.screen.line(String::from_utf8_lossy(&line));
}
