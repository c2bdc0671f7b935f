//! The chunker against restic's vectors, and against the algorithm by the book.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

const VECTORS: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/chunker-vectors.json"));

const USUAL: Polynomial = Polynomial(0x003d_a335_8b4d_c173);

pub(super) fn vectors() -> serde_json::Value {
    serde_json::from_slice(VECTORS).unwrap()
}

/// SHA-256(seed ‖ counter), concatenated.
pub(super) fn stream(seed: &str, len: usize) -> Vec<u8> {
    let block = |i: u64| Sha256::digest([seed.as_bytes(), &i.to_le_bytes()].concat());
    (0..).flat_map(|i| <[u8; 32]>::from(block(i))).take(len).collect()
}

/// Bytes 16 to 23 of a linear congruence.
fn congruence(len: usize) -> Vec<u8> {
    let mut x = 0x1234_5678_u32;
    let mut next = || {
        x = x.wrapping_mul(1_103_515_245).wrapping_add(12345);
        x.to_le_bytes()[2]
    };
    (0..len).map(|_| next()).collect()
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()[7]
    };
    (0..len).map(|_| next()).collect()
}

fn periodic(seed: u64, period: usize, len: usize) -> Vec<u8> {
    noise(seed, period).into_iter().cycle().take(len).collect()
}

/// Mostly zero, here and there a byte.
fn sparse(seed: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    for (at, byte) in noise(seed, len / 1000 * 2 + 2).chunks(2).enumerate() {
        data[(at * 1000 + usize::from(byte[0])) % len] = byte[1];
    }
    data
}

/// Makes so many bytes from a seed.
pub(super) type Pattern = fn(u64, usize) -> Vec<u8>;

/// What the bytes of tests look like.
pub(super) const PATTERNS: [Pattern; 9] = [
    noise,
    |_, len| vec![0; len],
    |seed, len| vec![seed.to_le_bytes()[0]; len],
    |seed, len| noise(seed, len).iter().map(|byte| byte & 1).collect(),
    sparse,
    |seed, len| periodic(seed, 2, len),
    |seed, len| periodic(seed, 44, len),
    |seed, len| periodic(seed, 251, len),
    // noise with long runs of zeros
    |seed, len| {
        noise(seed, len)
            .iter()
            .enumerate()
            .map(|(at, &byte)| if at / 500 % 3 == 0 { 0 } else { byte })
            .collect()
    },
];

pub(super) fn irreducible() -> impl Strategy<Value = Polynomial> {
    struct Seeded(std::sync::Mutex<u64>);
    impl crate::context::Random for Seeded {
        fn fill(&self, buffer: &mut [u8]) {
            let mut seed = self.0.lock().unwrap();
            *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            buffer.copy_from_slice(&noise(*seed, buffer.len()));
        }
    }
    prop_oneof![
        Just(USUAL),
        any::<u64>().prop_map(|seed| Polynomial::random(&Seeded(std::sync::Mutex::new(seed)))),
    ]
}

/// A chunk of the vectors.
pub(super) struct Expected {
    pub(super) offset: usize,
    pub(super) len: usize,
    /// The hash at the cut, 0 where the input ended.
    pub(super) digest: u64,
    sha256: String,
}

pub(super) fn chunks_of(row: &serde_json::Value) -> Vec<Expected> {
    let number = |value: &serde_json::Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let chunks = row["chunks"].as_array().unwrap().iter();
    let expected = chunks.map(|chunk| Expected {
        offset: number(&chunk["offset"]),
        len: number(&chunk["length"]),
        digest: u64::from_str_radix(chunk["cut_digest"].as_str().unwrap(), 16).unwrap(),
        sha256: chunk["sha256"].as_str().unwrap().to_owned(),
    });
    expected.collect()
}

