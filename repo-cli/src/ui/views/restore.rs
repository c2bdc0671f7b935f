//! `restore`: how far it is, and what became of each entry.

use std::error::Error;
use std::path::Path;

use repo_core::context::{Change, Event, Stage};
use repo_core::format::json::Object;

use super::{common, error_line, float, loading, shown, told, whole_seconds};
use crate::ui::amount::{bytes, clock, percent};
use crate::ui::progress::{Tally, View};
use crate::ui::screen::{Level, Screen};

/// Shows a restore.
#[derive(Debug, Default)]
pub struct RestoreView {
    skipped: u64,
    skipped_bytes: u64,
    deleted: u64,
}

impl View for RestoreView {
    fn status(&self, tally: &Tally) -> Vec<String> {
        if !tally.began(Stage::Restore) {
            return loading(tally);
        }
        let done = tally.stage(Stage::Restore);
        let mut line = format!("[{}] ", clock(tally.elapsed));
        if done.bytes_total > 0 {
            line += &format!("{}  ", percent(done.bytes + self.skipped_bytes, done.bytes_total));
        }
        line += &format!("{} files/dirs {}", done.items, bytes(done.bytes));
        if done.items_total > 0 {
            line += &format!(", total {} files/dirs {}", done.items_total, bytes(done.bytes_total));
        }
        if self.skipped > 0 {
            line += &format!(", skipped {} files/dirs {}", self.skipped, bytes(self.skipped_bytes));
        }
        if self.deleted > 0 {
            line += &format!(", deleted {} files/dirs", self.deleted);
        }
        if let Some(rate) = tally.bytes_per_second() {
            line += &format!(", {}/s", bytes(rate));
        }
        let left = done.bytes_total.saturating_sub(done.bytes + self.skipped_bytes);
        if let Some(left) = tally.rate.remaining(left).filter(|_| left > 0) {
            line += &format!(" ETA {}", clock(left));
        }
        vec![line]
    }

    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    fn json(&self, tally: &Tally) -> Option<Vec<u8>> {
        if !tally.began(Stage::Restore) {
            return None;
        }
        let done = tally.stage(Stage::Restore);
        let part = (done.bytes + self.skipped_bytes) as f64 / done.bytes_total.max(1) as f64;
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "status");
        whole_seconds(&mut object, "seconds_elapsed", tally.elapsed);
        float(&mut object, "percent_done", part.min(1.0));
        object.number_unless_zero("total_files", done.items_total);
        object.number_unless_zero("files_restored", done.items);
        object.number_unless_zero("files_skipped", self.skipped);
        object.number_unless_zero("files_deleted", self.deleted);
        object.number_unless_zero("total_bytes", done.bytes_total);
        object.number_unless_zero("bytes_restored", done.bytes);
        object.number_unless_zero("bytes_skipped", self.skipped_bytes);
        object.end();
        Some(line)
    }

    fn measured(&self) -> Option<Stage> {
        Some(Stage::Restore)
    }

    fn event(&mut self, screen: &Screen, tally: &Tally, event: &Event<'_>) {
        common(screen, tally, event);
        match event {
            Event::Restored { path, change, size } => {
                match change {
                    Change::Unchanged => {
                        self.skipped += 1;
                        self.skipped_bytes += size;
                    }
                    Change::Removed => self.deleted += 1,
                    Change::New | Change::Changed => {}
                }
                restored(screen, path, *change, *size);
            }
            Event::Skipped { path, error, .. } => skipped(screen, path, *error),
            Event::Warning { error } => screen.warn(format!("warning: {}", told(*error))),
            _ => {}
        }
    }
}

fn restored(screen: &Screen, path: &Path, change: Change, size: u64) {
    if screen.level < Level::Detailed {
        return;
    }
    let action = match change {
        Change::New => "restored",
        Change::Changed => "updated",
        Change::Unchanged => "unchanged",
        Change::Removed => "deleted",
    };
    if screen.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "verbose_status").string("action", action);
        object.string("item", path.as_os_str().as_encoded_bytes()).number("size", size);
        object.end();
        return screen.line(String::from_utf8_lossy(&line));
    }
    let size = if size > 0 { format!(" with size {}", bytes(size)) } else { String::new() };
    screen.line(format!("{action:<9} {}{size}", shown(path)));
}

fn skipped(screen: &Screen, path: &Path, error: &(dyn Error + 'static)) {
    if screen.json {
        screen.warn(error_line("restore", path.as_os_str().as_encoded_bytes(), &told(error)));
    } else {
        screen.warn(format!("error: {}", told(error)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn status_counts_what_was_right_already() {
        let mut tally = Tally { elapsed: Duration::from_secs(2), ..Tally::default() };
        for event in [
            Event::Begin { stage: Stage::Restore, total: 0, bytes: 0 },
            Event::Total { stage: Stage::Restore, total: 9, bytes: 4096 },
            Event::Progress { stage: Stage::Restore, items: 2, bytes: 1024 },
        ] {
            tally.take(&event);
        }
        let view = RestoreView { skipped: 1, skipped_bytes: 1024, deleted: 0 };
        let expected = "[0:02] 50.00%  2 files/dirs 1.000 KiB, total 9 files/dirs 4.000 KiB, \
                        skipped 1 files/dirs 1.000 KiB";
        assert_eq!(view.status(&tally), [expected]);
        let json = r#"{"message_type":"status","seconds_elapsed":2,"percent_done":0.5,"total_files":9,"files_restored":2,"files_skipped":1,"total_bytes":4096,"bytes_restored":1024,"bytes_skipped":1024}"#;
        assert_eq!(view.json(&tally).as_deref().map(String::from_utf8_lossy).as_deref(), Some(json));
    }
}
