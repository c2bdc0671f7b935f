//! Trees without what is lost: entry by entry, as restic cuts them.
//!
//! In: the tree of a snapshot. Out: the tree it becomes, and what was cut on the way, in the order of the entries.
//! A chunk is lost if no index file lists it, a folder if its tree cannot be had. A tree of which nothing is cut keeps
//! its name, whatever it says. Storage that fails is no loss: the run ends. Never recursive.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::vec;

use super::{Cut, Loss, RepairSnapshotsError, TreeError};
use crate::backend::ErrorKind;
use crate::context::Context;
use crate::format::{Node, NodeKind, Tree, TreeWriter, limits};
use crate::hash::sha256;
use crate::id::{BlobId, TreeId};
use crate::index::Index;
use crate::repository::{ReadError, Reader};

/// What is known of trees so far. Memory: 32 bytes per different tree, and 64 per tree that changes.
pub(super) struct Trees<'a> {
    context: &'a Context,
    reader: &'a Reader,
    /// Trees that stay as they are.
    whole: HashSet<TreeId>,
    /// What becomes of the others.
    changed: HashMap<TreeId, TreeId>,
    /// The same, each tree after those below it.
    order: Vec<TreeId>,
    /// Trees that cannot be had.
    lost: HashSet<TreeId>,
    /// What would have to be found for nothing to be lost.
    missing: HashSet<BlobId>,
    /// Whether a folder is replaced by an empty one.
    empties: bool,
}

/// Which trees change, and how.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The trees that change, each after those below it.
    pub(super) order: Vec<TreeId>,
    /// What becomes of each.
    pub(super) new: HashMap<TreeId, TreeId>,
    /// Trees that cannot be had.
    pub(super) lost: HashSet<TreeId>,
    /// Blobs that are missing.
    pub(super) missing: HashSet<BlobId>,
    /// Whether the empty tree is needed.
    pub(super) empties: bool,
}

/// A folder on the way.
struct Level {
    id: TreeId,
    path: Vec<u8>,
    left: vec::IntoIter<Node>,
    done: Vec<Node>,
    is_changed: bool,
}

/// What a tree becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    Itself,
    Another(TreeId),
    /// Nothing: it cannot be had.
    Lost,
}

impl<'a> Trees<'a> {
    pub(super) fn new(context: &'a Context, reader: &'a Reader) -> Self {
        Self {
            context,
            reader,
            whole: HashSet::new(),
            changed: HashMap::new(),
            order: Vec::new(),
            lost: HashSet::new(),
            missing: HashSet::new(),
            empties: false,
        }
    }

    pub(super) fn finish(self) -> Changes {
        let Self { changed, order, lost, missing, empties, .. } = self;
        Changes { order, new: changed, lost, missing, empties }
    }

