//! Looks around in a repository: which snapshots, what is in a folder, what a file holds.
//!
//! `cargo run -p repo-core --example browse -- [REPOSITORY [FILE]]`
//! Without arguments it looks into a small repository in memory.

mod common;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use repo_core::Context;
use repo_core::ops::query::dump::{self, Target};
use repo_core::ops::query::ls::{LsOptions, ls};
use repo_core::snapshots::{self, Filter, Wanted};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let context = Context::new();
    let repository = common::repository(&context, arguments.next())?;
    let file = arguments.next().unwrap_or_else(|| "/src/ops/mod.rs".into());

    for stored in snapshots::list(&context, &repository)? {
        println!("{}  {}  {:?}", stored.id.short(), stored.snapshot.time, stored.snapshot.paths);
    }

    let latest = snapshots::find(&context, &repository, &Wanted::LATEST, &Filter::default())?;
    let reader = repository.reader(&context)?;
    let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
    let options = LsOptions { folders: vec![folder], ..LsOptions::default() };
    for entry in ls(&context, &reader, latest.snapshot.tree, &options)? {
        let entry = entry?;
        println!("{:>10}  {}", entry.node.size, entry.path.display());
    }

    match dump::target(&reader, latest.snapshot.tree, &file)? {
        Target::File(node) => dump::file(&context, &reader, &file, &node, &mut io::stdout())?,
        Target::Folder(_) => return Err(format!("{} is a folder", file.display()).into()),
    }
    Ok(())
}
