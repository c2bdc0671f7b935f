//! What to back up: arguments, lists in files, or a stream.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use repo_core::filter::decode_text;

use super::stream::Stream;
use crate::args::backup::Backup;
use crate::exit::wrong;
use crate::input::Stdin;
use crate::open::read_file;
use crate::session::Session;
use crate::ui::escape::visible;

/// What to back up.
pub enum Input {
    /// These files and folders.
    Files {
        /// Those that exist.
        targets: Vec<PathBuf>,
        /// Whether others do not.
        missing: bool,
    },
    /// What comes out of a pipe.
    Stream(Stream),
}

impl Input {
    /// Whether standard input is read as data.
    pub fn takes_stdin(&self) -> bool {
        matches!(self, Self::Stream(Stream::Stdin))
    }
}

/// Decides by the flags, and reads the lists.
pub fn choose(session: &Session, args: &Backup) -> Result<Input> {
    let lists = [&args.files_from, &args.files_from_verbatim, &args.files_from_raw];
    if args.stdin || args.stdin_from_command {
        if lists.iter().any(|list| !list.is_empty()) {
            return Err(wrong(
                "--stdin and --files-from cannot be used together",
                "Leave out one of them; a second run can save the other.",
            ));
        }
        return stream(args).map(Input::Stream);
    }
    let mut targets: Vec<PathBuf> = args.paths.iter().map(PathBuf::from).collect();
    for file in &args.files_from {
        let text = content(session, file)?;
        for line in lines(&decode_text(&text)) {
            targets.extend(globbed(session, &line)?);
        }
    }
    for file in &args.files_from_verbatim {
        let text = content(session, file)?;
        let text = decode_text(&text);
        let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        targets.extend(lines.filter(|line| !line.is_empty()).map(path));
    }
    for file in &args.files_from_raw {
        targets.extend(raw(&content(session, file)?, file)?);
    }
    if targets.is_empty() {
        return Err(wrong(
            "nothing to backup, please specify source files/dirs",
            "Name files or folders, or give a list by --files-from.",
        ));
    }
    let named = targets.len();
    targets.retain(|target| exists(session, target));
    if targets.is_empty() {
        return Err(nothing_exists());
    }
    Ok(Input::Files { missing: targets.len() < named, targets })
}

/// What is not there is told at once and left out; what cannot be looked at is the archive's business.
fn exists(session: &Session, target: &Path) -> bool {
    let gone = target.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if gone {
        let shown = visible(target.as_os_str().as_encoded_bytes());
        session.screen.warn(format!("{shown} does not exist, skipping"));
    }
    !gone
}

/// None of the targets is there.
pub fn nothing_exists() -> anyhow::Error {
    wrong(
        "all source directories/files do not exist",
        "Check the paths; the shell may have expanded them differently than you meant.",
    )
}

fn stream(args: &Backup) -> Result<Stream> {
    match (args.stdin, args.stdin_from_command, &args.paths[..]) {
        (true, true, _) => {
            Err(wrong("--stdin and --stdin-from-command cannot be used together", "Leave out one of them."))
        }
        (true, false, []) => Ok(Stream::Stdin),
        (true, false, _) => Err(wrong(
            "--stdin was specified and files/dirs were listed as arguments",
            "Leave out the arguments, or --stdin.",
        )),
        (false, _, [program, arguments @ ..]) => {
            Ok(Stream::Command { program: program.clone(), arguments: arguments.to_vec() })
        }
        (false, _, []) => Err(wrong(
            "no command to execute",
            "Write larder backup --stdin-from-command -- COMMAND ARGUMENTS.",
        )),
    }
}

/// The content of a list; `-` is standard input.
fn content(session: &Session, file: &OsStr) -> Result<Vec<u8>> {
    if file != "-" {
        return read_file(Path::new(file));
    }
    let mut text = Vec::new();
    Stdin::new(session.context.cancel.clone())
        .read_to_end(&mut text)
        .context("cannot read the list from standard input")?;
    Ok(text)
}

/// Lines without blanks around them, without comments and empty lines.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")).map(<[u8]>::to_vec).collect()
}

/// What a pattern finds on disk; nothing is worth a warning.
fn globbed(session: &Session, line: &[u8]) -> Result<Vec<PathBuf>> {
    let Ok(pattern) = std::str::from_utf8(line) else { return Ok(vec![path(line)]) };
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let found = glob::glob_with(&escaped(pattern), options).map_err(|error| {
        wrong(format!("pattern {pattern:?}: {error}"), "Correct the list given by --files-from.")
    })?;
    let found: Vec<PathBuf> = found.filter_map(Result::ok).collect();
    if found.is_empty() {
        session.screen.warn(format!("pattern {} does not match any files, skipping", visible(line)));
    }
    Ok(found)
}

/// The pattern with backslash escapes in brackets, which the glob library wants instead.
fn escaped(pattern: &str) -> String {
    let mut out = String::new();
    let mut symbols = pattern.chars();
    while let Some(symbol) = symbols.next() {
        match symbol {
            '\\' => match symbols.next() {
                Some(symbol @ ('*' | '?' | '[' | ']')) => out.extend(['[', symbol, ']']),
                Some(symbol) => out.push(symbol),
                None => out.push('\\'),
            },
            _ => out.push(symbol),
        }
    }
    out.replace("**", "*")
}

/// Paths that end with a zero byte each.
fn raw(content: &[u8], file: &OsStr) -> Result<Vec<PathBuf>> {
    let damaged = |what: &str| {
        wrong(
            format!("list {}: {what}", Path::new(file).display()),
            "Make it with `find … -print0` or the like.",
        )
    };
    let Some(body) = content.strip_suffix(b"\0") else {
        return if content.is_empty() {
            Ok(Vec::new())
        } else {
            Err(damaged("the last path has no zero byte behind it"))
        };
    };
    let paths: Vec<&[u8]> = body.split(|byte| *byte == 0).collect();
    if paths.iter().any(|path| path.is_empty()) {
        return Err(damaged("a path is empty"));
    }
    Ok(paths.into_iter().map(path).collect())
}

#[cfg(unix)]
fn path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(bytes.to_vec()).into()
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> PathBuf {
    OsString::from(String::from_utf8_lossy(bytes).into_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_lines_are_trimmed_and_comments_dropped() {
        assert_eq!(lines(b" a \n#b\n\n\tc d\r\n"), [b"a".to_vec(), b"c d".to_vec()]);
    }

    #[test]
    fn raw_lists_end_every_path() {
        let check = |content: &[u8], expected: Option<&[&str]>| {
            let found = raw(content, OsStr::new("list")).ok();
            let expected = expected.map(|paths| paths.iter().map(PathBuf::from).collect::<Vec<_>>());
            assert_eq!(found, expected, "{content:?}");
        };
        check(b"a\0b c\n\0", Some(&["a", "b c\n"]));
        check(b"", Some(&[]));
        check(b"a\0b", None);
        check(b"a\0\0", None);
        check(b"\0", None);
    }

    #[test]
    fn patterns_of_lists_are_escaped_as_the_library_wants() {
        let check = |pattern: &str, expected: &str| assert_eq!(escaped(pattern), expected);
        check("/a/*.txt", "/a/*.txt");
        check(r"/a/\[x\]\*", "/a/[[]x[]][*]");
        check("/a/**/b", "/a/*/b");
        check(r"a\b", "ab");
    }
}
