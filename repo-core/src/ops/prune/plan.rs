//! What becomes of each pack. Pure: index + blobs in use + packs that exist + options → [`Decision`].
//!
//! ```text
//! 0. marked    packs that were marked before and that snapshots need again come back; the others are left out
//! 1. count     every copy of every blob as used, duplicate or unused, per pack
//! 2. choose    one of several copies counts as used, where that saves the most
//! 3. decide    each pack stays, is copied from (repacked), or goes
//! 4. check     a used blob without a copy in a pack that stays is moved; one that loses a copy and has another
//!              that stays is vouched for by reading that one before anything is removed
//! ```
//!
//! Nothing is decided when a used blob has no copy in a pack that exists in its right size.
//! Memory: 64 bytes per pack; 4 per blob that is moved or vouched for, 28 while those are sorted.

use std::collections::HashMap;

use crate::id::{BlobId, PackId};
use crate::index::{BlobCopy, BlobSet, Index};
use crate::ops::prune::options::{PruneMode, PruneOptions};
use crate::pack::join;

/// Fewer small packs than these are left alone: one pack below the target must not be copied again and again.
const SMALL_PACKS_MIN: usize = 10;
/// Packs below this are small in any repository whose packs are not smaller still.
const SMALL_BYTES: u64 = 4 << 20;

/// What becomes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep,
    /// What is in use is copied out of it, then it goes.
    Repack,
    /// It goes; nothing in it is in use.
    Remove,
    /// It was marked before, and its time has not come.
    Wait,
    /// It was marked before, its time has come, and nobody needs it: now it goes for good.
    Expire,
}

impl Fate {
    /// Whether the index lists the pack as one to be relied on, and will not any more.
    pub(super) fn leaves_the_index(self) -> bool {
        matches!(self, Self::Repack | Self::Remove)
    }

    /// Whether only a mark is left of the pack.
    fn is_marked(self) -> bool {
        matches!(self, Self::Wait | Self::Expire)
    }
}

/// How many blobs, and their stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Blobs.
    pub blobs: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, blobs: u32, bytes: u64) {
        self.blobs += u64::from(blobs);
        self.bytes += bytes;
    }

    fn sub(&mut self, bytes: u64) {
        self.blobs -= 1;
        self.bytes -= bytes;
    }
}

/// The plan in numbers, counted as restic counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneStats {
    /// Blobs in use, each once.
    pub used: Amount,
    /// Further copies of blobs in use.
    pub duplicate: Amount,
    /// Blobs that nobody uses.
    pub unused: Amount,
    /// All blobs in packs that are copied from, headers included.
    pub repack: Amount,
    /// What copying leaves behind.
    pub repack_removes: Amount,
    /// Blobs in packs that go as they are.
    pub remove: Amount,
    /// Bytes of packs that no index file lists.
    pub unindexed_bytes: u64,
    /// Bytes of packs that will still hold something uncompressed; zero in repositories of version 1.
    pub uncompressed_bytes: u64,
    /// Packs in which everything is in use.
    pub packs_used: u64,
    /// Packs in which something is in use.
    pub packs_partly_used: u64,
    /// Packs in which nothing is in use.
    pub packs_unused: u64,
    /// Packs that stay.
    pub packs_keep: u64,
    /// Packs that are copied from.
    pub packs_repack: u64,
    /// Packs that go as they are.
    pub packs_remove: u64,
    /// Packs that no index file lists.
    pub packs_unindexed: u64,
    /// Blobs in packs that were marked before and wait; not counted above.
    pub waiting: Amount,
    /// Blobs in packs whose time has come; not counted above.
    pub expired: Amount,
    /// Packs that were marked before and wait.
    pub packs_waiting: u64,
    /// Packs whose time has come.
    pub packs_expired: u64,
    /// Packs that were marked before and that snapshots need again.
    pub packs_back: u64,
}

impl PruneStats {
    /// All copies of all blobs, and what no index file lists.
    pub fn total(&self) -> Amount {
        let Self { used, duplicate, unused, unindexed_bytes, .. } = self;
        Amount {
            blobs: used.blobs + duplicate.blobs + unused.blobs,
            bytes: used.bytes + duplicate.bytes + unused.bytes + unindexed_bytes,
        }
    }

