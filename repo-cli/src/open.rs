//! From a location and a password to an open, locked repository.
//!
//! In: settings. Out: what the core works on. A person gets three tries to type the password; whether there
//! is a repository at all is found out before anybody is asked.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use backends::Location;
use repo_core::backend::Backend;
use repo_core::repository::{LockGuard, LockKind, LockOptions, OpenError, OpenOptions, Password, Repository};

use crate::config::{Access, Side};
use crate::exit::wrong;
use crate::password::{Keyboard, Origin, TRIES};
use crate::session::Session;
use crate::ui::screen::Level;

impl Session {
    /// The storage that was named.
    pub fn backend(&self, access: &Access) -> Result<Arc<dyn Backend>> {
        let location = Self::location(access)?;
        let options = match access.side {
            Side::Main => &self.settings.storage,
            Side::From => &self.settings.from_storage,
        };
        let storage = backends::open(&self.context, &location, options)?;
        self.with_hot(access, storage)
    }

    /// The location that was named.
    pub fn location(access: &Access) -> Result<Location> {
        Self::parsed(&access.location()?)
    }

    /// A location as it was typed.
    pub fn parsed(typed: &str) -> Result<Location> {
        typed.parse::<Location>().map_err(|error| wrong(error.to_string(), error.advice()))
    }

    /// Opens the repository that was named.
    pub fn open(&self) -> Result<Repository> {
        self.open_with(&self.settings.repository, &self.keyboard(false))
    }

    /// Opens a repository, asking for its password if need be.
    pub fn open_with(&self, access: &Access, keyboard: &Keyboard) -> Result<Repository> {
        self.settings.pack_size()?;
        let cache = self.cache_base(&Self::location(access)?);
        self.open_keeping(access, keyboard, cache)
    }

    /// Opens a repository whose metadata is kept below `cache`.
    pub fn open_keeping(
        &self,
        access: &Access,
        keyboard: &Keyboard,
        cache: Option<PathBuf>,
    ) -> Result<Repository> {
        let options = OpenOptions { key_hint: access.key_hint.clone(), cache };
        let found = Repository::find(self.backend(access)?, &options)?;
        for tries_left in (0..TRIES).rev() {
            let (password, origin) = access.password.existing("enter password for repository: ", keyboard)?;
            let password = Password::new(password.as_bytes());
            match found.open(&self.context, &password) {
                Err(OpenError::WrongPassword) if origin == Origin::Typed && tries_left > 0 => {
                    self.screen.warn("wrong password, try again");
                }
                Ok(repository) => {
                    self.tell_opened(&repository);
                    return Ok(repository);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(OpenError::WrongPassword.into())
    }

    /// Where a person may type.
    pub fn keyboard(&self, stdin_taken: bool) -> Keyboard {
        Keyboard { cancel: self.context.cancel.clone(), stdin_taken }
    }

    /// Opens the repository and takes a lock unless `--no-lock` was given.
    pub fn open_locked(&self, kind: LockKind) -> Result<(Repository, LockGuard)> {
        let repository = self.open()?;
        let guard = self.lock(&repository, kind)?;
        Ok((repository, guard))
    }

    /// Takes a lock unless `--no-lock` was given.
    pub fn lock(&self, repository: &Repository, kind: LockKind) -> Result<LockGuard> {
        match self.lock_options() {
            Some(options) => Ok(repository.lock(&self.context, kind, &options)?),
            None => Ok(LockGuard::none()),
        }
    }

    /// How to lock; `None` means not at all.
    pub fn lock_options(&self) -> Option<LockOptions> {
        let lock = self.settings.lock;
        (!lock.none).then(|| LockOptions { wait: lock.retry, ..LockOptions::default() })
    }

    fn tell_opened(&self, repository: &Repository) {
        if let Some(cache) = repository.cache() {
            self.greet_cache(cache);
        }
        if self.screen.redraws {
            let config = repository.config();
            let mut line = format!("repository {} opened (version {}", config.id.short(), config.version);
            if config.compresses() {
                line += &format!(", compression level {}", self.settings.compression);
            }
            self.screen.say(Level::Normal, line + ")");
        }
    }
}

/// Reads a whole file that the user named.
pub fn read_file(path: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
