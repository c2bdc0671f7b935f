//! Snapshots as a view: list, select, group, find the parent.
//!
//! In: what the user typed and what the repository holds. Out: the snapshots meant. Only [`remove`] changes
//! anything, and it takes one snapshot at a time.

use std::fmt;
use std::str::FromStr;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event};
use crate::format::Snapshot;
use crate::id::SnapshotId;
use crate::parallel;
use crate::repository::{RecordError, Repository};
use crate::time::Time;

/// A snapshot with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its name.
    pub id: SnapshotId,
    /// What it says.
    pub snapshot: Snapshot,
}

/// Why snapshots could not be listed or selected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The storage failed.
    #[error("cannot list the snapshots")]
    Backend(#[from] BackendError),
    /// The snapshot that was asked for cannot be read.
    #[error("cannot load snapshot {id}")]
    Record {
        /// Which one.
        id: SnapshotId,
        /// Why.
        source: RecordError,
    },
    /// No snapshot's name begins like that.
    #[error("no snapshot matches {prefix:?}")]
    NoMatch {
        /// What was asked for.
        prefix: String,
    },
    /// More than one snapshot's name begins like that.
    #[error("{count} snapshots match {prefix:?}")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many match.
        count: usize,
    },
    /// There are not so many snapshots, or none that the filters let through.
    #[error("no snapshot found for {wanted:?}")]
    NoLatest {
        /// What was asked for.
        wanted: String,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Loads every snapshot, oldest first. Unreadable ones are told as warnings and left out.
///
/// ```
/// use repo_core::snapshots::{self, GroupBy};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
///
/// for (key, group) in snapshots::group(snapshots::list(&context, &repository)?, GroupBy::default()) {
///     println!("{}: {} snapshots of {:?}", key.host.unwrap_or_default(), group.len(), key.paths);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn list(context: &Context, repository: &Repository) -> Result<Vec<Stored>, SelectError> {
    let (snapshots, unreadable) = list_with_report(context, repository)?;
    for (_, error) in &unreadable {
        context.tell(&Event::Warning { error });
    }
    Ok(snapshots)
}

/// Loads every snapshot, oldest first, and says which are unreadable, without telling the observer.
#[expect(clippy::type_complexity, reason = "two lists, nothing more")]
pub fn list_with_report(
    context: &Context,
    repository: &Repository,
) -> Result<(Vec<Stored>, Vec<(SnapshotId, RecordError)>), SelectError> {
    let ids = repository.list::<Snapshot>()?;
    let (mut snapshots, mut unreadable) = (Vec::with_capacity(ids.len()), Vec::new());
    parallel::stream(
        repository.backend().properties().connections.max(parallel::cores()),
        ids,
        |id| {
            context.cancel.check()?;
            Ok::<_, SelectError>((id, repository.load::<Snapshot>(id)))
        },
        |(id, result)| {
            match result {
                Ok(snapshot) => snapshots.push(Stored { id, snapshot }),
                Err(error) if error.is_not_found() => {} // forgotten meanwhile
                Err(error) if error.is_damage() => unreadable.push((id, error)),
                Err(source) => return Err(SelectError::Record { id, source }),
            }
            Ok(())
        },
    )?;
    snapshots.sort_by_key(|stored| (stored.snapshot.time.instant, stored.id));
    unreadable.sort_by_key(|(id, _)| *id);
    Ok((snapshots, unreadable))
}

/// Removes a snapshot. Its blobs stay until they are pruned.
///
/// A removal that was done and yet reported as failed, because the answer got lost, is a success.
pub fn remove(repository: &Repository, id: SnapshotId) -> Result<(), BackendError> {
    let Err(error) = repository.backend().remove(id.into()) else { return Ok(()) };
    match repository.backend().size(id.into()) {
        Err(gone) if gone.is_not_found() => Ok(()),
        _ => Err(error),
    }
}

/// The tag that protects a snapshot from being forgotten. Only a tag survives every program's changes.
pub const PROTECTED: &str = "larder-protected";

/// Whether these tags protect their snapshot.
pub fn is_protected(tags: &[String]) -> bool {
    tags.iter().any(|tag| tag == PROTECTED)
}

