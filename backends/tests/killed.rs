//! A writer that is killed, or whose machine loses power, leaves what it was told is stored, and nothing torn.
//!
//! The writer is this very program, started again as a child: it stores one pack after another in a folder and
//! prints the number of each as soon as the backend says that it is stored. The parent kills it after so many
//! and looks at what is left. `power_cut.sh` beside this file does the same to a whole file system.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail like the test")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use backends::{LocalBackend, LocalOptions};
use repo_core::backend::{Backend, ErrorKind};
use repo_core::id::{FileId, FileKind, ID_LEN, Id, PackId};

/// Begins a line that tells the number of a stored pack.
const STORED: &str = "stored ";

/// Where the child writes. Without it the child's functions do nothing, as when all ignored tests are run.
const FOLDER: &str = "LARDER_TEST_FOLDER";

/// A file with the child's lines, for the second look after a power cut.
const LINES: &str = "LARDER_TEST_LINES";

#[test]
fn a_killed_writer_leaves_whatever_it_was_told_is_stored() {
    let place = tempfile::TempDir::new().unwrap();
    let mut known = 0;
    for lines in [1, 2, 3, 5, 8, 13, 21, 34] {
        let mut child = writer(place.path());
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let stored: Vec<u32> = out.by_ref().filter_map(|line| number(&line.unwrap())).take(lines).collect();
        assert_eq!(stored.len(), lines, "the writer ended by itself");
        child.kill().unwrap();
        let more = out.filter_map(|line| number(&line.ok()?)).max();
        child.wait().unwrap();
        known = known.max(more.unwrap_or(stored[lines - 1]));
        everything_is_whole(place.path(), known);
    }
}

/// The child. Goes on after the last pack that is there.
#[test]
#[ignore = "started by the other test and by power_cut.sh"]
fn writes_until_killed() {
    let Some(folder) = variable(FOLDER) else { return };
    let backend = backend(&folder);
    backend.create().unwrap();
    let first = u32::try_from(backend.list(FileKind::Pack).unwrap().len()).unwrap();
    for number in first.. {
        // Anything but success means that the power is cut already.
        if backend.write(file(number), &content(number)).is_err() {
            return;
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{STORED}{number}").unwrap();
        out.flush().unwrap();
    }
}

/// The second look of `power_cut.sh`.
#[test]
#[ignore = "started by power_cut.sh"]
fn what_was_stored_is_whole() {
    let (Some(folder), Some(lines)) = (variable(FOLDER), variable(LINES)) else { return };
    let lines = BufReader::new(File::open(lines).unwrap()).lines();
    let last = lines.filter_map(|line| number(&line.unwrap())).max().expect("something was stored");
    everything_is_whole(&folder, last);
    println!("packs 0 to {last} are there and whole");
}

/// Every pack up to `last` is there, every listed one is whole, and writing goes on.
fn everything_is_whole(folder: &Path, last: u32) {
    let backend = backend(folder);
    let mut buffer = Vec::new();
    for number in 0..=last {
        backend.read_all(file(number), u64::MAX, &mut buffer).unwrap();
        assert!(buffer == content(number), "pack {number} is torn");
    }
    let listed = backend.list(FileKind::Pack).unwrap();
    for (entry, number) in listed.iter().map(|entry| (entry, number_of(entry.id))) {
        assert_eq!(entry.size, content(number).len() as u64, "pack {number} is torn");
    }
    let next = u32::try_from(listed.len()).unwrap();
    let missing = backend.size(file(next)).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    backend.write(file(next), &content(next)).unwrap();
}

fn backend(folder: &Path) -> LocalBackend {
    LocalBackend::new(folder, &LocalOptions::default()).unwrap()
}

fn writer(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "writes_until_killed"]);
    command.env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn number(line: &str) -> Option<u32> {
    line.split_once(STORED)?.1.parse().ok()
}

fn file(number: u32) -> FileId {
    let mut bytes = [0; ID_LEN];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    PackId(Id::new(bytes)).into()
}

fn number_of(id: Id) -> u32 {
    u32::from_le_bytes(id.as_bytes()[..4].try_into().unwrap())
}

/// Between 1 byte and 3 MiB, different at every place and for every number.
fn content(number: u32) -> Vec<u8> {
    let len = number.wrapping_mul(2_654_435_761) % (3 << 20) + 1;
    (0..len).map(|at| (at.wrapping_mul(167) ^ number).to_le_bytes()[0]).collect()
}

#[expect(clippy::disallowed_methods, reason = "a child has no other way to learn its folder")]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}
