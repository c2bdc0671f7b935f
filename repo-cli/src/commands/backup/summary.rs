//! What a backup did, in restic's words.

use std::time::Duration;

use repo_core::format::Summary;
use repo_core::format::json::Object;
use repo_core::ops::archive::Report;

use crate::session::Session;
use crate::ui::amount::{bytes, clock};
use crate::ui::escape::visible_text;
use crate::ui::float::go_float;
use crate::ui::screen::Level;

/// Prints it as text or JSON; with the repository's location if there are several.
pub fn print(session: &Session, location: Option<&str>, report: &Report, dry_run: bool) {
    if session.settings.json {
        let mut line = Vec::new();
        json(&mut line, location, report, dry_run);
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    if let Some(location) = location {
        session.screen.say(Level::Normal, format!("\nrepository {}:", visible_text(location)));
    }
    let verbose = session.settings.level >= Level::Verbose;
    for line in text(&report.summary, duration(&report.summary), dry_run, verbose) {
        session.screen.say(Level::Normal, line);
    }
    match report.id {
        _ if dry_run => {}
        Some(id) => session.screen.say(Level::Normal, format!("snapshot {} saved", id.short())),
        None => session.screen.say(Level::Normal, "skipped creating snapshot"),
    }
}

fn duration(summary: &Summary) -> Duration {
    summary.backup_end.instant.since(summary.backup_start.instant)
}

fn text(summary: &Summary, duration: Duration, dry_run: bool, verbose: bool) -> Vec<String> {
    let Summary { files_new, files_changed, files_unmodified, .. } = summary;
    let Summary { dirs_new, dirs_changed, dirs_unmodified, .. } = summary;
    let mut lines = vec![
        String::new(),
        format!("Files:       {files_new:5} new, {files_changed:5} changed, {files_unmodified:5} unmodified"),
        format!("Dirs:        {dirs_new:5} new, {dirs_changed:5} changed, {dirs_unmodified:5} unmodified"),
    ];
    if verbose {
        lines.push(format!("Data Blobs:  {:5} new", summary.data_blobs));
        lines.push(format!("Tree Blobs:  {:5} new", summary.tree_blobs));
    }
    let verb = if dry_run { "Would add" } else { "Added" };
    let (added, stored) = (bytes(summary.data_added), bytes(summary.data_added_packed));
    lines.push(format!("{verb} to the repository: {added:<5} ({stored:<5} stored)"));
    lines.push(String::new());
    let (files, total) = (summary.total_files_processed, bytes(summary.total_bytes_processed));
    lines.push(format!("processed {files} files, {total} in {}", clock(duration)));
    lines
}

fn json(line: &mut Vec<u8>, location: Option<&str>, report: &Report, dry_run: bool) {
    let summary = &report.summary;
    let mut object = Object::begin(line);
    object.string("message_type", "summary");
    for (key, value) in [
        ("files_new", summary.files_new),
        ("files_changed", summary.files_changed),
        ("files_unmodified", summary.files_unmodified),
        ("dirs_new", summary.dirs_new),
        ("dirs_changed", summary.dirs_changed),
        ("dirs_unmodified", summary.dirs_unmodified),
        ("data_blobs", summary.data_blobs),
        ("tree_blobs", summary.tree_blobs),
        ("data_added", summary.data_added),
        ("data_added_packed", summary.data_added_packed),
        ("total_files_processed", summary.total_files_processed),
        ("total_bytes_processed", summary.total_bytes_processed),
    ] {
        object.number(key, value);
    }
    object.key("total_duration").extend_from_slice(go_float(duration(summary).as_secs_f64()).as_bytes());
    object.time("backup_start", summary.backup_start).time("backup_end", summary.backup_end);
    object.id_if_some("snapshot_id", report.id);
    if let Some(location) = location {
        object.string("repository", location.as_bytes());
    }
    if dry_run {
        object.bool("dry_run", true);
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use repo_core::time::Time;

    use super::*;

    #[test]
    fn summary_lines_are_those_that_wrappers_read() {
        let summary = Summary {
            backup_start: Time::ZERO,
            backup_end: Time::ZERO,
            files_new: 4,
            files_changed: 0,
            files_unmodified: 12_345,
            dirs_new: 3,
            dirs_changed: 0,
            dirs_unmodified: 0,
            data_blobs: 1,
            tree_blobs: 2,
            data_added: 303_021,
            data_added_packed: 7,
            total_files_processed: 4,
            total_bytes_processed: 300_013,
            unknown: Vec::new(),
        };
        let expected = [
            "",
            "Files:           4 new,     0 changed, 12345 unmodified",
            "Dirs:            3 new,     0 changed,     0 unmodified",
            "Data Blobs:      1 new",
            "Tree Blobs:      2 new",
            "Would add to the repository: 295.919 KiB (7 B   stored)",
            "",
            "processed 4 files, 292.981 KiB in 1:02:03",
        ];
        assert_eq!(text(&summary, Duration::from_secs(3723), true, true), expected);
    }
}
