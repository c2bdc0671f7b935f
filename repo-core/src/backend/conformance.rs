//! Proves that a backend keeps every promise of the [`Backend`] trait.
//!
//! In: a function that makes a fresh, empty place. Out: nothing, or a panic that names the first promise that
//! is broken. It runs against every backend of ours; run it against yours:
//!
//! ```
//! use std::sync::Arc;
//!
//! use repo_core::backend::MemoryBackend;
//! use repo_core::backend::conformance::{self, Scale, Subject};
//!
//! conformance::check(|| Subject::new(Arc::new(MemoryBackend::new())), Scale::Quick);
//! ```
//!
//! Every immutable file is named by the SHA-256 of its bytes, because some storage insists on that. Nothing is
//! written outside the place that was made. Threads are started here directly: this is a test, not the engine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sha2::{Digest, Sha256};

use crate::backend::{Backend, BackendError, ErrorKind, Listed, layout};
use crate::id::{FileId, FileKind, Id};

/// How much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// A few hundred small requests and one file of 33 MiB.
    Quick,
    /// The same and a listing of 10,000 packs.
    Full,
}

/// Puts bytes at a path below the root behind the backend's back, making folders as needed.
pub type Plant = Box<dyn Fn(&str, &[u8])>;

/// A fresh, empty place, not yet created.
pub struct Subject {
    backend: Arc<dyn Backend>,
    plant: Option<Plant>,
}

impl Subject {
    /// What to prove.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, plant: None }
    }

    /// Also proves that foreign files do not disturb, with this function to put them there.
    pub fn with_plant(self, plant: impl Fn(&str, &[u8]) + 'static) -> Self {
        Self { plant: Some(Box::new(plant)), ..self }
    }
}

/// Checks every promise, each in a place of its own.
///
/// # Panics
/// At the first promise that does not hold, with a sentence that says which.
pub fn check(make: impl Fn() -> Subject, scale: Scale) {
    let fresh = || make().backend;
    let created = || {
        let backend = fresh();
        ok(backend.create(), "create makes an empty repository");
        backend
    };
    nothing_is_there_before_create(&*fresh());
    create_may_be_called_again(&*created());
    what_was_written_is_read_back(&*created());
    ranges_are_exact(&*created());
    whole_files_are_read_up_to_a_limit(&*created());
    missing_files_are_not_found(&*created());
    kinds_are_kept_apart(&*created());
    the_same_bytes_may_be_written_again(&*created());
    the_config_is_replaced(&*created());
    removing_is_exact_and_repeatable(&*created());
    large_files_are_whole(&*created());
    writers_of_one_name_agree(&*created());
    listings_are_whole_while_others_write_and_remove(&*created());
    replacing_the_config_is_atomic(&*created());
    let subject = make();
    if let Some(plant) = &subject.plant {
        ok(subject.backend.create(), "create makes an empty repository");
        foreign_files_are_ignored(&*subject.backend, plant);
    }
    if scale == Scale::Full {
        ten_thousand_packs_are_listed(&*created());
    }
}

// ── the promises ───────────────────────────────────────────────────────────────────────────────────────────

fn nothing_is_there_before_create(backend: &dyn Backend) {
    let promise = "a place that was not created says that its config is not found";
    fails(backend.size(FileId::CONFIG), ErrorKind::NotFound, promise);
    fails(backend.read_all(FileId::CONFIG, 100, &mut Vec::new()), ErrorKind::NotFound, promise);
    let properties = backend.properties();
    assert!(properties.connections > 0, "at least one call at a time is useful");
    assert!(!properties.location.is_empty(), "messages can say where the repository lies");
}

fn create_may_be_called_again(backend: &dyn Backend) {
    for kind in FileKind::ALL {
        let listed = ok(backend.list(kind), "an empty folder can be listed");
        assert_eq!(listed, [], "a new repository has no {kind}");
    }
    let (pack, content) = sample(FileKind::Pack, 1, 100);
    ok(backend.write(pack, &content), "a file can be written");
    ok(backend.create(), "create may be called again");
    assert_eq!(whole(backend, pack), content, "create leaves existing files alone");
}