/// Whether all of a set are among the tags, in restic's way: an empty one is met at once where there are no tags.
pub fn has_tags(tags: &[String], set: &[String]) -> bool {
    for wanted in set {
        if wanted.is_empty() && tags.is_empty() {
            return true;
        }
        if !tags.contains(wanted) {
            return false;
        }
    }
    true
}

/// Which snapshots are meant; an empty list does not restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Any of these hosts.
    pub hosts: Vec<String>,
    /// Any of these sets, each with all its tags; the set with one empty tag means "no tags at all".
    pub tags: Vec<Vec<String>>,
    /// All of these paths, each exactly as stored.
    pub paths: Vec<String>,
}

impl Filter {
    /// Whether the filter lets everything through.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.tags.is_empty() && self.paths.is_empty()
    }

    /// Whether a snapshot is meant.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        (self.hosts.is_empty() || self.hosts.contains(&snapshot.hostname))
            && (self.tags.is_empty() || self.tags.iter().any(|set| has_tags(&snapshot.tags, set)))
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
    }
}

/// One snapshot as a user names it: `latest`, `latest~2` (the third newest), or the beginning of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest but so many.
    Latest {
        /// How many newer ones to pass over.
        back: usize,
    },
    /// The one whose name begins like this.
    Prefix(String),
}

impl Wanted {
    /// The newest one.
    pub const LATEST: Self = Self::Latest { back: 0 };
}

impl FromStr for Wanted {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let back = match text.strip_prefix("latest") {
            Some("") => Some(0),
            Some(rest) => rest.strip_prefix('~').and_then(|count| count.parse().ok()),
            None => None,
        };
        Ok(back.map_or_else(|| Self::Prefix(text.to_owned()), |back| Self::Latest { back }))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest { back: 0 } => f.write_str("latest"),
            Self::Latest { back } => write!(f, "latest~{back}"),
            Self::Prefix(prefix) => f.write_str(prefix),
        }
    }
}

/// Finds the snapshot a user means. The filter counts for `latest` only.
///
/// ```
/// use repo_core::snapshots::{self, Filter, SelectError, Wanted};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
///
/// let latest = snapshots::find(&context, &repository, &Wanted::LATEST, &Filter::default())?;
/// let same = snapshots::find(&context, &repository, &latest.id.short().parse()?, &Filter::default())?;
/// assert_eq!(same, latest);
/// let before = snapshots::find(&context, &repository, &"latest~1".parse()?, &Filter::default());
/// assert!(matches!(before, Err(SelectError::NoLatest { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn find(
    context: &Context,
    repository: &Repository,
    wanted: &Wanted,
    filter: &Filter,
) -> Result<Stored, SelectError> {
    match wanted {
        Wanted::Latest { back } => {
            let matching =
                list(context, repository)?.into_iter().filter(|stored| filter.matches(&stored.snapshot));
            let none = || SelectError::NoLatest { wanted: wanted.to_string() };
            matching.rev().nth(*back).ok_or_else(none)
        }
        Wanted::Prefix(prefix) => {
            let id = match prefix.parse::<SnapshotId>() {
                Ok(id) => id,
                Err(_) => resolve(repository, prefix)?,
            };
            let snapshot = repository.load(id).map_err(|source| {
                if source.is_not_found() {
                    SelectError::NoMatch { prefix: prefix.clone() }
                } else {
                    SelectError::Record { id, source }
                }
            })?;
            Ok(Stored { id, snapshot })
        }
    }
}

fn resolve(repository: &Repository, prefix: &str) -> Result<SnapshotId, SelectError> {
    let mut ids = repository.list::<Snapshot>()?;
    ids.retain(|id| id.to_string().starts_with(prefix));
    let prefix = prefix.to_owned();
    match ids[..] {
        [id] => Ok(id),
        [] => Err(SelectError::NoMatch { prefix }),
        _ => Err(SelectError::Ambiguous { prefix, count: ids.len() }),
    }
}

