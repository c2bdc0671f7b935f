//! `help`: the pages.

use crate::args::help::Help;
use crate::args::pages;
use crate::session::Session;

pub fn run(session: &Session, args: &Help) {
    page(session, &args.words);
}

/// Prints the page of a command.
pub fn page(session: &Session, words: &[String]) {
    if let Some(text) = pages::page(words) {
        return session.screen.bytes(text.as_bytes());
    }
    // As restic: an unknown topic is told, and is no failure.
    session.screen.warn(format!("Unknown help topic {:?}", words.join(" ")));
    session.screen.warn(pages::page(&[]).unwrap_or_default());
}