fn what_was_written_is_read_back(backend: &dyn Backend) {
    for kind in FileKind::ALL {
        for len in [1, 0, 4095, 4096, 4097, 100_000] {
            let (file, content) = sample(kind, len as u64, len);
            ok(backend.write(file, &content), "a file of any kind and length can be written");
            assert_eq!(whole(backend, file), content, "{file} reads back as written");
            let size = ok(backend.size(file), "the size of an existing file is known");
            assert_eq!(size, len as u64, "the size of {file} is right");
            let hash = ok(backend.stored_hash(file), "the storage says whether it knows a file's hash");
            let right = Id::new(Sha256::digest(&content).into());
            assert!(hash.is_none_or(|hash| hash == right), "a hash that the storage knows is right");
            let listed = ok(backend.list(kind), "files of any kind can be listed");
            let expected = Listed { id: file.id, size: len as u64 };
            assert!(listed.contains(&expected), "{file} is listed with its size as soon as it is written");
        }
    }
    let configs = ok(backend.list(FileKind::Config), "the config can be listed");
    assert_eq!(configs.len(), 1, "there is one config, whose id is all zero");
}

fn ranges_are_exact(backend: &dyn Backend) {
    let (file, content) = sample(FileKind::Pack, 1, 10_000);
    let (empty, nothing) = sample(FileKind::Pack, 2, 0);
    ok(backend.write(file, &content), "a file can be written");
    ok(backend.write(empty, &nothing), "an empty file can be written");
    let mut buffer = b"old content".repeat(2000);
    for range in [0..10_000, 0..1, 9_999..10_000, 1..9_999, 4096..8192, 0..0, 5..5, 10_000..10_000] {
        ok(backend.read(file, range.clone(), &mut buffer), "a range inside the file can be read");
        let at = usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small");
        assert!(buffer == content[at], "range {range:?} is read exactly, and nothing else is in the buffer");
    }
    ok(backend.read(empty, 0..0, &mut buffer), "nothing can be read from an empty file");
    assert!(buffer.is_empty(), "the buffer's old content is dropped");
    let promise = "a range that does not lie inside the file is too short";
    for range in [0..10_001, 9_999..10_001, 10_000..10_001, 10_001..10_002, 50_000..60_000, 0..1 << 40] {
        fails(backend.read(file, range, &mut buffer), ErrorKind::TooShort, promise);
    }
    fails(backend.read(empty, 0..1, &mut buffer), ErrorKind::TooShort, promise);
}

fn whole_files_are_read_up_to_a_limit(backend: &dyn Backend) {
    let (file, content) = sample(FileKind::Index, 1, 5000);
    ok(backend.write(file, &content), "a file can be written");
    let mut buffer = b"old content".to_vec();
    for limit in [5000, 5001, u64::MAX] {
        ok(backend.read_all(file, limit, &mut buffer), "a file up to the limit can be read");
        assert!(buffer == content, "read_all gives exactly the file");
    }
    for limit in [4999, 1, 0] {
        let promise = "a file over the limit is too long";
        fails(backend.read_all(file, limit, &mut buffer), ErrorKind::TooLong, promise);
        assert!(buffer.len() as u64 <= limit, "no more than the limit is kept in the buffer");
    }
}

fn missing_files_are_not_found(backend: &dyn Backend) {
    let promise = "a file that was never written is not found";
    for kind in FileKind::ALL {
        let (file, _) = sample(kind, 1, 10);
        fails(backend.size(file), ErrorKind::NotFound, promise);
        fails(backend.read(file, 0..1, &mut Vec::new()), ErrorKind::NotFound, promise);
        fails(backend.read_all(file, 100, &mut Vec::new()), ErrorKind::NotFound, promise);
    }
}

fn kinds_are_kept_apart(backend: &dyn Backend) {
    let kinds = layout::FOLDERS;
    for (at, kind) in kinds.into_iter().enumerate() {
        for (later, other) in kinds.into_iter().enumerate() {
            let there = backend.size(sample(other, 1, 10).0).is_ok();
            assert_eq!(there, later < at, "the same name may stand in several folders");
        }
        let (file, content) = sample(kind, 1, 10);
        ok(backend.write(file, &content), "the same name may stand in several folders");
    }
}

