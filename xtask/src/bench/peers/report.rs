//! The figures as Markdown and JSON.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use super::calls::{Flow, Program};
use super::{Costs, Measured, Options, middle};
use crate::programs::{Cost, root};

/// Writes both, and prints the tables.
pub(super) fn write(options: &Options, programs: &[Program], measured: &[Measured]) -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    let mut text = format!(
        "# larder and its peers, whole flows\n\n\
         Made by `cargo xtask bench peers --sets {} --size {} --files {} --runs {}`: {cores} cores, {}, medians of paired runs in turns, repository \
         and data on one disk, each program with its defaults.\n\n",
        measured.iter().map(|set| set.name).collect::<Vec<_>>().join(","),
        options.wish.bytes,
        options.wish.files,
        options.runs,
        std::env::consts::OS,
    );
    for program in programs {
        let _ = writeln!(text, "- {}", program.version);
    }
    text += "\nWall time is without the opening of the repository (from the password to the config, mostly the key's derivation), \
             which every flow contains and which has a row of its own; CPU time (user and system together) and the largest resident \
             memory are of the whole program. Ratio: how many times as long as larder. Stored: what the repository takes after the first backup.\n";
    for set in measured {
        let _ = write!(text, "\n## {}: {}\n\n{}", set.name, set.what, table(programs, set));
    }
    let document = json!({
        "size": options.wish.bytes, "files": options.wish.files, "runs": options.runs, "cores": cores.get(),
        "programs": programs.iter().map(|program| program.version.as_str()).collect::<Vec<_>>(),
        "sets": measured.iter().map(|set| as_json(programs, set)).collect::<Vec<_>>(),
    });
    let folder = root().join("docs/benchmarks");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("peers.md"), &text)?;
    fs::write(folder.join("peers.json"), serde_json::to_string_pretty(&document)? + "\n")?;
    println!("\n{text}");
    Ok(())
}

fn table(programs: &[Program], set: &Measured) -> String {
    let mut text = String::from(
        "| flow | program | wall s | ratio | cpu s | MiB of memory | stored MiB |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (at, flow) in Flow::ALL.into_iter().enumerate() {
        let ours = wall(&set.costs[0], at);
        for ((program, costs), stored) in programs.iter().zip(&set.costs).zip(&set.stored) {
            let (wall, cost) = (wall(costs, at), middle(&costs[at]));
            let stored = if flow == Flow::FirstBackup { (stored >> 20).to_string() } else { String::new() };
            let _ = writeln!(
                text,
                "| {} | {} | {wall:.2} | {:.2} | {:.2} | {} | {stored} |",
                flow.name(),
                program.name(),
                wall / ours,
                cost.cpu,
                cost.memory >> 20,
            );
        }
    }
    text
}

/// Wall time of a flow without the opening that is part of it; never nothing at all.
fn wall(costs: &Costs, flow: usize) -> f64 {
    let opening = Flow::ALL.len() - 1;
    let whole = middle(&costs[flow]).wall;
    if flow == opening { whole } else { (whole - middle(&costs[opening]).wall).max(0.001) }
}

fn as_json(programs: &[Program], set: &Measured) -> Value {
    let of_program = |(program, costs): (&Program, &Costs)| {
        let flows =
            Flow::ALL.into_iter().zip(costs).map(|(flow, costs)| (flow.name().to_owned(), runs(costs)));
        (program.name().to_owned(), Value::Object(flows.collect()))
    };
    let stored =
        programs.iter().zip(&set.stored).map(|(program, bytes)| (program.name().to_owned(), json!(bytes)));
    json!({
        "name": set.name, "what": set.what,
        "stored": Value::Object(stored.collect()),
        "costs": Value::Object(programs.iter().zip(&set.costs).map(of_program).collect()),
    })
}

fn runs(costs: &[Cost]) -> Value {
    costs.iter().map(|cost| json!({ "wall": cost.wall, "cpu": cost.cpu, "memory": cost.memory })).collect()
}
