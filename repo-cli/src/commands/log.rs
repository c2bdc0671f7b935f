//! `log`: all versions of a file.

use std::ffi::OsStr;

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::format::json::{Array, Object};
use repo_core::ops::query::log::{History, Version, log};
use repo_core::repository::LockKind;
use repo_core::snapshots::Stored;
use repo_core::time::Time;
use repo_core::walk::{Folders, LookupError};

use crate::args::log::Log;
use crate::exit::wrong;
use crate::near::Near;
use crate::place;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::{bytes, date_time};
use crate::ui::entry::mode;
use crate::ui::escape::{visible, visible_text};
use crate::ui::screen::Level;
use crate::ui::table::Table;

pub fn run(session: &Session, args: &Log) -> Result<()> {
    let [typed] = &args.files[..] else {
        return Err(wrong("give the path of one file", "Write `larder log PATH`; see `larder help log`."));
    };
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let filter = select::filter(session, &args.filter, Paths::AsTyped);
    let many = select::many(session, &repository, &[], &filter)?;
    let history = look_up(session, &Near::open(session, &repository, &many.found)?, &many.found, typed)?;
    for (id, error) in &history.unreadable {
        let text = format!("error: snapshot {}: {}", id.short(), with_causes(error));
        session.screen.warn(visible_text(&text));
    }
    if session.settings.json {
        let mut out = Vec::new();
        json(&mut out, &history);
        session.screen.bytes(&out);
    } else if !history.versions.is_empty() {
        session.screen.lines(table(session, &history).lines());
        session.screen.say(Level::Normal, hint(&history.versions, typed));
    }
    verdict(&history, typed)
}

/// From the search index if it covers all snapshots, else from the trees.
fn look_up<'a>(
    session: &Session,
    near: &Near<'_>,
    snapshots: &'a [Stored],
    typed: &OsStr,
) -> Result<History<'a, LookupError>> {
    if let Some(index) = near.index.as_ref().filter(|_| near.covers_all) {
        let found = in_both(session, &index.view()?, snapshots, typed)?;
        match found.unreadable.into_iter().next() {
            None => return Ok(History { versions: found.versions, unreadable: Vec::new() }),
            Some((_, error)) => near.give_up(&error),
        }
    }
    in_both(session, near.reader()?, snapshots, typed)
}

/// On this machine, or if nothing is found in the trees.
fn in_both<'a, F: Folders>(
    session: &Session,
    folders: &F,
    snapshots: &'a [Stored],
    typed: &OsStr,
) -> Result<History<'a, F::Error>> {
    let history = log(&session.context, folders, snapshots, &place::absolute(typed)?)?;
    if !history.versions.is_empty() || !history.unreadable.is_empty() {
        return Ok(history);
    }
    Ok(log(&session.context, folders, snapshots, &place::in_tree(typed))?)
}

fn verdict(history: &History<'_, LookupError>, typed: &OsStr) -> Result<()> {
    if !history.unreadable.is_empty() {
        return Err(wrong(
            format!("{} snapshots could not be searched", history.unreadable.len()),
            "Run `larder check` to see what is damaged and what mends it.",
        ));
    }
    if history.versions.is_empty() {
        return Err(wrong(
            format!("no snapshot has {}", visible(typed.as_encoded_bytes())),
            "`larder find NAME` looks for a name in all folders of all snapshots.",
        ));
    }
    Ok(())
}

fn table(session: &Session, history: &History<'_, LookupError>) -> Table {
    let time = |time: Time| date_time(session.settings.zone.at(time.instant));
    let mut table = Table::default();
    for heading in ["Version", "Modified", "Mode", "Size", "Snapshot", "From", "To", "Snapshots"] {
        table.column(heading);
    }
    for version in &history.versions {
        let Version { node, first, last, .. } = version;
        table.row([
            version.content.map_or_else(|| node.kind.word().to_owned(), |content| content.short()),
            time(node.mtime),
            mode(node).to_string(),
            if node.is_file() { bytes(node.size) } else { node.kind.word().to_owned() },
            last.id.short(),
            time(first.snapshot.time),
            time(last.snapshot.time),
            version.snapshots.to_string(),
        ]);
    }
    let count = history.versions.len();
    table.footer(format!("{count} {}", if count == 1 { "version" } else { "versions" }));
    table
}

fn hint(versions: &[Version<'_>], typed: &OsStr) -> String {
    let [.., oldest] = versions else { return String::new() };
    let path = visible(typed.as_encoded_bytes());
    format!("To get one back beside the file: larder restore {} --as-copy {path}", oldest.last.id.short())
}

/// One array, the newest version first.
fn json(out: &mut Vec<u8>, history: &History<'_, LookupError>) {
    let mut array = Array::begin(out);
    for Version { content, node, path, first, last, snapshots } in &history.versions {
        let mut object = Object::begin(array.element());
        object.id_if_some("content_id", *content);
        object.string("path", path.as_os_str().as_encoded_bytes()).string("type", node.kind.word());
        object.number("size", node.size).number_unless_zero("mode", node.mode.0);
        object.string("permissions", node.mode.to_string()).time("mtime", node.mtime);
        object.id("snapshot", last.id).time("time", last.snapshot.time);
        object.string("hostname", &last.snapshot.hostname);
        object.id("first_snapshot", first.id).time("first_time", first.snapshot.time);
        object.number("snapshots", *snapshots);
        object.end();
    }
    array.end();
    out.push(b'\n');
}
