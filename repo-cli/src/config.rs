//! The environment: variables → the arguments that were not typed.
//!
//! For every setting `LARDER_NAME` goes before `RESTIC_NAME`, an empty variable counts as unset, and what was
//! typed goes before both. No other file looks up a variable of ours; what comes out is
//! [`Settings`].

mod access; // a repository's place, and what opens it
mod features; // restic's feature switches

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::Result;
use repo_core::MemoryLimit;
use repo_core::backend::Throttle;
use repo_core::compress::Compression;
use repo_core::filter::GlobMode;
use repo_core::pack::PackSize;
use repo_core::time::Zone;

use crate::args::{Global, values};
use crate::cache;
use crate::cold;
use crate::exit::wrong;
use crate::ui::screen::Level;

pub use access::{Access, Naming, Side};
pub use features::FEATURES;

/// The variables of this run.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// What the process was started with.
    pub fn of_process() -> Self {
        std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value)).collect()
    }

    /// A variable of the system, as it is; `None` if unset.
    pub fn raw(&self, name: &str) -> Option<&OsString> {
        self.0.get(name)
    }

    /// `LARDER_name`, else `RESTIC_name`, with the variable's full name; `None` if both are empty or unset.
    fn ours(&self, name: &str) -> Option<(String, String)> {
        ["LARDER_", "RESTIC_"].iter().find_map(|prefix| {
            let full = format!("{prefix}{name}");
            let value = self.0.get(&full).filter(|value| !value.is_empty())?;
            Some((full, value.to_string_lossy().into_owned()))
        })
    }

    /// The value of one of our settings.
    pub fn get(&self, name: &str) -> Option<String> {
        self.ours(name).map(|(_, value)| value)
    }

    fn parsed<T, E: Display>(&self, name: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>> {
        let Some((full, value)) = self.ours(name) else { return Ok(None) };
        parse(&value).map(Some).map_err(|error| {
            wrong(
                format!("invalid value for {full} {value:?}: {error}"),
                format!("Correct or unset the variable {full}."),
            )
        })
    }
}

/// Everything that was typed or set and is not the business of one command alone.
#[derive(Clone)]
pub struct Settings {
    /// The repository to work on.
    pub repository: Access,
    /// How to lock it.
    pub lock: Lock,
    /// Extended options of storages.
    pub storage: backends::Options,
    /// The same for a second repository to take something from: its own credentials where there are any.
    pub from_storage: backends::Options,
    /// What is kept on this machine.
    pub cache: cache::Settings,
    /// How packs of a cold storage are thawed.
    pub cold: cold::Settings,
    /// How hard to compress.
    pub compression: Compression,
    /// Target size of new packs in MiB, not checked yet.
    pub pack_mib: u64,
    /// Whether what is uploaded is opened and compared before.
    pub extra_verify: bool,
    /// Whether results are JSON.
    pub json: bool,
    /// How much is said.
    pub level: Level,
    /// How often progress is shown, per second, if somebody said so.
    pub progress_per_second: Option<f64>,
    /// The host name to store and to filter by.
    pub host: Option<String>,
    /// How many files are read at once.
    pub read_concurrency: Option<u32>,
    /// How much memory a run may take.
    pub memory: MemoryLimit,
    /// The zone of the local clock.
    pub zone: Zone,
    /// What several `**` in a pattern stand for.
    pub glob_mode: GlobMode,
    /// Whether even restic's oddities are kept, such as exit code 0 when an id names nothing.
    pub strict: bool,
    /// What to say on standard error before anything else.
    pub warnings: Vec<String>,
}

/// How to lock a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Not at all.
    pub none: bool,
    /// How long to wait for another one's lock.
    pub retry: Duration,
}

const PACK_MIB_DEFAULT: u64 = 16;

