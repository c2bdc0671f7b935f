//! `rekey`: everything into a new repository under a new master key.
//!
//! A copy of all snapshots, with nothing left out: one that cannot be read or copied is an error, and what was
//! written is looked at again before the run says that it is done.

use std::collections::HashMap;

use anyhow::Result;
use repo_core::id::SnapshotId;
use repo_core::ops::copy::{CopyOutcome, CopyReport};
use repo_core::repository::{
    InitChunker, InitOptions, KeyLabel, LockKind, LockOwner, OpenError, OpenOptions, Password, Repository,
};
use repo_core::snapshots::{self, Stored};

use crate::args::rekey::Rekey;
use crate::config::Access;
use crate::exit::wrong;
use crate::password::Sources;
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Rekey) -> Result<()> {
    let old = session.open()?;
    let _old_lock = session.lock(&old, LockKind::Shared)?;
    let new = open_or_make(session, args, &old)?;
    if new.key().encrypt() == old.key().encrypt() {
        return Err(wrong(
            format!("the repository at {} has the same master key", args.to),
            "Name a place where no repository lies yet.",
        ));
    }
    let lock = super::copy::lock_target(session, &new)?;
    let (all, unreadable) = snapshots::list_with_report(&session.context, &old)?;
    if let Some((id, error)) = unreadable.into_iter().next() {
        let error = anyhow::Error::from(error);
        return Err(error.context(format!("cannot read snapshot {id}, so it would be missing")));
    }
    let report = super::copy::transfer(session, &old, &new, &lock, &all)?;
    super::copy::finish(session, &report)?;
    verify(session, &new, &all, &report)?;
    session.screen.say(Level::Normal, visible_text(&epilogue(all.len(), &args.to)));
    Ok(())
}

/// The new repository: made, or opened if an earlier run has made it.
fn open_or_make(session: &Session, args: &Rekey, old: &Repository) -> Result<Repository> {
    let password = Sources {
        file: args.new_password_file.clone(),
        empty: args.new_insecure_no_password,
        empty_flag: "--new-insecure-no-password",
        ..Sources::default()
    };
    let access = Access::at(&args.to);
    let location = Session::location(&access)?;
    let (backend, cache) = (session.backend(&access)?, session.cache_base(&location));
    let keyboard = session.keyboard(false);
    let options = OpenOptions { key_hint: None, cache: cache.clone() };
    match Repository::find(backend.clone(), &options) {
        Ok(found) => {
            let (password, _) = password.existing("enter password of the new repository: ", &keyboard)?;
            Ok(found.open(&session.context, &Password::new(password.as_bytes()))?)
        }
        Err(OpenError::NoRepository { .. }) => {
            let (password, _) = password.new_one("enter password for new repository: ", &keyboard)?;
            let here = LockOwner::this_process();
            let options = InitOptions {
                version: old.config().version,
                chunker: InitChunker::SameAs(old.chunker_params()?),
                label: KeyLabel { username: here.username, hostname: here.hostname },
                cache,
                ..InitOptions::default()
            };
            let password = Password::new(password.as_bytes());
            Ok(Repository::init(&session.context, backend, &password, &options)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads every snapshot of the new repository again, with its root, and compares it with the old one.
fn verify(session: &Session, new: &Repository, all: &[Stored], report: &CopyReport) -> Result<()> {
    let listed = snapshots::list(&session.context, new)?;
    let listed: HashMap<SnapshotId, &Stored> = listed.iter().map(|stored| (stored.id, stored)).collect();
    let copies: HashMap<SnapshotId, SnapshotId> = report
        .snapshots
        .iter()
        .filter_map(|(source, outcome)| match outcome {
            CopyOutcome::Copied { id } | CopyOutcome::Present { id } => Some((*source, *id)),
            CopyOutcome::Incomplete { .. } => None,
        })
        .collect();
    let reader = new.reader(&session.context)?;
    for Stored { id, snapshot } in all {
        let copy = copies.get(id).and_then(|copy| listed.get(copy)).map(|stored| &stored.snapshot);
        let same = copy.is_some_and(|copy| {
            (copy.tree, copy.time, &copy.tags) == (snapshot.tree, snapshot.time, &snapshot.tags)
        });
        if !same {
            return Err(wrong(
                format!("snapshot {id} is not in the new repository as it was"),
                "Keep the old repository and run the same again.",
            ));
        }
        reader.tree(snapshot.tree)?;
    }
    Ok(())
}

fn epilogue(count: usize, location: &str) -> String {
    format!(
        "\nall {count} snapshots are in {location}, under a new master key\n\
         What is left for you to do:\n\
         1. `larder -r {location} check --read-data`, and let your backups go there.\n\
         2. Remove the old repository with all copies of it: whoever has its master key reads it for ever.\n\
         3. Change the passwords and keys of the storage, if they may be known too."
    )
}
