//! `help`: what was typed.

use clap::Args;

/// Print help for a command
#[derive(Debug, Args)]
pub struct Help {
    /// Which command
    #[arg(value_name = "COMMAND")]
    pub words: Vec<String>,
}