impl Settings {
    /// Merges what was typed with the environment.
    pub fn new(typed: &Global, environment: &Environment) -> Result<Self> {
        if typed.quiet && typed.verbose > 0 {
            return Err(wrong(
                "--quiet and --verbose cannot be specified at the same time",
                "Leave out one of them.",
            ));
        }
        let level = match (typed.quiet, typed.verbose) {
            (true, _) => Level::Quiet,
            (_, 0) => Level::Normal,
            (_, 1) => Level::Verbose,
            _ => Level::Detailed,
        };
        // Variables are read even where a flag goes before them: a bad one is always told.
        let compression = environment.parsed("COMPRESSION", str::parse::<Compression>)?;
        let compression = match &typed.compression {
            Some(mode) => Some(mode.parse::<Compression>().map_err(|error| {
                wrong(format!("invalid argument {mode:?} for \"--compression\" flag"), format!("{error}."))
            })?),
            None => compression,
        };
        let pack_mib = environment.parsed("PACK_SIZE", str::parse::<u64>)?;
        let pack_mib = typed.pack_size.or(pack_mib).filter(|mib| *mib > 0).unwrap_or(PACK_MIB_DEFAULT);
        let read_concurrency = environment.parsed("READ_CONCURRENCY", str::parse::<u32>)?;
        let memory = environment.parsed("MEMORY_LIMIT", values::memory)?;
        let glob_mode = environment.parsed("GLOB_MODE", str::parse::<GlobMode>)?;
        let tz = environment.raw("TZ").map(|value| value.to_string_lossy());
        Ok(Self {
            repository: Access::main(typed, environment),
            lock: Lock { none: typed.no_lock, retry: typed.retry_lock.unwrap_or_default() },
            storage: storage(typed, environment, Side::Main)?,
            from_storage: storage(typed, environment, Side::From)?,
            cold: cold::Settings::new(typed)?,
            cache: cache::Settings::new(typed, environment),
            compression: compression.unwrap_or_default(),
            pack_mib,
            extra_verify: !typed.no_extra_verify,
            json: typed.json,
            level,
            progress_per_second: environment.get("PROGRESS_FPS").and_then(|fps| fps.parse().ok()),
            host: environment.get("HOST"),
            read_concurrency,
            memory: typed.memory_limit.or(memory).unwrap_or_default(),
            zone: Zone::from_tz(tz.as_deref()),
            glob_mode: typed.glob_mode.or(glob_mode).unwrap_or_default(),
            strict: environment.get("COMPATIBILITY").is_some_and(|mode| mode == "strict"),
            warnings: features::check(environment)?,
        })
    }

    /// Target size of new packs. Only commands that open a repository mind a bad one.
    pub fn pack_size(&self) -> Result<PackSize> {
        let what = match self.pack_mib {
            0..4 => "pack size smaller than minimum of 4 MiB",
            _ => "pack size larger than limit of 128 MiB",
        };
        let size = u32::try_from(self.pack_mib).ok().and_then(|mib| PackSize::from_mib(mib).ok());
        size.ok_or_else(|| {
            wrong(what, "Give --pack-size or RESTIC_PACK_SIZE as a number of MiB from 4 to 128.")
        })
    }
}

/// The options of one side: `from.NAME=VALUE` is for the second repository alone and goes before `NAME=VALUE`.
fn options_of(typed: &[String], side: Side) -> Vec<&str> {
    let pairs = || typed.iter().flat_map(|text| text.split(',')).map(str::trim);
    let mut own: Vec<&str> = pairs().filter_map(|pair| pair.strip_prefix(FROM_OPTION)).collect();
    if side == Side::Main {
        own.clear();
    }
    let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).trim().to_lowercase();
    let own_names: Vec<String> = own.iter().map(|pair| name(pair)).collect();
    let shared = pairs().filter(|pair| !pair.starts_with(FROM_OPTION) && !own_names.contains(&name(pair)));
    own.extend(shared);
    own
}

const FROM_OPTION: &str = "from.";

/// The variables of one side: for the second repository `RESTIC_FROM_NAME` stands for `NAME` and `RESTIC_NAME`.
fn variables_of(environment: &Environment, side: Side) -> BTreeMap<String, OsString> {
    let mut variables = environment.0.clone();
    if side == Side::From {
        for prefix in ["RESTIC_FROM_", "LARDER_FROM_"] {
            let twins = environment.0.iter().filter(|(_, value)| !value.is_empty());
            for (name, value) in twins.filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value))) {
                variables.insert(format!("RESTIC_{name}"), value.clone());
                variables.insert(name.to_owned(), value.clone());
            }
        }
    }
    variables
}

