//! `init`: what was typed.

use clap::Args;

/// Make a new repository
#[derive(Debug, Args)]
pub struct Init {
    /// Format: 1, 2, latest, stable
    #[arg(long, value_name = "VERSION", default_value = "stable")]
    pub repository_version: String,

    /// How files are cut into chunks: rabin (as restic does) or fastcdc (faster; see the manual)
    #[arg(long, value_name = "KIND", default_value = "rabin")]
    pub chunker: String,

    /// Cut files as another repository does, so that copies between them deduplicate
    #[arg(long, help_heading = SOURCE)]
    pub copy_chunker_params: bool,

    #[command(flatten)]
    pub from: FromRepository,

    /// Takes no arguments
    #[arg(hide = true)]
    pub extra: Vec<String>,
}

/// A second repository to take something from.
#[derive(Debug, Clone, Default, Args)]
pub struct FromRepository {
    /// The other repository [env: RESTIC_FROM_REPOSITORY]
    #[arg(long, alias = "from", value_name = "LOCATION", help_heading = SOURCE)]
    pub from_repo: Option<String>,

    /// File that holds its location
    #[arg(long, value_name = "FILE", help_heading = SOURCE)]
    pub from_repository_file: Option<String>,

    /// File that holds its password
    #[arg(long, value_name = "FILE", help_heading = SOURCE)]
    pub from_password_file: Option<String>,

    /// Program that prints its password
    #[arg(long, value_name = "COMMAND", help_heading = SOURCE)]
    pub from_password_command: Option<String>,

    /// Key to try first, by the start of its id
    #[arg(long, value_name = "ID", help_heading = SOURCE)]
    pub from_key_hint: Option<String>,

    /// Its password is empty (insecure)
    #[arg(long, help_heading = SOURCE)]
    pub from_insecure_no_password: bool,

    #[command(flatten)]
    pub second: SecondRepository,
}

/// The second repository in the words of restic before 0.14: for `init` the one to take parameters from, for `copy`
/// the target.
#[derive(Debug, Clone, Default, Args)]
pub struct SecondRepository {
    /// Its location [env: RESTIC_REPOSITORY2]
    #[arg(long, value_name = "LOCATION", hide = true)]
    pub repo2: Option<String>,

    /// File that holds its location
    #[arg(long, value_name = "FILE", hide = true)]
    pub repository_file2: Option<String>,

    /// File that holds its password
    #[arg(long, value_name = "FILE", hide = true)]
    pub password_file2: Option<String>,

    /// Program that prints its password
    #[arg(long, value_name = "COMMAND", hide = true)]
    pub password_command2: Option<String>,

    /// Key to try first, by the start of its id
    #[arg(long, value_name = "ID", hide = true)]
    pub key_hint2: Option<String>,
}

const SOURCE: &str = "The other repository";
