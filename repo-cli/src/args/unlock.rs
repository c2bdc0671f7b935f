//! `unlock`: what was typed.

use clap::Args;

/// Remove locks that were left behind
#[derive(Debug, Args)]
pub struct Unlock {
    /// Also locks that look alive
    #[arg(long)]
    pub remove_all: bool,

    /// Ignored
    #[arg(hide = true)]
    pub extra: Vec<String>,
}
