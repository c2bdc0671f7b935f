//! Packs against what the storage itself says of their content, so that nothing is downloaded.
//!
//! A pack is named by the SHA-256 of its bytes. Storage that keeps such a checksum beside each object, and compares the two
//! as part of its own care for them, can be asked for it.

use std::collections::HashSet;

use crate::context::{Cancelled, Context, Event, Stage};
use crate::id::PackId;
use crate::ops::check::Findings;
use crate::ops::check::report::Finding;
use crate::parallel;
use crate::repository::Reader;

/// What a storage says of its packs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemotelyVerified {
    /// Packs whose hash is their name.
    pub packs: u64,
    /// Packs of which the storage knows no hash: it never does, or another program stored them.
    pub unknown: u64,
}

/// Asks for the hashes of packs; all of them, or only those named.
pub(super) fn verify(
    context: &Context,
    reader: &Reader,
    packs: &[(PackId, u64)],
    only: Option<&HashSet<PackId>>,
    findings: &Findings<'_>,
) -> Result<RemotelyVerified, Cancelled> {
    let wanted: Vec<PackId> = packs.iter().map(|(pack, _)| *pack).collect();
    let wanted = wanted.into_iter().filter(|pack| only.is_none_or(|only| only.contains(pack)));
    let wanted: Vec<PackId> = wanted.collect();
    let backend = reader.repository().backend();
    let stage = Stage::CompareHashes;
    context.tell(&Event::Begin { stage, total: wanted.len() as u64, bytes: 0 });
    let mut verified = RemotelyVerified::default();
    parallel::stream(
        backend.properties().connections,
        wanted,
        |pack| {
            context.cancel.check()?;
            Ok::<_, Cancelled>((pack, backend.stored_hash(pack.into())))
        },
        |(pack, hash)| {
            match hash {
                Ok(Some(hash)) if hash == pack.0 => verified.packs += 1,
                Ok(Some(_)) => findings.add(Finding::PackDamaged { pack }),
                Ok(None) => verified.unknown += 1,
                Err(source) => findings.add(Finding::PackUnreadable { pack, source }),
            }
            context.tell(&Event::Progress { stage, items: 1, bytes: 0 });
            Ok(())
        },
    )?;
    context.tell(&Event::End { stage });
    Ok(verified)
}
