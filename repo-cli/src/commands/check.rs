//! `check`: a verdict on the repository.

use anyhow::Result;
use repo_core::format::json::Object;
use repo_core::ops::check::{
    CheckOptions, CheckReport, Finding, ReadData, Remedy, RemotelyVerified, VerifiedAge, check,
};
use repo_core::time::{Time, Zone};

use crate::args::check::Check;
use crate::cache::Temporary;
use crate::exit::wrong;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::date_time;
use crate::ui::escape::visible;
use crate::ui::screen::Level;
use crate::ui::views::CheckView;

pub fn run(session: &Session, args: &Check) -> Result<()> {
    let read_data = read_data(args)?;
    let thaw = session.thaw()?;
    if thaw.is_some() && matches!(read_data, ReadData::Oldest { bytes: None, .. }) {
        return Err(wrong(
            "--read-data-for alone cannot know which cold packs to thaw",
            "Add --read-data-budget SIZE: that many bytes are thawed.",
        ));
    }
    let options = CheckOptions {
        lock: session.lock_options(),
        read_data,
        verify_remote: args.verify_remote,
        thaw,
        snapshots: args.ids.iter().map(|id| select::wanted(id)).collect(),
        filter: select::filter(session, &args.filter, Paths::AsTyped),
        ..CheckOptions::default()
    };

    let access = &session.settings.repository;
    session.settings.pack_size()?;
    let location = Session::location(access)?;
    // What was right when it was kept says nothing of what the storage holds now.
    let temporary = if args.with_cache { None } else { Temporary::make(session, &location) };
    let cache = match &temporary {
        Some(temporary) => Some(temporary.base().to_owned()),
        None if args.with_cache => session.cache_base(&location),
        None => None,
    };
    let repository = session.open_keeping(access, &session.keyboard(false), cache)?;
    session.screen.say(Level::Normal, "create exclusive lock for repository");
    let drawing = session.progress.show(CheckView { read_data });
    let report = check(&session.context, &repository, &options)?;
    drop(drawing);
    tell(session, &report);
    if report.is_sound() {
        nothing_to_compare(&report)?;
        session.screen.say(Level::Normal, "no errors were found");
        return Ok(());
    }
    Err(wrong("repository contains errors", advice(&report)))
}

/// How much is read of the packs.
fn read_data(args: &Check) -> Result<ReadData> {
    let reads = args.read_data || args.read_data_subset.is_some();
    if args.verify_remote && (reads || args.read_data_for.is_some() || args.read_data_budget.is_some()) {
        return Err(wrong(
            "--verify-remote goes with no --read-data flag",
            "What is read is verified anyway: leave out one of them.",
        ));
    }
    let rolling = args.read_data_for.is_some() || args.read_data_budget.is_some();
    match (args.read_data, args.read_data_subset, rolling) {
        (false, None, false) => Ok(ReadData::Nothing),
        (true, None, false) => Ok(ReadData::All),
        (false, Some(subset), false) => Ok(subset),
        (false, None, true) => {
            Ok(ReadData::Oldest { bytes: args.read_data_budget, span: args.read_data_for })
        }
        (true, Some(_), _) => Err(wrong(
            "check flags --read-data and --read-data-subset cannot be used together",
            "Keep one of them.",
        )),
        _ => Err(wrong(
            "--read-data-for and --read-data-budget go with no other --read-data flag",
            "Keep these two or the other one.",
        )),
    }
}

/// A storage that knows no checksum at all cannot have verified anything.
fn nothing_to_compare(report: &CheckReport) -> Result<()> {
    match report.remote {
        Some(RemotelyVerified { packs: 0, unknown }) if unknown > 0 => Err(wrong(
            "this storage tells no SHA-256 of the packs, so they were not verified",
            "Read them instead: --read-data, or a part at a time with --read-data-for 30m. Nothing else is wrong.",
        )),
        _ => Ok(()),
    }
}

