//! Reads flags as Go's usual parser does, before clap sees them.
//!
//! In: the words of a command line. Out: the same line in one spelling that clap cannot misread: every flag
//! with its long name, every value joined to it by `=`. So `--json=false`, `-o=x`, `--verbose=2`, `-vv`, values
//! that begin with a dash, and flags after arguments all mean what restic's users expect. A flag nobody knows
//! stays as it is, for clap to complain about.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

use super::values;

/// A command line in one spelling.
#[derive(Debug, Default)]
pub struct Line {
    /// The words for clap, the program's name first.
    pub words: Vec<OsString>,
    /// The commands named, outermost first.
    pub commands: Vec<String>,
    /// Whether a command that has sub-commands was followed by a word that is none of them.
    pub unknown_action: bool,
}

/// Puts a command line into one spelling.
pub fn normalize(root: &Command, line: impl IntoIterator<Item = OsString>) -> Line {
    let mut out = Line::default();
    let mut command = root;
    let mut words = line.into_iter();
    out.words.extend(words.next());
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            out.words.push(word);
            out.words.extend(words);
            break;
        }
        if text.starts_with("--") {
            long_flag(command, word, &mut words, &mut out.words);
        } else if text.starts_with('-') && text.len() > 1 {
            short_flags(command, &word, &mut words, &mut out.words);
        } else if command.has_subcommands() {
            match command.find_subcommand(&word) {
                Some(found) => {
                    command = found;
                    out.commands.push(found.get_name().to_owned());
                    out.words.push(word);
                }
                // The outermost unknown word is a mistake; below it, help is shown.
                None if out.commands.is_empty() => out.words.push(word),
                None => out.unknown_action = true,
            }
        } else {
            out.words.push(word);
        }
    }
    out
}

fn long_flag(
    command: &Command,
    word: OsString,
    rest: &mut impl Iterator<Item = OsString>,
    out: &mut Vec<OsString>,
) {
    let (name, value) = split_value(&word);
    let is_meant = |arg: &&Arg| {
        arg.get_long() == Some(&name[2..])
            || arg.get_all_aliases().is_some_and(|others| others.contains(&&name[2..]))
    };
    let found = command.get_arguments().find(is_meant);
    match (found, value) {
        (Some(arg), value) if takes_value(arg) => match value.map(OsStr::to_owned).or_else(|| rest.next()) {
            Some(value) => out.push(joined(arg, &value)),
            None => out.push(word),
        },
        (Some(arg), Some(value)) => switch(arg, value, out).unwrap_or_else(|| out.push(word.clone())),
        (None, _) | (_, None) => out.push(word),
    }
}

