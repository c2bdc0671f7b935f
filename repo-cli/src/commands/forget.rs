//! `forget`: rules or ids → which snapshots go, shown first, then done.

mod future;
mod size;

use anyhow::Result;
use repo_core::format::json::{Array, Object, write_string};
use repo_core::id::SnapshotId;
use repo_core::ops::forget::{self, ForgetError, ForgetOptions, ForgetPlan, ForgetReport, GroupPlan, Kept};
use repo_core::repository::{LockGuard, LockKind, Repository};
use repo_core::snapshots::{Filter, GroupKey, Stored};

use crate::args::forget::Forget;
use crate::commands::prune;
use crate::exit::{Code, Told, sentence, wrong};
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::{bytes, date_time};
use crate::ui::escape::visible_text;
use crate::ui::records;
use crate::ui::screen::Level;
use crate::ui::snapshot_table::{SnapshotTable, group_heading};
use crate::ui::views::RemoveView;

pub fn run(session: &Session, args: &Forget) -> Result<()> {
    let filter = select::filter(session, &args.filter(), Paths::AsTyped);
    if args.simulate.is_some() {
        return future::run(session, args, &filter);
    }
    if session.settings.lock.none && !args.dry_run {
        return Err(wrong(
            "--no-lock is only applicable in combination with --dry-run for forget command",
            "Leave it out, or add --dry-run.",
        ));
    }
    let (repository, lock) = session.open_locked(LockKind::Exclusive)?;
    let mut many = select::many(session, &repository, &args.ids, &filter)?;
    let mut sized = None;
    let plan = if args.ids.is_empty() {
        let plan = by_rules(session, args, &filter, std::mem::take(&mut many.found))?;
        match args.keep_until_size {
            Some(bytes) => {
                let judged = size::judge(session, &repository, plan, bytes)?;
                sized = Some((judged.kept_bytes, judged.freed));
                judged.plan
            }
            None => plan,
        }
    } else {
        forget::plan_named(std::mem::take(&mut many.found))
    };
    tell_plan(session, args, &plan);
    if let Some((kept_bytes, freed)) = &sized {
        size::tell(session, *kept_bytes, freed);
    }
    let protected: Vec<String> = plan.protected.iter().map(|stored| stored.id.short()).collect();
    for id in &protected {
        session.screen.warn(format!("Ignoring {id:?}: the snapshot is protected"));
    }
    let gone: Vec<SnapshotId> = plan.removed().map(|stored| stored.id).collect();
    let freed = sized.map(|(_, freed)| freed).unwrap_or_default();
    let report = execute(session, args, &repository, &lock, plan, &freed)?;
    if args.prune && !gone.is_empty() && report.failed.is_empty() {
        tell_prune(session, args.dry_run, gone.len());
        let mut options = prune::options(session, &args.pruning)?;
        options.repack_small = args.repack_small;
        if args.dry_run {
            options.without_snapshots = gone;
        }
        // The groups alone are the JSON of a forget: wrappers read it as one value.
        let how = prune::How { dry_run: args.dry_run, json: false, tariff: None };
        prune::prune(session, &repository, lock, &options, &how)?;
    }
    verdict(&report, &protected)?;
    many.verdict(session)
}

/// Why it is pruned, in restic's words.
fn tell_prune(session: &Session, dry_run: bool, count: usize) {
    let what =
        if dry_run { "would be removed, running prune dry run" } else { "have been removed, running prune" };
    session.screen.say(Level::Normal, format!("{count} snapshots {what}"));
}

