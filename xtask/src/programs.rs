//! Other programs: where they are, how they are started, what they cost.
//!
//! A measured program is started by a fresh copy of this one, so that the figures of the kernel for "all
//! children" are the figures of that one child.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the workspace")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Where this project keeps tools it built for itself.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// Finds a program in the project's own tools, on the PATH, or among the system's, which a user's PATH may lack.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools().join("bin"))
        .chain(env::split_paths(&path))
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// The restic that the tests and comparisons use.
pub(crate) fn restic() -> Result<PathBuf> {
    match env::var_os("LARDER_TEST_RESTIC") {
        Some(named) => {
            let path = PathBuf::from(named);
            ensure!(path.is_file(), "LARDER_TEST_RESTIC names {}, which is not there", path.display());
            Ok(path)
        }
        None => find("restic").context("restic is not on the PATH: run `cargo xtask setup`"),
    }
}

/// Cargo as this run of it was started, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What cargo told xtask about xtask is not for the packages it builds next.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program with our output; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("   {}", shown(command));
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// Runs a program and takes its output; anything but success is an error that shows it.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{}{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}

/// Runs a program for at most `limit` and says whether it succeeded in that time.
pub(crate) fn succeeds_within(command: &mut Command, limit: Duration) -> Result<bool> {
    println!("   {}", shown(command));
    let mut child = command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        thread::sleep(Duration::from_millis(100));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// The command as one would type it, without the path to the program.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = std::iter::once(program.file_name().unwrap_or_default()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// What one run of a program cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Wall time in seconds.
    pub wall: f64,
    /// User and system time in seconds.
    pub cpu: f64,
    /// Largest resident memory in bytes.
    pub memory: u64,
}

/// How many bytes the files below a folder have together.
pub(crate) fn bytes_below(folder: &Path) -> Result<u64> {
    let said = output(Command::new("du").args(["--summarize", "--bytes"]).arg(folder))?;
    let said = String::from_utf8(said.stdout)?;
    said.split_whitespace().next().context("du gives a number")?.parse().context("du gives a number")
}

/// Runs a program with its output thrown away and says what it cost.
pub(crate) fn measure(command: &Command) -> Result<Cost> {
    let mut helper = Command::new(env::current_exe()?);
    helper.arg("measure").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => helper.env(name, value),
            None => helper.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        helper.current_dir(folder);
    }
    let output = output(&mut helper)?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace();
    let mut next = || numbers.next().context("the measuring helper gives three numbers");
    Ok(Cost { wall: next()?.parse()?, cpu: next()?.parse()?, memory: next()?.parse()? })
}

/// The other half of [`measure`]: runs the command as the only child and prints the three numbers.
pub(crate) fn measure_here(command: &[&str]) -> Result<()> {
    let (program, arguments) = command.split_first().context("nothing to measure")?;
    let begun = Instant::now();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
    let wall = begun.elapsed().as_secs_f64();
    ensure!(status.success(), "{program} ended with {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |value: nix::sys::time::TimeVal| -> Result<f64> {
        Ok(Duration::new(u64::try_from(value.tv_sec())?, u32::try_from(value.tv_usec())? * 1000)
            .as_secs_f64())
    };
    // Linux counts in KiB, macOS in bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let memory = u64::try_from(usage.max_rss())? * unit;
    println!("{wall} {} {memory}", time(usage.user_time())? + time(usage.system_time())?);
    Ok(())
}
