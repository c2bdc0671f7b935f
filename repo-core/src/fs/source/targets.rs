//! What a backup was asked for → where it appears in the snapshot.
//!
//! In: targets as the user named them, and the directory they are relative to. Out: the top of the snapshot's
//! tree: directories on the way, and the entries to archive. No target is ever lost or hidden by another.
//! Pure, but for asking for the names in a target that is a bare `.`, `..` or `/`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::filter::clean;
use crate::fs::{FaultKind, Operation, SourceError};

use super::{Detail, Source};

/// The top of a snapshot's tree.
///
/// ```
/// use std::ffi::OsStr;
/// use std::path::Path;
/// use repo_core::fs::source::LocalSource;
/// use repo_core::fs::source::targets::plan;
///
/// let tree = plan(Path::new("/home/ann"), &["job/../docs".into()], &LocalSource::new());
/// assert_eq!(tree.nodes[OsStr::new("docs")].path, Path::new("/home/ann/docs"));
/// ```
#[derive(Debug, Default)]
pub struct TargetTree {
    /// The top-level entries by their names in the snapshot, in the order of the names' bytes.
    pub nodes: BTreeMap<OsString, TargetNode>,
    /// The targets as absolute clean paths, in the order given, for the snapshot's record.
    pub paths: Vec<PathBuf>,
    /// Targets that could not be taken apart; all others are in the tree.
    pub problems: Vec<SourceError>,
}

/// One entry at or above a target.
///
/// A node with children is a directory, even if a symbolic link leads to it. The children of an archived
/// directory are among its entries; they say which of these are targets themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetNode {
    /// Where it is on the source: absolute and clean.
    pub path: PathBuf,
    /// Why it is in the tree.
    pub role: Role,
    /// What lies below it, by name in the snapshot.
    pub children: BTreeMap<OsString, TargetNode>,
}

/// Why an entry is in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It leads to a target. Below an archived directory it is an entry like others, and if it is excluded
    /// it still leads to the target. Otherwise only its children belong to the snapshot.
    Waypoint,
    /// It lies in a directory named as a bare `.`, `..` or `/`: archived with all below, unless excluded.
    Found,
    /// The user named it: archived with all below. It is not excluded itself, whatever the patterns say.
    Named,
}

impl TargetNode {
    /// Whether it is archived with all below it.
    pub fn is_whole(&self) -> bool {
        self.role != Role::Waypoint
    }
}

/// Where the first component of a target lies. Equal names from unequal places are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// So many directories above the current one.
    Above(usize),
}

/// Which place and name a top-level entry really has, by its name in the snapshot.
type Origins = BTreeMap<OsString, (Place, OsString)>;

/// Arranges targets of a source. Relative ones start at `cwd`, an absolute path.
pub fn plan(cwd: &Path, targets: &[PathBuf], source: &dyn Source) -> TargetTree {
    arrange(cwd, targets, |dir| {
        let listing = source.list(dir, Detail::Kinds)?;
        Ok(listing.entries.into_iter().map(|entry| entry.name).collect())
    })
}

fn arrange(
    cwd: &Path,
    targets: &[PathBuf],
    mut names_in: impl FnMut(&Path) -> Result<Vec<OsString>, SourceError>,
) -> TargetTree {
    let mut tree = TargetTree::default();
    let mut origins = Origins::new();
    for target in targets {
        tree.paths.push(absolute(cwd, target));
        if target.as_os_str().is_empty() {
            tree.problems.push(SourceError::new(FaultKind::Vanished, Operation::Stat, target));
            continue;
        }
        let cleaned = clean(target.as_os_str().as_bytes());
        let (place, components) = take_apart(&cleaned);
        let base = base(cwd, place);
        if !components.is_empty() {
            add(&mut tree, &mut origins, place, &base, &components, Role::Named);
            continue;
        }
        match names_in(&base) {
            Ok(names) => {
                for name in &names {
                    add(&mut tree, &mut origins, place, &base, &[name], Role::Found);
                }
            }
            Err(error) => tree.problems.push(error),
        }
    }
    tree
}

/// The path from the root, clean.
fn absolute(cwd: &Path, target: &Path) -> PathBuf {
    PathBuf::from(OsString::from_vec(clean(cwd.join(target).as_os_str().as_bytes())))
}

