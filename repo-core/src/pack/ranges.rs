//! Turns "these blobs of one pack" into few large reads.
//!
//! In: the blobs' ranges inside one pack. Out: rising, disjoint ranges to read, each with the blobs in it.
//! A small gap is read along, because a request costs more than some spare bytes. Pure, no I/O.

use std::ops::Range;

/// Bytes between two blobs that are read along rather than asked for apart.
const GAP_MAX: u64 = 1024 * 1024;

/// A read grows no further than this; one blob may still be larger.
const READ_MAX: u64 = 32 * 1024 * 1024;

/// One read and the blobs it brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined<T> {
    /// The bytes of the pack to read.
    pub range: Range<u64>,
    /// The blobs inside, each with its own range of the pack.
    pub blobs: Vec<(Range<u64>, T)>,
}

/// Joins blobs of one pack into reads of at most 32 MiB, reading along gaps of at most 1 MiB.
///
/// Every blob lies inside exactly one read, in rising order. Empty in, empty out.
pub fn join<T>(mut blobs: Vec<(Range<u64>, T)>) -> Vec<Joined<T>> {
    blobs.sort_by_key(|(range, _)| (range.start, range.end));
    let mut reads: Vec<Joined<T>> = Vec::new();
    for (range, blob) in blobs {
        match reads.last_mut() {
            Some(read)
                if range.start <= read.range.end.saturating_add(GAP_MAX)
                    && range.end.saturating_sub(read.range.start) <= READ_MAX =>
            {
                read.range.end = read.range.end.max(range.end);
                read.blobs.push((range, blob));
            }
            _ => reads.push(Joined { range: range.clone(), blobs: vec![(range, blob)] }),
        }
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of ranges, not lists of numbers")]
    fn neighbours_become_one_read_and_distant_blobs_do_not() {
        let read = |start: u64, end: u64, blobs: &[Range<u64>]| Joined {
            range: start..end,
            blobs: blobs.iter().map(|range| (range.clone(), ())).collect(),
        };
        let check = |ranges: &[Range<u64>], expected: &[Joined<()>]| {
            assert_eq!(join(ranges.iter().map(|range| (range.clone(), ())).collect()), expected);
        };
        let (mib, far) = (GAP_MAX, 100 * GAP_MAX);
        check(&[], &[]);
        check(&[10..20, 0..10], &[read(0, 20, &[0..10, 10..20])]);
        check(&[0..10, mib + 10..mib + 20], &[read(0, mib + 20, &[0..10, mib + 10..mib + 20])]);
        check(
            &[0..10, mib + 11..mib + 20],
            &[read(0, 10, &[0..10]), read(mib + 11, mib + 20, &[mib + 11..mib + 20])],
        );
        check(&[0..far, far..far + 1], &[read(0, far, &[0..far]), read(far, far + 1, &[far..far + 1])]);
    }

    proptest! {
        #[test]
        fn every_blob_lies_in_one_read(starts in prop::collection::vec((0..80_000_000_u64, 1..9_000_000_u64), 0..60)) {
            let blobs: Vec<_> = starts.iter().map(|&(start, len)| (start..start + len, start)).collect();
            let reads = join(blobs.clone());
            let mut seen = 0;
            for read in &reads {
                for (range, start) in &read.blobs {
                    prop_assert!(read.range.start <= range.start && range.end <= read.range.end);
                    prop_assert_eq!(range.start, *start);
                    seen += 1;
                }
                prop_assert!(read.range.end - read.range.start <= READ_MAX);
            }
            prop_assert_eq!(seen, blobs.len());
        }
    }
}
