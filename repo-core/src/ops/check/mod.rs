//! Check: is everything there that snapshots need, and is it what it should be? Changes nothing but what is
//! remembered of checks.
//!
//! ```text
//! index files ─┬ packs.rs   every pack that is listed exists in the listed size
//! snapshots ───┼ trees.rs   every tree that can be reached is whole, every chunk is listed
//!              ├ data.rs    on request: packs hash to their names, blobs open, headers agree
//!              ├ remote.rs  on request: the storage's own checksums of packs are their names
//!              ├ rolling.rs  which packs were read by which check
//!              └ affected.rs  after damage: which files of which snapshots
//! ```
//!
//! A finding is data, never an error of the check itself: that one fails only if the storage does.

mod affected;
mod data;
mod packs;
mod remote;
mod report;
mod rolling;
mod trees;

pub use affected::AffectedFile;
pub use remote::RemotelyVerified;
pub use report::{CheckError, CheckReport, Finding, NotKept, Remedy, VerifiedAge};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::context::{Context, Event};
use crate::format::Snapshot;
use crate::id::{Id, SnapshotId};
use crate::ops::check::rolling::Ledger;
use crate::repository::{LockGuard, LockKind, LockOptions, Needed, Reader, Repository, ThawOptions};
use crate::snapshots::{self, Filter, Stored, Wanted};

/// How much of the packs is read and verified.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadData {
    /// Nothing: packs are compared by size only.
    #[default]
    Nothing,
    /// Every pack.
    All,
    /// Packs of part `part` of `parts`, from 1; each pack belongs to one part for good.
    Part {
        /// Which part, 1 to `parts`.
        part: u16,
        /// How many parts there are, at most 256.
        parts: u16,
    },
    /// So many percent of the packs, chosen at random.
    Percent(f64),
    /// So many bytes of packs, chosen at random.
    Bytes(u64),
    /// The packs that were verified longest ago, or never, by any check that read packs of this repository.
    Oldest {
        /// At most so many bytes of packs, but always one pack.
        bytes: Option<u64>,
        /// No pack is begun once so much time has passed since the first.
        span: Option<Duration>,
    },
}

/// How to check. Name what matters and take the rest from [`Default`].
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// How to lock the repository (exclusively); `None` takes no lock.
    pub lock: Option<LockOptions>,
    /// How much of the packs is read.
    pub read_data: ReadData,
    /// Ask the storage for the hashes that it keeps of packs.
    pub verify_remote: bool,
    /// Thaw the packs that are read, and wait for them; `None` takes them as they are.
    pub thaw: Option<ThawOptions>,
    /// Only these snapshots' trees and data; empty means all that the filter lets through.
    pub snapshots: Vec<Wanted>,
    /// Which snapshots, if none are named.
    pub filter: Filter,
    /// At most so many affected files are named.
    pub affected_max: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            lock: Some(LockOptions::default()),
            read_data: ReadData::Nothing,
            verify_remote: false,
            thaw: None,
            snapshots: Vec::new(),
            filter: Filter::default(),
            affected_max: 1000,
        }
    }
}