/// A clean path's place and its names; leading `..` belong to the place.
fn take_apart(cleaned: &[u8]) -> (Place, Vec<&OsStr>) {
    let rooted = cleaned.first() == Some(&b'/');
    let mut above = 0;
    let mut components = Vec::new();
    for component in cleaned.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => above += 1,
            name => components.push(OsStr::from_bytes(name)),
        }
    }
    (if rooted { Place::Root } else { Place::Above(above) }, components)
}

fn base(cwd: &Path, place: Place) -> PathBuf {
    match place {
        Place::Root => PathBuf::from("/"),
        Place::Above(count) => absolute(cwd, &[".."].repeat(count).iter().collect::<PathBuf>()),
    }
}

fn add(
    tree: &mut TargetTree,
    origins: &mut Origins,
    place: Place,
    base: &Path,
    components: &[impl AsRef<OsStr>],
    role: Role,
) {
    let mut path = base.to_owned();
    let mut nodes = &mut tree.nodes;
    let last = components.len() - 1;
    for (depth, component) in components.iter().map(AsRef::as_ref).enumerate() {
        path.push(component);
        let name = match depth {
            0 => top_name(origins, place, component),
            _ => component.to_owned(),
        };
        let node = nodes.entry(name).or_insert_with(|| TargetNode {
            path: path.clone(),
            role: Role::Waypoint,
            children: BTreeMap::new(),
        });
        if depth == last {
            node.role = node.role.max(role);
        }
        nodes = &mut node.children;
    }
}

