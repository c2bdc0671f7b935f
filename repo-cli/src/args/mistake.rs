//! A wrong command line: clap's report → what happened and what to do, in restic's words where it has some.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Typed;
use super::go_flags::Line;

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What happened.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// Whether JSON was asked for before the mistake.
    pub json: bool,
}

/// Says what clap found wrong.
pub(super) fn explain<T>(error: &clap::Error, line: &Line) -> Result<T, Mistake> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let typed =
        text(ContextKind::InvalidArg).or_else(|| text(ContextKind::InvalidSubcommand)).unwrap_or_default();
    // clap names an argument with its placeholder: `--repo <LOCATION>`.
    let flag = typed.split([' ', '=']).next().unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with("--") => format!("unknown flag: {flag}"),
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            format!("unknown shorthand flag: '{}' in {flag}", flag.chars().nth(1).unwrap_or('-'))
        }
        ErrorKind::UnknownArgument => format!("unexpected argument {typed:?}"),
        ErrorKind::InvalidSubcommand => format!("unknown command {typed:?} for \"larder\""),
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_none_or(|value| value.is_empty()) => {
            format!("flag needs an argument: {flag}")
        }
        ErrorKind::InvalidValue => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            format!("invalid argument {value:?} for \"{flag}\" flag: must be one of ({})", choices(error))
        }
        ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let cause =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("invalid argument {value:?} for \"{flag}\" flag{cause}")
        }
        ErrorKind::TooManyValues => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            format!("invalid argument {value:?} for \"{flag}\" flag: must be true or false")
        }
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    let better = text(ContextKind::SuggestedArg)
        .or_else(|| text(ContextKind::SuggestedSubcommand))
        .or_else(|| begins_like(&typed).filter(|_| error.kind() == ErrorKind::InvalidSubcommand));
    let page = line.commands.join(" ");
    let help = if page.is_empty() { "larder help".to_owned() } else { format!("larder help {page}") };
    let remedy = match better {
        Some(better) => format!("Did you mean {better:?}? See `{help}`."),
        None => format!("See `{help}`."),
    };
    Err(Mistake { what, remedy, json: json_before(line, flag) })
}

fn choices(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => values.join("|"),
        _ => String::new(),
    }
}

/// A command that begins with the word.
fn begins_like(word: &str) -> Option<String> {
    let root = Typed::command();
    let mut names = root.get_subcommands().map(|command| command.get_name().to_owned());
    names.find(|name| !word.is_empty() && name.starts_with(word))
}

/// Whether `--json` stands before the first word that begins with `mistake`, as restic decides it.
fn json_before(line: &Line, mistake: &str) -> bool {
    let words = line.words.iter().skip(1).map(|word| word.to_string_lossy());
    for word in words {
        if word == "--json" {
            return true;
        }
        if !mistake.is_empty() && word.starts_with(mistake) {
            return false;
        }
    }
    false
}