fn tell(session: &Session, report: &CheckReport) {
    if let Some(RemotelyVerified { packs: 1.., unknown: unknown @ 1.. }) = report.remote {
        session.screen.warn(format!(
            "of {unknown} packs the storage knows no SHA-256, as another program stored them; \
             `larder check --read-data` reads them"
        ));
    }
    if session.settings.json {
        let mut line = Vec::new();
        summary(&mut line, report);
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    let extra =
        report.findings.iter().filter(|finding| matches!(finding, Finding::PackUnreferenced { .. })).count();
    if extra > 0 && report.is_sound() {
        session.screen.say(
            Level::Normal,
            format!("{extra} additional files were found in the repo, which likely contain duplicate data."),
        );
        session
            .screen
            .say(Level::Normal, "This is non-critical, you can run `larder prune` to correct this.");
    }
    if let Some(age) = report.verified {
        session.screen.say(Level::Normal, turns(age, report.packs_read, &session.settings.zone));
    }
    if let Some(RemotelyVerified { packs, .. }) = report.remote {
        session.screen.say(Level::Normal, format!("{packs} packs are what the storage's checksums say"));
    }
    for file in &report.affected {
        let path = visible(file.path.as_os_str().as_encoded_bytes());
        let below = if file.is_dir { " and all below" } else { "" };
        session.screen.warn(format!("damaged in snapshot {}: {path}{below}", file.snapshot.short()));
    }
}

/// `12 packs read; of 340 packs 100 were never read, the others since 2026-01-02 03:04:05`.
fn turns(age: VerifiedAge, read: u64, zone: &Zone) -> String {
    let VerifiedAge { packs, never, oldest } = age;
    let all = format!("{read} packs read");
    match oldest.map(|oldest| date_time(zone.at(oldest))) {
        Some(oldest) if never == 0 => format!("{all}; each of {packs} packs was read since {oldest}"),
        Some(oldest) => format!("{all}; of {packs} packs {never} were never read, the others since {oldest}"),
        None => format!("{all}; none of {packs} packs was ever read and found right"),
    }
}

fn summary(out: &mut Vec<u8>, report: &CheckReport) {
    let broken = report.broken_packs();
    let remedies = report.remedies();
    let mut object = Object::begin(out);
    object.string("message_type", "summary").number("num_errors", report.errors().count() as u64);
    if broken.is_empty() {
        object.key("broken_packs").extend_from_slice(b"null");
    } else {
        let ids: Vec<String> = broken.iter().map(ToString::to_string).collect();
        object.strings("broken_packs", &ids);
    }
    object.bool("suggest_repair_index", remedies.contains(&Remedy::RepairIndex));
    object.bool("suggest_prune", remedies.contains(&Remedy::Prune));
    if let Some(VerifiedAge { packs, never, oldest }) = report.verified {
        object
            .number("packs_read", report.packs_read)
            .number("packs", packs)
            .number("packs_never_read", never);
        if let Some(oldest) = oldest {
            object.time("oldest_read", Time::utc(oldest));
        }
    }
    if let Some(RemotelyVerified { packs, unknown }) = report.remote {
        object.number("packs_verified_remotely", packs).number("packs_without_checksum", unknown);
    }
    object.end();
}

/// What mends it, in the order in which to do it. Nothing is to be pruned before all else is mended.
fn advice(report: &CheckReport) -> String {
    let packs: Vec<String> = report.broken_packs().iter().map(ToString::to_string).collect();
    let remedies = report.remedies();
    let mut steps = Vec::new();
    for remedy in &remedies {
        match remedy {
            Remedy::RepairPacks => steps.push(format!("larder repair packs {}", packs.join(" "))),
            Remedy::RepairIndex => steps.push("larder repair index".to_owned()),
            Remedy::RemoveFile => steps.push("remove the files named above from the repository".to_owned()),
            _ => {}
        }
    }
    if !report.affected.is_empty() || remedies.contains(&Remedy::BackUpAgain) {
        steps.push(
            "larder backup, of the same files if they still exist: what was lost is stored anew".to_owned(),
        );
    }
    if !report.affected.is_empty() || remedies.contains(&Remedy::RepairSnapshots) {
        steps.push("larder repair snapshots --forget, if something is lost for good".to_owned());
    }
    if steps.is_empty() {
        return "Look at the storage, then run `larder check --read-data` again.".to_owned();
    }
    let numbered = steps.iter().enumerate().map(|(at, step)| format!("  {}. {step}", at + 1));
    format!("Copy the repository first if you can. Then:\n{}", numbered.collect::<Vec<_>>().join("\n"))
}
