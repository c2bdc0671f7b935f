//! The storage: where a repository's files lie.
//!
//! In: whole files under their names. Out: whole files or exact ranges of them. The trait is blocking and
//! small; behaviour is added by wrapping one backend in another. Nothing here knows what the bytes mean.

mod error; // why a call failed, and whether trying again can help
pub mod layout; // names ⇄ paths
mod memory; // the strictest backend, for tests and examples
mod record; // a wrapper that counts
mod tiered; // two storages as one: a hot one before a cold one
mod cache; // a wrapper that keeps metadata in a local folder
mod dry_run; // a wrapper that changes nothing
mod fault; // a wrapper that fails as planned
mod frozen; // a wrapper whose packs must be thawed
mod throttle; // how fast bytes may pass
mod limit; // a wrapper that is no faster than it may be
mod gate; // a wrapper that lets few calls in at once
mod retry; // a wrapper that tries again
mod warm_up; // a wrapper whose packs are thawed by somebody else
pub mod conformance; // proves that a backend keeps its promises

pub(crate) use cache::LastKey;
pub use cache::{CacheBackend, CacheError, CacheFolder};
pub use dry_run::{Dropped, DryRunBackend};
pub use error::{BackendError, ErrorKind, Operation};
pub use fault::{Fault, FaultBackend, Injected, Rule};
pub use frozen::FrozenBackend;
pub use gate::GateBackend;
pub use limit::LimitBackend;
pub use memory::{MemoryBackend, Refused};
pub use record::{Call, Count, Counters, RecordBackend};
pub use retry::{RetryBackend, RetryOptions};
pub use throttle::Throttle;
pub use tiered::{NotOneRepository, Rebuilt, TieredBackend};
pub use warm_up::{AskForPack, WarmUp, WarmUpBackend};

use std::fmt;
use std::ops::Range;

use crate::id::{FileId, FileKind, Id, PackId};
use crate::time::Timestamp;

/// A place that stores a repository's files.
///
/// Every method may be called from several threads at once, up to [`Properties::connections`] is useful.
/// Errors name the operation and the file; their [`ErrorKind`] says whether trying again can help.
/// `repo_core::backend::conformance` checks all that is promised here.
pub trait Backend: Send + Sync + fmt::Debug {
    /// What this storage is and can do.
    fn properties(&self) -> Properties;

    /// Makes the folders (or bucket) of a repository, as far as they are missing. May be called again.
    fn create(&self) -> Result<(), BackendError>;

    /// Stores a whole file: afterwards it is durable and complete under its name, or it is not there at all.
    ///
    /// Storing the same bytes under a name that exists is success. Only the config is ever replaced by other
    /// bytes, and then at once if [`Properties::atomic_replace`] holds.
    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError>;

    /// Reads exactly `range` of a file into `buffer`, whose old content is dropped.
    ///
    /// A file that ends before the range does is [`ErrorKind::TooShort`]; there are no short reads.
    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError>;

    /// Reads a whole file of at most `limit` bytes into `buffer`, whose old content is dropped.
    ///
    /// A longer file is [`ErrorKind::TooLong`], found without reading (or keeping) more than `limit` bytes.
    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError>;

    /// The size of a file in bytes.
    fn size(&self, file: FileId) -> Result<u64, BackendError>;

    /// When the storage took a file in, by the storage's own clock; `None` if it does not say.
    ///
    /// A file that was just written tells what time it is there. Costs as much as [`size`](Self::size).
    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        let _ = file;
        Ok(None)
    }

    /// Every file of a kind with its size, in no order: the whole listing or an error, never a part.
    ///
    /// Entries whose names are no ids (temporary files, foreign files) are left out. A missing folder lists
    /// as empty. For [`FileKind::Config`] the entry has the all-zero id, and there is at most one.
    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError>;

    /// Removes a file. One that is not there (any more) is success.
    fn remove(&self, file: FileId) -> Result<(), BackendError>;

    /// Tells which packs hold trees, before they are written or read: a wrapper may keep those nearer.
    ///
    /// Only a hint: whoever never heard of a pack treats it as one of data, and nothing is lost but time.
    fn hint_trees(&self, packs: &[PackId]) {
        let _ = packs;
    }

    /// The SHA-256 of a file as the storage itself knows it, without sending its content.
    ///
    /// `None` if this storage, or this file in it, has none that counts for the whole content. Costs about what a look
    /// at the size costs. No wrapper answers from what it keeps.
    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        let _ = file;
        Ok(None)
    }

    /// Asks a cold storage to make packs readable, and gives those that cannot be read yet.
    ///
    /// Waits for nothing, may be called again, and costs what the storage charges for it. A storage that has no
    /// cold class answers with none.
    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        let _ = packs;
        Ok(Vec::new())
    }
}

/// One entry of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listed {
    /// The file's name.
    pub id: Id,
    /// Its size in bytes.
    pub size: u64,
}

/// What a storage is and can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// Where it lies, as messages may show it: secrets already hidden.
    pub location: String,
    /// How many calls at once are useful.
    pub connections: usize,
    /// Whether replacing the config can never leave it missing or torn.
    pub atomic_replace: bool,
}