    /// What is freed.
    pub fn pruned(&self) -> Amount {
        Amount {
            blobs: self.remove.blobs + self.repack_removes.blobs,
            bytes: self.remove.bytes + self.repack_removes.bytes + self.unindexed_bytes,
        }
    }

    /// What is left afterwards.
    pub fn remaining(&self) -> Amount {
        let (total, pruned) = (self.total(), self.pruned());
        Amount { blobs: total.blobs - pruned.blobs, bytes: total.bytes.saturating_sub(pruned.bytes) }
    }

    /// Bytes that nobody needs, before.
    pub fn unused_before(&self) -> u64 {
        self.duplicate.bytes + self.unused.bytes
    }

    /// Bytes that nobody needs and that stay nevertheless.
    pub fn unused_after(&self) -> u64 {
        self.unused_before().saturating_sub(self.remove.bytes + self.repack_removes.bytes)
    }
}

/// What carrying a plan out costs, estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneCost {
    /// Bytes read from packs.
    pub read_bytes: u64,
    /// Bytes written to packs; compressing what was not compressed makes it less.
    pub written_bytes: u64,
    /// Calls that read.
    pub read_requests: u64,
    /// Calls that write.
    pub write_requests: u64,
    /// Calls that remove; most storage does not charge for them.
    pub remove_requests: u64,
}

/// What goes against a plan. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Incomplete {
    /// Blobs that snapshots need are in no index file.
    #[error("the index is not complete: {count} blobs that snapshots need are not listed, {first} is one")]
    Blobs {
        /// How many.
        count: usize,
        /// One of them.
        first: BlobId,
    },
    /// Packs that hold what snapshots need do not exist.
    #[error("{} packs that snapshots need are missing, {} is one", packs.len(), packs.first().map_or_else(String::new, ToString::to_string))]
    PacksMissing {
        /// Which ones.
        packs: Vec<PackId>,
    },
    /// A pack that snapshots need is not as long as the index says.
    #[error("pack {pack}, which snapshots need, has {found} bytes instead of {expected}")]
    PackSize {
        /// Which one.
        pack: PackId,
        /// As the index says.
        expected: u64,
        /// As it is.
        found: u64,
    },
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// For each pack of the index, in the order of the index.
    pub(super) fates: Vec<Fate>,
    /// Packs that no index file lists, with their sizes.
    pub(super) unindexed: Vec<(PackId, u64)>,
    /// Packs that the index lists, that do not exist, and that nobody needs.
    pub(super) missing: Vec<PackId>,
    /// Packs that were marked and that snapshots need again, sorted.
    pub(super) back: Vec<PackId>,
    /// Packs that are marked and whose time has come.
    pub(super) expired: Vec<PackId>,
    /// Marks of packs that do not exist.
    pub(super) hollow: Vec<PackId>,
    /// Numbers of the copies to move, pack by pack and in the order in which they lie.
    pub(super) moves: Vec<u32>,
    /// Numbers of the copies to read before others are removed; in the same order.
    pub(super) vouch: Vec<u32>,
    pub(super) stats: PruneStats,
    pub(super) cost: PruneCost,
}

/// What a plan is made from.
pub(super) struct Facts<'a> {
    pub(super) index: &'a Index,
    pub(super) used: &'a BlobSet,
    /// Every pack that exists, with its size.
    pub(super) existing: &'a HashMap<PackId, u64>,
    /// Packs that were marked before; the index lists them too. `true` for those whose time has come.
    pub(super) marked: &'a HashMap<PackId, bool>,
    /// How many index files there are.
    pub(super) index_files: usize,
    /// Whether the repository compresses.
    pub(super) compresses: bool,
}

