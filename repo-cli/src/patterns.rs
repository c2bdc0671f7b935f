//! Pattern flags and pattern files → what is left out.
//!
//! In one list, patterns from flags come before those from files. Every pattern is checked before anything runs.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use repo_core::filter::{Case, Excludes, Marker, Patterns, pattern_lines};

use crate::args::backup::Backup;
use crate::exit::wrong;
use crate::open::read_file;
use crate::session::Session;

/// What a backup leaves out.
pub fn excludes(session: &Session, args: &Backup) -> Result<Excludes> {
    let typed = &args.excludes;
    let mut markers = if args.exclude_caches { vec![Marker::cachedir()] } else { Vec::new() };
    for marker in &args.exclude_if_present {
        let marker = Marker::parse(marker.as_encoded_bytes());
        markers.push(
            marker.map_err(|error| {
                wrong(error.to_string(), "Write --exclude-if-present NAME or NAME:HEADER.")
            })?,
        );
    }
    Ok(Excludes {
        patterns: [
            list(session, "exclude", &typed.exclude, &typed.exclude_file, Case::Sensitive)?,
            list(session, "iexclude", &typed.iexclude, &typed.iexclude_file, Case::Insensitive)?,
        ]
        .into_iter()
        .flatten()
        .collect(),
        markers,
        larger_than: args.exclude_larger_than,
    })
}

/// One list of patterns; `None` if there are none.
fn list(
    session: &Session,
    flag: &str,
    typed: &[OsString],
    files: &[OsString],
    case: Case,
) -> Result<Option<Patterns>> {
    let mut patterns: Vec<Vec<u8>> = typed.iter().map(|text| text.as_encoded_bytes().to_vec()).collect();
    let variable = |name: &str| Some(session.environment.raw(name)?.to_string_lossy().into_owned());
    for file in files {
        patterns.extend(pattern_lines(&read_file(Path::new(file))?, variable));
    }
    if patterns.is_empty() {
        return Ok(None);
    }
    Patterns::new(&patterns, case).map(Some).map_err(|error| {
        let broken: Vec<_> = error.patterns.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        wrong(
            format!("--{flag}: invalid pattern(s) provided:\n{}", broken.join("\n")),
            "A `[` needs its `]`; to mean the letter itself, write `\\[`.",
        )
    })
}