/// What makes snapshots belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// The same host.
    pub host: bool,
    /// The same set of paths.
    pub paths: bool,
    /// The same set of tags.
    pub tags: bool,
}

impl GroupBy {
    /// Everything in one group.
    pub const NOTHING: Self = Self { host: false, paths: false, tags: false };
}

impl Default for GroupBy {
    /// By host and paths.
    fn default() -> Self {
        Self { host: true, paths: true, tags: false }
    }
}

/// A word that is not one of host, paths, tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is none of host, paths, tags")]
pub struct GroupByError {
    /// The word.
    pub word: String,
}

impl FromStr for GroupBy {
    type Err = GroupByError;

    /// Reads `host,paths,tags` or any part of it; singular and plural both do.
    fn from_str(text: &str) -> Result<Self, GroupByError> {
        let mut group = Self::NOTHING;
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "host" | "hosts" => group.host = true,
                "path" | "paths" => group.paths = true,
                "tag" | "tags" => group.tags = true,
                word => return Err(GroupByError { word: word.to_owned() }),
            }
        }
        Ok(group)
    }
}

/// What the snapshots of a group share; `None` where the grouping does not look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// Their host.
    pub host: Option<String>,
    /// Their paths, sorted.
    pub paths: Option<Vec<String>>,
    /// Their tags, sorted.
    pub tags: Option<Vec<String>>,
}

impl GroupKey {
    /// The group a snapshot belongs to.
    pub fn of(snapshot: &Snapshot, by: GroupBy) -> Self {
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        };
        Self {
            host: by.host.then(|| snapshot.hostname.clone()),
            paths: by.paths.then(|| sorted(&snapshot.paths)),
            tags: by.tags.then(|| sorted(&snapshot.tags)),
        }
    }
}

/// `host h, path [/a /b], tags [t]`, as restic names a group; what the grouping does not look at is left out.
impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.iter().filter(|host| !host.is_empty()).map(|host| format!("host {host}"));
        let list = |word: &str, list: &Option<Vec<String>>| match list.as_deref() {
            None | Some([]) => None,
            Some(list) => Some(format!("{word} [{}]", list.join(" "))),
        };
        let lists = [list("path", &self.paths), list("tags", &self.tags)];
        f.write_str(&host.chain(lists.into_iter().flatten()).collect::<Vec<_>>().join(", "))
    }
}

/// Sorts snapshots into groups, the groups by key, inside a group in the order given.
pub fn group(snapshots: Vec<Stored>, by: GroupBy) -> Vec<(GroupKey, Vec<Stored>)> {
    let mut groups = std::collections::BTreeMap::<GroupKey, Vec<Stored>>::new();
    for stored in snapshots {
        groups.entry(GroupKey::of(&stored.snapshot, by)).or_default().push(stored);
    }
    groups.into_iter().collect()
}

