//! `repair packs`: what can be saved of damaged packs, shown → saved, and a copy of each pack kept here.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::format::json::Object;
use repo_core::id::PackId;
use repo_core::ops::repair::{
    DamagedBlob, PackSalvage, PacksPlan, PacksReport, RepairPacksError, plan_repair_packs,
};

use super::{lock_alone, writer_options};
use crate::args::repair::RepairPacks;
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::screen::Level;
use crate::ui::views::RepairView;

pub fn run(session: &Session, args: &RepairPacks) -> Result<()> {
    let packs = packs(&args.ids)?;
    let repository = session.open()?;
    let lock = if args.dry_run { None } else { Some(lock_alone(session, &repository)?) };
    let drawing = session.progress.show(RepairView { salvages: true });
    let plan = plan_repair_packs(&session.context, &repository, &packs).map_err(explained)?;
    tell_plan(session, &plan, args.dry_run);
    let lost = plan.lost().count();
    let mut report = PacksReport::default();
    if let Some(lock) = &lock {
        session.screen.say(Level::Normal, "saving backup copies of pack files to current folder");
        report =
            plan.execute(&session.context, lock, writer_options(session)?, &mut keep).map_err(explained)?;
    }
    drop(drawing);
    tell_end(session, packs.len(), &report, lost, args.dry_run);
    Ok(())
}

/// Ids are typed in full: a pack is removed in the end.
fn packs(ids: &[String]) -> Result<Vec<PackId>> {
    const NAMED: &str = "`larder check --read-data` names damaged packs by their full ids.";
    if ids.is_empty() {
        return Err(wrong("no ids specified", NAMED));
    }
    ids.iter().map(|id| id.parse().map_err(|_| wrong(format!("invalid id {id:?}"), NAMED))).collect()
}

/// Keeps a pack in the current folder. One that an earlier run kept is as good.
fn keep(pack: PackId, content: &[u8]) -> io::Result<()> {
    let name = format!("pack-{pack}");
    let path = Path::new(&name);
    match fs::read(path) {
        Ok(there) if there == content => return Ok(()),
        Ok(_) => {
            let told = format!("{name} exists already with other content; move it away");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, told));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Beside its place first, so that a run that is stopped leaves no part of a pack under this name.
    let part = format!("{name}.part");
    let mut file = File::create(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(part, path)
}

fn tell_plan(session: &Session, plan: &PacksPlan, dry_run: bool) {
    for salvage in &plan.packs {
        if session.settings.json {
            session.screen.line(pack_json(salvage));
        } else if dry_run {
            session.screen.say(Level::Normal, would_save(salvage));
        }
        for DamagedBlob { blob, source, elsewhere } in &salvage.damaged {
            let cause = source
                .as_ref()
                .map_or_else(|| "the pack ends before it".to_owned(), |error| with_causes(error));
            let rest = if *elsewhere { "; another pack has it whole" } else { "" };
            session.screen.warn(format!("failed to load blob {}: {cause}{rest}", blob.id));
        }
    }
}

fn would_save(salvage: &PackSalvage) -> String {
    format!(
        "pack {}: would save {} blobs, {} are damaged",
        salvage.pack,
        salvage.readable.len(),
        salvage.damaged.len()
    )
}

fn pack_json(salvage: &PackSalvage) -> String {
    let ids = |elsewhere: bool| -> Vec<String> {
        let damaged = salvage.damaged.iter().filter(|damaged| damaged.elsewhere == elsewhere);
        damaged.map(|damaged| damaged.blob.id.to_string()).collect()
    };
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.string("message_type", "pack").id("id", salvage.pack).number("bytes", salvage.bytes);
    object.number("readable", salvage.readable.len() as u64);
    object.strings("damaged", &ids(true)).strings("lost", &ids(false));
    object.end();
    String::from_utf8_lossy(&line).into_owned()
}

fn tell_end(session: &Session, packs: usize, report: &PacksReport, lost: usize, dry_run: bool) {
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").number("packs", packs as u64);
        object.number("blobs_saved", report.saved).number("blobs_lost", lost as u64);
        object.number("packs_written", report.packs_written);
        if dry_run {
            object.bool("dry_run", true);
        }
        object.end();
        session.screen.line(String::from_utf8_lossy(&line));
    }
    if lost > 0 && !session.settings.json {
        session.screen.warn(
            "\nThe next `larder backup` of the same files stores again what was lost of them.\n\
             Use `larder repair snapshots --forget` to remove the corrupted data blobs from all snapshots",
        );
    }
}

fn explained(error: RepairPacksError) -> anyhow::Error {
    let remedy = match &error {
        RepairPacksError::NotThere { .. } => {
            "Check the id. A pack that is lost as a whole is the business of `larder repair index`."
        }
        RepairPacksError::Keep { .. } => "Run it in a folder where there is room, and where you may write.",
        RepairPacksError::Unsteady { .. } => {
            "Nothing was removed. Look at the storage, and at the memory of this machine; then run the same again."
        }
        _ => return error.into(),
    };
    wrong(with_causes(&error), remedy)
}