fn the_same_bytes_may_be_written_again(backend: &dyn Backend) {
    for kind in FileKind::ALL {
        let (file, content) = sample(kind, 1, 3000);
        for _ in 0..3 {
            ok(backend.write(file, &content), "writing the same bytes again is success");
            assert_eq!(whole(backend, file), content, "and changes nothing");
        }
        assert_eq!(ok(backend.list(kind), "files can be listed").len(), 1, "a file is listed once");
    }
}

fn the_config_is_replaced(backend: &dyn Backend) {
    for len in [500, 100, 0, 700] {
        let (_, content) = sample(FileKind::Config, len as u64, len);
        ok(backend.write(FileId::CONFIG, &content), "the config may be replaced by other bytes");
        assert_eq!(whole(backend, FileId::CONFIG), content, "the new config is read back");
        let listed = ok(backend.list(FileKind::Config), "the config can be listed");
        let expected = Listed { id: FileId::CONFIG.id, size: len as u64 };
        assert_eq!(listed, [expected], "the config is listed once, with its new size");
    }
    ok(backend.remove(FileId::CONFIG), "the config can be removed");
    assert_eq!(ok(backend.list(FileKind::Config), "a missing config can be listed"), []);
}

fn removing_is_exact_and_repeatable(backend: &dyn Backend) {
    for kind in layout::FOLDERS {
        let [(gone, first), (kept, second)] = [1, 2].map(|seed| sample(kind, seed, 50));
        ok(backend.remove(gone), "removing a file that never was is success");
        ok(backend.write(gone, &first), "a file can be written");
        ok(backend.write(kept, &second), "a file can be written");
        for _ in 0..2 {
            ok(backend.remove(gone), "removing is success, also the second time");
            fails(backend.size(gone), ErrorKind::NotFound, "a removed file is not found");
            let listed = ok(backend.list(kind), "files can be listed");
            assert_eq!(listed, [Listed { id: kept.id, size: 50 }], "only the other file is left");
        }
        ok(backend.write(gone, &first), "a removed file can be written again");
        assert_eq!(whole(backend, gone), first, "and is read back");
    }
}

fn large_files_are_whole(backend: &dyn Backend) {
    const LEN: usize = 33 << 20;
    let (file, content) = sample(FileKind::Pack, 1, LEN);
    ok(backend.write(file, &content), "a file of 33 MiB can be written");
    assert!(whole(backend, file) == content, "a file of 33 MiB is read back");
    let mut buffer = Vec::new();
    ok(backend.read(file, 1 << 20..(LEN as u64) - 1, &mut buffer), "a range of 32 MiB can be read");
    assert!(buffer == content[1 << 20..LEN - 1], "a range of 32 MiB is exact");
}

fn foreign_files_are_ignored(backend: &dyn Backend, plant: &Plant) {
    let name = "abcdef0000000000000000000000000000000000000000000000000000000001";
    for path in [
        "README".to_owned(),
        "config-tmp-1".to_owned(),
        "snapshots/.DS_Store".to_owned(),
        format!("index/{name}-tmp-1"),
        format!("keys/{}", name.to_uppercase()),
        format!("locks/{name}0"),
        format!("snapshots/{name}/a-folder-is-no-file"),
        format!("data/{name}"),
        "data/README".to_owned(),
        format!("data/ab/{name}-tmp-77-1"),
        format!("data/cd/{name}"),
        format!("data/old/{name}"),
        format!("extra/{name}"),
    ] {
        plant(&path, b"foreign");
        for kind in FileKind::ALL {
            let listed = ok(backend.list(kind), "foreign files do not disturb a listing");
            assert_eq!(listed, [], "{path} is not listed among the files of kind {kind}");
        }
    }
    let (file, content) = sample(FileKind::Pack, 1, 10);
    plant(&layout::path(file), &content);
    let listed = ok(backend.list(FileKind::Pack), "files that another program wrote can be listed");
    assert_eq!(listed, [Listed { id: file.id, size: 10 }], "a pack that another program wrote is listed");
    assert_eq!(whole(backend, file), content, "a pack that another program wrote can be read");
}