    /// What a snapshot's tree becomes. Trees that were met before are not read again, and their cuts not told again.
    pub(super) fn judge(
        &mut self,
        root: TreeId,
        cuts: &mut Vec<Cut>,
    ) -> Result<Result<Becomes, TreeError>, RepairSnapshotsError> {
        if let Some(known) = self.known(root) {
            return Ok(Ok(known));
        }
        let mut levels: Vec<Level> = Vec::new();
        match self.read(root)? {
            Some(tree) => levels.push(Level::new(root, b"/".to_vec(), tree)),
            None => return Ok(Ok(Becomes::Lost)),
        }
        loop {
            let depth = levels.len();
            let Some(level) = levels.last_mut() else { return Ok(Ok(Becomes::Lost)) };
            let Some(mut node) = level.left.next() else {
                let Some(level) = levels.pop() else { continue };
                let below = match self.leave(level) {
                    Ok(becomes) => becomes,
                    Err(error) => return Ok(Err(error)),
                };
                let Some(above) = levels.last_mut() else { return Ok(Ok(below)) };
                if let (Becomes::Another(new), Some(node)) = (below, above.done.last_mut()) {
                    node.subtree = Some(new);
                    above.is_changed = true;
                }
                continue;
            };
            let path = join(&level.path, &node.name);
            if node.kind != NodeKind::Dir {
                let loss = mend(&mut node, self.reader.index(), &mut self.missing);
                level.is_changed |= loss.is_some();
                let stays = !matches!(loss, Some(Some(Loss::Kind { .. })));
                cuts.extend(loss.flatten().map(|loss| Cut { path, loss }));
                level.done.extend(stays.then_some(node));
                continue;
            }
            let Some(id) = node.subtree.filter(|_| depth < limits::TREE_DEPTH_MAX) else {
                self.cut_folder(level, node, path, cuts);
                continue;
            };
            match self.known(id) {
                Some(Becomes::Itself) => level.done.push(node),
                Some(Becomes::Another(new)) => {
                    level.is_changed = true;
                    level.done.push(Node { subtree: Some(new), ..node });
                }
                Some(Becomes::Lost) => self.cut_folder(level, node, path, cuts),
                None => match self.read(id)? {
                    Some(tree) => {
                        level.done.push(node);
                        levels.push(Level::new(id, path, tree));
                    }
                    None => self.cut_folder(level, node, path, cuts),
                },
            }
        }
    }

    fn cut_folder(&mut self, level: &mut Level, node: Node, path: Vec<u8>, cuts: &mut Vec<Cut>) {
        self.empties = true;
        level.is_changed = true;
        level.done.push(Node { subtree: Some(empty().0), ..node });
        cuts.push(Cut { path, loss: Loss::Folder });
    }

    fn known(&self, tree: TreeId) -> Option<Becomes> {
        if self.whole.contains(&tree) {
            return Some(Becomes::Itself);
        }
        if self.lost.contains(&tree) {
            return Some(Becomes::Lost);
        }
        self.changed.get(&tree).map(|new| Becomes::Another(*new))
    }

    /// A folder all of whose entries are decided.
    fn leave(&mut self, level: Level) -> Result<Becomes, TreeError> {
        if !level.is_changed {
            self.whole.insert(level.id);
            return Ok(Becomes::Itself);
        }
        let new = TreeId(sha256(&encode(level.id, level.done)?));
        self.changed.insert(level.id, new);
        self.order.push(level.id);
        Ok(Becomes::Another(new))
    }

    /// Reads a tree; `None` if it is lost.
    fn read(&mut self, tree: TreeId) -> Result<Option<Tree>, RepairSnapshotsError> {
        self.context.cancel.check()?;
        let content = read(self.reader, tree)?;
        if content.is_none() {
            self.lost.insert(tree);
            self.missing.insert(tree.into());
        }
        Ok(content)
    }
}

impl Level {
    fn new(id: TreeId, path: Vec<u8>, tree: Tree) -> Self {
        Self { id, path, left: tree.nodes.into_iter(), done: Vec::new(), is_changed: false }
    }
}

/// The empty tree: its name and its bytes.
pub(super) fn empty() -> (TreeId, Vec<u8>) {
    let plain = TreeWriter::new().finish();
    (TreeId(sha256(&plain)), plain)
}

/// What a tree becomes that changes: its name and its bytes.
pub(super) fn rebuild(
    reader: &Reader,
    changes: &Changes,
    id: TreeId,
) -> Result<(TreeId, Vec<u8>), RepairSnapshotsError> {
    let unsteady = || RepairSnapshotsError::Unsteady { tree: id };
    let tree = read(reader, id)?.ok_or_else(unsteady)?;
    let mut missing = HashSet::new();
    let nodes = tree.nodes.into_iter().filter_map(|mut node| {
        if node.kind == NodeKind::Dir {
            let becomes = match node.subtree {
                Some(below) if changes.lost.contains(&below) => Some(empty().0),
                Some(below) => changes.new.get(&below).copied().or(Some(below)),
                None => Some(empty().0),
            };
            node.subtree = becomes;
            return Some(node);
        }
        let loss = mend(&mut node, reader.index(), &mut missing);
        (!matches!(loss, Some(Some(Loss::Kind { .. })))).then_some(node)
    });
    let plain = encode(id, nodes.collect()).map_err(|_| unsteady())?;
    let new = TreeId(sha256(&plain));
    if changes.new.get(&id) == Some(&new) { Ok((new, plain)) } else { Err(unsteady()) }
}

