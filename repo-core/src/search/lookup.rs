//! A state of the search index, and questions to it.
//!
//! In: names, numbers. Out: numbers, rows. What a directory lists is kept for the life of the view once it was asked for, 24
//! bytes per entry; of their records, 32 MiB.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use redb::{ReadOnlyMultimapTable, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use crate::format::Node;
use crate::id::{Id, TreeId};
use crate::search::record::{Bytes, Row};
use crate::search::store::{LISTED_IN, NAME_NUMBERS, NAMED_IN, NAMES, RECORDS, Store, TREE_NUMBERS, TREES};
use crate::search::{Rows, SearchError};
use crate::walk::{Child, Folders};

/// The index at one moment.
pub struct SearchView<'a> {
    store: &'a Store,
    tree_numbers: ReadOnlyTable<[u8; 16], u32>,
    trees: ReadOnlyTable<u32, &'static [u8]>,
    records: ReadOnlyTable<(u32, u32), &'static [u8]>,
    listed_in: ReadOnlyMultimapTable<u32, u32>,
    name_numbers: ReadOnlyTable<[u8; 16], u32>,
    names: ReadOnlyTable<u32, &'static [u8]>,
    named_in: ReadOnlyMultimapTable<u32, u32>,
    open: RefCell<HashMap<u32, Rc<Rows>>>,
    blocks: RefCell<Blocks>,
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
            records: read.open_table(RECORDS).map_err(table)?,
            listed_in: read.open_multimap_table(LISTED_IN).map_err(table)?,
            name_numbers: read.open_table(NAME_NUMBERS).map_err(table)?,
            names: read.open_table(NAMES).map_err(table)?,
            named_in: read.open_multimap_table(NAMED_IN).map_err(table)?,
            open: RefCell::default(),
            blocks: RefCell::default(),
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
        let rows = Rc::new(Rows::parse(number, &plain).map_err(|_| self.store.damaged())?);
        self.open.borrow_mut().insert(number, rows.clone());
        Ok(rows)
    }

    /// The entry of a row, as far as it is kept, and the name of its content.
    pub(crate) fn node(
        &self,
        rows: &Rows,
        row: &Row,
        name: &[u8],
    ) -> Result<(Node, Option<Id>), SearchError> {
        let wanted = (rows.number, row.block);
        let mut blocks = self.blocks.borrow_mut();
        let block = if let Some(block) = blocks.opened.get(&wanted) {
            block
        } else {
            let sealed = self.records.get(wanted).map_err(|error| self.store.failed(error))?;
            let sealed = sealed.ok_or_else(|| self.store.damaged())?;
            let mut plain = Vec::new();
            self.store.key().open(sealed.value(), &mut plain).map_err(|_| self.store.damaged())?;
            blocks.keep(wanted, plain)
        };
        row.node(block, name).map_err(|_| self.store.damaged())
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
    pub(crate) fn trees_above(&self, names: impl Iterator<Item = u32>) -> Result<NumberSet, SearchError> {
        let count = self.tree_numbers.len().map_err(|error| self.store.failed(error))?;
        let mut found = NumberSet::new(usize::try_from(count).unwrap_or(0));
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
        let (node, content) = self.node(&rows, row, name)?;
        Ok(Some(Child { node, content }))
    }

    fn names(&self, tree: TreeId, _at: &Path) -> Result<Vec<Vec<u8>>, SearchError> {
        let (rows, names) = (self.rows_of(tree)?, self.all_names()?);
        let name = |number: u32| names.get(number as usize).cloned().ok_or_else(|| self.store.damaged());
        rows.entries.iter().map(|row| name(row.name)).collect()
    }
}

/// Blocks that were opened: the next snapshot mostly has the same directories.
#[derive(Default)]
struct Blocks {
    opened: HashMap<(u32, u32), Vec<u8>>,
    bytes: usize,
}

impl Blocks {
    /// More bytes are never kept.
    const BYTES_MAX: usize = 32 << 20;

    /// Keeps a block; when there are too many, all others go.
    fn keep(&mut self, at: (u32, u32), plain: Vec<u8>) -> &Vec<u8> {
        if self.bytes + plain.len() > Self::BYTES_MAX {
            self.opened.clear();
            self.bytes = 0;
        }
        self.bytes += plain.len();
        self.opened.entry(at).or_insert(plain)
    }
}

/// Some of the numbers that there are: a byte for each.
#[derive(Debug)]
pub(crate) struct NumberSet(Vec<bool>);

impl NumberSet {
    /// None of the numbers below `count`.
    pub(crate) fn new(count: usize) -> Self {
        Self(vec![false; count])
    }

    /// Adds a number; `true` if it was not in. One that cannot be is never in.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        self.0.get_mut(number as usize).is_some_and(|is_in| !std::mem::replace(is_in, true))
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize).is_some_and(|is_in| *is_in)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.0).filter(|(_, is_in)| **is_in).map(|(number, _)| number)
    }
}
