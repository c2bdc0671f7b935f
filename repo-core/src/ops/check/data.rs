//! Packs are read whole: do they hash to their names, do headers agree with the index, does every blob open?

use std::collections::{HashMap, HashSet};
use std::iter;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backend::ErrorKind;
use crate::blob::{FEW, Opener, SealedBlob, next_few, trim};
use crate::context::{Cancelled, Context, Event, Random, Stage};
use crate::format::{IndexedBlob, PackHeader, Place};
use crate::hash::sha256_each;
use crate::id::{BlobId, PackId};
use crate::ops::check::report::Finding;
use crate::ops::check::rolling::Ledger;
use crate::ops::check::{Findings, ReadData};
use crate::parallel;
use crate::repository::Reader;

/// Which of the existing packs to read.
pub(super) fn choose(
    context: &Context,
    read_data: ReadData,
    mut packs: Vec<(PackId, u64)>,
    only: Option<&HashSet<PackId>>,
    ledger: &Ledger,
) -> Vec<(PackId, u64)> {
    if let Some(used) = only {
        packs.retain(|(pack, _)| used.contains(pack));
    }
    match read_data {
        ReadData::Nothing => Vec::new(),
        ReadData::All => packs,
        ReadData::Part { part, parts } => {
            let bucket = |pack: &PackId| u16::from(pack.id().as_bytes()[0]) % parts.max(1) + 1;
            packs.retain(|(pack, _)| bucket(pack) == part);
            packs
        }
        ReadData::Percent(percent) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a count; saturates"
            )]
            let count = (packs.len() as f64 * percent / 100.0).ceil() as usize;
            shuffle(&mut packs, context.random.as_ref());
            packs.truncate(count.max(1));
            packs
        }
        ReadData::Bytes(bytes) => {
            shuffle(&mut packs, context.random.as_ref());
            within(packs, bytes)
        }
        ReadData::Oldest { bytes, .. } => {
            ledger.sort_oldest_first(&mut packs, context.random.as_ref());
            within(packs, bytes.unwrap_or(u64::MAX))
        }
    }
}

/// The first packs that have so many bytes together; at least one.
fn within(packs: Vec<(PackId, u64)>, mut bytes: u64) -> Vec<(PackId, u64)> {
    let mut chosen = Vec::new();
    for pack in packs {
        if pack.1 > bytes && !chosen.is_empty() {
            break;
        }
        bytes = bytes.saturating_sub(pack.1);
        chosen.push(pack);
    }
    chosen
}

/// Fisher and Yates.
pub(super) fn shuffle<T>(items: &mut [T], random: &dyn Random) {
    for last in (1..items.len()).rev() {
        let at = random.number() % (last as u64 + 1);
        items.swap(last, usize::try_from(at).unwrap_or(last));
    }
}

/// Reads and verifies packs on all cores, in this order; none is begun once `span` has passed. Adds those that are
/// right to `sound`, also when it is stopped.
pub(super) fn read(
    context: &Context,
    reader: &Reader,
    packs: &[(PackId, u64)],
    span: Option<Duration>,
    findings: &Findings<'_>,
    sound: &mut Vec<PackId>,
) -> Result<u64, Cancelled> {
    if packs.is_empty() {
        return Ok(0);
    }
    let (total, bytes) = (packs.len() as u64, packs.iter().map(|(_, size)| size).sum());
    context.tell(&Event::Begin { stage: Stage::ReadPacks, total, bytes });
    let listed = listed_blobs(reader, packs);
    let seals = Mutex::new(Vec::new());
    let threads = reader.repository().backend().properties().connections.max(parallel::cores());
    let threads = context.memory.threads(threads, THREAD_BYTES);
    let tools = Mutex::new(Vec::<Tools>::new());
    let begun = context.clock.elapsed();
    let in_time = || span.is_none_or(|span| context.clock.elapsed().saturating_sub(begun) < span);
    // One at least: however short the time, checks that follow each other get on.
    let mut in_time_packs = packs.iter().enumerate().take_while(|(at, _)| *at == 0 || in_time());
    let together = together(context, threads, packs);
    let groups = iter::from_fn(|| {
        let group: Vec<(PackId, u64)> =
            in_time_packs.by_ref().take(together).map(|(_, pack)| *pack).collect();
        (!group.is_empty()).then_some(group)
    });
    let mut count = 0;
    parallel::stream(
        threads,
        groups,
        |group| {
            let kept = tools.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut hands = kept.unwrap_or_else(|| Tools::new(reader));
            let verified = verify(context, reader, &mut hands, &group, &listed, findings)?;
            tools.lock().unwrap_or_else(PoisonError::into_inner).push(hands);
            let mut right = Vec::new();
            for ((pack, _), found) in group.iter().zip(verified) {
                seals.lock().unwrap_or_else(PoisonError::into_inner).extend(found.seals);
                right.extend(found.is_sound.then_some(*pack));
            }
            Ok::<_, Cancelled>((group, right))
        },
        |(group, right)| {
            sound.extend(right);
            for (_, size) in group {
                count += 1;
                context.tell(&Event::Progress { stage: Stage::ReadPacks, items: 1, bytes: size });
            }
            Ok(())
        },
    )?;
    context.tell(&Event::End { stage: Stage::ReadPacks });
    let mut seals = seals.into_inner().unwrap_or_else(PoisonError::into_inner);
    seals.sort_unstable();
    // The same sealed bytes twice are one blob that a prune has copied.
    seals.dedup();
    let reused = seals.windows(2).filter(|pair| pair[0].0 == pair[1].0).count() as u64;
    if reused > 0 {
        findings.add(Finding::NonceReused { count: reused });
    }
    Ok(count)
}

