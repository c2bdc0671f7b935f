//! A backend around a backend whose packs are frozen: a storage class where reading takes hours of notice.
//!
//! In: calls. Out: the same calls, but reading a pack is [`ErrorKind::Cold`] until it was asked for with
//! [`Backend::thaw`] and the clock has passed the time that takes. For tests, with a clock that is wound by hand.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties};
use crate::context::Context;
use crate::id::{FileId, FileKind, Id, PackId};
use crate::time::Timestamp;

/// Freezes every pack but those that were told to hold trees.
#[derive(Debug)]
pub struct FrozenBackend {
    inner: Arc<dyn Backend>,
    context: Context,
    takes: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trees: HashSet<PackId>,
    /// When each pack was asked for first.
    asked: BTreeMap<PackId, Duration>,
}

impl FrozenBackend {
    /// Thawing takes so long on the context's clock.
    pub fn new(inner: Arc<dyn Backend>, context: &Context, takes: Duration) -> Self {
        Self { inner, context: context.clone(), takes, state: Mutex::default() }
    }

    /// The packs that somebody asked for, sorted.
    pub fn asked(&self) -> Vec<PackId> {
        self.state().asked.keys().copied().collect()
    }

    fn is_frozen(&self, state: &State, pack: PackId) -> bool {
        let now = self.context.clock.elapsed();
        let is_thawed = state.asked.get(&pack).is_some_and(|asked| now.saturating_sub(*asked) >= self.takes);
        !state.trees.contains(&pack) && !is_thawed
    }

    fn check(&self, file: FileId) -> Result<(), BackendError> {
        if file.kind == FileKind::Pack && self.is_frozen(&self.state(), PackId(file.id)) {
            return Err(BackendError::file(ErrorKind::Cold, Operation::Read, file));
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for FrozenBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.inner.create()
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.inner.write(file, content)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        buffer.clear();
        self.check(file)?;
        self.inner.read(file, range, buffer)
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        buffer.clear();
        self.check(file)?;
        self.inner.read_all(file, limit, buffer)
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.inner.size(file)
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        self.inner.written_at(file)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        self.inner.list(kind)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.inner.remove(file)
    }

    fn hint_trees(&self, packs: &[PackId]) {
        self.state().trees.extend(packs);
        self.inner.hint_trees(packs);
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.inner.stored_hash(file)
    }

    fn thaw(&self, packs: &[PackId]) -> Result<Vec<PackId>, BackendError> {
        let now = self.context.clock.elapsed();
        let mut state = self.state();
        let asked: Vec<_> = packs.iter().filter(|pack| !state.trees.contains(pack)).copied().collect();
        for pack in asked {
            state.asked.entry(pack).or_insert(now);
        }
        Ok(packs.iter().filter(|pack| self.is_frozen(&state, **pack)).copied().collect())
    }
}
