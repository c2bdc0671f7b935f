//! `backup`: what was typed.

use std::ffi::OsString;

use clap::Args;
use repo_core::snapshots::GroupBy;

use super::filter::LeaveOut;

/// Save files and folders as a new snapshot
///
/// Reads the given files and folders and stores what the repository does not hold yet. What cannot be read
/// is named and left out; the rest is saved and the exit code is 3.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "Examples:\n  \
    larder backup ~/Documents\n  \
    larder backup --exclude '*.tmp' --exclude-caches /home /etc\n  \
    larder backup --also-repo sftp:host:backup ~/Documents\n  \
    pg_dump db | larder backup --stdin --stdin-filename db.sql\n  \
    larder backup --stdin-filename db.sql --stdin-from-command -- pg_dump db")]
pub struct Backup {
    /// Files and folders to save; with --stdin-from-command the command and its arguments
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,

    #[command(flatten)]
    pub leave_out: LeaveOut,

    /// Stay on the file systems of the given paths
    #[arg(short = 'x', long, help_heading = FILES)]
    pub one_file_system: bool,

    /// Read paths to save from a file, as patterns, one per line; repeatable
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub files_from: Vec<OsString>,

    /// Read paths to save from a file, literally, one per line; repeatable
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub files_from_verbatim: Vec<OsString>,

    /// Read paths to save from a file, each ended by a zero byte; repeatable
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub files_from_raw: Vec<OsString>,

    /// Save standard input as one file
    #[arg(long, help_heading = STDIN)]
    pub stdin: bool,

    /// Its name
    #[arg(long, value_name = "NAME", default_value = "stdin", help_heading = STDIN)]
    pub stdin_filename: OsString,

    /// Run the arguments as a command and save what it prints as one file
    #[arg(long, help_heading = STDIN)]
    pub stdin_from_command: bool,

    /// Snapshot to compare with [default: the newest of the same group]
    #[arg(long, value_name = "SNAPSHOT", help_heading = CHANGES)]
    pub parent: Option<String>,

    /// What a group is: host, paths, tags
    #[arg(short, long, value_name = "GROUP", default_value = "host,paths", value_parser = str::parse::<GroupBy>, help_heading = CHANGES)]
    pub group_by: GroupBy,

    /// Read every file again, without a parent
    #[arg(short, long, help_heading = CHANGES)]
    pub force: bool,

    /// Another ctime does not make a file changed
    #[arg(long, help_heading = CHANGES)]
    pub ignore_ctime: bool,

    /// Neither another inode nor another ctime makes a file changed
    #[arg(long, help_heading = CHANGES)]
    pub ignore_inode: bool,

    /// No snapshot if nothing changed since the parent
    #[arg(long, help_heading = CHANGES)]
    pub skip_if_unchanged: bool,

    /// Host name to store [env: LARDER_HOST, RESTIC_HOST]
    #[arg(short = 'H', long, value_name = "NAME", help_heading = SNAPSHOT)]
    pub host: Option<String>,

    /// Outdated name of --host
    #[arg(long, value_name = "NAME", hide = true)]
    pub hostname: Option<String>,

    /// Tags to store; repeatable
    #[arg(long = "tag", value_name = "TAG[,TAG…]", help_heading = SNAPSHOT)]
    pub tags: Vec<String>,

    /// Time to store, as 'YYYY-MM-DD hh:mm:ss' [default: now]
    #[arg(long, value_name = "TIME", help_heading = SNAPSHOT)]
    pub time: Option<String>,

    /// Store access times too
    #[arg(long, help_heading = SNAPSHOT)]
    pub with_atime: bool,

    /// Save to this repository too, reading the files once for all; repeatable
    #[arg(long, value_name = "REPOSITORY", help_heading = ALSO)]
    pub also_repo: Vec<String>,

    /// File with the password of --also-repo; once for all of them, or once for each [default: as for --repo]
    #[arg(long, value_name = "FILE", help_heading = ALSO, requires = "also_repo", conflicts_with = "also_password_command")]
    pub also_password_file: Vec<String>,

    /// Command that prints the password of --also-repo; once for all of them, or once for each
    #[arg(long, value_name = "COMMAND", help_heading = ALSO, requires = "also_repo")]
    pub also_password_command: Vec<String>,

    /// Write nothing, report as if
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Do not count ahead: starts sooner, shows no percentage
    #[arg(long)]
    pub no_scan: bool,

    /// How many files to read at once [env: RESTIC_READ_CONCURRENCY, default: 2]
    #[arg(long, value_name = "N")]
    pub read_concurrency: Option<u32>,
}

const FILES: &str = "Choosing files";
const STDIN: &str = "Saving a stream";
const CHANGES: &str = "What counts as changed";
const ALSO: &str = "Saving to several repositories";
const SNAPSHOT: &str = "What the snapshot says";
