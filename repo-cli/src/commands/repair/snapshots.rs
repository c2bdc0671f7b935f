//! `repair snapshots`: what is cut out of snapshots, shown → new ones.

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::format::json::Object;
use repo_core::format::quote_name;
use repo_core::ops::repair::{
    Cut, Fate, Loss, OldSnapshots, RepairSnapshotsError, SnapshotOutcome, SnapshotRepair,
    plan_repair_snapshots,
};
use repo_core::snapshots::is_protected;

use super::{lock_alone, writer_options};
use crate::args::repair::RepairSnapshots;
use crate::commands::ls::heading;
use crate::exit::wrong;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;
use crate::ui::views::RepairView;

pub fn run(session: &Session, args: &RepairSnapshots) -> Result<()> {
    let repository = session.open()?;
    let lock = if args.dry_run { None } else { Some(lock_alone(session, &repository)?) };
    let filter = select::filter(session, &args.filter, Paths::AsTyped);
    let many = select::many(session, &repository, &args.ids, &filter)?;
    let drawing = session.progress.show(RepairView { salvages: false });
    let plan = plan_repair_snapshots(&session.context, &repository, many.found.clone()).map_err(explained)?;
    drop(drawing);

    let old = match (args.forget, session.settings.strict) {
        (true, _) => OldSnapshots::Remove,
        // As restic: a snapshot of which nothing is left goes, whatever was asked for.
        (false, true) => OldSnapshots::RemoveLost,
        (false, false) => OldSnapshots::Keep,
    };
    let mut told = Told { session, old, modified: 0, failed: 0 };
    match &lock {
        None => plan.snapshots.iter().for_each(|repair| told.would(repair)),
        Some(lock) => plan
            .execute(&session.context, lock, old, writer_options(session)?, |repair, outcome| {
                told.done(repair, outcome);
            })
            .map_err(explained)?,
    }
    told.end(args.dry_run)?;
    many.verdict(session)
}

/// What is said of each snapshot, and counted.
struct Told<'a> {
    session: &'a Session,
    old: OldSnapshots,
    modified: u64,
    failed: u64,
}

