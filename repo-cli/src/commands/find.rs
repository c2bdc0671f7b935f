//! `find`: entries by name, or the places where blobs, trees and packs are used, across snapshots.

mod objects;

use std::io::Write;

use anyhow::Result;
use repo_core::filter::Case;
use repo_core::format::Node;
use repo_core::format::json::{Array, Object};
use repo_core::ops::query::find::{FindError, FoundEntry, Names, NearSearch, entries, entries_near};
use repo_core::repository::{LockKind, Reader, Repository};
use repo_core::snapshots::Stored;

use crate::args::find::Find;
use crate::args::values;
use crate::exit::{sentence, wrong};
use crate::near::Near;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::date_time;
use crate::ui::entry::EntryStyle;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Find) -> Result<()> {
    if args.patterns.is_empty() {
        return Err(wrong(
            "wrong number of arguments",
            "Write `larder find PATTERN…`; see `larder help find`.",
        ));
    }
    if [args.blob, args.tree, args.pack].iter().filter(|kind| **kind).count() > 1 {
        return Err(wrong("cannot have several ID types", "Give one of --blob, --tree, --pack."));
    }
    let names = names(session, args)?;
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let filter = select::filter(session, &args.filter, Paths::AsTyped);
    let mut many = select::many(session, &repository, &args.snapshots, &filter)?;
    let mut found = std::mem::take(&mut many.found);
    if !args.reverse {
        found.reverse();
    }
    let mut broken = Broken::default();
    if args.blob || args.tree || args.pack {
        let reader = Reader::new(&repository, repository.load_index(&session.context)?);
        objects::run(session, args, &reader, &found, &mut broken)?;
    } else {
        by_name(session, args, &repository, (&found, &names), &mut broken)?;
    }
    broken.verdict()?;
    many.verdict(session)
}

/// Looks into the search index where there is one, and else into the trees.
fn by_name(
    session: &Session,
    args: &Find,
    repository: &Repository,
    (found, names): (&[Stored], &Names),
    broken: &mut Broken,
) -> Result<()> {
    let near = Near::open(session, repository, found)?;
    let searched = match &near.index {
        None => print(session, args, entries(&session.context, near.reader()?, found, names), broken),
        Some(index) => {
            let view = index.view()?;
            let search = NearSearch::new(&view, names)?;
            let reader = if near.covers_all { None } else { Some(near.reader()?) };
            print(session, args, entries_near(&session.context, &search, reader, found, names), broken)
        }
    };
    searched.map_err(|error| match error.downcast::<FindError>() {
        Ok(FindError::Near(error)) => {
            near.give_up(&error);
            wrong("the search has stopped in the middle", "Run the same again.")
        }
        Ok(error) => error.into(),
        Err(error) => error,
    })
}

fn print<'a>(
    session: &Session,
    args: &Find,
    finds: impl Iterator<Item = Result<FoundEntry<'a>, FindError>>,
    broken: &mut Broken,
) -> Result<()> {
    if session.settings.json {
        print_json(session, finds, broken)
    } else {
        print_text(session, args, finds, broken)
    }
}

fn names(session: &Session, args: &Find) -> Result<Names> {
    let zone = &session.settings.zone;
    let time = |typed: &Option<String>| {
        let time = typed.as_deref().map(|typed| values::loose_time(typed, zone)).transpose();
        time.map(|time| time.map(|time| time.instant))
            .map_err(|error| wrong(error.to_string(), "See `larder help find`."))
    };
    let case = if args.ignore_case { Case::Insensitive } else { Case::Sensitive };
    let patterns = args.patterns.iter().map(|pattern| pattern.as_encoded_bytes());
    let mut names = Names::new(patterns, case).map_err(|error| {
        let broken: Vec<_> = error.patterns.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        wrong(
            format!("invalid pattern: {}", broken.join(" ")),
            "A `[` needs its `]`; to mean the letter itself, write `\\[`.",
        )
    })?;
    names = names.with_mode(session.settings.glob_mode);
    names.oldest = time(&args.oldest)?;
    names.newest = time(&args.newest)?;
    Ok(names)
}

