//! Cold storage: the hot half before it, and how packs are thawed.
//!
//! In: flags and variables. Out: backends around the storage that was named, and how the core waits for packs.

use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use backends::Location;
use repo_core::backend::{Backend, TieredBackend, WarmUp, WarmUpBackend, layout};
use repo_core::id::PackId;
use repo_core::repository::{Needed, ThawOptions};

use crate::args::Global;
use crate::config::Access;
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::screen::Level;

/// How packs of a cold storage are thawed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    access: bool,
    /// Program and arguments.
    command: Option<Vec<String>>,
    wait: Duration,
}

impl Settings {
    /// What was typed.
    pub fn new(typed: &Global) -> Result<Self> {
        let command = typed.warm_up_command.as_ref().map(|line| words(line)).transpose()?;
        if typed.warm_up && command.is_some() {
            return Err(wrong(
                "--warm-up and --warm-up-command cannot be used together",
                "A command thaws packs by itself; leave out --warm-up.",
            ));
        }
        Ok(Self { access: typed.warm_up, command, wait: typed.warm_up_wait.unwrap_or_default() })
    }
}

fn words(line: &str) -> Result<Vec<String>> {
    let remedy = "Write a program and its arguments, with %id or %path where the pack is to be named.";
    let words = shell_words::split(line)
        .map_err(|_| wrong(format!("--warm-up-command {line:?}: a quote is not closed"), remedy))?;
    if !words.iter().any(|word| word.contains("%id") || word.contains("%path")) {
        return Err(wrong(format!("--warm-up-command {line:?} names no pack"), remedy));
    }
    Ok(words)
}

impl Session {
    /// The storage with what belongs around a cold one: its own way to thaw, and the hot one before it.
    pub fn with_hot(&self, access: &Access, storage: Arc<dyn Backend>) -> Result<Arc<dyn Backend>> {
        let Settings { access: by_access, command, wait } = self.settings.cold.clone();
        let how = match command {
            Some(words) => Some(WarmUp::Ask(Arc::new(move |pack| ask(&words, pack)))),
            None => by_access.then_some(WarmUp::Access),
        };
        let cold = match how {
            Some(how) => Arc::new(WarmUpBackend::new(storage, &self.context, how, wait)) as Arc<dyn Backend>,
            None => storage,
        };
        if access.hot.is_none() { Ok(cold) } else { Ok(self.tiered(access, cold)?) }
    }

    /// The hot storage that was named before a cold one.
    pub fn tiered(&self, access: &Access, cold: Arc<dyn Backend>) -> Result<Arc<TieredBackend>> {
        let location = Self::parsed(access.hot.as_deref().unwrap_or_default())?;
        let hot = backends::open(&self.context, &location, &self.settings.storage)?;
        Ok(Arc::new(TieredBackend::new(hot, cold)))
    }

    /// How to wait for cold packs; `None` if nothing says that there are any.
    pub fn thaw(&self) -> Result<Option<ThawOptions>> {
        let (Settings { access, command, .. }, storage) = (&self.settings.cold, &self.settings.storage);
        // What is set for S3 says nothing of other storage.
        let is_s3 = matches!(Self::location(&self.settings.repository)?, Location::S3(_));
        let by_storage = is_s3 && storage.thaws()?;
        let is_cold = by_storage || *access || command.is_some() || self.settings.repository.hot.is_some();
        let wait_max = if by_storage { Some(storage.thaw_timeout()?) } else { None };
        Ok(is_cold.then(|| ThawOptions { wait_max, ..ThawOptions::default() }))
    }

    /// Says what a dry run would thaw.
    pub fn tell_needed(&self, needed: &Needed) {
        let (count, size) = (needed.packs.len(), bytes(needed.bytes));
        self.screen.say(Level::Normal, format!("would warm up {count} packs with {size}"));
        for pack in &needed.packs {
            self.screen.say(Level::Verbose, pack.to_string());
        }
    }
}

/// Runs the user's command for one pack. No shell is involved.
fn ask(words: &[String], pack: PackId) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (id, path) = (pack.to_string(), layout::path(pack.into()));
    let mut words = words.iter().map(|word| word.replace("%id", &id).replace("%path", &path));
    let program = words.next().ok_or("the command is empty")?;
    // Standard output belongs to the result of this program.
    let mut command = Command::new(&program);
    let status = command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} failed: {status}").into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_must_name_the_pack() {
        let check = |line: &str, good: bool| assert_eq!(words(line).is_ok(), good, "{line}");
        check("thaw %id", true);
        check("aws s3api restore-object --key 'repo/%path'", true);
        check("thaw", false);
        check("thaw '%id", false);
        check("", false);
    }

    #[test]
    fn the_command_is_run_for_the_pack() {
        let pack = PackId(repo_core::id::Id::new([0xab; 32]));
        let words = |script: &str| ["sh", "-c", script, "sh", "%id", "%path"].map(str::to_owned);
        let name = "ab".repeat(32);
        ask(&words(&format!("test $1 = {name} && test $2 = data/ab/{name}")), pack).unwrap();
        let error = ask(&words("exit 3"), pack).unwrap_err();
        assert!(error.to_string().starts_with("sh failed: "), "{error}");
        ask(&["/does/not/exist".to_owned()], pack).unwrap_err();
    }
}
