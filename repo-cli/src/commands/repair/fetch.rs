//! `repair --from-repo`: what is lost here, fetched from another repository.

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::format::json::Object;
use repo_core::ops::repair::{FetchPlan, FetchReport, plan_fetch};
use repo_core::repository::LockKind;

use super::writer_options;
use crate::args::repair::Repair;
use crate::config::Access;
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;
use crate::ui::views::RepairView;

pub fn run(session: &Session, args: &Repair) -> Result<()> {
    let (other, _) = Access::other(&args.from, &session.environment)?;
    let from = session.open_with(&other, &session.keyboard(false))?;
    let repository = session.open()?;
    let _from_lock = session.lock(&from, LockKind::Shared)?;
    let lock = session.lock(&repository, LockKind::Shared)?;
    let drawing = session.progress.show(RepairView { salvages: false });
    let plan = plan_fetch(&session.context, &repository, &from)?;
    let mut report = FetchReport::default();
    if !args.dry_run {
        report = plan.execute(&session.context, &lock, writer_options(session)?)?;
    }
    drop(drawing);
    for (blob, error) in &report.damaged {
        session.screen.warn(visible_text(&format!("{blob} is damaged there too: {}", with_causes(error))));
    }
    tell(session, &plan, &report, args.dry_run);
    let left = plan.nowhere.len() + report.damaged.len();
    if left == 0 {
        return Ok(());
    }
    Err(wrong(
        format!("{left} pieces are lost here and not to be had there"),
        "Try another copy. The next backup of the same files brings back what is still in them; \
         `larder repair snapshots --forget` cuts out the rest.",
    ))
}

fn tell(session: &Session, plan: &FetchPlan, report: &FetchReport, dry_run: bool) {
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").number("found", plan.found.len() as u64);
        object.number("nowhere", plan.nowhere.len() as u64).number("damaged", report.damaged.len() as u64);
        object.number("fetched", report.fetched).number("fetched_bytes", report.bytes);
        if dry_run {
            object.bool("dry_run", true);
        }
        object.end();
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    for blob in &plan.nowhere {
        session.screen.say(Level::Verbose, format!("{blob} is not there either"));
    }
    let text = match (plan.found.len() + plan.nowhere.len(), dry_run) {
        (0, _) => "nothing is lost that a snapshot needs".to_owned(),
        (_, true) => format!("would bring back {} lost pieces", plan.found.len()),
        (_, false) => format!("brought back {} lost pieces with {}", report.fetched, bytes(report.bytes)),
    };
    session.screen.say(Level::Normal, text);
}
