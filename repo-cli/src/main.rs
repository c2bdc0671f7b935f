//! larder: deduplicating, encrypted backups in restic's repository format.
//!
//! Translation, nothing else: words and variables → options of the core → what people and programs read.

#![forbid(unsafe_code)]
#![allow(clippy::format_push_string, reason = "lines for people are short, and this reads well")]
#![allow(unreachable_pub, reason = "a program exports nothing; `pub` is for the other files")]

mod exit; // error → exit code, and two lines
mod args; // what was typed
mod password; // where passwords come from
mod input; // standard input and the terminal, read so that a signal can end the wait
mod ui; // what is shown
mod config; // environment → arguments
mod signals; // signals of the system
mod session; // what a command runs in
mod cache; // the local cache: where, for whom
mod cold; // cold storage: its hot half, and how packs are thawed
mod open; // location + password → an open, locked repository
mod patterns; // pattern flags and files → what is wanted
mod place; // a path as typed → where it is
mod select; // filters and ids → the snapshots meant
mod near; // the search index
mod prices; // what storage charges, from a file
mod browse; // a repository as folders, for what shows it
mod commands; // one file per command

use std::process::ExitCode;

use config::Environment;
use session::Session;

fn main() -> ExitCode {
    let typed = match args::parse(std::env::args_os()) {
        Ok(typed) => typed,
        Err(mistake) => return exit::mistake(&mistake),
    };
    let json = typed.global.json;
    let session = match Session::begin(&typed, Environment::of_process()) {
        Ok(session) => session,
        Err(error) => return exit::failure(&error, json),
    };
    let outcome = commands::run(&session, typed);
    exit::end(&session, outcome)
}
