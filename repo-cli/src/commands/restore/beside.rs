//! `restore --as-copy`: a version of a file beside the file.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use repo_core::format::Node;
use repo_core::format::json::Object;
use repo_core::ops::restore::{Beside, BesideError, BesideOptions, restore_beside};
use repo_core::repository::{LockKind, Reader, Repository};
use repo_core::snapshots::{self, Stored};
use repo_core::walk::{Child, Locator, LookupError};

use crate::args::restore::Restore;
use crate::exit::wrong;
use crate::place;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::escape::visible;
use crate::ui::screen::Level;
use crate::ui::views::RestoreView;

pub fn run(session: &Session, args: &Restore, typed: &OsStr, options: &BesideOptions) -> Result<()> {
    let original = place::absolute(typed)?;
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let candidates = candidates(session, args, &repository)?;
    let reader = repository.reader(&session.context)?;
    let Some((stored, node)) = newest_with(&reader, &candidates, &original)? else {
        return Err(wrong(
            format!("{} is in none of these snapshots", visible(typed.as_encoded_bytes())),
            "`larder log PATH` shows the versions of a file; `larder find NAME` looks for a name.",
        ));
    };
    let drawing = session.progress.show(RestoreView::default());
    let done = restore_beside(&session.context, &reader, &node, &original, options);
    drop(drawing);
    match done {
        Ok(done) => {
            tell(session, stored, &done);
            Ok(())
        }
        Err(error @ BesideError::InTheWay { .. }) => Err(wrong(
            error.to_string(),
            "Nothing was changed. Move that file away, then run the same again.",
        )),
        Err(error) => Err(error.into()),
    }
}

/// The snapshot that was named, or all that the filters let through, newest first.
fn candidates(session: &Session, args: &Restore, repository: &Repository) -> Result<Vec<Stored>> {
    let filter = select::filter(session, &args.filter, Paths::Absolute);
    match &args.snapshots[..] {
        [] => {
            let mut all = snapshots::list(&session.context, repository)?;
            all.retain(|stored| filter.matches(&stored.snapshot));
            all.reverse();
            Ok(all)
        }
        [id] if !id.contains(':') => Ok(vec![select::one(session, repository, id, &filter)?]),
        _ => Err(wrong(
            "--as-copy takes one snapshot, without a folder",
            "Write `larder restore SNAPSHOT --as-copy FILE`; the file's path says which folder it is in.",
        )),
    }
}

fn newest_with<'a>(
    reader: &Reader,
    candidates: &'a [Stored],
    original: &Path,
) -> Result<Option<(&'a Stored, Node)>, LookupError> {
    let mut locator = Locator::new(reader);
    for stored in candidates {
        if let Some(Child { node, .. }) =
            locator.locate(&stored.snapshot, original)?.and_then(|located| located.entry)
        {
            return Ok(Some((stored, node)));
        }
    }
    Ok(None)
}

fn tell(session: &Session, stored: &Stored, done: &Beside) {
    let (word, path) = match done {
        Beside::Written(path) => ("restored", path),
        Beside::Present(path) => ("present", path),
    };
    let path = path.as_os_str().as_encoded_bytes();
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").string("action", word);
        object.string("path", path).id("snapshot_id", stored.id);
        object.end();
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    let (path, id) = (visible(path), stored.id.short());
    session.screen.say(
        Level::Normal,
        match done {
            Beside::Written(_) => format!("restored {path} from snapshot {id}"),
            Beside::Present(_) => format!("{path} is there already and holds what snapshot {id} has"),
        },
    );
}
