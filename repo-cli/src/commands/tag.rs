//! `tag`: other tags for snapshots, and their protection.

use anyhow::Result;
use repo_core::format::json::Object;
use repo_core::id::SnapshotId;
use repo_core::ops::tag::{TagChange, TagError, tag};
use repo_core::repository::{LockKind, LockOptions};

use crate::args::tag::Tag;
use crate::args::values;
use crate::exit::{sentence, wrong};
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Tag) -> Result<()> {
    let change = change(session, args)?;
    let repository = session.open()?;
    session.screen.say(Level::Normal, "create exclusive lock for repository");
    // As restic: who changes snapshots takes the lock, even with --no-lock.
    let options = LockOptions { wait: session.settings.lock.retry, ..LockOptions::default() };
    let lock = repository.lock(&session.context, LockKind::Exclusive, &options)?;
    let filter = select::filter(session, &args.filter, Paths::AsTyped);
    let many = select::many(session, &repository, &args.ids, &filter)?;

    let (mut changed, mut failed) = (0_u64, 0_u64);
    for stored in &many.found {
        match tag(&session.context, &repository, &lock, stored, &change) {
            Ok(None) => {}
            Ok(Some(new)) => {
                changed += 1;
                tell(session, stored.id, new);
            }
            Err(error @ (TagError::Save { .. } | TagError::Remove { .. })) => {
                failed += 1;
                session.screen.warn(visible_text(&sentence(anyhow::Chain::new(&error))));
            }
            Err(error) => return Err(error.into()),
        }
    }
    summary(session, changed);
    if failed > 0 {
        return Err(wrong(
            format!("the tags of {failed} snapshots could not be changed"),
            "Run the same again when the storage can be written; no snapshot is lost.",
        ));
    }
    many.verdict(session)
}

/// What was typed, as a change.
fn change(session: &Session, args: &Tag) -> Result<TagChange> {
    let lists = [&args.set, &args.add, &args.remove];
    let protection = args.protect || args.unprotect;
    if lists.iter().all(|list| list.is_empty()) && !protection {
        return Err(wrong("nothing to do!", "Give --set, --add, --remove, --protect or --unprotect."));
    }
    let more = !args.add.is_empty() || !args.remove.is_empty();
    if !args.set.is_empty() && more {
        return Err(wrong(
            "--set and --add/--remove cannot be given at the same time",
            "Run them one by one.",
        ));
    }
    if args.protect && args.unprotect {
        return Err(wrong("--protect and --unprotect cannot be given at the same time", "Keep one of them."));
    }
    let [set, add, remove] = lists.map(|list| {
        let tags = list.iter().flat_map(|tags| values::tags(tags));
        tags.filter(|tag| !tag.is_empty()).collect::<Vec<_>>()
    });
    // restic means to clear the tags with `--set ''`, but changes nothing.
    let clears = set.is_empty() && !session.settings.strict;
    let set = Some(set).filter(|set| !args.set.is_empty() && (clears || !set.is_empty()));
    Ok(TagChange { set, add, remove, protect: protection.then_some(args.protect) })
}

fn tell(session: &Session, old: SnapshotId, new: SnapshotId) {
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "changed").id("old_snapshot_id", old).id("new_snapshot_id", new);
        object.end();
        session.screen.line(String::from_utf8_lossy(&line));
    }
    session.screen.say(Level::Verbose, format!("old snapshot ID: {old} -> new snapshot ID: {new}"));
}

fn summary(session: &Session, changed: u64) {
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").number("changed_snapshots", changed);
        object.end();
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    let text = match changed {
        0 => "no snapshots were modified".to_owned(),
        count => format!("modified {count} snapshots"),
    };
    session.screen.say(Level::Normal, text);
}
