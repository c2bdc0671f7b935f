//! `quickstart`: what was typed.

use std::ffi::OsString;

use clap::Args;

/// Back up a folder at once: repository, password and first snapshot in one step
///
/// Creates a repository in your data folder with a password made for you, backs up PATH, verifies the
/// repository and shows how to go on. Run it again for the next backup.
#[derive(Debug, Args)]
pub struct Quickstart {
    /// What to back up [default: your home folder]
    #[arg(value_name = "PATH")]
    pub path: Option<OsString>,

    /// Where repository and password go [default: the platform's data folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<OsString>,
}
