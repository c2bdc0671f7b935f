//! `generate`: what was typed.

use std::ffi::OsString;

use clap::Args;

/// Write completions for shells and manual pages
#[derive(Debug, Args)]
pub struct Generate {
    /// Completions for bash; - is standard output
    #[arg(long, value_name = "FILE")]
    pub bash_completion: Option<OsString>,

    /// Completions for zsh
    #[arg(long, value_name = "FILE")]
    pub zsh_completion: Option<OsString>,

    /// Completions for fish
    #[arg(long, value_name = "FILE")]
    pub fish_completion: Option<OsString>,

    /// Completions for PowerShell
    #[arg(long, value_name = "FILE")]
    pub powershell_completion: Option<OsString>,

    /// Manual pages
    #[arg(long, value_name = "DIR")]
    pub man: Option<OsString>,

    /// Takes no arguments
    #[arg(hide = true)]
    pub extra: Vec<String>,
}
