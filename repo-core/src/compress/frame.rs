//! The outside of zstd frames (RFC 8878, section 3.1.1): walking over one, and writing one of raw blocks.
//!
//! In: bytes. Out: where the frame ends and how much it can hold, known before anything is decompressed. Never
//! looks into a compressed block.

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A block holds at most so many bytes.
const BLOCK_MAX: usize = 128 << 10;

/// The largest window accepted: 128 MiB.
const WINDOW_MAX: u64 = 1 << 27;

/// What a frame's header and its blocks' headers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline {
    /// Length of the content, if the header says.
    pub(super) content: Option<u64>,
    /// The content cannot be longer.
    pub(super) content_max: u64,
}

impl Outline {
    /// Walks over `frame`; `None` unless it is one whole frame, no more and no less.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let mut rest = frame.strip_prefix(&MAGIC)?;
        let descriptor = take_number(&mut rest, 1)?;
        let single_segment = descriptor & 0x20 != 0;
        let reserved = descriptor & 0x08 != 0;
        if reserved {
            return None;
        }
        let window = if single_segment { None } else { Some(window(take_number(&mut rest, 1)?)) };
        if window.is_some_and(|window| window > WINDOW_MAX) {
            return None;
        }
        let dictionary_len = match descriptor & 0x03 {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => 4,
        };
        take_number(&mut rest, dictionary_len)?;
        let content = match descriptor >> 6 {
            0 if single_segment => Some(take_number(&mut rest, 1)?),
            0 => None,
            1 => Some(take_number(&mut rest, 2)? + 256),
            2 => Some(take_number(&mut rest, 4)?),
            _ => Some(take_number(&mut rest, 8)?),
        };
        let block_max = window.or(content).map_or(BLOCK_MAX as u64, |window| window.min(BLOCK_MAX as u64));
        let content_max = take_blocks(&mut rest, block_max)?;
        let checksum = descriptor & 0x04 != 0;
        take_number(&mut rest, if checksum { 4 } else { 0 })?;
        rest.is_empty().then_some(Self { content, content_max })
    }
}

/// Size of the window that a window descriptor means.
fn window(descriptor: u64) -> u64 {
    let base = 1 << (10 + (descriptor >> 3));
    base + base / 8 * (descriptor & 7)
}

/// Walks over all blocks; gives what they can hold together.
fn take_blocks(rest: &mut &[u8], block_max: u64) -> Option<u64> {
    let mut content_max = 0;
    loop {
        let header = take_number(rest, 3)?;
        let size = header >> 3;
        let (stored, holds) = match header >> 1 & 3 {
            0 => (size, size),      // raw
            1 => (1, size),         // one byte, repeated
            2 => (size, block_max), // compressed
            _ => return None,
        };
        *rest = rest.get(usize::try_from(stored).ok()?..)?;
        content_max += holds;
        if header & 1 == 1 {
            return Some(content_max);
        }
    }
}

/// Takes a little-endian number of up to 8 bytes from the front.
fn take_number(rest: &mut &[u8], len: usize) -> Option<u64> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// Appends a frame that holds `plain` in raw blocks.
///
/// Up to one block the content is its own window ("single segment"); longer content gets a window of one block,
/// so that a streaming reader need not hold more.
pub(super) fn store(plain: &[u8], out: &mut Vec<u8>) {
    const SINGLE_SEGMENT: u8 = 0x20;
    const WINDOW_OF_ONE_BLOCK: u8 = 7 << 3; // 2^(10 + 7) bytes
    let len = plain.len() as u64;
    out.reserve(plain.len() + 14 + 3 * plain.len().div_ceil(BLOCK_MAX).max(1));
    out.extend_from_slice(&MAGIC);
    let number = len.to_le_bytes();
    if len <= 0xff {
        out.extend_from_slice(&[SINGLE_SEGMENT, number[0]]);
    } else if plain.len() <= BLOCK_MAX {
        out.push(0x80 | SINGLE_SEGMENT);
        out.extend_from_slice(&number[..4]);
    } else if u32::try_from(len).is_ok() {
        out.extend_from_slice(&[0x80, WINDOW_OF_ONE_BLOCK]);
        out.extend_from_slice(&number[..4]);
    } else {
        out.extend_from_slice(&[0xc0, WINDOW_OF_ONE_BLOCK]);
        out.extend_from_slice(&number);
    }
    let mut rest = plain;
    loop {
        let (block, tail) = rest.split_at(rest.len().min(BLOCK_MAX));
        rest = tail;
        let header = block.len() << 3 | usize::from(rest.is_empty());
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.extend_from_slice(block);
        if rest.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_descriptors_mean_what_the_rfc_says() {
        for (descriptor, size) in [(0, 1024), (0x58, 2 << 20), (0x38, 128 << 10), (7, 1920), (0x88, 1 << 27)]
        {
            assert_eq!(window(descriptor), size, "{descriptor:#x}");
        }
        assert!(window(0xff) > WINDOW_MAX);
    }

    #[test]
    fn outline_adds_up_the_blocks() {
        let check = |bytes: &[u8], expected: Option<(Option<u64>, u64)>| {
            let outline = Outline::of(&[&MAGIC, bytes].concat());
            let expected = expected.map(|(content, content_max)| Outline { content, content_max });
            assert_eq!(outline, expected, "{bytes:x?}");
        };
        let raw = |len: u8, last: u8| [len << 3 | last, 0, 0];
        check(&[0x20, 0, 1, 0, 0], Some((Some(0), 0)));
        check(&[&[0x20, 2][..], &raw(2, 1), b"ab"].concat(), Some((Some(2), 2)));
        check(&[&[0x00, 0x58][..], &raw(1, 0), b"a", &raw(2, 1), b"bc"].concat(), Some((None, 3)));
        // repeated: 9 times one byte; compressed: as much as the window of 1 KiB allows
        check(&[0x00, 0x00, 9 << 3 | 2 | 1, 0, 0, b'a'], Some((None, 9)));
        check(&[0x00, 0x00, 2 << 3 | 4 | 1, 0, 0, 0, 0], Some((None, 1024)));
        check(&[0x40, 0x00, 1, 0, 1, 0, 0], Some((Some(257), 0)));
        check(&[0x04, 0x00, 1, 0, 0, 1, 2, 3, 4], Some((None, 0)));
        check(&[0x04, 0x00, 1, 0, 0, 1, 2, 3], None); // checksum cut off
        check(&[0x00, 0x00, 1, 0, 0, 0], None); // a byte too many
        check(&[0x00, 0x00, 0, 0, 0], None); // no last block
        check(&[0x00, 0x00, 7, 0, 0], None); // reserved kind of block
        check(&[0x08, 0x00, 1, 0, 0], None); // reserved bit
        check(&[0x00, 0x90, 1, 0, 0], None); // window of 256 MiB
        check(&[0x01, 0x00, 5, 1, 0, 0], Some((None, 0))); // names a dictionary
    }
}
