//! Two storages as one: a cold one that has everything, and a hot one that has all but the packs of data again.
//!
//! In: calls. Out: what the cold storage answers, fetched from the hot one where that has it. The cold one alone
//! is a whole repository that every program understands; it decides what exists. The hot one only saves time and
//! money, is mended wherever it lacks something, and can be made anew at any time.
//!
//! ```text
//! write    hot, then cold      so that whatever is visible can be read without thawing
//! remove   cold, then hot      likewise
//! list, size                   cold
//! read     a pack of data      cold
//!          anything else       hot; else cold, and kept in the hot one
//! ```

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties};
use crate::context::Context;
use crate::format::limits;
use crate::hash::sha256;
use crate::id::{FileId, FileKind, Id, PackId};
use crate::parallel;
use crate::time::Timestamp;

/// A hot storage before a cold one. Belongs around both of them with their retries, and inside caches.
///
/// ```
/// use repo_core::Repository;
/// use repo_core::backend::{Backend, MemoryBackend, TieredBackend};
/// use repo_core::id::FileKind;
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
///
/// let (hot, cold) = (Arc::new(MemoryBackend::new()), Arc::new(MemoryBackend::new()));
/// let both = Arc::new(TieredBackend::new(hot.clone(), cold.clone()));
/// let repository = Repository::init(&context, both, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
/// assert_eq!(cold.list(FileKind::Pack)?.len(), 2, "one of data, one of trees");
/// assert_eq!(hot.list(FileKind::Pack)?.len(), 1, "the one of trees");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TieredBackend {
    hot: Arc<dyn Backend>,
    cold: Arc<dyn Backend>,
    /// Packs that hold trees, as far as they were told.
    trees: Mutex<HashSet<PackId>>,
}

/// What was done to make the hot storage whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebuilt {
    /// Files that were copied from the cold storage.
    pub copied: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that the cold storage does not have, and the hot one now neither.
    pub removed: u64,
}

/// Why two storages do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hot storage belongs to another repository than the cold one, or to an older state of it")]
pub struct NotOneRepository;

/// Why a file of the cold storage is not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its content does not match its name")]
struct Damaged;

impl TieredBackend {
    /// The two halves of one repository.
    pub fn new(hot: Arc<dyn Backend>, cold: Arc<dyn Backend>) -> Self {
        Self { hot, cold, trees: Mutex::default() }
    }

    /// Makes the hot storage what it should be: copies what it lacks, removes what the cold one does not have.
    ///
    /// Packs of trees are those told with [`hint_trees`](Backend::hint_trees): load the index before. Fails with
    /// [`ErrorKind::Cold`] where even metadata must be thawed first, and with [`ErrorKind::Config`], before anything is
    /// changed, where the hot storage holds another repository. Every hot file is read, since one of the right length
    /// may be damaged; nothing damaged is copied.
    pub fn rebuild_hot(&self, context: &Context) -> Result<Rebuilt, BackendError> {
        self.refuse_another_repository()?;
        self.hot.create()?;
        let mut rebuilt = Rebuilt::default();
        for kind in [FileKind::Config, FileKind::Key, FileKind::Index, FileKind::Snapshot, FileKind::Pack] {
            let hot: HashMap<Id, u64> =
                self.hot.list(kind)?.into_iter().map(|listed| (listed.id, listed.size)).collect();
            let cold = self.cold.list(kind)?;
            let exists: HashSet<Id> = cold.iter().map(|listed| listed.id).collect();
            let missing = cold.into_iter().filter(|listed| {
                let file = FileId { kind, id: listed.id };
                self.is_hot(file) && (hot.get(&listed.id) != Some(&listed.size) || !self.is_hot_sound(file))
            });
            parallel::stream(
                self.cold.properties().connections,
                missing.collect::<Vec<_>>(),
                |listed| {
                    let file = FileId { kind, id: listed.id };
                    let stopped =
                        |it| BackendError::file(ErrorKind::Other, Operation::Read, file).because(it);
                    context.cancel.check().map_err(stopped)?;
                    let content = self.whole_from_cold(file)?;
                    if !is_sound(file, &content) {
                        return Err(
                            BackendError::file(ErrorKind::Other, Operation::Read, file).because(Damaged)
                        );
                    }
                    self.hot.remove(file)?;
                    self.hot.write(file, &content).map(|()| content.len() as u64)
                },
                |bytes| {
                    (rebuilt.copied, rebuilt.bytes) = (rebuilt.copied + 1, rebuilt.bytes + bytes);
                    Ok(())
                },
            )?;
            for id in hot.into_keys().filter(|id| !exists.contains(id)) {
                self.hot.remove(FileId { kind, id })?;
                rebuilt.removed += 1;
            }
        }
        Ok(rebuilt)
    }

