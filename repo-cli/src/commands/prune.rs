//! `prune`: what was typed → a plan, shown → carried out.

use anyhow::Result;
use repo_core::format::json::Object;
use repo_core::id::PackId;
use repo_core::ops::prune::{
    Amount, Bill, Fate, Incomplete, MaxUnused, Postponed, PruneError, PruneMode, PruneOptions, PrunePlan,
    PruneReport, plan,
};
use repo_core::repository::{LockGuard, Repository, WriterOptions};

use crate::args::prune::Prune;
use crate::args::prune_flags::PruneFlags;
use crate::args::values::Unused;
use crate::exit::{sentence, wrong};
use crate::prices::{self, Tariff};
use crate::session::Session;
use crate::ui::amount::{bytes, percent};
use crate::ui::escape::visible_text;
use crate::ui::float::go_float;
use crate::ui::screen::Level;
use crate::ui::views::PruneView;

pub fn run(session: &Session, args: &Prune) -> Result<()> {
    let mut options = options(session, &args.how)?;
    options.repack_small = args.repack_small;
    if !args.instant && args.unsafe_recover_no_free_space.is_none() {
        options.mode = PruneMode::Beside { grace: args.grace };
    }
    let repository = session.open()?;
    if let Some(id) = &args.unsafe_recover_no_free_space {
        let expected = repository.config().id.to_string();
        if *id != expected {
            return Err(wrong(
                format!("must pass id '{expected}' to --unsafe-recover-no-free-space"),
                "It removes the index before it removes packs. Try --max-repack-size 0 first.",
            ));
        }
        options.recover_no_free_space = true;
    }
    // As restic: without a lock one may only look.
    let lock = match session.lock_options() {
        None if args.dry_run => LockGuard::none(),
        None => {
            return Err(wrong(
                "--no-lock is only applicable in combination with --dry-run for prune command",
                "Leave it out: what is removed while others work may be what they need.",
            ));
        }
        Some(how) => {
            options.lock = how.clone();
            repository.lock(&session.context, options.mode.lock(), &how)?
        }
    };
    let location = repository.backend().properties().location;
    let tariff = args.prices.as_deref().map(|file| prices::of(file, &location)).transpose()?.flatten();
    let how = How { dry_run: args.dry_run, json: session.settings.json, tariff };
    prune(session, &repository, lock, &options, &how)
}

/// The options of the core that the flags mean.
pub fn options(session: &Session, flags: &PruneFlags) -> Result<PruneOptions> {
    let settings = &session.settings;
    Ok(PruneOptions {
        max_unused: match flags.max_unused {
            Unused::Bytes(bytes) => MaxUnused::Bytes(bytes),
            Unused::Percent(percent) => MaxUnused::Percent(percent),
            Unused::Unlimited => MaxUnused::Unlimited,
        },
        repack_bytes_max: flags.max_repack_size,
        repack_cacheable_only: flags.repack_cacheable_only,
        repack_smaller_than: flags.repack_smaller_than,
        repack_uncompressed: flags.repack_uncompressed,
        writer: WriterOptions {
            compression: settings.compression,
            pack_size: settings.pack_size()?,
            verify: settings.extra_verify,
        },
        ..PruneOptions::default()
    })
}

/// How much is done and shown.
#[derive(Debug, Clone)]
pub struct How {
    /// Only the plan.
    pub dry_run: bool,
    /// Plan and result as JSON lines.
    pub json: bool,
    /// What the storage charges, to show the bill.
    pub tariff: Option<Tariff>,
}

/// Plans, shows the plan, and carries it out unless it is a dry run. `lock` is of the kind that the mode wants; after a
/// forget it is the one that the forget held.
pub fn prune(
    session: &Session,
    repository: &Repository,
    lock: LockGuard,
    options: &PruneOptions,
    how: &How,
) -> Result<()> {
    let drawing = session.progress.show(PruneView);
    session.screen.say(Level::Normal, "loading all snapshots...");
    let plan = plan(&session.context, repository, lock, options).map_err(explained)?;
    let bill = how.tariff.as_ref().map(|tariff| plan.bill(&session.context, &tariff.prices)).transpose()?;
    tell_plan(session, &plan, how, bill.as_ref());
    if how.dry_run {
        if session.thaw()?.is_some() {
            session.tell_needed(&plan.needed());
        }
        return Ok(());
    }
    let plan = warm(session, repository, plan, options)?;
    let report = plan.execute(&session.context).map_err(explained)?;
    drop(drawing);
    tell_done(session, &report, how)
}

