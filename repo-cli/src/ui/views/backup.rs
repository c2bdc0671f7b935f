//! `backup`: how far it is, which files are in work, what became of each.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use repo_core::context::{Added, Change, Event, Stage};
use repo_core::format::json::Object;

use super::{common, error_line, float, loading, shown, told, whole_seconds};
use crate::ui::amount::{bytes, clock, percent, seconds};
use crate::ui::progress::{Tally, View};
use crate::ui::screen::{Level, Screen};

/// Shows a backup.
#[derive(Debug)]
pub struct BackupView {
    /// What was named, for `-v`.
    pub targets: Vec<String>,
    /// Whether files are counted ahead.
    pub scans: bool,
    /// Whether a missing parent is worth a line.
    pub tells_parent: bool,
}

/// How many files in work are shown.
const CURRENT_SHOWN: usize = 4;

impl View for BackupView {
    fn status(&self, tally: &Tally) -> Vec<String> {
        let done = tally.stage(Stage::Archive);
        if !tally.began(Stage::Archive) {
            return loading(tally);
        }
        let (total_files, total_bytes, known) = totals(tally);
        let mut line = format!("[{}] ", clock(tally.elapsed));
        if known && total_bytes > 0 && done.bytes <= total_bytes {
            line += &format!("{}  ", percent(done.bytes, total_bytes));
        }
        line += &format!("{} files {}", done.items, bytes(done.bytes));
        if self.scans {
            line += &format!(", total {total_files} files {}", bytes(total_bytes));
        }
        line += &format!(", {} errors", tally.errors);
        if let Some(left) = remaining(tally) {
            line += &format!(" ETA {}", clock(left));
        }
        // Last, because a narrow terminal cuts what stands there.
        if let Some(rate) = tally.bytes_per_second() {
            line += &format!(", {}/s", bytes(rate));
        }
        let mut lines = vec![line];
        lines.extend(tally.current.iter().take(CURRENT_SHOWN).map(|path| shown(path)));
        lines
    }

    fn json(&self, tally: &Tally) -> Option<Vec<u8>> {
        if !tally.began(Stage::Archive) {
            return None;
        }
        let done = tally.stage(Stage::Archive);
        let (total_files, total_bytes, known) = totals(tally);
        let part = if known && total_bytes > 0 { ratio(done.bytes, total_bytes) } else { 0.0 };
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "status");
        whole_seconds(&mut object, "seconds_elapsed", tally.elapsed);
        whole_seconds(&mut object, "seconds_remaining", remaining(tally).unwrap_or_default());
        float(&mut object, "percent_done", part);
        object.number_unless_zero("total_files", total_files);
        object.number_unless_zero("files_done", done.items);
        object.number_unless_zero("total_bytes", total_bytes);
        object.number_unless_zero("bytes_done", done.bytes);
        object.number_unless_zero("error_count", tally.errors);
        let current: Vec<_> = tally
            .current
            .iter()
            .take(CURRENT_SHOWN)
            .map(|path| path.as_os_str().as_encoded_bytes())
            .collect();
        object.strings_unless_empty("current_files", &current);
        object.end();
        Some(line)
    }

    fn measured(&self) -> Option<Stage> {
        Some(Stage::Archive)
    }

    fn event(&mut self, screen: &Screen, tally: &Tally, event: &Event<'_>) {
        common(screen, tally, event);
        match event {
            Event::Parent { id: Some(id) } => {
                screen.say(Level::Normal, format!("using parent snapshot {}", id.short()));
            }
            Event::Parent { id: None } if self.tells_parent => {
                screen.say(Level::Normal, "no parent snapshot found, will read all files");
            }
            Event::Begin { stage: Stage::LoadIndex, .. } => screen.say(Level::Verbose, "load index files"),
            Event::Begin { stage: Stage::Scan, .. } => {
                screen.say(Level::Verbose, format!("start scan on [{}]", self.targets.join(" ")));
            }
            Event::Begin { stage: Stage::Archive, .. } => {
                screen.say(Level::Verbose, format!("start backup on [{}]", self.targets.join(" ")));
            }
            Event::End { stage: Stage::Scan } => scan_finished(screen, tally),
            Event::Archived { path, is_dir, change, added, duration } => {
                archived(screen, path, *is_dir, *change, *added, *duration);
            }
            Event::Skipped { stage, path, error } => skipped(screen, *stage, path, *error),
            Event::Warning { error } => screen.warn(format!("warning: {}", told(*error))),
            _ => {}
        }
    }
}

/// Files and bytes to do, and whether that is the last word.
fn totals(tally: &Tally) -> (u64, u64, bool) {
    let scan = tally.stage(Stage::Scan);
    (scan.items.max(scan.items_total), scan.bytes.max(scan.bytes_total), scan.ended)
}

fn remaining(tally: &Tally) -> Option<Duration> {
    let (_, total_bytes, known) = totals(tally);
    let left =
        total_bytes.checked_sub(tally.stage(Stage::Archive).bytes).filter(|left| known && *left > 0)?;
    tally.rate.remaining(left)
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64).min(1.0)
}