/// Decides what becomes of each pack.
pub(super) fn decide(facts: &Facts<'_>, options: &PruneOptions) -> Result<Decision, Incomplete> {
    if let [first, ..] = facts.used.missing()[..] {
        return Err(Incomplete::Blobs { count: facts.used.missing().len(), first });
    }
    let mut decision = Decision::default();
    decision.fates = marked(facts, options, &mut decision.back);
    let packs = count(facts, &mut decision)?;
    fates(facts, options, &packs, &mut decision);
    moves(facts, &mut decision)?;
    decision.cost = cost(facts, options, &decision);
    Ok(decision)
}

impl Facts<'_> {
    /// Whether the copy's pack exists in its right size.
    fn fits(&self, copy: &BlobCopy) -> bool {
        let summary = &self.index.packs()[copy.pack];
        self.existing.get(&summary.id) == Some(&summary.file_len())
    }
}

/// What is known about one pack of the index.
#[derive(Debug, Clone, Copy, Default)]
struct PackUse {
    /// In bytes; `None` if there is no such pack.
    file_len: Option<u64>,
    used: Amount32,
    unused: Amount32,
    /// Blobs among the unused ones of which another copy is in use.
    duplicates: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Amount32 {
    blobs: u32,
    bytes: u64,
}

impl PackUse {
    fn len(&self) -> u64 {
        self.used.bytes + self.unused.bytes
    }

    fn take(&mut self, bytes: u64) {
        self.used.blobs += 1;
        self.used.bytes += bytes;
    }

