//! What is lost here and whole in another repository, such as one made by `copy`.
//!
//! In: two repositories; they may have different keys, since a blob is named by what it says. Out: every blob that a
//! snapshot here needs and that cannot be had here, stored anew: packs, then their index files. Nothing is removed.
//! A chunk counts as lost if no index file lists it in a pack that exists, a folder if its tree cannot be read; what lies
//! below a lost folder is looked for as soon as the other repository has told what that is.
//! Memory: 32 bytes per different tree, 40 per lost blob, and both indexes.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{BackendError, ErrorKind};
use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::format::{Place, Tree};
use crate::id::{BlobId, PackId, TreeId};
use crate::parallel;
use crate::repository::{
    IndexError, LockError, LockGuard, ReadError, Reader, Repository, Saved, WriteError, Writer, WriterOptions,
};
use crate::snapshots::{self, SelectError};

/// Why nothing was fetched, or not all of it. Nothing became worse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The snapshots could not be listed.
    #[error(transparent)]
    Snapshots(SelectError),
    /// An index could not be loaded.
    #[error(transparent)]
    Index(IndexError),
    /// The packs could not be listed.
    #[error("cannot list the packs")]
    Packs(#[from] BackendError),
    /// The storage did not give a tree; it may not be lost.
    #[error("cannot read tree {tree}")]
    Read {
        /// Which one.
        tree: TreeId,
        /// Why.
        source: Box<ReadError>,
    },
    /// What was fetched could not be stored.
    #[error(transparent)]
    Write(WriteError),
    /// The lock was lost.
    #[error(transparent)]
    Lock(LockError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(FetchError:
    SelectError => Snapshots, IndexError => Index, WriteError => Write, LockError => Lock);

/// What is lost here. Nothing was changed yet.
#[derive(Debug)]
pub struct FetchPlan {
    /// Lost blobs that the other repository lists, sorted.
    pub found: Vec<BlobId>,
    /// Lost blobs that it does not list, sorted. What a lost folder held is not among them.
    pub nowhere: Vec<BlobId>,
    repository: Repository,
    other: Reader,
}

/// What was done.
#[derive(Debug, Default)]
pub struct FetchReport {
    /// Blobs stored here again.
    pub fetched: u64,
    /// Plain bytes of them.
    pub bytes: u64,
    /// Blobs that the other repository lists, but cannot give either.
    pub damaged: Vec<(BlobId, ReadError)>,
}

/// Finds out what snapshots here need and this repository does not have, and what of it `from` has.
///
/// ```
/// use repo_core::ops::repair::plan_fetch;
/// use repo_core::repository::{LockKind, LockOptions, WriterOptions};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let make = || {
/// #     let repository = Repository::init(&context, Arc::new(MemoryBackend::new()), &"password".into(), &cheap)?;
/// #     let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// #     repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// #     Ok::<_, Box<dyn std::error::Error>>(repository)
/// # };
/// # let (repository, another) = (make()?, make()?);
///
/// let index = repository.load_index(&context)?;
/// let data = index.packs().iter().find(|pack| pack.data_blobs > 0).expect("there is content").id;
/// repository.backend().remove(data.into())?; // an accident
/// let lock = repository.lock(&context, LockKind::Shared, &LockOptions::default())?;
/// let plan = plan_fetch(&context, &repository, &another)?;
/// assert_eq!((plan.found.len(), plan.nowhere.len()), (1, 0));
/// plan.execute(&context, &lock, WriterOptions::default())?;
/// # drop(lock);
/// assert!(plan_fetch(&context, &repository, &another)?.found.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn plan_fetch(
    context: &Context,
    repository: &Repository,
    from: &Repository,
) -> Result<FetchPlan, FetchError> {
    let stored = snapshots::list(context, repository)?;
    let reader = repository.reader(context)?;
    let existing = repository.packs()?;
    let other = from.reader(context)?;
    let search = Search { reader: &reader, other: &other, existing: &existing, lost: Mutex::default() };
    let seen = Mutex::new(HashSet::new());
    let stage = Stage::CheckTrees;
    context.tell(&Event::Begin { stage, total: stored.len() as u64, bytes: 0 });
    let threads = repository.backend().properties().connections.max(parallel::cores());
    for snapshot in stored {
        parallel::pool(threads, vec![snapshot.snapshot.tree], |tree, open| {
            context.cancel.check()?;
            if lock(&seen).insert(tree)
                && let Some(content) = search.tree(tree)?
            {
                search.chunks(&content);
                open.extend(content.nodes.iter().filter_map(|node| node.subtree));
            }
            Ok::<_, FetchError>(())
        })?;
        context.tell(&Event::Progress { stage, items: 1, bytes: 0 });
    }
    context.tell(&Event::End { stage });
    let lost = search.lost.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (mut found, mut nowhere): (Vec<_>, Vec<_>) =
        lost.into_iter().partition(|blob| other.index().contains(blob));
    found.sort_unstable();
    nowhere.sort_unstable();
    Ok(FetchPlan { found, nowhere, repository: repository.clone(), other })
}

struct Search<'a> {
    reader: &'a Reader,
    other: &'a Reader,
    existing: &'a HashSet<PackId>,
    lost: Mutex<HashSet<BlobId>>,
}

