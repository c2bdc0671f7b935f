//! Where quickstart keeps its repository and password.

use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use etcetera::BaseStrategy;
use repo_core::context::Random;
use zeroize::Zeroizing;

use crate::config::Environment;

/// A folder with a repository and its password.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// The repository in it.
    pub repository: PathBuf,
    /// The file with its password.
    pub password_file: PathBuf,
}

impl Place {
    /// The folder that was named, else the platform's own one for the data of programs.
    pub fn choose(named: Option<&Path>) -> Result<Self> {
        let folder = match named {
            Some(folder) => folder.to_owned(),
            None => etcetera::base_strategy::choose_native_strategy()
                .context("cannot find out where your data folder is")?
                .data_dir()
                .join("larder"),
        };
        let folder = std::path::absolute(&folder).context("cannot find out where the data folder is")?;
        Ok(Self { repository: folder.join("repository"), password_file: folder.join("password"), folder })
    }

    /// Makes a password and stores it, durable and for its owner alone, before anything depends on it.
    pub fn make_password(&self, random: &dyn Random) -> Result<()> {
        let shown = self.password_file.display();
        make_folder(&self.folder).with_context(|| format!("cannot make folder {}", self.folder.display()))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.password_file).with_context(|| format!("cannot make {shown}"))?;
        let password = password(random);
        file.write_all(password.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {shown}"))
    }

    /// The folder as a pattern that matches it alone, if it lies below `path`: a backup of itself would grow
    /// with every run.
    pub fn pattern_if_below(&self, path: &Path) -> Option<OsString> {
        if !self.folder.starts_with(path) {
            return None;
        }
        let mut pattern = OsString::new();
        for component in self.folder.components().skip(1) {
            pattern.push("/");
            pattern.push(escaped(&component.as_os_str().to_string_lossy()));
        }
        Some(pattern)
    }

    /// How to go on: five commands, and what they need to know.
    pub fn next_steps(&self, environment: &Environment) -> Vec<String> {
        let larder = program(environment);
        let quoted = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
        let commands = [
            ("snapshots", "every backup you made"),
            ("ls latest", "the files in the newest one"),
            ("find '*.pdf'", "in which backups a file is"),
            ("restore latest --target ./restored", "get everything back, into a new folder"),
            ("check --read-data", "read and verify every stored byte"),
        ];
        let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        let mut lines = vec![
            String::new(),
            "Done. Run the same command again for the next backup; it stores only what is new.".to_owned(),
            String::new(),
            "To go on, tell your shell once:".to_owned(),
            format!("  export RESTIC_REPOSITORY={}", quoted(&self.repository)),
            format!("  export RESTIC_PASSWORD_FILE={}", quoted(&self.password_file)),
            "Then:".to_owned(),
        ];
        lines.extend(commands.map(|(command, about)| format!("  {larder} {command:<width$}   {about}")));
        lines
    }
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// 30 letters and digits in groups of five, none of them easily mistaken for another: 150 random bits.
fn password(random: &dyn Random) -> Zeroizing<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = Zeroizing::new([0; 30]);
    random.fill(&mut *bytes);
    let mut password = Zeroizing::new(String::with_capacity(35));
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            password.push('-');
        }
        password.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    password
}

/// One name as a pattern for itself.
fn escaped(name: &str) -> String {
    name.chars().fold(String::new(), |mut out, symbol| {
        if matches!(symbol, '*' | '?' | '[' | '\\') {
            out.push('\\');
        }
        out.push(symbol);
        out
    })
}

/// How to call this program: by its name if the shell finds it, else by its path.
fn program(environment: &Environment) -> String {
    let name = format!("larder{}", std::env::consts::EXE_SUFFIX);
    let found = environment
        .raw("PATH")
        .is_some_and(|path| std::env::split_paths(path).any(|folder| folder.join(&name).is_file()));
    match std::env::current_exe() {
        Ok(path) if !found => shell_words::quote(&path.to_string_lossy()).into_owned(),
        _ => "larder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use repo_core::context::SystemRandom;

    use super::*;

    #[test]
    fn passwords_are_long_and_different() {
        let (one, two) = (password(&SystemRandom), password(&SystemRandom));
        assert_eq!((one.len(), one.split('-').count()), (35, 6));
        assert_ne!(one, two);
    }

    #[test]
    fn own_folder_is_left_out_when_it_lies_in_the_source() {
        let check = |folder: &str, path: &str, expected: Option<&str>| {
            let place = Place::choose(Some(Path::new(folder))).unwrap();
            assert_eq!(
                place.pattern_if_below(Path::new(path)).as_deref(),
                expected.map(std::ffi::OsStr::new)
            );
        };
        check("/home/a/.local/larder", "/home/a", Some("/home/a/.local/larder"));
        check("/home/a/[x]*/larder", "/home/a", Some(r"/home/a/\[x]\*/larder"));
        check("/home/a/.local/larder", "/home/b", None);
        check("/home/a/.local/larder", "/home/a/.local/larder/x", None);
    }

    #[test]
    fn next_steps_are_five_commands_for_this_repository() {
        let place = Place::choose(Some(Path::new("/data/my larder"))).unwrap();
        let lines = place.next_steps(&Environment::default());
        assert!(lines.contains(&"  export RESTIC_REPOSITORY='/data/my larder/repository'".to_owned()));
        assert_eq!(lines.iter().rev().take_while(|line| line.starts_with("  ")).count(), 5);
    }
}
