//! Azurite, Azure's own emulator of its blobs, in a folder of ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::programs::{self, find, tools};

/// The newest that runs on the Node of Debian 12.
const PACKAGE: &str = "azurite@3.35.0";
const PROGRAM: &str = "azurite-blob";

/// Installs it with npm, unless it is there.
pub(super) fn bring() -> Result<()> {
    let folder = tools().join("azurite");
    let stamp = folder.join("installed.txt");
    let link = tools().join("bin").join(PROGRAM);
    if link.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == PACKAGE) {
        println!("   {PROGRAM}: {}", folder.display());
        return Ok(());
    }
    println!("   {PROGRAM}: missing (an emulator of Azure's blobs)");
    let npm = find("npm").context("npm is neither among the tools nor on the PATH")?;
    fs::create_dir_all(&folder)?;
    let mut install = Command::new(npm);
    install.args(["install", "--no-audit", "--no-fund", "--omit=optional", "--loglevel=error", "--prefix"]);
    programs::run(install.arg(&folder).arg(PACKAGE))?;
    fs::create_dir_all(tools().join("bin"))?;
    match fs::remove_file(&link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let program = Path::new("../azurite/node_modules/.bin").join(PROGRAM);
    std::os::unix::fs::symlink(program, &link)?;
    // Only now: a run that was stopped starts over.
    fs::write(stamp, PACKAGE).context("cannot mark Azurite as installed")
}