/// The plan once all packs that it reads are warm. That takes hours where they are cold, in which nobody is to be kept
/// from backups: the lock is given back, and what is planned after the wait is what counts.
fn warm(
    session: &Session,
    repository: &Repository,
    mut decided: PrunePlan,
    options: &PruneOptions,
) -> Result<PrunePlan> {
    let Some(thaw) = session.thaw()? else { return Ok(decided) };
    loop {
        let needed = decided.needed();
        if needed.packs.is_empty() || repository.backend().thaw(&needed.packs)?.is_empty() {
            return Ok(decided);
        }
        drop(decided);
        repository.thaw(&session.context, &needed, &thaw)?;
        let lock = session.lock(repository, options.mode.lock())?;
        decided = plan(&session.context, repository, lock, options).map_err(explained)?;
    }
}

fn tell_plan(session: &Session, plan: &PrunePlan, how: &How, bill: Option<&Bill>) {
    if how.json {
        plan_json(session, plan, how, bill);
    }
    let say = |level, text: String| session.screen.say(level, text);
    for pack in plan.missing() {
        session.screen.warn(format!("will forget missing pack file {pack}"));
    }
    if how.dry_run {
        say(Level::Normal, "\nWould have made the following changes:".to_owned());
    }
    let stats = plan.stats();
    let line = |label: &str, Amount { blobs, bytes: size }: Amount| {
        format!("{label:<14}{blobs:>10} blobs / {}", bytes(size))
    };
    let share = |part, whole| if whole == 0 { "0.00%".to_owned() } else { percent(part, whole) };
    let (total, remaining) = (stats.total(), stats.remaining());
    say(Level::Verbose, format!("\n{}", line("used:", stats.used)));
    if stats.duplicate.blobs > 0 {
        say(Level::Verbose, line("duplicates:", stats.duplicate));
    }
    say(Level::Verbose, line("unused:", stats.unused));
    if stats.unindexed_bytes > 0 {
        say(Level::Verbose, format!("unreferenced:                    {}", bytes(stats.unindexed_bytes)));
    }
    say(Level::Verbose, line("total:", total));
    say(Level::Verbose, format!("unused size: {} of total size", share(stats.unused_before(), total.bytes)));
    say(Level::Normal, format!("\n{}", line("to repack:", stats.repack)));
    say(Level::Normal, line("this removes:", stats.repack_removes));
    let whole = Amount { bytes: stats.remove.bytes + stats.unindexed_bytes, ..stats.remove };
    say(Level::Normal, line("to delete:", whole));
    say(Level::Normal, line("total prune:", stats.pruned()));
    if stats.uncompressed_bytes > 0 {
        say(Level::Normal, format!("not yet compressed:              {}", bytes(stats.uncompressed_bytes)));
    }
    say(Level::Normal, line("remaining:", remaining));
    if stats.waiting.blobs > 0 || stats.packs_waiting > 0 {
        say(Level::Normal, line("marked before:", stats.waiting));
    }
    if stats.expired.blobs > 0 || stats.packs_expired > 0 {
        say(Level::Normal, line("marked, goes:", stats.expired));
    }
    let after = stats.unused_after();
    say(
        Level::Normal,
        format!(
            "unused size after prune: {} ({} of remaining size)\n",
            bytes(after),
            share(after, remaining.bytes)
        ),
    );
    if let (Some(bill), Some(Tariff { currency, .. })) = (bill, &how.tariff) {
        say(
            Level::Normal,
            format!(
                "costs about {:.4} {currency}: requests {:.4}, reading {:.4}, early removal {:.4}; saves {:.4} a month\n",
                bill.total(),
                bill.requests,
                bill.reading,
                bill.early,
                bill.saved_month
            ),
        );
    }
    tell_packs(session, plan, how.dry_run);
}

