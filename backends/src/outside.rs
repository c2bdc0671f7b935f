//! What libraries that look for keys may see of the world: variables, files, programs, and a transport.
//!
//! In: the variables of the options. Out: a context for signers and providers of keys. The process's own
//! environment is not among it, and no variable is ever shown.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use opendal::HttpTransporter;
use reqsign_core::{CommandExecute, CommandOutput, Context, Env, Error, FileRead};

use crate::network::Variables;

/// A program that hands out keys may ask somebody, but not for ever.
const PROGRAM_TIMEOUT: Duration = Duration::from_mins(2);

/// Everything a provider of keys may use.
pub(crate) fn context(variables: &Variables, transport: HttpTransporter) -> Context {
    Context::new()
        .with_file_read(Files)
        .with_command_execute(Programs(variables.clone()))
        .with_http_send(transport)
        .with_env(Environment::new(variables))
}

/// Variables as the library asks for them: an empty one counts as unset.
struct Environment(HashMap<String, String>);

impl Environment {
    fn new(variables: &Variables) -> Self {
        let set = variables.iter().filter_map(|(name, _)| Some((name, variables.get(name)?)));
        Self(set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Env for Environment {
    fn var(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }

    fn vars(&self) -> HashMap<String, String> {
        self.0.clone()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.0.get("HOME").or_else(|| self.0.get("USERPROFILE")).map(PathBuf::from)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Small files, read at once.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let file = PathBuf::from(path);
        let read = tokio::task::spawn_blocking(move || std::fs::read(file)).await;
        match read {
            Ok(Ok(content)) => Ok(content),
            Ok(Err(cause)) => Err(Error::config_invalid(format!("cannot read {path}")).with_source(cause)),
            Err(cause) => Err(Error::unexpected(format!("cannot read {path}")).with_source(cause)),
        }
    }
}

/// Programs that hand out keys (`credential_process`), given the variables on top of what they inherit.
#[derive(Debug)]
struct Programs(Variables);

impl CommandExecute for Programs {
    async fn command_execute<'a>(
        &'a self,
        program: &'a str,
        args: &'a [&'a str],
    ) -> reqsign_core::Result<CommandOutput> {
        let failed = || Error::unexpected(format!("cannot run {program}, which should hand out keys"));
        let child = tokio::process::Command::new(program)
            .args(args)
            .envs(self.0.iter())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| failed().with_source(cause))?;
        let output = tokio::time::timeout(PROGRAM_TIMEOUT, child.wait_with_output())
            .await
            .map_err(|cause| failed().with_source(cause))?
            .map_err(|cause| failed().with_source(cause))?;
        let status = output.status.code().unwrap_or(-1);
        Ok(CommandOutput { status, stdout: output.stdout, stderr: output.stderr })
    }
}
