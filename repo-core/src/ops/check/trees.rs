//! Every tree that snapshots reach: is it whole, and is every chunk it names listed?

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::context::{Cancelled, Context, Event, Stage};
use crate::format::{Node, NodeKind, Tree};
use crate::id::{BlobId, PackId, TreeId};
use crate::ops::check::report::{EntryProblem, Finding, shown};
use crate::ops::check::{Findings, has_no_tree};
use crate::repository::Reader;
use crate::snapshots::Stored;
use crate::walk::{SeenTrees, reach};

/// Checks the trees of all snapshots, each tree once. Gives the packs that hold something of them.
pub(super) fn check(
    context: &Context,
    reader: &Reader,
    stored: &[Stored],
    findings: &Findings<'_>,
) -> Result<HashSet<PackId>, Cancelled> {
    context.tell(&Event::Begin { stage: Stage::CheckTrees, total: stored.len() as u64, bytes: 0 });
    let (seen, used) = (Mutex::new(SeenTrees::new()), Mutex::new(HashSet::new()));
    let missing = Mutex::new(HashSet::new());
    for Stored { id, snapshot } in stored {
        if let Some(finding) = has_no_tree(*id, snapshot) {
            findings.add(finding);
            continue;
        }
        reach(context, reader, [snapshot.tree], &seen, |reached| {
            let tree_place = reader.index().place_of(&reached.id.into());
            used.lock().unwrap_or_else(PoisonError::into_inner).extend(tree_place.map(|place| place.pack));
            match reached.tree {
                Ok(tree) => {
                    let packs = check_tree(reader, reached.id, &tree, &missing, findings);
                    used.lock().unwrap_or_else(PoisonError::into_inner).extend(packs);
                }
                Err(source) => {
                    findings.add(Finding::TreeUnreadable { tree: reached.id, source: source.into() });
                }
            }
        })?;
        context.tell(&Event::Progress { stage: Stage::CheckTrees, items: 1, bytes: 0 });
    }
    context.tell(&Event::End { stage: Stage::CheckTrees });
    Ok(used.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Checks the entries of one directory. Gives the packs that hold their chunks.
fn check_tree(
    reader: &Reader,
    tree: TreeId,
    content: &Tree,
    missing: &Mutex<HashSet<BlobId>>,
    findings: &Findings<'_>,
) -> HashSet<PackId> {
    let mut packs = HashSet::new();
    let mut names = HashSet::new();
    for node in &content.nodes {
        let entry = |problem| findings.add(Finding::Entry { tree, name: shown(&node.name), problem });
        if node.checked_name().is_err() {
            entry(EntryProblem::Name);
        }
        if !names.insert(&node.name) {
            entry(EntryProblem::Twice);
        }
        match node.kind {
            NodeKind::File => check_file(reader, tree, node, missing, findings, &mut packs),
            NodeKind::Dir if node.subtree.is_none() => entry(EntryProblem::NoTree),
            NodeKind::Irregular | NodeKind::Other(_) => entry(EntryProblem::Kind),
            _ => {}
        }
    }
    packs
}

fn check_file(
    reader: &Reader,
    tree: TreeId,
    node: &Node,
    missing: &Mutex<HashSet<BlobId>>,
    findings: &Findings<'_>,
    packs: &mut HashSet<PackId>,
) {
    let entry = |problem| findings.add(Finding::Entry { tree, name: shown(&node.name), problem });
    let Some(content) = &node.content else { return entry(EntryProblem::NoContent) };
    let (mut size, mut whole) = (0, true);
    for id in content {
        let blob = BlobId::from(*id);
        if let Some(place) = reader.index().place_of(&blob) {
            size += u64::from(place.opened_len());
            packs.insert(place.pack);
            continue;
        }
        whole = false;
        if missing.lock().unwrap_or_else(PoisonError::into_inner).insert(blob) {
            findings.add(Finding::BlobMissing { blob, name: shown(&node.name), tree });
        }
    }
    if whole && size != node.size {
        entry(EntryProblem::Size);
    }
}
