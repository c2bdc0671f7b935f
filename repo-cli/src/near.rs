//! The search index for commands: opened and brought up to date, or left alone where that cannot be.

use std::cell::OnceCell;

use anyhow::Result;
use repo_core::context::with_causes;
use repo_core::repository::{Reader, Repository};
use repo_core::search::{SearchError, SearchIndex};
use repo_core::snapshots::Stored;

use crate::session::Session;
use crate::ui::escape::visible_text;

/// What snapshots are searched with.
pub struct Near<'a> {
    session: &'a Session,
    repository: &'a Repository,
    reader: OnceCell<Reader>,
    /// The index, if there is one that can be used.
    pub index: Option<SearchIndex>,
    /// Whether it covers all snapshots that are searched.
    pub covers_all: bool,
}

impl<'a> Near<'a> {
    /// Opens the index and adds what is new in these snapshots. Whatever is wrong with it is told, and it is not used.
    pub fn open(session: &'a Session, repository: &'a Repository, snapshots: &[Stored]) -> Result<Self> {
        let mut near = Self { session, repository, reader: OnceCell::new(), index: None, covers_all: false };
        match near.prepare(snapshots) {
            Ok(()) => Ok(near),
            Err(error) => match error.downcast::<SearchError>() {
                Ok(SearchError::Cancelled(cancelled)) => Err(cancelled.into()),
                Ok(error) => {
                    near.give_up(&error);
                    Ok(near)
                }
                Err(error) => Err(error),
            },
        }
    }

    fn prepare(&mut self, snapshots: &[Stored]) -> Result<()> {
        let context = &self.session.context;
        let Some(index) = SearchIndex::open(context, self.repository)? else { return Ok(()) };
        let roots = || snapshots.iter().map(|stored| stored.snapshot.tree);
        let covers_all = |index: &SearchIndex| {
            roots().try_fold(true, |all, root| Ok::<_, SearchError>(all && index.covers(root)?))
        };
        if !covers_all(&index)? {
            index.update(context, self.reader()?, roots())?;
        }
        self.covers_all = covers_all(&index)?;
        self.index = Some(index);
        Ok(())
    }

    /// A reader of the repository; its index is loaded when it is first asked for.
    pub fn reader(&self) -> Result<&Reader> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let reader = self.repository.reader(&self.session.context)?;
        Ok(self.reader.get_or_init(|| reader))
    }

    /// Tells what is wrong with the index, and removes it: all of it is in the repository.
    pub fn give_up(&self, error: &SearchError) {
        self.session.screen.warn(visible_text(&format!("warning: {}; it is made anew", with_causes(error))));
        // It is replaced when it is next opened, if it cannot be removed now.
        let _ = SearchIndex::remove(self.repository);
    }
}
