//! `restore`: a snapshot, or part of it, becomes files.

mod beside; // --as-copy
mod into; // --into

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use repo_core::filter::{Selection, clean};
use repo_core::format::json::Object;
use repo_core::fs::metadata::Names;
use repo_core::fs::target::{Fidelity, Layout, Owner};
use repo_core::ops::restore::{BesideOptions, Overwrite, Report, RestoreOptions, restore};

use crate::args::restore::{Overwrite as Typed, Restore};
use crate::commands::ls::heading;
use crate::exit::wrong;
use crate::patterns;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::{bytes, clock};
use crate::ui::escape::visible;
use crate::ui::screen::Level;
use crate::ui::views::RestoreView;

pub fn run(session: &Session, args: &Restore) -> Result<()> {
    if let Some(file) = &args.as_copy {
        let options = BesideOptions { layout: layout(args), fidelity: fidelity(session, args)? };
        forbid(
            "--as-copy",
            args,
            &[(args.into.is_some(), "--into"), (args.verify, "--verify"), (args.dry_run, "--dry-run")],
        )?;
        return beside::run(session, args, file, &options);
    }
    if let Some(path) = &args.into {
        forbid(
            "--into",
            args,
            &[(args.sparse, "--sparse"), (args.ownership_by_name, "--ownership-by-name")],
        )?;
        return into::run(session, args, Path::new(path));
    }
    let (typed, target) = checked(args)?;
    let (id, folder) = select::split(typed);
    let options = options(session, args, folder, &target)?;
    let repository = session.open()?;
    let filter = select::filter(session, &args.filter, Paths::Absolute);
    let stored = select::one(session, &repository, id, &filter)?;
    let shown = visible(target.as_os_str().as_encoded_bytes());
    let heading = heading(&stored, &session.settings.zone);
    session.screen.say(Level::Normal, format!("restoring {heading} to {shown}"));

    let start = session.context.clock.elapsed();
    let drawing = session.progress.show(RestoreView::default());
    let report = restore(&session.context, &repository, &stored.snapshot, &target, &options);
    drop(drawing);
    let report = report?;
    if let Some(needed) = report.needed.as_ref().filter(|_| args.dry_run) {
        session.tell_needed(needed);
    }
    tell(session, &report, session.context.clock.elapsed().saturating_sub(start));
    if args.verify {
        let count = report.summary.files_verified;
        session.screen.say(Level::Normal, format!("verifying files in {shown}"));
        session.screen.say(Level::Normal, format!("finished verifying {count} files in {shown}"));
    }
    if report.skipped.is_empty() {
        return Ok(());
    }
    Err(wrong(
        format!("There were {} errors", report.skipped.len()),
        "All the rest was restored; the lines above name what was not. `larder check` finds damage.",
    ))
}

/// The snapshot as typed, and the target.
fn checked(args: &Restore) -> Result<(&str, PathBuf)> {
    let typed = match &args.snapshots[..] {
        [typed] => typed,
        [] => {
            return Err(wrong(
                "no snapshot ID specified",
                "Name one, or write `latest`; see `larder snapshots`.",
            ));
        }
        more => {
            return Err(wrong(
                format!("more than one snapshot ID specified: [{}]", more.join(" ")),
                "Restore them one after the other, into different folders.",
            ));
        }
    };
    let Some(target) = args.target.as_ref().filter(|target| !target.is_empty()) else {
        return Err(wrong(
            "please specify a directory to restore to (--target)",
            "An empty folder is the safe choice: `--target ./restored`.",
        ));
    };
    if args.dry_run && args.verify {
        return Err(wrong("--dry-run and --verify are mutually exclusive", "Leave out one of them."));
    }
    Ok((typed, PathBuf::from(target)))
}

fn options(session: &Session, args: &Restore, folder: &str, target: &Path) -> Result<RestoreOptions> {
    let selection = patterns::selection(session, &args.excludes, &args.includes)?;
    let whole = clean(target.as_os_str().as_encoded_bytes()) == b"/";
    if args.delete && whole && matches!(selection, Selection::All) {
        return Err(wrong(
            "'--target / --delete' must be combined with an include or exclude filter",
            "Without one, everything on this machine that is not in the snapshot would be removed.",
        ));
    }
    Ok(RestoreOptions {
        lock: session.lock_options(),
        folder: Path::new("/").join(folder.trim_start_matches('/')),
        selection,
        overwrite: match args.overwrite {
            Typed::Always => Overwrite::Always,
            Typed::IfChanged => Overwrite::IfChanged,
            Typed::IfNewer => Overwrite::IfNewer,
            Typed::Never => Overwrite::Never,
        },
        delete: args.delete,
        layout: layout(args),
        fidelity: fidelity(session, args)?,
        verify: args.verify,
        dry_run: args.dry_run,
        thaw: session.thaw()?,
        // Counting ahead is only for those who look.
        scan: session.progress.is_watched(),
        ..RestoreOptions::default()
    })
}

