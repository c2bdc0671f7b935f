//! `snapshots`: tables or JSON of what is there.

use std::collections::HashMap;

use anyhow::Result;
use repo_core::format::json::{Array, Object};
use repo_core::snapshots::{GroupBy, GroupKey, Stored, group};

use crate::args::snapshots::Snapshots;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::records;
use crate::ui::snapshot_table::{SnapshotTable, group_heading};

pub fn run(session: &Session, args: &Snapshots) -> Result<()> {
    // Without a lock, unlike restic: a snapshot that goes while they are read is left out, and nothing else can
    // happen to a reader of snapshots (docs/decisions).
    let repository = session.open()?;
    let filter = select::filter(session, &args.filter, Paths::AsTyped);
    let mut many = select::many(session, &repository, &args.ids, &filter)?;
    let mut found = std::mem::take(&mut many.found);
    // Stored in the order given, shown in order, as restic does.
    for stored in &mut found {
        stored.snapshot.paths.sort_unstable();
    }
    let newest = if args.last { 1 } else { args.latest.and_then(|n| usize::try_from(n).ok()).unwrap_or(0) };
    let groups = grouped(found, args.group_by, newest);
    if session.settings.json {
        print_json(session, args, &groups);
    } else {
        print_tables(session, args, &groups);
    }
    many.verdict(session)
}

type Groups = Vec<(GroupKey, Vec<Stored>)>;

/// Groups, each with its `newest` last snapshots; zero means all. Without grouping there is one group, and
/// the newest are those of each host and paths.
fn grouped(found: Vec<Stored>, by: Option<GroupBy>, newest: usize) -> Groups {
    let (inner, outer) = match by {
        Some(by) if by != GroupBy::NOTHING => (by, by),
        _ => (GroupBy::default(), GroupBy::NOTHING),
    };
    let found = keep_newest(found, inner, newest);
    group(found, outer)
}

fn keep_newest(found: Vec<Stored>, by: GroupBy, newest: usize) -> Vec<Stored> {
    if newest == 0 {
        return found;
    }
    let mut seen: HashMap<GroupKey, usize> = HashMap::new();
    let mut kept: Vec<Stored> = found
        .into_iter()
        .rev()
        .filter(|stored| {
            let count = seen.entry(GroupKey::of(&stored.snapshot, by)).or_default();
            *count += 1;
            *count <= newest
        })
        .collect();
    kept.reverse();
    kept
}

fn print_json(session: &Session, args: &Snapshots, groups: &Groups) {
    let mut out = Vec::new();
    if args.group_by.is_some_and(|by| by != GroupBy::NOTHING) {
        let mut array = Array::begin(&mut out);
        for (key, snapshots) in groups {
            let mut object = Object::begin(array.element());
            records::group_key(object.key("group_key"), key);
            records::snapshots(object.key("snapshots"), snapshots);
            object.end();
        }
        array.end();
    } else {
        records::snapshots(&mut out, groups.iter().flat_map(|(_, snapshots)| snapshots));
    }
    out.push(b'\n');
    session.screen.bytes(&out);
}

fn print_tables(session: &Session, args: &Snapshots, groups: &Groups) {
    for (key, snapshots) in groups {
        if let Some(by) = args.group_by.filter(|by| *by != GroupBy::NOTHING) {
            session.screen.line(group_heading(key, by));
        }
        let table = SnapshotTable { compact: args.compact, zone: &session.settings.zone };
        session.screen.lines(table.lines(snapshots));
    }
}

#[cfg(test)]
mod tests {
    use repo_core::format::Snapshot;
    use repo_core::id::{Id, SnapshotId, TreeId};
    use repo_core::time::{Time, Timestamp};

    use super::*;

    fn stored(at: u8, host: &str, path: &str) -> Stored {
        let time = Time::utc(Timestamp { seconds: i64::from(at), nanos: 0 });
        let snapshot = Snapshot {
            hostname: host.to_owned(),
            ..Snapshot::new(time, TreeId(Id::new([1; 32])), vec![path.to_owned()])
        };
        Stored { id: SnapshotId(Id::new([at; 32])), snapshot }
    }

    #[test]
    fn newest_are_counted_per_host_and_paths_or_per_group() {
        let all =
            || vec![stored(1, "a", "/x"), stored(2, "a", "/x"), stored(3, "a", "/y"), stored(4, "b", "/x")];
        let check = |by: Option<&str>, newest, expected: &[&[u8]]| {
            let by = by.map(|by| by.parse().unwrap());
            let groups = grouped(all(), by, newest);
            let found: Vec<Vec<u8>> = groups
                .iter()
                .map(|(_, list)| list.iter().map(|stored| stored.id.id().as_bytes()[0]).collect())
                .collect();
            assert_eq!(found, expected, "{by:?} {newest}");
        };
        check(None, 0, &[&[1, 2, 3, 4]]);
        check(None, 1, &[&[2, 3, 4]]);
        check(Some(""), 1, &[&[2, 3, 4]]);
        check(Some("host"), 1, &[&[3], &[4]]);
        check(Some("host"), 0, &[&[1, 2, 3], &[4]]);
    }
}
