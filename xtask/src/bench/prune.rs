//! Prune after a history with churn, larder and restic on copies of one repository: what it costs, and what it costs again.
//!
//! In: how many snapshots, files and changes. Out: a table on the terminal, and the same figures as Markdown and JSON in
//! `docs/benchmarks`. The history is made once: from snapshot to snapshot some files get other content, then every second
//! snapshot goes. Each program prunes a copy of its own, with a cache of its own that knows nothing, and once more with
//! nothing new; larder also in its default way, beside backups. The other program's check ends each run.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::bench::memory::Filler;
use crate::programs::{self, Cost, cargo, measure, output, restic, root, target};
use crate::step::Steps;
use crate::tree::{self, Wish};

const PASSWORD: &str = "bench";

/// Bytes of a file, on average.
const FILE_BYTES: u64 = 4096;

struct Options {
    snapshots: u64,
    files: u64,
    /// Files that change from snapshot to snapshot, in percent.
    churn: u64,
    folder: PathBuf,
}

/// One way to prune.
struct Way {
    name: &'static str,
    program: PathBuf,
    words: &'static [&'static str],
}

/// What a way has cost: the first prune and the one after it.
struct Row {
    name: &'static str,
    costs: [Cost; 2],
    /// What opening the repository and showing its config takes: mostly the key's derivation.
    opening: Cost,
    /// What the repository holds in the end, in bytes.
    left: u64,
}

/// The chore.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = options(words)?;
    let mut steps = Steps::new("cargo xtask bench prune");
    steps.step("build larder", || {
        programs::run(cargo().args(["build", "--locked", "--release", "-p", "repo-cli"]))
    })?;
    let (larder, restic) = (target().join("release/larder"), restic()?);
    let work = tempfile::tempdir_in(&options.folder)?;
    let repository = work.path().join("repository");
    steps.step("make the history", || make_history(&options, &larder, work.path(), &repository))?;
    let instant: &[&str] = &["prune", "--instant"];
    let ways = [
        Way { name: "restic prune", program: restic.clone(), words: &["prune"] },
        Way { name: "larder prune --instant", program: larder.clone(), words: instant },
        Way { name: "larder prune", program: larder.clone(), words: &["prune"] },
    ];
    let mut filler = Filler::new(work.path())?;
    let mut rows = Vec::new();
    for way in &ways {
        let judge = if way.program == larder { &restic } else { &larder };
        rows.push(steps.step(way.name, || measure_way(way, judge, work.path(), &repository, &mut filler))?);
    }
    report(&options, [&larder, &restic], &rows)?;
    steps.finish();
    Ok(())
}

fn options(words: &[&str]) -> Result<Options> {
    let mut options = Options { snapshots: 50, files: 200_000, churn: 2, folder: std::env::temp_dir() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match *word {
            "--snapshots" => options.snapshots = value.parse().context("--snapshots is a number")?,
            "--files" => options.files = value.parse().context("--files is a number")?,
            "--churn" => options.churn = value.parse().context("--churn is a number of percent")?,
            "--folder" => options.folder = PathBuf::from(value),
            other => bail!("unknown option {other}"),
        }
    }
    ensure!(options.snapshots > 1 && options.files >= 100, "at least two snapshots of a hundred files");
    Ok(options)
}

fn on(program: &Path, repository: &Path, cache: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).arg("--quiet").env("RESTIC_CACHE_DIR", cache);
    command.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", PASSWORD);
    command
}

fn make_history(options: &Options, larder: &Path, work: &Path, repository: &Path) -> Result<()> {
    let (data, cache) = (work.join("data"), work.join("cache"));
    let do_it = |words: &[&str]| output(&mut on(larder, repository, &cache, words));
    do_it(&["init"])?;
    tree::make(&data, Wish { bytes: options.files * FILE_BYTES, files: options.files })?;
    let name = data.to_str().context("the folder's name is text")?;
    for number in 0..options.snapshots {
        if number > 0 {
            tree::change(&data, options.files, options.files * options.churn / 100, number)?;
        }
        let kept = if number % 2 == 0 { "goes" } else { "stays" };
        do_it(&["backup", name, "--tag", kept])?;
    }
    do_it(&["forget", "--tag", "goes", "--group-by", "", "--keep-last", "1"])?;
    Ok(())
}

/// Prunes a copy twice.
fn measure_way(way: &Way, judge: &Path, work: &Path, repository: &Path, filler: &mut Filler) -> Result<Row> {
    let own = tempfile::tempdir_in(work)?;
    let (copy, cache) = (own.path().join("repository"), own.path().join("cache"));
    output(Command::new("cp").arg("--archive").args([repository, &copy]))?;
    let mut prune = || {
        output(&mut Command::new("sync"))?;
        filler.fill()?;
        let cost = measure(&on(&way.program, &copy, &cache, way.words))?;
        println!("   {:>8.2} s wall {:>8.2} s cpu {:>5} MiB", cost.wall, cost.cpu, cost.memory >> 20);
        Ok::<_, anyhow::Error>(cost)
    };
    let costs = [prune()?, prune()?];
    let opening = measure(&on(&way.program, &copy, &cache, &["cat", "config"]))?;
    output(&mut on(judge, &copy, &own.path().join("other cache"), &["check", "--read-data"]))?;
    let left = programs::bytes_below(&copy)?;
    Ok(Row { name: way.name, costs, opening, left })
}

fn report(options: &Options, programs: [&Path; 2], rows: &[Row]) -> Result<()> {
    let mut versions = Vec::new();
    for program in programs {
        let text = String::from_utf8(output(Command::new(program).arg("version"))?.stdout)?;
        versions.push(text.lines().next().unwrap_or_default().to_owned());
    }
    let Options { snapshots, files, churn, .. } = options;
    let mut text = format!(
        "# larder and restic, prune\n\n\
         Made by `cargo xtask bench prune --snapshots {snapshots} --files {files} --churn {churn}`: {snapshots} snapshots of {files} \
         files, of which {churn} percent change from one to the next; every second one is forgotten. {cores} cores, {system}, \
         one run, repository and caches on one disk. Opening the repository, mostly the key's derivation, is stated apart and \
         included in the others.\n\n- {}\n- {}\n\n\
         \"Again\" is a second prune right after the first, with nothing new. `larder prune` works beside backups: what it \
         marks goes with a later prune, so more is left at first.\n\n\
         | | opening wall s | wall s | cpu s | MiB of memory | again wall s | again cpu s | MiB left |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        versions[0],
        versions[1],
        cores = std::thread::available_parallelism()?,
        system = std::env::consts::OS,
    );
    for Row { name, costs: [first, again], opening, left } in rows {
        let _ = writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {:.2} | {} | {:.2} | {:.2} | {} |",
            opening.wall,
            first.wall,
            first.cpu,
            first.memory >> 20,
            again.wall,
            again.cpu,
            left >> 20
        );
    }
    let cost = |cost: &Cost| json!({ "wall": cost.wall, "cpu": cost.cpu, "memory": cost.memory });
    let ways: Vec<_> = rows
        .iter()
        .map(|row| json!({ "way": row.name, "first": cost(&row.costs[0]), "again": cost(&row.costs[1]), "opening": cost(&row.opening), "left": row.left }))
        .collect();
    let document = json!({
        "snapshots": snapshots, "files": files, "churn": churn, "larder": versions[0], "restic": versions[1], "ways": ways,
    });
    let folder = root().join("docs/benchmarks");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("prune.md"), &text)?;
    fs::write(folder.join("prune.json"), serde_json::to_string_pretty(&document)? + "\n")?;
    println!("\n{text}");
    Ok(())
}
