//! `stats --mode debug`: how many files and blobs of which size a repository has.
//!
//! Text on standard error whatever the flags, as restic prints it: classes of sizes by their number of digits.

use std::collections::BTreeMap;

use anyhow::Result;
use repo_core::id::{BlobKind, FileKind};
use repo_core::repository::Repository;

use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::table::Table;

/// The kinds of files in restic's order, by restic's words.
const FILES: [(FileKind, &str); 5] = [
    (FileKind::Key, "key"),
    (FileKind::Lock, "lock"),
    (FileKind::Index, "index"),
    (FileKind::Snapshot, "snapshot"),
    (FileKind::Pack, "data"),
];

pub fn run(session: &Session, repository: &Repository) -> Result<()> {
    let index = repository.load_index(&session.context)?;
    session.screen.warn("Collecting size statistics\n");
    for (kind, word) in FILES {
        let mut sizes = Sizes::default();
        repository.backend().list(kind)?.iter().for_each(|file| sizes.add(file.size));
        session.screen.warn(sizes.lines(&format!("File Type: {word}")).join("\n"));
    }
    for (kind, word) in [(BlobKind::Data, "data"), (BlobKind::Tree, "tree")] {
        let mut sizes = Sizes::default();
        let blobs = index.iter().filter(|(blob, _)| blob.kind == kind);
        blobs.for_each(|(_, place)| sizes.add(place.len.into()));
        session.screen.warn(sizes.lines(&format!("Blob Type: {word}")).join("\n") + "\n\n");
    }
    Ok(())
}

/// How many sizes there are with so many decimal digits.
#[derive(Default)]
struct Sizes {
    count: u64,
    sum: u64,
    by_digits: BTreeMap<u32, u64>,
}

impl Sizes {
    fn add(&mut self, size: u64) {
        self.count += 1;
        self.sum += size;
        *self.by_digits.entry(size.checked_ilog10().map_or(0, |power| power + 1)).or_default() += 1;
    }

    fn lines(&self, title: &str) -> Vec<String> {
        let classes: Vec<String> = self.by_digits.keys().map(|digits| class(*digits)).collect();
        let width = classes.iter().map(String::len).max().unwrap_or(0);
        let mut table = Table::default();
        table.column("Size").column("Count");
        for (class, count) in classes.iter().zip(self.by_digits.values()) {
            table.row([format!("{class:>width$}"), count.to_string()]);
        }
        let mut lines = vec![title.to_owned(), format!("Count: {}", self.count)];
        lines.push(format!("Total Size: {}", bytes(self.sum)));
        if self.count > 0 {
            lines.extend(table.lines());
        }
        lines
    }
}

/// All sizes with so many digits; zero has none.
fn class(digits: u32) -> String {
    let end = 10_u64.saturating_pow(digits);
    match digits {
        0 => "0 Byte".to_owned(),
        _ => format!("{} - {} Byte", end / 10, end - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_by_their_digits() {
        let mut sizes = Sizes::default();
        for size in [7, 10, 99, 100, 999] {
            sizes.add(size);
        }
        let expected = [
            "File Type: key",
            "Count: 5",
            "Total Size: 1.187 KiB",
            "Size            Count",
            "---------------------",
            "     1 - 9 Byte  1",
            "   10 - 99 Byte  2",
            " 100 - 999 Byte  2",
            "---------------------",
        ];
        let lines = sizes.lines("File Type: key");
        let trimmed: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        let expected: Vec<&str> = expected.iter().map(|line| line.trim()).collect();
        assert_eq!(trimmed, expected);
    }
}
