//! What people and scripts meet: text, JSON and exit codes of the program.
//!
//! Repositories that never change are shown as they are and compared with files in `snapshots/`; where times and
//! names are new in every run, they are replaced first. Few rows each: the engine is tested below this. That
//! restic says the same is checked in `compat`; here a change of ours is seen.

mod ends; // exit codes, mistakes, signals
mod looks; // commands that look into a repository
mod makes; // commands that make something
mod removes; // commands that remove or replace snapshots
mod prunes; // commands that put a repository in order

use std::path::Path;

use tests::program::Ran;

/// Compares what a program said with a stored text, after hiding what differs from run to run.
fn check(name: &str, ran: &Ran, hide: &[(&Path, &str)]) {
    // How often a status is printed is a matter of time.
    let is_result = |line: &&str| !line.starts_with(r#"{"message_type":"status""#);
    let stdout: String = ran.stdout.lines().filter(is_result).flat_map(|line| [line, "\n"]).collect();
    let stderr: String = ran.stderr.lines().flat_map(|line| ["stderr: ", line, "\n"]).collect();
    let mut text = format!("exit code {}\n{stdout}{stderr}", ran.code);
    for (path, word) in hide {
        text = text.replace(&*path.to_string_lossy(), word);
    }
    if let Some((before, after)) = text.split_once("@host ") {
        let user = before.rsplit(' ').next().unwrap_or_default().len();
        text = format!("{}[user]@host {after}", &before[..before.len() - user]);
    }
    let lines = text.lines().map(|line| match line.split_once(" to the repository: ") {
        // Trees hold owners and times, so their size is not the same everywhere.
        Some((before, _)) => format!("{before} to the repository: [sizes]\n"),
        None => format!("{line}\n"),
    });
    compare(name, &hidden(&lines.collect::<String>()));
}

/// Compares a text with the stored one of that name.
fn compare(name: &str, text: &str) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

/// The text with names, times and durations replaced by words of the same meaning.
fn hidden(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let found = PATTERNS.iter().find_map(|(pattern, word)| Some((matching(rest, pattern)?, *word)));
        let after_word = out.ends_with(|last: char| last.is_ascii_alphanumeric());
        match found {
            Some((len, word)) if !after_word => {
                out += word;
                rest = &rest[len..];
            }
            _ => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// Longest first. `h` is a hexadecimal digit, `9` a decimal one, `*` any number of digits, all else itself.
const PATTERNS: [(&str, &str); 13] = [
    ("hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh", "[id]"),
    ("9999-99-99T99:99:99.*Z", "[time]"),
    ("9999-99-99 99:99:99.*", "[time]"),
    ("9999-99-99 99:99:99", "[time]"),
    ("[9:99]", "[clock]"),
    ("\"total_duration\":9.*", "\"total_duration\":[seconds]"),
    ("hhhhhhhhhh at ", "[short id] at "),
    ("hhhhhhhh", "[short id]"),
    ("in 9.999s", "in [seconds]"),
    ("in 9:99", "in [clock]"),
    ("\"seconds_elapsed\":*,", ""),
    ("\"data_added\":*", "\"data_added\":[bytes]"),
    ("\"data_added_packed\":*", "\"data_added_packed\":[bytes]"),
];

/// How many bytes at the front of the text match.
fn matching(text: &str, pattern: &str) -> Option<usize> {
    let mut at = 0;
    for symbol in pattern.chars() {
        let rest = &text.as_bytes()[at..];
        at += match symbol {
            '*' => rest
                .iter()
                .take_while(|byte| byte.is_ascii_digit() || **byte == b'e' || **byte == b'-')
                .count(),
            'h' => rest.first().is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(1)?,
            '9' => rest.first().is_some_and(u8::is_ascii_digit).then_some(1)?,
            _ => rest.starts_with(symbol.encode_utf8(&mut [0; 4]).as_bytes()).then_some(symbol.len_utf8())?,
        };
    }
    // A name goes on for as long as its digits do.
    let next = text.as_bytes().get(at).copied().unwrap_or(b' ');
    let cut = pattern.ends_with('h') && next.is_ascii_hexdigit();
    (!cut).then_some(at)
}

#[test]
fn what_differs_from_run_to_run_is_hidden() {
    let check = |text: &str, expected: &str| assert_eq!(hidden(text), expected);
    check("snapshot 1a2b3c4d saved", "snapshot [short id] saved");
    check(&format!("id {}!", "0f".repeat(32)), "id [id]!");
    check("at 2026-01-02 03:04:05 by", "at [time] by");
    check("\"2026-01-02T03:04:05.125Z\"", "\"[time]\"");
    check("12345678.txt and deadbeef00", "[short id].txt and deadbeef00");
    check("\"total_duration\":0.25,", "\"total_duration\":[seconds],");
}