impl Search<'_> {
    /// A tree, from here or from there. `None` if neither has it.
    fn tree(&self, tree: TreeId) -> Result<Option<Tree>, FetchError> {
        match self.reader.tree(tree) {
            Ok(content) => return Ok(Some(content)),
            Err(ReadError::Fetch { source, blob, pack })
                if !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::TooShort) =>
            {
                let source = ReadError::Fetch { source, blob, pack }.into();
                return Err(FetchError::Read { tree, source });
            }
            Err(_) => {}
        }
        lock(&self.lost).insert(tree.into());
        Ok(self.other.tree(tree).ok())
    }

    fn chunks(&self, content: &Tree) {
        let chunks = content.nodes.iter().filter_map(|node| node.content.as_ref()).flatten();
        for blob in chunks.map(|id| BlobId::from(*id)) {
            let is_here = self.reader.index().places(&blob).any(|place| self.existing.contains(&place.pack));
            if !is_here {
                lock(&self.lost).insert(blob);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FetchPlan {
    /// Fetches what was found and stores it here. A shared lock will do: nothing is removed.
    ///
    /// Stopped at any point, what was stored stays, and the next run goes on.
    pub fn execute(
        &self,
        context: &Context,
        lock: &LockGuard,
        options: WriterOptions,
    ) -> Result<FetchReport, FetchError> {
        let mut report = FetchReport::default();
        if self.found.is_empty() {
            return Ok(report);
        }
        let mut by_pack: BTreeMap<PackId, Vec<(BlobId, Place, BlobId)>> = BTreeMap::new();
        for blob in &self.found {
            if let Some(place) = self.other.index().place_of(blob) {
                by_pack.entry(place.pack).or_default().push((*blob, place, *blob));
            }
        }
        let stage = Stage::Repack;
        context.tell(&Event::Begin { stage, total: by_pack.len() as u64, bytes: 0 });
        // To this writer nothing is known: what the index lists and cannot give is stored anew.
        let writer = Writer::start(context, &self.repository, Arc::default(), options);
        let mut blobs = writer.blob_writer();
        let result = by_pack.into_iter().try_for_each(|(pack, wanted)| {
            context.cancel.check()?;
            lock.check()?;
            self.other.pack_blobs(pack, wanted, |blob, plain| {
                match plain {
                    Ok(plain) => {
                        if blobs.save(&blob, plain)? != Saved::Known {
                            report.fetched += 1;
                            report.bytes += plain.len() as u64;
                        }
                    }
                    Err(error) => report.damaged.push((blob, error)),
                }
                Ok::<_, FetchError>(())
            })?;
            context.tell(&Event::Progress { stage, items: 1, bytes: 0 });
            Ok(())
        });
        match result {
            // The uploaders know better why the writer has stopped.
            Ok(()) | Err(FetchError::Write(WriteError::Stopped)) => {}
            Err(error) => return Err(error),
        }
        blobs.flush();
        writer.finish()?;
        context.tell(&Event::End { stage });
        Ok(report)
    }
}
