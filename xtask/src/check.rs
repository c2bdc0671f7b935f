//! The quick part of what a change must pass: format, lints, documents, licences.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::programs::{self, cargo, find, root, succeeds_within};
use crate::step::Steps;

/// The advisory database is small; a network that needs longer is taken for closed.
const FETCH_LIMIT: Duration = Duration::from_mins(2);

/// The chore.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new("cargo xtask check");
    as_steps(&mut steps)?;
    steps.finish();
    Ok(())
}

/// The steps of the chore, as part of a larger one.
pub(crate) fn as_steps(steps: &mut Steps) -> Result<()> {
    steps.step("format", || programs::run(cargo().args(["fmt", "--all", "--check"])))?;
    steps.step("licences, bans, sources", || {
        programs::run(deny()?.args(["check", "bans", "licenses", "sources"]))
    })?;
    steps.step("advisories", advisories)?;
    steps.step("lints", || {
        programs::run(cargo().args([
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    steps.step("documents", || {
        programs::run(cargo().env("RUSTDOCFLAGS", "-D warnings").args([
            "doc",
            "--locked",
            "--workspace",
            "--no-deps",
        ]))
    })
}

fn deny() -> Result<Command> {
    let program = find("cargo-deny").context("cargo-deny is missing: run `cargo xtask setup`")?;
    let mut command = Command::new(program);
    command.current_dir(root());
    Ok(command)
}

/// Checks against the advisory database if it can be had. A closed network is no failure, but it is said.
fn advisories() -> Result<()> {
    if succeeds_within(deny()?.args(["fetch", "db"]), FETCH_LIMIT)? {
        let status = deny()?.args(["check", "--disable-fetch", "advisories"]).status()?;
        ensure!(status.success(), "a dependency has a published advisory");
        println!("   advisories: CHECKED against the fresh database");
    } else {
        println!("   advisories: NOT CHECKED, the database cannot be fetched from here");
    }
    Ok(())
}