/// How the storages of one side are reached.
fn storage(typed: &Global, environment: &Environment, side: Side) -> Result<backends::Options> {
    let mut ca_files: Vec<_> = typed.cacert.iter().map(Into::into).collect();
    if ca_files.is_empty() {
        let files = environment.get("CACERT").unwrap_or_default();
        ca_files.extend(files.split(',').filter(|file| !file.is_empty()).map(Into::into));
    }
    let limit =
        |kib: Option<u64>| kib.and_then(|kib| NonZeroU64::new(kib.saturating_mul(1024))).map(Throttle::new);
    let network = backends::Network {
        ca_files,
        client_cert: filled(typed.tls_client_cert.as_ref())
            .or_else(|| environment.get("TLS_CLIENT_CERT"))
            .map(Into::into),
        insecure_tls: typed.insecure_tls,
        user_agent: filled(typed.http_user_agent.as_ref()).or_else(|| environment.get("HTTP_USER_AGENT")),
        stall_timeout: typed.stuck_request_timeout,
        upload_max: limit(typed.limit_upload),
        download_max: limit(typed.limit_download),
    };
    let variables = variables_of(environment, side).into_iter().collect();
    let mut options = backends::Options::parse(options_of(&typed.options, side))?;
    (options.network, options.variables) = (network, variables);
    Ok(options)
}

fn filled(typed: Option<&String>) -> Option<String> {
    typed.filter(|text| !text.is_empty()).cloned()
}