/// The plan by rules, after restic's words for them.
fn by_rules(session: &Session, args: &Forget, filter: &Filter, mut found: Vec<Stored>) -> Result<ForgetPlan> {
    let policy = args.policy();
    if policy.is_empty() && args.unsafe_allow_remove_all && filter.is_empty() {
        return Err(wrong(
            "--unsafe-allow-remove-all is not allowed unless a snapshot filter option is specified",
            "Choose the snapshots to remove with --host, --tag or --path.",
        ));
    }
    let size = args.keep_until_size.map(|size| format!(", more up to {} in all", bytes(size)));
    if !policy.is_empty() || args.unsafe_allow_remove_all || size.is_some() {
        let size = size.unwrap_or_default();
        session.screen.say(Level::Normal, visible_text(&format!("Applying Policy: {policy}{size}")));
    }
    in_order(args, &mut found);
    let options = options(session, args);
    forget::plan(&session.context, found, &options).map_err(explained)
}

/// The options that were typed.
fn options(session: &Session, args: &Forget) -> ForgetOptions {
    ForgetOptions {
        policy: args.policy(),
        group_by: args.group_by,
        zone: args.time_zone.clone(),
        remove_all: args.unsafe_allow_remove_all,
        more_rules: args.keep_until_size.is_some(),
        allow_future: args.allow_future || session.settings.strict,
    }
}

/// Paths and tags are shown in order, as restic does; the records themselves stay as they are.
fn in_order(args: &Forget, found: &mut [Stored]) {
    for stored in found {
        stored.snapshot.paths.sort_unstable();
        if args.group_by.tags {
            stored.snapshot.tags.sort_unstable();
        }
    }
}

/// What to do about a refusal.
fn explained(error: ForgetError) -> anyhow::Error {
    let remedy = match &error {
        ForgetError::NoPolicy => "Give a rule such as --keep-daily 7, or ids of snapshots.",
        ForgetError::EmptiesGroup { .. } => {
            "Add a rule that keeps something of the group. To remove all of it, choose it with --host, --tag or --path \
             and give --unsafe-allow-remove-all without any rule."
        }
        ForgetError::Future { id, time, count } => {
            let more = if *count > 1 { format!(", and {} more", count - 1) } else { String::new() };
            return wrong(
                format!("snapshot {} is dated in the future: {}{more}", id.short(), date_time(*time)),
                format!(
                    "As the newest it would push out snapshots that are newer in truth. If the date is wrong, remove the \
                     snapshot with `larder forget {0}`, or correct it with `restic rewrite --forget --new-time \
                     'YYYY-MM-DD hh:mm:ss' {0}`. To count it as it is dated, give --allow-future.",
                    id.short()
                ),
            );
        }
        _ => return error.into(),
    };
    wrong(error.to_string(), remedy)
}

fn tell_plan(session: &Session, args: &Forget, plan: &ForgetPlan) {
    if session.settings.json {
        return;
    }
    for GroupPlan { key, keep, remove } in &plan.groups {
        let heading = group_heading(key, args.group_by);
        if !heading.is_empty() {
            session.screen.say(Level::Verbose, heading);
        }
        // Judged from the newest on, shown from the oldest on.
        let (kept, reasons): (Vec<Stored>, Vec<Vec<String>>) = keep
            .iter()
            .rev()
            .map(|kept| (kept.stored.clone(), kept.reasons.iter().map(ToString::to_string).collect()))
            .unzip();
        let removed: Vec<Stored> = remove.iter().rev().cloned().collect();
        let table = SnapshotTable { compact: args.compact, zone: &session.settings.zone };
        tell_table(session, "keep", kept.len(), &table.lines_with_reasons(&kept, &reasons));
        tell_table(session, "remove", removed.len(), &table.lines(&removed));
    }
    let mut ids: Vec<String> = plan.removed().map(|stored| stored.id.short()).collect();
    if args.dry_run && !ids.is_empty() {
        ids.sort_unstable();
        session.screen.say(
            Level::Normal,
            format!("Would have removed the following snapshots:\n{{{}}}\n", ids.join(" ")),
        );
    }
}

fn tell_table(session: &Session, what: &str, count: usize, lines: &[String]) {
    if count > 0 {
        session.screen.say(Level::Normal, format!("{what} {count} snapshots:\n{}\n", lines.join("\n")));
    }
}

