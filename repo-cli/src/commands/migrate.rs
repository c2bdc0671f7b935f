//! `migrate`: what of the format can be changed, and the change.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::format::json::Object;
use repo_core::ops::check::{CheckOptions, ReadData, check};
use repo_core::ops::migrate::{MigrateError, can_upgrade, upgrade};
use repo_core::repository::{LockGuard, LockKind, LockOptions, Repository};

use crate::args::migrate::Migrate;
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;
use crate::ui::views::CheckView;

/// The one change there is, by restic's name.
const UPGRADE: &str = "upgrade_repo_v2";

pub fn run(session: &Session, args: &Migrate) -> Result<()> {
    let repository = session.open()?;
    let options = LockOptions { wait: session.settings.lock.retry, ..LockOptions::default() };
    let lock = repository.lock(&session.context, LockKind::Exclusive, &options)?;
    if args.names.is_empty() {
        list(session, &repository);
        return Ok(());
    }
    let mut result = Ok(());
    for name in &args.names {
        if name != UPGRADE {
            session.screen.warn(visible_text(&format!("unknown migration {name}")));
            continue;
        }
        if !can_upgrade(&repository) {
            let version = repository.config().version;
            if !args.force {
                session.screen.warn(format!(
                    "migration {UPGRADE} cannot be applied: repository is already upgraded to version {version}\n\
                     If you want to apply this migration anyway, re-run with option --force"
                ));
                continue;
            }
            session.screen.warn(format!("check for migration {UPGRADE} failed, continuing anyway"));
        }
        let applied = apply(session, &repository, &lock);
        // As restic: the others are tried, the first failure counts.
        result = result.and(applied);
    }
    result
}

fn list(session: &Session, repository: &Repository) {
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        let names: &[&str] = if can_upgrade(repository) { &[UPGRADE] } else { &[] };
        object.string("message_type", "migrations").strings("available", names);
        object.end();
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    session.screen.say(Level::Normal, "available migrations:");
    session.screen.say(
        Level::Normal,
        if can_upgrade(repository) {
            "  upgrade_repo_v2\tupgrade a repository to version 2"
        } else {
            "no migrations found"
        },
    );
}

fn apply(session: &Session, repository: &Repository, lock: &LockGuard) -> Result<()> {
    session.screen.say(Level::Normal, "checking repository integrity...");
    let drawing = session.progress.show(CheckView { read_data: ReadData::Nothing });
    // The repository is locked already.
    let options = CheckOptions { lock: None, ..CheckOptions::default() };
    let report = check(&session.context, repository, &options)?;
    drop(drawing);
    if !report.is_sound() {
        return Err(wrong(
            "repository contains errors",
            "Nothing was changed. `larder check` says what mends it; then run the same again.",
        ));
    }
    session.screen.say(Level::Normal, "no errors were found");
    session.screen.say(Level::Normal, format!("applying migration {UPGRADE}..."));
    let mut kept = Kept::default();
    match upgrade(&session.context, repository, lock, &mut |config| kept.keep(config)) {
        Ok(()) => {
            kept.discard();
            session.screen.say(Level::Normal, format!("migration {UPGRADE}: success"));
            if session.settings.json {
                let mut line = Vec::new();
                let mut object = Object::begin(&mut line);
                object.string("message_type", "migrated").string("name", UPGRADE);
                object.end();
                session.screen.line(String::from_utf8_lossy(&line));
            }
            Ok(())
        }
        Err(error) => {
            session
                .screen
                .warn(visible_text(&format!("migration {UPGRADE} failed: {}", with_causes(&error))));
            Err(explained(error, &kept))
        }
    }
}

/// The config as it was, in a file of this machine until the new one is there.
#[derive(Default)]
struct Kept(Option<PathBuf>);

impl Kept {
    fn keep(&mut self, config: &[u8]) -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("larder-config-{}", std::process::id()));
        let mut file = File::create_new(&path)?;
        self.0 = Some(path);
        file.write_all(config)?;
        file.sync_all()
    }

    fn discard(self) {
        if let Some(path) = self.0 {
            // It holds nothing that the repository does not.
            drop(fs::remove_file(path));
        }
    }
}

fn explained(error: MigrateError, kept: &Kept) -> anyhow::Error {
    let Some(path) =
        kept.0.as_ref().filter(|_| matches!(error, MigrateError::Write(_) | MigrateError::Lost(_)))
    else {
        return error.into();
    };
    let path = path.display();
    let remedy = if matches!(error, MigrateError::Lost(_)) {
        format!("Put {path} back as the file `config` of the repository: without it nothing can be opened.")
    } else {
        format!(
            "The old config is in place; a copy of it is {path}. Look at the storage, then run the same again."
        )
    };
    wrong(with_causes(&error), remedy)
}
