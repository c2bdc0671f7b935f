//! The figures of the network bench as Markdown and JSON.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::network::{FLOWS, Options, Row, has_two_sides};
use crate::bench::peers::{Peer, middle};
use crate::programs::{Cost, output, root};

/// Writes both files, and the table to the terminal.
pub(super) fn write(options: &Options, peers: &[Peer; 2], rows: &[Row]) -> Result<()> {
    let mut versions = [String::new(), String::new()];
    for (version, peer) in versions.iter_mut().zip(peers) {
        let text = String::from_utf8(output(Command::new(&peer.program).arg("version"))?.stdout)?;
        text.lines().next().unwrap_or_default().clone_into(version);
    }
    let text = head(options, &versions)? + &flows(options, rows) + &raw(options, rows) + &memory(rows);
    let document = json!({
        "bytes": options.bytes, "delay_ms": options.delay * 2, "runs": options.runs, "s3_server": options.s3,
        "own_cores": has_two_sides(), "versions": versions, "places": rows.iter().map(place).collect::<Value>(),
    });
    let folder = root().join("docs/benchmarks");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("network.md"), &text)?;
    fs::write(folder.join("network.json"), serde_json::to_string_pretty(&document)? + "\n")?;
    println!("\n{text}");
    Ok(())
}

fn head(options: &Options, versions: &[String; 2]) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let sides = if has_two_sides() {
        "the programs on one of them, the servers and the line on another"
    } else {
        "programs and servers on the same"
    };
    Ok(format!(
        "# larder and restic over a network\n\n\
         Made by `cargo xtask bench network --size {size} --delay {delay} --runs {runs} --s3 {s3}`: {mib} MiB of incompressible \
         data in 16 files, {cores} cores, {sides}; {system}, medians of {runs} paired runs in alternating order. Servers: \
         OpenSSH's sshd and {s3}, on loopback. \"far\" adds {delay} ms in each direction, {rtt} ms to a round trip, and no \
         limit of the bandwidth. Both programs use their defaults, which is five connections, and a cache of their own.\n\n\
         - {larder}\n- {restic}\n\n\
         Wall and CPU time (user and system together, of ssh too) in seconds, largest resident memory in MiB; \"times as fast\" = \
         restic's wall time / larder's. Every run opens the repository, which derives a key from the password: that time is in the \
         figures, and the column \"opening\" says how long `cat config` takes.\n\n",
        size = options.bytes,
        mib = options.bytes >> 20,
        delay = options.delay,
        rtt = options.delay * 2,
        runs = options.runs,
        s3 = options.s3,
        system = std::env::consts::OS,
        larder = versions[0],
        restic = versions[1],
    ))
}

fn flows(options: &Options, rows: &[Row]) -> String {
    let mut table = String::from(
        "| place | flow | larder wall s | restic wall s | times as fast | larder MiB/s | restic MiB/s | larder cpu s | \
         restic cpu s | larder MiB | restic MiB | opening, larder / restic s |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        for (at, flow) in FLOWS.iter().enumerate() {
            let [ours, theirs] = [middle(&row.costs[0][at]), middle(&row.costs[1][at])];
            let _ = writeln!(
                table,
                "| {} | {flow} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} | {:.2} | {} | {} | {:.2} / {:.2} |",
                row.place.name(),
                ours.wall,
                theirs.wall,
                theirs.wall / ours.wall,
                rate(options, &ours),
                rate(options, &theirs),
                ours.cpu,
                theirs.cpu,
                ours.memory >> 20,
                theirs.memory >> 20,
                row.opening[0],
                row.opening[1],
            );
        }
    }
    table
}

/// How near a whole backup comes to what the library alone does.
fn raw(options: &Options, rows: &[Row]) -> String {
    let mut table = String::from(
        "\nWhat the client library alone does with as many packs of 16 MiB, five at once (`opendal` for S3; for SFTP our client \
         without a repository), and how much of that larder reaches, the key derivation included. What \
         larder gives to S3 the server hashes twice more than what the library gives it: the body is signed, and its SHA-256 is \
         stored. ssh shares the one core with whoever uses it.\n\n\
         | place | flow | library MiB/s | larder MiB/s | share |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let Some(raw) = row.raw else { continue };
        for ((flow, costs), raw) in FLOWS.iter().zip(&row.costs[0]).zip(raw) {
            let ours = rate(options, &middle(costs));
            let share = 100.0 * ours / raw;
            let _ =
                writeln!(table, "| {} | {flow} | {raw:.0} | {ours:.0} | {share:.0} % |", row.place.name());
        }
    }
    table
}

/// How much more memory a backup takes over a network than to a folder.
fn memory(rows: &[Row]) -> String {
    let peak = |row: &Row| row.costs[0][0].iter().map(|cost| cost.memory >> 20).max().unwrap_or_default();
    let Some(folder) = rows.iter().find(|row| row.place.target == "folder").map(peak) else {
        return String::new();
    };
    let mut text = format!("\nLargest resident memory of larder's backup: {folder} MiB to a folder");
    for row in rows.iter().filter(|row| row.place.target != "folder") {
        let _ = write!(text, ", {} MiB to {}", peak(row), row.place.name());
    }
    text + ".\n"
}

fn place(row: &Row) -> Value {
    let runs = |costs: &[Cost]| -> Value {
        costs
            .iter()
            .map(|cost| json!({ "wall": cost.wall, "cpu": cost.cpu, "memory": cost.memory }))
            .collect()
    };
    let flows = |which: usize| -> Value {
        FLOWS
            .iter()
            .zip(&row.costs[which])
            .map(|(flow, costs)| json!({ "flow": flow, "runs": runs(costs) }))
            .collect()
    };
    json!({
        "place": row.place.name(), "larder": flows(0), "restic": flows(1), "opening": row.opening, "raw": row.raw,
    })
}

#[allow(clippy::cast_precision_loss, reason = "a rate need not be exact")]
fn rate(options: &Options, cost: &Cost) -> f64 {
    (options.bytes >> 20) as f64 / cost.wall
}
