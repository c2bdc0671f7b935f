//! Memory as on a machine that has been running for a while: full of what was read and written before.
//!
//! A virtual machine may have to ask its host for each page that it never used, or that was free for some seconds. On
//! one machine that cost 4 s for each GiB of files written, more than what was measured; pages that held something
//! else before cost a fifth. So nothing is left free before a measurement begins. On systems that do not say how
//! much is free nothing is done.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// So much may stay free.
const FREE_MAX: u64 = 512 << 20;
const FILE: u64 = 256 << 20;

/// Files that are there for the sake of the memory that holds them.
pub(crate) struct Filler {
    folder: PathBuf,
    files: VecDeque<PathBuf>,
    made: u64,
}

impl Filler {
    /// One that keeps its files in a new folder there.
    pub(crate) fn new(work: &Path) -> Result<Self> {
        let folder = work.join("memory");
        fs::create_dir(&folder)?;
        Ok(Self { folder, files: VecDeque::new(), made: 0 })
    }

    /// Writes until hardly any memory is free. The files of before go only when they are more than memory could hold:
    /// then they are on the disk alone, and removing them frees no memory.
    pub(crate) fn fill(&mut self) -> Result<()> {
        let piece = vec![0; 1 << 20];
        let all = memory("MemTotal:")?.unwrap_or_default();
        // A system that takes pages back at once never fills up: whoever has written as much as there is memory, stops.
        let last = self.made + all / FILE;
        while self.made < last && memory("MemFree:")?.is_some_and(|free| free > FREE_MAX) {
            let path = self.folder.join(self.made.to_string());
            let mut file = File::create(&path)?;
            for _ in 0..FILE / piece.len() as u64 {
                file.write_all(&piece)?;
            }
            // What is written and not yet on the disk cannot make room for others.
            file.sync_data()?;
            self.files.push_back(path);
            self.made += 1;
        }
        while self.files.len() as u64 * FILE > all {
            let Some(oldest) = self.files.pop_front() else { break };
            fs::remove_file(oldest)?;
        }
        Ok(())
    }
}

/// A line of what the system says about memory, in bytes.
fn memory(name: &str) -> Result<Option<u64>> {
    let Ok(said) = fs::read_to_string("/proc/meminfo") else { return Ok(None) };
    let Some(line) = said.lines().find_map(|line| line.strip_prefix(name)) else { return Ok(None) };
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("/proc/meminfo has numbers")?;
    Ok(Some(kibibytes << 10))
}
