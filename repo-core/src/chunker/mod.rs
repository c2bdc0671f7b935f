//! File bytes → chunks.
//!
//! In: the bytes of a file from a chunk's start on, as far as they are read. Out: where the chunk ends. Cuts
//! follow content, so that bytes inserted in a file move the cuts with them and leave the other chunks as they
//! were. Never reads, names or copies anything; holds no state between calls.
//!
//! # One repository, one way to cut
//!
//! Readers take chunks as they come, whoever cut them. But a chunk that was stored before is found again only if
//! the same bytes are cut at the same places: the same algorithm with the same parameters. A file that is cut
//! another way is stored once more, whole. So the parameters belong to the repository: its config names the
//! polynomial, random for each one, and restic cuts with it just as [`ChunkerParams::Rabin`] does here. Two
//! repositories share chunks (when copying between them) only if the second was made with the first one's
//! parameters.
//!
//! A repository that chose [`ChunkerParams::FastCdc`] can be read, checked, pruned and added to by restic, but
//! restic goes on cutting by the polynomial: what both back up is stored twice, once in each one's chunks.
//! Directories are never cut and are always shared.

mod polynomial;
mod kernel;
mod rabin;
mod fastcdc;

pub use polynomial::{ParsePolynomialError, Polynomial};

use fastcdc::FastCdc;
use polynomial::DEGREE;
use rabin::Rabin;

/// How files are cut; part of a repository's config.
///
/// A source may have single files cut at [fixed places](Chunker::fixed) instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkerParams {
    /// As restic does: 512 KiB to 8 MiB, 1.5 MiB on average. The polynomial is irreducible and of degree 53.
    Rabin(Polynomial),
    /// `FastCDC` (2020, normalisation level 1). Lengths in bytes; even, and rising.
    FastCdc {
        /// Shortest chunk but for a file's last one: 64 bytes to 1 MiB.
        min: u32,
        /// Aim: 256 bytes to 4 MiB.
        average: u32,
        /// Longest chunk: 1 KiB to 16 MiB.
        max: u32,
    },
}

impl ChunkerParams {
    /// `FastCDC` with lengths like restic's: 512 KiB, 1 MiB, 8 MiB.
    pub const FAST_CDC: Self = Self::FastCdc { min: 512 << 10, average: 1 << 20, max: 8 << 20 };
}

/// The shortest chunk of fixed length, in bytes: shorter ones cost more to name than to store.
pub const FIXED_LEN_MIN: usize = 4 << 10;

/// Why files cannot be cut with these parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkerError {
    /// The polynomial is not of degree 53.
    #[error("the chunker polynomial {polynomial} is not of degree {DEGREE}")]
    Degree {
        /// The polynomial.
        polynomial: Polynomial,
    },
    /// The polynomial is a product of smaller ones.
    #[error("the chunker polynomial {polynomial} is reducible")]
    Reducible {
        /// The polynomial.
        polynomial: Polynomial,
    },
    /// The lengths are odd, do not rise, or are out of bounds.
    #[error("chunks of {min} to {max} bytes, {average} on average, cannot be cut")]
    Sizes {
        /// The shortest, in bytes.
        min: u32,
        /// The aim, in bytes.
        average: u32,
        /// The longest, in bytes.
        max: u32,
    },
}

/// Cuts files. Has no state, so all threads can share one.
///
/// ```
/// use repo_core::chunker::{Chunker, ChunkerParams};
///
/// let chunker = Chunker::new(ChunkerParams::Rabin("3da3358b4dc173".parse()?))?;
/// let file = vec![0; 3_000_000];
/// let (mut rest, mut lengths) = (&file[..], Vec::new());
/// while let Some(len) = chunker.cut(rest, 0, true) {
///     lengths.push(len);
///     rest = &rest[len..];
/// }
/// assert_eq!(lengths, [524_288, 524_288, 524_288, 524_288, 524_288, 378_560]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Chunker(Algorithm);

enum Algorithm {
    Rabin(Rabin),
    FastCdc(FastCdc),
    Fixed(usize),
}

impl Chunker {
    /// Prepares to cut with these parameters; refuses those that would not cut as they should.
    pub fn new(params: ChunkerParams) -> Result<Self, ChunkerError> {
        Ok(Self(match params {
            ChunkerParams::Rabin(polynomial) if polynomial.degree() != Some(DEGREE) => {
                return Err(ChunkerError::Degree { polynomial });
            }
            ChunkerParams::Rabin(polynomial) if !polynomial.is_irreducible() => {
                return Err(ChunkerError::Reducible { polynomial });
            }
            ChunkerParams::Rabin(polynomial) => Algorithm::Rabin(Rabin::new(polynomial)),
            ChunkerParams::FastCdc { min, average, max } => {
                Algorithm::FastCdc(FastCdc::new(min, average, max)?)
            }
        }))
    }

    /// Cuts every `len` bytes, for files that change in place, such as images of disks.
    ///
    /// The length is raised to [`FIXED_LEN_MIN`] and lowered to `max_len`, so that it fits where chunks are kept.
    pub fn fixed(len: u32, max_len: usize) -> Self {
        let len = usize::try_from(len).unwrap_or(max_len);
        Self(Algorithm::Fixed(len.max(FIXED_LEN_MIN).min(max_len)))
    }

    /// The length of the chunk that `chunk` starts with, or `None` when it takes more bytes to tell.
    ///
    /// `chunk` holds the bytes from the chunk's start as far as they are read, and may reach into later chunks.
    /// `scanned` of them, from the start, were seen by an earlier call for this chunk that gave `None`; 0 is
    /// always right, but looks at them again. `last` says that no more bytes will come. With
    /// [`max_len`](Self::max_len) bytes, or with `last`, the answer is `None` for no bytes only.
    pub fn cut(&self, chunk: &[u8], scanned: usize, last: bool) -> Option<usize> {
        match &self.0 {
            Algorithm::Rabin(rabin) => rabin.cut(chunk, scanned, last),
            Algorithm::FastCdc(fastcdc) => fastcdc.cut(chunk, last),
            Algorithm::Fixed(len) if chunk.len() >= *len => Some(*len),
            Algorithm::Fixed(_) => (last && !chunk.is_empty()).then_some(chunk.len()),
        }
    }

    /// No chunk is longer, in bytes.
    pub fn max_len(&self) -> usize {
        match &self.0 {
            Algorithm::Rabin(_) => rabin::MAX,
            Algorithm::FastCdc(fastcdc) => fastcdc.max(),
            Algorithm::Fixed(len) => *len,
        }
    }

    /// Where a chunk is cut, for sure, that starts with so many zero bytes; `None` if that is not known.
    /// Spares reading holes of sparse files.
    pub fn zero_chunk_len(&self) -> Option<usize> {
        match &self.0 {
            Algorithm::Rabin(_) => Some(rabin::MIN),
            Algorithm::FastCdc(_) => None,
            Algorithm::Fixed(len) => Some(*len),
        }
    }
}

#[cfg(test)]
mod tests;
