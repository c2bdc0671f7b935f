//! Larder and restic on the same repositories with real data, both ways round.
//!
//! In: a folder. Out: a table. One program backs the folder up, the other checks the repository, reads every
//! byte, restores it, and the result is compared with the source by a third one, rsync: content, owners,
//! times, links, ACLs, attributes. Then the other program backs the same folder up and must find nothing new
//! except, perhaps, the folders above it, whose times the work itself may have changed.

use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::programs::{self, cargo, find, output, restic, target};
use crate::step::{Steps, seconds};

const PASSWORD: &str = "compat";

/// One of the two programs and how it is called.
struct Peer {
    name: &'static str,
    program: PathBuf,
}

/// What one direction showed.
struct Row {
    writer: &'static str,
    reader: &'static str,
    files: u64,
    bytes: u64,
    new_data: u64,
    new_trees: u64,
    same_tree: bool,
}

/// The chore.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let source = match words {
        [] => Path::new("/usr"),
        [path] => Path::new(*path),
        _ => bail!("usage: cargo xtask compat [PATH]"),
    };
    let source = source.canonicalize().with_context(|| format!("cannot find {}", source.display()))?;
    find("rsync").context("rsync is missing: run `cargo xtask setup`")?;
    let mut steps = Steps::new("cargo xtask compat");
    steps.step("build larder", || {
        programs::run(cargo().args(["build", "--locked", "--release", "-p", "repo-cli"]))
    })?;
    let larder = Peer { name: "larder", program: target().join("release/larder") };
    let restic = Peer { name: "restic", program: restic()? };
    let mut rows = Vec::new();
    for (writer, reader) in [(&larder, &restic), (&restic, &larder)] {
        rows.push(direction(&mut steps, writer, reader, &source)?);
    }
    println!(
        "\n| written by | read by | files | bytes | check, restore, rsync | new data blobs | new tree blobs | same tree id |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let Row { writer, reader, files, bytes, new_data, new_trees, same_tree } = row;
        let same = if same_tree { "yes" } else { "no: a folder above changed" };
        println!(
            "| {writer} | {reader} | {files} | {bytes} | identical | {new_data} | {new_trees} | {same} |"
        );
    }
    steps.finish();
    Ok(())
}

fn direction(steps: &mut Steps, writer: &Peer, reader: &Peer, source: &Path) -> Result<Row> {
    let place = tempfile::tempdir()?;
    let repository = place.path().join("repository");
    let restored = place.path().join("restored");
    let name = |what: &str| format!("{} → {}: {what}", writer.name, reader.name);

    let first = steps.step(&name("first backup"), || {
        output(&mut writer.command(&repository, &["init"]))?;
        writer.backup(&repository, source)
    })?;
    steps.step(&name("check --read-data"), || {
        output(&mut reader.command(&repository, &["check", "--read-data"])).map(drop)
    })?;
    steps.step(&name("restore"), || {
        let mut command = reader.command(&repository, &["restore", "latest", "--target"]);
        output(command.arg(&restored)).map(drop)
    })?;
    steps.step(&name("compare with rsync"), || compare(source, &restored))?;
    let second = steps.step(&name("backup by the other program"), || reader.backup(&repository, source))?;

    let above = source.components().filter(|part| matches!(part, Component::Normal(_))).count() as u64;
    let (new_data, new_trees) = (number(&second, "data_blobs")?, number(&second, "tree_blobs")?);
    ensure!(new_data == 0, "{} added {new_data} data blobs to an unchanged folder", reader.name);
    ensure!(
        new_trees <= above,
        "{} added {new_trees} tree blobs to an unchanged folder, {above} at most lie above it",
        reader.name
    );
    let trees = trees(&mut reader.command(&repository, &["snapshots", "--json"]))?;
    Ok(Row {
        writer: writer.name,
        reader: reader.name,
        files: number(&first, "total_files_processed")?,
        bytes: number(&first, "total_bytes_processed")?,
        new_data,
        new_trees,
        same_tree: trees.windows(2).all(|pair| pair[0] == pair[1]),
    })
}

impl Peer {
    fn command(&self, repository: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--no-cache").args(arguments);
        command.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", PASSWORD);
        command
    }

    /// Backs the folder up and gives the summary. Anything unreadable is an error here.
    fn backup(&self, repository: &Path, source: &Path) -> Result<Value> {
        let mut command = self.command(repository, &["backup", "--json", "--quiet"]);
        let output = output(command.arg(source))?;
        let text = String::from_utf8(output.stdout)?;
        let messages = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        let summary = messages.into_iter().rfind(|message| message["message_type"] == "summary");
        let summary = summary.with_context(|| format!("{} gave no summary", self.name))?;
        println!(
            "   {} files, {} bytes, {} new data blobs, {} new tree blobs, {}",
            summary["total_files_processed"],
            summary["total_bytes_processed"],
            summary["data_blobs"],
            summary["tree_blobs"],
            seconds(std::time::Duration::from_secs_f64(
                summary["total_duration"].as_f64().unwrap_or_default()
            ))
        );
        Ok(summary)
    }
}

/// Every difference in content or metadata between the folder and what was restored of it, by rsync.
fn compare(source: &Path, restored: &Path) -> Result<()> {
    let below = source.strip_prefix("/").context("the source is an absolute path")?;
    // The ending slash compares what is in the folders.
    let [left, right] = [source, &restored.join(below)].map(|path| format!("{}/", path.display()));
    let mut rsync = Command::new("rsync");
    rsync.args(["-aHAXn", "--delete", "--checksum", "--itemize-changes"]).args([&left, &right]);
    let difference = String::from_utf8_lossy(&output(&mut rsync)?.stdout).into_owned();
    let shown: Vec<_> = difference.lines().take(20).collect();
    ensure!(
        difference.is_empty(),
        "{} differences, the first ones:\n{}",
        difference.lines().count(),
        shown.join("\n")
    );
    println!("   identical");
    Ok(())
}

/// The tree ids of all snapshots.
fn trees(command: &mut Command) -> Result<Vec<String>> {
    let snapshots: Vec<Value> = serde_json::from_slice(&output(command)?.stdout)?;
    Ok(snapshots.iter().filter_map(|snapshot| snapshot["tree"].as_str().map(str::to_owned)).collect())
}

fn number(message: &Value, field: &str) -> Result<u64> {
    message[field].as_u64().with_context(|| format!("the summary has no number {field}"))
}
