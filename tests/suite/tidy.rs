//! The one checked rule of the house: a room of `repo-core` uses only rooms declared above it.
//!
//! Reads the `mod` lines of `lib.rs` and fails on any `crate::room` that points down the page, and on names
//! taken from the crate root, which would hide where they come from; inside `ops` no operation uses another one.

use std::fs;
use std::path::{Path, PathBuf};

fn core() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../repo-core/src")
}

/// The rooms in the order of the page.
fn rooms(module: &Path) -> Vec<String> {
    let plan = fs::read_to_string(module).expect("the floor plan is readable");
    plan.lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "))
        .filter_map(|rest| Some(rest.split_once(';')?.0.to_owned()))
        .collect()
}

pub(crate) fn sources(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    entries.flat_map(|entry| sources(&entry.expect("entry").path())).collect()
}

/// Every `prefix::name` in a file's code, with its line.
fn uses(file: &Path, prefix: &str) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).expect("source is readable");
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for rest in code.split(prefix).skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push((number + 1, name));
        }
    }
    found
}

#[test]
fn imports_point_up_the_page() {
    let rooms = rooms(&core().join("lib.rs"));
    let mut wrong = Vec::new();
    for (at, room) in rooms.iter().enumerate() {
        let files = [core().join(format!("{room}.rs")), core().join(room)];
        for file in files.iter().flat_map(|place| sources(place)) {
            for (line, used) in uses(&file, "crate::") {
                if !rooms[..=at].contains(&used) {
                    wrong.push(format!("{}:{line}: {room} uses {used}", file.display()));
                }
            }
        }
    }
    assert!(rooms.len() > 3, "the floor plan was not understood");
    assert!(wrong.is_empty(), "imports point down the page:\n{}", wrong.join("\n"));
}

#[test]
fn operations_do_not_use_each_other() {
    let operations = rooms(&core().join("ops/mod.rs"));
    let mut wrong = Vec::new();
    for operation in &operations {
        let files = [core().join(format!("ops/{operation}.rs")), core().join("ops").join(operation)];
        for file in files.iter().flat_map(|place| sources(place)) {
            for (line, used) in uses(&file, "crate::ops::") {
                if used != *operation && operations.contains(&used) {
                    wrong.push(format!("{}:{line}: {operation} uses {used}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "operations use each other:\n{}", wrong.join("\n"));
}
