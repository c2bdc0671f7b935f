//! A repository as folders, for the commands that show it: flags → a view of the core.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::format::json::Object;
use repo_core::repository::Repository;
use repo_core::view::{TEMPLATES, View, ViewError, ViewOptions};

use crate::args::view::Templates;
use crate::exit::wrong;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;

/// What was typed as options, without the owners.
pub fn options(session: &Session, typed: &Templates, time_template: &str) -> Result<ViewOptions> {
    if time_template.is_empty() {
        return Err(wrong("time template string cannot be empty", REMEDY));
    }
    if time_template.starts_with('/') || time_template.ends_with('/') {
        return Err(wrong("time template string cannot start or end with '/'", REMEDY));
    }
    let templates = match &typed.path_template[..] {
        [] => TEMPLATES.map(str::to_owned).to_vec(),
        templates => templates.to_vec(),
    };
    Ok(ViewOptions {
        templates,
        time_template: time_template.to_owned(),
        filter: select::filter(session, &typed.filter, Paths::AsTyped),
        ..ViewOptions::default()
    })
}

const REMEDY: &str = "Write the moment Mon Jan 2 15:04:05 2006 as it should look, such as 2006-01-02_15-04.";

/// The view of a repository.
pub fn view(session: &Session, repository: &Repository, options: ViewOptions) -> Result<Arc<View>> {
    Ok(Arc::new(View::new(&session.context, repository, options)?))
}

/// Says where it is served now and how to end that; a program is told with a message of that type.
pub fn greet(session: &Session, message_type: &str, place: &str, hints: &[&str]) {
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", message_type).string("place", place);
        object.end();
        session.screen.line(String::from_utf8_lossy(&line));
    } else {
        session.screen.line(format!("Now serving the repository at {place}"));
    }
    for hint in hints {
        session.screen.say(Level::Normal, hint);
    }
    session.screen.flush();
}

/// Tells what could not be shown, unless it is simply not there.
pub fn tell(session: &Session, error: &ViewError) {
    if !matches!(error, ViewError::NotFound { .. } | ViewError::NotADirectory { .. }) {
        session.screen.warn(format!("error: {}", visible_text(&with_causes(error))));
    }
}

/// A path without links, as far as it exists.
pub fn real(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}
