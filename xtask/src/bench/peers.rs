//! Whole flows of larder and restic, in turns on the same data: what they cost.
//!
//! In: sizes. Out: a table on the terminal, and the same figures as Markdown and JSON in `docs/benchmarks`.
//! One run does all flows with one program and then with the other; the order changes from run to run. The
//! figures are medians over the runs. Both programs use their defaults; restic gets `--no-cache`, since
//! larder reads the same local repository without one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::programs::{self, Cost, cargo, measure, output, restic, root, target};
use crate::step::Steps;
use crate::tree::{self, Wish};

const FLOWS: [&str; 4] = ["first backup", "unchanged backup", "restore", "check --read-data"];
const PASSWORD: &str = "bench";

struct Options {
    wish: Wish,
    runs: usize,
    folder: PathBuf,
}

/// One of the two programs.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    /// Arguments before each command.
    pub(crate) global: &'static [&'static str],
}

/// What each flow cost one program, run by run.
type Costs = [Vec<Cost>; FLOWS.len()];

/// The chore.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = options(words)?;
    let mut steps = Steps::new("cargo xtask bench peers");
    steps.step("build larder", || {
        programs::run(cargo().args(["build", "--locked", "--release", "-p", "repo-cli"]))
    })?;
    let peers = [
        Peer { name: "larder", program: target().join("release/larder"), global: &[] },
        Peer { name: "restic", program: restic()?, global: &["--no-cache"] },
    ];
    let work = tempfile::tempdir_in(&options.folder)?;
    let data = work.path().join("data");
    let bytes = steps.step("make the data", || tree::make(&data, options.wish))?;
    let mut costs: [Costs; 2] = Default::default();
    for number in 0..options.runs {
        for turn in 0..peers.len() {
            let which = (number + turn) % peers.len();
            let peer = &peers[which];
            steps.step(&format!("run {} of {}: {}", number + 1, options.runs, peer.name), || {
                flows(peer, &data, work.path(), &mut costs[which])
            })?;
        }
    }
    report(&options, bytes, &peers, &costs)?;
    steps.finish();
    Ok(())
}

fn options(words: &[&str]) -> Result<Options> {
    let mut options =
        Options { wish: Wish { bytes: 1 << 30, files: 10_000 }, runs: 3, folder: std::env::temp_dir() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match *word {
            "--size" => options.wish.bytes = size(value)?,
            "--files" => options.wish.files = value.parse().context("--files is a number")?,
            "--runs" => options.runs = value.parse().context("--runs is a number")?,
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

/// All flows with one program, on a new repository.
fn flows(peer: &Peer, data: &Path, work: &Path, costs: &mut Costs) -> Result<()> {
    let place = tempfile::tempdir_in(work)?;
    let repository = place.path().join("repository");
    let restored = place.path().join("restored");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&peer.program);
        command.args(peer.global).args(arguments).arg("--quiet");
        command.env("RESTIC_REPOSITORY", &repository).env("RESTIC_PASSWORD", PASSWORD);
        command
    };
    output(&mut command(&["init"]))?;
    let data = data.to_str().context("the folder's name is text")?;
    let restored = restored.to_str().context("the folder's name is text")?;
    let commands = [
        vec!["backup", data],
        vec!["backup", data],
        vec!["restore", "latest", "--target", restored],
        vec!["check", "--read-data"],
    ];
    for ((flow, arguments), costs) in FLOWS.iter().zip(commands).zip(costs) {
        // What is still to be written must not be paid by the next flow.
        output(&mut Command::new("sync"))?;
        let cost = measure(&command(&arguments))?;
        println!("   {flow:<18} {:>8.2} s wall {:>8.2} s cpu {:>8}", cost.wall, cost.cpu, mib(cost.memory));
        costs.push(cost);
    }
    Ok(())
}

fn report(options: &Options, bytes: u64, peers: &[Peer; 2], costs: &[Costs; 2]) -> Result<()> {
    let version = |peer: &Peer| -> Result<String> {
        let text = String::from_utf8(output(Command::new(&peer.program).arg("version"))?.stdout)?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    let mut table = String::from(
        "| flow | larder wall s | restic wall s | ratio | larder cpu s | restic cpu s | larder MiB | restic MiB |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut rows = Vec::new();
    for (at, flow) in FLOWS.iter().enumerate() {
        let [ours, theirs] = [middle(&costs[0][at]), middle(&costs[1][at])];
        let _ = writeln!(
            table,
            "| {flow} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
            ours.wall,
            theirs.wall,
            ours.wall / theirs.wall,
            ours.cpu,
            theirs.cpu,
            mib(ours.memory),
            mib(theirs.memory)
        );
        rows.push(json!({ "flow": flow, "larder": runs(&costs[0][at]), "restic": runs(&costs[1][at]) }));
    }
    let cores = std::thread::available_parallelism()?;
    let head = format!(
        "# larder and restic, whole flows\n\n\
         Made by `cargo xtask bench peers --size {bytes_wanted} --files {files} --runs {runs}`: {made} in {files} files, \
         {cores} cores, {system}, medians of {runs} paired runs in alternating order, repository and data on one disk.\n\n\
         - {larder}\n- {restic}\n\n\
         Wall and CPU time (user and system together) in seconds, largest resident memory in MiB; ratio = larder's wall time / restic's.\n\n",
        bytes_wanted = options.wish.bytes,
        files = options.wish.files,
        runs = options.runs,
        made = mib(bytes) + " MiB",
        system = std::env::consts::OS,
        larder = version(&peers[0])?,
        restic = version(&peers[1])?,
    );
    let document = json!({
        "size": bytes, "files": options.wish.files, "runs": options.runs, "cores": cores.get(),
        "larder": version(&peers[0])?, "restic": version(&peers[1])?, "flows": rows,
    });
    let folder = root().join("docs/benchmarks");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("peers.md"), format!("{head}{table}"))?;
    fs::write(folder.join("peers.json"), serde_json::to_string_pretty(&document)? + "\n")?;
    println!("\n{head}{table}");
    Ok(())
}

fn runs(costs: &[Cost]) -> Value {
    costs.iter().map(|cost| json!({ "wall": cost.wall, "cpu": cost.cpu, "memory": cost.memory })).collect()
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

fn mib(bytes: u64) -> String {
    (bytes / (1 << 20)).to_string()
}
