//! The table of snapshots, as restic prints it.

use repo_core::snapshots::{GroupBy, GroupKey, Stored};
use repo_core::time::Zone;

use super::amount::{bytes, date_time};
use super::escape::visible_text;
use super::table::Table;

/// How the table looks.
#[derive(Debug)]
pub struct SnapshotTable<'a> {
    /// Without paths, one tag per line.
    pub compact: bool,
    /// Whose clock times are shown on.
    pub zone: &'a Zone,
}

impl SnapshotTable<'_> {
    /// The table's lines; none for no snapshots.
    pub fn lines(&self, snapshots: &[Stored]) -> Vec<String> {
        if snapshots.is_empty() {
            return Vec::new();
        }
        let mut table = Table::default();
        table.column("ID").column("Time");
        if self.compact {
            table.column("Host").column("Tags  ");
        } else {
            table.column("Host      ").column("Tags      ").column("Paths");
        }
        let sized = snapshots.iter().any(|stored| stored.snapshot.summary.is_some());
        if sized {
            table.column("Size");
        }
        // Rows of several lines are kept apart.
        table.spaced = !self.compact && snapshots.iter().any(|stored| stored.snapshot.paths.len() > 1);
        for stored in snapshots {
            table.row(self.row(stored));
        }
        table.footer("Timestamps shown in local time");
        table.footer(format!("{} snapshots", snapshots.len()));
        table.lines()
    }

    fn row(&self, stored: &Stored) -> Vec<String> {
        let Stored { id, snapshot } = stored;
        let shown = |list: &[String], between| {
            list.iter().map(|text| one_line(text)).collect::<Vec<_>>().join(between)
        };
        let time = date_time(self.zone.at(snapshot.time.instant));
        let mut row = vec![id.short(), time, one_line(&snapshot.hostname)];
        if self.compact {
            row.push(shown(&snapshot.tags, "\n"));
        } else {
            row.push(shown(&snapshot.tags, ","));
            row.push(shown(&snapshot.paths, "\n"));
        }
        row.extend(snapshot.summary.as_ref().map(|summary| bytes(summary.total_bytes_processed)));
        row
    }
}

fn one_line(text: &str) -> String {
    visible_text(text).replace('\n', "\\n")
}

/// `snapshots for (host [a], paths [/x, /y]):`
pub fn group_heading(key: &GroupKey, by: GroupBy) -> String {
    let list = |list: &Option<Vec<String>>| list.as_deref().unwrap_or_default().join(", ");
    let mut parts = Vec::new();
    if by.host {
        parts.push(format!("host [{}]", key.host.as_deref().unwrap_or_default()));
    }
    if by.tags && key.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
        parts.push(format!("tags [{}]", list(&key.tags)));
    }
    if by.paths {
        parts.push(format!("paths [{}]", list(&key.paths)));
    }
    if parts.is_empty() {
        String::new()
    } else {
        visible_text(&format!("snapshots for ({}):", parts.join(", ")))
    }
}
