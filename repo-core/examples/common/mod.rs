//! What the examples share: the repository named on the command line, or a small one in memory.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use backends::Location;
use repo_core::backend::MemoryBackend;
use repo_core::{ArchiveOptions, Context, InitOptions, LocalSource, OpenOptions, Repository, archive};

/// The password of `first_backup`, so that the other examples open what it made.
const PASSWORD: &str = "correct horse battery staple";

/// Opens the repository at `place`; without one, makes one in memory and saves the sources of this crate in it.
pub(crate) fn repository(context: &Context, place: Option<PathBuf>) -> Result<Repository, Box<dyn Error>> {
    if let Some(place) = place {
        let storage = backends::open(context, &Location::Local(place), &backends::Options::default())?;
        return Ok(Repository::open(context, storage, &PASSWORD.into(), &OpenOptions::default())?);
    }
    let storage = Arc::new(MemoryBackend::new());
    let repository = Repository::init(context, storage, &PASSWORD.into(), &InitOptions::default())?;
    // A relative target appears in the snapshot as it is named: as `/src`.
    let options = ArchiveOptions { cwd: env!("CARGO_MANIFEST_DIR").into(), ..ArchiveOptions::default() };
    archive(context, &repository, &LocalSource::new(), &["src".into()], &options)?;
    Ok(repository)
}