/// The name in the snapshot for a top-level entry: its own, or with the first free number behind it.
fn top_name(origins: &mut Origins, place: Place, name: &OsStr) -> OsString {
    let origin = (place, name.to_owned());
    let mut candidate = name.to_owned();
    let mut number = 0_u64;
    loop {
        match origins.entry(candidate.clone()) {
            Entry::Occupied(taken) if *taken.get() == origin => return candidate,
            Entry::Occupied(_) => {}
            Entry::Vacant(free) => {
                free.insert(origin);
                return candidate;
            }
        }
        number += 1;
        name.clone_into(&mut candidate);
        candidate.push(format!("-{number}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan as lines `name-in-snapshot = path-on-source role`, for a machine where `.` is `/home/u`.
    fn check(targets: &[&str], expected: &[&str]) {
        let targets: Vec<PathBuf> = targets.iter().map(PathBuf::from).collect();
        let tree = arrange(Path::new("/home/u"), &targets, |dir| match dir.to_str() {
            Some("/home/u") => Ok(vec!["d1".into(), "d2".into()]),
            Some("/home") => Ok(vec!["d1".into(), "u".into()]),
            Some("/") => Ok(vec!["home".into()]),
            _ => Err(SourceError::new(FaultKind::Denied, Operation::List, dir)),
        });
        let mut lines = Vec::new();
        draw(&tree.nodes, "", &mut lines);
        assert_eq!(lines, expected, "{targets:?}");
        assert!(tree.problems.is_empty());
    }

    fn draw(nodes: &BTreeMap<OsString, TargetNode>, above: &str, lines: &mut Vec<String>) {
        for (name, node) in nodes {
            let name = format!("{above}/{}", name.display());
            let role = match node.role {
                Role::Waypoint => "way",
                Role::Found => "found",
                Role::Named => "named",
            };
            lines.push(format!("{name} = {} {role}", node.path.display()));
            draw(&node.children, &name, lines);
        }
    }

    #[test]
    fn absolute_target_keeps_its_whole_path() {
        check(&["/etc/ssh"], &["/etc = /etc way", "/etc/ssh = /etc/ssh named"]);
        check(&["/etc//./ssh/"], &["/etc = /etc way", "/etc/ssh = /etc/ssh named"]);
    }

    #[test]
    fn relative_target_starts_at_its_first_component() {
        let job = ["/job = /home/u/job way", "/job/d1 = /home/u/job/d1 named"];
        check(&["job/d1"], &job);
        check(&["./job/d1/"], &job);
        check(&["x/../job/d1"], &job);
        check(&["../other/d1"], &["/other = /home/other way", "/other/d1 = /home/other/d1 named"]);
        check(&["../../srv"], &["/srv = /srv named"]);
        check(&["../../../../srv"], &["/srv = /srv named"]);
    }

    #[test]
    fn target_without_a_name_stands_for_its_entries() {
        check(&["."], &["/d1 = /home/u/d1 found", "/d2 = /home/u/d2 found"]);
        check(&[".."], &["/d1 = /home/d1 found", "/u = /home/u found"]);
        check(&["/"], &["/home = /home found"]);
        check(&["d2/.."], &["/d1 = /home/u/d1 found", "/d2 = /home/u/d2 found"]);
    }

    #[test]
    fn overlapping_targets_merge() {
        let both = ["/d1 = /home/u/d1 named", "/d1/sub = /home/u/d1/sub named"];
        check(&["d1", "d1/sub"], &both);
        check(&["d1/sub", "d1", "./d1"], &both);
        check(
            &["/a/b/c", "/a/x"],
            &["/a = /a way", "/a/b = /a/b way", "/a/b/c = /a/b/c named", "/a/x = /a/x named"],
        );
    }

    #[test]
    fn entry_that_is_also_named_counts_as_named() {
        let expected = ["/d1 = /home/u/d1 named", "/d2 = /home/u/d2 found"];
        check(&[".", "d1"], &expected);
        check(&["d1", "."], &expected);
    }

    #[test]
    fn equal_names_from_different_places_get_numbers() {
        check(&["d1", "../d1"], &["/d1 = /home/u/d1 named", "/d1-1 = /home/d1 named"]);
        check(
            &["d1/a", "../d1/b", "/d1/c", "../d1/d"],
            &[
                "/d1 = /home/u/d1 way",
                "/d1/a = /home/u/d1/a named",
                "/d1-1 = /home/d1 way",
                "/d1-1/b = /home/d1/b named",
                "/d1-1/d = /home/d1/d named",
                "/d1-2 = /d1 way",
                "/d1-2/c = /d1/c named",
            ],
        );
        check(
            &[".", ".."],
            &[
                "/d1 = /home/u/d1 found",
                "/d1-1 = /home/d1 found",
                "/d2 = /home/u/d2 found",
                "/u = /home/u found",
            ],
        );
    }

    #[test]
    fn target_that_is_really_named_like_a_numbered_one_is_not_lost() {
        check(
            &["d1", "../d1", "../d1-1"],
            &["/d1 = /home/u/d1 named", "/d1-1 = /home/d1 named", "/d1-1-1 = /home/d1-1 named"],
        );
        check(
            &["d1-1", "d1", "../d1"],
            &["/d1 = /home/u/d1 named", "/d1-1 = /home/u/d1-1 named", "/d1-2 = /home/d1 named"],
        );
    }

    #[test]
    fn bad_target_does_not_take_others_with_it() {
        let targets = ["", "a", "../../.."].map(PathBuf::from);
        let tree = arrange(Path::new("/x/y"), &targets, |dir| {
            Err(SourceError::new(FaultKind::Denied, Operation::List, dir))
        });
        assert_eq!(tree.nodes.len(), 1);
        let kinds: Vec<_> = tree.problems.iter().map(SourceError::kind).collect();
        assert_eq!(kinds, [FaultKind::Vanished, FaultKind::Denied]);
    }

    #[test]
    fn recorded_paths_are_absolute_and_keep_order_and_doubles() {
        let targets = ["../b/", "a", "/c/./d", "a", "."].map(PathBuf::from);
        let tree = arrange(Path::new("/x/y"), &targets, |_| Ok(Vec::new()));
        let expected = ["/x/b", "/x/y/a", "/c/d", "/x/y/a", "/x/y"].map(PathBuf::from);
        assert_eq!(tree.paths, expected);
    }

    #[test]
    fn name_that_is_not_text_stays_as_it_is() {
        let target = PathBuf::from(OsString::from_vec(b"/\xff/\xfe".to_vec()));
        let tree = arrange(Path::new("/"), std::slice::from_ref(&target), |_| Ok(Vec::new()));
        let top = &tree.nodes[OsStr::from_bytes(b"\xff")];
        assert_eq!(top.children[OsStr::from_bytes(b"\xfe")].path, target);
    }
}
