//! Migrate: a repository of version 1 becomes one of version 2, which compresses.
//!
//! In: a repository under an exclusive lock, which was checked before. Out: another config; nothing else changes, and
//! what lies there uncompressed stays so until it is pruned with that wish. The old config is handed to the caller to
//! keep, because it is the one file that is ever replaced: where the storage cannot do that at once, a stop in between
//! leaves a repository without a config, and the kept one brings it back.

use std::io;

use crate::backend::{Backend, BackendError};
use crate::context::{Cancelled, Context};
use crate::format::limits;
use crate::id::FileId;
use crate::repository::{LockError, LockGuard, Repository};

/// Why the version was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// It is not of version 1.
    #[error("repository has version {version}, only upgrades from version 1 are supported")]
    Version {
        /// What it has.
        version: u32,
    },
    /// The config that is there could not be read.
    #[error("cannot read the config")]
    Read(#[source] BackendError),
    /// The caller could not keep the config that is there.
    #[error("cannot keep a copy of the config")]
    Keep(#[source] io::Error),
    /// The new config could not be stored; the old one is there as before.
    #[error("cannot write the new config")]
    Write(#[source] BackendError),
    /// The new config could not be stored, and the old one not be put back: only the copy is left.
    #[error("cannot write the new config, nor put the old one back")]
    Lost(#[source] BackendError),
    /// The lock was lost.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Whether a repository can be upgraded.
pub fn can_upgrade(repository: &Repository) -> bool {
    repository.config().version == 1
}

/// Makes a repository of version 1 one of version 2. `keep` is given the old config as it is stored, before.
///
/// ```
/// use repo_core::ops::migrate::upgrade;
/// use repo_core::repository::{LockKind, LockOptions};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, OpenOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let kdf = Some(ScryptParams { n: 1024, r: 8, p: 1 });
/// # let old = InitOptions { version: 1, kdf, ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend.clone(), &"password".into(), &old)?;
///
/// let lock = repository.lock(&context, LockKind::Exclusive, &LockOptions::default())?;
/// upgrade(&context, &repository, &lock, &mut |_| Ok(()))?;
/// drop(lock);
/// let repository = Repository::open(&context, backend, &"password".into(), &OpenOptions::default())?;
/// assert_eq!(repository.config().version, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn upgrade(
    context: &Context,
    repository: &Repository,
    lock: &LockGuard,
    keep: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), MigrateError> {
    let version = repository.config().version;
    if version != 1 {
        return Err(MigrateError::Version { version });
    }
    let backend = repository.backend().as_ref();
    let mut old = Vec::new();
    backend.read_all(FileId::CONFIG, limits::CONFIG_BYTES_MAX, &mut old).map_err(MigrateError::Read)?;
    keep(&old).map_err(MigrateError::Keep)?;
    let mut config = repository.config().clone();
    config.version = 2;
    let mut new = Vec::new();
    repository.key().seal(context.random.as_ref(), &config.to_json(), &mut new);
    context.cancel.check()?;
    lock.check()?;
    let Err(error) = replace(backend, &new) else { return Ok(()) };
    match replace(backend, &old) {
        Ok(()) => Err(MigrateError::Write(error)),
        Err(_) if holds(backend, &old) => Err(MigrateError::Write(error)),
        Err(_) => Err(MigrateError::Lost(error)),
    }
}

/// Stores a config. That it is there is believed once it was read back: the answer alone may have got lost.
fn replace(backend: &dyn Backend, config: &[u8]) -> Result<(), BackendError> {
    match backend.write(FileId::CONFIG, config) {
        Err(error) if !holds(backend, config) => Err(error),
        _ => Ok(()),
    }
}

fn holds(backend: &dyn Backend, config: &[u8]) -> bool {
    let mut there = Vec::new();
    backend.read_all(FileId::CONFIG, limits::CONFIG_BYTES_MAX, &mut there).is_ok() && there == config
}
