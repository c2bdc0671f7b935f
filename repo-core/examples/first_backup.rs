//! A first backup in ten lines: make a repository, save a folder, look at the snapshot.
//!
//! Run it with `cargo run --example first_backup -- REPOSITORY FOLDER`.

use std::error::Error;
use std::path::PathBuf;

use repo_core::context::Context;
use repo_core::fs::source::LocalSource;
use repo_core::ops::archive::{ArchiveOptions, archive};
use repo_core::repository::{InitOptions, Password, Repository};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(location), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: first_backup REPOSITORY FOLDER".into());
    };
    let context = Context::new();
    let backend = backends::open(&location.to_string_lossy().parse()?, &backends::Options::default())?;
    let password = Password::new("correct horse battery staple");
    let repository = Repository::init(&context, backend, &password, &InitOptions::default())?;
    let source = LocalSource::new();
    let report =
        archive(&context, &repository, &source, &[folder.canonicalize()?], &ArchiveOptions::default())?;
    for skipped in &report.skipped {
        eprintln!("not saved: {}", skipped.problem);
    }
    println!("{report:#?}");
    Ok(())
}
