//! Bytes ⇄ zstd frames.
//!
//! In: plain bytes. Out: one frame, without checksum (a MAC and a name cover it already); and back. Contexts
//! are kept and reused: making one costs more than compressing a small blob. Decoding is bounded by a length
//! the caller knows or allows, and happens in one go, so a frame's window needs no memory. Which bytes get
//! compressed, and what marks them, is decided elsewhere.

mod frame;

use std::fmt;
use std::io::{self, Cursor};
use std::str::FromStr;

use crate::compress::frame::Outline;

/// How hard to compress. Restic's words, or a level of zstd.
///
/// ```
/// use repo_core::compress::Compression;
///
/// assert_eq!("auto".parse(), Ok(Compression::Auto));
/// assert_eq!("19".parse(), Ok(Compression::Level(19)));
/// assert_eq!(Compression::Max.to_string(), "max");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// File content is not compressed. Directories and records still are, they cost next to nothing.
    Off,
    /// Level 1: a tenth faster than `Auto`, some 7 % larger.
    Fastest,
    /// Level 2: what restic's `auto` stores, or less. Restic's encoder is another one than zstd's, so its
    /// "level 3" compares with zstd's level 2; level 3 would take 1.3 times as long.
    #[default]
    Auto,
    /// Level 7.
    Better,
    /// Level 11: restic's `max`. Higher levels cost far more than they save.
    Max,
    /// A level of zstd: 1 to 22, or below zero for speed alone. Values beyond what zstd knows count as its
    /// nearest one.
    Level(i32),
}

impl Compression {
    /// From this level on size matters more than time: nothing is skipped.
    const THOROUGH: i32 = 7;

    fn level(self) -> i32 {
        match self {
            Self::Fastest => 1,
            Self::Off | Self::Auto => 2,
            Self::Better => 7,
            Self::Max => 11,
            Self::Level(level) => level,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.pad("off"),
            Self::Fastest => f.pad("fastest"),
            Self::Auto => f.pad("auto"),
            Self::Better => f.pad("better"),
            Self::Max => f.pad("max"),
            Self::Level(level) => level.fmt(f),
        }
    }
}

/// Returned when a text names no way to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("compression is off, fastest, auto, better, max, or a zstd level from -7 to 22 without 0")]
pub struct ParseCompressionError;

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, ParseCompressionError> {
        Ok(match text {
            "off" => Self::Off,
            "fastest" => Self::Fastest,
            "auto" => Self::Auto,
            "better" => Self::Better,
            "max" => Self::Max,
            _ => match text.parse() {
                Ok(level @ (-7..=-1 | 1..=22)) => Self::Level(level),
                _ => return Err(ParseCompressionError),
            },
        })
    }
}

/// Makes frames. Keeps its working memory; belongs to one thread at a time.
pub struct Compressor {
    compression: Compression,
    context: zstd::bulk::Compressor<'static>,
}

impl Compressor {
    /// Gets ready to compress this hard.
    ///
    /// # Panics
    /// If there is no memory for zstd's context, as any small allocation would.
    pub fn new(compression: Compression) -> Self {
        let context = zstd::bulk::Compressor::new(compression.level())
            .expect("zstd takes any number for the nearest level it knows");
        Self { compression, context }
    }

    /// Appends one frame that holds `plain`.
    ///
    /// With [`Compression::Off`], and for bytes that look or turn out incompressible, that is a frame of raw
    /// blocks as [`store`](Self::store) makes it; likewise should zstd find no memory to work in.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let thrifty = self.compression.level() < Compression::THOROUGH && plain.len() >= PROBE_MIN;
        if self.compression == Compression::Off || (thrifty && looks_random(plain)) {
            return self.store(plain, out);
        }
        let start = out.len();
        out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        let mut end = Cursor::new(&mut *out);
        end.set_position(start as u64);
        let result = self.context.compress_to_buffer(plain, &mut end);
        let enough = if thrifty { plain.len() - plain.len() / WORTHWHILE } else { usize::MAX };
        if !result.is_ok_and(|len| len <= enough) {
            out.truncate(start);
            self.store(plain, out);
        }
    }

    /// Appends one frame that holds `plain` in raw blocks, uncompressed: 3 bytes more per 128 KiB, and a header
    /// of at most 14.
    pub fn store(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        frame::store(plain, out);
    }
}

/// What zstd saves less of than one part in so many is not worth decompressing later.
const WORTHWHILE: usize = 50;

/// From this length on a look at the bytes may spare zstd's.
const PROBE_MIN: usize = PROBES * PROBE_LEN * 2;
const PROBES: usize = 16;
const PROBE_LEN: usize = 512;

