//! `recover`: the index is put right, then what nobody refers to gets a snapshot.

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::format::json::Object;
use repo_core::id::SnapshotId;
use repo_core::ops::recover::{RecoverPlan, plan_recover};
use repo_core::ops::repair::{RepairIndexOptions, repair_index};
use repo_core::repository::{LockKind, LockOptions, LockOwner, WriterOptions};

use crate::args::recover::Recover;
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;
use crate::ui::views::{PruneView, RecoverView};

pub fn run(session: &Session, args: &Recover) -> Result<()> {
    let settings = &session.settings;
    let say = |text: &str| session.screen.say(Level::Normal, text);
    let writer = WriterOptions {
        compression: settings.compression,
        pack_size: settings.pack_size()?,
        verify: settings.extra_verify,
    };
    let repository = session.open()?;
    let lock = LockOptions { wait: settings.lock.retry, ..LockOptions::default() };
    if !args.dry_run {
        say("ensuring index is complete\nloading indexes...\ngetting pack files to read...");
        let drawing = session.progress.show(PruneView);
        let options = RepairIndexOptions { lock: lock.clone(), ..RepairIndexOptions::default() };
        let report = repair_index(&session.context, &repository, &options)?;
        drop(drawing);
        for (pack, error) in &report.unreadable {
            session.screen.warn(visible_text(&format!("pack {pack} is left out: {}", with_causes(error))));
        }
    }
    let lock = if args.dry_run {
        None
    } else {
        Some(repository.lock(&session.context, LockKind::Exclusive, &lock)?)
    };
    let drawing = session.progress.show(RecoverView);
    let plan = plan_recover(&session.context, &repository)?;
    drop(drawing);
    say("done");
    tell_plan(session, &plan);
    let (roots, unreadable) = (plan.roots.clone(), plan.unreadable.len());
    let saved = match &lock {
        None => None,
        Some(lock) => plan.execute(&session.context, lock, &LockOwner::this_process(), writer)?,
    };
    match saved {
        Some(id) => session.screen.say(Level::Quiet, format!("saved new snapshot {}", id.short())),
        None if roots.is_empty() => say("no snapshot to write."),
        None => say("would save a new snapshot"),
    }
    if settings.json {
        let roots: Vec<String> = roots.iter().map(ToString::to_string).collect();
        session.screen.line(summary(&roots, unreadable, saved, args.dry_run));
    }
    Ok(())
}

fn tell_plan(session: &Session, plan: &RecoverPlan) {
    for (tree, error) in &plan.unreadable {
        let text = format!("unable to load tree {}: {}", tree.short(), with_causes(error));
        session.screen.warn(visible_text(&text));
    }
    for root in &plan.roots {
        session.screen.say(Level::Verbose, format!("found root tree {}", root.short()));
    }
    session.screen.say(Level::Quiet, format!("\nfound {} unreferenced roots", plan.roots.len()));
}

fn summary(roots: &[String], unreadable: usize, saved: Option<SnapshotId>, dry_run: bool) -> String {
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.string("message_type", "summary").strings("roots", roots);
    object.number("unreadable_trees", unreadable as u64).id_if_some("snapshot_id", saved);
    if dry_run {
        object.bool("dry_run", true);
    }
    object.end();
    String::from_utf8_lossy(&line).into_owned()
}
