//! `mount`: what was typed.

use std::ffi::OsString;

use clap::Args;

use super::view::Templates;

/// Show the repository as a folder to browse and to copy from
///
/// Nothing can be changed there. Ctrl-C ends it, or umount.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    larder mount /mnt/backup\n  \
    cp /mnt/backup/snapshots/latest/home/ada/letter.txt .\n  \
    larder mount --path-template '%h/%T' --time-template 2006-01-02_15-04 /mnt/backup")]
pub struct Mount {
    /// An empty folder
    #[arg(value_name = "DIR")]
    pub words: Vec<OsString>,

    /// Let other users in; they see what the permissions of the files allow
    #[arg(long)]
    pub allow_other: bool,

    /// With --allow-other: let them see everything
    #[arg(long)]
    pub no_default_permissions: bool,

    /// Everything belongs to root
    #[arg(long)]
    pub owner_root: bool,

    #[command(flatten)]
    pub templates: Templates,

    /// Outdated form of --time-template
    #[arg(long, value_name = "TEMPLATE", hide = true)]
    pub snapshot_template: Option<String>,
}
