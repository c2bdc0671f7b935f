//! The assembler: complete directories → tree blobs, up to the root.

use std::sync::Arc;

use crate::context::Added;
use crate::format::{Node, TreeWriter};
use crate::hash::sha256;
use crate::id::{BlobId, TreeId};
use crate::ops::archive::change::compare;
use crate::ops::archive::directory::Directory;
use crate::ops::archive::draft::Draft;
use crate::ops::archive::report::ArchiveError;
use crate::repository::{BlobWriter, Saved};

impl Draft<'_> {
    /// The story of the assembler. `None` if the draft ended before the root was complete, or the root is empty.
    pub(super) fn assemble(&self) -> Result<Option<TreeId>, ArchiveError> {
        let mut blobs = self.base.writer.blob_writer();
        while let Some(directory) = self.next_directory() {
            self.base.context.cancel.check()?;
            if let Some(root) = self.store_upwards(&mut blobs, directory)? {
                blobs.flush();
                return Ok(Some(root));
            }
        }
        Ok(None)
    }

    /// Stores a directory, and those above as long as that completes them. Gives the root's tree in the end.
    fn store_upwards(
        &self,
        blobs: &mut BlobWriter,
        mut directory: Arc<Directory>,
    ) -> Result<Option<TreeId>, ArchiveError> {
        loop {
            let entries = directory.take_entries();
            let own = directory.take_own_entry();
            if own.is_none() && entries.is_empty() {
                return Err(ArchiveError::Empty);
            }
            let (tree, added) = store_tree(blobs, &entries)?;
            let Some((node, slot, before)) = own else {
                self.found().count_added(added);
                return Ok(Some(tree));
            };
            let node = Node { subtree: Some(tree), ..node };
            self.count_dir(&directory, compare(&node, before.as_ref()), added);
            match slot.fill(Some(node)) {
                Some(complete) => directory = complete,
                None => return Ok(None),
            }
        }
    }
}

fn store_tree(blobs: &mut BlobWriter, entries: &[Node]) -> Result<(TreeId, Added), ArchiveError> {
    let mut tree = TreeWriter::new();
    for node in entries {
        tree.push(node).expect("slots are reserved in the order of names, each once");
    }
    let plain = tree.finish();
    let id = TreeId(sha256(&plain));
    let added = match blobs.save(&BlobId::from(id), &plain)? {
        Saved::Known => Added::default(),
        Saved::New { packed } => Added {
            tree_blobs: 1,
            tree_bytes: plain.len() as u64,
            tree_bytes_packed: packed,
            ..Added::default()
        },
    };
    Ok((id, added))
}