/// Whether samples of the bytes have the histogram of random ones: compressed or encrypted before.
///
/// Compares the sum of the squared counts of 8192 sampled bytes with what random bytes give, about 270 300. Chance
/// moves that by 0.3 %; 3 % is allowed. Below that margin lie bytes that are *too* even to be random, like a
/// counter's, and those compress well.
fn looks_random(bytes: &[u8]) -> bool {
    const SAMPLED: usize = PROBES * PROBE_LEN;
    const RANDOM: usize = SAMPLED + SAMPLED * (SAMPLED - 1) / 256;
    const MARGIN: usize = RANDOM * 3 / 100;
    let mut counts = [0_usize; 256];
    for part in bytes.chunks_exact((bytes.len() / PROBES).max(PROBE_LEN)).take(PROBES) {
        for &byte in &part[..PROBE_LEN] {
            counts[usize::from(byte)] += 1;
        }
    }
    let squares: usize = counts.iter().map(|count| count * count).sum();
    squares.abs_diff(RANDOM) <= MARGIN
}

/// Why a frame gave no bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// Not exactly one complete zstd frame with a window of at most 128 MiB.
    #[error("the bytes are not one whole zstd frame")]
    NotOneFrame,
    /// The content has another length than it should.
    #[error("the frame does not hold the {expected} bytes it should")]
    WrongLength {
        /// The length it should have, in bytes.
        expected: usize,
    },
    /// The content is longer than allowed.
    #[error("the frame holds more than {limit} bytes")]
    TooLong {
        /// The longest content allowed, in bytes.
        limit: usize,
    },
    /// There is no memory for the content.
    #[error("no memory for {len} bytes of content")]
    Memory {
        /// The bytes needed.
        len: usize,
    },
    /// The frame is damaged inside.
    #[error("the frame is damaged")]
    Damaged(#[source] io::Error),
}

/// Reads frames. Keeps its working memory; belongs to one thread at a time.
///
/// Accepts frames of any encoder: with or without content length or checksum.
#[derive(Default)]
pub struct Decompressor {
    context: zstd::bulk::Decompressor<'static>,
}

impl Decompressor {
    /// Gets ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the content of `out` with the frame's, which must be exactly `plain_len` bytes long.
    ///
    /// Leaves `out` empty on error. Allocates no more than `plain_len`, and that only if the frame's blocks can
    /// hold as much.
    pub fn decompress_exact(
        &mut self,
        frame: &[u8],
        plain_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        out.clear();
        let wrong_length = DecompressError::WrongLength { expected: plain_len };
        let outline = Outline::of(frame).ok_or(DecompressError::NotOneFrame)?;
        let wanted = plain_len as u64;
        if outline.content_max < wanted || outline.content.is_some_and(|content| content != wanted) {
            return Err(wrong_length);
        }
        self.fill(frame, plain_len, out)?;
        if out.len() != plain_len {
            out.clear();
            return Err(wrong_length);
        }
        Ok(())
    }

