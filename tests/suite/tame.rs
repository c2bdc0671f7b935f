//! The engine and its storage are guests in somebody's program: they do not print, do not end it, do not read
//! its environment, and keep no state between calls that a user could meet.
//!
//! Reads the sources without comments and unit tests. clippy forbids the same calls by name; this sees what
//! clippy does not: macros, and an `allow` that somebody wrote.

use std::fs;
use std::path::Path;

use crate::tidy::sources;

/// What no line of theirs may contain.
const FORBIDDEN: [&str; 24] = [
    "print!(",
    "println!(",
    "eprint!(",
    "eprintln!(",
    "dbg!(",
    "stdout()",
    "stderr()",
    "stdin()",
    "process::exit",
    "process::abort",
    "process::Command",
    "env::var",
    "env::vars",
    "env::set_var",
    "env::remove_var",
    "env::args",
    "env::home_dir",
    "env::temp_dir",
    "env::set_current_dir",
    "panic::set_hook",
    "panic::catch_unwind",
    "static mut ",
    "thread_local!",
    "build_global(",
];

/// Where programs are started that reach storage or give its keys, because the user said so.
const STARTERS: [&str; 3] =
    ["backends/src/rclone/process.rs", "backends/src/sftp/process.rs", "backends/src/outside.rs"];

#[test]
fn neither_engine_nor_storage_prints_exits_or_reads_the_environment() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    let mut lines = 0;
    for file in ["repo-core/src", "backends/src"].iter().flat_map(|folder| sources(&top.join(folder))) {
        if file.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let starts = STARTERS.iter().any(|starter| file.ends_with(starter));
        for (number, line) in code(&text) {
            lines += 1;
            let allowed = |word: &str| starts && word == "process::Command";
            for word in FORBIDDEN.iter().filter(|word| contains(line, word) && !allowed(word)) {
                found.push(format!("{}:{number}: {word}", file.display()));
            }
        }
    }
    assert!(lines > 5000, "the sources were not found");
    assert!(found.is_empty(), "a guest does not do that:\n{}", found.join("\n"));
}

/// The lines of a source with their numbers, without comments, up to its unit tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().take_while(|line| *line != "mod tests {").enumerate();
    lines.map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
}

/// Whether a line has the word, not as the end of a longer one.
fn contains(line: &str, word: &str) -> bool {
    let starts = |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    line.match_indices(word).any(|(at, _)| starts(at))
}

#[test]
fn forbidden_words_are_seen_in_code_only() {
    let check = |text: &str, expected: bool| {
        let found = code(text).any(|(_, line)| FORBIDDEN.iter().any(|word| contains(line, word)));
        assert_eq!(found, expected, "{text}");
    };
    check("    println!(\"x\");", true);
    check("    std::process::exit(1)", true);
    check("    let x = std::env::var(\"X\");", true);
    check("    /// println!(\"x\")", false);
    check("    blueprint!(x)", false);
    check("    env!(\"CARGO_PKG_VERSION\")", false);
    check("fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() { println!() }\n}", false);
}