/// The plan in packs, and in a dry run what it costs and which packs it means.
fn tell_packs(session: &Session, plan: &PrunePlan, dry_run: bool) {
    let say = |text: String| session.screen.say(Level::Verbose, text);
    let (stats, cost) = (plan.stats(), plan.cost());
    say(format!("totally used packs: {:>10}", stats.packs_used));
    say(format!("partly used packs:  {:>10}", stats.packs_partly_used));
    say(format!("unused packs:       {:>10}\n", stats.packs_unused));
    say(format!("to keep:      {:>10} packs", stats.packs_keep));
    say(format!("to repack:    {:>10} packs", stats.packs_repack));
    say(format!("to delete:    {:>10} packs", stats.packs_remove));
    if stats.packs_unindexed > 0 {
        say(format!("to delete:    {:>10} unreferenced packs", stats.packs_unindexed));
    }
    if !dry_run {
        return;
    }
    say(format!(
        "estimated:    read {} in {} requests, write {} in {}, remove {} files",
        bytes(cost.read_bytes),
        cost.read_requests,
        bytes(cost.written_bytes),
        cost.write_requests,
        cost.remove_requests
    ));
    let list = |what: &str, packs: Vec<PackId>| {
        if !packs.is_empty() {
            let names: Vec<String> = packs.iter().map(PackId::short).collect();
            say(format!("\nWould have {what}:\n{{{}}}", names.join(" ")));
        }
    };
    list("removed the following unreferenced packs", plan.unindexed().collect());
    list("repacked and removed the following packs", plan.packs(Fate::Repack));
    list("removed the following no longer used packs", plan.packs(Fate::Remove));
}

fn plan_json(session: &Session, plan: &PrunePlan, how: &How, bill: Option<&Bill>) {
    let dry_run = how.dry_run;
    let (stats, cost) = (plan.stats(), plan.cost());
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object
        .string("message_type", "plan")
        .bool("dry_run", dry_run)
        .number("snapshots", plan.snapshots() as u64);
    for (name, Amount { blobs, bytes }) in [
        ("used", stats.used),
        ("duplicate", stats.duplicate),
        ("unused", stats.unused),
        ("repack", stats.repack),
        ("repack_removes", stats.repack_removes),
        ("remove", stats.remove),
        ("pruned", stats.pruned()),
        ("remaining", stats.remaining()),
        ("waiting", stats.waiting),
        ("expired", stats.expired),
    ] {
        let mut amount = Object::begin(object.key(name));
        amount.number("blobs", blobs).number("bytes", bytes);
        amount.end();
    }
    object.number("unused_bytes_after", stats.unused_after());
    object.number("uncompressed_bytes", stats.uncompressed_bytes);
    object.number("packs_keep", stats.packs_keep).number("read_bytes", cost.read_bytes);
    object.number("written_bytes", cost.written_bytes).number("read_requests", cost.read_requests);
    object.number("write_requests", cost.write_requests).number("remove_requests", cost.remove_requests);
    let names =
        |packs: &mut dyn Iterator<Item = PackId>| packs.map(|pack| pack.to_string()).collect::<Vec<_>>();
    object.strings("packs_repack", &names(&mut plan.packs(Fate::Repack).into_iter()));
    object.strings("packs_remove", &names(&mut plan.packs(Fate::Remove).into_iter()));
    object.strings("packs_unreferenced", &names(&mut plan.unindexed()));
    object.strings("packs_missing", &names(&mut plan.missing().iter().copied()));
    object.number("packs_read", plan.needed().packs.len() as u64);
    if let (Some(bill), Some(Tariff { currency, .. })) = (bill, &how.tariff) {
        let mut costs = Object::begin(object.key("costs"));
        costs.string("currency", currency);
        for (name, amount) in [
            ("total", bill.total()),
            ("requests", bill.requests),
            ("reading", bill.reading),
            ("early_removal", bill.early),
            ("saved_per_month", bill.saved_month),
        ] {
            costs.raw(name, &go_float(amount));
        }
        costs.end();
    }
    object.strings("packs_expired", &names(&mut plan.packs(Fate::Expire).into_iter()));
    object.strings("packs_back", &names(&mut plan.back().iter().copied()));
    object.end();
    session.screen.line(String::from_utf8_lossy(&line));
}

