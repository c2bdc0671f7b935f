//! From version 1 to version 2: in restic's words, with everything still there, whenever the machine stops.

use std::sync::Arc;

use repo_core::backend::{ErrorKind, Fault, FaultBackend, MemoryBackend, Operation, Rule};
use repo_core::id::{FileId, FileKind};
use repo_core::ops::migrate::{MigrateError, can_upgrade, upgrade};
use repo_core::repository::{LockKind, LockOptions, Repository};
use tests::fixtures::{Fixture, empty_repository};
use tests::larder::larder;
use tests::program::{Program, Ran};
use tests::repo::{assert_complete, context, load, open};
use tests::restic::{self, restic};

fn migrate(repository: &Repository) -> Result<(), MigrateError> {
    let lock = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default())?;
    upgrade(&context(), repository, &lock, &mut |_| Ok(()))
}

fn old() -> Arc<MemoryBackend> {
    Arc::new(load(&Fixture::unpack("v1-r019").repo()))
}

#[test]
fn an_upgraded_repository_is_whole_and_compresses() {
    let memory = old();
    let before = memory.files();
    let repository = open(memory.clone());
    assert!(can_upgrade(&repository));
    migrate(&repository).unwrap();
    let new = open(memory.clone());
    assert!(new.config().version == 2 && !can_upgrade(&new));
    assert_eq!(
        (new.config().id, new.config().chunker_polynomial),
        (repository.config().id, repository.config().chunker_polynomial)
    );
    let mut after = memory.files();
    after.insert(FileId::CONFIG, before[&FileId::CONFIG].clone());
    assert_eq!(after, before, "nothing but the config is another");
    assert_complete(memory);
    assert!(matches!(migrate(&new), Err(MigrateError::Version { version: 2 })));
}

/// The old config is there, or the new one is, and either opens the repository.
#[test]
fn a_migration_may_stop_anywhere() {
    let start = old();
    let clean = Arc::new(FaultBackend::new(Arc::new(start.copy()), []));
    let repository = open(clean.clone());
    let opening = clean.calls();
    migrate(&repository).unwrap();
    for number in opening + 1..=clean.calls() {
        for fault in [
            Fault::FreezeBefore,
            Fault::FreezeAfter,
            Fault::FailAfter(ErrorKind::Transient),
            Fault::FailBefore(ErrorKind::Transient),
        ] {
            let memory = Arc::new(start.copy());
            let faulty = Arc::new(FaultBackend::over_memory(memory.clone(), [Rule::nth(number, fault)]));
            let result = migrate(&open(faulty.clone()));
            let story = || format!("{fault:?} at call {number}: {result:?}\n{}", faulty.log().join("\n"));
            let repository = open(memory.clone());
            repository.remove_all_locks().unwrap();
            if result.is_ok() {
                assert_eq!(repository.config().version, 2, "{}", story());
            } else if can_upgrade(&repository) {
                migrate(&repository).unwrap();
            }
            assert_eq!(open(memory.clone()).config().version, 2, "{}", story());
            assert_complete(memory);
        }
    }
}

/// Storage that loses the config while it replaces it: the old one is put back, or the caller has it.
#[test]
fn a_config_that_cannot_be_replaced_is_put_back() {
    let start = old();
    let config = start.files()[&FileId::CONFIG].clone();
    let fails = |number: u64| {
        let rule = Rule::nth(number, Fault::FailBefore(ErrorKind::Denied));
        let faulty =
            Arc::new(FaultBackend::new(start.clone(), [rule.on(Operation::Write).of(FileKind::Config)]));
        let mut kept = Vec::new();
        let repository = open(faulty);
        let lock = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap();
        let result = upgrade(&context(), &repository, &lock, &mut |old| {
            kept = old.to_vec();
            Ok(())
        });
        (result, kept)
    };
    let (result, kept) = fails(1);
    assert!(matches!(result, Err(MigrateError::Write(_))), "{result:?}");
    assert_eq!((&kept, &start.files()[&FileId::CONFIG]), (&config, &config));
    let refuses = |_: &[u8]| Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
    let repository = open(start.clone());
    let lock = repository.lock(&context(), LockKind::Exclusive, &LockOptions::default()).unwrap();
    assert!(matches!(upgrade(&context(), &repository, &lock, &mut { refuses }), Err(MigrateError::Keep(_))));
    assert_eq!(start.files()[&FileId::CONFIG], config);
}

fn run(program: &Program, repository: &std::path::Path, line: &str) -> Ran {
    program.on(repository).args(line.split(' ')).run()
}

#[test]
fn the_program_says_what_restic_says() {
    if restic::version() < (0, 19, 0) {
        return; // older ones say it in other words
    }
    let sides = [restic(), larder()].map(|program| {
        let folder = tempfile::tempdir().unwrap();
        empty_repository(1, &folder.path().join("repository"));
        (program, folder)
    });
    for line in [
        "migrate",
        "migrate bogus",
        "migrate upgrade_repo_v2",
        "migrate",
        "migrate upgrade_repo_v2",
        "migrate -f upgrade_repo_v2",
    ] {
        let [theirs, ours] = [0, 1].map(|at| {
            let (program, folder) = &sides[at];
            let ran = run(program, &folder.path().join("repository"), line);
            let shown = |text: &str| -> Vec<String> {
                let lines = text.lines().filter(|line| !line.starts_with('[') && !line.is_empty());
                lines
                    .filter(|line| !line.starts_with("Fatal: ") && !line.contains("create exclusive lock"))
                    .map(str::to_owned)
                    .collect()
            };
            (ran.code, shown(&ran.stdout), shown(&ran.stderr))
        });
        assert_eq!((ours.0, &ours.1), (theirs.0, &theirs.1), "{line}");
        for said in theirs.2.iter().filter(|said| {
            said.starts_with("migration ") || said.starts_with("unknown") || said.starts_with("check for")
        }) {
            assert!(ours.2.contains(said), "{line}: {said}\n{:#?}", ours.2);
        }
    }
    for (_, folder) in &sides {
        restic().on(&folder.path().join("repository")).args(["check", "--read-data"]).ok();
        let config = larder().on(&folder.path().join("repository")).args(["cat", "config"]).ok();
        assert_eq!(config.json()["version"], 2);
    }
}

#[test]
fn options_and_features_name_all_that_restic_names() {
    let said = |program: Program, word: &str| {
        let output = program.command().arg(word).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for word in ["options", "features"] {
        let (theirs, ours) = (said(restic(), word), said(larder(), word));
        let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
        let names: Vec<String> = ours.lines().filter_map(first).collect();
        for line in theirs.lines().filter(|line| !line.starts_with('-') && !line.ends_with(':')) {
            let name = first(line).unwrap_or_default();
            assert!(names.contains(&name), "{word}: {name}\n{ours}");
        }
        assert_eq!(ours.lines().next(), theirs.lines().next());
    }
    let refused = larder().command().args(["self-update", "--output", "larder.new"]).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && text.contains("does not update itself"), "{text}");
}
