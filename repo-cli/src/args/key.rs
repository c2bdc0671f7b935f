//! `key`: what was typed.

use clap::{Args, Subcommand};

/// Manage the passwords of a repository
#[derive(Debug, Args)]
pub struct Key {
    #[command(subcommand)]
    pub action: Option<KeyAction>,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Add a password
    Add(NewKey),
    /// List the keys; a star marks the one in use
    List(KeyList),
    /// Change the password: a new key is made, then the one in use removed
    Passwd(NewKey),
    /// Remove a key; never the one in use
    Remove(KeyRemove),
}

/// A password to add.
#[derive(Debug, Args)]
pub struct NewKey {
    /// File that holds the new password
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<String>,

    /// The new password is empty (insecure)
    #[arg(long)]
    pub new_insecure_no_password: bool,

    /// User name to store with the key
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Host name to store with the key
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,

    /// Takes no arguments
    #[arg(hide = true)]
    pub extra: Vec<String>,
}

/// No flags of its own.
#[derive(Debug, Args)]
pub struct KeyList {
    /// Takes no arguments
    #[arg(hide = true)]
    pub extra: Vec<String>,
}

/// Which key.
#[derive(Debug, Args)]
pub struct KeyRemove {
    /// The key's id, or the start of it
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
}
