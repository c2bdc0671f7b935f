//! Installs what the tests need and is not there yet. What is there is left alone.

use std::process::Command;

use anyhow::{Result, bail};

use crate::programs::{self, cargo, find, restic, tools};
use crate::step::Steps;

/// A program and the package that brings it.
struct Program {
    name: &'static str,
    debian: &'static str,
    brew: &'static str,
    why: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program { name: "restic", debian: "restic", brew: "restic", why: "the program we must agree with" },
    Program {
        name: "rsync",
        debian: "rsync",
        brew: "rsync",
        why: "compares restored trees with their source",
    },
];

/// Cargo's own helpers: program and crate have the same name.
const TOOLS: [(&str, &str); 2] =
    [("cargo-nextest", "runs the tests"), ("cargo-deny", "checks licences, doubles and advisories")];

/// Looks for every program and installs the missing ones.
pub(crate) fn as_steps(steps: &mut Steps) -> Result<()> {
    steps.step("setup: programs", system_programs)?;
    steps.step("setup: cargo tools", cargo_tools)
}

/// The chore.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new("cargo xtask setup");
    as_steps(&mut steps)?;
    steps.finish();
    Ok(())
}

fn system_programs() -> Result<()> {
    let mut missing = Vec::new();
    for program in &PROGRAMS {
        let found = if program.name == "restic" { restic().ok() } else { find(program.name) };
        if let Some(path) = found {
            println!("   {}: {}", program.name, path.display());
        } else {
            println!("   {}: missing ({})", program.name, program.why);
            missing.push(program);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_some() {
        programs::run(privileged("apt-get").args(["update", "--quiet"]))?;
        programs::run(
            privileged("apt-get")
                .args(["install", "--yes", "--no-install-recommends"])
                .args(missing.iter().map(|program| program.debian)),
        )
    } else if find("brew").is_some() {
        programs::run(Command::new("brew").arg("install").args(missing.iter().map(|program| program.brew)))
    } else {
        let names: Vec<_> = missing.iter().map(|program| program.name).collect();
        bail!("neither apt-get nor brew is here: please install {} by hand", names.join(" and "))
    }
}

/// The command as root: as it is for root, through sudo otherwise.
fn privileged(program: &str) -> Command {
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("--preserve-env=DEBIAN_FRONTEND").arg(program);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn cargo_tools() -> Result<()> {
    for (name, why) in TOOLS {
        if let Some(path) = find(name) {
            println!("   {name}: {}", path.display());
            continue;
        }
        println!("   {name}: missing ({why}); building it once takes some minutes");
        programs::run(cargo().args(["install", "--locked", name, "--root"]).arg(tools()))?;
    }
    Ok(())
}
