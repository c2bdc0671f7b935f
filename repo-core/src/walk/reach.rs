//! Every tree that can be reached from some roots, each once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::context::{Cancelled, Context};
use crate::format::Tree;
use crate::id::TreeId;
use crate::parallel;
use crate::repository::{ReadError, Reader};

/// A tree met by [`reach`].
#[derive(Debug)]
pub struct Reached {
    /// Which one.
    pub id: TreeId,
    /// Its content, or why it cannot be had.
    pub tree: Result<Tree, ReadError>,
}

/// The trees that were met already.
pub type SeenTrees = HashSet<TreeId>;

/// Reads every tree that can be reached from `roots`, each once, on several threads and in no order.
///
/// Trees in `seen` are passed over, and those met are added to it, so that the next call goes on from there.
/// Memory: 32 bytes per different tree, and the trees at work.
pub fn reach(
    context: &Context,
    reader: &Reader,
    roots: impl IntoIterator<Item = TreeId>,
    seen: &Mutex<SeenTrees>,
    visit: impl Fn(Reached) + Sync,
) -> Result<(), Cancelled> {
    let connections = reader.repository().backend().properties().connections;
    parallel::pool(connections.max(parallel::cores()), roots.into_iter().collect(), |id, open| {
        context.cancel.check()?;
        if !seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Ok(());
        }
        let reached = Reached { id, tree: reader.tree(id) };
        if let Ok(tree) = &reached.tree {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            open.extend(tree.nodes.iter().filter_map(|node| node.subtree).filter(|id| !seen.contains(id)));
        }
        visit(reached);
        Ok(())
    })
}