    /// Replaces the content of `out` with the frame's, of unknown length up to `limit` bytes.
    ///
    /// Leaves `out` empty on error. Allocates what the frame says or what its blocks can hold, at most `limit`.
    pub fn decompress_bounded(
        &mut self,
        frame: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        out.clear();
        let outline = Outline::of(frame).ok_or(DecompressError::NotOneFrame)?;
        let too_long = DecompressError::TooLong { limit };
        let room = match outline.content {
            Some(content) if content > limit as u64 => return Err(too_long),
            Some(content) => content.min(outline.content_max),
            None => outline.content_max,
        };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        match self.fill(frame, room.min(limit), out) {
            // With less room than the blocks can need, want of room is the likely reason.
            Err(DecompressError::Damaged(_)) if room > limit => Err(too_long),
            Err(error) => Err(error),
            Ok(()) if out.len() > limit => {
                out.clear();
                Err(too_long)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Decompresses into an empty `out` with room for at least `len` bytes.
    fn fill(&mut self, frame: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        out.try_reserve_exact(len).map_err(|_| DecompressError::Memory { len })?;
        let result = self.context.decompress_to_buffer(frame, out);
        result.map(drop).map_err(DecompressError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes without any pattern.
    fn noise(len: usize) -> Vec<u8> {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()[3]
        };
        (0..len).map(|_| next()).collect()
    }

    fn text(len: usize) -> Vec<u8> {
        let lines = (0_usize..).map(|i| format!("line {i}: {} of the ledger\n", i * i % 977));
        lines.flat_map(String::into_bytes).take(len).collect()
    }

    fn compress(compression: Compression, plain: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        Compressor::new(compression).compress(plain, &mut frame);
        frame
    }

    fn exact(frame: &[u8], len: usize) -> Result<Vec<u8>, DecompressError> {
        let mut out = b"old".to_vec();
        let result = Decompressor::new().decompress_exact(frame, len, &mut out);
        assert!(result.is_ok() || out.is_empty());
        result.map(|()| out)
    }

    fn bounded(frame: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
        let mut out = b"old".to_vec();
        let result = Decompressor::new().decompress_bounded(frame, limit, &mut out);
        assert!(result.is_ok() || out.is_empty());
        result.map(|()| out)
    }

    /// A frame of the streaming encoder: no content length, with checksum if asked for.
    fn streamed(plain: &[u8], checksum: bool, window_log: u32) -> Vec<u8> {
        use std::io::Write as _;
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(checksum).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(plain).unwrap();
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn words_and_levels_survive_the_way_through_text() {
        use Compression::{Auto, Better, Fastest, Level, Max, Off};
        for compression in [Off, Fastest, Auto, Better, Max, Level(1), Level(22), Level(-7)] {
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
        for text in ["", "Auto", "0", "23", "-8", "1.5", " auto", "none", "99999999999"] {
            assert_eq!(text.parse::<Compression>(), Err(ParseCompressionError), "{text}");
        }
    }

    #[test]
    fn content_comes_back_whatever_it_is() {
        use Compression::{Auto, Better, Fastest, Level, Max, Off};
        let big = 300_000;
        let inputs = [vec![], vec![7], text(100), text(big), noise(1000), noise(big), vec![0; big]];
        for compression in [Off, Fastest, Auto, Better, Max, Level(-5), Level(1000)] {
            for plain in &inputs {
                let frame = compress(compression, plain);
                assert_eq!(&exact(&frame, plain.len()).unwrap(), plain, "{compression}");
                assert_eq!(&bounded(&frame, plain.len()).unwrap(), plain, "{compression}");
            }
        }
    }

    #[test]
    fn frames_are_appended_one_by_one_by_one_context() {
        let (mut compressor, mut out) = (Compressor::new(Compression::Auto), b"head".to_vec());
        let mut starts = vec![4];
        let inputs = [text(5000), noise(70_000), text(50), vec![], text(200_000)];
        for plain in &inputs {
            compressor.compress(plain, &mut out);
            starts.push(out.len());
        }
        assert_eq!(&out[..4], b"head");
        for (plain, at) in inputs.iter().zip(starts.windows(2)) {
            assert_eq!(&exact(&out[at[0]..at[1]], plain.len()).unwrap(), plain);
        }
    }

    #[test]
    fn frames_carry_no_checksum() {
        for plain in [text(10), text(100_000), noise(100_000)] {
            assert_eq!(compress(Compression::Auto, &plain)[4] & 4, 0);
        }
    }

    #[test]
    fn only_incompressible_bytes_are_stored_raw() {
        let check = |compression, plain: &[u8], raw: bool| {
            let mut stored = Vec::new();
            frame::store(plain, &mut stored);
            let frame = compress(compression, plain);
            assert_eq!(frame == stored, raw, "{compression}, {} bytes give {}", plain.len(), frame.len());
        };
        let ramp: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        let mut halved = noise(1 << 20);
        halved[..1 << 19].fill(0);
        check(Compression::Auto, &noise(1 << 20), true);
        check(Compression::Fastest, &noise(PROBE_MIN), true);
        check(Compression::Off, &text(1 << 20), true);
        check(Compression::Auto, &text(1 << 20), false);
        check(Compression::Auto, &ramp, false);
        check(Compression::Auto, &halved, false);
        check(Compression::Auto, &vec![0; 1 << 20], false);
        check(Compression::Max, &text(PROBE_MIN), false);
    }

    #[test]
    fn raw_frames_of_every_header_form_are_valid() {
        let sizes = [0, 1, 255, 256, 257, 1023, 65_791, 65_792, (128 << 10) - 1, 128 << 10, (128 << 10) + 1];
        for len in sizes.into_iter().chain([256 << 10, (1 << 20) + 12_345, 8 << 20]) {
            let (plain, mut frame) = (noise(len), Vec::new());
            Compressor::new(Compression::Auto).store(&plain, &mut frame);
            assert!(frame.len() <= len + 14 + 3 * len.div_ceil(128 << 10).max(1), "{len}");
            assert_eq!(exact(&frame, len).unwrap(), plain, "{len}");
            // The streaming decoder keeps a window and so looks at other parts of the header.
            assert_eq!(zstd::stream::decode_all(&frame[..]).unwrap(), plain, "{len}");
        }
    }

    #[test]
    fn length_must_be_exact() {
        for frame in [compress(Compression::Auto, &text(70_000)), streamed(&text(70_000), false, 17)] {
            assert!(exact(&frame, 70_000).is_ok());
            for len in [0, 1, 69_999, 70_001, 131_072, 131_073, 1 << 40] {
                let result = exact(&frame, len);
                // Without a content length zstd itself finds that there is no room.
                let refused =
                    matches!(result, Err(DecompressError::WrongLength { .. } | DecompressError::Damaged(_)));
                assert!(refused, "{len}: {result:?}");
            }
        }
    }

    #[test]
    fn limit_holds_with_and_without_content_length() {
        for plain in [text(70_000), vec![0; 70_000], noise(70_000)] {
            for frame in [compress(Compression::Auto, &plain), streamed(&plain, true, 10)] {
                let check = |limit, fits: bool| match bounded(&frame, limit) {
                    Ok(out) => assert!(fits && out == plain, "{limit}"),
                    Err(error) => {
                        assert!(
                            !fits && matches!(error, DecompressError::TooLong { .. }),
                            "{limit}: {error:?}"
                        );
                    }
                };
                check(70_000, true);
                check(70_001, true);
                check(usize::MAX, true);
                check(69_999, false);
                check(0, false);
            }
        }
    }

    #[test]
    fn used_buffer_with_room_to_spare_lifts_no_limit() {
        let plain = text(70_000);
        for frame in [compress(Compression::Auto, &plain), streamed(&plain, false, 17)] {
            let mut out = Vec::with_capacity(1 << 20);
            let mut decompressor = Decompressor::new();
            assert!(decompressor.decompress_bounded(&frame, 69_999, &mut out).is_err() && out.is_empty());
            assert!(decompressor.decompress_exact(&frame, 69_999, &mut out).is_err() && out.is_empty());
        }
    }

    #[test]
    fn bomb_is_refused_before_memory_is_taken() {
        // 512 MiB of zeros in some 16 KiB.
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        io::copy(&mut io::Read::take(io::repeat(0), 512 << 20), &mut encoder).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 64 << 10);
        let mut out = Vec::new();
        let result = Decompressor::new().decompress_bounded(&bomb, 1 << 20, &mut out);
        assert!(matches!(result, Err(DecompressError::TooLong { .. })), "{result:?}");
        assert!(out.capacity() <= 1 << 20);
    }

    #[test]
    fn foreign_frames_are_read() {
        for plain in [vec![], text(10), text(300_000), noise(300_000), vec![0; 300_000]] {
            for (checksum, window_log) in [(false, 10), (true, 19), (true, 27)] {
                let frame = streamed(&plain, checksum, window_log);
                assert_eq!(exact(&frame, plain.len()).unwrap(), plain);
                assert_eq!(bounded(&frame, 1 << 20).unwrap(), plain);
            }
        }
    }

    #[test]
    fn anything_but_one_whole_frame_is_refused() {
        let frame = compress(Compression::Auto, &text(1000));
        let checked = streamed(&text(1000), true, 10);
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        let refuse = |bytes: &[u8]| {
            assert!(matches!(exact(bytes, 1000), Err(DecompressError::NotOneFrame)));
            assert!(matches!(bounded(bytes, 1 << 20), Err(DecompressError::NotOneFrame)));
        };
        refuse(&[&frame[..], &frame].concat());
        refuse(&[&frame[..], b"x"].concat());
        refuse(&[&frame[..], &skippable].concat());
        refuse(&[&skippable, &frame[..]].concat());
        refuse(&skippable);
        refuse(b"{\"nodes\":[]}\n");
        for len in 0..frame.len() {
            refuse(&frame[..len]);
        }
        for len in 0..checked.len() {
            refuse(&checked[..len]);
        }
        refuse(&streamed(&text(1000), false, 28));
    }

    #[test]
    fn wrong_checksum_is_damage() {
        let mut frame = streamed(&text(1000), true, 10);
        *frame.last_mut().unwrap() ^= 1;
        assert!(matches!(exact(&frame, 1000), Err(DecompressError::Damaged(_))));
    }

    #[test]
    fn zstd_level_two_compresses_a_sample_well() {
        let plain = text(1 << 20);
        assert!(compress(Compression::Auto, &plain).len() * 4 < plain.len());
    }

    proptest! {
        #[test]
        fn changed_frames_never_give_too_much(at: prop::sample::Index, byte: u8, len in 1_usize..3000) {
            let mut frame = compress(Compression::Auto, &text(len));
            let at = at.index(frame.len());
            frame[at] = byte;
            if let Ok(out) = exact(&frame, len) {
                prop_assert_eq!(out.len(), len);
            }
            if let Ok(out) = bounded(&frame, len) {
                prop_assert!(out.len() <= len);
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, len in 0_usize..5000) {
            let framed = [&[0x28, 0xb5, 0x2f, 0xfd][..], &bytes].concat();
            for bytes in [&bytes, &framed] {
                let _ = exact(bytes, len);
                let _ = bounded(bytes, len);
            }
        }
    }
}