    fn leave(&mut self, bytes: u64) {
        self.unused.blobs += 1;
        self.unused.bytes += bytes;
    }
}

/// Hands over the copies of each blob together.
fn for_each_blob(index: &Index, mut visit: impl FnMut(&BlobId, &[BlobCopy])) {
    let mut copies: Vec<BlobCopy> = Vec::new();
    for copy in index.copies() {
        if copies.first().is_some_and(|first| first.blob != copy.blob) {
            visit(&copies[0].blob, &copies);
            copies.clear();
        }
        copies.push(copy);
    }
    if let Some(first) = copies.first() {
        visit(&first.blob, &copies);
    }
}

/// Step 0: every pack is to stay, but for those that are marked and that nobody needs.
fn marked(facts: &Facts<'_>, options: &PruneOptions, back: &mut Vec<PackId>) -> Vec<Fate> {
    let summaries = facts.index.packs();
    let fate = |due: bool| if due || options.mode == PruneMode::Instant { Fate::Expire } else { Fate::Wait };
    let fates = summaries.iter().map(|pack| facts.marked.get(&pack.id).map_or(Fate::Keep, |due| fate(*due)));
    let mut fates: Vec<Fate> = fates.collect();
    if facts.marked.is_empty() {
        return fates;
    }
    for_each_blob(facts.index, |blob, copies| {
        let fit = |copy: &&BlobCopy| facts.fits(copy);
        let stands = |copy: &BlobCopy| !fates[copy.pack].is_marked();
        if !copies.iter().any(|copy| fates[copy.pack].is_marked())
            || !facts.used.contains(blob)
            || copies.iter().filter(fit).any(stands)
        {
            return;
        }
        if let Some(copy) = copies.iter().find(fit) {
            fates[copy.pack] = Fate::Keep;
            back.push(summaries[copy.pack].id);
        }
    });
    back.sort_unstable();
    fates
}

/// Steps 1 and 2.
fn count(facts: &Facts<'_>, decision: &mut Decision) -> Result<Vec<PackUse>, Incomplete> {
    let Decision { fates, stats, back, .. } = decision;
    stats.packs_back = back.len() as u64;
    let summaries = facts.index.packs();
    let mut packs: Vec<PackUse> = summaries
        .iter()
        .map(|summary| {
            let mut pack =
                PackUse { file_len: facts.existing.get(&summary.id).copied(), ..PackUse::default() };
            // The header goes with whatever is in use.
            pack.used.bytes = summary.file_len() - summary.blob_bytes;
            pack
        })
        .collect();
    let fits = |copy: &BlobCopy| !fates[copy.pack].is_marked() && facts.fits(copy);
    let mut lost = Vec::new();
    for_each_blob(facts.index, |blob, copies| {
        let fit = if facts.used.contains(blob) { copies.iter().filter(|copy| fits(copy)).count() } else { 0 };
        for copy in copies {
            let bytes = u64::from(copy.place.len);
            match fates[copy.pack] {
                Fate::Wait => {
                    stats.waiting.add(1, bytes);
                    continue;
                }
                Fate::Expire => {
                    stats.expired.add(1, bytes);
                    continue;
                }
                _ => {}
            }
            let pack = &mut packs[copy.pack];
            if fit > 0 && fits(copy) {
                if fit == 1 {
                    pack.take(bytes);
                    stats.used.add(1, bytes);
                } else {
                    // For now: one copy is chosen once all are known.
                    pack.leave(bytes);
                    pack.duplicates += 1;
                    stats.duplicate.add(1, bytes);
                }
            } else {
                pack.leave(bytes);
                stats.unused.add(1, bytes);
            }
        }
        if fit == 0 && facts.used.contains(blob) {
            lost.extend(copies.iter().map(|copy| copy.pack));
        }
    });
    if !lost.is_empty() {
        return Err(explain_lost(facts, lost));
    }
    for_each_blob(facts.index, |blob, copies| {
        if copies.len() < 2 || !facts.used.contains(blob) {
            return;
        }
        let fit: Vec<&BlobCopy> = copies.iter().filter(|copy| fits(copy)).collect();
        if fit.len() < 2 {
            return;
        }
        // A pack that stays for other blobs keeps this one for nothing; a pack of nothing but duplicates is what an
        // earlier run that was stopped has copied already.
        let saves = |copy: &&&BlobCopy| {
            let pack = &packs[copy.pack];
            pack.used.blobs > 0 || pack.duplicates == pack.unused.blobs
        };
        let Some(chosen) = fit.iter().find(saves).or(fit.last()) else { return };
        let bytes = u64::from(chosen.place.len);
        let pack = &mut packs[chosen.pack];
        pack.take(bytes);
        pack.unused.blobs -= 1;
        pack.unused.bytes -= bytes;
        pack.duplicates -= 1;
        stats.duplicate.sub(bytes);
        stats.used.add(1, bytes);
    });
    Ok(packs)
}

/// Why blobs in these packs cannot be had.
fn explain_lost(facts: &Facts<'_>, mut lost: Vec<usize>) -> Incomplete {
    lost.sort_unstable();
    lost.dedup();
    let summaries = lost.iter().map(|at| &facts.index.packs()[*at]);
    let mut missing = Vec::new();
    for summary in summaries {
        match facts.existing.get(&summary.id) {
            Some(&found) => {
                return Incomplete::PackSize { pack: summary.id, expected: summary.file_len(), found };
            }
            None => missing.push(summary.id),
        }
    }
    missing.sort_unstable();
    Incomplete::PacksMissing { packs: missing }
}

/// A pack that may be copied from.
struct Candidate {
    at: usize,
    /// Holds trees, or both.
    trees: bool,
    must_compress: bool,
    small: bool,
}

/// Step 3.
fn fates(facts: &Facts<'_>, options: &PruneOptions, packs: &[PackUse], decision: &mut Decision) {
    let small_bytes = small_bytes(facts, options);
    let Decision { fates, stats, missing, expired, hollow, .. } = decision;
    let (mut candidates, mut small_ones) = (Vec::new(), Vec::new());
    for (at, (pack, summary)) in packs.iter().zip(facts.index.packs()).enumerate() {
        match fates[at] {
            Fate::Wait | Fate::Expire if pack.file_len.is_none() => hollow.push(summary.id),
            Fate::Wait => stats.packs_waiting += 1,
            Fate::Expire => {
                stats.packs_expired += 1;
                expired.push(summary.id);
            }
            _ => {}
        }
        if fates[at].is_marked() {
            continue;
        }
        let trees = summary.tree_blobs > 0;
        let mixed = trees && summary.data_blobs > 0;
        let uncompressed = summary.compressed_blobs < summary.data_blobs + summary.tree_blobs;
        let must_compress =
            facts.compresses && uncompressed && (trees && !mixed || options.repack_uncompressed);
        if pack.file_len.is_none() {
            missing.push(summary.id);
        } else {
            *match (pack.used.blobs, pack.unused.blobs) {
                (0, _) => &mut stats.packs_unused,
                (_, 0) => &mut stats.packs_used,
                _ => &mut stats.packs_partly_used,
            } += 1;
        }
        if pack.used.blobs == 0 {
            fates[at] = Fate::Remove;
            stats.packs_remove += u64::from(pack.file_len.is_some());
            stats.remove.add(pack.unused.blobs, pack.unused.bytes);
            continue;
        }
        if facts.compresses && uncompressed {
            stats.uncompressed_bytes += pack.len();
        }
        let candidate = Candidate { at, trees, must_compress, small: pack.len() < small_bytes };
        if options.repack_cacheable_only && !trees {
            continue;
        }
        if pack.unused.blobs > 0 || mixed || must_compress {
            candidates.push(candidate);
        } else if candidate.small {
            small_ones.push(candidate);
        }
    }
    if small_ones.len() >= SMALL_PACKS_MIN {
        candidates.append(&mut small_ones);
    }
    choose_repacks(facts, options, packs, candidates, decision);
    decision.stats.packs_keep = decision.fates.iter().filter(|fate| **fate == Fate::Keep).count() as u64;
    unindexed(facts, decision);
}

/// Takes candidates, the most worthwhile first, until the limits are reached.
fn choose_repacks(
    facts: &Facts<'_>,
    options: &PruneOptions,
    packs: &[PackUse],
    mut candidates: Vec<Candidate>,
    decision: &mut Decision,
) {
    candidates.sort_by(|a, b| {
        let (left, right) = (&packs[a.at], &packs[b.at]);
        let share = |unused: u64, used: u64| u128::from(unused) * u128::from(used);
        let more_unused =
            share(right.unused.bytes, left.used.bytes).cmp(&share(left.unused.bytes, right.used.bytes));
        let trees_first = b.trees.cmp(&a.trees);
        let name = |candidate: &Candidate| facts.index.packs()[candidate.at].id;
        trees_first.then(b.small.cmp(&a.small)).then(more_unused).then_with(|| name(a).cmp(&name(b)))
    });
    let limit = options.max_unused.bytes(decision.stats.used.bytes);
    let Decision { fates, stats, .. } = decision;
    for candidate in candidates {
        let pack = &packs[candidate.at];
        let over_budget = stats.repack.bytes.saturating_add(pack.len()) >= options.repack_limit();
        let enough = stats.unused_after() < limit && !candidate.small;
        if over_budget || enough && !candidate.trees && !candidate.must_compress {
            continue;
        }
        fates[candidate.at] = Fate::Repack;
        stats.packs_repack += 1;
        stats.repack.add(pack.used.blobs + pack.unused.blobs, pack.len());
        stats.repack_removes.add(pack.unused.blobs, pack.unused.bytes);
        let summary = &facts.index.packs()[candidate.at];
        if facts.compresses && summary.compressed_blobs < summary.data_blobs + summary.tree_blobs {
            stats.uncompressed_bytes = stats.uncompressed_bytes.saturating_sub(pack.len());
        }
    }
}

/// Below how many bytes a pack is small: 80 percent of what nearly all packs here reach.
fn small_bytes(facts: &Facts<'_>, options: &PruneOptions) -> u64 {
    if let Some(bytes) = options.repack_smaller_than {
        return bytes;
    }
    if options.repack_small {
        return options.writer.pack_size.bytes() as u64 / 5 * 4;
    }
    let mut sizes: Vec<u64> = facts.existing.values().copied().collect();
    sizes.sort_unstable();
    let third_percentile = sizes.get(sizes.len() * 3 / 100).copied().unwrap_or_default();
    third_percentile.max(SMALL_BYTES) / 5 * 4
}

/// Packs that exist and that no index file lists: left behind by a run that was stopped, or not listed yet.
fn unindexed(facts: &Facts<'_>, decision: &mut Decision) {
    let indexed = facts.index.packs();
    let is_unknown = |pack: &PackId| indexed.binary_search_by_key(pack, |summary| summary.id).is_err();
    let unknown = facts.existing.iter().filter(|(pack, _)| is_unknown(pack));
    decision.unindexed = unknown.map(|(pack, size)| (*pack, *size)).collect();
    decision.unindexed.sort_unstable();
    decision.stats.packs_unindexed = decision.unindexed.len() as u64;
    decision.stats.unindexed_bytes = decision.unindexed.iter().map(|(_, size)| size).sum();
}

/// Step 4: which copies are moved, and which must prove themselves because others go.
fn moves(facts: &Facts<'_>, decision: &mut Decision) -> Result<(), Incomplete> {
    let Decision { fates, moves, vouch, .. } = decision;
    let (mut count, mut first) = (0, None);
    for_each_blob(facts.index, |blob, copies| {
        if !facts.used.contains(blob) {
            return;
        }
        let with = |fate| copies.iter().find(|copy| fates[copy.pack] == fate);
        match with(Fate::Keep) {
            // What is marked was vouched for when it was.
            Some(_) if copies.iter().all(|copy| !fates[copy.pack].leaves_the_index()) => {}
            Some(stays) => vouch.push(stays.number),
            None => {
                if let Some(moved) = with(Fate::Repack) {
                    moves.push(moved.number);
                } else {
                    count += 1;
                    first.get_or_insert(*blob);
                }
            }
        }
    });
    if let Some(first) = first {
        return Err(Incomplete::Blobs { count, first });
    }
    let lies = |number: &u32| facts.index.copy_at(*number).map(|copy| (copy.pack, copy.place.offset));
    moves.sort_by_cached_key(lies);
    vouch.sort_by_cached_key(lies);
    Ok(())
}

/// The copies of a list of numbers, pack by pack.
pub(super) fn by_pack<'a>(index: &'a Index, numbers: &'a [u32]) -> impl Iterator<Item = Vec<BlobCopy>> + 'a {
    let pack = |number: &u32| index.copy_at(*number).map(|copy| copy.pack);
    let groups = numbers.chunk_by(move |a, b| pack(a) == pack(b));
    groups.map(|group| group.iter().filter_map(|number| index.copy_at(*number)).collect())
}

fn cost(facts: &Facts<'_>, options: &PruneOptions, decision: &Decision) -> PruneCost {
    let mut cost = PruneCost::default();
    let mut moved = [0_u64; 2];
    for (numbers, is_move) in [(&decision.moves, true), (&decision.vouch, false)] {
        for copies in by_pack(facts.index, numbers) {
            if is_move {
                for copy in &copies {
                    moved[usize::from(copy.blob.kind == crate::id::BlobKind::Tree)] +=
                        u64::from(copy.place.len);
                }
            }
            let reads = join(copies.iter().map(|copy| (copy.place.range(), ())).collect());
            cost.read_requests += reads.len() as u64;
            cost.read_bytes += reads.iter().map(|read| read.range.end - read.range.start).sum::<u64>();
        }
    }
    let target = options.writer.pack_size.bytes() as u64;
    cost.written_bytes = moved.iter().sum();
    cost.write_requests = moved.iter().map(|bytes| bytes.div_ceil(target)).sum();
    let goes = decision.fates.iter().filter(|fate| fate.leaves_the_index()).count() as u64;
    cost.remove_requests = decision.stats.packs_expired;
    // Beside others, packs are marked this time; removing them is what a later run costs.
    if options.mode == PruneMode::Instant {
        cost.remove_requests += goes - decision.missing.len() as u64 + decision.unindexed.len() as u64;
    }
    if goes > 0 {
        let files = facts.index_files as u64;
        cost.read_requests += files;
        cost.remove_requests += files;
        let blobs: usize = decision.stats.remaining().blobs.try_into().unwrap_or(usize::MAX);
        cost.write_requests += blobs.div_ceil(50_000) as u64 + u64::from(!decision.moves.is_empty());
    }
    cost
}
