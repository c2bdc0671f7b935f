//! `repair`: mends what is left of a repository.

mod fetch;
mod packs;
mod snapshots;

use anyhow::Result;
use repo_core::backend::Rebuilt;
use repo_core::format::json::Object;
use repo_core::ops::repair::{RepairIndexOptions, repair_index};
use repo_core::repository::{LockGuard, LockKind, LockOptions, Repository, WriterOptions};

use crate::args::repair::{Repair, RepairAction, RepairIndex};
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::screen::Level;
use crate::ui::views::PruneView;

pub fn run(session: &Session, args: &Repair) -> Result<()> {
    let from = &args.from;
    let names_other = from.from_repo.is_some() || from.from_repository_file.is_some();
    if args.action.is_some() && (names_other || args.dry_run) {
        return Err(wrong(
            "--from-repo and --dry-run before an action do not belong to it",
            "With --from-repo there is no action: `larder repair --from-repo LOCATION`. An action's flags come after it.",
        ));
    }
    match &args.action {
        Some(RepairAction::Index(args)) => index(session, args),
        Some(RepairAction::Packs(args)) => packs::run(session, args),
        Some(RepairAction::Snapshots(args)) => snapshots::run(session, args),
        Some(RepairAction::Hot) => hot(session),
        None if names_other => fetch::run(session, args),
        None => {
            super::help::page(session, &["repair".to_owned()]);
            Ok(())
        }
    }
}

/// `repair hot`: the cold half is opened alone, so that nothing hot is believed.
fn hot(session: &Session) -> Result<()> {
    let access = &session.settings.repository;
    if access.hot.is_none() {
        return Err(wrong(
            "no hot storage was named",
            "Give it with --repo-hot or LARDER_REPO_HOT; --repo is the cold one, which is whole.",
        ));
    }
    let cold = session.open_keeping(&access.alone(), &session.keyboard(false), None)?;
    let _lock = session.lock(&cold, LockKind::Exclusive)?;
    let both = session.tiered(access, cold.backend().clone())?;
    // Tells both halves which packs hold trees.
    cold.with_backend(both.clone()).load_index(&session.context)?;
    let Rebuilt { copied, bytes: size, removed } = both.rebuild_hot(&session.context)?;
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").number("copied", copied).number("copied_bytes", size);
        object.number("removed", removed);
        object.end();
        session.screen.line(String::from_utf8_lossy(&line));
    }
    let size = bytes(size);
    session.screen.say(Level::Normal, format!("copied {copied} files with {size}, removed {removed} files"));
    Ok(())
}

/// Takes the lock that whoever changes something needs; as restic, even with `--no-lock`.
fn lock_alone(session: &Session, repository: &Repository) -> Result<LockGuard> {
    let options = LockOptions { wait: session.settings.lock.retry, ..LockOptions::default() };
    Ok(repository.lock(&session.context, LockKind::Exclusive, &options)?)
}

/// How new packs are written.
fn writer_options(session: &Session) -> Result<WriterOptions> {
    let settings = &session.settings;
    Ok(WriterOptions {
        compression: settings.compression,
        pack_size: settings.pack_size()?,
        verify: settings.extra_verify,
    })
}

/// `repair index`, and `rebuild-index` as it was called once.
pub fn index(session: &Session, args: &RepairIndex) -> Result<()> {
    let Some(lock) = session.lock_options() else {
        return Err(wrong(
            "repair index cannot work without a lock",
            "Leave out --no-lock; `larder unlock` removes locks that were left behind.",
        ));
    };
    let repository = session.open()?;
    if !args.read_all_packs {
        session.screen.say(Level::Normal, "loading indexes...");
    }
    session.screen.say(Level::Normal, "getting pack files to read...");
    let drawing = session.progress.show(PruneView);
    let options = RepairIndexOptions { lock, read_all_packs: args.read_all_packs };
    let report = repair_index(&session.context, &repository, &options)?;
    drop(drawing);
    for id in &report.files_unreadable {
        session.screen.warn(format!("removed invalid index {id}"));
    }
    for pack in &report.added {
        session.screen.warn(format!("adding pack file to index {pack}"));
    }
    for pack in &report.forgotten {
        session.screen.warn(format!("removing not found pack file {pack}"));
    }
    if report.unreadable.is_empty() {
        session.screen.say(Level::Normal, "done");
        return Ok(());
    }
    let packs: Vec<String> = report.unreadable.iter().map(|(pack, _)| pack.to_string()).collect();
    Err(wrong(
        format!("the headers of {} packs cannot be read; what the index said about them stays", packs.len()),
        format!("`larder repair packs {}` saves what is readable of them.", packs.join(" ")),
    ))
}
