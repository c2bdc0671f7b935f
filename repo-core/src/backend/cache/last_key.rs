//! Which key file opened a repository last, so that the next run need not list them all.
//!
//! The repository's id is sealed in its config, so before any key is known a repository is told by the hash of
//! that. Only names are kept here, and a wrong one costs one request: a key file is believed when it opens.

use std::fs;
use std::path::{Path, PathBuf};

use crate::backend::cache::folder;
use crate::hash::sha256;
use crate::id::KeyId;

/// Below the base folder; restic looks at folders that are named like repositories only.
pub(super) const FOLDER: &str = "last-keys";

/// Where the name of one repository's key file is kept.
#[derive(Debug)]
pub(crate) struct LastKey {
    folder: PathBuf,
    name: String,
}

impl LastKey {
    /// For the repository with this config, as stored.
    pub(crate) fn of(base: &Path, config: &[u8]) -> Self {
        Self { folder: base.join(FOLDER), name: sha256(config).to_string() }
    }

    /// The key file that opened it last, if anybody remembers.
    pub(crate) fn recall(&self) -> Option<KeyId> {
        fs::read_to_string(self.folder.join(&self.name)).ok()?.trim().parse().ok()
    }

    /// Remembers it for the next run, if that can be.
    pub(crate) fn remember(&self, key: KeyId, token: u64) {
        if self.recall() != Some(key) {
            // The next run lists the key files then.
            let _ = folder::make_folder(&self.folder)
                .and_then(|()| folder::store(&self.folder, &self.name, key.to_string().as_bytes(), token));
        }
    }
}