fn tell_done(session: &Session, report: &PruneReport, how: &How) -> Result<()> {
    if how.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").number("packs_removed", report.packs_removed);
        object.number("packs_written", report.packs_written).number("bytes_written", report.bytes_written);
        object.number("packs_marked", report.packs_marked).number("packs_back", report.packs_back);
        object.bool("postponed", report.postponed.is_some());
        let pruned = report.stats.pruned();
        object.number("blobs_pruned", pruned.blobs).number("bytes_pruned", pruned.bytes);
        let left: Vec<String> = report.not_removed.iter().map(|(pack, _)| pack.to_string()).collect();
        object.strings("not_removed", &left);
        object.end();
        session.screen.line(String::from_utf8_lossy(&line));
    }
    tell_marked(session, report);
    if report.not_removed.is_empty() {
        session.screen.say(Level::Normal, "done");
        return Ok(());
    }
    for (pack, error) in &report.not_removed {
        let cause = visible_text(&sentence(anyhow::Chain::new(error)));
        session.screen.warn(format!("unable to remove pack {pack} from the repository: {cause}"));
    }
    Err(wrong(
        format!("{} packs that nobody needs could not be removed", report.not_removed.len()),
        "Nothing is lost; run `larder prune` again when the storage lets files be removed.",
    ))
}

/// What a run beside others left for later ones.
fn tell_marked(session: &Session, report: &PruneReport) {
    let say = |text: String| session.screen.say(Level::Normal, text);
    if report.packs_back > 0 {
        say(format!("{} packs are in use again and stay", report.packs_back));
    }
    if report.packs_marked > 0 {
        say(format!(
            "marked {} packs; a later prune removes them once the time of grace is over",
            report.packs_marked
        ));
    }
    match &report.postponed {
        Some(Postponed::AtWork(holder)) => say(format!(
            "the index stays as it is until the next prune: {} is at work",
            visible_text(&holder.to_string())
        )),
        Some(Postponed::Full) => say(
            "the storage is full, so nothing was copied; run `larder prune` again now that there is more room".to_owned(),
        ),
        Some(_) => say("the index stays as it is until the next prune: this one took too long".to_owned()),
        None => {}
    }
}

/// What to do about a refusal.
fn explained(error: PruneError) -> anyhow::Error {
    let remedy = match &error {
        PruneError::Incomplete(Incomplete::PackSize { pack, .. }) => format!(
            "Nothing was removed. `restic repair packs {pack}` saves what is readable of it, then run `larder repair index`."
        ),
        PruneError::Copy { pack, .. } => {
            format!(
                "Nothing that is in use was removed. `restic repair packs {pack}` takes the damaged copy away."
            )
        }
        PruneError::Incomplete(_) | PruneError::IndexFile { .. } | PruneError::IndexEntries { .. } => {
            "Nothing was removed, so as not to lose more. Run `larder repair index`, then `larder check`."
                .to_owned()
        }
        PruneError::Snapshot { id, .. } => format!(
            "Nothing was removed, because it may need anything. If it is lost for good, remove snapshots/{id} from the \
             storage."
        ),
        PruneError::Tree { .. } => {
            "Nothing was removed. Run `larder check --read-data` to see what is damaged and what mends it."
                .to_owned()
        }
        PruneError::NewSnapshot { .. } => "Nothing is lost. Run `larder prune` again.".to_owned(),
        _ => return error.into(),
    };
    let message = visible_text(&sentence(anyhow::Chain::new(&error)));
    wrong(message, remedy)
}
