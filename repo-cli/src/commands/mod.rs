//! One file per command: what was typed → options of the core → one call → what is shown.

mod backup;
mod cache;
mod cat;
mod check;
mod copy;
mod diff;
mod du;
mod dump;
mod find;
mod forget;
mod prune;
mod repair;
mod generate;
mod help;
mod init;
mod key;
mod list;
mod log;
mod ls;
mod migrate;
mod mount;
mod plain;
mod quickstart;
mod rekey;
mod recover;
mod restore;
mod rewrite;
mod serve;
mod snapshots;
mod stats;
mod status;
mod tag;
mod unlock;
mod version;

use anyhow::Result;

use crate::args::{self, Command, Global, Typed};
use crate::session::Session;
use crate::ui::views::PlainView;

/// Runs the command that was typed.
pub fn run(session: &Session, typed: Typed) -> Result<()> {
    let Some(command) = typed.command else {
        version::run(session);
        return Ok(());
    };
    for line in session.settings.warnings.iter().map(String::as_str).chain(args::outdated(&command)) {
        session.screen.warn(line);
    }
    run_command(session, command, &typed.global)
}

fn run_command(session: &Session, command: Command, typed: &Global) -> Result<()> {
    let _drawing = session.progress.show(PlainView);
    match command {
        Command::Backup(args) => backup::run(session, &args),
        Command::Cache(args) => cache::run(session, &args),
        Command::Cat(args) => cat::run(session, &args),
        Command::Check(args) => check::run(session, &args),
        Command::Generate(args) => generate::run(session, &args),
        Command::Init(args) => init::run(session, &args),
        Command::Key(args) => key::run(session, &args),
        Command::List(args) => list::run(session, &args),
        Command::Ls(args) => ls::run(session, &args),
        Command::Quickstart(args) => quickstart::run(session, &args, typed),
        Command::Restore(args) => restore::run(session, &args),
        Command::Copy(args) => copy::run(session, &args),
        Command::Rekey(args) => rekey::run(session, &args),
        Command::Diff(args) => diff::run(session, &args),
        Command::Forget(args) => forget::run(session, &args),
        Command::Tag(args) => tag::run(session, &args),
        Command::Rewrite(args) => rewrite::run(session, &args),
        Command::Prune(args) => prune::run(session, &args),
        Command::Repair(args) => repair::run(session, &args),
        Command::RebuildIndex(args) => repair::index(session, &args.index),
        Command::Du(args) => du::run(session, &args),
        Command::Recover(args) => recover::run(session, &args),
        Command::Migrate(args) => migrate::run(session, &args),
        Command::Options(_) => {
            plain::options(session);
            Ok(())
        }
        Command::Features(args) => plain::features(session, &args),
        Command::SelfUpdate(_) => plain::self_update(),
        Command::Find(args) => find::run(session, &args),
        Command::Log(args) => log::run(session, &args),
        Command::Status(args) => status::run(session, &args),
        Command::Dump(args) => dump::run(session, &args),
        Command::Mount(args) => mount::run(session, &args),
        Command::Serve(args) => serve::run(session, &args),
        Command::Stats(args) => stats::run(session, &args),
        Command::Snapshots(args) => snapshots::run(session, &args),
        Command::Unlock(args) => unlock::run(session, &args),
        Command::Help(args) => {
            help::run(session, &args);
            Ok(())
        }
        Command::Version(_) => {
            version::run(session);
            Ok(())
        }
    }
}
