//! A first backup in ten lines: make a repository, save a folder, say what came of it.
//!
//! `cargo run -p repo-core --example first_backup -- [REPOSITORY [FOLDER]]`
//! Without arguments it saves the sources of this crate into a temporary repository.

use std::error::Error;
use std::path::{Path, PathBuf};

use backends::Location;
use repo_core::context::with_causes;
use repo_core::{ArchiveOptions, Context, InitOptions, LocalSource, Repository, archive};

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let place = arguments.next().unwrap_or_else(|| scratch.path().join("repository"));
    let folder = arguments.next().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));

    let context = Context::new();
    let storage = backends::open(&context, &Location::Local(place), &backends::Options::default())?;
    let password = "correct horse battery staple".into();
    let repository = Repository::init(&context, storage, &password, &InitOptions::default())?;
    let options = ArchiveOptions { tags: vec!["first".into()], ..ArchiveOptions::default() };
    let targets = [folder.canonicalize()?];
    let report = archive(&context, &repository, &LocalSource::new(), &targets, &options)?;
    for skipped in &report.skipped {
        eprintln!("not saved: {}", with_causes(&skipped.problem));
    }
    let (id, numbers) = (report.id.ok_or("no snapshot")?, &report.summary);
    println!(
        "snapshot {}: {} files, {} bytes, of which {} were new and took {}",
        id.short(),
        numbers.total_files_processed,
        numbers.total_bytes_processed,
        numbers.data_added,
        numbers.data_added_packed
    );
    Ok(())
}