fn layout(args: &Restore) -> Layout {
    if args.sparse { Layout::Sparse } else { Layout::Dense }
}

fn fidelity(session: &Session, args: &Restore) -> Result<Fidelity> {
    let owner = if args.ownership_by_name { Owner::Names(Arc::new(Names::system())) } else { Owner::Numbers };
    Ok(Fidelity { owner, xattrs: patterns::xattrs(session, args)?, ..Fidelity::default() })
}

/// One file at one place needs no choice of files, and nothing goes because of it.
fn forbid(flag: &str, args: &Restore, more: &[(bool, &str)]) -> Result<()> {
    let (out, only) = (&args.excludes, &args.includes);
    let patterns = [&out.exclude, &out.iexclude, &out.exclude_file, &out.iexclude_file];
    let patterns =
        patterns.into_iter().chain([&only.include, &only.iinclude, &only.include_file, &only.iinclude_file]);
    let senseless = [
        (args.target.is_some(), "--target"),
        (args.delete, "--delete"),
        (args.overwrite != Typed::Always, "--overwrite"),
        (patterns.into_iter().any(|list| !list.is_empty()), "includes and excludes"),
    ];
    match senseless.iter().chain(more).find(|(is_given, _)| *is_given) {
        None => Ok(()),
        Some((_, other)) => Err(wrong(
            format!("{flag} and {other} are mutually exclusive"),
            format!("{flag} restores the content of one file to one place; use --target for all else."),
        )),
    }
}

fn tell(session: &Session, report: &Report, duration: Duration) {
    if session.settings.json {
        let mut line = Vec::new();
        json(&mut line, report, duration);
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    session.screen.line(text(report, duration));
}

fn text(report: &Report, duration: Duration) -> String {
    let summary = &report.summary;
    let (restored, failed) = (summary.entries_restored, report.skipped.len() as u64);
    let count = if failed > 0 { format!("{restored} / {}", restored + failed) } else { restored.to_string() };
    let mut line = format!(
        "Summary: Restored {count} files/dirs ({}) in {}",
        bytes(summary.bytes_restored),
        clock(duration)
    );
    if summary.entries_unchanged > 0 {
        let (skipped, size) = (summary.entries_unchanged, bytes(summary.bytes_unchanged));
        line += &format!(", skipped {skipped} files/dirs {size}");
    }
    if summary.entries_deleted > 0 {
        line += &format!(", deleted {} files/dirs", summary.entries_deleted);
    }
    line
}

fn json(line: &mut Vec<u8>, report: &Report, duration: Duration) {
    let summary = &report.summary;
    let mut object = Object::begin(line);
    object.string("message_type", "summary").number_unless_zero("seconds_elapsed", duration.as_secs());
    object.number_unless_zero("total_files", summary.entries_restored + report.skipped.len() as u64);
    object.number_unless_zero("files_restored", summary.entries_restored);
    object.number_unless_zero("files_skipped", summary.entries_unchanged);
    object.number_unless_zero("files_deleted", summary.entries_deleted);
    object.number_unless_zero("total_bytes", summary.bytes_restored);
    object.number_unless_zero("bytes_restored", summary.bytes_restored);
    object.number_unless_zero("bytes_skipped", summary.bytes_unchanged);
    object.end();
}

#[cfg(test)]
mod tests {
    use repo_core::ops::restore::Summary;

    use super::*;

    #[test]
    fn summary_says_what_was_written_and_what_was_right_already() {
        let summary = Summary { entries_restored: 9, bytes_restored: 300_013, ..Summary::default() };
        let mut report = Report { summary, ..Report::default() };
        let check = |report: &Report, expected: &str| assert_eq!(text(report, Duration::ZERO), expected);
        check(&report, "Summary: Restored 9 files/dirs (292.981 KiB) in 0:00");
        report.summary.entries_unchanged = 3;
        report.summary.bytes_unchanged = 11;
        report.summary.entries_deleted = 1;
        check(
            &report,
            "Summary: Restored 9 files/dirs (292.981 KiB) in 0:00, skipped 3 files/dirs 11 B, deleted 1 files/dirs",
        );
    }
}
