//! Whole flows of larder and its peers, in turns on the same data: what they cost.
//!
//! In: sizes. Out: tables on the terminal, and the same figures as Markdown and JSON in `docs/benchmarks`. One run does
//! all flows with one program and then with the next; who begins changes from run to run. The figures are medians over
//! the runs. restic is the one that the tests use; rustic and borg take part if they are on the PATH.

mod calls; // how each program is asked for each flow
mod report; // the figures as Markdown and JSON
mod sets; // what is backed up

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::programs::{self, Cost, cargo, measure, output, restic, target};
use crate::step::Steps;
use crate::tree::Wish;
use calls::{Flow, Kind, Place, Program};
use sets::Set;

/// One of two programs that take the same commands.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    /// Arguments before each command.
    pub(crate) global: &'static [&'static str],
}

struct Options {
    wish: Wish,
    runs: usize,
    sets: Vec<Set>,
    folder: PathBuf,
}

/// What each flow cost one program, run by run.
type Costs = [Vec<Cost>; Flow::ALL.len()];

/// What was found with one data set; by program, the first one is larder.
struct Measured {
    name: &'static str,
    what: String,
    costs: Vec<Costs>,
    /// What the repository takes after the first backup, in bytes.
    stored: Vec<u64>,
}

/// The chore.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = options(words)?;
    let mut steps = Steps::new("cargo xtask bench peers");
    steps.step("build larder", || {
        programs::run(cargo().args(["build", "--locked", "--release", "-p", "repo-cli"]))
    })?;
    let peers = peers()?;
    let mut measured = Vec::new();
    for set in &options.sets {
        let work = tempfile::tempdir_in(&options.folder)?;
        let data = work.path().join("data");
        let what = steps.step(&format!("make the data: {}", set.name()), || set.make(&data, options.wish))?;
        let mut found = Measured {
            name: set.name(),
            what,
            costs: peers.iter().map(|_| Costs::default()).collect(),
            stored: vec![0; peers.len()],
        };
        for number in 0..options.runs {
            for turn in 0..peers.len() {
                let which = (number + turn) % peers.len();
                let name = format!(
                    "{}, run {} of {}: {}",
                    set.name(),
                    number + 1,
                    options.runs,
                    peers[which].name()
                );
                found.stored[which] = steps
                    .step(&name, || flows(&peers[which], &data, work.path(), &mut found.costs[which]))?;
            }
        }
        measured.push(found);
    }
    report::write(&options, &peers, &measured)?;
    steps.finish();
    Ok(())
}

/// larder, restic, and who else is there.
fn peers() -> Result<Vec<Program>> {
    let mut peers = vec![
        Program::at(Kind::Larder, target().join("release/larder"))?,
        Program::at(Kind::Restic, restic()?)?,
    ];
    for (kind, name) in [(Kind::Rustic, "rustic"), (Kind::Borg, "borg")] {
        match Program::at(kind, PathBuf::from(name)) {
            Ok(program) => peers.push(program),
            Err(_) => println!("{name} is not on the PATH and takes no part"),
        }
    }
    Ok(peers)
}

fn options(words: &[&str]) -> Result<Options> {
    let mut options = Options {
        wish: Wish { bytes: 1 << 30, files: 10_000 },
        runs: 3,
        sets: Set::ALL.to_vec(),
        folder: std::env::temp_dir(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match *word {
            "--size" => options.wish.bytes = size(value)?,
            "--files" => options.wish.files = value.parse().context("--files is a number")?,
            "--runs" => options.runs = value.parse().context("--runs is a number")?,
            "--sets" => options.sets = value.split(',').map(Set::parse).collect::<Result<_>>()?,
            "--folder" => options.folder = PathBuf::from(value),
            other => bail!("unknown option {other}"),
        }
    }
    ensure!(options.runs > 0, "at least one run");
    Ok(options)
}

/// `8GiB`, `300MiB`, `5000`.
pub(crate) fn size(text: &str) -> Result<u64> {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let (digits, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1_u64));
    let number: u64 = digits.parse().with_context(|| format!("{text} is no size such as 8GiB"))?;
    number.checked_mul(unit).with_context(|| format!("{text} is too much"))
}

/// All flows with one program, on a new repository. Gives what that takes after the first backup, in bytes.
fn flows(program: &Program, data: &Path, work: &Path, costs: &mut Costs) -> Result<u64> {
    let own = tempfile::tempdir_in(work)?;
    let place = Place::below(own.path());
    program.init(&place)?;
    let data = data.to_str().context("the folder's name is text")?;
    let mut stored = 0;
    for (flow, costs) in Flow::ALL.into_iter().zip(costs) {
        // What is still to be written must not be paid by the next flow.
        output(&mut Command::new("sync"))?;
        let cost = measure(&program.call(&place, flow, data)?)?;
        println!(
            "   {:<18} {:>8.2} s wall {:>8.2} s cpu {:>5} MiB",
            flow.name(),
            cost.wall,
            cost.cpu,
            cost.memory >> 20
        );
        costs.push(cost);
        if flow == Flow::FirstBackup {
            stored = programs::bytes_below(&place.repository)?;
        }
    }
    Ok(stored)
}

/// The median of each figure by itself.
pub(crate) fn middle(costs: &[Cost]) -> Cost {
    let of = |figure: fn(&Cost) -> f64| {
        let mut figures: Vec<f64> = costs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let half = figures.len() / 2;
        if figures.len() % 2 == 1 { figures[half] } else { f64::midpoint(figures[half - 1], figures[half]) }
    };
    let mut memories: Vec<u64> = costs.iter().map(|cost| cost.memory).collect();
    memories.sort_unstable();
    Cost { wall: of(|cost| cost.wall), cpu: of(|cost| cost.cpu), memory: memories[memories.len() / 2] }
}
