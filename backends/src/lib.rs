//! Storage behind the one blocking trait: where a repository lies becomes a [`Backend`](repo_core::backend::Backend).
//!
//! In: a [`Location`] as the user wrote it and extended [`Options`]. Out: a backend that keeps every promise of
//! `repo_core::backend`. This is the only crate that knows async, and no trace of it leaves. Nothing here knows
//! what the stored bytes mean or reads the environment; to try again is the business of the wrappers that
//! [`open`](fn@open) puts around it.
//!
//! ```
//! use backends::{Location, Options};
//! use repo_core::Context;
//!
//! # let folder = tempfile::tempdir()?;
//! let location: Location = "/srv/backup".parse()?; // or sftp:…, s3:…, memory:…
//! # let location = Location::Local(folder.path().join("backup"));
//! let storage = backends::open(&Context::new(), &location, &Options::default())?;
//! storage.create()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # From an async program
//!
//! The engine blocks, so it runs on a thread that may wait. Everything that is needed moves there; what it tells
//! comes back through the observer, and a clone of [`Cancel`](repo_core::Cancel) stops it from outside.
//!
//! ```
//! use std::sync::Arc;
//!
//! use repo_core::context::Stage;
//! use repo_core::{ArchiveOptions, Context, Event, InitOptions, LocalSource, Repository, archive};
//!
//! type Failure = Box<dyn std::error::Error + Send + Sync>;
//!
//! # let folder = tempfile::tempdir()?;
//! # std::fs::write(folder.path().join("letter.txt"), "Dear reader")?;
//! # let targets = vec![folder.path().to_owned()];
//! # let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
//! # runtime.block_on(async {
//! let (told, progress) = std::sync::mpsc::channel();
//! let observer = move |event: &Event<'_>| {
//!     if let Event::Progress { stage: Stage::Archive, bytes, .. } = event {
//!         told.send(*bytes).ok(); // nobody may be listening any more
//!     }
//! };
//! let context = Context::new().with_observer(Arc::new(observer));
//! let stop = context.cancel.clone(); // stop.cancel() ends the backup early, the repository stays valid
//! let backup = tokio::task::spawn_blocking(move || {
//!     let storage = backends::open(&context, &"memory:".parse()?, &backends::Options::default())?;
//!     let repository = Repository::init(&context, storage, &"password".into(), &InitOptions::default())?;
//!     let options = ArchiveOptions::default();
//!     Ok::<_, Failure>(archive(&context, &repository, &LocalSource::new(), &targets, &options)?)
//! });
//! let report = backup.await??;
//! assert_eq!(progress.iter().sum::<u64>(), report.summary.total_bytes_processed);
//! # drop(stop);
//! # Ok::<_, Failure>(())
//! # })?;
//! # Ok::<(), Failure>(())
//! ```

#![forbid(unsafe_code)]

pub mod location; // what the user typed → where a repository lies
mod network; // certificates, limits, variables
pub mod options; // -o name=value
mod runtime; // the one tokio runtime, the one block_on
mod http; // the one HTTP client
mod refusal; // what a server says instead of doing
mod outside; // variables, files and programs, for whoever looks for keys
mod signed; // requests signed, refusals understood
mod rest; // trait Backend for a REST server
mod rclone; // a child that speaks REST on its pipes
mod operator; // trait Backend for an opendal operator
mod modes; // the rights of what is made
mod local; // trait Backend for a folder
mod sftp; // trait Backend for a folder behind ssh
mod s3; // trait Backend for a bucket
mod services; // operators for other clouds, and for any service by its name
mod open; // location + options → backend

pub use http::{Cause, HttpError, SetupError, Status};
pub use local::LocalBackend;
pub use location::{Location, LocationError};
pub use network::{Network, Variables};
pub use open::{OpenError, open};
pub use options::{LocalOptions, Options, OptionsError, RemoteOptions, SftpOptions};
