//! Backups and restores over a network, larder and restic in turns: how fast, at what cost.
//!
//! In: how many bytes, how long the line. Out: a table on the terminal, and the same figures as Markdown and JSON in
//! `docs/benchmarks`. A real sshd and a real S3 server run on this machine, near and behind a line that delays each
//! byte. Where there are two cores, the servers get one and the programs the other, as if they were two machines; so
//! neither side takes time from the other. Each run begins with a fresh repository and an empty cache of its own;
//! the order of the programs changes from run to run. Beside them the raw client libraries move as many packs.

mod far_side; // the servers, started and ended
mod report; // figures → Markdown and JSON

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::bench::memory::Filler;
use crate::bench::peers::{Peer, size};
use crate::programs::{self, Cost, cargo, find, measure, output, restic, target};
use crate::setup;
use crate::step::Steps;
use crate::tree;
use far_side::{FarSide, Place};

const PASSWORD: &str = "bench";
const FLOWS: [&str; 2] = ["backup", "restore"];

struct Options {
    bytes: u64,
    /// One way, in milliseconds.
    delay: u64,
    runs: usize,
    folder: PathBuf,
    /// Which S3 server: a program's name.
    s3: String,
    /// Only targets whose name contains this.
    only: String,
}

/// What is measured in one place.
struct Row {
    place: Place,
    /// Per program and flow, run by run.
    costs: [[Vec<Cost>; FLOWS.len()]; 2],
    /// Seconds that each program takes to open the repository and show its config: mostly the key derivation.
    opening: [f64; 2],
    /// What the raw library reaches with packs of 16 MiB: MiB per second out and in.
    raw: Option<[f64; 2]>,
}

/// The chore.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = options(words)?;
    let mut steps = Steps::new("cargo xtask bench network");
    steps.step("build", || {
        let (bins, examples) =
            (["--bin", "larder", "--bin", "far-side"], ["--example", "rate", "--example", "raw_s3"]);
        programs::run(
            cargo().args(["build", "--locked", "--release", "--workspace"]).args(bins).args(examples),
        )
    })?;
    let s3 = steps.step("the S3 server", || s3_server(&options.s3))?;
    let peers = [
        Peer { name: "larder", program: target().join("release/larder"), global: &[] },
        Peer { name: "restic", program: restic()?, global: &[] },
    ];
    let work = tempfile::tempdir_in(&options.folder)?;
    let data = work.path().join("data");
    steps.step("make the data", || tree::make_incompressible(&data, options.bytes))?;
    let far_side = FarSide::start(&s3, options.delay, work.path())?;
    let mut filler = Filler::new(work.path())?;
    let mut rows = Vec::new();
    for place in far_side.places(work.path()).filter(|place| place.name().contains(&options.only)) {
        let name = place.name();
        rows.push(steps.step(&name, || measure_place(&options, &peers, place, &data, &mut filler))?);
    }
    report::write(&options, &peers, &rows)?;
    steps.finish();
    Ok(())
}

fn options(words: &[&str]) -> Result<Options> {
    let mut options = Options {
        bytes: 2 << 30,
        delay: 15,
        runs: 1,
        folder: std::env::temp_dir(),
        s3: "s3s-fs".to_owned(),
        only: String::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match *word {
            "--size" => options.bytes = size(value)?,
            "--delay" => options.delay = value.parse().context("--delay is a number of milliseconds")?,
            "--runs" => options.runs = value.parse().context("--runs is a number")?,
            "--folder" => options.folder = PathBuf::from(value),
            "--s3" => (*value).clone_into(&mut options.s3),
            "--only" => (*value).clone_into(&mut options.only),
            other => bail!("unknown option {other}"),
        }
    }
    ensure!(options.runs > 0, "at least one run");
    Ok(options)
}

/// The program of an S3 server that both can use and that is not slower than they are.
fn s3_server(name: &str) -> Result<PathBuf> {
    if name == "s3s-fs" && find(name).is_none() {
        setup::tool(name, "an S3 server", &["--version", "0.14.1", "--features", "binary"])?;
    }
    find(name).with_context(|| format!("{name} is neither among the tools nor on the PATH"))
}

