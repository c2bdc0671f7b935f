//! The `FastCDC` chunker of 2020, for repositories that chose it.
//!
//! In, out: as the chunker. The hash starts anew with each chunk, so nothing can be said about a part of one:
//! it waits until the longest possible chunk or the end of the file is there, and then looks once.

use fastcdc::v2020::{self, Normalization};

use crate::chunker::ChunkerError;

pub(super) struct FastCdc {
    min: usize,
    average: usize,
    max: usize,
    strict: u64,
    relaxed: u64,
}

impl FastCdc {
    /// Returns [`ChunkerError::Sizes`] unless the lengths rise, are even, and within what the algorithm allows.
    pub(super) fn new(min: u32, average: u32, max: u32) -> Result<Self, ChunkerError> {
        let refused = ChunkerError::Sizes { min, average, max };
        let size = |size: u32, low: usize, high: usize| match usize::try_from(size) {
            Ok(size) if size % 2 == 0 && (low..=high).contains(&size) => Ok(size),
            _ => Err(refused),
        };
        let rising = min <= average && average <= max;
        let min = size(min, v2020::MINIMUM_MIN, v2020::MINIMUM_MAX)?;
        let average = size(average, v2020::AVERAGE_MIN, v2020::AVERAGE_MAX)?;
        let max = size(max, v2020::MAXIMUM_MIN, v2020::MAXIMUM_MAX)?;
        let (strict, relaxed) = v2020::select_masks(average, Normalization::Level1);
        if rising { Ok(Self { min, average, max, strict, relaxed }) } else { Err(refused) }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// See [`Chunker::cut`](super::Chunker::cut).
    pub(super) fn cut(&self, chunk: &[u8], last: bool) -> Option<usize> {
        if chunk.is_empty() || (!last && chunk.len() < self.max) {
            return None;
        }
        let Self { min, average, max, strict, relaxed } = *self;
        let (_, len) = v2020::cut(chunk, min, average, max, strict, relaxed, strict << 1, relaxed << 1);
        Some(len)
    }
}
