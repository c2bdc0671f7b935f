//! A state of the search index, and questions to it.
//!
//! In: names, numbers. Out: numbers, rows. Rows that were opened are kept for the life of the view.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use redb::{ReadOnlyMultimapTable, ReadOnlyTable, ReadableDatabase, ReadableTable};

use crate::format::Node;
use crate::id::TreeId;
use crate::search::record::Bytes;
use crate::search::store::{LISTED_IN, NAME_NUMBERS, NAMED_IN, NAMES, Store, TREE_NUMBERS, TREES};
use crate::search::{Rows, SearchError};
use crate::walk::{Child, Folders};

/// The index at one moment.
pub struct SearchView<'a> {
    store: &'a Store,
    tree_numbers: ReadOnlyTable<[u8; 16], u32>,
    trees: ReadOnlyTable<u32, &'static [u8]>,
    listed_in: ReadOnlyMultimapTable<u32, u32>,
    name_numbers: ReadOnlyTable<[u8; 16], u32>,
    names: ReadOnlyTable<u32, &'static [u8]>,
    named_in: ReadOnlyMultimapTable<u32, u32>,
    open: RefCell<HashMap<u32, Rc<Rows>>>,
    texts: RefCell<Option<Rc<Vec<Vec<u8>>>>>,
}

impl fmt::Debug for SearchView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchView").field("store", self.store).finish_non_exhaustive()
    }
}

impl<'a> SearchView<'a> {
    pub(super) fn new(store: &'a Store) -> Result<Self, SearchError> {
        let read = store.database.begin_read().map_err(|error| store.failed(error))?;
        let table = |error| store.failed(error);
        Ok(Self {
            store,
            tree_numbers: read.open_table(TREE_NUMBERS).map_err(table)?,
            trees: read.open_table(TREES).map_err(table)?,
            listed_in: read.open_multimap_table(LISTED_IN).map_err(table)?,
            name_numbers: read.open_table(NAME_NUMBERS).map_err(table)?,
            names: read.open_table(NAMES).map_err(table)?,
            named_in: read.open_multimap_table(NAMED_IN).map_err(table)?,
            open: RefCell::default(),
            texts: RefCell::default(),
        })
    }

    /// The number of a tree; `None` if it is not in.
    pub(crate) fn number(&self, tree: TreeId) -> Result<Option<u32>, SearchError> {
        let found = self.tree_numbers.get(self.store.hash(tree.id().as_bytes()));
        Ok(found.map_err(|error| self.store.failed(error))?.map(|number| number.value()))
    }

    /// The rows of a tree.
    pub(crate) fn rows(&self, number: u32) -> Result<Rc<Rows>, SearchError> {
        if let Some(rows) = self.open.borrow().get(&number) {
            return Ok(rows.clone());
        }
        let sealed = self.trees.get(number).map_err(|error| self.store.failed(error))?;
        let sealed = sealed.ok_or_else(|| self.store.damaged())?;
        let mut plain = Vec::new();
        self.store.key().open(sealed.value(), &mut plain).map_err(|_| self.store.damaged())?;
        let rows = Rc::new(Rows::parse(plain).map_err(|_| self.store.damaged())?);
        self.open.borrow_mut().insert(number, rows.clone());
        Ok(rows)
    }

    /// The entry of a row.
    pub(crate) fn node(
        &self,
        rows: &Rows,
        row: &super::record::Row,
        name: &[u8],
    ) -> Result<Node, SearchError> {
        rows.node(row, name).map(|(node, _)| node).map_err(|_| self.store.damaged())
    }

    /// All names, by number.
    pub(crate) fn all_names(&self) -> Result<Rc<Vec<Vec<u8>>>, SearchError> {
        if let Some(texts) = self.texts.borrow().as_ref() {
            return Ok(texts.clone());
        }
        let mut names = Vec::new();
        let mut plain = Vec::new();
        for block in self.names.iter().map_err(|error| self.store.failed(error))? {
            let (_, block) = block.map_err(|error| self.store.failed(error))?;
            self.store.key().open(block.value(), &mut plain).map_err(|_| self.store.damaged())?;
            let mut bytes = Bytes { left: &plain };
            while !bytes.left.is_empty() {
                names.push(bytes.text().map_err(|_| self.store.damaged())?.to_vec());
            }
        }
        let names = Rc::new(names);
        *self.texts.borrow_mut() = Some(names.clone());
        Ok(names)
    }

    /// The trees that have an entry of one of these names, and all above them.
    pub(crate) fn trees_above(&self, names: impl Iterator<Item = u32>) -> Result<HashSet<u32>, SearchError> {
        let mut found = HashSet::new();
        let mut open: Vec<u32> = Vec::new();
        for name in names {
            for tree in self.named_in.get(name).map_err(|error| self.store.failed(error))? {
                let tree = tree.map_err(|error| self.store.failed(error))?.value();
                if found.insert(tree) {
                    open.push(tree);
                }
            }
        }
        while let Some(tree) = open.pop() {
            for above in self.listed_in.get(tree).map_err(|error| self.store.failed(error))? {
                let above = above.map_err(|error| self.store.failed(error))?.value();
                if found.insert(above) {
                    open.push(above);
                }
            }
        }
        Ok(found)
    }

    fn rows_of(&self, tree: TreeId) -> Result<Rc<Rows>, SearchError> {
        self.rows(self.number(tree)?.ok_or_else(|| self.store.damaged())?)
    }

    pub(crate) fn damaged(&self) -> SearchError {
        self.store.damaged()
    }
}

impl Folders for SearchView<'_> {
    type Error = SearchError;

    fn child(&self, tree: TreeId, name: &[u8], _at: &Path) -> Result<Option<Child>, SearchError> {
        let hash = self.store.hash(name);
        let number = self.name_numbers.get(hash).map_err(|error| self.store.failed(error))?;
        let Some(number) = number.map(|number| number.value()) else { return Ok(None) };
        let rows = self.rows_of(tree)?;
        let Some(row) = rows.entries.iter().find(|row| row.name == number) else { return Ok(None) };
        let (node, content) = rows.node(row, name).map_err(|_| self.store.damaged())?;
        Ok(Some(Child { node, content }))
    }

    fn names(&self, tree: TreeId, _at: &Path) -> Result<Vec<Vec<u8>>, SearchError> {
        let (rows, names) = (self.rows_of(tree)?, self.all_names()?);
        let name = |number: u32| names.get(number as usize).cloned().ok_or_else(|| self.store.damaged());
        rows.entries.iter().map(|row| name(row.name)).collect()
    }
}
