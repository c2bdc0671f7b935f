//! The flags that every command knows.

use std::time::Duration;

use clap::{ArgAction, Args};
use repo_core::MemoryLimit;
use repo_core::filter::GlobMode;

use super::values;

/// Flags valid before and after any command, as typed.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Global {
    /// Repository to work on [env: LARDER_REPOSITORY, RESTIC_REPOSITORY]
    #[arg(short, long, global = true, value_name = "LOCATION", help_heading = REPOSITORY)]
    pub repo: Option<String>,

    /// File that holds the repository's location
    #[arg(long, global = true, value_name = "FILE", help_heading = REPOSITORY)]
    pub repository_file: Option<String>,

    /// File that holds the password
    #[arg(short, long, global = true, value_name = "FILE", help_heading = REPOSITORY)]
    pub password_file: Option<String>,

    /// Program that prints the password; split into words, not run by a shell
    #[arg(long, global = true, value_name = "COMMAND", help_heading = REPOSITORY)]
    pub password_command: Option<String>,

    /// The password is empty (insecure); needed for every command on such a repository
    #[arg(long, global = true, help_heading = REPOSITORY)]
    pub insecure_no_password: bool,

    /// Key to try first, by the start of its id
    #[arg(long, global = true, value_name = "ID", help_heading = REPOSITORY)]
    pub key_hint: Option<String>,

    /// Do not lock the repository; for read-only storage
    #[arg(long, global = true, help_heading = REPOSITORY)]
    pub no_lock: bool,

    /// Wait this long for somebody else's lock, such as 5m or 2h
    #[arg(long, global = true, value_name = "DURATION", value_parser = values::duration, help_heading = REPOSITORY)]
    pub retry_lock: Option<Duration>,

    /// Second storage before a cold one: it has all but the packs of file content
    #[arg(long, global = true, value_name = "LOCATION", help_heading = STORAGE)]
    pub repo_hot: Option<String>,

    /// Thaw packs of a cold storage before they are read, by trying to read them
    #[arg(long, global = true, help_heading = STORAGE)]
    pub warm_up: bool,

    /// Thaw each pack with this command; %id is the pack's name, %path its path
    #[arg(long, global = true, value_name = "COMMAND", help_heading = STORAGE)]
    pub warm_up_command: Option<String>,

    /// Packs are thawed at the earliest after this time
    #[arg(long, global = true, value_name = "DURATION", value_parser = values::duration, help_heading = STORAGE)]
    pub warm_up_wait: Option<Duration>,

    /// Extended option of a storage, as NAME=VALUE; repeatable
    #[arg(short = 'o', long = "option", global = true, value_name = "NAME=VALUE", help_heading = STORAGE)]
    pub options: Vec<String>,

    /// Limit uploads to so many KiB/s
    #[arg(long, global = true, value_name = "RATE", help_heading = STORAGE)]
    pub limit_upload: Option<u64>,

    /// Limit downloads to so many KiB/s
    #[arg(long, global = true, value_name = "RATE", help_heading = STORAGE)]
    pub limit_download: Option<u64>,

    /// File with certificates to trust besides the system's; repeatable
    #[arg(long, global = true, value_name = "FILE", value_delimiter = ',', help_heading = STORAGE)]
    pub cacert: Vec<String>,

    /// File with a client certificate and its key, both in PEM
    #[arg(long, global = true, value_name = "FILE", help_heading = STORAGE)]
    pub tls_client_cert: Option<String>,

    /// Do not check the storage's certificate (insecure)
    #[arg(long, global = true, help_heading = STORAGE)]
    pub insecure_tls: bool,

    /// User agent for requests over HTTP
    #[arg(long, global = true, value_name = "TEXT", help_heading = STORAGE)]
    pub http_user_agent: Option<String>,

    /// Retry a request that stands still for this long
    #[arg(long, global = true, value_name = "DURATION", default_value = "5m", value_parser = values::duration, help_heading = STORAGE)]
    pub stuck_request_timeout: Duration,

    /// How hard to compress: auto, off, fastest, better, max
    #[arg(long, global = true, value_name = "MODE", help_heading = PACKING)]
    pub compression: Option<String>,

    /// Size of new packs in MiB, 4 to 128
    #[arg(long, global = true, value_name = "MIB", help_heading = PACKING)]
    pub pack_size: Option<u64>,

    /// Do not open and compare what is about to be uploaded
    #[arg(long, global = true, help_heading = PACKING)]
    pub no_extra_verify: bool,

    /// Hold no more memory than about this, such as 256m, as far as that is possible
    #[arg(long, global = true, value_name = "SIZE", value_parser = values::memory, help_heading = PACKING)]
    pub memory_limit: Option<MemoryLimit>,

    /// Folder of the local cache
    #[arg(long, global = true, value_name = "DIR", help_heading = PACKING)]
    pub cache_dir: Option<String>,

    /// Do not use a local cache
    #[arg(long, global = true, help_heading = PACKING)]
    pub no_cache: bool,

    /// Remove caches that nobody used for 30 days
    #[arg(long, global = true, help_heading = PACKING)]
    pub cleanup_cache: bool,

    /// What several ** in a pattern that begins with / stand for: as in restic, or strictly any number of names each
    #[arg(long, global = true, value_name = "restic|strict", value_parser = str::parse::<GlobMode>, help_heading = OUTPUT)]
    pub glob_mode: Option<GlobMode>,

    /// Print JSON
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub json: bool,

    /// No progress, no summary
    #[arg(short, long, global = true, help_heading = OUTPUT)]
    pub quiet: bool,

    /// Say more; twice, or --verbose=2, for every file
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,

    /// Print help
    #[arg(short, long, global = true, help_heading = OUTPUT)]
    pub help: bool,
}

const REPOSITORY: &str = "Repository";
const STORAGE: &str = "Storage";
const PACKING: &str = "Packing and cache";
const OUTPUT: &str = "Output";
