//! `version`: what was typed.

use clap::Args;

/// Print the version
#[derive(Debug, Args)]
pub struct Version {
    /// Ignored
    #[arg(hide = true)]
    pub extra: Vec<String>,
}
