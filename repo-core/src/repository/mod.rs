//! Backend, key and config as one thing, without any operation on it.
//!
//! In: names. Out: whole records and blobs, verified; and the other way round. Ordering rules live here:
//! packs before index, index before snapshot, and a snapshot only against a [`Receipt`] for its blobs.
//! Never decides what to keep or to remove.

mod files;
mod keys;
mod load_index;
mod lock;
mod open;
mod reader;
mod thaw;
mod writer;
mod pack_header;
mod whole_pack;
mod repack;
mod rewrite_index;
mod commit;

pub use commit::CommitError;
pub(crate) use commit::Reliance;
pub use files::{Record, RecordError};
pub use keys::{KeyError, KeyLabel, StoredKey};
pub(crate) use load_index::IndexPart;
pub use load_index::{IndexError, LoadedIndex};
pub use lock::{LockError, LockGuard, LockKind, LockOptions, LockOwner, StoredLock};
pub use open::{
    InitChunker, InitError, InitOptions, OpenError, OpenOptions, Password, UnknownChunker, Unopened,
};
pub use pack_header::PackHeaderError;
pub use reader::{ReadError, Reader, StoredBlob};
pub(crate) use repack::Load;
pub use repack::RepackError;
pub use rewrite_index::RewriteError;
pub(crate) use rewrite_index::{IndexChange, IndexCollector, Marking};
pub use thaw::{Needed, ThawError, ThawOptions};
pub use writer::{BlobWriter, Receipt, Saved, WriteError, Writer, WriterOptions};

use std::fmt;
use std::sync::Arc;

use crate::backend::{Backend, CacheBackend};
use crate::crypto::Key;
use crate::format::Config;
use crate::id::KeyId;

/// An open repository: where it lies, the key that opened it, and its config. Cheap to clone.
///
/// ```
/// use std::sync::Arc;
///
/// use repo_core::backend::MemoryBackend;
/// use repo_core::repository::OpenError;
/// use repo_core::{Context, InitOptions, OpenOptions, Repository};
///
/// let context = Context::new();
/// let storage = Arc::new(MemoryBackend::new());
/// Repository::init(&context, storage.clone(), &"password".into(), &InitOptions::default())?;
///
/// let repository = Repository::open(&context, storage.clone(), &"password".into(), &OpenOptions::default())?;
/// assert_eq!(repository.config().version, 2);
/// let refused = Repository::open(&context, storage, &"another".into(), &OpenOptions::default());
/// assert!(matches!(refused, Err(OpenError::WrongPassword)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Repository {
    backend: Arc<dyn Backend>,
    key: Arc<Key>,
    key_id: KeyId,
    config: Arc<Config>,
    cache: Option<Arc<CacheBackend>>,
}

impl Repository {
    /// The storage it lies in.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The master key.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// The key file that opened it.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Its config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its metadata is kept near, if it was opened with a cache; part of the backend.
    pub fn cache(&self) -> Option<&CacheBackend> {
        self.cache.as_deref()
    }

    /// The same repository over another backend, for wrappers around the one it was opened with.
    pub fn with_backend(&self, backend: Arc<dyn Backend>) -> Self {
        Self { backend, ..self.clone() }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("backend", &self.backend).finish_non_exhaustive()
    }
}
