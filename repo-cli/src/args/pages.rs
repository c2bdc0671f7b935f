//! The pages of `larder help`: built from the described flags, one layout for all.

use std::fmt::Write;

use clap::{Command, CommandFactory};

use super::Typed;

/// The commands as the first page shows them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Every day", &["quickstart", "backup", "snapshots", "restore", "check"]),
    (
        "Look into snapshots",
        &["ls", "find", "log", "diff", "status", "dump", "stats", "du", "mount", "serve"],
    ),
    (
        "Look after a repository",
        &[
            "init", "forget", "prune", "tag", "rewrite", "copy", "repair", "recover", "migrate", "key",
            "rekey", "unlock", "cache", "list", "cat",
        ],
    ),
    ("More", &["generate", "options", "features", "version", "help"]),
];

/// The page for a command, named from the outside in; no words give the first page. `None` if there is none.
pub fn page(words: &[String]) -> Option<String> {
    let mut root = Typed::command();
    root.build();
    let mut command = &mut root;
    for word in words {
        command = command.find_subcommand_mut(word)?;
    }
    Some(if words.is_empty() { first_page(command) } else { command_page(command) })
}

fn first_page(root: &mut Command) -> String {
    let mut text =
        format!("{}\n\nUsage: larder [flags] <command>\n", root.get_about().cloned().unwrap_or_default());
    for (title, names) in GROUPS {
        let known = names.iter().filter_map(|name| root.find_subcommand(name));
        let lines: String = known.fold(String::new(), |mut lines, command| {
            let _ = writeln!(
                lines,
                "  {:<11} {}",
                command.get_name(),
                command.get_about().cloned().unwrap_or_default()
            );
            lines
        });
        if !lines.is_empty() {
            let _ = write!(text, "\n{title}:\n{lines}");
        }
    }
    let mut root = root.clone().mut_subcommands(|command| command.hide(true)).help_template("{all-args}");
    let flags = root.render_help().to_string();
    let _ = write!(text, "\nFlags for every command:\n\n{}\n\n", flags.trim());
    text + CLOSING
}

const CLOSING: &str = "\
`larder help <command>` says more about one. Settings may also come from the environment: every RESTIC_…
variable is understood, and LARDER_… of the same name goes first.
";

fn command_page(command: &mut Command) -> String {
    let about = command.get_long_about().or(command.get_about()).cloned().unwrap_or_default();
    let command = std::mem::take(command).about(about).long_about(None::<&str>);
    let command = command.mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    let text = command.help_template(TEMPLATE).render_help().to_string();
    format!("{}\n\nFlags for every command: see `larder help`.\n", text.trim_end())
}

const TEMPLATE: &str = "{about-with-newline}\nUsage: {usage}\n\n{all-args}{after-help}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_on_the_first_page() {
        let root = Typed::command();
        for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(GROUPS.iter().any(|(_, names)| names.contains(&name)), "{name} is missing");
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let root = Typed::command();
        for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name().to_owned();
            let text = page(std::slice::from_ref(&name)).expect("a page");
            assert!(text.contains(&format!("larder {name}")), "{text}");
        }
        assert_eq!(page(&["bogus".to_owned()]), None);
    }
}
