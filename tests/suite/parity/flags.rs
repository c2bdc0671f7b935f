//! The table of flags: restic's own help says the same, and the program takes each of them.

use std::collections::{BTreeMap, BTreeSet};

use tests::larder::larder;
use tests::program::Program;
use tests::restic::{self, restic};

const TABLE: &str = include_str!("flags.txt");

#[derive(Debug, Clone, PartialEq, Eq)]
struct Flag {
    short: String,
    takes: String,
    default: String,
    env: String,
    note: String,
}

/// Flags by command and name.
type Flags = BTreeMap<(String, String), Flag>;

fn table() -> Flags {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let [command, flag, short, takes, default, env, _mark, rest @ ..] = &cells[..] else {
            panic!("{line}")
        };
        let note = rest.first().cloned().unwrap_or_default();
        let flag_of = Flag {
            short: short.clone(),
            takes: takes.clone(),
            default: default.clone(),
            env: env.clone(),
            note,
        };
        ((command.clone(), flag.clone()), flag_of)
    };
    lines.map(row).collect()
}

fn help(program: &Program, words: &str) -> String {
    let mut command = program.command();
    command.args(words.split_whitespace()).arg("--help");
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// The names under a heading of a help page, or all of them.
fn commands(page: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.ends_with("Commands:") || line == "Advanced Options:" {
            inside = true;
        } else if !line.starts_with("  ") {
            inside = false;
        } else if inside {
            names.extend(line.split_whitespace().next().map(str::to_owned));
        }
    }
    names
}

/// What a help page says of flags, in restic's layout: `  -f, --flag value   about (default …)`.
fn flags(page: &str, heading: &str) -> Vec<(String, Flag)> {
    let lines = page.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.take_while(|line| line.starts_with("  "));
    lines.map(flag).filter(|(name, _)| name != "help").collect()
}

fn flag(line: &str) -> (String, Flag) {
    let (names, about) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
    let (short, long) = names.split_once(", ").map_or(("-", names), |(short, long)| (&short[1..], long));
    let (name, value) = long.split_once(' ').map_or((long, None), |(name, value)| (name, Some(value)));
    let name = name.strip_prefix("--").unwrap_or_else(|| panic!("{line}"));
    let many = about.contains("multiple times") && value.is_some();
    let takes = match value {
        _ if name == "verbose" => "count",
        None => "bool",
        Some(_) if many => "many",
        Some(_) => "value",
    };
    let default = about.rsplit_once("(default ").and_then(|(_, rest)| rest.strip_suffix(')'));
    let default = default.map(|text| text.trim_matches('"')).filter(|text| *text != "[]").unwrap_or("-");
    let env = about.split_once("$RESTIC_").map(|(_, rest)| {
        let end =
            rest.find(|letter: char| !letter.is_ascii_uppercase() && letter != '_').unwrap_or(rest.len());
        format!("RESTIC_{}", &rest[..end])
    });
    let flag = Flag {
        short: short.to_owned(),
        takes: takes.to_owned(),
        default: default.to_owned(),
        env: env.unwrap_or_else(|| "-".to_owned()),
        note: String::new(),
    };
    (name.to_owned(), flag)
}

fn of_restic() -> Flags {
    let restic = restic();
    let mut all = Flags::new();
    let first = help(&restic, "");
    for (name, flag) in flags(&first, "Flags:") {
        all.insert(("global".to_owned(), name), flag);
    }
    for name in commands(&first) {
        let page = help(&restic, &name);
        let below = if name == "help" { Vec::new() } else { commands(&page) };
        let all_words: Vec<String> = match &below[..] {
            [] => vec![name],
            below => below.iter().map(|word| format!("{name} {word}")).collect(),
        };
        for words in all_words {
            for (flag, what) in flags(&help(&restic, &words), "Flags:") {
                all.insert((words.clone(), flag), what);
            }
        }
    }
    all
}