/// Folders that could not be searched: told at once, and a reason to fail at the end.
#[derive(Default)]
struct Broken(u64);

impl Broken {
    /// Gives the find, if it is one.
    fn take<T>(&mut self, session: &Session, find: Result<T, FindError>) -> Result<Option<T>> {
        match find {
            Ok(find) => Ok(Some(find)),
            Err(error @ FindError::Walk { .. }) => {
                let text = sentence(anyhow::Chain::new(&error));
                session.screen.warn(format!("error: {}", visible_text(&text)));
                self.0 += 1;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn verdict(&self) -> Result<()> {
        if self.0 == 0 {
            return Ok(());
        }
        Err(wrong(
            format!("{} folders could not be searched", self.0),
            "Run `larder check` to see what is damaged and what mends it.",
        ))
    }
}

fn print_text<'a>(
    session: &Session,
    args: &Find,
    finds: impl Iterator<Item = Result<FoundEntry<'a>, FindError>>,
    broken: &mut Broken,
) -> Result<()> {
    let style = EntryStyle {
        long: args.long,
        human_readable: args.human_readable,
        escaped: session.screen.redraws,
        zone: session.settings.zone.clone(),
    };
    let mut out = session.screen.writer();
    let mut shown: Option<&Stored> = None;
    for find in finds {
        let Some(FoundEntry { snapshot, entry }) = broken.take(session, find)? else { continue };
        if shown.is_none_or(|shown| shown.id != snapshot.id) && session.settings.level >= Level::Normal {
            let time = date_time(session.settings.zone.at(snapshot.snapshot.time.instant));
            let gap = if shown.is_some() { "\n" } else { "" };
            writeln!(out, "{gap}Found matching entries in snapshot {} from {time}", snapshot.id.short())?;
        }
        shown = Some(snapshot);
        let mut line = style.line(entry.path.as_os_str().as_encoded_bytes(), &entry.node);
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

/// One array for all; each snapshot's finds are written when the next one begins.
fn print_json<'a>(
    session: &Session,
    finds: impl Iterator<Item = Result<FoundEntry<'a>, FindError>>,
    broken: &mut Broken,
) -> Result<()> {
    let mut all = Vec::new();
    let mut array = Array::begin(&mut all);
    let mut group: Option<(&Stored, Vec<u8>, u64)> = None;
    for find in finds {
        let Some(FoundEntry { snapshot, entry }) = broken.take(session, find)? else { continue };
        if group.as_ref().is_none_or(|(shown, ..)| shown.id != snapshot.id)
            && let Some(finished) = group.replace((snapshot, vec![b'['], 0))
        {
            write_group(array.element(), finished);
        }
        if let Some((_, matches, hits)) = &mut group {
            if *hits > 0 {
                matches.push(b',');
            }
            write_match(matches, entry.path.as_os_str().as_encoded_bytes(), &entry.node);
            *hits += 1;
        }
    }
    if let Some(finished) = group {
        write_group(array.element(), finished);
    }
    array.end();
    all.push(b'\n');
    session.screen.bytes(&all);
    Ok(())
}

fn write_group(out: &mut Vec<u8>, (snapshot, mut matches, hits): (&Stored, Vec<u8>, u64)) {
    matches.push(b']');
    let mut object = Object::begin(out);
    object.key("matches").extend(matches);
    object.number("hits", hits).id("snapshot", snapshot.id);
    object.end();
}

fn write_match(out: &mut Vec<u8>, path: &[u8], node: &Node) {
    let mut object = Object::begin(out);
    object.string("path", path).string("permissions", node.mode.to_string());
    object.string("type", node.kind.word()).number_unless_zero("mode", node.mode.0);
    object.time("mtime", node.mtime).time("atime", node.atime).time("ctime", node.ctime);
    object.number("uid", node.uid).number("gid", node.gid);
    object.string_unless_empty("user", &*node.user).string_unless_empty("group", &*node.group);
    object.number_unless_zero("inode", node.inode).number_unless_zero("device_id", node.device_id);
    object.number_unless_zero("size", node.size).number_unless_zero("links", node.links);
    object.string_unless_empty("linktarget", &node.link_target);
    object.number_unless_zero("device", node.device);
    object.end();
}
