//! `du`: which folders of snapshots take how much room.

use std::collections::HashSet;

use anyhow::Result;
use repo_core::format::json::Object;
use repo_core::id::{SnapshotId, TreeId};
use repo_core::ops::query::usage::{Amount, Usage, usage};
use repo_core::repository::{LockKind, Repository};
use repo_core::snapshots::{self, Stored};

use crate::args::du::Du;
use crate::exit::wrong;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::escape::visible;
use crate::ui::screen::Level;
use crate::ui::table::Table;

/// Folders with less than this part of all are not shown.
const SHOWN_PART: u64 = 100;

pub fn run(session: &Session, args: &Du) -> Result<()> {
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let filter = select::filter(session, &args.filter, Paths::AsTyped);
    if args.unique && args.ids.is_empty() && filter.is_empty() {
        return Err(wrong(
            "--unique compares some snapshots with all others",
            "Name them, or choose them by --host, --tag or --path.",
        ));
    }
    let many = select::many(session, &repository, &args.ids, &filter)?;
    let others = if args.unique { others(session, &repository, &many.found)? } else { Vec::new() };
    let reader = repository.reader(&session.context)?;
    let roots: Vec<TreeId> = many.found.iter().map(|stored| stored.snapshot.tree).collect();
    let counted = usage(&session.context, &reader, &roots, &others)?;
    if session.settings.json {
        json(session, args, &counted, many.found.len());
    } else {
        text(session, args, &counted, many.found.len());
    }
    many.verdict(session)
}

/// The roots of all other snapshots.
fn others(session: &Session, repository: &Repository, some: &[Stored]) -> Result<Vec<TreeId>> {
    let (all, unreadable) = snapshots::list_with_report(&session.context, repository)?;
    if let Some((id, error)) = unreadable.into_iter().next() {
        let error = anyhow::Error::from(error);
        return Err(error.context(format!("nobody knows what snapshot {id} needs")));
    }
    let some: HashSet<SnapshotId> = some.iter().map(|stored| stored.id).collect();
    let others = all.into_iter().filter(|stored| !some.contains(&stored.id));
    Ok(others.map(|stored| stored.snapshot.tree).collect())
}

/// The folders that are worth a line, by path.
fn shown<'a>(args: &Du, counted: &'a Usage) -> impl Iterator<Item = (&'a [u8], &'a Amount)> {
    let least = args.at_least.unwrap_or(counted.total.stored_bytes / SHOWN_PART);
    let folders = counted.folders.iter().filter(move |(_, amount)| amount.stored_bytes >= least);
    folders.map(|(path, amount)| (path.as_os_str().as_encoded_bytes(), amount))
}

fn text(session: &Session, args: &Du, counted: &Usage, snapshots: usize) {
    let mut table = Table::default();
    table.column("Stored").column("Plain").column("Folder");
    for (path, amount) in shown(args, counted) {
        table.row([bytes(amount.stored_bytes), bytes(amount.plain_bytes), visible(path)]);
    }
    if session.screen.level >= Level::Normal && counted.total.blobs > 0 {
        session.screen.lines(table.lines());
    }
    let (stored, blobs) = (bytes(counted.total.stored_bytes), counted.total.blobs);
    let snapshots = if snapshots == 1 { "1 snapshot".to_owned() } else { format!("{snapshots} snapshots") };
    session.screen.line(if args.unique {
        format!("{snapshots} alone: {stored} in {blobs} blobs, free once forgotten and pruned")
    } else {
        format!("{snapshots}: {stored} in {blobs} blobs")
    });
}

fn json(session: &Session, args: &Du, counted: &Usage, snapshots: usize) {
    let line = |kind: &str, path: Option<&[u8]>, amount: &Amount| {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", kind);
        match path {
            Some(path) => object.string("path", path),
            None => object.number("snapshots", snapshots as u64).bool("unique", args.unique),
        };
        object.number("blobs", amount.blobs).number("stored_bytes", amount.stored_bytes);
        object.number("plain_bytes", amount.plain_bytes);
        object.end();
        session.screen.line(String::from_utf8_lossy(&line));
    };
    for (path, amount) in shown(args, counted) {
        line("folder", Some(path), amount);
    }
    line("summary", None, &counted.total);
}
