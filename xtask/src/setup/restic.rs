//! The restic that the tests measure larder against, as new as can be had.
//!
//! Stable systems package an old one, which agrees with us in fewer things than the current one. On those with apt the
//! package of the system's next release is unpacked into our tools; the system itself, and its lists, stay as they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::programs::{self, find, tools};

/// The version whose words and numbers the tests know; older ones are tested against in fewer places.
const WANTED: (u32, u32) = (0, 19);

/// Brings a current restic, unless the one that would be used is current or the user named one.
pub(super) fn bring() -> Result<()> {
    let found = programs::restic().ok();
    let have = found.as_deref().map(version).transpose()?;
    if have >= Some(WANTED) || std::env::var_os("LARDER_TEST_RESTIC").is_some() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        println!("   restic: older than {}.{}, some comparisons are left out", WANTED.0, WANTED.1);
        return Ok(());
    }
    println!("   restic: older than {}.{}, a newer one is brought into target/tools", WANTED.0, WANTED.1);
    let folder = tempfile::tempdir()?;
    unpack_next_release(folder.path())?;
    let program = folder.path().join("usr/bin/restic");
    let brought = version(&program)?;
    ensure!(Some(brought) >= have, "the package of the next release holds an older restic");
    let place = tools().join("bin");
    fs::create_dir_all(&place)?;
    // Beside its place first: a run that is stopped leaves no half program there.
    fs::copy(&program, place.join("restic.new"))?;
    fs::rename(place.join("restic.new"), place.join("restic")).context("cannot put restic into the tools")?;
    println!("   restic: {}.{} in {}", brought.0, brought.1, place.display());
    Ok(())
}

/// Major and minor version, from `restic 0.19.1 compiled with …`.
fn version(program: &Path) -> Result<(u32, u32)> {
    let output = programs::output(Command::new(program).arg("version"))?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().nth(1).unwrap_or_default().split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => anyhow::bail!("{} says its version in words we do not know: {text}", program.display()),
    }
}

/// Fetches the package with lists of its own, checked by apt as any other, and unpacks it into `folder`.
fn unpack_next_release(folder: &Path) -> Result<()> {
    let next = if fs::read_to_string("/etc/os-release")?.contains("ID=ubuntu") {
        "devel main universe"
    } else {
        "testing main"
    };
    let archive = archive_in_use()?;
    fs::write(folder.join("sources.list"), format!("deb {archive} {next}\n"))?;
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let apt = || {
        let at = |name: &str, value: &str| format!("{name}={}", folder.join(value).display());
        let mut apt = Command::new("apt-get");
        apt.current_dir(folder).arg("--quiet").arg("-o").arg(at("Dir::Etc::SourceList", "sources.list"));
        apt.args(["-o", "Dir::Etc::SourceParts=-", "-o", "Acquire::Languages=none"]);
        apt.args(["-o", "APT::Sandbox::User=", "-o", &at("Dir::State::Lists", "lists")]);
        apt.args(["-o", &at("Dir::Cache", "cache")]);
        apt
    };
    programs::output(apt().arg("update"))?;
    programs::output(apt().args(["download", "restic"]))?;
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let package = entries
        .iter()
        .map(fs::DirEntry::path)
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"));
    let package = package.context("apt-get brought no package")?;
    programs::output(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder)).map(drop)
}

/// Where this system takes its packages from.
fn archive_in_use() -> Result<String> {
    let output = programs::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let text = String::from_utf8(output.stdout)?;
    let archive = text.lines().find(|line| !line.contains("security"));
    archive.map(str::to_owned).context("apt-get names no archive that packages come from")
}
