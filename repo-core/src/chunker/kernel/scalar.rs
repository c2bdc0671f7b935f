//! The specification: restic's rolling hash, byte by byte.
//!
//! In, out: as the scan of the room. Slow and plain; the other kernels are tested against it, and it does what
//! is too short for them.

use super::{MASK, Tables, WINDOW};
use crate::chunker::polynomial::DEGREE;

/// The rolling hash over the last 64 bytes.
struct Hash<'a> {
    tables: &'a Tables,
    window: [u8; WINDOW],
    at: usize,
    digest: u64,
}

impl Hash<'_> {
    fn slide(&mut self, byte: u8) {
        self.digest ^= self.tables.leave[usize::from(self.window[self.at])];
        self.window[self.at] = byte;
        self.at = (self.at + 1) % WINDOW;
        let top = usize::try_from(self.digest >> (DEGREE - 8)).expect("the digest has 53 bits");
        self.digest = (self.digest << 8 | u64::from(byte)) ^ self.tables.reduce[top];
    }
}

/// The hash of a window that starts empty and takes these bytes.
fn hash<'a>(tables: &'a Tables, bytes: &[u8]) -> Hash<'a> {
    let mut hash = Hash { tables, window: [0; WINDOW], at: 0, digest: 0 };
    for &byte in bytes {
        hash.slide(byte);
    }
    hash
}

/// See [`Scanner::scan`](super::Scanner::scan).
pub(super) fn scan(tables: &Tables, data: &[u8], from: usize, to: usize) -> Option<usize> {
    if from > to {
        return None;
    }
    let mut hash = hash(tables, &data[from - 1 - WINDOW..from - 1]);
    (from..=to).find(|position| {
        hash.slide(data[position - 1]);
        hash.digest & MASK == 0
    })
}

/// The hash of these bytes.
#[cfg(test)]
pub(super) fn digest(tables: &Tables, bytes: &[u8]) -> u64 {
    hash(tables, bytes).digest
}
