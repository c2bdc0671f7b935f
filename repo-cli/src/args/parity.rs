//! Every flag of restic against the flags described here: name, letter, what it takes, default.
//!
//! The table is read by the tests of the whole program too, which compare it with what restic itself says.

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::Typed;

const TABLE: &str = include_str!("../../../tests/suite/parity/flags.txt");

struct Row<'a> {
    command: &'a str,
    flag: &'a str,
    short: &'a str,
    takes: &'a str,
    default: &'a str,
    mark: &'a str,
    note: &'a str,
}

fn rows() -> impl Iterator<Item = Row<'static>> {
    TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        Row {
            command: cell(0),
            flag: cell(1),
            short: cell(2),
            takes: cell(3),
            default: cell(4),
            mark: cell(6),
            note: cell(7),
        }
    })
}

/// Flags of restic that are not here, each with the reason.
const MISSING: [(&str, &str, &str); 2] = [
    (
        "backup",
        "exclude-cloud-files",
        "restic has it on Windows and macOS only, where larder was never tried",
    ),
    ("backup", "use-fs-snapshot", "restic has it on Windows only, where larder does not run"),
];

fn find<'a>(root: &'a Command, row: &Row<'_>) -> Option<&'a Arg> {
    let words = if row.command == "global" { "snapshots" } else { row.command };
    let command = words.split(' ').try_fold(root, |command, word| command.find_subcommand(word))?;
    command.get_arguments().find(|arg| arg.get_long() == Some(row.flag))
}

#[test]
fn every_flag_of_restic_is_understood() {
    let mut root = Typed::command();
    root.build();
    let mut problems = Vec::new();
    for row in rows() {
        let name = format!("{} --{}", row.command, row.flag);
        let excused = MISSING.iter().any(|(command, flag, _)| (*command, *flag) == (row.command, row.flag));
        let arg = match find(&root, &row) {
            Some(_) if excused => {
                problems.push(format!("{name} is there and excused"));
                continue;
            }
            None if excused => continue,
            None => {
                problems.push(format!("{name} is missing"));
                continue;
            }
            Some(arg) => arg,
        };
        let short = arg.get_short().map_or_else(|| "-".to_owned(), String::from);
        if short != row.short {
            problems.push(format!("{name} has the letter {short} instead of {}", row.short));
        }
        let takes = match arg.get_action() {
            ArgAction::SetTrue => "bool",
            ArgAction::Count => "count",
            ArgAction::Set => "value",
            ArgAction::Append => "many",
            _ => "?",
        };
        if takes != row.takes {
            problems.push(format!("{name} takes {takes} instead of {}", row.takes));
        }
        // What is only given or not, or counted, has no default that could differ.
        let values = if arg.get_action().takes_values() { arg.get_default_values() } else { &[] };
        let default = values.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",");
        if !["", row.default].contains(&default.as_str()) && same_span(&default) != same_span(row.default) {
            problems.push(format!("{name} has the default {default} instead of {}", row.default));
        }
        if default.is_empty() && row.default != "-" && !DEFAULT_ELSEWHERE.contains(&name.as_str()) {
            problems.push(format!("{name} has no default instead of {}", row.default));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Flags whose default is that of a type of the core; a test beside the settings looks at it.
const DEFAULT_ELSEWHERE: [&str; 1] = ["global --compression"];

/// Go writes `5m0s` for what is typed as `5m`.
fn same_span(text: &str) -> &str {
    text.strip_suffix("0s").filter(|rest| rest.ends_with('m')).unwrap_or(text)
}

#[test]
fn the_table_is_whole() {
    let count = rows().count();
    assert!(count > 230, "only {count} rows");
    for row in rows() {
        assert!(
            ["A", "B", "C", "X"].contains(&row.mark),
            "{} --{}: mark {:?}",
            row.command,
            row.flag,
            row.mark
        );
        let excused = MISSING.iter().any(|(command, flag, _)| (*command, *flag) == (row.command, row.flag));
        assert!(!excused || row.note.starts_with("only on"), "{} is excused without a reason", row.flag);
    }
}
