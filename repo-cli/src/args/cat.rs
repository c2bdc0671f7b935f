//! `cat`: what was typed.

use clap::Args;

/// Print one inner object
///
/// KIND is masterkey, config, pack, blob, snapshot, index, key, lock or tree. A tree is named by its
/// snapshot, as SNAPSHOT:FOLDER; all others by their full id, a snapshot also by the start of it.
#[derive(Debug, Args)]
pub struct Cat {
    /// What to print, and which
    #[arg(value_name = "KIND ID")]
    pub words: Vec<String>,
}
