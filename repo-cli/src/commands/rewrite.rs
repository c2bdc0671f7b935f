//! `rewrite`: new snapshots from old ones.

use anyhow::Result;
use repo_core::format::json::Object;
use repo_core::ops::rewrite::{Old, RewriteChange, RewriteOptions, Rewritten, preview, rewrite};
use repo_core::repository::{LockKind, LockOptions, WriterOptions};
use repo_core::snapshots::Stored;

use super::ls::heading;
use crate::args::rewrite::Rewrite;
use crate::args::values;
use crate::exit::{sentence, wrong};
use crate::patterns;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Rewrite) -> Result<()> {
    let settings = &session.settings;
    let change = change(session, args)?;
    let old = if args.forget { Old::Remove } else { Old::Keep };
    let repository = session.open()?;
    let filter = select::filter(session, &args.filter, Paths::AsTyped);
    let many;
    if args.forget {
        session.screen.say(Level::Normal, "create exclusive lock for repository");
    }
    let done = if args.dry_run {
        many = select::many(session, &repository, &args.ids, &filter)?;
        preview(&session.context, &repository, &many.found, &change, old)?
    } else {
        let kind = if args.forget { LockKind::Exclusive } else { LockKind::Shared };
        // As restic: who changes snapshots takes the lock, even with --no-lock.
        let lock = LockOptions { wait: settings.lock.retry, ..LockOptions::default() };
        let lock = repository.lock(&session.context, kind, &lock)?;
        many = select::many(session, &repository, &args.ids, &filter)?;
        let writer = WriterOptions {
            compression: settings.compression,
            pack_size: settings.pack_size()?,
            verify: settings.extra_verify,
        };
        rewrite(&session.context, &repository, &lock, &many.found, &change, &RewriteOptions { old, writer })?
    };
    for (stored, rewritten) in many.found.iter().zip(&done) {
        tell(session, args, stored, rewritten);
    }
    let changed = done.iter().filter(|one| matches!(one, Rewritten::New { .. })).count() as u64;
    let failed = done.iter().filter(|one| matches!(one, Rewritten::Failed(_))).count();
    summary(session, args, changed);
    if failed > 0 {
        return Err(wrong(
            format!("{failed} snapshots could not be rewritten"),
            "No old snapshot was lost. `larder check` says what is damaged; protected ones need `larder tag --unprotect`.",
        ));
    }
    many.verdict(session)
}

/// What was typed, as a change.
fn change(session: &Session, args: &Rewrite) -> Result<RewriteChange> {
    let time =
        args.new_time.as_deref().map(|time| values::snapshot_time(time, &session.settings.zone)).transpose();
    let time =
        time.map_err(|error| wrong(format!("error in time option: {error}"), "See `larder help rewrite`."))?;
    let change = RewriteChange {
        selection: patterns::selection(session, &args.excludes, &args.includes)?,
        host: args.new_host.clone().filter(|host| !host.is_empty()),
        time,
        summary: args.snapshot_summary,
    };
    if change.is_empty() {
        return Err(wrong(
            "Nothing to do: no excludes/includes provided and no new metadata provided",
            "Give --exclude, --include, --new-host, --new-time or --snapshot-summary.",
        ));
    }
    Ok(change)
}

fn tell(session: &Session, args: &Rewrite, stored: &Stored, rewritten: &Rewritten) {
    let say = |line: String| session.screen.say(Level::Normal, line);
    say(format!("\n{}", heading(stored, &session.settings.zone)));
    match rewritten {
        Rewritten::New { id: Some(new) } => {
            if session.settings.json {
                let mut line = Vec::new();
                let mut object = Object::begin(&mut line);
                object.string("message_type", "changed");
                object.id("old_snapshot_id", stored.id).id("new_snapshot_id", *new);
                object.end();
                session.screen.line(String::from_utf8_lossy(&line));
            }
            say(format!("saved new snapshot {}", new.short()));
            if args.forget {
                say(format!("removed old snapshot {}", stored.id.short()));
            }
        }
        Rewritten::New { id: None } => {
            say("would save new snapshot".to_owned());
            if args.forget {
                say("would remove old snapshot".to_owned());
            }
        }
        Rewritten::Failed(error) => {
            let reason = sentence(anyhow::Chain::new(error));
            let id = stored.id.short();
            session.screen.warn(visible_text(&format!("unable to rewrite snapshot ID \"{id}\": {reason}")));
        }
        _ => {}
    }
}

fn summary(session: &Session, args: &Rewrite, changed: u64) {
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").number("changed_snapshots", changed);
        object.end();
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    let text = match (args.dry_run, changed) {
        (false, 0) => "no snapshots were modified".to_owned(),
        (false, count) => format!("modified {count} snapshots"),
        (true, 0) => "no snapshots would be modified".to_owned(),
        (true, count) => format!("would modify {count} snapshots"),
    };
    session.screen.say(Level::Normal, format!("\n{text}"));
}
