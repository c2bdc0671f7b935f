//! `status`: what changed on this machine since a snapshot.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::filter::{Case, Patterns};
use repo_core::format::Snapshot;
use repo_core::format::json::Object;
use repo_core::fs::metadata::ChangeDetection;
use repo_core::fs::source::LocalSource;
use repo_core::ops::status::{Finding, Pair, State, States, StatusOptions, StatusReport, status};
use repo_core::repository::{LockKind, LockOwner, Reader, Repository};
use repo_core::snapshots::{self, Stored};
use repo_core::walk::{Located, Locator};

use super::ls::heading;
use crate::args::status::Status;
use crate::exit::{Code, Told, wrong};
use crate::patterns;
use crate::place;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::escape::{visible, visible_text};
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Status) -> Result<()> {
    let folders = args.folders.iter().map(|typed| place::absolute(typed)).collect::<Result<Vec<_>>>()?;
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let stored = choose(session, args, &repository, &folders)?;
    session
        .screen
        .say(Level::Normal, format!("comparing with {}\n", heading(&stored, &session.settings.zone)));
    let reader = repository.reader(&session.context)?;
    let pairs = pairs(&reader, &stored.snapshot, &folders)?;
    let options = options(session, args, &stored.snapshot)?;
    let mut out = session.screen.writer();
    let mut written = Ok(());
    let report = status(
        &session.context,
        &reader,
        &stored.snapshot,
        &LocalSource::new(),
        &pairs,
        &options,
        |finding| {
            if written.is_ok() {
                written = tell(session, &mut out, &finding);
            }
        },
    )?;
    written?;
    drop(out);
    for unknown in &report.unknown {
        session.screen.warn(visible_text(&format!("error: {}", with_causes(unknown))));
    }
    summary(session, &stored, &report);
    if report.unknown.is_empty() {
        return Ok(());
    }
    let told = Told {
        what: format!("{} files or folders could not be compared", report.unknown.len()),
        remedy: "The lines above name them; all the rest was.".to_owned(),
        code: Code::Partial,
    };
    Err(told.into())
}

/// The snapshot to compare with: the one that was named, or the newest of this host that has to do with the folders.
fn choose(session: &Session, args: &Status, repository: &Repository, folders: &[PathBuf]) -> Result<Stored> {
    let mut filter = select::filter(session, &args.filter, Paths::Absolute);
    if let Some(id) = &args.snapshot {
        return select::one(session, repository, id, &filter);
    }
    if filter.hosts.is_empty() && args.filter.hosts.is_empty() {
        filter.hosts.push(LockOwner::this_process().hostname);
    }
    let concerns = |snapshot: &Snapshot| {
        let concerns = |folder: &PathBuf| targets(snapshot, folder).next().is_some();
        filter.matches(snapshot) && folders.iter().all(concerns)
    };
    let mut all = snapshots::list(&session.context, repository)?;
    all.retain(|stored| concerns(&stored.snapshot));
    all.pop().ok_or_else(|| {
        wrong(
            "no snapshot of this host has anything of that",
            "`larder snapshots` lists what is there; name one with --snapshot, or another host with --host.",
        )
    })
}

/// What of a folder a snapshot has: the folder itself if it lies in one of its paths, else its paths in the folder.
fn targets<'a>(snapshot: &'a Snapshot, folder: &'a Path) -> impl Iterator<Item = &'a Path> {
    let paths = || snapshot.paths.iter().map(Path::new);
    let whole = paths().any(|path| folder.starts_with(path)).then_some(folder);
    let parts = paths().filter(move |path| whole.is_none() && path.starts_with(folder));
    whole.into_iter().chain(parts)
}

fn pairs(reader: &Reader, snapshot: &Snapshot, folders: &[PathBuf]) -> Result<Vec<Pair>> {
    let everything = [PathBuf::from("/")];
    let folders = if folders.is_empty() { &everything } else { folders };
    let mut paths: Vec<&Path> = folders.iter().flat_map(|folder| targets(snapshot, folder)).collect();
    paths.sort_unstable();
    // One that lies in another comes with it.
    paths.dedup_by(|path, before| path.starts_with(before));
    let mut locator = Locator::new(reader);
    let pair = |path: &Path| {
        Ok(match locator.locate(snapshot, path)? {
            Some(Located { entry: None, .. }) => Pair::root(path.to_owned(), snapshot.tree),
            Some(Located { entry, .. }) => {
                Pair { path: path.to_owned(), stored: entry.map(|entry| entry.node) }
            }
            None => Pair { path: path.to_owned(), stored: None },
        })
    };
    paths.into_iter().map(pair).collect()
}

