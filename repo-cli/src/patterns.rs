//! Pattern flags and pattern files → what is left out, or what alone is taken.
//!
//! In one list, patterns from flags come before those from files. Every pattern is checked before anything runs.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use repo_core::filter::{Case, Excludes, Marker, Patterns, Selection, pattern_lines};

use crate::args::filter;
use crate::args::restore::Restore;
use crate::exit::wrong;
use crate::open::read_file;
use crate::session::Session;

/// What a backup leaves out: what was typed, and the cache itself.
pub fn leave_out(session: &Session, args: &filter::LeaveOut) -> Result<Excludes> {
    let typed = &args.patterns;
    let mut markers = if args.exclude_caches { vec![Marker::cachedir()] } else { Vec::new() };
    for marker in &args.exclude_if_present {
        let marker = Marker::parse(marker.as_encoded_bytes());
        markers.push(
            marker.map_err(|error| {
                wrong(error.to_string(), "Write --exclude-if-present NAME or NAME:HEADER.")
            })?,
        );
    }
    let lists = [
        list(session, "exclude", &typed.exclude, &typed.exclude_file, Case::Sensitive)?,
        list(session, "iexclude", &typed.iexclude, &typed.iexclude_file, Case::Insensitive)?,
    ];
    let cache = session.cache_base(&Session::location(&session.settings.repository)?);
    let cache = cache.and_then(|cache| folder(&cache));
    Ok(Excludes {
        patterns: lists.into_iter().flatten().chain(cache).collect(),
        markers,
        larger_than: args.exclude_larger_than,
    })
}

/// What a restore or a rewrite wants.
pub fn selection(session: &Session, out: &filter::Excludes, only: &filter::Includes) -> Result<Selection> {
    let excludes = [
        list(session, "exclude", &out.exclude, &out.exclude_file, Case::Sensitive)?,
        list(session, "iexclude", &out.iexclude, &out.iexclude_file, Case::Insensitive)?,
    ];
    let includes = [
        list(session, "include", &only.include, &only.include_file, Case::Sensitive)?,
        list(session, "iinclude", &only.iinclude, &only.iinclude_file, Case::Insensitive)?,
    ];
    let excludes: Vec<Patterns> = excludes.into_iter().flatten().collect();
    let includes: Vec<Patterns> = includes.into_iter().flatten().collect();
    match (excludes.is_empty(), includes.is_empty()) {
        (true, true) => Ok(Selection::All),
        (false, true) => Ok(Selection::Except(excludes)),
        (true, false) => Ok(Selection::Only(includes)),
        (false, false) => {
            Err(wrong("exclude and include patterns are mutually exclusive", "Give one kind of them."))
        }
    }
}

/// Which extended attributes a restore wants.
pub fn xattrs(session: &Session, args: &Restore) -> Result<Selection> {
    let patterns = |typed: &[String]| typed.iter().map(OsString::from).collect::<Vec<_>>();
    let excludes = patterns(&args.exclude_xattr);
    let includes = patterns(&args.include_xattr);
    let excludes = list(session, "exclude-xattr", &excludes, &[], Case::Sensitive)?;
    let includes = list(session, "include-xattr", &includes, &[], Case::Sensitive)?;
    match (excludes, includes) {
        (None, None) => Ok(Selection::All),
        (Some(excludes), None) => Ok(Selection::Except(vec![excludes])),
        (None, Some(includes)) => Ok(Selection::Only(vec![includes])),
        (Some(_), Some(_)) => {
            Err(wrong("exclude and include xattr patterns are mutually exclusive", "Give one kind of them."))
        }
    }
}

/// A folder and all below it, whatever its name is made of.
fn folder(path: &Path) -> Option<Patterns> {
    let path = std::path::absolute(path).ok()?;
    let mut pattern = Vec::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if b"*?[\\".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    Patterns::new(&[pattern], Case::Sensitive).ok()
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
    let made = Patterns::new(&patterns, case).map(|list| Some(list.with_mode(session.settings.glob_mode)));
    made.map_err(|error| {
        let broken: Vec<_> = error.patterns.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        wrong(
            format!("--{flag}: invalid pattern(s) provided:\n{}", broken.join("\n")),
            "A `[` needs its `]`; to mean the letter itself, write `\\[`.",
        )
    })
}
