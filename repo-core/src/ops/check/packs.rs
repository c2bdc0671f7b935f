//! The packs that are listed against the packs that exist.

use std::collections::{HashMap, HashSet};

use crate::context::{Context, Event, Stage};
use crate::id::{FileKind, PackId};
use crate::ops::check::Findings;
use crate::ops::check::report::{CheckError, Finding};
use crate::repository::Reader;

/// So much is read of a pack beyond what is listed for it, in case that the index does not know all of it. Whoever made it
/// longer may have made it gigabytes.
const READ_BEYOND_BYTES: u64 = 16 << 20;

/// Compares names and sizes; gives the packs that exist, with how many bytes of each are worth reading.
pub(super) fn compare(
    context: &Context,
    reader: &Reader,
    marked: &HashSet<PackId>,
    findings: &Findings<'_>,
) -> Result<Vec<(PackId, u64)>, CheckError> {
    let listed = reader.repository().backend().list(FileKind::Pack)?;
    let total = listed.len() as u64;
    context.tell(&Event::Begin { stage: Stage::CheckPacks, total, bytes: 0 });
    let mut existing: HashMap<PackId, u64> = listed.iter().map(|file| (PackId(file.id), file.size)).collect();
    let mut indexed = HashSet::with_capacity(existing.len());
    for pack in reader.index().packs() {
        indexed.insert(pack.id);
        let expected = pack.file_len();
        match existing.get_mut(&pack.id) {
            None => findings.add(Finding::PackMissing { pack: pack.id }),
            Some(size) if *size != expected => {
                findings.add(Finding::PackSize { pack: pack.id, expected, found: *size });
                *size = (*size).min(expected.saturating_add(READ_BEYOND_BYTES));
            }
            Some(_) => {}
        }
        if pack.listed > 1 {
            findings.add(Finding::PackListedTwice { pack: pack.id, count: pack.listed });
        }
        if pack.data_blobs > 0 && pack.tree_blobs > 0 {
            findings.add(Finding::PackMixed { pack: pack.id });
        }
    }
    for pack in existing.keys().filter(|pack| !indexed.contains(pack) && !marked.contains(pack)) {
        findings.add(Finding::PackUnreferenced { pack: *pack });
    }
    context.tell(&Event::Progress { stage: Stage::CheckPacks, items: total, bytes: 0 });
    context.tell(&Event::End { stage: Stage::CheckPacks });
    let mut packs: Vec<_> = existing.into_iter().filter(|(pack, _)| indexed.contains(pack)).collect();
    packs.sort_unstable();
    Ok(packs)
}