fn writers_of_one_name_agree(backend: &dyn Backend) {
    let (file, content) = sample(FileKind::Pack, 1, 50_000);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    ok(backend.write(file, &content), "several writers of the same bytes all succeed");
                    assert!(whole(backend, file) == content, "and everybody reads the whole file");
                }
            });
        }
    });
    let listed = ok(backend.list(FileKind::Pack), "packs can be listed");
    assert_eq!(listed, [Listed { id: file.id, size: 50_000 }], "one file is left, and nothing beside it");
}

fn listings_are_whole_while_others_write_and_remove(backend: &dyn Backend) {
    let stable: Vec<_> = (0..40).map(|seed| sample(FileKind::Pack, seed, 100).0).collect();
    for seed in 0..40 {
        let (file, content) = sample(FileKind::Pack, seed, 100);
        ok(backend.write(file, &content), "a file can be written");
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for seed in 1000..1100 {
                let (file, content) = sample(FileKind::Pack, seed, 20_000);
                ok(backend.write(file, &content), "writing beside a listing is success");
                ok(backend.remove(file), "removing beside a listing is success");
            }
        });
        let lister = scope.spawn(|| {
            loop {
                let last = done.load(Ordering::Acquire);
                let listed = ok(backend.list(FileKind::Pack), "listing beside writers is success");
                let sizes: BTreeMap<_, _> = listed.iter().map(|listed| (listed.id, listed.size)).collect();
                assert_eq!(sizes.len(), listed.len(), "no file is listed twice");
                for file in &stable {
                    assert_eq!(sizes.get(&file.id), Some(&100), "{file} is in every listing");
                }
                let whole = |size: &u64| *size == 100 || *size == 20_000;
                assert!(sizes.values().all(whole), "a file is listed only when it is complete");
                if last {
                    return;
                }
            }
        });
        let written = writer.join();
        done.store(true, Ordering::Release);
        for thread in [written, lister.join()] {
            thread.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

fn replacing_the_config_is_atomic(backend: &dyn Backend) {
    if !backend.properties().atomic_replace {
        return;
    }
    let configs = [1, 2].map(|seed| sample(FileKind::Config, seed, 1000).1);
    ok(backend.write(FileId::CONFIG, &configs[0]), "the config can be written");
    thread::scope(|scope| {
        scope.spawn(|| {
            for config in configs.iter().cycle().take(100) {
                ok(backend.write(FileId::CONFIG, config), "the config can be replaced");
            }
        });
        for _ in 0..100 {
            let now = whole(backend, FileId::CONFIG);
            assert!(configs.contains(&now), "a reader sees the old config or the new one, whole");
        }
    });
}

fn ten_thousand_packs_are_listed(backend: &dyn Backend) {
    const COUNT: u64 = 10_000;
    let each = |seed| sample(FileKind::Pack, seed, 8 + usize::try_from(seed % 50).expect("small"));
    let writers = backend.properties().connections.clamp(1, 32) as u64;
    thread::scope(|scope| {
        for first in 0..writers {
            scope.spawn(move || {
                for seed in (first..COUNT).filter(|seed| seed % writers == first) {
                    let (file, content) = each(seed);
                    ok(backend.write(file, &content), "a file can be written");
                }
            });
        }
    });
    let mut expected: Vec<_> = (0..COUNT)
        .map(|seed| {
            let (file, content) = each(seed);
            Listed { id: file.id, size: content.len() as u64 }
        })
        .collect();
    let mut listed = ok(backend.list(FileKind::Pack), "10,000 packs can be listed");
    expected.sort_unstable();
    listed.sort_unstable();
    assert!(listed == expected, "10,000 packs are listed completely and with their sizes");
}

// ── helpers ────────────────────────────────────────────────────────────────────────────────────────────────

/// Deterministic bytes, and the file they belong into.
fn sample(kind: FileKind, seed: u64, len: usize) -> (FileId, Vec<u8>) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ len as u64;
    let mut content = Vec::with_capacity(len + 8);
    while content.len() < len {
        // SplitMix64: all we need is bytes that differ everywhere.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        content.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    content.truncate(len);
    let file = match kind {
        FileKind::Config => FileId::CONFIG,
        kind => FileId { kind, id: Id::new(Sha256::digest(&content).into()) },
    };
    (file, content)
}

#[track_caller]
fn whole(backend: &dyn Backend, file: FileId) -> Vec<u8> {
    let mut buffer = Vec::new();
    ok(backend.read_all(file, u64::MAX, &mut buffer), "an existing file can be read");
    buffer
}

#[track_caller]
fn ok<T>(result: Result<T, BackendError>, promise: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("broken promise: {promise}; got: {}", chain(&error)),
    }
}

