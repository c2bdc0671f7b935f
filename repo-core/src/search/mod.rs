//! The search index: which directories have an entry of what name, kept near, so that nothing has to be read to find it.
//!
//! In: trees of a repository. Out: their entries by directory, and the directories by name and by what lists them. A
//! directory is named by its content, so what was added never changes; a new snapshot adds what is new in it. It lies in
//! the repository's cache and can be made anew from the repository at any time. What it says is sealed with the master
//! key, names of names and trees are keyed hashes, so it tells others no more than the rest of the cache does. One process
//! has it at a time; others do without. Memory: the names, while patterns are looked for.

mod record; // a directory ⇄ rows
mod store; // the tables of the database
mod lookup; // a state of the index, and questions to it

use std::path::PathBuf;

use crate::context::{Cancelled, Context};
use crate::id::TreeId;
use crate::repository::{Reader, Repository};
use crate::search::store::Store;

pub(crate) use lookup::NumberSet;
pub use lookup::SearchView;
pub(crate) use record::Rows;

/// The file in the repository's cache.
const FILE: &str = "search.redb";

/// Why the index is of no use. Everything can be found without it, more slowly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The file cannot be read or written, or is none.
    #[error("cannot use the search index {}", path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What it says does not fit together.
    #[error("the search index {} is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The search index of a repository.
#[derive(Debug)]
pub struct SearchIndex {
    store: Store,
}

impl SearchIndex {
    /// Opens the index, making it if it is missing. `None` if the repository has no cache, or another process is at it.
    ///
    /// One of another version, or damaged so far that it does not open, is replaced by an empty one.
    pub fn open(context: &Context, repository: &Repository) -> Result<Option<Self>, SearchError> {
        let Some(cache) = repository.cache() else { return Ok(None) };
        let path = cache.path().join(FILE);
        let store = Store::open(&path, repository, context.random.clone());
        Ok(store?.map(|store| Self { store }))
    }

    /// Removes the index of a repository; it is made anew when it is next wanted.
    pub fn remove(repository: &Repository) -> std::io::Result<()> {
        let Some(cache) = repository.cache() else { return Ok(()) };
        match std::fs::remove_file(cache.path().join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether all below a root is in.
    pub fn covers(&self, root: TreeId) -> Result<bool, SearchError> {
        self.store.knows(root)
    }

    /// Adds all below some roots, as far as it is not in. A root below which something cannot be read is not added.
    pub fn update(
        &self,
        context: &Context,
        reader: &Reader,
        roots: impl IntoIterator<Item = TreeId>,
    ) -> Result<(), SearchError> {
        for root in roots {
            context.cancel.check()?;
            if !self.store.knows(root)? {
                self.store.add(context, reader, root)?;
            }
        }
        self.store.sync()
    }

    /// The index as it is now.
    pub fn view(&self) -> Result<SearchView<'_>, SearchError> {
        SearchView::new(&self.store)
    }
}
