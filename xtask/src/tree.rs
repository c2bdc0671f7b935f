//! Makes test data: the same folder of files for the same wish, on every machine.
//!
//! Sizes follow the pattern of home folders: most files are small, most bytes lie in large ones. A third of
//! the bytes is text-like, a third is records with much repetition, a third cannot be compressed; every
//! twentieth file is a copy of an earlier one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// What to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// All bytes together, within a few per cent.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
}

/// Makes the files below `folder`; returns how many bytes they hold.
pub(crate) fn make(folder: &Path, wish: Wish) -> Result<u64> {
    ensure!(wish.files > 0 && wish.bytes >= wish.files, "a file has at least one byte");
    let mut random = Random(0x5EED_1A2D_E200_0001);
    let weights: Vec<u64> = (0..wish.files).map(|_| weight(&mut random)).collect();
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let mut made = Vec::<PathBuf>::new();
    let mut written = 0;
    for (number, weight) in weights.iter().enumerate() {
        let place = place_of(folder, number);
        if number % 100 == 0 {
            fs::create_dir_all(&place)?;
        }
        let path = place.join(name_of(number));
        if number % 20 == 19 {
            let earlier = usize::try_from(random.next() % made.len() as u64)?;
            written += fs::copy(&made[earlier], &path)?;
        } else {
            let len = u64::try_from((u128::from(wish.bytes) * u128::from(*weight) / sum).max(1))?;
            fill(&path, len, number % 3, &mut random)?;
            written += len;
        }
        made.push(path);
    }
    Ok(written)
}

/// Gives so many of the files that [`make`] has made other content of the same kind and length; which ones depends on `round`.
pub(crate) fn change(folder: &Path, files: u64, changes: u64, round: u64) -> Result<()> {
    let mut random = Random(0x5EED_1A2D_E200_0003 + round);
    for _ in 0..changes {
        let number = usize::try_from(random.next() % files)?;
        let path = place_of(folder, number).join(name_of(number));
        let len = fs::metadata(&path)?.len();
        fill(&path, len, number % 3, &mut random)?;
    }
    Ok(())
}

/// Some hundred files per folder, two levels deep.
fn place_of(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("part-{:02}/folder-{:03}", number / 10_000, number / 100 % 100))
}

fn name_of(number: usize) -> String {
    format!("file-{number:06}.{}", ["txt", "dat", "bin"][number % 3])
}

/// Makes sixteen files of equal length that nothing can compress, `bytes` in all.
pub(crate) fn make_incompressible(folder: &Path, bytes: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut random = Random(0x5EED_1A2D_E200_0002);
    (0..16).try_for_each(|number| {
        fill(&folder.join(format!("file-{number:02}.bin")), bytes / 16, 2, &mut random)
    })
}

/// Makes files of equal length that nothing can compress, a hundred in a folder.
pub(crate) fn make_equal(folder: &Path, count: u64, len: u64) -> Result<()> {
    let mut random = Random(0x5EED_1A2D_E200_0004);
    for number in 0..usize::try_from(count)? {
        let place = place_of(folder, number);
        if number % 100 == 0 {
            fs::create_dir_all(&place)?;
        }
        fill(&place.join(name_of(number)), len, 2, &mut random)?;
    }
    Ok(())
}

/// Makes one file of `len` bytes, `data` of them in pieces of 1 MiB that lie all over it; the rest are holes.
pub(crate) fn make_sparse(folder: &Path, len: u64, data: u64) -> Result<()> {
    const PIECE: u64 = 1 << 20;
    fs::create_dir_all(folder)?;
    let mut random = Random(0x5EED_1A2D_E200_0005);
    let mut file = File::create(folder.join("disk.img"))?;
    file.set_len(len)?;
    let pieces = (data / PIECE).max(1);
    let mut piece = Vec::new();
    for number in 0..pieces {
        piece.clear();
        while (piece.len() as u64) < PIECE {
            piece.extend_from_slice(&random.next().to_le_bytes());
        }
        file.seek(SeekFrom::Start(number * (len / pieces) / 4096 * 4096))?;
        file.write_all(&piece)?;
    }
    Ok(())
}

/// Reads every file of a folder without subfolders, so that memory holds them.
pub(crate) fn read(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        io::copy(&mut File::open(entry?.path())?, &mut io::sink())?;
    }
    Ok(())
}

/// Mostly small, seldom large: two to the power of something between 0 and 16, the high powers rare.
fn weight(random: &mut Random) -> u64 {
    let power = (random.next() % 17).min(random.next() % 17).min(random.next() % 17);
    (1 << power) + random.next() % (1 << power)
}

fn fill(path: &Path, len: u64, kind: usize, random: &mut Random) -> Result<()> {
    let mut file = BufWriter::with_capacity(1 << 16, File::create(path)?);
    let mut left = len;
    let mut line = Vec::new();
    while left > 0 {
        line.clear();
        match kind {
            0 => words(&mut line, random),
            1 => record(&mut line, random),
            _ => (0..128).for_each(|_| line.extend_from_slice(&random.next().to_le_bytes())),
        }
        let take = usize::try_from(left.min(line.len() as u64))?;
        file.write_all(&line[..take])?;
        left -= take as u64;
    }
    file.flush()?;
    Ok(())
}

/// A line of words from a made-up language of some thousand words.
fn words(line: &mut Vec<u8>, random: &mut Random) {
    const SYLLABLES: [&str; 16] = [
        "la", "mo", "ri", "ken", "tas", "u", "vel", "for", "shi", "an", "dol", "be", "ster", "i", "qua", "ny",
    ];
    for _ in 0..12 {
        let mut number = (random.next() % 4096).min(random.next() % 4096);
        for _ in 0..3 {
            line.extend_from_slice(SYLLABLES[usize::try_from(number % 16).unwrap_or(0)].as_bytes());
            number /= 16;
        }
        line.push(b' ');
    }
    line.push(b'\n');
}

/// A fixed-width record: a counter, a few flags, padding.
fn record(line: &mut Vec<u8>, random: &mut Random) {
    line.extend_from_slice(&random.next().to_le_bytes());
    line.extend_from_slice(&(random.next() % 1000).to_le_bytes());
    line.resize(64, 0);
}

/// `SplitMix64` (Steele, Lea, Flood 2014): small, fast, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
