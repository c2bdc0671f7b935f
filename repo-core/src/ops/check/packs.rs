//! The packs that are listed against the packs that exist.

use std::collections::HashMap;

use crate::context::{Context, Event, Stage};
use crate::format::limits;
use crate::id::{FileKind, PackId};
use crate::index::PackSummary;
use crate::ops::check::Findings;
use crate::ops::check::report::{CheckError, Finding};
use crate::repository::Reader;

/// Length in bytes of a pack's entry for a blob stored as it is, and what compression adds.
const ENTRY_BYTES: u64 = 37;
const COMPRESSED_BYTES: u64 = 4;
/// The sealed header's nonce and tag, and the length field behind it.
const AROUND_HEADER_BYTES: u64 = 36;

/// Compares names and sizes; gives the packs that exist, with their sizes.
pub(super) fn compare(
    context: &Context,
    reader: &Reader,
    findings: &Findings<'_>,
) -> Result<Vec<(PackId, u64)>, CheckError> {
    let listed = reader.repository().backend().list(FileKind::Pack)?;
    let total = listed.len() as u64;
    context.tell(&Event::Begin { stage: Stage::CheckPacks, total, bytes: 0 });
    let existing: HashMap<PackId, u64> = listed.iter().map(|file| (PackId(file.id), file.size)).collect();
    let mut indexed = std::collections::HashSet::with_capacity(existing.len());
    for pack in reader.index().packs() {
        indexed.insert(pack.id);
        let expected = expected_size(pack);
        match existing.get(&pack.id) {
            None => findings.add(Finding::PackMissing { pack: pack.id }),
            Some(&found) if found != expected => {
                findings.add(Finding::PackSize { pack: pack.id, expected, found });
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
    for pack in existing.keys().filter(|pack| !indexed.contains(pack)) {
        findings.add(Finding::PackUnreferenced { pack: *pack });
    }
    context.tell(&Event::Progress { stage: Stage::CheckPacks, items: total, bytes: 0 });
    context.tell(&Event::End { stage: Stage::CheckPacks });
    let mut packs: Vec<_> = existing.into_iter().filter(|(pack, _)| indexed.contains(pack)).collect();
    packs.sort_unstable();
    Ok(packs)
}

/// Size in bytes of a pack that holds what the index lists (format: section 4).
fn expected_size(pack: &PackSummary) -> u64 {
    let blobs = u64::from(pack.data_blobs) + u64::from(pack.tree_blobs);
    let entries = blobs * ENTRY_BYTES + u64::from(pack.compressed_blobs) * COMPRESSED_BYTES;
    debug_assert!(u64::from(limits::SEAL_BYTES) + 4 == AROUND_HEADER_BYTES);
    pack.blob_bytes + entries + AROUND_HEADER_BYTES
}