impl Told<'_> {
    fn say(&self, text: impl AsRef<str>) {
        self.session.screen.say(Level::Normal, text);
    }

    /// Which snapshot, and what is cut.
    fn begin(&mut self, repair: &SnapshotRepair) {
        self.say(format!("\n{}", heading(&repair.stored, &self.session.settings.zone)));
        for cut in &repair.cuts {
            self.say(format!("  {}", cut_text(cut)));
        }
        match &repair.fate {
            Fate::Lost => self.say("  dir \"/\": not readable"),
            Fate::Stays(error) => {
                self.failed += 1;
                let what =
                    format!("snapshot {} stays as it is: {}", repair.stored.id.short(), with_causes(error));
                self.session.screen.warn(visible_text(&what));
            }
            _ => {}
        }
    }

    fn goes(&self, repair: &SnapshotRepair) -> bool {
        let lost = matches!(repair.fate, Fate::Lost);
        let wanted = self.old == OldSnapshots::Remove || lost && self.old == OldSnapshots::RemoveLost;
        wanted && !is_protected(&repair.stored.snapshot.tags)
    }

    /// Why a snapshot stays that one might expect to go.
    fn stays(&self, repair: &SnapshotRepair) {
        let id = repair.stored.id.short();
        if is_protected(&repair.stored.snapshot.tags) && self.old != OldSnapshots::Keep {
            self.say(format!("kept old snapshot {id}, which is protected"));
        } else if matches!(repair.fate, Fate::Lost) {
            self.say(format!("kept snapshot {id}, of which nothing can be read; --forget removes it"));
        }
    }

    fn would(&mut self, repair: &SnapshotRepair) {
        self.begin(repair);
        let goes = self.goes(repair);
        match repair.fate {
            Fate::Changes(_) => {
                self.modified += 1;
                self.say("would save new snapshot");
                if goes {
                    self.say("would remove old snapshot");
                } else {
                    self.stays(repair);
                }
            }
            Fate::Lost if goes => {
                self.modified += 1;
                self.say("would delete empty snapshot");
            }
            Fate::Lost => self.stays(repair),
            _ => {}
        }
        self.json(repair, &SnapshotOutcome::default());
    }

    fn done(&mut self, repair: &SnapshotRepair, outcome: &SnapshotOutcome) {
        self.begin(repair);
        let id = repair.stored.id.short();
        match (outcome.new, outcome.was_there) {
            (Some(new), false) => self.say(format!("saved new snapshot {}", new.short())),
            (Some(new), true) => self.say(format!("snapshot {} has it all already", new.short())),
            (None, _) => {}
        }
        let is_lost = matches!(repair.fate, Fate::Lost);
        if outcome.removed && is_lost {
            self.say(format!("removed empty snapshot {id}"));
        } else if outcome.removed {
            self.say(format!("removed old snapshot {id}"));
        } else if outcome.failed.is_none() && (is_lost || outcome.new.is_some()) {
            self.stays(repair);
        }
        if let Some(error) = &outcome.failed {
            self.failed += 1;
            self.session.screen.warn(visible_text(&format!("snapshot {id}: {}", with_causes(error))));
        }
        self.modified += u64::from(outcome.new.is_some() && !outcome.was_there || outcome.removed);
        self.json(repair, outcome);
    }

    fn json(&self, repair: &SnapshotRepair, outcome: &SnapshotOutcome) {
        let fate = match &repair.fate {
            Fate::Changes(_) => "changed",
            Fate::Lost => "lost",
            Fate::Stays(_) => "failed",
            _ => return,
        };
        if !self.session.settings.json {
            return;
        }
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", fate).id("old_snapshot_id", repair.stored.id);
        object.id_if_some("new_snapshot_id", outcome.new);
        if let Fate::Changes(tree) = &repair.fate {
            object.id("tree", *tree);
        }
        object.bool("removed", outcome.removed);
        let cuts: Vec<String> = repair.cuts.iter().map(cut_text).collect();
        object.strings("cuts", &cuts);
        object.end();
        self.session.screen.line(String::from_utf8_lossy(&line));
    }

    /// The numbers, and exit code 1 if something was not done.
    fn end(&self, dry_run: bool) -> Result<()> {
        if self.session.settings.json {
            let mut line = Vec::new();
            let mut object = Object::begin(&mut line);
            object.string("message_type", "summary").number("changed_snapshots", self.modified);
            object.number("failed_snapshots", self.failed);
            if dry_run {
                object.bool("dry_run", true);
            }
            object.end();
            self.session.screen.line(String::from_utf8_lossy(&line));
        }
        self.say(match (self.modified, dry_run) {
            (0, false) => "\nno snapshots were modified".to_owned(),
            (0, true) => "\nno snapshots would be modified".to_owned(),
            (count, false) => format!("\nmodified {count} snapshots"),
            (count, true) => format!("\nwould modify {count} snapshots"),
        });
        if self.failed == 0 {
            return Ok(());
        }
        Err(wrong(
            format!("{} snapshots could not be repaired", self.failed),
            "Their old versions are as they were. Run `larder check` to see what is still wrong.",
        ))
    }
}

/// In restic's words.
fn cut_text(cut: &Cut) -> String {
    let names: Vec<_> = cut.path.split(|byte| *byte == b'/').map(quote_name).collect();
    let path = names.join("/");
    match &cut.loss {
        Loss::Content => format!("file \"{path}\": removed missing content"),
        Loss::Size => format!("file \"{path}\": fixed incorrect size"),
        Loss::Kind { word } => {
            format!("file \"{path}\": removed node with invalid type \"{}\"", quote_name(word.as_bytes()))
        }
        Loss::Folder => format!("dir \"{path}\": replaced with empty directory"),
        other => format!("\"{path}\": {other:?}"),
    }
}

fn explained(error: RepairSnapshotsError) -> anyhow::Error {
    let remedy = match &error {
        RepairSnapshotsError::PacksMissing { .. } | RepairSnapshotsError::NotLost { .. } => {
            "Run `larder repair index` first; no snapshot was changed."
        }
        RepairSnapshotsError::Unsteady { .. } => {
            "No snapshot was changed. Look at the storage, and at the memory of this machine; then run the same again."
        }
        _ => return error.into(),
    };
    wrong(with_causes(&error), remedy)
}
