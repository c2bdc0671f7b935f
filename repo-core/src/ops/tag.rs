//! Tag: other tags for snapshots, and protection, which is a tag.
//!
//! In: snapshots and a change. Out: for each that differs a new record in place of the old one. The new one is durable
//! before the old one goes, so that a stop in between leaves both, never none. No data is touched.

use crate::context::{Cancelled, Context};
use crate::id::SnapshotId;
use crate::repository::{LockError, LockGuard, RecordError, Repository};
use crate::snapshots::{self, PROTECTED, Stored};

/// What to do with the tags of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagChange {
    /// The tags to have instead of all others. Protection stays.
    pub set: Option<Vec<String>>,
    /// Tags to add.
    pub add: Vec<String>,
    /// Tags to remove, after that.
    pub remove: Vec<String>,
    /// Whether to protect from being forgotten, or to take that back; `None` leaves it as it is.
    pub protect: Option<bool>,
}

impl TagChange {
    /// The tags after the change; `None` if they stay the same and were not set anew.
    pub fn apply(&self, before: &[String]) -> Option<Vec<String>> {
        let mut tags = before.to_vec();
        if let Some(set) = &self.set {
            let protected = snapshots::is_protected(before);
            tags.clone_from(set);
            if protected && !snapshots::is_protected(set) {
                tags.push(PROTECTED.to_owned());
            }
        }
        for tag in self.add.iter().chain((self.protect == Some(true)).then(protection).iter()) {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        for tag in self.remove.iter().chain((self.protect == Some(false)).then(protection).iter()) {
            // As restic: the last tag takes the place of the one removed.
            while let Some(at) = tags.iter().position(|one| one == tag) {
                tags.swap_remove(at);
            }
        }
        (self.set.is_some() || tags != before).then_some(tags)
    }
}

fn protection() -> String {
    PROTECTED.to_owned()
}

/// Why a snapshot's tags could not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// The new record could not be stored; the old one is as it was.
    #[error("cannot save snapshot {id} with other tags")]
    Save {
        /// The old name.
        id: SnapshotId,
        /// Why.
        source: RecordError,
    },
    /// The new record is there, but the old one could not be removed.
    #[error("cannot remove snapshot {id}, which {new} replaces")]
    Remove {
        /// The old name.
        id: SnapshotId,
        /// The new name.
        new: SnapshotId,
        /// Why.
        source: crate::backend::BackendError,
    },
    /// The lock was lost.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Changes the tags of one snapshot. Gives its new name, or `None` if it has these tags already.
///
/// The lock must be exclusive. The new record remembers under which name its first version was made.
///
/// ```
/// use repo_core::ops::tag::{TagChange, tag};
/// use repo_core::repository::{LockKind, LockOptions};
/// use repo_core::snapshots::{self, Filter, Wanted};
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
/// let lock = repository.lock(&context, LockKind::Exclusive, &LockOptions::default())?;
/// let before = snapshots::find(&context, &repository, &Wanted::LATEST, &Filter::default())?;
/// let change = TagChange { protect: Some(true), ..TagChange::default() };
/// let new = tag(&context, &repository, &lock, &before, &change)?.expect("it was not protected");
/// let after = snapshots::find(&context, &repository, &Wanted::LATEST, &Filter::default())?;
/// assert_eq!((after.id, after.snapshot.original), (new, Some(before.id)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tag(
    context: &Context,
    repository: &Repository,
    lock: &LockGuard,
    stored: &Stored,
    change: &TagChange,
) -> Result<Option<SnapshotId>, TagError> {
    let id = stored.id;
    let Some(tags) = change.apply(&stored.snapshot.tags) else { return Ok(None) };
    let mut snapshot = stored.snapshot.clone();
    snapshot.tags = tags;
    snapshot.original = snapshot.original.or(Some(id));

    context.cancel.check()?;
    lock.check()?;
    let new = repository.save(context, &snapshot).map_err(|source| TagError::Save { id, source })?;
    lock.check()?;
    snapshots::remove(repository, id).map_err(|source| TagError::Remove { id, new, source })?;
    Ok(Some(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn tags_are_set_added_and_removed_as_restic_does_it() {
        let check = |before: &str, change: &TagChange, expected: Option<&str>| {
            assert_eq!(change.apply(&owned(before)), expected.map(owned), "{before} {change:?}");
        };
        let add = |tags| TagChange { add: owned(tags), ..TagChange::default() };
        let remove = |tags| TagChange { remove: owned(tags), ..TagChange::default() };
        let set = |tags| TagChange { set: Some(owned(tags)), ..TagChange::default() };
        check("a", &add("b a c"), Some("a b c"));
        check("a b", &add("b a"), None);
        check("a b c", &remove("a"), Some("c b"));
        check("a b", &remove("x"), None);
        check("a", &set("b c"), Some("b c"));
        check("a", &set(""), Some(""));
        check("a", &set("a"), Some("a"));
        check("a", &TagChange { remove: owned("b"), ..add("b") }, None);
    }

    #[test]
    fn protection_stays_until_it_is_taken_back() {
        let check = |before: &str, change: TagChange, expected: Option<&str>| {
            let found = change.apply(&owned(before)).map(|tags| tags.join(" "));
            assert_eq!(found.as_deref(), expected, "{before} {change:?}");
        };
        let protect = |on| TagChange { protect: Some(on), ..TagChange::default() };
        let set = |tags| TagChange { set: Some(owned(tags)), ..TagChange::default() };
        check("a", protect(true), Some("a larder-protected"));
        check("larder-protected a", protect(true), None);
        check("larder-protected a", set("b"), Some("b larder-protected"));
        check("larder-protected a", set("larder-protected"), Some("larder-protected"));
        check("a", TagChange { protect: Some(true), ..set("b") }, Some("b larder-protected"));
        check("larder-protected a", protect(false), Some("a"));
        check("a", protect(false), None);
    }
}
