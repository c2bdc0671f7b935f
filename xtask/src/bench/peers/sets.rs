//! What is backed up: four kinds of data, the same on every machine.

use std::path::Path;

use anyhow::{Result, bail};

use crate::tree::{self, Wish};

/// A kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// As in a home folder.
    Mixed,
    /// Sixteen large files that nothing can compress.
    Random,
    /// Many files of 4 KiB.
    Small,
    /// One image of a disk, mostly holes.
    Sparse,
}

impl Set {
    pub(super) const ALL: [Self; 4] = [Self::Mixed, Self::Random, Self::Small, Self::Sparse];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Random => "random",
            Self::Small => "small",
            Self::Sparse => "sparse",
        }
    }

    /// By its name.
    pub(super) fn parse(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|set| set.name() == name) {
            Some(set) => Ok(set),
            None => bail!("no data set is called {name}: there are mixed, random, small, sparse"),
        }
    }

    /// Makes it below a folder, and says what it is.
    pub(super) fn make(self, folder: &Path, wish: Wish) -> Result<String> {
        let Wish { bytes, files } = wish;
        let mib = |bytes: u64| bytes >> 20;
        Ok(match self {
            Self::Mixed => {
                let made = tree::make(folder, wish)?;
                format!(
                    "{} MiB in {files} files: text, records and random bytes; most files are small",
                    mib(made)
                )
            }
            Self::Random => {
                tree::make_incompressible(folder, bytes)?;
                format!("{} MiB in 16 files that nothing can compress", mib(bytes))
            }
            Self::Small => {
                // As many as there are bytes for, as long as a file system makes them in good time.
                let count = (bytes >> 12).min(200_000);
                tree::make_equal(folder, count, 4096)?;
                format!("{count} files of 4 KiB of random bytes")
            }
            Self::Sparse => {
                tree::make_sparse(folder, 4 * bytes, bytes / 8)?;
                format!("an image of {} MiB, of which {} MiB are no hole", mib(4 * bytes), mib(bytes / 8))
            }
        })
    }
}
