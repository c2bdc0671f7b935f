//! `generate`: completions for shells, and manual pages, from the described flags.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Typed;
use crate::args::generate::Generate;
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Generate) -> Result<()> {
    if !args.extra.is_empty() {
        return Err(wrong(
            "the generate command expects no arguments, only flags",
            "See `larder help generate`.",
        ));
    }
    let wanted = [
        (&args.bash_completion, Shell::Bash, "bash"),
        (&args.zsh_completion, Shell::Zsh, "zsh"),
        (&args.fish_completion, Shell::Fish, "fish"),
        (&args.powershell_completion, Shell::PowerShell, "powershell"),
    ];
    if args.man.is_none() && wanted.iter().all(|(file, ..)| file.is_none()) {
        return Err(wrong(
            "nothing to do, please specify at least one output file or folder",
            "See `larder help generate`.",
        ));
    }
    for (file, shell, name) in wanted {
        if let Some(file) = file {
            completion(session, file, shell)
                .with_context(|| format!("cannot write the completion for {name}"))?;
        }
    }
    if let Some(folder) = &args.man {
        manual(session, Path::new(folder))?;
    }
    Ok(())
}

fn completion(session: &Session, file: &OsString, shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Typed::command(), "larder", &mut script);
    if file == "-" {
        session.screen.bytes(&script);
        return Ok(());
    }
    let mut out =
        File::create(file).with_context(|| format!("cannot create {}", Path::new(file).display()))?;
    out.write_all(&script)?;
    session
        .screen
        .say(Level::Normal, format!("writing {shell} completion file to {}", Path::new(file).display()));
    Ok(())
}

fn manual(session: &Session, folder: &Path) -> Result<()> {
    let mut root = Typed::command();
    root.build();
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create folder {}", folder.display()))?;
    clap_mangen::generate_to(root, folder)
        .with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
    session.screen.say(Level::Normal, format!("writing man pages to directory {}", folder.display()));
    Ok(())
}
