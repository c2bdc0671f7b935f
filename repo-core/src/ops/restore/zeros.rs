//! Which bytes of a blob are zeros that need no room. Pure.

/// Runs of zeros shorter than this are written: a hole costs a call and tears the file apart.
const RUN_BYTES_MIN: usize = 64 << 10;

/// Holes cover whole blocks of so many bytes.
const BLOCK_BYTES: usize = 4096;

static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// A piece of a blob and where in the file it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes to write.
    Data(u64, &'a [u8]),
    /// So many zeros.
    Zeros(u64, u64),
}

/// Takes a blob that belongs at `offset` apart; the pieces come in order and leave nothing out. Zeros alone are one piece,
/// however few.
pub(super) fn pieces(offset: u64, bytes: &[u8]) -> Vec<Piece<'_>> {
    let into = usize::try_from(offset % BLOCK_BYTES as u64).unwrap_or(0);
    let block = |at: usize| at..(at + BLOCK_BYTES - (at + into) % BLOCK_BYTES).min(bytes.len());
    let is_zero = |at: usize| bytes.get(block(at)).is_some_and(|block| *block == ZEROS[..block.len()]);
    let mut pieces = Vec::new();
    let (mut data, mut at) = (0, 0);
    while at < bytes.len() {
        if !is_zero(at) {
            at = block(at).end;
            continue;
        }
        let start = at;
        while at < bytes.len() && is_zero(at) {
            at = block(at).end;
        }
        if at - start >= RUN_BYTES_MIN || at - start == bytes.len() {
            pieces.extend(data_piece(offset, bytes, data, start));
            pieces.push(Piece::Zeros(offset + start as u64, (at - start) as u64));
            data = at;
        }
    }
    pieces.extend(data_piece(offset, bytes, data, bytes.len()));
    pieces
}

fn data_piece(offset: u64, bytes: &[u8], start: usize, end: usize) -> Option<Piece<'_>> {
    let piece = bytes.get(start..end).filter(|piece| !piece.is_empty())?;
    Some(Piece::Data(offset + start as u64, piece))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_long_runs_and_blobs_of_zeros_alone_are_holes() {
        let zeros = vec![0; 100_000];
        let check = |offset: u64, bytes: &[u8], expected: &[Piece<'_>]| {
            assert_eq!(pieces(offset, bytes), expected);
        };
        check(5, &[], &[]);
        check(5, &[0, 0], &[Piece::Zeros(5, 2)]);
        check(5, &[0, 1], &[Piece::Data(5, &[0, 1])]);
        check(5, &zeros, &[Piece::Zeros(5, 100_000)]);
        let late = [&[1], &zeros[..]].concat();
        // The hole begins where a block of the file does.
        check(4095, &late, &[Piece::Data(4095, &[1]), Piece::Zeros(4096, 100_000)]);
        check(0, &late, &[Piece::Data(0, &late[..4096]), Piece::Zeros(4096, 95_905)]);
        let short = [&[1], &zeros[..60_000]].concat();
        check(4095, &short, &[Piece::Data(4095, &short)]);
    }

    proptest! {
        #[test]
        fn pieces_put_together_are_the_blob(
            offset in 0..20_000_u64,
            runs in prop::collection::vec((0..3_u8, 0..150_000_usize), 0..5),
        ) {
            let bytes: Vec<u8> = runs.iter().flat_map(|(byte, len)| std::iter::repeat_n(*byte / 2, *len)).collect();
            let mut copy = Vec::new();
            for piece in pieces(offset, &bytes) {
                let (at, len) = match piece {
                    Piece::Data(at, data) => { copy.extend(data); (at, data.len() as u64) }
                    Piece::Zeros(at, len) => { copy.resize(copy.len() + usize::try_from(len).unwrap(), 0); (at, len) }
                };
                prop_assert_eq!(at + len, offset + copy.len() as u64);
                prop_assert!(len > 0);
            }
            prop_assert!(copy == bytes);
        }
    }
}
