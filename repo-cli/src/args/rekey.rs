//! `rekey`: what was typed.

use clap::Args;

/// Copy everything into a new repository under a new master key
///
/// For a master key that somebody else may know. `key passwd` and `key remove` change who can open the master key from
/// now on, not the key itself: whoever has had it reads all that is ever stored under it. The new repository cuts files in
/// the same way and gets every snapshot with its times and tags. A run that was stopped is gone on with by the same
/// command. The old repository stays as it is, for you to remove.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  larder -r /mnt/backup rekey --to /mnt/backup-2027 --new-password-file new-password")]
pub struct Rekey {
    /// Where the new repository is to lie
    #[arg(long, value_name = "LOCATION", required = true)]
    pub to: String,

    /// File that holds the password of the new repository
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<String>,

    /// The new password is empty (insecure)
    #[arg(long)]
    pub new_insecure_no_password: bool,
}