/// Every row of the vectors with its input.
pub(super) fn inputs() -> Vec<(serde_json::Value, Vec<u8>)> {
    let noise = stream("restic-vector-1", 16 << 20);
    let with_input = |row: &serde_json::Value| {
        let input = match row["name"].as_str().unwrap() {
            "sha1" => noise.clone(),
            "lcg" => congruence(12 << 20),
            "zero" => vec![0; 3_158_073],
            "ff" => vec![0xff; 20_971_527],
            "one" => vec![1; 9_437_184],
            "shift" => [b"ABC", &noise[..8 << 20]].concat(),
            "min" => noise[..512 << 10].to_vec(),
            "minp1" => noise[..=512 << 10].to_vec(),
            "minm1" => noise[..(512 << 10) - 1].to_vec(),
            name => panic!("the vectors have a new input, {name}"),
        };
        (row.clone(), input)
    };
    vectors()["vectors"].as_array().unwrap().iter().map(with_input).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

/// Cuts all of a file that is there from the start.
fn lengths(chunker: &Chunker, file: &[u8]) -> Vec<usize> {
    let mut rest = file;
    let cuts = std::iter::from_fn(|| {
        let len = chunker.cut(rest, 0, true)?;
        rest = &rest[len..];
        Some(len)
    });
    cuts.collect()
}

/// Cuts a file that comes in pieces, telling each time what was scanned before.
fn lengths_in_pieces(chunker: &Chunker, file: &[u8], pieces: &[usize]) -> Vec<usize> {
    let (mut start, mut read, mut scanned, mut lengths) = (0, 0, 0, Vec::new());
    let mut pieces = pieces.iter().cycle();
    loop {
        let last = read == file.len();
        if let Some(len) = chunker.cut(&file[start..read], scanned, last) {
            lengths.push(len);
            start += len;
            scanned = 0;
        } else if last {
            return lengths;
        } else {
            scanned = read - start;
            read = file.len().min(read + pieces.next().unwrap());
        }
    }
}

/// The algorithm by the book, a byte at a time, with the 1 that restic's window starts with. The hash itself is
/// division by the polynomial.
fn by_the_book(polynomial: Polynomial, file: &[u8]) -> Vec<usize> {
    const MIN: usize = 512 << 10;
    let shift: Vec<u64> = (0..=255).map(|byte| polynomial.shift(byte, 8 * 64)).collect();
    let top: Vec<u64> = (0..=255).map(|byte| polynomial.shift(byte, 53)).collect();
    let (mut lengths, mut rest) = (Vec::new(), file);
    while !rest.is_empty() {
        let mut window = std::collections::VecDeque::from([0_u8; 64]);
        let mut digest = 0_u64;
        let mut slide = |byte: u8| {
            let old = window.pop_front().unwrap();
            window.push_back(byte);
            let over = usize::try_from(digest >> 45).unwrap();
            digest = (digest << 8 & ((1 << 53) - 1)) ^ top[over] ^ u64::from(byte) ^ shift[usize::from(old)];
            digest
        };
        slide(1);
        let skip = MIN - 64;
        let cut = (skip..rest.len()).find(|&at| {
            let digest = slide(rest[at]);
            let count = at + 1;
            count >= MIN && (digest.trailing_zeros() >= 20 || count >= 8 << 20)
        });
        let len = cut.map_or(rest.len(), |at| at + 1);
        lengths.push(len);
        rest = &rest[len..];
    }
    lengths
}

fn rabin(polynomial: Polynomial) -> Chunker {
    Chunker::new(ChunkerParams::Rabin(polynomial)).unwrap()
}

#[test]
fn vectors_are_cut_as_restic_cuts_them() {
    let chunker = rabin(vectors()["polynomial"].as_str().unwrap().parse().unwrap());
    for (row, input) in inputs() {
        let expected = chunks_of(&row);
        assert_eq!(lengths(&chunker, &input), expected.iter().map(|chunk| chunk.len).collect::<Vec<_>>());
        for chunk in expected {
            let bytes = &input[chunk.offset..chunk.offset + chunk.len];
            assert_eq!(hex(&Sha256::digest(bytes)), chunk.sha256, "{} at {}", row["name"], chunk.offset);
        }
    }
}

#[test]
fn vectors_are_cut_alike_in_restics_pieces() {
    let chunker = rabin(USUAL);
    for (row, input) in inputs() {
        let expected: Vec<usize> = chunks_of(&row).iter().map(|chunk| chunk.len).collect();
        assert_eq!(lengths_in_pieces(&chunker, &input, &[512 << 10]), expected, "{}", row["name"]);
    }
}

#[test]
fn no_bytes_give_no_chunk() {
    for chunker in [rabin(USUAL), Chunker::new(ChunkerParams::FAST_CDC).unwrap()] {
        assert_eq!(chunker.cut(&[], 0, true), None);
        assert_eq!(chunker.cut(&[], 0, false), None);
        assert_eq!(chunker.cut(&[1], 0, true), Some(1));
        assert_eq!(chunker.cut(&[1], 0, false), None);
        assert_eq!(chunker.cut(&[1], usize::MAX, true), Some(1));
        let zeros = vec![0; chunker.max_len()];
        assert!(chunker.cut(&zeros, 0, false).is_some());
    }
}

#[test]
fn zeros_are_cut_where_promised() {
    let chunker = rabin(USUAL);
    let len = chunker.zero_chunk_len().unwrap();
    let mut data = vec![0; len];
    assert_eq!(chunker.cut(&data, 0, false), Some(len));
    data.extend_from_slice(&noise(1, 100));
    assert_eq!(chunker.cut(&data, 0, false), Some(len));
}

#[test]
fn unfit_parameters_are_refused() {
    let check = |params, expected| assert_eq!(Chunker::new(params).err(), expected, "{params:?}");
    let degree = |polynomial| Some(ChunkerError::Degree { polynomial });
    for value in [0, 1, 2, 7, USUAL.0 >> 1, USUAL.0 << 1 | 1, u64::MAX] {
        check(ChunkerParams::Rabin(Polynomial(value)), degree(Polynomial(value)));
    }
    let product = Polynomial(0x0031_d772_c925_65fb);
    check(ChunkerParams::Rabin(product), Some(ChunkerError::Reducible { polynomial: product }));
    check(ChunkerParams::Rabin(USUAL), None);
    check(ChunkerParams::FAST_CDC, None);
    let check = |min, average, max, fit| {
        let error = if fit { None } else { Some(ChunkerError::Sizes { min, average, max }) };
        check(ChunkerParams::FastCdc { min, average, max }, error);
    };
    check(64, 256, 1024, true);
    check(1 << 20, 4 << 20, 16 << 20, true);
    check(62, 256, 1024, false);
    check(65, 256, 1024, false);
    check(64, 254, 1024, false);
    check(64, 256, 1022, false);
    check(64, 256, 1025, false);
    check((1 << 20) + 2, 4 << 20, 16 << 20, false);
    check(1 << 20, (4 << 20) + 2, 16 << 20, false);
    check(1 << 20, 4 << 20, (16 << 20) + 2, false);
    check(1024, 512, 2048, false);
    check(64, 4096, 2048, false);
    check(0, 0, 0, false);
    check(u32::MAX, u32::MAX, u32::MAX, false);
}

/// `FastCDC`'s cuts are a repository's format: they must not move with a new version of the crate.
#[test]
fn fastcdc_cuts_stay_where_they_are() {
    let input = stream("restic-vector-1", 16 << 20);
    let chunker = Chunker::new(ChunkerParams::FAST_CDC).unwrap();
    let expected = [
        2_083_415, 1_502_869, 1_048_190, 1_269_639, 913_370, 1_779_460, 1_787_457, 1_103_241, 1_289_884,
        1_083_142, 1_125_529, 1_582_620, 208_400,
    ];
    assert_eq!(lengths(&chunker, &input), expected);
    let small = Chunker::new(ChunkerParams::FastCdc { min: 1024, average: 4096, max: 16384 }).unwrap();
    let by_the_crate = ::fastcdc::v2020::FastCDC::new(&input[..1 << 20], 1024, 4096, 16384);
    assert_eq!(
        lengths(&small, &input[..1 << 20]),
        by_the_crate.map(|chunk| chunk.length).collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rabin_cuts_by_the_book_however_the_file_comes(
        polynomial in irreducible(),
        pattern in 0..PATTERNS.len(),
        seed: u64,
        len in 0_usize..3 << 20,
        pieces in prop::collection::vec(1_usize..1 << 20, 1..5),
    ) {
        let file = if len == 0 { Vec::new() } else { PATTERNS[pattern](seed, len) };
        let chunker = rabin(polynomial);
        let whole = lengths(&chunker, &file);
        prop_assert_eq!(&whole, &by_the_book(polynomial, &file));
        prop_assert_eq!(&lengths_in_pieces(&chunker, &file, &pieces), &whole);
    }

    #[test]
    fn fastcdc_cuts_alike_however_the_file_comes(
        pattern in 0..PATTERNS.len(),
        seed: u64,
        len in 1_usize..200_000,
        pieces in prop::collection::vec(1_usize..50_000, 1..5),
    ) {
        let file = PATTERNS[pattern](seed, len);
        let chunker = Chunker::new(ChunkerParams::FastCdc { min: 512, average: 2048, max: 8192 }).unwrap();
        let whole = lengths(&chunker, &file);
        prop_assert_eq!(&lengths_in_pieces(&chunker, &file, &pieces), &whole);
        prop_assert_eq!(whole.iter().sum::<usize>(), len);
        prop_assert!(whole.iter().all(|&len| len <= 8192));
        prop_assert!(whole[..whole.len() - 1].iter().all(|&len| len >= 512));
    }
}