#[track_caller]
fn fails<T>(result: Result<T, BackendError>, kind: ErrorKind, promise: &str) {
    match result {
        Ok(_) => panic!("broken promise: {promise}; got: success"),
        Err(error) => assert!(error.kind() == kind, "broken promise: {promise}; got: {}", chain(&error)),
    }
}

fn chain(error: &BackendError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::backend::{MemoryBackend, Properties};

    #[test]
    fn memory_keeps_every_promise() {
        check(|| Subject::new(Arc::new(MemoryBackend::new())), Scale::Full);
    }

    /// A backend with one flaw, to see that the suite finds it.
    #[derive(Debug)]
    struct Flawed(Flaw, MemoryBackend);

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Flaw {
        ShortReads,
        KeepsBuffer,
        ListsPart,
        MissingRemoveFails,
        IgnoresLimit,
        RefusesRewrite,
        DropsConfigReplacement,
        SizeOfMissingIsZero,
    }

    impl Backend for Flawed {
        fn properties(&self) -> Properties {
            self.1.properties()
        }

        fn create(&self) -> Result<(), BackendError> {
            self.1.create()
        }

        fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
            let exists = self.1.size(file).is_ok();
            if self.0 == Flaw::DropsConfigReplacement && exists {
                return Ok(());
            }
            if self.0 == Flaw::RefusesRewrite && exists {
                let operation = crate::backend::Operation::Write;
                return Err(BackendError::file(ErrorKind::Exists, operation, file));
            }
            self.1.write(file, content)
        }

        fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
            let len = self.1.size(file)?;
            let range =
                if self.0 == Flaw::ShortReads { range.start.min(len)..range.end.min(len) } else { range };
            let old = std::mem::take(buffer);
            self.1.read(file, range, buffer)?;
            if self.0 == Flaw::KeepsBuffer && buffer.is_empty() {
                *buffer = old;
            }
            Ok(())
        }

        fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
            self.1.read_all(file, if self.0 == Flaw::IgnoresLimit { u64::MAX } else { limit }, buffer)
        }

        fn size(&self, file: FileId) -> Result<u64, BackendError> {
            if self.0 == Flaw::SizeOfMissingIsZero {
                Ok(self.1.size(file).unwrap_or(0))
            } else {
                self.1.size(file)
            }
        }

        fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
            let mut all = self.1.list(kind)?;
            all.truncate(if self.0 == Flaw::ListsPart { 30 } else { usize::MAX });
            Ok(all)
        }

        fn remove(&self, file: FileId) -> Result<(), BackendError> {
            if self.0 == Flaw::MissingRemoveFails {
                self.1.size(file)?;
            }
            self.1.remove(file)
        }
    }

    #[test]
    fn every_flaw_is_found() {
        for flaw in [
            Flaw::ShortReads,
            Flaw::KeepsBuffer,
            Flaw::ListsPart,
            Flaw::MissingRemoveFails,
            Flaw::IgnoresLimit,
            Flaw::RefusesRewrite,
            Flaw::DropsConfigReplacement,
            Flaw::SizeOfMissingIsZero,
        ] {
            let make = || Subject::new(Arc::new(Flawed(flaw, MemoryBackend::new())));
            let found = std::panic::catch_unwind(|| check(make, Scale::Quick));
            assert!(found.is_err(), "{flaw:?} was not found");
        }
    }
}