fn scan_finished(screen: &Screen, tally: &Tally) {
    let (files, total, _) = totals(tally);
    if screen.json {
        if screen.level >= Level::Verbose {
            let totals = Verbose { data_size: total, total_files: files, ..Verbose::default() };
            totals.print(screen, "scan_finished", b"", tally.since(Stage::Scan));
        }
        return;
    }
    let line =
        format!("scan finished in {}: {files} files, {}", seconds(tally.since(Stage::Scan)), bytes(total));
    screen.say(Level::Verbose, line);
}

fn archived(screen: &Screen, path: &Path, is_dir: bool, change: Change, added: Added, duration: Duration) {
    let wanted = if screen.json { Level::Verbose } else { Level::Detailed };
    if screen.level < wanted {
        return;
    }
    let mut item = path.as_os_str().as_encoded_bytes().to_vec();
    if is_dir && item.last() != Some(&b'/') {
        item.push(b'/');
    }
    let action = match change {
        Change::New => "new",
        Change::Unchanged => "unchanged",
        Change::Changed | Change::Removed => "modified",
    };
    if screen.json {
        let sizes = match change {
            Change::Unchanged => Verbose::default(),
            _ => Verbose {
                data_size: added.data_bytes,
                data_size_in_repo: added.data_bytes_packed,
                metadata_size: added.tree_bytes,
                metadata_size_in_repo: added.tree_bytes_packed,
                total_files: 0,
            },
        };
        let duration = if change == Change::Unchanged { Duration::ZERO } else { duration };
        sizes.print(screen, action, &item, duration);
        return;
    }
    let item = crate::ui::escape::visible(&item);
    let mut line = format!("{action:<9} {item}");
    if change != Change::Unchanged {
        let (plain, stored) = (bytes(added.data_bytes), bytes(added.data_bytes_packed));
        line += &format!(", saved in {} ({plain} added, {stored} stored", seconds(duration));
        if is_dir {
            line += &format!(", {} metadata", bytes(added.tree_bytes_packed));
        }
        line += ")";
    }
    screen.line(line);
}

/// The numbers of a `verbose_status`.
#[derive(Default)]
struct Verbose {
    data_size: u64,
    data_size_in_repo: u64,
    metadata_size: u64,
    metadata_size_in_repo: u64,
    total_files: u64,
}

impl Verbose {
    fn print(&self, screen: &Screen, action: &str, item: &[u8], duration: Duration) {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "verbose_status").string("action", action).string("item", item);
        float(&mut object, "duration", duration.as_secs_f64());
        object.number("data_size", self.data_size).number("data_size_in_repo", self.data_size_in_repo);
        object.number("metadata_size", self.metadata_size);
        object.number("metadata_size_in_repo", self.metadata_size_in_repo);
        object.number("total_files", self.total_files);
        object.end();
        screen.line(String::from_utf8_lossy(&line));
    }
}

fn skipped(screen: &Screen, stage: Stage, path: &Path, error: &(dyn Error + 'static)) {
    if screen.json {
        let during = if stage == Stage::Scan { "scan" } else { "archival" };
        screen.warn(error_line(during, path.as_os_str().as_encoded_bytes(), &told(error)));
        return;
    }
    screen.warn(format!("error: {}", told(error)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(events: &[Event<'_>]) -> Tally {
        let mut tally = Tally { elapsed: Duration::from_secs(5), ..Tally::default() };
        for event in events {
            tally.take(event);
        }
        tally
    }

    fn view() -> BackupView {
        BackupView { targets: Vec::new(), scans: true, tells_parent: true }
    }

    #[test]
    fn status_says_how_far_it_is_once_that_is_known() {
        let mut events = vec![
            Event::Begin { stage: Stage::Archive, total: 0, bytes: 0 },
            Event::Begin { stage: Stage::Scan, total: 0, bytes: 0 },
            Event::Progress { stage: Stage::Scan, items: 4, bytes: 4096 },
            Event::Progress { stage: Stage::Archive, items: 1, bytes: 1024 },
            Event::Started { path: Path::new("/a\nb") },
        ];
        let expected = ["[0:05] 1 files 1.000 KiB, total 4 files 4.000 KiB, 0 errors", "\"/a\\nb\""];
        assert_eq!(view().status(&tally(&events)), expected);
        events.push(Event::End { stage: Stage::Scan });
        let status = view().status(&tally(&events));
        assert_eq!(status[0], "[0:05] 25.00%  1 files 1.000 KiB, total 4 files 4.000 KiB, 0 errors");
    }

    #[test]
    fn json_status_has_restics_keys_in_restics_order() {
        let line = view().json(&tally(&[
            Event::Begin { stage: Stage::Archive, total: 0, bytes: 0 },
            Event::Total { stage: Stage::Scan, total: 4, bytes: 4096 },
            Event::End { stage: Stage::Scan },
            Event::Progress { stage: Stage::Archive, items: 1, bytes: 1024 },
            Event::Started { path: Path::new("/a") },
        ]));
        let expected = r#"{"message_type":"status","seconds_elapsed":5,"percent_done":0.25,"total_files":4,"files_done":1,"total_bytes":4096,"bytes_done":1024,"current_files":["/a"]}"#;
        assert_eq!(line.as_deref().map(String::from_utf8_lossy).as_deref(), Some(expected));
    }

    #[test]
    fn nothing_is_shown_before_the_backup_begins() {
        assert!(view().status(&tally(&[])).is_empty());
        assert_eq!(view().json(&tally(&[])), None);
    }
}