/// What that snapshot left out, and what was typed.
fn options(session: &Session, args: &Status, snapshot: &Snapshot) -> Result<StatusOptions> {
    let mut excludes = patterns::leave_out(session, &args.leave_out)?;
    // Written by another program, they may be none that we know.
    excludes.patterns.extend(Patterns::new(&snapshot.excludes, Case::Sensitive));
    let change = ChangeDetection {
        ignore_ctime: args.ignore_ctime || args.ignore_inode,
        ignore_inode: args.ignore_inode,
    };
    Ok(StatusOptions { select: Arc::new(excludes), change })
}

fn tell(session: &Session, out: &mut impl Write, finding: &Finding) -> std::io::Result<()> {
    let (letter, word) = match finding.state {
        State::New => ("+", "new"),
        State::Changed => ("M", "changed"),
        State::Deleted => ("-", "deleted"),
        State::Unchanged => ("", "unchanged"),
    };
    let level = if finding.state == State::Unchanged { Level::Verbose } else { Level::Normal };
    if session.screen.level < level {
        return Ok(());
    }
    let path = finding.path.as_os_str().as_encoded_bytes();
    let mut line = Vec::new();
    if session.settings.json {
        let mut object = Object::begin(&mut line);
        object.string("message_type", "status").string("path", path).string("state", word);
        object.string("type", if finding.is_dir { "dir" } else { "file" }).number("size", finding.size);
        object.end();
    } else {
        line = format!("{letter:<5}").into_bytes();
        line.extend(if session.screen.redraws { visible(path).into_bytes() } else { path.to_vec() });
        line.extend(finding.is_dir.then_some(b'/'));
    }
    line.push(b'\n');
    out.write_all(&line)
}

fn summary(session: &Session, stored: &Stored, report: &StatusReport) {
    let StatusReport { files, dirs, bytes_to_read, unknown } = report;
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").id("snapshot", stored.id);
        for (kind, states) in [("files", files), ("dirs", dirs)] {
            for (word, count) in [
                ("new", states.new),
                ("changed", states.changed),
                ("deleted", states.deleted),
                ("unchanged", states.unchanged),
            ] {
                object.number(&format!("{kind}_{word}"), count);
            }
        }
        object.number("bytes_to_read", *bytes_to_read).number("errors", unknown.len() as u64);
        object.end();
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    let line = |heading: &str, states: &States| {
        let States { new, changed, deleted, unchanged } = states;
        format!("{heading:<8}{new:5} new, {changed:5} changed, {deleted:5} deleted, {unchanged:5} unchanged")
    };
    session.screen.lines([
        String::new(),
        line("Files:", files),
        line("Dirs:", dirs),
        format!("The next backup reads {}", bytes(*bytes_to_read)),
    ]);
}

#[cfg(test)]
mod tests {
    use repo_core::id::{Id, TreeId};
    use repo_core::time::Time;

    use super::*;

    #[test]
    fn of_a_folder_above_only_what_was_saved_is_compared() {
        let check = |paths: &[&str], folder: &str, expected: &[&str]| {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            let snapshot = Snapshot::new(Time::ZERO, TreeId(Id::new([1; 32])), paths);
            let found: Vec<_> = targets(&snapshot, Path::new(folder)).collect();
            assert_eq!(found, expected.iter().map(Path::new).collect::<Vec<_>>(), "{folder}");
        };
        let paths = ["/home/ada/notes", "/etc"];
        check(&paths, "/home/ada/notes/old", &["/home/ada/notes/old"]);
        check(&paths, "/home", &["/home/ada/notes"]);
        check(&paths, "/", &["/home/ada/notes", "/etc"]);
        check(&paths, "/srv", &[]);
        check(&paths, "/home/ada/notes2", &[]);
    }
}
