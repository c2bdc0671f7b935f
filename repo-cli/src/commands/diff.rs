//! `diff`: what changed from one snapshot to another.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use repo_core::format::json::{Object, write_number};
use repo_core::id::TreeId;
use repo_core::ops::query::diff::{Change, DiffError, DiffOptions, DiffStatistics, Tally, diff};
use repo_core::repository::{LockKind, Reader};
use repo_core::snapshots::{Filter, Stored};
use repo_core::walk::lookup_dir;

use crate::args::diff::Diff;
use crate::exit::{sentence, wrong};
use crate::select;
use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::escape::{visible, visible_text};
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Diff) -> Result<()> {
    let [old, new] = &args.snapshots[..] else {
        return Err(wrong(
            "specify two snapshot IDs",
            "Write `larder diff OLDER NEWER`; see `larder snapshots`.",
        ));
    };
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let find = |typed: &str| -> Result<(Stored, String)> {
        let (id, folder) = select::split(typed);
        Ok((select::one(session, &repository, id, &Filter::default())?, folder.to_owned()))
    };
    let (old_snapshot, old_folder) = find(old)?;
    let (new_snapshot, new_folder) = find(new)?;
    let heading = format!("comparing snapshot {} to {}:\n", old_snapshot.id.short(), new_snapshot.id.short());
    session.screen.say(Level::Normal, heading);
    let reader = Reader::new(&repository, repository.load_index(&session.context)?);
    let root = |stored: &Stored, folder: &str| -> Result<TreeId> {
        Ok(lookup_dir(&reader, stored.snapshot.tree, Path::new(folder))?)
    };
    let (from, to) = (root(&old_snapshot, &old_folder)?, root(&new_snapshot, &new_folder)?);

    let options = DiffOptions { metadata: args.metadata };
    let mut changes = diff(&session.context, &reader, from, to, &options);
    let mut out = session.screen.writer();
    let mut broken = 0_u64;
    for change in changes.by_ref() {
        match change {
            Ok(change) if session.settings.json => {
                let mut line = Vec::new();
                change_json(&mut line, &change);
                out.write_all(&line)?;
            }
            Ok(change) if session.settings.level >= Level::Normal => {
                out.write_all(&change_line(&change, session.screen.redraws))?;
            }
            Ok(_) => {}
            Err(error @ DiffError::Walk(_)) => {
                let text = sentence(anyhow::Chain::new(&error));
                session.screen.warn(format!("error: {}", visible_text(&text)));
                broken += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let statistics = changes.finish()?;
    if session.settings.json {
        let mut line = Vec::new();
        statistics_json(&mut line, old, new, &statistics);
        session.screen.line(String::from_utf8_lossy(&line));
    } else {
        session.screen.lines(text(&statistics));
    }
    if broken + statistics.unreadable == 0 {
        return Ok(());
    }
    Err(wrong(
        format!("{} folders could not be compared", broken + statistics.unreadable),
        "Run `larder check` to see what is damaged and what mends it.",
    ))
}

/// The path, a directory's with a slash behind.
fn path(change: &Change) -> Vec<u8> {
    let mut path = change.path.as_os_str().as_encoded_bytes().to_vec();
    if change.is_dir() {
        path.push(b'/');
    }
    path
}

fn change_line(change: &Change, escaped: bool) -> Vec<u8> {
    let mut line = format!("{:<5}", change.mark).into_bytes();
    let path = path(change);
    line.extend(if escaped { visible(&path).into_bytes() } else { path });
    line.push(b'\n');
    line
}

fn change_json(line: &mut Vec<u8>, change: &Change) {
    let mut object = Object::begin(line);
    object.string("message_type", "change").string("path", path(change));
    object.string("modifier", change.mark.to_string());
    object.end();
    line.push(b'\n');
}

fn text(statistics: &DiffStatistics) -> Vec<String> {
    let DiffStatistics { changed_files, added, removed, .. } = statistics;
    let pair = |heading: &str, new: u64, gone: u64| format!("{heading:<13}{new:5} new, {gone:5} removed");
    vec![
        String::new(),
        format!("{}, {changed_files:5} changed", pair("Files:", added.files, removed.files)),
        pair("Dirs:", added.dirs, removed.dirs),
        pair("Others:", added.others, removed.others),
        pair("Data Blobs:", added.data_blobs, removed.data_blobs),
        pair("Tree Blobs:", added.tree_blobs, removed.tree_blobs),
        format!("  Added:   {:<5}", bytes(added.bytes)),
        format!("  Removed: {:<5}", bytes(removed.bytes)),
    ]
}

fn statistics_json(line: &mut Vec<u8>, old: &str, new: &str, statistics: &DiffStatistics) {
    let mut object = Object::begin(line);
    object.string("message_type", "statistics");
    object.string("source_snapshot", old).string("target_snapshot", new);
    object.number("changed_files", statistics.changed_files);
    tally_json(object.key("added"), &statistics.added);
    tally_json(object.key("removed"), &statistics.removed);
    object.end();
}

fn tally_json(out: &mut Vec<u8>, tally: &Tally) {
    let mut object = Object::begin(out);
    for (key, value) in [
        ("files", tally.files),
        ("dirs", tally.dirs),
        ("others", tally.others),
        ("data_blobs", tally.data_blobs),
        ("tree_blobs", tally.tree_blobs),
        ("bytes", tally.bytes),
    ] {
        write_number(object.key(key), value);
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_look_like_restics() {
        let added = Tally { files: 1, dirs: 0, others: 0, data_blobs: 1, tree_blobs: 2, bytes: 1968 };
        let removed = Tally { bytes: 0, ..added };
        let statistics = DiffStatistics { changed_files: 2, added, removed, ..DiffStatistics::default() };
        let expected = [
            "",
            "Files:           1 new,     1 removed,     2 changed",
            "Dirs:            0 new,     0 removed",
            "Others:          0 new,     0 removed",
            "Data Blobs:      1 new,     1 removed",
            "Tree Blobs:      2 new,     2 removed",
            "  Added:   1.922 KiB",
            "  Removed: 0 B  ",
        ];
        assert_eq!(text(&statistics), expected);
        let mut line = Vec::new();
        statistics_json(&mut line, "a", "b", &statistics);
        let expected = r#"{"message_type":"statistics","source_snapshot":"a","target_snapshot":"b","changed_files":2,"added":{"files":1,"dirs":0,"others":0,"data_blobs":1,"tree_blobs":2,"bytes":1968},"removed":{"files":1,"dirs":0,"others":0,"data_blobs":1,"tree_blobs":2,"bytes":0}}"#;
        assert_eq!(String::from_utf8_lossy(&line), expected);
    }
}
