//! Where snapshots stand: templates and snapshots → made-up folders, links and places of snapshots.
//!
//! The result is restic's, with two exceptions: a host, user or tag called `..` leads nowhere else, and a link
//! `latest` is made only where it leads somewhere. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::format::Snapshot;
use crate::snapshots::Stored;
use crate::time::{Timestamp, Zone};

use super::go_time;

/// restic's folders.
pub const TEMPLATES: [&str; 4] = ["ids/%i", "snapshots/%T", "hosts/%h/%T", "tags/%t/%T"];
/// How restic writes times.
pub const TIME_TEMPLATE: &str = "2006-01-02T15:04:05Z07:00";

/// Longer names are cut: they come from snapshots, and no system takes more than 255 bytes.
const NAME_BYTES_MAX: usize = 240;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Spot {
    Folder,
    Snapshot(Arc<Stored>),
    /// A link to a snapshot of that time. The target lies in the same folder, or below it.
    Link {
        target: String,
        time: Timestamp,
    },
}

/// All paths, without leading slashes; the uppermost folder is "".
#[derive(Debug, Default)]
pub(super) struct Layout {
    spots: BTreeMap<String, Spot>,
    names: BTreeMap<String, BTreeSet<String>>,
}

impl Layout {
    /// Places snapshots, which come oldest first. `zone` gives names to times that were written in it.
    pub(super) fn new(
        templates: &[String],
        time_template: &str,
        zone: &Zone,
        snapshots: Vec<Stored>,
    ) -> Self {
        let templates: Vec<Vec<Part>> = templates.iter().map(|template| parse(template)).collect();
        let mut layout = Self::default();
        layout.put("", Spot::Folder);
        for folder in templates.iter().filter_map(|template| fixed_folder(template)) {
            layout.put(&clean(&folder), Spot::Folder);
        }
        for stored in snapshots.into_iter().map(Arc::new) {
            let time = go_time::format(time_template, stored.snapshot.time, zone);
            for template in &templates {
                layout.place(template, &stored, &time);
            }
        }
        layout
    }

    /// What is called like this inside a folder, and its path.
    pub(super) fn child(&self, folder: &str, name: &str) -> Option<(String, &Spot)> {
        let name = self.names.get(folder)?.get(name)?;
        let path = join(folder, name);
        let spot = self.spots.get(&path)?;
        Some((path, spot))
    }

    /// What a folder holds, by name: names, paths and what they are. `None` if it is gone.
    pub(super) fn children<'a>(
        &'a self,
        folder: &'a str,
    ) -> Option<impl Iterator<Item = (&'a str, String, &'a Spot)>> {
        if self.spots.get(folder) != Some(&Spot::Folder) {
            return None;
        }
        let names = self.names.get(folder).into_iter().flatten();
        Some(names.filter_map(move |name| {
            let path = join(folder, name);
            let spot = self.spots.get(&path)?;
            Some((name.as_str(), path, spot))
        }))
    }

    fn place(&mut self, template: &[Part], stored: &Arc<Stored>, time: &str) {
        let ends_with_time = template.last() == Some(&Part::Time);
        let front = if ends_with_time { &template[..template.len() - 1] } else { template };
        for prefix in expand(front, stored, time) {
            let name = if ends_with_time { time } else { "" };
            let taken = |path: &str| path.is_empty() || self.spots.contains_key(path);
            let numbered = (1_u64..).map(|number| format!("{name}-{number}"));
            let mut names = std::iter::once(name.to_owned()).chain(numbered);
            let free = names.find(|name| !taken(&clean(&format!("{prefix}{name}"))));
            let name = free.expect("there is always a further number");
            self.put(&clean(&format!("{prefix}{name}")), Spot::Snapshot(stored.clone()));

            let latest = clean(&format!("{prefix}latest"));
            let is_folder = prefix.is_empty() || prefix.ends_with('/');
            let replaces = matches!(self.spots.get(&latest), None | Some(Spot::Link { .. }));
            if ends_with_time && is_folder && replaces {
                let link = Spot::Link { target: clean(&name), time: stored.snapshot.time.instant };
                self.put(&latest, link);
            }
        }
    }

    /// Puts something there, and folders on the way. A folder replaces nothing.
    fn put(&mut self, path: &str, spot: Spot) {
        if spot == Spot::Folder && self.spots.contains_key(path) {
            return;
        }
        self.spots.insert(path.to_owned(), spot);
        if path.is_empty() {
            return;
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.names.entry(parent.to_owned()).or_default().insert(name.to_owned());
        self.put(parent, Spot::Folder);
    }
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    ShortId,
    LongId,
    User,
    Host,
    Tags,
    Time,
}