/// What the help does not say: repeatable without saying so, and variables that are not named.
const UNSAID: [(&str, &str, &str); 7] = [
    ("iexclude", "takes", "many"),
    ("iinclude", "takes", "many"),
    ("iexclude-file", "takes", "many"),
    ("iinclude-file", "takes", "many"),
    ("cacert", "takes", "many"),
    ("http-user-agent", "env", "RESTIC_HTTP_USER_AGENT"),
    ("cache-dir", "env", "RESTIC_CACHE_DIR"),
];

#[test]
fn the_table_says_what_restic_says() {
    if restic::version() < (0, 19, 0) {
        return; // an older one has fewer flags
    }
    let table = table();
    let mut theirs = of_restic();
    for ((_, name), flag) in &mut theirs {
        for (_, what, value) in UNSAID.iter().filter(|(unsaid, ..)| unsaid == name) {
            match *what {
                "takes" => flag.takes = (*value).to_owned(),
                _ => flag.env = (*value).to_owned(),
            }
        }
    }
    let shown: Flags =
        table.iter().filter(|(_, flag)| flag.note.is_empty()).map(|(k, v)| (k.clone(), v.clone())).collect();
    let missing: Vec<_> = theirs.iter().filter(|(name, flag)| shown.get(*name) != Some(flag)).collect();
    assert!(missing.is_empty(), "the table does not say: {missing:#?}");
    let invented: Vec<_> = shown.keys().filter(|name| !theirs.contains_key(*name)).collect();
    assert!(invented.is_empty(), "restic does not show: {invented:#?}");
    assert!(theirs.len() > 200, "only {} flags were read", theirs.len());
}

/// A value that the flag takes.
fn value(flag: &str) -> &'static str {
    match flag {
        "time" | "new-time" => "2024-01-01 00:00:00",
        "compression" => "auto",
        "sort" => "name",
        "overwrite" => "always",
        "mode" => "raw-data",
        "group-by" => "host",
        "archive" => "tar",
        "max-unused" => "5%",
        "retry-lock" | "stuck-request-timeout" => "5m",
        "read-data-subset" => "1/2",
        flag if flag.starts_with("keep-within") => "1d",
        _ => "1",
    }
}

/// Whether a program takes these words: the help comes only once everything was understood.
fn takes(program: &Program, command: &str, words: &[&str]) -> bool {
    let mut run = program.command();
    run.args(command.split(' ').filter(|word| *word != "global"))
        .args((command == "global").then_some("snapshots"));
    run.args(words).arg("--help").output().unwrap().status.success()
}

/// What the parser says is one thing; that nothing before it or behind it stands in the way is another.
#[test]
fn every_flag_is_taken_in_every_way_of_writing_it() {
    let (restic, larder) = (restic(), larder());
    let old = restic::version() < (0, 19, 0);
    let mut seen = BTreeSet::new();
    for ((command, name), flag) in &table() {
        if flag.note.starts_with("only") {
            continue;
        }
        let (long, short) = (format!("--{name}"), format!("-{}", flag.short));
        let mut lines: Vec<Vec<&str>> = match flag.takes.as_str() {
            "value" | "many" => vec![vec![&long, value(name)]],
            _ => vec![vec![&long]],
        };
        let equals = format!("{long}={}", if flag.takes == "bool" { "false" } else { value(name) });
        if flag.takes != "count" {
            lines.push(vec![&equals]);
        }
        if flag.short != "-" {
            lines.push([&[short.as_str()], &lines[0][1..]].concat());
        }
        // The same again is allowed everywhere; what is no flag is not.
        lines.push([&lines[0][..], &lines[0][..]].concat());
        let typo = format!("{long}x");
        let wrong = vec![typo.as_str()];
        for line in &lines {
            assert!(takes(&larder, command, line), "larder {command} {line:?}");
        }
        // What restic's help does not show, restic itself has to be asked for.
        if flag.note == "hidden" && !old {
            assert!(takes(&restic, command, &lines[0]), "restic {command} {:?}", lines[0]);
        }
        assert!(!takes(&larder, command, &wrong), "larder {command} {wrong:?}");
        seen.insert(command.clone());
    }
    assert!(seen.len() > 20, "{seen:?}");
}