/// `-abc`, `-ovalue`, `-o=value`, `-o value`, and any mix: flags without value first, one with a value last.
fn short_flags(
    command: &Command,
    word: &OsStr,
    rest: &mut impl Iterator<Item = OsString>,
    out: &mut Vec<OsString>,
) {
    let text = word.to_string_lossy().into_owned();
    for (at, letter) in text.char_indices().skip(1) {
        let Some(arg) = command.get_arguments().find(|arg| arg.get_short() == Some(letter)) else {
            out.push(format!("-{}", &text[at..]).into());
            return;
        };
        let tail = tail_of(word, at + letter.len_utf8()).to_owned();
        let after_equals = strip_equals(&tail);
        if takes_value(arg) {
            let inline = (!tail.is_empty()).then(|| after_equals.clone().unwrap_or(tail));
            match inline.or_else(|| rest.next()) {
                Some(value) => out.push(joined(arg, &value)),
                None => out.push(format!("-{letter}").into()),
            }
            return;
        }
        if let Some(value) = after_equals {
            switch(arg, &value, out).unwrap_or_else(|| out.push(word.to_owned()));
            return;
        }
        out.push(format!("--{}", arg.get_long().unwrap_or_default()).into());
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// `--name=value`
fn joined(arg: &Arg, value: &OsStr) -> OsString {
    let mut word = OsString::from(format!("--{}=", arg.get_long().unwrap_or_default()));
    word.push(value);
    word
}

/// `--json=false` and `--verbose=2`; `None` if the value means nothing.
fn switch(arg: &Arg, value: &OsStr, out: &mut Vec<OsString>) -> Option<()> {
    let value = value.to_str()?;
    let name = OsString::from(format!("--{}", arg.get_long().unwrap_or_default()));
    let times = match arg.get_action() {
        ArgAction::Count => value.parse::<u8>().ok()?.min(9),
        _ => u8::from(values::boolean(value)?),
    };
    out.retain(|word| *word != name);
    out.extend((0..times).map(|_| name.clone()));
    Some(())
}

/// Splits `--name=value`; a flag's name is text, its value may be any bytes.
fn split_value(word: &OsStr) -> (String, Option<&OsStr>) {
    let bytes = word.as_encoded_bytes();
    let Some(at) = bytes.iter().position(|byte| *byte == b'=') else {
        return (word.to_string_lossy().into_owned(), None);
    };
    let name = String::from_utf8_lossy(&bytes[..at]).into_owned();
    (name, Some(tail_of(word, at + 1)))
}

fn strip_equals(tail: &OsStr) -> Option<OsString> {
    tail.as_encoded_bytes().starts_with(b"=").then(|| tail_of(tail, 1).to_owned())
}

#[cfg(unix)]
fn tail_of(word: &OsStr, at: usize) -> &OsStr {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(word.as_bytes().get(at..).unwrap_or_default())
}

#[cfg(not(unix))]
fn tail_of(word: &OsStr, at: usize) -> &OsStr {
    word.to_str().and_then(|text| text.get(at..)).map_or(OsStr::new(""), OsStr::new)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Typed;

    fn check(line: &str, expected: &str) {
        let mut root = Typed::command();
        root.build();
        let words = std::iter::once("larder").chain(line.split(' ')).map(OsString::from);
        let read: Vec<_> = normalize(&root, words).words.into_iter().skip(1).collect();
        let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
        assert_eq!(read, expected, "{line}");
    }

    #[test]
    fn flags_stand_before_and_after_commands_and_arguments() {
        check("-r x snapshots", "--repo=x snapshots");
        check("snapshots -rx", "snapshots --repo=x");
        check("backup dir -r=x --json", "backup dir --repo=x --json");
    }

    #[test]
    fn letters_of_one_dash_are_flags_of_the_command() {
        check("snapshots -qc", "snapshots --quiet --compact");
        check("-vv backup -nx", "--verbose --verbose backup --dry-run --one-file-system");

        check("find -is latest x", "find --ignore-case --snapshot=latest x");
        check("restore -i a -t b", "restore --include=a --target=b");
        check("-p f ls latest -l", "--password-file=f ls latest --long");
        check("backup -z", "backup -z");
        check("backup -qz", "backup --quiet -z");
    }

    #[test]
    fn switches_take_a_word_for_yes_or_no() {
        check("--json=false snapshots", "snapshots");
        check("--json snapshots --json=0", "snapshots");
        check("-q=true snapshots", "--quiet snapshots");
        check("--verbose=2 snapshots", "--verbose --verbose snapshots");
        check("-vv --verbose=1 snapshots", "--verbose snapshots");
        check("--json=perhaps snapshots", "--json=perhaps snapshots");
    }

    #[test]
    fn values_may_begin_with_a_dash_and_hold_an_equals_sign() {
        check("backup -e --json x", "backup --exclude=--json x");
        check("backup --exclude -- x", "backup --exclude=-- x");
        check("snapshots -o a=b=c", "snapshots --option=a=b=c");
        check("snapshots -o=a=b", "snapshots --option=a=b");
        check("snapshots --host ", "snapshots --host=");
        check("snapshots --repo", "snapshots --repo");
    }

    #[test]
    fn two_dashes_end_the_flags() {
        check("backup --stdin-from-command -- sh -c --json", "backup --stdin-from-command -- sh -c --json");
    }

    #[test]
    fn commands_within_commands_are_found() {
        check("key add --user=u", "key add --user=u");
        let mut root = Typed::command();
        root.build();
        let line = normalize(&root, ["larder", "key", "bogus"].map(OsString::from));
        assert!(line.unknown_action);
        assert_eq!(line.commands, ["key"]);
    }

    #[test]
    #[cfg(unix)]
    fn values_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt;
        let mut root = Typed::command();
        root.build();
        let line = ["larder", "backup"].map(OsString::from).into_iter();
        let line = line
            .chain([OsString::from_vec(b"-e\xff".to_vec()), OsString::from_vec(b"--iexclude=\xfe".to_vec())]);
        let read = normalize(&root, line).words;
        assert_eq!(read[2], OsString::from_vec(b"--exclude=\xff".to_vec()));
        assert_eq!(read[3], OsString::from_vec(b"--iexclude=\xfe".to_vec()));
    }
}
