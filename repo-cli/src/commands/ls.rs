//! `ls`: the entries of a snapshot, as lines, JSON, or for ncdu.

mod ncdu;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use repo_core::ops::query::ls::{LsError, LsOptions, SortKey, ls, sort};
use repo_core::repository::{LockKind, Reader};
use repo_core::snapshots::Stored;
use repo_core::walk::{Entry, lookup_dir};

use crate::args::ls::{Ls, Order};
use crate::exit::wrong;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::full_time;
use crate::ui::entry::{self, EntryStyle};
use crate::ui::escape::{visible, visible_text};
use crate::ui::records;

pub fn run(session: &Session, args: &Ls) -> Result<()> {
    let Some(typed) = &args.snapshot else {
        return Err(wrong(
            "no snapshot ID specified, specify snapshot ID or use special ID 'latest'",
            "`larder snapshots` lists what is there.",
        ));
    };
    refuse_clashes(session, args)?;
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let (id, folder) = select::split(typed);
    let filter = select::filter(session, &args.filter, Paths::Absolute);
    let stored = select::one(session, &repository, id, &filter)?;
    let reader = Reader::new(&repository, repository.load_index(&session.context)?);
    let root = lookup_dir(&reader, stored.snapshot.tree, Path::new(folder))?;

    let folders = args.folders.iter().map(PathBuf::from).collect();
    let options = LsOptions { folders, recursive: args.recursive, with_parents: args.ncdu };
    let listing = ls(&session.context, &reader, root, &options)?;
    let mut printer = printer(session, args, &stored);
    printer.begin()?;
    let mut broken = 0_u64;
    let mut each = |entry: Result<Entry, LsError>| -> Result<()> {
        match entry {
            Ok(entry) => printer.entry(&entry)?,
            Err(error @ LsError::Walk(_)) => {
                session.screen.warn(format!("error: {}", visible_text(&error.to_string())));
                broken += 1;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    };
    if args.sort == Order::Name && !args.reverse {
        listing.into_iter().try_for_each(&mut each)?;
    } else {
        let (entries, errors): (Vec<_>, Vec<_>) = listing.partition(Result::is_ok);
        errors.into_iter().try_for_each(&mut each)?;
        let mut entries: Vec<Entry> = entries.into_iter().flatten().collect();
        sort(&mut entries, sort_key(args.sort));
        if args.reverse {
            entries.reverse();
        }
        entries.into_iter().map(Ok).try_for_each(&mut each)?;
    }
    printer.end()?;
    if broken > 0 {
        return Err(wrong(
            format!("{broken} folders could not be listed"),
            "Run `larder check` to see what is damaged and what mends it.",
        ));
    }
    Ok(())
}

fn refuse_clashes(session: &Session, args: &Ls) -> Result<()> {
    let clash = |what: &str| Err(wrong(what, "Leave out one of them."));
    if args.ncdu && session.settings.json {
        return clash("only either '--json' or '--ncdu' can be specified");
    }
    if args.ncdu && args.sort != Order::Name {
        return clash("--sort and --ncdu are mutually exclusive");
    }
    if args.ncdu && args.reverse {
        return clash("--reverse and --ncdu are mutually exclusive");
    }
    if args.folders.iter().any(|folder| !folder.as_encoded_bytes().starts_with(b"/")) {
        return Err(wrong(
            "All path filters must be absolute, starting with a forward slash '/'",
            "Write the path as `larder ls` shows it.",
        ));
    }
    Ok(())
}

fn sort_key(order: Order) -> SortKey {
    match order {
        Order::Name => SortKey::Name,
        Order::Size => SortKey::Size,
        Order::Time => SortKey::Mtime,
        Order::Atime => SortKey::Atime,
        Order::Ctime => SortKey::Ctime,
        Order::Extension => SortKey::Extension,
    }
}

/// One way to print a listing.
trait Printer {
    fn begin(&mut self) -> Result<()>;
    fn entry(&mut self, entry: &Entry) -> Result<()>;
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

fn printer<'a>(session: &'a Session, args: &'a Ls, stored: &'a Stored) -> Box<dyn Printer + 'a> {
    let out = session.screen.writer();
    if session.settings.json {
        return Box::new(Json { out, stored });
    }
    if args.ncdu {
        return Box::new(ncdu::Ncdu::new(out, stored));
    }
    let style = EntryStyle {
        long: args.long,
        human_readable: args.human_readable,
        escaped: session.screen.redraws,
        zone: session.settings.zone.clone(),
    };
    Box::new(Text { out, session, args, stored, style })
}

struct Text<'a, W> {
    out: W,
    session: &'a Session,
    args: &'a Ls,
    stored: &'a Stored,
    style: EntryStyle,
}

impl<W: Write> Printer for Text<'_, W> {
    fn begin(&mut self) -> Result<()> {
        let folders: Vec<String> =
            self.args.folders.iter().map(|folder| visible(folder.as_encoded_bytes())).collect();
        let heading = heading(self.stored, &self.session.settings.zone);
        self.session
            .screen
            .say(crate::ui::screen::Level::Normal, format!("{heading} filtered by [{}]:", folders.join(" ")));
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let mut line = self.style.line(entry.path.as_os_str().as_encoded_bytes(), &entry.node);
        line.push(b'\n');
        Ok(self.out.write_all(&line)?)
    }
}

/// `snapshot 1a2b3c4d of [/home] at 2026-01-02 03:04:05 +0000 UTC by ada@host`
pub fn heading(stored: &Stored, zone: &repo_core::time::Zone) -> String {
    let Stored { id, snapshot } = stored;
    let paths = visible_text(&snapshot.paths.join(" "));
    let (user, host) = (visible_text(&snapshot.username), visible_text(&snapshot.hostname));
    format!("snapshot {} of [{paths}] at {} by {user}@{host}", id.short(), full_time(snapshot.time, zone))
}

struct Json<'a, W> {
    out: W,
    stored: &'a Stored,
}

impl<W: Write> Printer for Json<'_, W> {
    fn begin(&mut self) -> Result<()> {
        let mut line = Vec::new();
        records::snapshot(&mut line, self.stored, |object| {
            object.string("message_type", "snapshot").string("struct_type", "snapshot");
        });
        line.push(b'\n');
        Ok(self.out.write_all(&line)?)
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let mut line = Vec::new();
        entry::json(&mut line, &entry.path, &entry.node);
        line.push(b'\n');
        Ok(self.out.write_all(&line)?)
    }
}
