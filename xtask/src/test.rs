//! Everything a change must pass, in the order in which mistakes are cheapest to find.

use std::fs;

use anyhow::{Context, Result};

use crate::programs::{self, cargo, root, target};
use crate::step::Steps;
use crate::{check, setup};

/// The chore.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new("cargo xtask test");
    setup::as_steps(&mut steps)?;
    check::as_steps(&mut steps)?;
    // The suite starts the program itself, so it must be there before.
    steps.step("build", || {
        programs::run(cargo().args(["build", "--locked", "--workspace", "--all-targets"]))
    })?;
    steps.step("document examples", || {
        programs::run(cargo().args(["test", "--locked", "--workspace", "--doc"]))
    })?;
    steps.step("example programs", examples)?;
    steps.step("tests", || programs::run(cargo().args(["nextest", "run", "--locked", "--workspace"])))?;
    steps.finish();
    Ok(())
}

/// Runs every program of `repo-core/examples` in an empty folder, without arguments.
fn examples() -> Result<()> {
    let folder = root().join("repo-core/examples");
    let mut names = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(&folder).context("cannot list the examples")? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "rs") {
                names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
            }
        }
    }
    names.sort();
    for name in names {
        let empty = tempfile::tempdir()?;
        let program = target().join("debug/examples").join(&name);
        programs::run(std::process::Command::new(program).current_dir(empty.path()))?;
    }
    Ok(())
}
