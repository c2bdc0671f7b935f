//! Which packs a restore is going to read, found out from trees alone, before the first of them is asked for.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;

use crate::id::{PackId, TreeId};
use crate::ops::restore::RestoreError;
use crate::ops::restore::run::Run;
use crate::repository::Needed;
use crate::walk::{Entry, Walk};

/// The packs with the content of all files that are selected.
///
/// What exists in the target is not looked at: the list may be longer than need be, never shorter. Trees that
/// cannot be read are left out here and told by the planner.
pub(super) fn needed(run: &Run<'_>, root: TreeId) -> Result<Needed, RestoreError> {
    let index = run.reader.index();
    let mut packs: HashSet<PackId> = HashSet::new();
    let mut count = 0_u64;
    let mut walk = Walk::new(run.reader, root, "/");
    while let Some(step) = walk.next() {
        run.check()?;
        count += 1;
        if count > run.options.entries_max {
            return Err(RestoreError::TooManyEntries { limit: run.options.entries_max });
        }
        let Ok(Entry { path, node, .. }) = step else { continue };
        let selected = run.options.selection.check(path.as_os_str().as_bytes());
        if !selected.below {
            walk.skip_dir();
        }
        if selected.entry {
            let places = node.content.iter().flatten().filter_map(|blob| index.place_of(&(*blob).into()));
            packs.extend(places.map(|place| place.pack));
        }
    }
    Ok(Needed::of(&packs, index))
}
