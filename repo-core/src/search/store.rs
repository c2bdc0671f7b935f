//! The tables: numbers of trees and names, rows of trees, and who lists what.
//!
//! ```text
//! tree_numbers   keyed hash of a tree's id → number         name_numbers   keyed hash of a name → number
//! trees          number → heads of its rows, sealed         names          number of the first → a block of names, sealed
//! records        number, block → records of rows, sealed
//! listed_in      number of a tree → trees that list it      named_in       number of a name → trees with such an entry
//! ```
//!
//! All below a root is added in one step or not at all, so a tree that has a number is whole.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Database, DatabaseError, Durability, MultimapTable, MultimapTableDefinition, ReadableDatabase,
    ReadableTable, ReadableTableMetadata, Table, TableDefinition,
};

use crate::context::{Context, Random};
use crate::crypto::Key;
use crate::format::Tree;
use crate::hash::Hasher;
use crate::id::TreeId;
use crate::repository::{Reader, Repository};
use crate::search::SearchError;
use crate::search::record::{self, RowsWriter};
use crate::walk::Ahead;

/// The layout of the tables. Another one is thrown away.
const VERSION: u64 = 2;

type Hash = [u8; 16];

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const TREE_NUMBERS: TableDefinition<'_, Hash, u32> = TableDefinition::new("tree_numbers");
pub(super) const TREES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("trees");
pub(super) const RECORDS: TableDefinition<'_, (u32, u32), &[u8]> = TableDefinition::new("records");
pub(super) const LISTED_IN: MultimapTableDefinition<'_, u32, u32> = MultimapTableDefinition::new("listed_in");
pub(super) const NAME_NUMBERS: TableDefinition<'_, Hash, u32> = TableDefinition::new("name_numbers");
pub(super) const NAMES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("names");
pub(super) const NAMED_IN: MultimapTableDefinition<'_, u32, u32> = MultimapTableDefinition::new("named_in");

/// The database, and what opens it.
pub(super) struct Store {
    path: PathBuf,
    pub(super) database: Database,
    repository: Repository,
    random: Arc<dyn Random>,
    /// Whoever does not have it learns nothing from a hash.
    secret: Hash,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// `None` if another process has it open.
    pub(super) fn open(
        path: &Path,
        repository: &Repository,
        random: Arc<dyn Random>,
    ) -> Result<Option<Self>, SearchError> {
        let database = match create(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) => return Ok(None),
            Ok(Some(database)) => database,
            // Damaged or of another version: all of it is in the repository.
            _ => {
                let failed = |source: Box<dyn std::error::Error + Send + Sync>| SearchError::Database {
                    path: path.to_owned(),
                    source,
                };
                std::fs::remove_file(path).map_err(|error| failed(error.into()))?;
                match create(path).map_err(|error| failed(error.into()))? {
                    Some(database) => database,
                    None => return Err(SearchError::Damaged { path: path.to_owned() }),
                }
            }
        };
        let mut secret = Hasher::new();
        secret.update(b"larder search index");
        secret.update(repository.key().encrypt());
        let secret = first_half(secret);
        Ok(Some(Self { path: path.to_owned(), database, repository: repository.clone(), random, secret }))
    }

    pub(super) fn key(&self) -> &Key {
        self.repository.key()
    }

    pub(super) fn failed(&self, source: impl Into<redb::Error>) -> SearchError {
        SearchError::Database { path: self.path.clone(), source: source.into().into() }
    }

    pub(super) fn damaged(&self) -> SearchError {
        SearchError::Damaged { path: self.path.clone() }
    }

    /// What stands for a tree or a name in the tables.
    pub(super) fn hash(&self, bytes: &[u8]) -> Hash {
        let mut hasher = Hasher::new();
        hasher.update(&self.secret);
        hasher.update(bytes);
        first_half(hasher)
    }

    pub(super) fn knows(&self, tree: TreeId) -> Result<bool, SearchError> {
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let numbers = read.open_table(TREE_NUMBERS).map_err(|error| self.failed(error))?;
        Ok(numbers.get(self.hash(tree.id().as_bytes())).map_err(|error| self.failed(error))?.is_some())
    }

    /// Makes durable what was added.
    pub(super) fn sync(&self) -> Result<(), SearchError> {
        let write = self.database.begin_write().map_err(|error| self.failed(error))?;
        write.commit().map_err(|error| self.failed(error))
    }

    /// Adds all below a root; `false` if something cannot be read, and then nothing was added.
    pub(super) fn add(&self, context: &Context, reader: &Reader, root: TreeId) -> Result<bool, SearchError> {
        let mut write = self.database.begin_write().map_err(|error| self.failed(error))?;
        // The last step of an update makes all of them durable.
        write.set_durability(Durability::None).map_err(|error| self.failed(error))?;
        let whole = {
            let mut adding = Adding::new(self, &write).map_err(|error| self.failed(error))?;
            let whole = adding.add(context, reader, root)?;
            if whole {
                adding.finish().map_err(|error| self.failed(error))?;
            }
            whole
        };
        if whole {
            write.commit().map_err(|error| self.failed(error))?;
        } else {
            write.abort().map_err(|error| self.failed(error))?;
        }
        Ok(whole)
    }

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.key().seal(self.random.as_ref(), plain, &mut sealed);
        sealed
    }
}

/// Opens a file and makes its tables; `None` if it has another version.
fn create(path: &Path) -> Result<Option<Database>, DatabaseError> {
    let database = Database::create(path)?;
    Ok(prepare(&database).unwrap_or(false).then_some(database))
}

