//! `options`, `features` and `self-update`: what was typed. They need no repository.

use clap::Args;

/// List the extended options, -o NAME=VALUE
#[derive(Debug, Args)]
pub struct Options {
    /// Ignored
    #[arg(hide = true)]
    pub extra: Vec<String>,
}

/// List the feature switches of restic and what larder does about them
///
/// They are set with RESTIC_FEATURES, as name=true,other=false. An unknown name is an error.
#[derive(Debug, Args)]
pub struct Features {
    /// Takes no arguments
    #[arg(hide = true)]
    pub extra: Vec<String>,
}

/// Says how larder is updated: not by itself
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct SelfUpdate {
    /// Accepted, as restic's
    #[arg(long, value_name = "FILE")]
    pub output: Option<String>,

    /// Ignored
    #[arg(hide = true)]
    pub extra: Vec<String>,
}