/// All flows of both programs in one place, in turns.
fn measure_place(
    options: &Options,
    peers: &[Peer; 2],
    place: Place,
    data: &Path,
    filler: &mut Filler,
) -> Result<Row> {
    let mut row = Row { place, costs: Default::default(), opening: [0.0; 2], raw: None };
    for number in 0..options.runs {
        for turn in 0..peers.len() {
            let which = (number + turn) % peers.len();
            flows(&peers[which], data, filler, &mut row, which)?;
        }
    }
    let at = row.place.named("raw");
    if let Some(command) = at.raw_client(options.bytes) {
        filler.fill()?;
        let said = String::from_utf8(output(&mut near_side(&command))?.stdout)?;
        print!("{said}");
        row.raw = Some(rates(&said)?);
        at.remove()?;
    }
    Ok(row)
}

/// Backup and restore by one program, from a fresh repository and an empty cache.
fn flows(peer: &Peer, data: &Path, filler: &mut Filler, row: &mut Row, which: usize) -> Result<()> {
    let own = tempfile::tempdir_in(data.parent().context("the data lie in a folder")?)?;
    let (cache, restored) = (own.path().join("cache"), own.path().join("restored"));
    let at = row.place.named(peer.name);
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&peer.program);
        command.args(peer.global).arg("--quiet").args(&at.options).args(arguments);
        command.envs(at.variables.iter().cloned());
        command.env("RESTIC_REPOSITORY", &at.location).env("RESTIC_PASSWORD", PASSWORD);
        near_side(command.env("RESTIC_CACHE_DIR", &cache))
    };
    output(&mut command(&["init"]))?;
    let folder = data.to_str().context("the folder's name is text")?;
    let restored = restored.to_str().context("the folder's name is text")?;
    let commands = [vec!["backup", folder], vec!["restore", "latest", "--target", restored]];
    for ((flow, arguments), costs) in FLOWS.iter().zip(commands).zip(&mut row.costs[which]) {
        // What is still to be written must not be paid by the next flow.
        output(&mut Command::new("sync"))?;
        filler.fill()?;
        tree::read(data)?; // it may have had to make room
        let cost = measure(&command(&arguments))?;
        println!(
            "   {:<7} {flow:<8} {:>8.2} s wall {:>8.2} s cpu {:>5} MiB",
            peer.name,
            cost.wall,
            cost.cpu,
            cost.memory >> 20
        );
        costs.push(cost);
    }
    output(Command::new("diff").args(["--recursive", "--brief", folder]).arg(format!("{restored}{folder}")))?;
    row.opening[which] = measure(&command(&["cat", "config"]))?.wall;
    at.remove()
}

/// On the core of the programs, where there is another one for the servers.
fn near_side(command: &Command) -> Command {
    pinned(command, "0")
}

/// The same command, held to one core; as it is where that cannot be said or there is only one.
fn pinned(command: &Command, core: &str) -> Command {
    let mut held = match find("taskset") {
        Some(taskset) if has_two_sides() => {
            let mut held = Command::new(taskset);
            held.args(["--cpu-list", core]).arg(command.get_program());
            held
        }
        _ => Command::new(command.get_program()),
    };
    held.args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            held.env(name, value);
        }
    }
    held
}

/// Whether each side has a core of its own.
fn has_two_sides() -> bool {
    find("taskset").is_some() && std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

/// The two rates in what the example program `rate` says: `put: 2048 MiB in 3.14 s, 652 MiB/s`.
fn rates(said: &str) -> Result<[f64; 2]> {
    let rate = |name: &str| -> Result<f64> {
        let line = said.lines().find(|line| line.starts_with(name)).context("a rate is missing")?;
        let rate = line.rsplit(", ").next().and_then(|rate| rate.strip_suffix(" MiB/s"));
        rate.context("a rate looks otherwise")?.parse().context("a rate is a number")
    };
    Ok([rate("put")?, rate("get")?])
}

/// Removes what a run left, so that the disk holds one repository at a time.
fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
