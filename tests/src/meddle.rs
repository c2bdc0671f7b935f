//! A storage in which something happens behind the back of whoever uses it, at a chosen call.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use repo_core::backend::{Backend, BackendError, Listed, Properties};
use repo_core::id::{FileId, FileKind, Id};

type Deed = Box<dyn FnOnce() + Send>;

/// Runs a deed right before one call.
pub struct MeddledBackend {
    inner: Arc<dyn Backend>,
    calls: AtomicUsize,
    at: usize,
    deed: Mutex<Option<Deed>>,
    log: Mutex<Vec<String>>,
}

impl MeddledBackend {
    /// `deed` is done before call number `at`, counted from 1.
    pub fn new(inner: Arc<dyn Backend>, at: usize, deed: impl FnOnce() + Send + 'static) -> Self {
        let deed = Mutex::new(Some(Box::new(deed) as Deed));
        Self { inner, calls: AtomicUsize::new(0), at, deed, log: Mutex::default() }
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Each call, in order, with the deed among them.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("nobody panics with it").clone()
    }

    fn call(&self, what: String) {
        if self.calls.fetch_add(1, Ordering::Relaxed) + 1 == self.at
            && let Some(deed) = self.deed.lock().expect("nobody panics with it").take()
        {
            deed();
            self.log.lock().expect("nobody panics with it").push("── now it happens ──".to_owned());
        }
        self.log.lock().expect("nobody panics with it").push(what);
    }
}

impl fmt::Debug for MeddledBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeddledBackend").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Backend for MeddledBackend {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn create(&self) -> Result<(), BackendError> {
        self.inner.create()
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        self.call(format!("write {file}"));
        self.inner.write(file, content)
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.call(format!("read {file} {range:?}"));
        self.inner.read(file, range, buffer)
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        self.call(format!("read {file}"));
        self.inner.read_all(file, limit, buffer)
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        self.call(format!("size {file}"));
        self.inner.size(file)
    }

    fn written_at(&self, file: FileId) -> Result<Option<repo_core::time::Timestamp>, BackendError> {
        self.inner.written_at(file)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        self.call(format!("list {kind:?}"));
        self.inner.list(kind)
    }

    fn stored_hash(&self, file: FileId) -> Result<Option<Id>, BackendError> {
        self.inner.stored_hash(file)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        self.call(format!("remove {file}"));
        self.inner.remove(file)
    }
}
