//! `serve`: what was typed.

use std::net::SocketAddr;

use clap::{Args, Subcommand};

use super::view::Templates;

/// Show the repository to other programs
#[derive(Debug, Args)]
pub struct Serve {
    #[command(subcommand)]
    pub action: Option<ServeAction>,
}

/// In which way.
#[derive(Debug, Subcommand)]
pub enum ServeAction {
    /// Serve the repository's files over WebDAV, read-only
    Webdav(Webdav),
}

/// How to serve over WebDAV.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    larder serve webdav\n  \
    larder serve webdav --listen 192.168.1.5:8080 --user ada --user-password-file secret.txt\n\n\
    Whoever reaches the address reads everything, so other machines are let in only by name and password;\n\
    both and all files go over the line in the clear. Put a proxy with TLS before it where that matters.")]
pub struct Webdav {
    /// Address and port to listen on; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Who is let in
    #[arg(long, value_name = "NAME", requires = "user_password_file")]
    pub user: Option<String>,

    /// File with the password of who is let in
    #[arg(long, value_name = "FILE", requires = "user")]
    pub user_password_file: Option<String>,

    #[command(flatten)]
    pub templates: Templates,
}
