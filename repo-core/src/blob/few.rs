//! Blobs that are opened and named side by side: which go together, and the memory that they leave behind.

use std::iter::Peekable;

/// So many at once keep the lanes of the hash busy.
pub(crate) const FEW: usize = 4;

/// So many plain bytes they may have together; a longer one is opened alone.
const BYTES_MAX: u64 = 8 << 20;

/// Room for one opened blob that is kept for the next.
const KEPT: usize = 4 << 20;

/// The next ones that go together; at least one, if there is any. `len` gives their plain length in bytes.
pub(crate) fn next_few<T>(left: &mut Peekable<impl Iterator<Item = T>>, len: impl Fn(&T) -> u64) -> Vec<T> {
    let mut few = Vec::with_capacity(FEW);
    let mut bytes = 0;
    while few.len() < FEW
        && let Some(next) = left.next_if(|next| bytes == 0 || bytes + len(next) <= BYTES_MAX)
    {
        bytes += len(&next).max(1);
        few.push(next);
    }
    few
}

/// Gives back what a long blob has taken.
pub(crate) fn trim(plains: &mut [Vec<u8>]) {
    for long in plains.iter_mut().filter(|plain| plain.capacity() > KEPT) {
        *long = Vec::new();
    }
}