    /// What is to be made anew must be the same repository's, or nobody's.
    fn refuse_another_repository(&self) -> Result<(), BackendError> {
        let mut hot = Vec::new();
        match self.hot.read_all(FileId::CONFIG, limits::CONFIG_BYTES_MAX, &mut hot) {
            Ok(()) => self.compare_configs(limits::CONFIG_BYTES_MAX, &hot),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the hot storage has a file as its name says.
    fn is_hot_sound(&self, file: FileId) -> bool {
        let mut content = Vec::new();
        let read = self.hot.read_all(file, limits::PACK_BYTES_MAX, &mut content);
        read.is_ok() && is_sound(file, &content)
    }

    /// Whether a file belongs into the hot storage.
    fn is_hot(&self, file: FileId) -> bool {
        file.kind != FileKind::Pack || self.trees().contains(&PackId(file.id))
    }

    /// Fetches what the hot storage lacks, and puts it there.
    fn mend(&self, file: FileId) {
        if let Ok(content) = self.whole_from_cold(file)
            && is_sound(file, &content)
        {
            // Only time is lost if that fails: the next reader tries again.
            let _ = self.hot.write(file, &content);
        }
    }

    fn whole_from_cold(&self, file: FileId) -> Result<Vec<u8>, BackendError> {
        let mut content = Vec::new();
        self.cold.read_all(file, limits::PACK_BYTES_MAX, &mut content)?;
        Ok(content)
    }

    /// The config must be the same in both, else they are halves of two repositories.
    fn compare_configs(&self, limit: u64, hot: &[u8]) -> Result<(), BackendError> {
        let mut cold = Vec::new();
        match self.cold.read_all(FileId::CONFIG, limit, &mut cold) {
            Ok(()) if cold == hot => Ok(()),
            Ok(()) => Err(BackendError::file(ErrorKind::Config, Operation::Read, FileId::CONFIG)
                .because(NotOneRepository)),
            Err(error) if error.kind() == ErrorKind::Cold => Ok(()), // nobody can tell
            Err(error) => Err(error),
        }
    }

    fn trees(&self) -> MutexGuard<'_, HashSet<PackId>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a whole file is what its name says. The config has no such name.
fn is_sound(file: FileId, content: &[u8]) -> bool {
    file.kind == FileKind::Config || sha256(content) == file.id
}

/// Whether the cold storage may have what the hot one did not give.
fn is_lacking(error: &BackendError) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::TooShort | ErrorKind::Other)
}

#[deny(clippy::missing_trait_methods)]
impl Backend for TieredBackend {
    fn properties(&self) -> Properties {
        let (hot, cold) = (self.hot.properties(), self.cold.properties());
        Properties { atomic_replace: hot.atomic_replace && cold.atomic_replace, ..cold }
    }

    fn create(&self) -> Result<(), BackendError> {
        self.hot.create()?;
        self.cold.create()
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        if self.is_hot(file) {
            self.hot.write(file, content)?;
        }
        self.cold.write(file, content)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        if !self.is_hot(file) {
            return self.cold.read(file, range, buffer);
        }
        match self.hot.read(file, range.clone(), buffer) {
            Err(error) if is_lacking(&error) => {
                self.cold.read(file, range, buffer)?;
                self.mend(file);
                Ok(())
            }
            result => result,
        }
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        if !self.is_hot(file) {
            return self.cold.read_all(file, limit, buffer);
        }
        match self.hot.read_all(file, limit, buffer) {
            Ok(()) if file.kind == FileKind::Config => self.compare_configs(limit, buffer),
            Ok(()) if is_sound(file, buffer) => Ok(()),
            Err(error) if !is_lacking(&error) && error.kind() != ErrorKind::TooLong => Err(error),
            _ => {
                self.cold.read_all(file, limit, buffer)?;
                if is_sound(file, buffer) {
                    let _ = self.hot.write(file, buffer); // as in `mend`
                }
                Ok(())
            }
        }
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.cold.size(file)
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.cold.written_at(file)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        self.cold.list(kind)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.cold.remove(file)?;
        // Whatever it is: a pack of trees may not have been told.
        self.hot.remove(file)
    }

