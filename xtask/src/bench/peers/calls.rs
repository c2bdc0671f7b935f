//! How each program is asked for each flow.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::programs::output;

const PASSWORD: &str = "bench";

/// What is measured, in this order, on one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    FirstBackup,
    UnchangedBackup,
    Restore,
    Check,
    /// From the password to the config: part of every other flow, and mostly the key's derivation.
    Opening,
}

impl Flow {
    pub(super) const ALL: [Self; 5] =
        [Self::FirstBackup, Self::UnchangedBackup, Self::Restore, Self::Check, Self::Opening];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FirstBackup => "first backup",
            Self::UnchangedBackup => "unchanged backup",
            Self::Restore => "restore",
            Self::Check => "check all data",
            Self::Opening => "opening",
        }
    }
}

/// A program that makes backups. All of them use their defaults, without a cache where the repository is local.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Larder,
    Restic,
    Rustic,
    Borg,
}

/// One of them, found.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    pub(super) version: String,
}

impl Program {
    /// The program at a path, which says its version.
    pub(super) fn at(kind: Kind, path: PathBuf) -> Result<Self> {
        let word = if kind == Kind::Larder || kind == Kind::Restic { "version" } else { "--version" };
        let text = String::from_utf8(output(Command::new(&path).arg(word))?.stdout)?;
        let version = text.lines().next().unwrap_or_default().to_owned();
        Ok(Self { kind, path, version })
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Larder => "larder",
            Kind::Restic => "restic",
            Kind::Rustic => "rustic",
            Kind::Borg => "borg",
        }
    }

    /// Makes an empty repository.
    pub(super) fn init(&self, place: &Place) -> Result<()> {
        let words: &[&str] =
            if self.kind == Kind::Borg { &["init", "--encryption", "repokey"] } else { &["init"] };
        output(&mut self.command(place, words))?;
        Ok(())
    }

    /// What is to be run for a flow.
    pub(super) fn call(&self, place: &Place, flow: Flow, data: &str) -> Result<Command> {
        let restored = place.restored.to_str().context("the folder's name is text")?;
        let words = match (self.kind, flow) {
            (Kind::Borg, Flow::FirstBackup) => vec!["create", "--compression", "zstd,3", "::first", data],
            (Kind::Borg, Flow::UnchangedBackup) => {
                vec!["create", "--compression", "zstd,3", "::second", data]
            }
            (Kind::Borg, Flow::Restore) => vec!["extract", "::second"],
            (Kind::Borg, Flow::Check) => vec!["check", "--verify-data"],
            (Kind::Borg, Flow::Opening) => vec!["info"],
            (_, Flow::FirstBackup | Flow::UnchangedBackup) => vec!["backup", data],
            (Kind::Rustic, Flow::Restore) => vec!["restore", "latest", restored],
            (_, Flow::Restore) => vec!["restore", "latest", "--target", restored],
            (_, Flow::Check) => vec!["check", "--read-data"],
            (_, Flow::Opening) => vec!["cat", "config"],
        };
        let mut command = self.command(place, &words);
        if self.kind == Kind::Borg && flow == Flow::Restore {
            // It has no other way to say where to.
            fs::create_dir_all(&place.restored)?;
            command.current_dir(&place.restored);
        }
        Ok(command)
    }

    fn command(&self, place: &Place, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(words);
        match self.kind {
            Kind::Larder => command.arg("--quiet"),
            Kind::Restic => command.args(["--quiet", "--no-cache"]),
            Kind::Rustic | Kind::Borg => &mut command,
        };
        command.env("RESTIC_REPOSITORY", &place.repository).env("RESTIC_PASSWORD", PASSWORD);
        command.env("RUSTIC_REPOSITORY", &place.repository).env("RUSTIC_PASSWORD", PASSWORD);
        command.env("RUSTIC_NO_CACHE", "true").env("RUSTIC_NO_PROGRESS", "true");
        command.env("BORG_REPO", &place.repository).env("BORG_PASSPHRASE", PASSWORD);
        command.env("BORG_BASE_DIR", &place.own);
        command
    }
}

/// Where one program works in one run.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) repository: PathBuf,
    restored: PathBuf,
    /// Caches and settings of its own.
    own: PathBuf,
}

impl Place {
    pub(super) fn below(folder: &Path) -> Self {
        let [repository, restored, own] = ["repository", "restored", "own"].map(|name| folder.join(name));
        Self { repository, restored, own }
    }
}
