//! The servers of the network bench: a child of ours that ends with its value.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::network::{clear, pinned};
use crate::programs::target;

/// The servers, running.
pub(super) struct FarSide {
    child: Child,
    /// They serve until this is closed.
    input: Option<ChildStdin>,
    places: Vec<Place>,
}

/// Where repositories can lie. `NAME` stands for the repository's own name.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) target: String,
    pub(super) line: String,
    pub(super) location: String,
    /// As words of a command.
    pub(super) options: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
    /// Where its files lie on this machine.
    folder: PathBuf,
    address: String,
}

impl FarSide {
    /// Starts them on a core of their own, with their files below `work`.
    pub(super) fn start(s3: &Path, delay: u64, work: &Path) -> Result<Self> {
        let mut command = Command::new(target().join("release/far-side"));
        command.arg(delay.to_string()).arg(s3).env("TMPDIR", work);
        let mut command = pinned(&command, "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("it was piped")?).read_line(&mut line)?;
        let told: Vec<Value> = serde_json::from_str(&line).context("the servers did not start")?;
        let places =
            told.iter().map(Place::parse).collect::<Option<_>>().context("a place lacks something")?;
        Ok(Self { child, input, places })
    }

    /// A folder on this machine first, then everything behind a line.
    pub(super) fn places(&self, work: &Path) -> impl Iterator<Item = Place> {
        let folder = Place {
            target: "folder".to_owned(),
            line: "here".to_owned(),
            location: work.join("NAME").to_string_lossy().into_owned(),
            options: Vec::new(),
            variables: Vec::new(),
            folder: work.to_owned(),
            address: String::new(),
        };
        std::iter::once(folder).chain(self.places.clone())
    }
}

impl Drop for FarSide {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends its own servers before it ends.
        let _ = self.child.wait();
    }
}

impl Place {
    fn parse(told: &Value) -> Option<Self> {
        let text = |name: &str| Some(told[name].as_str()?.to_owned());
        let options = told["options"].as_array()?.iter();
        let variables = told["variables"].as_array()?.iter();
        Some(Self {
            target: text("target")?,
            line: text("line")?,
            location: text("location")?,
            options: options
                .flat_map(|option| [Some("-o".to_owned()), option.as_str().map(str::to_owned)])
                .collect::<Option<_>>()?,
            variables: variables
                .map(|pair| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned())))
                .collect::<Option<_>>()?,
            folder: PathBuf::from(text("folder")?),
            address: text("address")?,
        })
    }

    /// `S3 far`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.target, self.line)
    }

    /// The place of one repository.
    pub(super) fn named(&self, name: &str) -> Self {
        let mut named = self.clone();
        named.location = self.location.replace("NAME", name);
        named.folder.push(name);
        named
    }

    pub(super) fn remove(&self) -> Result<()> {
        clear(&self.folder)
    }

    /// The raw client moving as many packs as `bytes` fill: the `opendal` library for S3, our client without any
    /// repository for SFTP, which has no library.
    pub(super) fn raw_client(&self, bytes: u64) -> Option<Command> {
        let packs = bytes.div_ceil(16 << 20).to_string();
        let example = |name: &str| Command::new(target().join("release/examples").join(name));
        let mut command = match self.target.as_str() {
            "S3" => {
                let mut command = example("raw_s3");
                command.arg(&self.address).args(self.location.rsplit('/').take(2));
                command
            }
            "SFTP" => {
                let mut command = example("rate");
                command.arg(&self.location).args(&self.options);
                command
            }
            _ => return None,
        };
        command.arg(packs).envs(self.variables.iter().cloned());
        Some(command)
    }
}