    fn hint_trees(&self, packs: &[PackId]) {
        self.trees().extend(packs);
        self.hot.hint_trees(packs);
        self.cold.hint_trees(packs);
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.cold.stored_hash(file)
    }

    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        let data: Vec<_> = {
            let trees = self.trees();
            packs.iter().filter(|pack| !trees.contains(pack)).copied().collect()
        };
        if data.is_empty() { Ok(data) } else { self.cold.thaw(&data) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::conformance::{self, Scale, Subject};
    use crate::backend::{Fault, FaultBackend, MemoryBackend, RecordBackend, Rule};

    struct Halves {
        hot: Arc<MemoryBackend>,
        cold: Arc<MemoryBackend>,
        counted: Arc<RecordBackend>,
        both: TieredBackend,
    }

    fn halves() -> Halves {
        let (hot, cold) = (Arc::new(MemoryBackend::new()), Arc::new(MemoryBackend::new()));
        let counted = Arc::new(RecordBackend::new(cold.clone()));
        let both = TieredBackend::new(hot.clone(), counted.clone());
        both.create().unwrap();
        Halves { hot, cold, counted, both }
    }

    fn named(kind: FileKind, content: &[u8]) -> FileId {
        FileId { kind, id: sha256(content) }
    }

    fn whole(backend: &dyn Backend, file: FileId) -> Result<Vec<u8>, ErrorKind> {
        let mut buffer = Vec::new();
        backend.read_all(file, 1 << 20, &mut buffer).map_err(|error| error.kind())?;
        Ok(buffer)
    }

    #[test]
    fn two_storages_keep_every_promise_of_one() {
        let make = || {
            let (hot, cold) = (Arc::new(MemoryBackend::new()), Arc::new(MemoryBackend::new()));
            Subject::new(Arc::new(TieredBackend::new(hot, cold)))
        };
        conformance::check(make, Scale::Quick);
    }

    #[test]
    fn only_packs_of_data_are_not_in_the_hot_one() {
        let Halves { hot, cold, both, .. } = halves();
        let (trees, data) = (named(FileKind::Pack, b"trees"), named(FileKind::Pack, b"data"));
        both.hint_trees(&[PackId(trees.id)]);
        both.write(trees, b"trees").unwrap();
        both.write(data, b"data").unwrap();
        both.write(FileId::CONFIG, b"config").unwrap();
        for kind in [FileKind::Key, FileKind::Index, FileKind::Snapshot, FileKind::Lock] {
            both.write(named(kind, b"record"), b"record").unwrap();
        }
        assert_eq!(cold.files().len(), 7);
        let mut expected = cold.files();
        expected.remove(&data);
        assert_eq!(hot.files(), expected);
        for file in cold.files().into_keys() {
            both.remove(file).unwrap();
        }
        assert_eq!((hot.files().len(), cold.files().len()), (0, 0));
    }

    #[test]
    fn metadata_is_read_hot_and_what_is_missing_or_damaged_there_is_mended() {
        let Halves { hot, counted, both, .. } = halves();
        let index = named(FileKind::Index, b"index");
        let trees = named(FileKind::Pack, b"trees");
        both.hint_trees(&[PackId(trees.id)]);
        both.write(index, b"index").unwrap();
        both.write(trees, b"trees").unwrap();
        let read_cold = || counted.counters().total(Operation::Read).requests;
        let mut buffer = Vec::new();
        assert_eq!(whole(&both, index).unwrap(), b"index");
        both.read(trees, 1..3, &mut buffer).unwrap();
        assert_eq!(read_cold(), 0);

        hot.tamper(index, |bytes| bytes[0] ^= 1);
        hot.remove(trees).unwrap();
        assert_eq!(whole(&both, index).unwrap(), b"index");
        both.read(trees, 1..3, &mut buffer).unwrap();
        assert_eq!(buffer, b"re");
        let before = read_cold();
        assert_eq!((&hot.files()[&index][..], &hot.files()[&trees][..]), (&b"index"[..], &b"trees"[..]));
        hot.tamper(trees, |bytes| bytes.truncate(2));
        both.read(trees, 1..3, &mut buffer).unwrap();
        assert_eq!(hot.files()[&trees], b"trees");
        assert!(before > 0 && read_cold() > before);
    }

    #[test]
    fn the_cold_one_decides_what_exists() {
        let Halves { hot, both, .. } = halves();
        let snapshot = named(FileKind::Snapshot, b"gone");
        hot.insert(snapshot, b"gone".to_vec());
        assert_eq!(both.list(FileKind::Snapshot).unwrap(), []);
        assert!(both.size(snapshot).unwrap_err().is_not_found());
    }

    #[test]
    fn halves_of_two_repositories_are_refused() {
        let Halves { hot, cold, both, .. } = halves();
        both.write(FileId::CONFIG, b"one").unwrap();
        assert_eq!(whole(&both, FileId::CONFIG).unwrap(), b"one");
        hot.insert(FileId::CONFIG, b"two".to_vec());
        assert_eq!(whole(&both, FileId::CONFIG), Err(ErrorKind::Config));
        hot.remove(FileId::CONFIG).unwrap();
        assert_eq!(whole(&both, FileId::CONFIG).unwrap(), b"one");
        assert_eq!(hot.files()[&FileId::CONFIG], b"one");
        let frozen = Rule::every(Fault::FailBefore(ErrorKind::Cold)).on(Operation::Read);
        let both = TieredBackend::new(hot, Arc::new(FaultBackend::new(cold, [frozen])));
        assert_eq!(whole(&both, FileId::CONFIG).unwrap(), b"one", "all of the cold one may be frozen");
    }

    #[test]
    fn the_hot_one_is_rebuilt_from_the_cold_one() {
        let Halves { hot, cold, both, .. } = halves();
        let trees = named(FileKind::Pack, b"trees");
        both.hint_trees(&[PackId(trees.id)]);
        both.write(trees, b"trees").unwrap();
        both.write(FileId::CONFIG, b"config").unwrap();
        both.write(named(FileKind::Snapshot, b"kept"), b"kept").unwrap();
        let whole = hot.files();
        both.write(named(FileKind::Pack, b"data"), b"data").unwrap();
        hot.remove(trees).unwrap();
        hot.insert(named(FileKind::Snapshot, b"kept"), b"torn!".to_vec());
        hot.insert(named(FileKind::Snapshot, b"gone"), b"gone".to_vec());
        hot.insert(FileId::CONFIG, b"other!".to_vec());
        let before = hot.files();
        assert_eq!(both.rebuild_hot(&Context::new()).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(hot.files(), before, "another repository's half is not touched");
        hot.remove(FileId::CONFIG).unwrap();
        let rebuilt = both.rebuild_hot(&Context::new()).unwrap();
        assert_eq!(rebuilt, Rebuilt { copied: 3, bytes: 5 + 6 + 4, removed: 1 });
        assert_eq!(hot.files(), whole);

        // Damaged without another length.
        hot.tamper(trees, |bytes| bytes[0] ^= 1);
        both.rebuild_hot(&Context::new()).unwrap();
        assert_eq!(hot.files(), whole);
        hot.remove(trees).unwrap();
        cold.tamper(trees, |bytes| bytes[0] ^= 1);
        assert!(both.rebuild_hot(&Context::new()).is_err() && !hot.files().contains_key(&trees));
        cold.tamper(trees, |bytes| bytes[0] ^= 1);

        let fresh = Arc::new(MemoryBackend::new());
        let both = TieredBackend::new(fresh.clone(), cold);
        both.hint_trees(&[PackId(trees.id)]);
        both.rebuild_hot(&Context::new()).unwrap();
        assert_eq!(fresh.files(), whole);
    }
}