/// Checks a repository and says what is wrong with it.
///
/// ```
/// use repo_core::ops::check::{CheckOptions, ReadData, check};
/// use repo_core::id::FileKind;
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
/// let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
/// assert!(check(&context, &repository, &options)?.is_sound());
///
/// let pack = repository.backend().list(FileKind::Pack)?[0].id;
/// repository.backend().remove(repo_core::id::PackId(pack).into())?;
/// let report = check(&context, &repository, &options)?;
/// for finding in report.errors() {
///     println!("{finding}: {:?}", finding.remedy());
/// }
/// assert!(!report.is_sound());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check(
    context: &Context,
    repository: &Repository,
    options: &CheckOptions,
) -> Result<CheckReport, CheckError> {
    let _lock = match &options.lock {
        Some(lock) => repository.lock(context, LockKind::Exclusive, lock)?,
        None => LockGuard::none(),
    };
    let findings = Findings::new(context);
    let stored = load_snapshots(context, repository, options, &findings)?;
    let loaded = repository.load_index_with_report(context)?;
    for (id, source) in loaded.unreadable {
        findings.add(Finding::IndexUnreadable { id, source });
    }
    for (id, count) in loaded.odd_entries {
        findings.add(Finding::IndexEntries { id, count });
    }
    let reader = Reader::new(repository, Arc::new(loaded.index));
    pasted_records(repository, &reader, &stored, &findings);
    // Packs that a prune has marked are known, and not to be relied on.
    let marked = loaded.marked.iter().map(|mark| mark.pack.id).collect();
    let packs = packs::compare(context, &reader, &marked, &findings)?;
    let used = trees::check(context, &reader, &stored, &findings)?;
    let restricted = !options.snapshots.is_empty() || !options.filter.is_empty();
    let only = restricted.then_some(&used);
    let remote = if options.verify_remote {
        Some(remote::verify(context, &reader, &packs, only, &findings)?)
    } else {
        None
    };
    let existing: Vec<_> = packs.iter().map(|(pack, _)| *pack).collect();
    let reads = options.read_data != ReadData::Nothing;
    let mut ledger = if reads { Ledger::load(context, repository) } else { Ledger::default() };
    let chosen = data::choose(context, options.read_data, packs, only, &ledger);
    if let Some(thaw) = options.thaw.as_ref().filter(|_| !chosen.is_empty()) {
        let bytes = chosen.iter().map(|(_, size)| size).sum();
        let packs = chosen.iter().map(|(pack, _)| *pack).collect();
        repository.thaw(context, &Needed { packs, bytes }, thaw)?;
    }
    let span = if let ReadData::Oldest { span, .. } = options.read_data { span } else { None };
    let (begun, mut sound) = (context.now(), Vec::new());
    let read = data::read(context, &reader, &chosen, span, &findings, &mut sound);
    ledger.verify(&sound, begun);
    let verified = reads.then(|| ledger.age(&existing));
    // Without a lock nothing is written: somebody else may be at it, or the storage may be read-only.
    if !sound.is_empty() && options.lock.is_some() {
        ledger.save(context, repository, &existing);
    }
    let packs_read = read?;

    let findings = findings.finish();
    let affected = affected::find(context, &reader, &stored, &findings, options.affected_max)?;
    Ok(CheckReport { findings, affected, snapshots: stored.len() as u64, packs_read, verified, remote })
}

/// The snapshots to check; unreadable ones are findings.
fn load_snapshots(
    context: &Context,
    repository: &Repository,
    options: &CheckOptions,
    findings: &Findings<'_>,
) -> Result<Vec<Stored>, CheckError> {
    let (mut all, unreadable) = snapshots::list_with_report(context, repository)?;
    if options.snapshots.is_empty() {
        all.retain(|stored| options.filter.matches(&stored.snapshot));
        for (id, source) in unreadable {
            findings.add(Finding::SnapshotUnreadable { id, source });
        }
        return Ok(all);
    }
    let find = |wanted| snapshots::find(context, repository, wanted, &options.filter);
    Ok(options.snapshots.iter().map(find).collect::<Result<_, _>>()?)
}

/// A record that is not packed as this version packs it may be file content that somebody put in its place.
fn pasted_records(repository: &Repository, reader: &Reader, stored: &[Stored], findings: &Findings<'_>) {
    for Stored { id, .. } in stored {
        if repository.is_pasted::<Snapshot>(*id, reader.index()).unwrap_or(false) {
            findings.add(Finding::SnapshotForged { id: *id });
        }
    }
}

/// Collects findings from all threads and tells them as they come.
struct Findings<'a> {
    context: &'a Context,
    found: Mutex<Vec<Finding>>,
}

impl<'a> Findings<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, found: Mutex::default() }
    }

    fn add(&self, finding: Finding) {
        self.context.tell(&Event::Warning { error: &finding });
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
    }

    /// In an order that does not depend on threads.
    fn finish(self) -> Vec<Finding> {
        let mut found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by_cached_key(|finding| (finding.is_hint(), finding.to_string()));
        found
    }
}

/// A snapshot that names no tree; a bug of old programs wrote such.
fn has_no_tree(id: SnapshotId, snapshot: &Snapshot) -> Option<Finding> {
    (snapshot.tree.0 == Id::new([0; 32])).then_some(Finding::SnapshotWithoutTree { id })
}
