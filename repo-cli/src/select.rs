//! From filter flags and ids to the snapshots meant.

use std::path::Path;

use anyhow::Result;
use repo_core::filter::clean;
use repo_core::repository::Repository;
use repo_core::snapshots::{self, Filter, SelectError, Stored, Wanted};

use crate::args::filter::SnapshotFilter;
use crate::args::values;
use crate::exit::wrong;
use crate::session::Session;

/// The filter that was typed, with `RESTIC_HOST` where no host was.
///
/// An empty `--host` takes the variable back. For a single snapshot paths are made absolute and cleaned; in
/// lists they must equal a stored path.
pub fn filter(session: &Session, typed: &SnapshotFilter, paths: Paths) -> Filter {
    let hosts = match &typed.hosts[..] {
        [] => session.settings.host.iter().cloned().collect(),
        hosts => hosts.iter().filter(|host| !host.is_empty()).cloned().collect(),
    };
    let path = |path: &std::ffi::OsString| match paths {
        Paths::AsTyped => path.to_string_lossy().into_owned(),
        Paths::Absolute => absolute(Path::new(path)),
    };
    Filter {
        hosts,
        tags: typed.tags.iter().map(|tags| values::tags(tags)).collect(),
        paths: typed.paths.iter().map(path).collect(),
    }
}

/// What to do with the paths of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// They must equal stored paths.
    AsTyped,
    /// They are made absolute first.
    Absolute,
}

fn absolute(path: &Path) -> String {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    String::from_utf8_lossy(&clean(full.as_os_str().as_encoded_bytes())).into_owned()
}

/// The one snapshot a user means.
pub fn one(session: &Session, repository: &Repository, id: &str, filter: &Filter) -> Result<Stored> {
    match snapshots::find(&session.context, repository, &wanted(id), filter) {
        Ok(stored) => Ok(stored),
        Err(error) => Err(explained(error)),
    }
}

/// The snapshots a user means: those named, or all that pass the filter. Oldest first, each once.
///
/// What names no snapshot is told and left out; [`Many::unknown`] counts it.
pub fn many(session: &Session, repository: &Repository, ids: &[String], filter: &Filter) -> Result<Many> {
    if ids.is_empty() {
        let mut found = snapshots::list(&session.context, repository)?;
        found.retain(|stored| filter.matches(&stored.snapshot));
        return Ok(Many { found, unknown: 0 });
    }
    if !filter.is_empty() && !ids.iter().any(|id| matches!(wanted(id), Wanted::Latest { .. })) {
        session.screen.warn("Ignoring \"filters\": explicit snapshot ids are given");
    }
    let mut many = Many::default();
    for id in ids {
        if id.contains(':') {
            session.screen.warn(format!("Ignoring {id:?}: <snapshot>:<folder> is not allowed here"));
            many.unknown += 1;
            continue;
        }
        match snapshots::find(&session.context, repository, &wanted(id), filter) {
            Ok(stored) if many.found.contains(&stored) => {}
            Ok(stored) => many.found.push(stored),
            Err(
                error @ (SelectError::NoMatch { .. }
                | SelectError::Ambiguous { .. }
                | SelectError::NoLatest { .. }),
            ) => {
                session.screen.warn(format!("Ignoring {id:?}: {}", explained(error)));
                many.unknown += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    many.found.sort_by_key(|stored| stored.snapshot.time.instant);
    Ok(many)
}

impl Many {
    /// Ends the run with code 1 if a word named no snapshot, unless it has to behave exactly as restic.
    pub fn verdict(&self, session: &Session) -> Result<()> {
        if self.unknown == 0 || session.settings.strict {
            return Ok(());
        }
        Err(wrong(
            format!("{} of the snapshot ids name no snapshot", self.unknown),
            "`larder snapshots` lists what is there. (LARDER_COMPATIBILITY=strict gives exit code 0 here.)",
        ))
    }
}

/// What [`many`] found.
#[derive(Debug, Default)]
pub struct Many {
    /// The snapshots, oldest first.
    pub found: Vec<Stored>,
    /// How many words named none.
    pub unknown: usize,
}

/// Reads one id; every text is one.
pub fn wanted(id: &str) -> Wanted {
    match id.parse() {
        Ok(wanted) => wanted,
        Err(never) => match never {},
    }
}

/// Restic's words for what went wrong, and what to do.
fn explained(error: SelectError) -> anyhow::Error {
    const LIST: &str = "`larder snapshots` lists what is there.";
    match error {
        SelectError::NoMatch { prefix } => wrong(format!("no matching ID found for prefix {prefix:?}"), LIST),
        SelectError::Ambiguous { prefix, .. } => wrong(
            format!("multiple IDs with prefix {prefix:?} found"),
            "Type more letters of the one you mean.",
        ),
        SelectError::NoLatest { .. } => wrong("no snapshot found", LIST),
        other => other.into(),
    }
}

/// Splits `ID:FOLDER`.
pub fn split(typed: &str) -> (&str, &str) {
    typed.split_once(':').unwrap_or((typed, ""))
}