/// Cuts out of an entry that is no folder what is lost. `None` if it stays as it is; `Some(None)` if it changes and
/// nothing is lost.
#[expect(clippy::option_option, reason = "changed or not, and if so, with a loss or not")]
fn mend(node: &mut Node, index: &Arc<Index>, missing: &mut HashSet<BlobId>) -> Option<Option<Loss>> {
    match &node.kind {
        NodeKind::Irregular => return Some(Some(Loss::Kind { word: node.kind.word().to_owned() })),
        NodeKind::Other(word) if word.is_empty() => return Some(Some(Loss::Kind { word: String::new() })),
        NodeKind::File => {}
        _ => return None,
    }
    let (had_list, mut content) = (node.content.is_some(), node.content.take().unwrap_or_default());
    let (before, mut size) = (content.len(), 0_u64);
    content.retain(|id| {
        let blob = BlobId::from(*id);
        let len = index.opened_len(&blob);
        size = size.saturating_add(len.unwrap_or_default());
        if len.is_none() {
            missing.insert(blob);
        }
        len.is_some()
    });
    let loss =
        if content.len() < before { Some(Loss::Content) } else { (size != node.size).then_some(Loss::Size) };
    node.content = Some(content);
    node.size = size;
    (loss.is_some() || !had_list).then_some(loss)
}

/// Nodes in order. Old programs did not always sort.
fn encode(tree: TreeId, mut nodes: Vec<Node>) -> Result<Vec<u8>, TreeError> {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut new = TreeWriter::new();
    for node in &nodes {
        new.push(node).map_err(|source| TreeError { tree, source })?;
    }
    Ok(new.finish())
}

/// Reads a tree; `None` if every copy of it is lost or damaged, and was so when it was read again.
fn read(reader: &Reader, tree: TreeId) -> Result<Option<Tree>, RepairSnapshotsError> {
    let mut error = match reader.tree(tree) {
        Ok(content) => return Ok(Some(content)),
        Err(error) => error,
    };
    // One copy is lost; whether all are is not known while one of them cannot be fetched.
    let blob = BlobId::from(tree);
    let mut is_there = false;
    for place in reader.index().places(&blob) {
        reader.pack_copies(place.pack, [(blob, place, ())], |(), copy| match copy {
            Err(source) if !is_loss(&source) => {
                Err(RepairSnapshotsError::Read { tree, source: source.into() })
            }
            copy => {
                is_there |= copy.is_ok();
                Ok(())
            }
        })?;
    }
    if is_there {
        // A bit that was wrong on its way once must not cost a snapshot.
        error = match reader.tree(tree) {
            Ok(content) => return Ok(Some(content)),
            Err(error @ ReadError::Shape { .. }) => error,
            Err(error) => return Err(RepairSnapshotsError::Read { tree, source: error.into() }),
        };
    }
    if is_loss(&error) { Ok(None) } else { Err(RepairSnapshotsError::Read { tree, source: error.into() }) }
}

/// Whether a blob is not there any more, or not what it was; otherwise the storage failed.
fn is_loss(error: &ReadError) -> bool {
    match error {
        ReadError::Fetch { source, .. } => matches!(source.kind(), ErrorKind::NotFound | ErrorKind::TooShort),
        ReadError::Unknown { .. } | ReadError::Damaged { .. } | ReadError::Shape { .. } => true,
    }
}

/// A folder's path and a name in it.
fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.strip_suffix(b"/").unwrap_or(folder).to_vec();
    path.push(b'/');
    path.extend_from_slice(name);
    path
}