impl FromIterator<(String, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Typed;
    use crate::args::init::FromRepository;

    fn settings(line: &str, variables: &[(&str, &str)]) -> Result<Settings> {
        let words = std::iter::once("larder").chain(line.split_whitespace());
        let typed = Typed::try_parse_from(words).expect("a valid line");
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        Settings::new(&typed.global, &environment.collect())
    }

    #[test]
    fn flags_go_before_our_variables_and_those_before_restics() {
        let check = |line: &str, variables: &[(&str, &str)], expected: Option<&str>| {
            let location = settings(line, variables).unwrap().repository.location().ok();
            assert_eq!(location.as_deref(), expected, "{line} {variables:?}");
        };
        let both = [("LARDER_REPOSITORY", "ours"), ("RESTIC_REPOSITORY", "theirs")];
        check("--repo flag", &both, Some("flag"));
        check("", &both, Some("ours"));
        check("", &both[1..], Some("theirs"));
        check("", &[("LARDER_REPOSITORY", ""), both[1]], Some("theirs"));
        check("", &[], None);
        check("--repository-file f", &both, None);
        check("", &[both[0], ("RESTIC_REPOSITORY_FILE", "")], Some("ours"));
    }

    #[test]
    fn bad_variables_are_told_even_if_nobody_needs_them() {
        let check = |name: &str, value: &str, good: bool| {
            assert_eq!(settings("version", &[(name, value)]).is_ok(), good, "{name}={value}");
        };
        check("RESTIC_COMPRESSION", "max", true);
        check("RESTIC_COMPRESSION", "foo", false);
        check("RESTIC_COMPRESSION", "", true);
        check("LARDER_COMPRESSION", "foo", false);
        check("RESTIC_PACK_SIZE", "64", true);
        check("RESTIC_PACK_SIZE", "foo", false);
        check("RESTIC_READ_CONCURRENCY", "-1", false);
        check("RESTIC_PROGRESS_FPS", "foo", true);
        check("RESTIC_FEATURES", "s3-restore,device-id-for-hardlinks=false", true);
        check("RESTIC_FEATURES", "foo", false);
        check("RESTIC_FEATURES", "s3-restore=x", false);
    }

    /// Every variable that the table of restic's flags names is heard, and the flag goes before it.
    #[test]
    fn every_variable_of_restic_is_heard() {
        const TABLE: &str = include_str!("../../tests/suite/parity/flags.txt");
        let debug = |settings: Settings| {
            let Settings {
                repository, storage, cache, compression, pack_mib, host, read_concurrency, ..
            } = settings;
            let Access { location, location_file, password, key_hint, .. } = repository;
            let password = (password.file, password.command);
            format!(
                "{location:?} {location_file:?} {password:?} {key_hint:?} {:?} {cache:?} {compression:?} {pack_mib} \
                 {host:?} {read_concurrency:?}",
                storage.network
            )
        };
        let mut seen = 0;
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let (command, flag, variable) = (cells[0], cells[1], cells[5]);
            if variable == "-" || flag.ends_with('2') || flag.starts_with("from-") {
                continue; // the other repository is looked at below
            }
            let value = match flag {
                "compression" => "max",
                "pack-size" | "read-concurrency" => "7",
                _ => "/some/thing",
            };
            let heard = debug(settings("", &[(variable, value)]).unwrap());
            assert_ne!(heard, debug(settings("", &[]).unwrap()), "{variable} of {command} --{flag}");
            if command == "global" {
                let typed = format!("--{flag} {value}");
                assert_eq!(debug(settings(&typed, &[]).unwrap()), heard, "{typed}");
                let other = if value == "/some/thing" { "/else/where" } else { "8" };
                let other = if flag == "compression" { "off" } else { other };
                assert_eq!(
                    debug(settings(&typed, &[(variable, other)]).unwrap()),
                    heard,
                    "{typed} goes first"
                );
            }
            seen += 1;
        }
        assert!(seen > 20, "only {seen} variables");
        for (prefix, suffix) in [("RESTIC_FROM_", ""), ("RESTIC_", "2")] {
            let name = |name: &str| format!("{prefix}{name}{suffix}");
            let variables =
                ["REPOSITORY", "PASSWORD_FILE", "PASSWORD_COMMAND", "PASSWORD", "KEY_HINT"].map(name);
            let environment: Environment =
                variables.iter().map(|name| (name.clone(), OsString::from(name))).collect();
            let Access { location, password, key_hint, .. } =
                Access::other(&FromRepository::default(), &environment).unwrap().0;
            let heard = [
                location,
                password.file,
                password.command,
                password.value.map(|value| value.to_string()),
                key_hint,
            ];
            assert_eq!(heard.map(Option::unwrap), variables);
        }
    }

    #[test]
    fn a_second_repository_has_credentials_of_its_own_where_they_are_given() {
        let variables = [("AWS_REGION", "here"), ("AWS_ID", "main"), ("RESTIC_FROM_AWS_ID", "other")];
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        let environment: Environment = variables.collect();
        let check = |side: Side, name: &str, expected: &str| {
            assert_eq!(variables_of(&environment, side).get(name), Some(&expected.into()), "{side:?} {name}");
        };
        check(Side::Main, "AWS_ID", "main");
        check(Side::From, "AWS_ID", "other");
        check(Side::From, "RESTIC_AWS_ID", "other");
        check(Side::From, "AWS_REGION", "here");
    }

    #[test]
    fn options_of_the_second_repository_begin_with_from() {
        let typed = ["s3.region=a,s3.connections=3".to_owned(), "from.s3.region=b".to_owned()];
        assert_eq!(options_of(&typed, Side::Main), ["s3.region=a", "s3.connections=3"]);
        assert_eq!(options_of(&typed, Side::From), ["s3.region=b", "s3.connections=3"]);
    }

    #[test]
    fn fixed_features_are_warned_about() {
        let warnings = settings("", &[("RESTIC_FEATURES", "deprecate-legacy-index=false")]).unwrap().warnings;
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn quiet_and_verbose_exclude_each_other() {
        assert!(settings("-q -v", &[]).is_err());
        assert_eq!(settings("-v -v -v", &[]).unwrap().level, Level::Detailed);
    }

    #[test]
    fn pack_sizes_are_checked_in_mib() {
        let check = |mib: &str, good: bool| {
            let settings = settings("", &[("RESTIC_PACK_SIZE", mib)]).unwrap();
            assert_eq!(settings.pack_size().is_ok(), good, "{mib}");
        };
        check("3", false);
        check("4", true);
        check("128", true);
        check("129", false);
        check("99999999999999999", false);
    }
}
