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

/// Reasons stand between tags and paths.
const REASONS_AT: usize = 4;

impl SnapshotTable<'_> {
    /// The table's lines; none for no snapshots.
    pub fn lines(&self, snapshots: &[Stored]) -> Vec<String> {
        self.lines_of(snapshots, None)
    }

    /// The same with the reasons to keep each of them, in the same order. The short table has no room for reasons.
    pub fn lines_with_reasons(&self, snapshots: &[Stored], reasons: &[Vec<String>]) -> Vec<String> {
        self.lines_of(snapshots, Some(reasons).filter(|_| !self.compact))
    }

    fn lines_of(&self, snapshots: &[Stored], reasons: Option<&[Vec<String>]>) -> Vec<String> {
        if snapshots.is_empty() {
            return Vec::new();
        }
        let mut table = Table::default();
        table.column("ID").column("Time");
        if self.compact {
            table.column("Host").column("Tags  ");
        } else {
            table.column("Host      ").column("Tags      ");
            if reasons.is_some() {
                table.column("Reasons");
            }
            table.column("Paths");
        }
        let sized = snapshots.iter().any(|stored| stored.snapshot.summary.is_some());
        if sized {
            table.column("Size");
        }
        // Rows of several lines are kept apart.
        table.spaced = !self.compact && snapshots.iter().any(|stored| stored.snapshot.paths.len() > 1);
        for (at, stored) in snapshots.iter().enumerate() {
            let mut row = self.row(stored);
            if let Some(reasons) = reasons {
                let reasons = reasons.get(at).map(|reasons| reasons.iter().map(|one| one_line(one)));
                row.insert(
                    REASONS_AT,
                    reasons.map(|all| all.collect::<Vec<_>>().join("\n")).unwrap_or_default(),
                );
            }
            table.row(row);
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