fn prepare(database: &Database) -> Result<bool, redb::Error> {
    let write = database.begin_write()?;
    let is_ours = {
        let mut meta = write.open_table(META)?;
        let found = meta.get("version")?.map(|version| version.value());
        if found.is_none() {
            meta.insert("version", VERSION)?;
        }
        for table in [TREE_NUMBERS, NAME_NUMBERS] {
            write.open_table(table)?;
        }
        for table in [TREES, NAMES] {
            write.open_table(table)?;
        }
        write.open_table(RECORDS)?;
        for table in [LISTED_IN, NAMED_IN] {
            write.open_multimap_table(table)?;
        }
        found.is_none_or(|found| found == VERSION)
    };
    write.commit()?;
    Ok(is_ours)
}

fn first_half(hasher: Hasher) -> Hash {
    let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *hasher.finish().as_bytes();
    half
}

/// One step of adding.
struct Adding<'a> {
    store: &'a Store,
    tree_numbers: Table<'a, Hash, u32>,
    trees: Table<'a, u32, &'static [u8]>,
    records: Table<'a, (u32, u32), &'static [u8]>,
    listed_in: MultimapTable<'a, u32, u32>,
    name_numbers: Table<'a, Hash, u32>,
    names: Table<'a, u32, &'static [u8]>,
    named_in: MultimapTable<'a, u32, u32>,
    next_tree: u32,
    next_name: u32,
    /// Names that are new, as a block.
    first_new_name: u32,
    new_names: Vec<u8>,
    /// Numbers that were asked for.
    known: HashMap<Vec<u8>, u32>,
}

impl<'a> Adding<'a> {
    fn new(store: &'a Store, write: &'a redb::WriteTransaction) -> Result<Self, redb::Error> {
        let tree_numbers = write.open_table(TREE_NUMBERS)?;
        let name_numbers = write.open_table(NAME_NUMBERS)?;
        let count = |len: u64| u32::try_from(len).unwrap_or(u32::MAX);
        let (next_tree, next_name) = (count(tree_numbers.len()?), count(name_numbers.len()?));
        Ok(Self {
            store,
            trees: write.open_table(TREES)?,
            records: write.open_table(RECORDS)?,
            listed_in: write.open_multimap_table(LISTED_IN)?,
            names: write.open_table(NAMES)?,
            named_in: write.open_multimap_table(NAMED_IN)?,
            tree_numbers,
            name_numbers,
            next_tree,
            next_name,
            first_new_name: next_name,
            new_names: Vec::new(),
            known: HashMap::new(),
        })
    }

    fn add(&mut self, context: &Context, reader: &Reader, root: TreeId) -> Result<bool, SearchError> {
        let mut ahead = Ahead::new();
        let failed = |store: &Store, error: redb::Error| store.failed(error);
        let (number, _) = self.tree_number(root).map_err(|error| failed(self.store, error))?;
        let mut open = vec![(root, number)];
        while let Some((id, number)) = open.pop() {
            context.cancel.check()?;
            let Ok(tree) = reader.tree(id) else { return Ok(false) };
            if tree.nodes.iter().any(|node| node.is_dir() && node.subtree.is_none()) {
                return Ok(false);
            }
            ahead.expect(reader, tree.nodes.iter().filter_map(|node| node.subtree));
            self.put(id, number, &tree, &mut open).map_err(|error| failed(self.store, error))?;
        }
        Ok(true)
    }

    /// Adds a directory; those that it lists and that are new go to `open`.
    fn put(
        &mut self,
        id: TreeId,
        number: u32,
        tree: &Tree,
        open: &mut Vec<(TreeId, u32)>,
    ) -> Result<(), redb::Error> {
        let mut rows = RowsWriter::new(id);
        for node in &tree.nodes {
            let name = self.name_number(&node.name)?;
            self.named_in.insert(name, number)?;
            let child = match node.subtree.filter(|_| node.is_dir()) {
                Some(subtree) => {
                    let (child, is_new) = self.tree_number(subtree)?;
                    self.listed_in.insert(child, number)?;
                    if is_new {
                        open.push((subtree, child));
                    }
                    Some(child)
                }
                None => None,
            };
            rows.add(name, child, node);
        }
        self.trees.insert(number, self.store.seal(&rows.heads).as_slice())?;
        for (at, block) in (0..).zip(&rows.blocks) {
            self.records.insert((number, at), self.store.seal(block).as_slice())?;
        }
        Ok(())
    }

    /// The number of a tree, and whether it got it just now.
    fn tree_number(&mut self, tree: TreeId) -> Result<(u32, bool), redb::Error> {
        let hash = self.store.hash(tree.id().as_bytes());
        if let Some(number) = self.tree_numbers.get(hash)? {
            return Ok((number.value(), false));
        }
        let number = self.next_tree;
        self.next_tree = number.saturating_add(1);
        self.tree_numbers.insert(hash, number)?;
        Ok((number, true))
    }

    fn name_number(&mut self, name: &[u8]) -> Result<u32, redb::Error> {
        if let Some(number) = self.known.get(name) {
            return Ok(*number);
        }
        let hash = self.store.hash(name);
        let found = self.name_numbers.get(hash)?.map(|number| number.value());
        let number = found.unwrap_or(self.next_name);
        if found.is_none() {
            self.next_name = number.saturating_add(1);
            self.name_numbers.insert(hash, number)?;
            record::text(&mut self.new_names, name);
        }
        self.known.insert(name.to_vec(), number);
        Ok(number)
    }

    fn finish(mut self) -> Result<(), redb::Error> {
        if !self.new_names.is_empty() {
            let block = self.store.seal(&self.new_names);
            self.names.insert(self.first_new_name, block.as_slice())?;
        }
        Ok(())
    }
}
