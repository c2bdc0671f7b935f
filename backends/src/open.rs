//! Turns a location and options into a backend.
//!
//! Nothing is read or written yet: whether a repository is there shows with the first call.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opendal::Operator;
use repo_core::Context;
use repo_core::backend::{Backend, GateBackend, LimitBackend, Properties, RetryBackend, RetryOptions};

use crate::http::{Client, SetupError};
use crate::local::LocalBackend;
use crate::location::{Location, Rest};
use crate::operator::OperatorBackend;
use crate::options::{Options, OptionsError};
use crate::rclone::{Rclone, Words, WordsError};
use crate::rest::{Address, RestBackend};
use crate::runtime::Runtime;
use crate::s3::S3Backend;
use crate::services::{self, Service, ServiceError};
use crate::sftp::SftpBackend;

/// Why a location cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// This kind of storage is known, but not built in.
    #[error("a repository on {kind} is not supported by this version")]
    NotSupported {
        /// The kind of storage, or the service's name.
        kind: String,
    },
    /// The extended options make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The location's text is no address.
    #[error("the location {location} is no address")]
    Address {
        /// Where the repository should lie.
        location: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// rclone cannot be started, or does not serve.
    #[error("cannot reach the repository through rclone")]
    Rclone {
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Connections over HTTP cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The folder's full path cannot be found out.
    #[error("cannot find the folder {location}")]
    Folder {
        /// Where the repository should lie.
        location: String,
        /// The cause.
        source: io::Error,
    },
    /// The threads that talk to the storage cannot be started.
    #[error("cannot start the storage threads")]
    Threads(#[source] io::Error),
    /// The service refuses its settings.
    #[error("cannot set up the service {service}")]
    Service {
        /// The service's name.
        service: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl OpenError {
    /// What to do about it, if that can be said.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NotSupported { .. } => {
                Some("use a folder, which may also be a mounted one (sshfs, rclone mount, NFS, SMB)")
            }
            Self::Address { .. } => Some("Write rest:https://user:password@host:port/path/."),
            Self::Rclone { .. } => Some(
                "Check that rclone is installed (-o rclone.program names another one) and that `rclone lsd REMOTE` works.",
            ),
            Self::Setup(error) => error.advice(),
            _ => None,
        }
    }
}

/// The storage at a location: as many calls at once as are useful, and those that fail in passing are repeated.
///
/// The context is kept: it waits between repeats, is told of them, and stops them. Options of other kinds of
/// storage are not looked at. The same `memory:name` gives the same files for as long as the process lives; a
/// bare `memory:` is empty each time.
pub fn open(
    context: &Context,
    location: &Location,
    options: &Options,
) -> Result<Arc<dyn Backend>, OpenError> {
    options.check(location)?;
    let storage = connect(context, location, options)?;
    Ok(match location {
        // Here what is written is seen at once, nobody is overloaded, and an unknown failure is a lasting one.
        Location::Local(_) | Location::Memory { .. } => {
            let near =
                RetryOptions { unknown_repeats: 0, lag_max: Duration::ZERO, ..RetryOptions::default() };
            Arc::new(RetryBackend::new(storage, context, near))
        }
        _ => {
            let gate = Arc::new(GateBackend::new(storage));
            Arc::new(RetryBackend::new(gate, context, RetryOptions::default()))
        }
    })
}

/// The storage itself, within the limits of bandwidth.
fn connect(context: &Context, location: &Location, options: &Options) -> Result<Arc<dyn Backend>, OpenError> {
    match location {
        Location::Local(path) => match LocalBackend::new(path, &options.local()?) {
            Ok(backend) => Ok(limited(context, Arc::new(backend), options)),
            Err(source) => Err(OpenError::Folder { location: location.to_string(), source }),
        },
        Location::Memory { name } => {
            let backend = through_operator(shared_memory(name)?.into(), location, options)?;
            Ok(limited(context, backend, options))
        }
        Location::Opendal { .. }
        | Location::B2(_)
        | Location::Azure(_)
        | Location::Gs(_)
        | Location::Swift(_) => {
            let service = services::service(context, location, options).map_err(|error| match error {
                ServiceError::Unknown { name } => OpenError::NotSupported { kind: name },
                ServiceError::Options(error) => OpenError::Options(error),
                error => OpenError::Service { service: service_name(location), source: error.into() },
            })?;
            let backend = through_operator(service, location, options)?;
            Ok(if services::paces_itself(location) { backend } else { limited(context, backend, options) })
        }
        Location::Sftp(sftp) => Ok(Arc::new(SftpBackend::new(context, sftp, options)?)),
        Location::S3(s3) => {
            let runtime = Runtime::get().map_err(OpenError::Threads)?;
            S3Backend::new(context, s3, options, runtime)
                .map(|backend| Arc::new(backend) as Arc<dyn Backend>)
                .map_err(|error| OpenError::Service { service: "s3".to_owned(), source: error.into() })
        }
        Location::Rest(rest) => on_rest_server(context, location, rest, options),
        Location::Rclone { remote } => through_rclone(context, location, remote, options),
    }
}

fn on_rest_server(
    context: &Context,
    location: &Location,
    rest: &Rest,
    options: &Options,
) -> Result<Arc<dyn Backend>, OpenError> {
    let location = location.to_string();
    let address = Address::new(rest, &options.variables)
        .map_err(|error| OpenError::Address { location: location.clone(), source: error.into() })?;
    let connections = options.remote("rest")?.connections;
    let client = Client::new(context, options, connections, address.socket.as_deref())?;
    Ok(Arc::new(RestBackend::new(client, address, location, connections)))
}

fn through_rclone(
    context: &Context,
    location: &Location,
    remote: &str,
    options: &Options,
) -> Result<Arc<dyn Backend>, OpenError> {
    let location = location.to_string();
    let failed = |source: Box<dyn Error + Send + Sync>| OpenError::Rclone { source };
    let words = Words::new(remote, options).map_err(|error| match error {
        WordsError::Options(error) => OpenError::Options(error),
        other => failed(other.into()),
    })?;
    let runtime = Runtime::get().map_err(OpenError::Threads)?;
    let connections = words.connections;
    let rclone = Rclone::start(words, &options.variables, context, runtime);
    let rclone = rclone.map_err(|error| failed(error.into()))?;
    let client = Client::over(Arc::new(rclone), runtime, context, options);
    let address = Address::on_pipes()
        .map_err(|error| OpenError::Address { location: location.clone(), source: error.into() })?;
    Ok(Arc::new(RestBackend::new(client, address, location, connections)))
}

/// Holds a storage that does not pace itself to the limits of the run.
fn limited(context: &Context, backend: Arc<dyn Backend>, options: &Options) -> Arc<dyn Backend> {
    let (upload, download) = (options.network.upload_max.clone(), options.network.download_max.clone());
    if upload.is_none() && download.is_none() {
        return backend;
    }
    Arc::new(LimitBackend::new(backend, context, upload, download))
}

fn through_operator(
    service: Service,
    location: &Location,
    options: &Options,
) -> Result<Arc<dyn Backend>, OpenError> {
    let Service { operator, maker } = service;
    let runtime = Runtime::get().map_err(OpenError::Threads)?;
    let properties = Properties {
        location: location.to_string(),
        connections: options.remote(location.kind())?.connections,
        atomic_replace: REPLACES_ATOMICALLY.contains(&operator.info().scheme()),
    };
    Ok(Arc::new(OperatorBackend::new(operator, runtime, properties).with_maker(maker)))
}

/// Services whose writes are whole objects that become visible at once.
const REPLACES_ATOMICALLY: [&str; 6] = ["memory", "s3", "gcs", "azblob", "b2", "swift"];

/// The name of what is to be set up, for messages.
fn service_name(location: &Location) -> String {
    match location {
        Location::Opendal { service, .. } => service.clone(),
        other => other.kind().to_owned(),
    }
}

/// The memory of that name in this process; always a new one without a name.
fn shared_memory(name: &str) -> Result<Operator, OpenError> {
    static NAMED: Mutex<BTreeMap<String, Operator>> = Mutex::new(BTreeMap::new());
    let fresh = || {
        opendal::init_default_registry();
        Operator::via_iter("memory", [])
            .map_err(|error| OpenError::Service { service: "memory".to_owned(), source: error.into() })
    };
    if name.is_empty() {
        return fresh();
    }
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(operator) = named.get(name) {
        return Ok(operator.clone());
    }
    let operator = fresh()?;
    named.insert(name.to_owned(), operator.clone());
    Ok(operator)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use repo_core::backend::Throttle;
    use repo_core::context::{Clock, HandClock};
    use repo_core::id::FileId;

    use super::*;

    fn opened(location: &str) -> Result<Arc<dyn Backend>, OpenError> {
        open(&Context::new(), &location.parse().unwrap(), &Options::parse(["memory.connections=3"]).unwrap())
    }

    #[test]
    fn named_memory_is_shared_and_unnamed_is_not() {
        let first = opened("memory:shared").unwrap();
        first.write(FileId::CONFIG, b"here").unwrap();
        assert_eq!(opened("memory:shared").unwrap().size(FileId::CONFIG).unwrap(), 4);
        for other in ["memory:other", "memory:", "opendal:memory?root=/x"] {
            assert!(opened(other).unwrap().size(FileId::CONFIG).unwrap_err().is_not_found(), "{other}");
        }
        let expected =
            Properties { location: "memory:shared".to_owned(), connections: 3, atomic_replace: true };
        assert_eq!(first.properties(), expected);
    }

    #[test]
    fn limits_are_shared_by_all_storages_of_a_run() {
        let clock = Arc::new(HandClock::new());
        let context = Context { clock: clock.clone(), ..Context::new() };
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.network.upload_max = NonZeroU64::new(1000).map(Throttle::new);
        let local = open(&context, &Location::Local(folder.path().join("repo")), &options).unwrap();
        let memory = open(&context, &"memory:".parse().unwrap(), &options.clone()).unwrap();
        for storage in [local, memory] {
            storage.create().unwrap();
            storage.write(FileId::CONFIG, &[0; 5000]).unwrap();
        }
        assert_eq!(clock.elapsed(), Duration::from_secs(10));
    }

    #[test]
    fn what_is_not_built_in_says_so_in_two_parts() {
        let error = opened("opendal:dropbox?access_token=secret").unwrap_err();
        assert_eq!(error.to_string(), "a repository on dropbox is not supported by this version");
        assert!(error.advice().is_some());
        assert!(!format!("{error:?}").contains("secret"));
    }

    #[test]
    fn options_of_the_kind_in_use_are_checked() {
        let options = Options::parse(["local.connections=0"]).unwrap();
        assert!(matches!(
            open(&Context::new(), &"/x".parse().unwrap(), &options),
            Err(OpenError::Options(_))
        ));
        assert!(open(&Context::new(), &"memory:".parse().unwrap(), &options).is_ok());
    }
}
