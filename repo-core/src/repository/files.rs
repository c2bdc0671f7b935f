//! Whole records: snapshots, index files, locks.
//!
//! A record file is named by the SHA-256 of its stored bytes. Name, authenticity and shape are checked in
//! this order whenever one is read.

use std::collections::HashSet;

use crate::backend::{BackendError, ErrorKind, Listed};
use crate::blob::{self, RecordForm, open_record, seal_record};
use crate::context::Context;
use crate::format::{Checked, FormatError, IndexFile, Lock, Snapshot, limits};
use crate::hash::sha256;
use crate::id::{BlobId, BlobKind, CheckedId, FileId, FileKind, Id, IndexId, LockId, PackId, SnapshotId};
use crate::index::Index;
use crate::repository::Repository;

/// Why a record could not be read or stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The storage failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The bytes are not those that were stored under this name.
    #[error("{file} is damaged: its content does not match its name")]
    WrongContent {
        /// Which file.
        file: FileId,
    },
    /// The bytes are not sealed by this repository's key, or do not unpack.
    #[error("{file} is damaged")]
    Sealed {
        /// Which file.
        file: FileId,
        /// What is wrong.
        source: blob::RecordError,
    },
    /// The record has not the shape of its kind.
    #[error("{file} holds no valid record")]
    Shape {
        /// Which file.
        file: FileId,
        /// What is wrong.
        source: FormatError,
    },
}

impl RecordError {
    /// Whether the file is simply not there (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Backend(error) if error.is_not_found())
    }

    /// Whether the file is there but holds nothing usable.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Backend(error) => matches!(error.kind(), ErrorKind::TooLong | ErrorKind::TooShort),
            _ => true,
        }
    }
}

/// A kind of file that holds one record.
pub trait Record: Sized {
    /// Its name.
    type Id: Copy + Into<FileId> + From<Id>;
    /// The folder it lies in.
    const KIND: FileKind;

    /// Reads the plain record.
    fn parse(json: &[u8]) -> Result<Self, FormatError>;

    /// Writes the plain record.
    fn to_json(&self) -> Vec<u8>;
}

impl Record for Snapshot {
    type Id = SnapshotId;
    const KIND: FileKind = FileKind::Snapshot;

    fn parse(json: &[u8]) -> Result<Self, FormatError> {
        Self::parse(json)
    }

    fn to_json(&self) -> Vec<u8> {
        self.to_json()
    }
}

impl Record for IndexFile {
    type Id = IndexId;
    const KIND: FileKind = FileKind::Index;

    fn parse(json: &[u8]) -> Result<Self, FormatError> {
        Self::parse(json)
    }

    fn to_json(&self) -> Vec<u8> {
        self.to_json()
    }
}

impl Record for Lock {
    type Id = LockId;
    const KIND: FileKind = FileKind::Lock;

    fn parse(json: &[u8]) -> Result<Self, FormatError> {
        Self::parse(json)
    }

    fn to_json(&self) -> Vec<u8> {
        self.to_json()
    }
}

impl Record for Checked {
    type Id = CheckedId;
    const KIND: FileKind = FileKind::Checked;

    fn parse(json: &[u8]) -> Result<Self, FormatError> {
        Self::parse(json)
    }

    fn to_json(&self) -> Vec<u8> {
        self.to_json()
    }
}

impl Repository {
    /// The names of all records of a kind, each once, in no order.
    pub fn list<R: Record>(&self) -> Result<Vec<R::Id>, BackendError> {
        Ok(self.list_once(R::KIND)?.into_iter().map(|listed| listed.id.into()).collect())
    }

    /// Every file of a kind once. A storage that repeats a page of its listing must not make two snapshots out of one: a
    /// policy would count both.
    pub(super) fn list_once(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        let mut listed = self.backend.list(kind)?;
        listed.sort_unstable();
        listed.dedup_by_key(|file| file.id);
        Ok(listed)
    }

    /// The names of all packs.
    pub(crate) fn packs(&self) -> Result<HashSet<PackId>, BackendError> {
        Ok(self.backend.list(FileKind::Pack)?.into_iter().map(|listed| PackId(listed.id)).collect())
    }

    /// Reads, verifies and parses one record.
    pub fn load<R: Record>(&self, id: R::Id) -> Result<R, RecordError> {
        let json = self.load_json::<R>(id)?;
        R::parse(&json).map_err(|source| RecordError::Shape { file: id.into(), source })
    }

    /// Reads and verifies one record, and gives its plain text.
    pub fn load_json<R: Record>(&self, id: R::Id) -> Result<Vec<u8>, RecordError> {
        self.load_text::<R>(id).map(|(json, _)| json)
    }

    /// Whether a record's text is at the same time the content of a file that was backed up.
    pub fn is_pasted<R: Record>(&self, id: R::Id, index: &Index) -> Result<bool, RecordError> {
        let (json, form) = self.load_text::<R>(id)?;
        let blob = BlobId { kind: BlobKind::Data, id: sha256(&json) };
        Ok(form == RecordForm::Plain && index.contains(&blob))
    }

    fn load_text<R: Record>(&self, id: R::Id) -> Result<(Vec<u8>, RecordForm), RecordError> {
        let file = id.into();
        let stored = self.load_stored(file, limits::stored_bytes_max(R::KIND))?;
        let mut json = Vec::new();
        let form = open_record(&self.key, &stored, inflated_max(R::KIND), &mut json)
            .map_err(|source| RecordError::Sealed { file, source })?;
        Ok((json, form))
    }

    /// Seals and stores one record; durable under the returned name afterwards.
    pub fn save<R: Record>(&self, context: &Context, record: &R) -> Result<R::Id, RecordError> {
        let stored = seal_record(&self.key, self.config.version, context.random.as_ref(), &record.to_json());
        let id: R::Id = sha256(&stored).into();
        self.backend.write(id.into(), &stored)?;
        Ok(id)
    }

    /// The stored bytes of a file that is named by their hash; read once more if they do not match it.
    fn load_stored(&self, file: FileId, limit: u64) -> Result<Vec<u8>, RecordError> {
        let mut stored = Vec::new();
        for _ in 0..2 {
            self.backend.read_all(file, limit, &mut stored)?;
            if sha256(&stored) == file.id {
                return Ok(stored);
            }
        }
        Err(RecordError::WrongContent { file })
    }
}

fn inflated_max(kind: FileKind) -> usize {
    usize::try_from(limits::inflated_bytes_max(kind)).unwrap_or(usize::MAX)
}
