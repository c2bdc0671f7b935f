//! What was typed: a command line → one [`Typed`].
//!
//! clap describes the flags; [`go_flags`] makes it read them as restic's users are used to. Nothing here looks
//! at the environment, opens a file or prints.

#![allow(clippy::doc_markdown, reason = "doc comments of flags are what `help` prints")]
#![allow(clippy::struct_field_names, reason = "fields are named like their flags")]

mod go_flags;
mod mistake;
pub mod pages;
pub mod values;

pub mod filter;
pub mod global;
pub mod prune_flags;
pub mod view;

pub mod backup;
pub mod cache;
pub mod cat;
pub mod check;
pub mod copy;
pub mod diff;
pub mod du;
pub mod dump;
pub mod find;
pub mod forget;
pub mod prune;
pub mod repair;
pub mod generate;
pub mod help;
pub mod init;
pub mod key;
pub mod list;
pub mod log;
pub mod ls;
pub mod migrate;
pub mod mount;
pub mod plain;
pub mod quickstart;
pub mod rekey;
pub mod recover;
pub mod restore;
pub mod rewrite;
pub mod serve;
pub mod stats;
pub mod status;
pub mod snapshots;
pub mod tag;
pub mod unlock;
pub mod version;
#[cfg(test)]
mod parity;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use global::Global;
pub use mistake::Mistake;

/// The command line, read.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    about = "Deduplicating, encrypted backups in restic's repository format",
    disable_help_flag = true,
    disable_help_subcommand = true,
    args_override_self = true
)]
pub struct Typed {
    #[command(flatten)]
    pub global: Global,

    /// Print the version
    #[arg(short = 'V', long)]
    pub version: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Quickstart(quickstart::Quickstart),
    Init(init::Init),
    Backup(Box<backup::Backup>),
    Snapshots(snapshots::Snapshots),
    Ls(ls::Ls),
    Restore(Box<restore::Restore>),
    Find(Box<find::Find>),
    Log(log::Log),
    Diff(diff::Diff),
    Status(Box<status::Status>),
    Du(du::Du),
    Dump(dump::Dump),
    Stats(stats::Stats),
    Mount(Box<mount::Mount>),
    Serve(Box<serve::Serve>),
    Check(check::Check),
    Forget(Box<forget::Forget>),
    Tag(tag::Tag),
    Rewrite(Box<rewrite::Rewrite>),
    Prune(prune::Prune),
    Copy(Box<copy::Copy>),
    Rekey(rekey::Rekey),
    Repair(repair::Repair),
    RebuildIndex(repair::RebuildIndex),
    Recover(recover::Recover),
    Migrate(migrate::Migrate),
    Key(key::Key),
    Unlock(unlock::Unlock),
    Cat(cat::Cat),
    List(list::List),
    Cache(cache::Cache),
    Generate(generate::Generate),
    Options(plain::Options),
    Features(plain::Features),
    SelfUpdate(plain::SelfUpdate),
    Version(version::Version),
    Help(help::Help),
}

/// Reads a command line, the program's own name first.
pub fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Typed, Mistake> {
    let mut described = Typed::command();
    described.build();
    let line = go_flags::normalize(&described, line);
    let matches = described.try_get_matches_from_mut(&line.words);
    let typed = matches.and_then(|matches| Typed::from_arg_matches(&matches));
    let mut typed = typed.or_else(|error| mistake::explain(&error, &line))?;
    if line.unknown_action {
        typed.global.help = true; // as restic: `key` with an unknown word shows the help
    }
    if typed.global.help || typed.command.is_none() && !typed.version {
        typed.command = Some(Command::Help(help::Help { words: line.commands }));
    }
    Ok(typed)
}

const REPACK_SMALL: &str = "Flag --repack-small has been deprecated, small files are automatically repacked. Use --repack-smaller-than to specify a minimum size";

/// One line for every outdated flag on the command line, in restic's words.
pub fn outdated(command: &Command) -> Vec<&'static str> {
    let mut lines = Vec::new();
    match command {
        Command::Backup(args) if args.hostname.is_some() => {
            lines.push("Flag --hostname has been deprecated, use --host");
        }
        Command::RebuildIndex(_) => {
            lines.push("Command \"rebuild-index\" is deprecated, Use \"repair index\" instead");
        }
        Command::Forget(args) if !args.hostname.is_empty() => {
            lines.push("Flag --hostname has been deprecated, use --host");
        }
        Command::Init(args) if args.from.second.repo2.is_some() => {
            lines.push("Flag --repo2 has been deprecated, use --repo or --from-repo instead");
        }
        Command::Forget(args) if args.repack_small => lines.push(REPACK_SMALL),
        Command::Prune(args) if args.repack_small => lines.push(REPACK_SMALL),
        Command::Snapshots(args) if args.last => {
            lines.push("Flag --last has been deprecated, use --latest 1");
        }
        Command::Mount(args) if args.snapshot_template.is_some() => {
            lines.push("Flag --snapshot-template has been deprecated, use --time-template");
        }
        Command::Check(args) if args.check_unused => {
            lines.push("Flag --check-unused has been deprecated, it is ignored");
        }
        _ => {}
    }
    lines
}
