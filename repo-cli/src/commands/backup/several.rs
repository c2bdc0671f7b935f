//! Several repositories that get the same backup: opened, each with a result of its own, and one verdict.

use anyhow::{Error, Result};
use repo_core::ops::archive::Report;
use repo_core::repository::Repository;

use crate::args::backup::Backup;
use crate::config::Access;
use crate::exit::{Code, Told, Verdict, wrong};
use crate::password::{Keyboard, Sources};
use crate::session::Session;
use crate::ui::escape::visible_text;
use crate::ui::screen::Level;
use crate::ui::views::error_line;

use super::summary;

/// A repository by its location, or why it cannot be used.
pub struct Place {
    pub location: String,
    pub repository: Result<Repository>,
}

/// Opens the repository of the run and all that were named beside it. One that cannot be opened is told in the end.
pub fn open(session: &Session, args: &Backup, keyboard: &Keyboard) -> Result<Vec<Place>> {
    let main = &session.settings.repository;
    let mut accesses = vec![(main.location()?, main.clone())];
    for (at, location) in args.also_repo.iter().enumerate() {
        if accesses.iter().any(|(other, _)| other == location) {
            return Err(wrong(
                format!("repository {location} was named twice"),
                "Leave one of them out: a backup goes to each repository once.",
            ));
        }
        accesses.push((location.clone(), main.also(location, password(args, at)?)));
    }
    let open = |(location, access): (String, Access)| {
        let repository = session.open_with(&access, keyboard);
        Place { location, repository }
    };
    Ok(accesses.into_iter().map(open).collect())
}

/// Where the password of an additional repository comes from, if not from where the main one's does.
fn password(args: &Backup, at: usize) -> Result<Option<Sources>> {
    let empty_flag = "--insecure-no-password";
    let file = one_of("--also-password-file", &args.also_password_file, args.also_repo.len(), at)?;
    let command = one_of("--also-password-command", &args.also_password_command, args.also_repo.len(), at)?;
    let named = file.is_some() || command.is_some();
    Ok(named.then(|| Sources { file, command, empty_flag, ..Sources::default() }))
}

/// The one for the repository at this place: each has its own, or all have the same.
fn one_of(flag: &str, given: &[String], repositories: usize, at: usize) -> Result<Option<String>> {
    match given {
        [] => Ok(None),
        [same] => Ok(Some(same.clone())),
        each if each.len() == repositories => Ok(each.get(at).cloned()),
        each => Err(wrong(
            format!("{flag} was given {} times for {repositories} times --also-repo", each.len()),
            "Give it once for all of them, or once for each, in the same order.",
        )),
    }
}

/// Prints what came of each, and says how the run ends.
pub fn conclude(
    session: &Session,
    results: Vec<(String, Result<Report>)>,
    missing: bool,
    dry_run: bool,
) -> Result<()> {
    let several = results.len() > 1;
    let (mut skipped, mut failed, all) = (missing, Vec::new(), results.len());
    for (location, result) in results {
        match result {
            Ok(report) => {
                let location = several.then_some(location.as_str());
                summary::print(session, location, &report, dry_run);
                skipped |= !report.skipped.is_empty();
            }
            Err(error) if several => {
                tell(session, &location, &error);
                failed.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    if !failed.is_empty() {
        return Err(verdict(failed, all));
    }
    if !skipped {
        return Ok(());
    }
    let told = Told {
        what: "at least one source file could not be read".to_owned(),
        remedy: "The snapshot holds all the rest; the lines above name what is missing.".to_owned(),
        code: Code::Partial,
    };
    Err(told.into())
}

fn tell(session: &Session, location: &str, error: &Error) {
    let Verdict { message, .. } = Verdict::of(error);
    let text = message.strip_prefix("Fatal: ").unwrap_or(&message);
    if session.settings.json {
        session.screen.warn(error_line("backup", location.as_bytes(), text));
    } else {
        session.screen.say(Level::Normal, "");
        session.screen.warn(visible_text(&format!("error: no snapshot in repository {location}: {text}")));
    }
}

/// Some have failed: their common exit code if all have, and for the same reason.
fn verdict(mut failed: Vec<Error>, all: usize) -> Error {
    let codes: Vec<Code> = failed.iter().map(|error| Verdict::of(error).code).collect();
    if let Some(at) = codes.iter().position(|code| *code == Code::Interrupted) {
        return failed.swap_remove(at);
    }
    let alike = codes.len() == all && codes.iter().all(|code| *code == codes[0]);
    let told = Told {
        what: format!("{} of {all} repositories have no new snapshot", codes.len()),
        remedy: "The lines above say why. Once that is mended, run the same again: what is there already is not sent again."
            .to_owned(),
        code: if alike { codes[0] } else { Code::Failed },
    };
    told.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code) -> Error {
        Told { what: String::new(), remedy: String::new(), code }.into()
    }

    #[test]
    fn exit_code_is_the_common_one_only_if_all_have_failed_alike() {
        let check = |codes: &[Code], all, expected| {
            let failed = codes.iter().map(|code| failure(*code)).collect();
            assert_eq!(Verdict::of(&verdict(failed, all)).code, expected, "{codes:?} of {all}");
        };
        check(&[Code::Locked], 2, Code::Failed);
        check(&[Code::Locked, Code::Locked], 2, Code::Locked);
        check(&[Code::Locked, Code::NoRepository], 2, Code::Failed);
        check(&[Code::NoRepository, Code::Interrupted], 3, Code::Interrupted);
    }

    #[test]
    fn passwords_are_one_for_all_or_one_for_each() {
        let given = |words: &[&str], at| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            one_of("--flag", &words, 2, at).map(Option::unwrap_or_default).ok()
        };
        assert_eq!(given(&[], 1).as_deref(), Some(""));
        assert_eq!(given(&["a"], 1).as_deref(), Some("a"));
        assert_eq!(given(&["a", "b"], 1).as_deref(), Some("b"));
        assert_eq!(given(&["a", "b", "c"], 1), None);
    }
}
