//! `quickstart`: repository, password, backup, check and the next steps, in one command.
//!
//! It puts the other commands together and adds nothing to what they do.

mod place;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use repo_core::id::FileId;

use self::place::Place;
use crate::args::quickstart::Quickstart;
use crate::args::{Command, Global, Typed};
use crate::config::Access;
use crate::exit::{Code, Told, wrong};
use crate::session::Session;
use crate::ui::escape::visible;
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Quickstart, typed: &Global) -> Result<()> {
    if typed.repo.is_some() || typed.repository_file.is_some() {
        return Err(wrong(
            "quickstart chooses the repository itself",
            "For one of your own: `larder init`, then `larder backup`.",
        ));
    }
    let path = source(args)?;
    let place = Place::choose(args.data_dir.as_deref().map(Path::new))?;
    let session = session.on(Access::local(&place.repository, &place.password_file));
    prepare(&session, &place)?;
    say(&session, &format!("\nBacking up {}", shown(&path)));
    let saved = back_up(&session, &place, &path)?;
    say(&session, "\nVerifying the repository");
    step(&session, &["check"])?;
    say(&session, "");
    step(&session, &["snapshots", "latest"])?;
    for line in place.next_steps(&session.environment) {
        say(&session, &line);
    }
    saved
}

fn say(session: &Session, line: &str) {
    session.screen.say(Level::Normal, line);
}

fn shown(path: &Path) -> String {
    visible(path.as_os_str().as_encoded_bytes())
}

/// What to back up: what was named, else the user's home.
fn source(args: &Quickstart) -> Result<PathBuf> {
    let path = match &args.path {
        Some(path) => PathBuf::from(path),
        None => etcetera::home_dir().context("cannot find out where your home folder is")?,
    };
    if path.symlink_metadata().is_err() {
        return Err(wrong(format!("{} does not exist", shown(&path)), "Name a file or folder that does."));
    }
    std::path::absolute(&path).with_context(|| format!("cannot find out where {} is", shown(&path)))
}

/// Makes the password and the repository, as far as they are missing.
fn prepare(session: &Session, place: &Place) -> Result<()> {
    let backend = session.backend(&session.settings.repository)?;
    let exists = match backend.size(FileId::CONFIG) {
        Ok(_) => true,
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(error.into()),
    };
    let made = if exists { "" } else { " (new)" };
    if exists && !place.password_file.exists() {
        return Err(wrong(
            format!("the password file {} is missing", shown(&place.password_file)),
            "Put the password back into it; you were asked to keep a copy elsewhere.",
        ));
    }
    if !place.password_file.exists() {
        place.make_password(session.context.random.as_ref())?;
    }
    if !exists {
        step(session, &["init", "--quiet"])?;
    }
    say(session, &format!("Repository  {}{made}", shown(&place.repository)));
    say(session, &format!("Password    {}{made}, readable by you alone", shown(&place.password_file)));
    say(session, "\nKeep a copy of the password somewhere else too: without it nobody can restore anything.");
    say(session, "And keep a copy of the repository on another disk, for the day this one breaks.");
    Ok(())
}

/// Makes the backup. What could not be read is no reason to stop, but is not forgotten either.
fn back_up(session: &Session, place: &Place, path: &Path) -> Result<Result<()>> {
    let own = place.pattern_if_below(path);
    let mut words = vec!["backup".into()];
    words.extend(own.into_iter().flat_map(|pattern| ["--exclude".into(), pattern]));
    words.extend(["--".into(), path.as_os_str().to_owned()]);
    match step(session, &words) {
        Err(error) if error.downcast_ref::<Told>().is_some_and(|told| told.code == Code::Partial) => {
            Ok(Err(error))
        }
        other => other.map(Ok),
    }
}

/// Runs one of the other commands.
fn step<S: AsRef<std::ffi::OsStr>>(session: &Session, words: &[S]) -> Result<()> {
    let line = std::iter::once("larder".as_ref()).chain(words.iter().map(AsRef::as_ref));
    let typed = Typed::try_parse_from(line).context("the steps of quickstart are valid commands")?;
    let quiet = typed.global.quiet;
    match typed.command {
        Some(Command::Init(args)) if quiet => super::init::make(session, &args).map(drop),
        Some(command) => super::run_command(session, command, &typed.global),
        None => Ok(()),
    }
}