/// Packs that all threads hold together have no more bytes than this, unless each holds only one.
const HELD_BYTES_MAX: u64 = 160 << 20;

/// What a thread needs at the least: a pack, and a few blobs of it opened.
const THREAD_BYTES: u64 = 32 << 20;

/// How many packs a thread reads before it names them: two take two thirds of the time that they take alone, four half.
fn together(context: &Context, threads: usize, packs: &[(PackId, u64)]) -> usize {
    let longest = packs.iter().map(|(_, size)| *size).max().unwrap_or_default().max(1);
    let opened = (THREAD_BYTES / 2).saturating_mul(threads as u64);
    let held = context.memory.allows(HELD_BYTES_MAX + opened).saturating_sub(opened);
    let each = held / longest / threads.max(1) as u64;
    usize::try_from(each).unwrap_or(usize::MAX).clamp(1, 4)
}

/// What one thread needs, kept from pack to pack.
struct Tools {
    opener: Opener,
    packs: Vec<Vec<u8>>,
    plains: [Vec<u8>; FEW],
}

impl Tools {
    fn new(reader: &Reader) -> Self {
        let repository = reader.repository();
        let opener = Opener::new(Arc::clone(repository.key()));
        let opener = opener.with_data_len_max(repository.config().data_blob_bytes_max());
        Self { opener, packs: Vec::new(), plains: Default::default() }
    }
}

/// What the index lists for the chosen packs, sorted by offset. 48 bytes per blob.
fn listed_blobs(reader: &Reader, packs: &[(PackId, u64)]) -> HashMap<PackId, Vec<(BlobId, Place)>> {
    let mut listed: HashMap<_, Vec<_>> = packs.iter().map(|(pack, _)| (*pack, Vec::new())).collect();
    for (blob, place) in reader.index().iter() {
        if let Some(blobs) = listed.get_mut(&place.pack) {
            blobs.push((blob, place));
        }
    }
    for blobs in listed.values_mut() {
        blobs.sort_unstable_by_key(|(blob, place)| (place.offset, *blob));
    }
    listed
}

/// Nonce and tag of a sealed blob: 32 bytes each.
type Seal = (u128, u128);

/// What was found in one pack.
#[derive(Default)]
struct Verified {
    seals: Vec<Seal>,
    is_sound: bool,
}