/// The snapshot a new backup is compared with: the newest one not newer than `time`, of the same host and of
/// at least the same paths and tags, as far as the grouping looks.
pub fn find_parent<'a>(
    snapshots: &'a [Stored],
    new: &Snapshot,
    by: GroupBy,
    time: Time,
) -> Option<&'a Stored> {
    let covers = |theirs: &[String], ours: &[String]| ours.iter().all(|one| theirs.contains(one));
    snapshots
        .iter()
        .filter(|stored| stored.snapshot.time.instant <= time.instant)
        .filter(|stored| !by.host || stored.snapshot.hostname == new.hostname)
        .filter(|stored| !by.paths || covers(&stored.snapshot.paths, &new.paths))
        .filter(|stored| !by.tags || covers(&stored.snapshot.tags, &new.tags))
        .max_by_key(|stored| (stored.snapshot.time.instant, stored.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Id, TreeId};
    use crate::time::Timestamp;

    fn stored(number: u8, seconds: i64, host: &str, paths: &[&str], tags: &[&str]) -> Stored {
        let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect();
        let snapshot = Snapshot {
            time: Time::utc(Timestamp { seconds, nanos: 0 }),
            parent: None,
            tree: TreeId(Id::new([1; 32])),
            paths: owned(paths),
            hostname: host.to_owned(),
            username: String::new(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: owned(tags),
            original: None,
            program_version: String::new(),
            summary: None,
            unknown: Vec::new(),
        };
        Stored { id: SnapshotId(Id::new([number; 32])), snapshot }
    }

    #[test]
    fn parent_is_the_newest_of_the_host_that_covers_all_paths_and_is_not_newer() {
        let all = [
            stored(1, 10, "a", &["/x", "/y"], &[]),
            stored(2, 20, "a", &["/x"], &["t"]),
            stored(3, 30, "b", &["/x"], &[]),
            stored(4, 90, "a", &["/x"], &[]),
        ];
        let check = |paths: &[&str], tags: &[&str], by: &str, expected: Option<u8>| {
            let new = stored(9, 50, "a", paths, tags).snapshot;
            let found = find_parent(&all, &new, by.parse().unwrap(), new.time);
            assert_eq!(found.map(|stored| stored.id.0.as_bytes()[0]), expected, "{paths:?} {tags:?} {by}");
        };
        check(&["/x"], &[], "host,paths", Some(2));
        check(&["/y"], &[], "host,paths", Some(1));
        check(&["/x", "/y"], &[], "host,paths", Some(1));
        check(&["/z"], &[], "host,paths", None);
        check(&["/z"], &[], "host", Some(2));
        check(&["/x"], &[], "paths", Some(3));
        check(&["/x"], &["t"], "host,paths,tags", Some(2));
        check(&["/y"], &["t"], "host,paths,tags", None);
    }

    #[test]
    fn filter_knows_any_host_any_set_of_tags_and_all_paths() {
        let snapshot = stored(1, 0, "a", &["/x", "/y"], &["t", "u"]).snapshot;
        let check = |hosts: &[&str], tags: &[&[&str]], paths: &[&str], expected: bool| {
            let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
            let tags = tags.iter().map(|set| owned(set)).collect();
            let filter = Filter { hosts: owned(hosts), tags, paths: owned(paths) };
            assert_eq!(filter.matches(&snapshot), expected, "{filter:?}");
        };
        check(&[], &[], &[], true);
        check(&["b", "a"], &[], &[], true);
        check(&["b"], &[], &[], false);
        check(&[], &[&["t", "u"]], &[], true);
        check(&[], &[&["t", "v"], &["u"]], &[], true);
        check(&[], &[&["t", "v"]], &[], false);
        check(&[], &[&[""]], &[], false);
        check(&[], &[], &["/x", "/y"], true);
        check(&[], &[], &["/x", "/z"], false);
    }

    #[test]
    fn untagged_means_no_tags_at_all() {
        let filter = Filter { tags: vec![vec![String::new()]], ..Filter::default() };
        assert!(filter.matches(&stored(1, 0, "a", &[], &[]).snapshot));
    }

    #[test]
    fn wanted_snapshots_are_latest_with_a_count_or_a_prefix() {
        let check = |text: &str, expected: Wanted| {
            assert_eq!(text.parse::<Wanted>().unwrap(), expected);
            assert_eq!(expected.to_string(), text);
        };
        check("latest", Wanted::Latest { back: 0 });
        check("latest~2", Wanted::Latest { back: 2 });
        check("latest~", Wanted::Prefix("latest~".into()));
        check("4f3a", Wanted::Prefix("4f3a".into()));
    }

    #[test]
    fn groups_compare_paths_and_tags_as_sets() {
        let all = vec![
            stored(1, 1, "a", &["/x", "/y"], &[]),
            stored(2, 2, "a", &["/y", "/x"], &["t"]),
            stored(3, 3, "b", &["/x"], &[]),
        ];
        let sizes = |by: &str| {
            let groups = group(all.clone(), by.parse().unwrap());
            groups.iter().map(|(_, members)| members.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes("host,paths"), [2, 1]);
        assert_eq!(sizes("tags"), [2, 1]);
        assert_eq!(sizes("host,paths,tags"), [1, 1, 1]);
        assert_eq!(sizes(""), [3]);
        assert_eq!("host,colour".parse::<GroupBy>(), Err(GroupByError { word: "colour".into() }));
    }
}
