//! `copy`: snapshots of another repository into this one.

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::format::json::Object;
use repo_core::ops::copy::{CopyError, CopyOptions, CopyOutcome, CopyReport, copy};
use repo_core::repository::{LockGuard, LockKind, LockOptions, Repository, WriterOptions};
use repo_core::snapshots::Stored;

use super::ls::heading;
use crate::args::copy::Copy;
use crate::config::{Access, Naming};
use crate::exit::wrong;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;
use crate::ui::views::CopyView;

pub fn run(session: &Session, args: &Copy) -> Result<()> {
    let (other, naming) = Access::other(&args.from, &session.environment)?;
    let keyboard = session.keyboard(false);
    let other = session.open_with(&other, &keyboard)?;
    let main = session.open()?;
    let (from, to) = match naming {
        Naming::New => (other, main),
        Naming::Old => (main, other),
    };
    let _from_lock = session.lock(&from, LockKind::Shared)?;
    let lock = lock_target(session, &to)?;
    let filter = select::filter(session, &args.filter, Paths::AsTyped);
    let many = select::many(session, &from, &args.ids, &filter)?;
    let report = transfer(session, &from, &to, &lock, &many.found)?;
    let verdict = finish(session, &report);
    many.verdict(session).and(verdict)
}

/// As restic: where snapshots are made a lock is taken, even with --no-lock.
pub fn lock_target(session: &Session, to: &Repository) -> Result<LockGuard> {
    let options = LockOptions { wait: session.settings.lock.retry, ..LockOptions::default() };
    Ok(to.lock(&session.context, LockKind::Shared, &options)?)
}

/// Copies snapshots and tells of each.
pub fn transfer(
    session: &Session,
    from: &Repository,
    to: &Repository,
    lock: &LockGuard,
    wanted: &[Stored],
) -> Result<CopyReport> {
    let settings = &session.settings;
    let writer = WriterOptions {
        compression: settings.compression,
        pack_size: settings.pack_size()?,
        verify: settings.extra_verify,
    };
    let drawing = session.progress.show(CopyView);
    let options = CopyOptions { writer, thaw: session.thaw()? };
    let report = copy(&session.context, from, to, lock, wanted, &options, |stored, outcome| {
        tell(session, stored, outcome);
    });
    drop(drawing);
    report.map_err(|error| match error {
        CopyError::Removed { .. } => wrong(
            error.to_string(),
            "Another program removes data without regard to locks. Once it has ended, run `larder repair index`, then the same again.",
        ),
        error => error.into(),
    })
}

fn tell(session: &Session, stored: &Stored, outcome: &CopyOutcome) {
    let screen = &session.screen;
    if session.settings.json {
        return screen.line(message(stored, outcome));
    }
    let source = stored.id.short();
    let level = if matches!(outcome, CopyOutcome::Present { .. }) { Level::Verbose } else { Level::Normal };
    screen.say(level, format!("\n{}", heading(stored, &session.settings.zone)));
    match outcome {
        CopyOutcome::Copied { id } => {
            let id = id.short();
            screen.say(level, format!("snapshot {id} saved, copied from source snapshot {source}"));
        }
        CopyOutcome::Present { id } => screen.say(
            level,
            format!("skipping source snapshot {source}, was already copied to snapshot {}", id.short()),
        ),
        CopyOutcome::Incomplete { source: error, .. } => screen
            .warn(visible_text(&format!("snapshot {source} is not copied: {}", with_causes(error.as_ref())))),
    }
}

fn message(stored: &Stored, outcome: &CopyOutcome) -> String {
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    match outcome {
        CopyOutcome::Copied { id } => {
            object.string("message_type", "copied").id("source_id", stored.id).id("snapshot_id", *id);
        }
        CopyOutcome::Present { id } => {
            object.string("message_type", "skipped").id("source_id", stored.id).id("snapshot_id", *id);
        }
        CopyOutcome::Incomplete { source, .. } => {
            object.string("message_type", "error").id("source_id", stored.id);
            object.string("error", with_causes(source.as_ref()).as_bytes());
        }
    }
    object.end();
    String::from_utf8_lossy(&line).into_owned()
}

/// The numbers, and exit code 1 if a snapshot could not be copied.
pub fn finish(session: &Session, report: &CopyReport) -> Result<()> {
    let (mut copied, mut present, mut failed) = (0_u64, 0_u64, 0_u64);
    for (_, outcome) in &report.snapshots {
        match outcome {
            CopyOutcome::Copied { .. } => copied += 1,
            CopyOutcome::Present { .. } => present += 1,
            CopyOutcome::Incomplete { .. } => failed += 1,
        }
    }
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").number("copied", copied).number("skipped", present);
        object.number("failed", failed).number("packs", report.packs).number("bytes", report.pack_bytes);
        object.end();
        session.screen.line(String::from_utf8_lossy(&line));
    }
    if failed == 0 {
        return Ok(());
    }
    Err(wrong(
        format!("{failed} snapshots could not be copied, because not all of them can be read"),
        "Run `larder check --read-data` on the source; then run the same again, it goes on from here.",
    ))
}