/// Removes what the plan says, unless nothing is to be done; then the JSON, which restic prints last.
fn execute(
    session: &Session,
    args: &Forget,
    repository: &Repository,
    lock: &LockGuard,
    plan: ForgetPlan,
    freed: &[(SnapshotId, u64)],
) -> Result<ForgetReport> {
    let mut json = Vec::new();
    if session.settings.json && !plan.groups.is_empty() {
        groups_json(&mut json, &plan.groups, freed);
        json.push(b'\n');
    }
    let report = if args.dry_run {
        ForgetReport { removed: Vec::new(), failed: Vec::new() }
    } else {
        let _drawing = session.progress.show(RemoveView);
        plan.execute(&session.context, repository, lock)?
    };
    for (id, error) in &report.failed {
        let cause = visible_text(&sentence(anyhow::Chain::new(error)));
        session.screen.warn(format!("unable to remove snapshot/{id} from the repository: {cause}"));
    }
    for id in &report.removed {
        session.screen.say(Level::Detailed, format!("removed snapshot/{id}"));
    }
    session.screen.bytes(&json);
    Ok(report)
}

fn verdict(report: &ForgetReport, protected: &[String]) -> Result<()> {
    if !report.failed.is_empty() {
        return Err(Told {
            what: "failed to remove one or more snapshots".to_owned(),
            remedy: "Run the same again when the storage can be written; the others are gone.".to_owned(),
            code: Code::Partial,
        }
        .into());
    }
    if !protected.is_empty() {
        return Err(wrong(
            format!("{} of the snapshots are protected and stay", protected.len()),
            format!("`larder tag --unprotect {}` lets them go.", protected.join(" ")),
        ));
    }
    Ok(())
}

fn groups_json(out: &mut Vec<u8>, groups: &[GroupPlan], freed: &[(SnapshotId, u64)]) {
    let mut array = Array::begin(out);
    for GroupPlan { key, keep, remove } in groups {
        let mut object = Object::begin(array.element());
        key_json(&mut object, key);
        list_json(object.key("keep"), keep.iter().map(|kept| &kept.stored));
        list_json(object.key("remove"), remove);
        reasons_json(object.key("reasons"), keep);
        if !freed.is_empty() {
            size::json(object.key("freed"), remove, freed);
        }
        object.end();
    }
    array.end();
}

/// `tags`, `host` and `paths` of a group; null where the grouping does not look.
fn key_json(object: &mut Object<'_>, key: &GroupKey) {
    let list = |object: &mut Object<'_>, name: &str, list: &Option<Vec<String>>| match list.as_deref() {
        None | Some([]) => object.key(name).extend_from_slice(b"null"),
        Some(list) => {
            object.strings(name, list);
        }
    };
    list(object, "tags", &key.tags);
    object.string("host", key.host.as_deref().unwrap_or_default());
    list(object, "paths", &key.paths);
}

fn list_json<'a>(out: &mut Vec<u8>, snapshots: impl IntoIterator<Item = &'a Stored>) {
    let mut snapshots = snapshots.into_iter().peekable();
    if snapshots.peek().is_none() {
        return out.extend_from_slice(b"null");
    }
    records::snapshots(out, snapshots);
}

fn reasons_json(out: &mut Vec<u8>, keep: &[Kept]) {
    if keep.is_empty() {
        return out.extend_from_slice(b"null");
    }
    let mut array = Array::begin(out);
    for Kept { stored, reasons } in keep {
        let mut object = Object::begin(array.element());
        records::snapshot(object.key("snapshot"), stored, |_| {});
        let mut matches = Array::begin(object.key("matches"));
        for reason in reasons {
            write_string(matches.element(), reason.to_string().as_bytes());
        }
        matches.end();
        object.end();
    }
    array.end();
}
