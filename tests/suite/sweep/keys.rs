//! Scenarios about keys, locks and the config.

use std::sync::Arc;

use repo_core::backend::{Backend, ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::context::Context;
use repo_core::crypto::ScryptParams;
use repo_core::id::{FileId, FileKind, KeyId, PackId};
use repo_core::ops::migrate::{can_upgrade, upgrade};
use repo_core::repository::{
    InitError, InitOptions, KeyLabel, LockKind, LockOptions, LockOwner, OpenOptions, Password, Repository,
};
use tests::fixtures::PASSWORD;
use tests::repo::{backup, context, in_memory, open};
use tests::tree::{dir, file};

use super::{Ground, Scenario, said};

const SECOND: &str = "another password";
const CHEAP: Option<ScryptParams> = Some(ScryptParams { n: 2, r: 8, p: 1 });

fn opens(memory: &Arc<MemoryBackend>, password: &str) -> bool {
    let backend: Arc<dyn Backend> = memory.clone();
    Repository::open(&Context::new(), backend, &Password::from(password), &OpenOptions::default()).is_ok()
}

/// A repository with a backup.
fn some(version: u32) -> Arc<MemoryBackend> {
    let folder = tempfile::tempdir().unwrap();
    dir([("small", file("small"))]).build(folder.path());
    let memory = Arc::new(in_memory(version));
    backup(&open(memory.clone()), folder.path()).unwrap();
    memory
}

/// A new repository. Whoever finds it made has what was wanted.
pub(super) fn init() -> Scenario {
    let run = |ground: &Ground| {
        let options = InitOptions { kdf: CHEAP, ..InitOptions::default() };
        match Repository::init(&ground.context, ground.storage.clone(), &PASSWORD.into(), &options) {
            Err(InitError::Exists) => ground.open().map(drop),
            result => result.map(drop).map_err(said),
        }
    };
    Scenario::new(&MemoryBackend::new(), run).done(|_, memory| opens(memory, PASSWORD))
}

/// A second password.
pub(super) fn add() -> Scenario {
    let run = |ground: &Ground| {
        let added = ground.open()?.add_key(&ground.context, &SECOND.into(), &KeyLabel::default(), CHEAP);
        added.map(drop).map_err(said)
    };
    Scenario::new(&some(2), run).done(|_, memory| opens(memory, PASSWORD) && opens(memory, SECOND))
}

/// Another password. Whoever finds that the new one opens it, and the old one does not, has what was wanted.
pub(super) fn passwd() -> Scenario {
    let run = |ground: &Ground| {
        let repository = match ground.open() {
            Ok(repository) => repository,
            Err(error) => return ground.open_with(SECOND).map(drop).map_err(|_| error),
        };
        let (label, new) = (KeyLabel::default(), Password::from(SECOND));
        repository.change_password(&ground.context, &new, &label, CHEAP).map(drop).map_err(said)
    };
    let scenario =
        Scenario::new(&some(2), run).done(|_, memory| !opens(memory, PASSWORD) && opens(memory, SECOND));
    Scenario { passwords: &[PASSWORD, SECOND], ..scenario }
}

/// A second password goes.
pub(super) fn remove() -> Scenario {
    let start = some(2);
    let added = open(start.clone()).add_key(&context(), &SECOND.into(), &KeyLabel::default(), CHEAP).unwrap();
    let run = move |ground: &Ground| ground.open()?.remove_key(added).map_err(said);
    Scenario::new(&start, run).done(|_, memory| opens(memory, PASSWORD) && !opens(memory, SECOND))
}

/// The lock of a process that is no more, beside one of somebody who is at work elsewhere.
pub(super) fn unlock() -> Scenario {
    let start = some(2);
    let repository = open(start.clone());
    let here = LockOwner::this_process();
    // No process has this number.
    let dead = LockOwner { pid: i64::from(i32::MAX), ..here.clone() };
    let living = LockOwner { hostname: "elsewhere".into(), ..here };
    let ids = [dead, living].map(|owner| {
        let options = LockOptions { owner: Some(owner), ..LockOptions::default() };
        std::mem::forget(repository.lock(&context(), LockKind::Shared, &options).unwrap());
        repository.list::<repo_core::format::Lock>().unwrap()
    });
    let dead: FileId = ids[0][0].into();
    let run = |ground: &Ground| ground.open()?.remove_stale_locks(&ground.context).map(drop).map_err(said);
    Scenario::new(&start, run).done(move |_, memory| !memory.files().contains_key(&dead))
}

/// Version 1 becomes version 2; a copy of the old config is kept.
pub(super) fn migrate() -> Scenario {
    let run = |ground: &Ground| {
        let repository = ground.open()?;
        if !can_upgrade(&repository) {
            return Ok(());
        }
        let lock =
            repository.lock(&ground.context, LockKind::Exclusive, &LockOptions::default()).map_err(said)?;
        upgrade(&ground.context, &repository, &lock, &mut |_| Ok(())).map_err(said)
    };
    Scenario::new(&some(1), run).done(|_, memory| open(memory.clone()).config().version == 2)
}

/// Whoever was stopped before the config goes on with the same key; a key of another password is somebody's, and with
/// anything else there a key may be all that is left of a repository.
#[test]
fn an_init_that_was_stopped_goes_on_with_its_key_and_with_nobody_elses() {
    let make = |memory: &Arc<MemoryBackend>, password: &str| {
        let options = InitOptions { kdf: CHEAP, ..InitOptions::default() };
        Repository::init(&context(), memory.clone(), &Password::from(password), &options)
    };
    let stopped = Arc::new(MemoryBackend::new());
    let key = make(&stopped, PASSWORD).unwrap().key_id();
    stopped.remove(FileId::CONFIG).unwrap();

    let refused = make(&Arc::new(stopped.copy()), SECOND).map(drop);
    assert!(matches!(refused, Err(InitError::Remains { found: FileKind::Key })), "{refused:?}");
    let more = Arc::new(stopped.copy());
    more.write(PackId(repo_core::hash::sha256(b"a pack")).into(), b"a pack").unwrap();
    let refused = make(&more, PASSWORD).map(drop);
    assert!(matches!(refused, Err(InitError::Remains { found: FileKind::Pack })), "{refused:?}");

    let torn = KeyId(repo_core::hash::sha256(b"whole")).into();
    stopped.insert(torn, b"who".to_vec());
    assert_eq!(make(&stopped, PASSWORD).unwrap().key_id(), key);
    assert!(opens(&stopped, PASSWORD));
}

/// Whoever is told that stale locks are gone goes on: a lock that the storage does not give must not pass for a fresh one.
#[test]
fn an_unlock_that_cannot_read_a_lock_says_so() {
    let memory = Arc::new(unlock().start);
    let rule = Rule::nth(1, Fault::FailBefore(ErrorKind::Denied)).on(Operation::Read).of(FileKind::Lock);
    let faulty = Arc::new(FaultBackend::new(memory.clone(), [rule]));
    let error = open(faulty).remove_stale_locks(&context()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    open(memory).remove_stale_locks(&context()).unwrap();
}
