//! `copy`: what was typed.

use clap::Args;

use super::filter::SnapshotFilter;
use super::init::FromRepository;

/// Copy snapshots of another repository into this one
///
/// Only what is missing is copied; snapshots that were copied before are passed over, by restic too. Each side has its
/// own password, and its own credentials where a variable RESTIC_FROM_NAME stands for the other repository's NAME.
/// To share content with backups made here, this repository has to cut files in the same way: make it with
/// `larder init --copy-chunker-params`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  larder -r /mnt/second copy --from-repo /srv/first
  RESTIC_FROM_AWS_ACCESS_KEY_ID=… RESTIC_FROM_AWS_SECRET_ACCESS_KEY=… \\
    larder -r s3:host/new copy --from-repo s3:host/old latest")]
pub struct Copy {
    /// Only these; `latest` and the start of an id will do
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,

    #[command(flatten)]
    pub from: FromRepository,

    #[command(flatten)]
    pub filter: SnapshotFilter,
}
