//! Which message is in which lane: longest first, a lane that ends takes the next.
//!
//! In: messages. Out: the name of each. The kernel only takes whole blocks of as many lanes as there are; here is what
//! keeps four of them full while there are four messages left, and pads each message (FIPS 180-4, section 5.1.1).

use std::ops::Range;

use super::kernel::{BLOCK, Kernel, LANES, State};
use crate::id::{ID_LEN, Id};

/// A message ends with its length in bits.
const LENGTH_BYTES: usize = 8;

/// Before the first block (FIPS 180-4, section 5.3.3).
const START: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A message on its way through.
struct Lane<'m> {
    /// Its number among the messages.
    number: usize,
    state: State,
    /// Its whole blocks, as far as they are not taken in.
    body: &'m [u8],
    /// What is left of it, with the padding: one block or two.
    tail: [u8; 2 * BLOCK],
    /// What of that is not taken in.
    tail_left: Range<usize>,
}

/// Hashes all messages; `named` gets the number and the name of each.
pub(super) fn hash(kernel: Kernel, messages: &[&[u8]], mut named: impl FnMut(usize, Id)) {
    let mut order: Vec<usize> = (0..messages.len()).collect();
    // Shortest first, since the next is taken from the end.
    order.sort_unstable_by_key(|number| messages[*number].len());
    let mut waiting = order.into_iter().rev().map(|number| Lane::new(number, messages[number]));
    let mut lanes: Vec<Lane<'_>> = waiting.by_ref().take(LANES).collect();
    while let Some(count) = lanes.iter().map(Lane::blocks).min() {
        match &mut lanes[..] {
            [a, b, c, d] => advance(kernel, [a, b, c, d], count),
            [a, b, c] => advance(kernel, [a, b, c], count),
            [a, b] => advance(kernel, [a, b], count),
            [a, ..] => advance(kernel, [a], count),
            [] => return,
        }
        for at in (0..lanes.len()).rev() {
            if lanes[at].blocks() > 0 {
                continue;
            }
            named(lanes[at].number, lanes[at].name());
            match waiting.next() {
                Some(lane) => lanes[at] = lane,
                None => drop(lanes.swap_remove(at)),
            }
        }
    }
}

/// Takes so many blocks into each lane.
fn advance<const N: usize>(kernel: Kernel, lanes: [&mut Lane<'_>; N], count: usize) {
    kernel.compress(lanes.map(|lane| lane.take(count * BLOCK)));
}

impl<'m> Lane<'m> {
    fn new(number: usize, message: &'m [u8]) -> Self {
        let (body, rest) = message.split_at(message.len() / BLOCK * BLOCK);
        let mut tail = [0; 2 * BLOCK];
        tail[..rest.len()].copy_from_slice(rest);
        tail[rest.len()] = 0x80;
        let end = if rest.len() + 1 + LENGTH_BYTES <= BLOCK { BLOCK } else { 2 * BLOCK };
        let bits = message.len() as u64 * 8;
        tail[end - LENGTH_BYTES..end].copy_from_slice(&bits.to_be_bytes());
        Self { number, state: START, body, tail, tail_left: 0..end }
    }

    /// How many blocks can be taken in at once; none when all are.
    fn blocks(&self) -> usize {
        if self.body.is_empty() { self.tail_left.len() / BLOCK } else { self.body.len() / BLOCK }
    }

    /// The state, and the next bytes for it.
    fn take(&mut self, len: usize) -> (&mut State, &[u8]) {
        let bytes = if self.body.is_empty() {
            let start = self.tail_left.start;
            self.tail_left.start += len;
            &self.tail[start..start + len]
        } else {
            let (bytes, rest) = self.body.split_at(len);
            self.body = rest;
            bytes
        };
        (&mut self.state, bytes)
    }

    fn name(&self) -> Id {
        let mut bytes = [0; ID_LEN];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        Id::new(bytes)
    }
}
