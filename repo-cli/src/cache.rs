//! The local cache: where it lies, for which repositories, and what is done to it beside using it.
//!
//! In: flags and variables. Out: the folder below which the core keeps metadata, or none. Why folders have none
//! unless one is asked for, and why ours lies beside restic's: docs/decisions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use backends::Location;
use repo_core::backend::{CacheBackend, CacheFolder};
use repo_core::time::Timestamp;

use crate::args::Global;
use crate::config::Environment;
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::screen::Level;

/// After so long without use a cache is old.
const OLD: Duration = Duration::from_hours(24 * 30);

/// Whether metadata is kept on this machine, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Not at all.
    pub none: bool,
    /// Old caches are removed.
    pub cleanup: bool,
    base: Option<PathBuf>,
    /// Whether the user named the folder.
    named: bool,
}

impl Settings {
    /// What was typed, else the variables, else the system's folder for caches.
    pub fn new(typed: &Global, environment: &Environment) -> Self {
        let named = typed.cache_dir.clone().filter(|dir| !dir.is_empty());
        let named = named.or_else(|| environment.get("CACHE_DIR")).map(PathBuf::from);
        Self {
            none: typed.no_cache,
            cleanup: typed.cleanup_cache,
            named: named.is_some(),
            base: named.or_else(|| default_folder(environment)),
        }
    }

    /// The folder of all caches.
    pub fn folder(&self) -> Result<&Path> {
        let folder = self.base.as_deref();
        folder.ok_or_else(|| {
            wrong(
                "unable to locate cache directory: neither XDG_CACHE_HOME nor HOME are defined",
                "Name a folder with --cache-dir.",
            )
        })
    }

    /// Whether the metadata of a repository there is kept: one that lies on this machine needs no second copy,
    /// unless a folder was named for it.
    fn is_for(&self, location: &Location) -> bool {
        !self.none && (self.named || !matches!(location, Location::Local(_) | Location::Memory { .. }))
    }
}

fn default_folder(environment: &Environment) -> Option<PathBuf> {
    let set = |name: &str| environment.raw(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = if cfg!(target_os = "macos") {
        set("HOME").map(|home| home.join("Library/Caches"))
    } else {
        set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))
    };
    caches.map(|caches| caches.join("larder"))
}

impl Session {
    /// The folder below which the metadata of a repository is kept.
    pub fn cache_base(&self, location: &Location) -> Option<PathBuf> {
        let settings = &self.settings.cache;
        if !settings.is_for(location) {
            return None;
        }
        if settings.base.is_none() {
            self.screen.warn("unable to open cache: neither XDG_CACHE_HOME nor HOME are defined");
        }
        settings.base.clone()
    }

    /// Says what is to be said of a cache that was opened, and removes old ones if that is wanted.
    pub fn greet_cache(&self, cache: &CacheBackend) {
        let Some(base) = cache.path().parent() else { return };
        if cache.is_new() && self.screen.redraws {
            self.screen.say(Level::Normal, format!("created new cache in {}", base.display()));
        }
        let old = match old(base, OLD, self.context.clock.now()) {
            Ok(old) => old,
            Err(error) => {
                return self.screen.warn(format!("unable to find old cache directories: {error}"));
            }
        };
        let text = match (old.len(), self.settings.cache.cleanup) {
            (0, _) => return,
            (count, true) => format!("removing {count} old cache dirs from {}", base.display()),
            (count, false) => format!(
                "found {count} old cache directories in {}, run `larder cache --cleanup` to remove them",
                base.display()
            ),
        };
        if self.screen.redraws {
            self.screen.say(Level::Normal, text);
        }
        if self.settings.cache.cleanup {
            remove(self, &old);
        }
    }
}

/// The caches that were not used for so long.
pub fn old(base: &Path, age: Duration, now: Timestamp) -> std::io::Result<Vec<CacheFolder>> {
    let mut all = CacheFolder::all(base)?;
    all.retain(|cache| cache.is_older_than(age, now));
    Ok(all)
}

/// Removes caches; one that stays is told.
pub fn remove(session: &Session, caches: &[CacheFolder]) {
    for cache in caches {
        if let Err(error) = cache.remove() {
            session.screen.warn(format!("unable to remove {}: {error}", cache.path.display()));
        }
    }
}

/// A cache for one run, so that nothing is believed because it was right once.
pub struct Temporary<'a> {
    session: &'a Session,
    folder: CacheFolder,
}

impl<'a> Temporary<'a> {
    /// Makes one where the lasting cache would lie; none if there would be none, or if it cannot be made.
    pub fn make(session: &'a Session, location: &Location) -> Option<Self> {
        let base = session.cache_base(location)?;
        let number = session.context.random.number();
        match CacheFolder::temporary(&base, number) {
            Ok(folder) => {
                let path = folder.path.display();
                session.screen.say(Level::Normal, format!("using temporary cache in {path}"));
                Some(Self { session, folder })
            }
            Err(error) => {
                session.screen.warn(format!(
                    "unable to create temporary directory for cache during check, disabling cache: {error}"
                ));
                None
            }
        }
    }

    /// The folder below which metadata is kept.
    pub fn base(&self) -> &Path {
        &self.folder.path
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.folder.remove() {
            self.session.screen.warn(format!("error removing temporary cache directory: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;

    use super::*;
    use crate::args::Typed;

    #[test]
    fn a_named_folder_goes_before_the_system_s_and_serves_folders_too() {
        let check = |line: &str, variables: &[(&str, &str)], location: &str, expected: Option<&str>| {
            let words = std::iter::once("larder").chain(line.split_whitespace());
            let typed = Typed::try_parse_from(words).expect("a valid line");
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
            let settings = Settings::new(&typed.global, &variables.collect());
            let found = settings.base.as_deref().filter(|_| settings.is_for(&location.parse().unwrap()));
            assert_eq!(found, expected.map(Path::new), "{line} {location}");
        };
        let home = [("HOME", "/h")];
        let default = if cfg!(target_os = "macos") { "/h/Library/Caches/larder" } else { "/h/.cache/larder" };
        check("", &home, "rest:http://host/", Some(default));
        check("", &home, "/srv/repo", None);
        check("", &home, "memory:", None);
        check("--cache-dir /c", &home, "/srv/repo", Some("/c"));
        check("--cache-dir=", &home, "/srv/repo", None);
        check("--no-cache --cache-dir /c", &home, "rest:http://host/", None);
        check("", &[home[0], ("RESTIC_CACHE_DIR", "/r")], "/srv/repo", Some("/r"));
        check("", &[("LARDER_CACHE_DIR", "/l"), ("RESTIC_CACHE_DIR", "/r")], "s3:host/bucket", Some("/l"));
        check("", &[], "rest:http://host/", None);
        if !cfg!(target_os = "macos") {
            check("", &[home[0], ("XDG_CACHE_HOME", "/x")], "rest:http://host/", Some("/x/larder"));
        }
    }
}
