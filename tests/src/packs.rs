//! Packs that tell by their number what they hold, written to a folder until the end comes.
//!
//! For tests that kill the writer, or the power of its disk, and ask afterwards whether what was called stored is there.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

use backends::{LocalBackend, LocalOptions};
use repo_core::backend::{Backend, ErrorKind};
use repo_core::id::{FileId, FileKind, ID_LEN, Id, PackId};

/// Begins a line that tells the number of a stored pack.
const STORED: &str = "stored ";

/// Writes packs, each told as soon as it is stored; goes on after the last that is there. Ends with the first error.
pub fn write(folder: &Path) {
    let backend = backend(folder);
    backend.create().expect("a folder can be made");
    let stored = backend.list(FileKind::Pack).expect("a folder can be listed").len();
    for number in u32::try_from(stored).expect("a test writes few packs").. {
        // Anything but success means that the power is cut already.
        if backend.write(file(number), &content(number)).is_err() {
            return;
        }
        let mut out = std::io::stdout().lock();
        let told = writeln!(out, "{STORED}{number}").and_then(|()| out.flush());
        told.expect("somebody reads what is stored");
    }
}

/// Looks at a folder after the lines of [`write()`] in a file.
pub fn look(folder: &Path, lines: &Path) {
    let lines = BufReader::new(File::open(lines).expect("the writer left its lines")).lines();
    let last = lines.filter_map(|line| number(&line.ok()?)).max().expect("something was stored");
    everything_is_whole(folder, last);
    println!("packs 0 to {last} are there and whole");
}

/// Every pack up to `last` is there, every listed one is whole, and writing goes on.
pub fn everything_is_whole(folder: &Path, last: u32) {
    let backend = backend(folder);
    let mut buffer = Vec::new();
    for number in 0..=last {
        backend.read_all(file(number), u64::MAX, &mut buffer).expect("what was stored can be read");
        assert!(buffer == content(number), "pack {number} is torn");
    }
    let listed = backend.list(FileKind::Pack).expect("the folder can be listed");
    for (entry, number) in listed.iter().map(|entry| (entry, number_of(entry.id))) {
        assert_eq!(entry.size, content(number).len() as u64, "pack {number} is torn");
    }
    let next = u32::try_from(listed.len()).expect("a test writes few packs");
    let missing = backend.size(file(next)).expect_err("nobody wrote the next pack yet");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    backend.write(file(next), &content(next)).expect("writing goes on");
}

/// The number in a line of [`write()`].
pub fn number(line: &str) -> Option<u32> {
    line.strip_prefix(STORED)?.parse().ok()
}

fn backend(folder: &Path) -> LocalBackend {
    LocalBackend::new(folder, &LocalOptions::default()).expect("a folder can be a repository")
}

fn file(number: u32) -> FileId {
    let mut bytes = [0; ID_LEN];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    PackId(Id::new(bytes)).into()
}

fn number_of(id: Id) -> u32 {
    let [a, b, c, d, ..] = *id.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Between 1 byte and 3 MiB, different at every place and for every number.
fn content(number: u32) -> Vec<u8> {
    let len = number.wrapping_mul(2_654_435_761) % (3 << 20) + 1;
    (0..len).map(|at| (at.wrapping_mul(167) ^ number).to_le_bytes()[0]).collect()
}
