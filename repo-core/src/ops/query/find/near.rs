//! Find from the search index: the same finds in the same order, and no tree is read.
//!
//! A path matches only where its last name, or that of a directory above it, is one that a pattern may end in. So the
//! directories with such names are looked up, and all above them; what is outside of these is not looked at.

use std::path::PathBuf;
use std::rc::Rc;

use crate::context::Context;
use crate::ops::query::find::{FoundEntry, Names};
use crate::search::{NumberSet, Rows, SearchError, SearchView};
use crate::snapshots::Stored;
use crate::walk::{Entry, child_path};

/// A search by name in snapshots that the index covers.
#[derive(Debug)]
pub struct NearSearch<'a> {
    view: &'a SearchView<'a>,
    names: &'a Names,
    texts: Rc<Vec<Vec<u8>>>,
    /// Names that a pattern may end in.
    wanted: NumberSet,
    /// Trees with such names, and all above them.
    fruitful: NumberSet,
}

/// A directory that is looked at.
struct Level {
    path: PathBuf,
    rows: Rc<Rows>,
    next: usize,
    /// It lies in a find, so all of it is one.
    whole: bool,
}

impl<'a> NearSearch<'a> {
    /// Looks up where something may be.
    pub fn new(view: &'a SearchView<'a>, names: &'a Names) -> Result<Self, SearchError> {
        let texts = view.all_names()?;
        let is_wanted = |name: &[u8]| names.patterns.iter().any(|list| list.may_end_in(name));
        let mut wanted = NumberSet::new(texts.len());
        for (number, _) in (0..).zip(texts.iter()).filter(|(_, text)| is_wanted(text)) {
            wanted.insert(number);
        }
        let fruitful = view.trees_above(wanted.iter())?;
        Ok(Self { view, names, texts, wanted, fruitful })
    }

    /// All finds in a snapshot; `None` if the index does not cover it.
    pub fn in_snapshot<'s>(
        &self,
        context: &Context,
        snapshot: &'s Stored,
    ) -> Result<Option<Vec<FoundEntry<'s>>>, SearchError> {
        let Some(root) = self.view.number(snapshot.snapshot.tree)? else { return Ok(None) };
        let mut found = Vec::new();
        if !self.fruitful.contains(root) {
            return Ok(Some(found));
        }
        let mut levels = vec![self.enter(PathBuf::from("/"), root, false)?];
        while let Some(level) = levels.last_mut() {
            context.cancel.check()?;
            let Some(row) = level.rows.entries.get(level.next) else {
                levels.pop();
                continue;
            };
            level.next += 1;
            let leads_on = row.child.is_some_and(|child| self.fruitful.contains(child));
            if !level.whole && !leads_on && !self.wanted.contains(row.name) {
                continue;
            }
            let text = self.texts.get(row.name as usize).ok_or_else(|| self.view.damaged())?;
            let path = child_path(&level.path, text);
            let matched = self.names.check(&path);
            if matched.path {
                let (node, _) = self.view.node(&level.rows, row, text)?;
                if self.names.is_in_time(&node) {
                    let entry = Entry { path: path.clone(), node, tree: level.rows.tree };
                    found.push(FoundEntry { snapshot, entry });
                }
            }
            if let Some(child) =
                row.child.filter(|_| matched.below && (level.whole || matched.path || leads_on))
            {
                let deeper = self.enter(path, child, level.whole || matched.path)?;
                levels.push(deeper);
            }
        }
        Ok(Some(found))
    }

    fn enter(&self, path: PathBuf, tree: u32, whole: bool) -> Result<Level, SearchError> {
        Ok(Level { path, rows: self.view.rows(tree)?, next: 0, whole })
    }
}
