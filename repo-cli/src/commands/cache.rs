//! `cache`: which local caches there are, and away with old ones.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use repo_core::backend::CacheFolder;
use repo_core::format::json::{Array, Object};
use repo_core::time::{Time, Timestamp};

use crate::args::cache::Cache;
use crate::cache::{old, remove};
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::screen::Level;
use crate::ui::table::Table;

const DAY: Duration = Duration::from_hours(24);

pub fn run(session: &Session, args: &Cache) -> Result<()> {
    if !args.extra.is_empty() {
        return Err(wrong("the cache command expects no arguments, only flags", "See `larder help cache`."));
    }
    let settings = &session.settings.cache;
    if settings.none {
        return Err(wrong("Refusing to do anything, the cache is disabled", "Leave out --no-cache."));
    }
    let base = settings.folder()?;
    let max_age = DAY.saturating_mul(u32::try_from(args.max_age).unwrap_or(u32::MAX));
    if args.cleanup || settings.cleanup {
        clean_up(session, base, max_age)
    } else {
        list(session, base, max_age, args)
    }
}

fn clean_up(session: &Session, base: &Path, max_age: Duration) -> Result<()> {
    let now = session.context.clock.now();
    let old = old(base, max_age, now).with_context(|| unlisted(base))?;
    CacheFolder::forget_keys(base, max_age, now);
    if old.is_empty() {
        session.screen.say(Level::Normal, "no old cache dirs found");
        return Ok(());
    }
    session.screen.say(Level::Normal, format!("remove {} old cache directories", old.len()));
    remove(session, &old);
    Ok(())
}

fn list(session: &Session, base: &Path, max_age: Duration, args: &Cache) -> Result<()> {
    let all = CacheFolder::all(base).with_context(|| unlisted(base))?;
    let now = session.context.clock.now();
    let mut rows = Vec::with_capacity(all.len());
    for cache in all {
        let size = if args.no_size { None } else { Some(cache.size().with_context(|| unlisted(base))?) };
        rows.push((cache, size));
    }
    if session.settings.json {
        print_json(session, &rows, max_age, now);
    } else if rows.is_empty() {
        session.screen.line(format!("no cache dirs found, basedir is {}", base.display()));
    } else {
        session.screen.lines(table(base, &rows, max_age, now).lines());
    }
    Ok(())
}

type Row = (CacheFolder, Option<u64>);

fn table(base: &Path, rows: &[Row], max_age: Duration, now: Timestamp) -> Table {
    let mut table = Table::default();
    table.column("Repo ID").column("Last Used").column("Old");
    if rows.iter().any(|(_, size)| size.is_some()) {
        table.column("Size");
    }
    for (cache, size) in rows {
        let name = if cache.is_temporary() { &cache.name } else { cache.name.get(..10).unwrap_or_default() };
        let days = now.since(cache.used).as_secs() / DAY.as_secs();
        let old = if cache.is_older_than(max_age, now) { "yes" } else { "" };
        let cells = [name.to_owned(), format!("{days} days ago"), old.to_owned()];
        table.row(cells.into_iter().chain(size.map(|size| format!("{:>11}", bytes(size)))));
    }
    table.footer(format!("{} cache dirs in {}", rows.len(), base.display()));
    table
}

/// restic prints its table here too; ours is the fuller answer.
fn print_json(session: &Session, rows: &[Row], max_age: Duration, now: Timestamp) {
    let mut out = Vec::new();
    let mut array = Array::begin(&mut out);
    for (cache, size) in rows {
        let mut object = Object::begin(array.element());
        object.string("name", &cache.name).string("path", cache.path.as_os_str().as_encoded_bytes());
        object.time("used", Time::utc(cache.used)).bool("old", cache.is_older_than(max_age, now));
        if let Some(size) = size {
            object.number("size", *size);
        }
        object.end();
    }
    array.end();
    out.push(b'\n');
    session.screen.bytes(&out);
}

fn unlisted(base: &Path) -> String {
    format!("cannot look through the caches in {}", base.display())
}
