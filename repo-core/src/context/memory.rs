//! How much memory a run may take for bytes that are on their way: packs, chunks, what is read ahead.
//!
//! In: one number, or none. Out: how many threads, and how many bytes in queues, an operation may have. What does not
//! depend on such choices is set aside; the index comes on top (about 40 bytes for each blob of the repository), and
//! so does the largest folder (about 1 KiB for each entry).

/// A limit on the memory of a run, in bytes, or none. Nothing is refused for lack of it: at the least, one of everything
/// is under way.
///
/// ```
/// use repo_core::MemoryLimit;
///
/// let limit = MemoryLimit::bytes(256 << 20);
/// assert_eq!(limit.threads(16, 32 << 20), 5);
/// assert_eq!(MemoryLimit::default().threads(16, 32 << 20), 16);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryLimit {
    limit: Option<u64>,
    /// So many stages share it, less one.
    others: u64,
}

impl MemoryLimit {
    /// Set aside for what is always there: the program, its threads, the derivation of the key, buffers of files.
    pub const ASIDE: u64 = 96 << 20;

    /// The least that makes sense: beside what is set aside, room for a pack that is read and one that is written.
    pub const LEAST: u64 = Self::ASIDE + (32 << 20);

    /// As near to this as an operation comes.
    pub fn bytes(limit: u64) -> Self {
        Self { limit: Some(limit), others: 0 }
    }

    /// For each of two stages that are at work together.
    #[must_use]
    pub fn half(self) -> Self {
        self.share(2)
    }

    /// For each of so many stages that are at work together, at least one.
    #[must_use]
    pub fn share(self, stages: usize) -> Self {
        let shares = (self.others + 1).saturating_mul(stages.max(1) as u64);
        Self { others: shares - 1, ..self }
    }

    /// `wanted` bytes, or what there is for them.
    pub fn allows(self, wanted: u64) -> u64 {
        self.limit.map_or(wanted, |limit| wanted.min(limit.saturating_sub(Self::ASIDE) / (self.others + 1)))
    }

    /// So many threads as `wanted`, or as few as there is room for if each needs so many bytes; at least one.
    pub fn threads(self, wanted: usize, bytes_each: u64) -> usize {
        let all = bytes_each.saturating_mul(wanted as u64);
        let count = self.allows(all) / bytes_each.max(1);
        usize::try_from(count).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_is_not_given_away_and_halves_are_halves() {
        let limit = MemoryLimit::bytes(MemoryLimit::ASIDE + 100);
        let check = |limit: MemoryLimit, wanted, expected| assert_eq!(limit.allows(wanted), expected);
        check(MemoryLimit::default(), u64::MAX, u64::MAX);
        check(limit, 99, 99);
        check(limit, 101, 100);
        check(limit.half(), 101, 50);
        check(limit.half().half(), 101, 25);
        check(limit.half().share(5), 101, 10);
        check(MemoryLimit::bytes(1), 101, 0);
    }

    #[test]
    fn there_is_always_one_thread_and_never_one_more_than_wanted() {
        let limit = MemoryLimit::bytes(MemoryLimit::ASIDE + 100);
        let check =
            |wanted, each, expected| assert_eq!(limit.threads(wanted, each), expected, "{wanted} × {each}");
        check(8, 30, 3);
        check(2, 30, 2);
        check(8, 1000, 1);
        check(8, 0, 1);
        check(0, 30, 1);
    }
}