/// Verifies a few packs: all are read, then named side by side, then opened one after the other.
fn verify(
    context: &Context,
    reader: &Reader,
    tools: &mut Tools,
    group: &[(PackId, u64)],
    listed: &HashMap<PackId, Vec<(BlobId, Place)>>,
    findings: &Findings<'_>,
) -> Result<Vec<Verified>, Cancelled> {
    let backend = reader.repository().backend();
    let mut packs = mem::take(&mut tools.packs);
    packs.resize_with(packs.len().max(group.len()), Vec::new);
    let mut is_read = Vec::with_capacity(group.len());
    for ((pack, size), bytes) in group.iter().zip(&mut packs) {
        context.cancel.check()?;
        let read = match backend.read_all((*pack).into(), *size, bytes) {
            Err(error) if error.kind() == ErrorKind::TooLong => backend.read((*pack).into(), 0..*size, bytes),
            read => read,
        };
        is_read.push(
            read.map_err(|source| findings.add(Finding::PackUnreadable { pack: *pack, source })).is_ok(),
        );
    }
    let names = sha256_each(&packs[..group.len()].iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut verified = Vec::with_capacity(group.len());
    for (number, (pack, _)) in group.iter().enumerate() {
        if !is_read[number] {
            verified.push(Verified::default());
            continue;
        }
        let expected = listed.get(pack).map(Vec::as_slice).unwrap_or_default();
        let is_named = names[number] == pack.0;
        verified.push(verify_pack(reader, tools, (*pack, &packs[number], is_named), expected, findings));
    }
    tools.packs = packs;
    trim(&mut tools.plains);
    Ok(verified)
}

/// Verifies what was read of one pack, and whether it hashes to its name.
fn verify_pack(
    reader: &Reader,
    tools: &mut Tools,
    (pack, bytes, is_named): (PackId, &[u8], bool),
    listed: &[(BlobId, Place)],
    findings: &Findings<'_>,
) -> Verified {
    let mut is_sound = true;
    let mut add = |finding| {
        is_sound = false;
        findings.add(finding);
    };
    if !is_named {
        add(Finding::PackDamaged { pack });
    }
    match read_header(reader, bytes, &mut tools.plains[0]) {
        Ok(header) if !agrees(&header.blobs, listed) => add(Finding::HeaderDiffers { pack }),
        Ok(_) => {}
        Err(source) => add(Finding::HeaderDamaged { pack, source }),
    }
    let mut seals = Vec::with_capacity(listed.len());
    let mut left = listed.iter().peekable();
    while left.peek().is_some() {
        let few = next_few(&mut left, |(_, place)| u64::from(place.opened_len()));
        let stored: Vec<SealedBlob<'_>> = few
            .iter()
            .map(|(blob, place)| {
                let range = place.offset as usize..place.offset as usize + place.len as usize;
                let sealed = bytes.get(range).unwrap_or_default();
                SealedBlob { blob: *blob, sealed, plain_len: place.plain_len }
            })
            .collect();
        let sealed = stored.iter().map(|stored| stored.sealed);
        seals.extend(sealed.filter_map(|sealed| {
            let (nonce, tag) = (sealed.first_chunk()?, sealed.last_chunk()?);
            Some((u128::from_le_bytes(*nonce), u128::from_le_bytes(*tag)))
        }));
        let opened = tools.opener.open_each(&stored, &mut tools.plains);
        for (stored, opened) in stored.iter().zip(opened) {
            if opened.is_err() {
                add(Finding::BlobDamaged { blob: stored.blob, pack });
            }
        }
    }
    Verified { seals, is_sound }
}

fn read_header(
    reader: &Reader,
    bytes: &[u8],
    plain: &mut Vec<u8>,
) -> Result<PackHeader, Option<crate::format::HeaderError>> {
    let pack_len = bytes.len() as u64;
    let trailer = *bytes.last_chunk::<4>().ok_or(None)?;
    let sealed_len = PackHeader::sealed_len(trailer, pack_len).map_err(Some)? as usize;
    let end = bytes.len() - trailer.len();
    let sealed = end.checked_sub(sealed_len).and_then(|start| bytes.get(start..end)).ok_or(None)?;
    reader.repository().key().open(sealed, plain).map_err(|_| None)?;
    PackHeader::parse(plain, pack_len).map_err(Some)
}

/// Whether header and index list the same blobs at the same places.
fn agrees(header: &[IndexedBlob], listed: &[(BlobId, Place)]) -> bool {
    let same = |(a, (blob, place)): (&IndexedBlob, &(BlobId, Place))| {
        (a.blob_id(), a.offset, a.len, a.plain_len) == (*blob, place.offset, place.len, place.plain_len)
    };
    header.len() == listed.len() && header.iter().zip(listed).all(same)
}