/// Reads a template. What stands behind a `%` and means nothing stands for itself; one at the end is dropped.
fn parse(template: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut letters = template.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let part = match letters.next() {
            Some('i') => Part::ShortId,
            Some('I') => Part::LongId,
            Some('u') => Part::User,
            Some('h') => Part::Host,
            Some('t') => Part::Tags,
            Some('T') => Part::Time,
            Some(other) => {
                text.push(other);
                continue;
            }
            None => break,
        };
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(part);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

/// The folders in front of the first variable: they are there even when no snapshot is.
fn fixed_folder(template: &[Part]) -> Option<String> {
    match template {
        [Part::Text(text), _, ..] => text.rsplit_once('/').map(|(folder, _)| folder.to_owned()),
        _ => None,
    }
}

/// A template's paths for a snapshot: one per tag if it has tags in it, otherwise one.
fn expand(template: &[Part], stored: &Stored, time: &str) -> Vec<String> {
    let Snapshot { hostname, username, tags, .. } = &stored.snapshot;
    let mut paths = vec![String::new()];
    for part in template {
        let text = match part {
            Part::Text(text) => text.clone(),
            Part::ShortId => stored.id.short(),
            Part::LongId => stored.id.to_string(),
            Part::User => without_way_up(username),
            Part::Host => without_way_up(hostname),
            Part::Time => time.to_owned(),
            Part::Tags => match &tags[..] {
                [] => return Vec::new(),
                // As restic: the only tag may have folders in it, one of many may not.
                [tag] => without_way_up(tag),
                tags => {
                    let with = |tag: &String| {
                        let name = as_name(tag);
                        paths.iter().map(move |path| format!("{path}{name}")).collect::<Vec<_>>()
                    };
                    paths = tags.iter().flat_map(with).collect();
                    continue;
                }
            },
        };
        for path in &mut paths {
            path.push_str(&text);
        }
    }
    paths
}

fn as_name(tag: &str) -> String {
    match tag {
        "" | "." => "_".to_owned(),
        ".." => "__".to_owned(),
        tag => tag.replace('/', "_"),
    }
}

fn without_way_up(text: &str) -> String {
    let names: Vec<&str> = text.split('/').map(|name| if name == ".." { "__" } else { name }).collect();
    names.join("/")
}

/// A path whose components are all names: none is empty, `.` or `..`, none is too long or has a zero byte.
fn clean(path: &str) -> String {
    let mut clean = String::new();
    for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
        if !clean.is_empty() {
            clean.push('/');
        }
        let name = if name == ".." { "__" } else { &name[..name.floor_char_boundary(NAME_BYTES_MAX)] };
        clean.push_str(&name.replace('\0', "_"));
    }
    clean
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Id, SnapshotId, TreeId};
    use crate::time::Time;

    fn stored(number: u8, seconds: i64, host: &str, tags: &[&str]) -> Stored {
        let snapshot = Snapshot {
            time: Time::utc(Timestamp { seconds, nanos: 0 }),
            parent: None,
            tree: TreeId(Id::new([1; 32])),
            paths: Vec::new(),
            hostname: host.to_owned(),
            username: "me".to_owned(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            original: None,
            program_version: String::new(),
            summary: None,
            unknown: Vec::new(),
        };
        Stored { id: SnapshotId(Id::new([number; 32])), snapshot }
    }

    /// Paths; a snapshot as its first byte, a link as its target.
    fn check(templates: &[&str], time: &str, snapshots: &[Stored], expected: &[(&str, &str)]) {
        let templates: Vec<String> = templates.iter().map(|&text| text.to_owned()).collect();
        let layout = Layout::new(&templates, time, &Zone::UTC, snapshots.to_vec());
        let shown: Vec<(String, String)> = layout
            .spots
            .iter()
            .map(|(path, spot)| {
                let spot = match spot {
                    Spot::Folder => "/".to_owned(),
                    Spot::Snapshot(stored) => stored.id.0.as_bytes()[0].to_string(),
                    Spot::Link { target, .. } => format!("-> {target}"),
                };
                (path.clone(), spot)
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|&(path, spot)| (path.to_owned(), spot.to_owned())).collect();
        assert_eq!(shown, expected, "{templates:?}");
        for path in layout.spots.keys().filter(|path| !path.is_empty()) {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            assert!(layout.child(folder, name).is_some(), "{path} is listed");
        }
    }

    #[test]
    fn each_template_places_each_snapshot_and_links_the_latest() {
        let both = [stored(1, 0, "a", &[]), stored(2, 60, "b", &["t", "u"])];
        check(
            &["ids/%i", "snapshots/%T", "hosts/%h/%T", "tags/%t/%T"],
            "15:04",
            &both,
            &[
                ("", "/"),
                ("hosts", "/"),
                ("hosts/a", "/"),
                ("hosts/a/00:00", "1"),
                ("hosts/a/latest", "-> 00:00"),
                ("hosts/b", "/"),
                ("hosts/b/00:01", "2"),
                ("hosts/b/latest", "-> 00:01"),
                ("ids", "/"),
                ("ids/01010101", "1"),
                ("ids/02020202", "2"),
                ("snapshots", "/"),
                ("snapshots/00:00", "1"),
                ("snapshots/00:01", "2"),
                ("snapshots/latest", "-> 00:01"),
                ("tags", "/"),
                ("tags/t", "/"),
                ("tags/t/00:01", "2"),
                ("tags/t/latest", "-> 00:01"),
                ("tags/u", "/"),
                ("tags/u/00:01", "2"),
                ("tags/u/latest", "-> 00:01"),
            ],
        );
    }

    #[test]
    fn folders_are_there_before_the_first_snapshot() {
        check(
            &TEMPLATES,
            "15",
            &[],
            &[("", "/"), ("hosts", "/"), ("ids", "/"), ("snapshots", "/"), ("tags", "/")],
        );
        check(&["a/b/%h", "fixed", "%T"], "15", &[], &[("", "/"), ("a", "/"), ("a/b", "/")]);
    }

    #[test]
    fn equal_names_are_numbered_from_the_oldest() {
        let three = [stored(1, 0, "h", &[]), stored(2, 1, "h", &[]), stored(3, 2, "h", &[])];
        check(
            &["%T"],
            "2006/01",
            &three,
            &[
                ("", "/"),
                ("1970", "/"),
                ("1970/01", "1"),
                ("1970/01-1", "2"),
                ("1970/01-2", "3"),
                ("latest", "-> 1970/01-2"),
            ],
        );
        check(&["x-%h"], "15", &three, &[("", "/"), ("x-h", "1"), ("x-h-1", "2"), ("x-h-2", "3")]);
        check(&["%h-%T"], "4", &three[..1], &[("", "/"), ("h-0", "1")]);
    }

    #[test]
    fn names_of_snapshots_lead_nowhere_else() {
        let odd = [stored(1, 0, "../..", &["a/b"]), stored(2, 0, ".", &["..", "c/d", ""])];
        check(
            &["h/%h/x", "t/%t", "../%%%q%u%"],
            "15",
            &odd,
            &[
                ("", "/"),
                ("__", "/"),
                ("__/%qme", "1"),
                ("__/%qme-1", "2"),
                ("h", "/"),
                ("h/__", "/"),
                ("h/__/__", "/"),
                ("h/__/__/x", "1"),
                ("h/x", "2"),
                ("t", "/"),
                ("t/_", "2"),
                ("t/__", "2"),
                ("t/a", "/"),
                ("t/a/b", "1"),
                ("t/c_d", "2"),
            ],
        );
        let long = "ü".repeat(300);
        let cut = "ü".repeat(120);
        check(&["%h"], "15", &[stored(1, 0, &long, &[])], &[("", "/"), (&cut, "1")]);
    }

    #[test]
    fn a_snapshot_called_latest_is_not_hidden() {
        let two = [stored(1, 0, "latest", &[]), stored(2, 60, "h", &[])];
        check(
            &["%h", "%T"],
            "15:04",
            &two,
            &[("", "/"), ("00:00", "1"), ("00:01", "2"), ("h", "2"), ("latest", "1")],
        );
    }
}
