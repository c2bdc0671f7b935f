//! A repository in a folder on another machine, reached through ssh.
//!
//! In: whole files. Out: whole files or exact ranges. A client of SFTP version 3 over the system's ssh, so that
//! keys, agents, jump hosts and whatever else ssh is set up for just work. Blocking, on plain threads: many
//! requests are on their way at once, and nobody waits for a runtime. A file is acknowledged when it is complete
//! and synced under its name; temporary names are never listed. Nothing is tried again here.
//! `docs/decisions/0006-sftp-client-of-our-own.md` says why this is not opendal's `sftp` service.

mod wire; // bytes ⇄ packets
mod cause; // what can go wrong, and what it means for a caller
mod command; // location + options → the words of a command
mod link; // two pipes and who holds their other ends
mod terminal; // lent to ssh while it may ask for a password
mod process; // ssh, started and seen to its end
mod connection; // many requests at once over one link
mod pool; // a few connections, opened when they are worth it
mod limits; // how fast bytes may go
mod put; // a file goes out
mod get; // a file comes in
mod list; // folders → names and sizes
#[cfg(test)]
mod fake; // a server for tests, good or bad

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use repo_core::Context;
use repo_core::backend::{Backend, BackendError, ErrorKind, Listed, Operation, Properties, Throttle, layout};
use repo_core::context::Event;
use repo_core::id::{FileId, FileKind};
use repo_core::time::Timestamp;

use crate::location::{Location, Sftp};
use crate::modes::Modes;
use crate::open::OpenError;
use crate::options::Options;
use cause::{At, Fault, Loss, Remark, What};
use command::Words;
use connection::{Calls, Surroundings};
use get::{Part, get};
use limits::Pace;
use list::{Folder, Listing};
use pool::{Lease, Pool};
use put::{File, Put, put};
use wire::{Reply, Request, Space, Status, Type, WireError};

/// What counts as a large read where the size is not known beforehand.
const PACK_BYTES: u64 = 16 << 20;
/// A file that is replaced while it is read is read again; only the config ever is.
const TRIES_WHILE_REPLACED: usize = 3;

/// A repository in a folder behind ssh.
#[derive(Debug)]
pub(crate) struct SftpBackend {
    pool: Pool,
    context: Context,
    location: String,
    root: String,
    connections: usize,
    upload: Option<Throttle>,
    download: Option<Throttle>,
    /// Known as soon as a config was seen.
    modes: OnceLock<Modes>,
    /// Temporary names that a lost connection may have left.
    left: Mutex<Vec<String>>,
}

impl SftpBackend {
    /// The repository at a location. Nothing is started yet.
    pub(crate) fn new(context: &Context, location: &Sftp, options: &Options) -> Result<Self, OpenError> {
        let settings = options.sftp()?;
        let words = Words::new(location, &settings)
            .map_err(|error| OpenError::Service { service: "sftp".to_owned(), source: error.into() })?;
        let (variables, observer) = (options.variables.clone(), Arc::clone(&context.observer));
        let dial = move |asking| {
            process::start(&words, &variables, asking).map_err(|error| Loss::start(&words.program, error))
        };
        let told = move |ended: cause::Ended| {
            for line in ended.lines() {
                observer.event(&Event::Warning { error: &Remark(line) });
            }
        };
        Ok(Self::over(
            context,
            location,
            options,
            settings.common.connections,
            Box::new(dial),
            Box::new(told),
        ))
    }

    fn over(
        context: &Context,
        location: &Sftp,
        options: &Options,
        connections: usize,
        dial: pool::Dial,
        told: pool::Told,
    ) -> Self {
        let clock = Arc::clone(&context.clock);
        let surroundings = Surroundings { clock, patience: options.network.stall_timeout };
        Self {
            pool: Pool::new(dial, told, surroundings, connections),
            context: context.clone(),
            location: Location::Sftp(location.clone()).to_string(),
            root: location.path.clone(),
            connections,
            upload: options.network.upload_max.clone(),
            download: options.network.download_max.clone(),
            modes: OnceLock::new(),
            left: Mutex::default(),
        }
    }

    // ── where things lie ───────────────────────────────────────────────────────────────────────────────────

    fn below_root(&self, path: &str) -> String {
        if self.root == "/" { format!("/{path}") } else { format!("{}/{path}", self.root) }
    }

    fn path(&self, file: FileId) -> String {
        self.below_root(&layout::path(file))
    }

    /// As restic names them.
    fn temporary(&self, path: &str) -> String {
        let mut random = [0; 16];
        self.context.random.fill(&mut random);
        let mut name = format!("{path}-restic-temp-");
        for byte in random {
            let _ = write!(name, "{byte:02x}"); // a String takes everything
        }
        name
    }

    /// Locks keep to no limit: they are small, and others rely on them in time.
    fn pace(&self, file: FileId) -> Pace<'_> {
        let limited = file.kind != FileKind::Lock;
        Pace {
            context: &self.context,
            upload: self.upload.as_ref().filter(|_| limited),
            download: self.download.as_ref().filter(|_| limited),
        }
    }

    // ── what is there ──────────────────────────────────────────────────────────────────────────────────────

    fn stat(lease: &Lease, path: &str) -> Result<wire::Attributes, Fault> {
        let mut calls = Calls::new(lease);
        match calls.ask(&Request::Stat { path })? {
            Reply::Attributes(attributes) => Ok(attributes),
            _ => Err(calls.odd(WireError::OtherKind)),
        }
    }

    /// The size of a regular file. Remembers the rights of the config.
    fn size_of(&self, lease: &Lease, file: FileId) -> Result<u64, Fault> {
        let attributes = Self::stat(lease, &self.path(file))?;
        if file == FileId::CONFIG
            && let Some(mode) = attributes.mode
        {
            let _ = self.modes.set(Modes::beside_config_of_mode(mode));
        }
        match (attributes.kind(), attributes.size) {
            (Some(Type::File) | None, Some(size)) => Ok(size),
            (Some(Type::File) | None, None) => Err(Fault::Odd(WireError::NoAttributes)),
            _ => Err(Fault::NotAFile),
        }
    }

    /// Files and folders get the group's rights if the config has them, as restic does it.
    fn modes(&self, lease: &Lease) -> Modes {
        if self.modes.get().is_none() {
            // Without a config there is nothing to take after yet.
            let _ = self.size_of(lease, FileId::CONFIG);
        }
        *self.modes.get().unwrap_or(&Modes::PRIVATE)
    }

    /// Whether a file is there with exactly this content.
    fn holds(&self, lease: &Lease, file: FileId, content: &[u8]) -> bool {
        let mut there = Vec::new();
        let part = Part::UpTo(content.len() as u64);
        get(lease, &self.pace(file), &self.path(file), &part, &mut there).is_ok() && there == content
    }

    // ── folders ────────────────────────────────────────────────────────────────────────────────────────────

    /// Makes folders whose parents exist, all at once. What is there is kept.
    fn make_folders(lease: &Lease, paths: &[String], modes: Modes) -> Result<(), Fault> {
        let mut calls = Calls::new(lease);
        let make = |path| Request::MakeFolder { path, mode: modes.folder };
        let made = calls.ask_all(paths.iter().map(|path| make(path)))?;
        let mut refused = Vec::new();
        for (path, reply) in paths.iter().zip(made) {
            match reply {
                Reply::Status(status) if status.code == Status::OK && modes == Modes::PRIVATE => {}
                Reply::Status(status) if status.code == Status::OK => {
                    // Undo the server's umask; where that is not wanted it stays.
                    calls.mention(&Request::SetMode { path, mode: modes.folder });
                }
                Reply::Status(status) => refused.push((path, status)),
                _ => return Err(calls.odd(WireError::OtherKind)),
            }
        }
        // Mostly because it is there already, which servers do not say.
        let there = calls.ask_all(refused.iter().map(|(path, _)| Request::Stat { path }))?;
        for ((_, status), reply) in refused.into_iter().zip(there) {
            match reply {
                Reply::Attributes(there) if there.kind() == Some(Type::Folder) => {}
                Reply::Attributes(_) => return Err(Fault::NotAFolder),
                _ => return Err(Fault::Refused(status)),
            }
        }
        Ok(())
    }

    /// Makes a folder and all that is missing above it.
    fn make_with_parents(lease: &Lease, path: &str, modes: Modes) -> Result<(), Fault> {
        let paths = [path.to_owned()];
        match Self::make_folders(lease, &paths, modes) {
            Err(fault) if fault.is_not_found() => match path.rsplit_once('/') {
                Some((parent, _)) if !parent.is_empty() => {
                    Self::make_with_parents(lease, parent, modes)?;
                    Self::make_folders(lease, &paths, modes)
                }
                _ => Err(fault),
            },
            made => made,
        }
    }

    /// Makes the folder of a file in a repository that exists.
    ///
    /// Without a config there is none, unless this is the first key or the config itself: more likely a disk of
    /// the server is not mounted, and writing on would fill the folder that it is mounted on.
    fn make_folder_of(&self, lease: &Lease, file: FileId) -> Result<(), Fault> {
        let begins = matches!(file.kind, FileKind::Config | FileKind::Key);
        if !begins {
            self.size_of(lease, FileId::CONFIG)?;
        }
        let folder = self.below_root(file.kind.folder());
        let modes = self.modes(lease);
        match file.kind {
            FileKind::Config => Self::stat(lease, &self.root).map(drop),
            FileKind::Pack => {
                Self::make_folders(lease, std::slice::from_ref(&folder), modes)?;
                Self::make_folders(lease, &[format!("{folder}/{}", layout::shard(&file.id))], modes)
            }
            _ => Self::make_folders(lease, &[folder], modes),
        }
    }

    fn make_all_folders(&self, lease: &Lease) -> Result<(), Fault> {
        let modes = self.modes(lease);
        Self::make_with_parents(lease, &self.root, modes)?;
        let folders: Vec<_> = layout::FOLDERS.iter().map(|kind| self.below_root(kind.folder())).collect();
        Self::make_folders(lease, &folders, modes)?;
        let packs = self.below_root(FileKind::Pack.folder());
        let shards: Vec<_> = layout::shards().map(|shard| format!("{packs}/{shard}")).collect();
        Self::make_folders(lease, &shards, modes)
    }

    // ── files ──────────────────────────────────────────────────────────────────────────────────────────────

    fn store(&self, lease: &Lease, file: FileId, content: &[u8]) -> Result<(), Fault> {
        let (path, mode) = (self.path(file), self.modes(lease).file);
        let temporary = self.temporary(&path);
        let wanted = File { temporary: &temporary, path: &path, content, mode };
        let result = match put(lease, &self.pace(file), wanted) {
            Ok(Put::Stored) => Ok(()),
            Ok(Put::NotRenamed(fault)) => self.rename(lease, file, wanted, fault),
            Err(fault) => Err(fault),
        };
        if let Err(Fault::Lost(_) | Fault::Odd(_)) = result {
            self.left().push(temporary);
        }
        result
    }

    /// The server does not rename over a file, or not one that is open.
    fn rename(&self, lease: &Lease, file: FileId, wanted: File<'_>, fault: Fault) -> Result<(), Fault> {
        let (from, to) = (wanted.temporary, wanted.path);
        let mut calls = Calls::new(lease);
        if file.kind != FileKind::Config && self.holds(lease, file, wanted.content) {
            calls.mention(&Request::Remove { path: from });
            return Ok(());
        }
        let again = if lease.server.offered.replace {
            calls.ask(&Request::Replace { from, to })
        } else {
            // There is no way to replace a file at once here, and `Properties` says so.
            calls.ask_all([Request::Remove { path: to }])?;
            calls.ask(&Request::Rename { from, to })
        };
        match again {
            Ok(_) => Ok(()),
            Err(lost @ Fault::Lost(_)) => Err(lost),
            Err(_) => {
                calls.mention(&Request::Remove { path: from });
                Err(fault)
            }
        }
    }

    /// What the server refuses without a reason often has the one that there is no space left.
    fn explained(&self, lease: &Lease, fault: Fault, len: u64) -> Fault {
        if !fault.is_unexplained() || !lease.server.offered.space {
            return fault;
        }
        let mut calls = Calls::new(lease);
        let Ok(Reply::Extended(space)) = calls.ask(&Request::Space { path: &self.root }) else {
            return fault;
        };
        match Space::parse(&space) {
            Ok(Space { read_only: true, .. }) => Fault::ReadOnly,
            Ok(Space { available, no_files, .. }) if available < len || no_files => {
                Fault::NoSpace { available }
            }
            _ => fault,
        }
    }

    /// Removes what a lost connection may have left.
    fn tidy_up(&self, lease: &Lease) {
        let left = std::mem::take(&mut *self.left());
        let calls = Calls::new(lease);
        for path in &left {
            calls.mention(&Request::Remove { path });
        }
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ── what is told ───────────────────────────────────────────────────────────────────────────────────────

    fn lease(&self, operation: Operation, file: FileId, bytes: u64) -> Result<Lease, BackendError> {
        let no_connection = |loss: Arc<Loss>| BackendError::file(loss.kind(), operation, file).because(loss);
        self.connect(bytes).map_err(no_connection)
    }

    fn connect(&self, bytes: u64) -> Result<Lease, Arc<Loss>> {
        self.pool.lease(bytes).inspect_err(|loss| {
            if loss.what == What::Interrupted {
                // While ssh had the terminal, Ctrl-C came to it alone; it was meant for the whole run.
                self.context.cancel.cancel();
            }
        })
    }

    fn failed(&self, lease: &Lease, operation: Operation, file: FileId, source: Fault) -> BackendError {
        let kind = source.kind();
        if kind == ErrorKind::NotFound
            && Self::stat(lease, &self.root).is_err_and(|fault| fault.is_not_found())
        {
            return BackendError::repository(kind, operation).because(At { path: self.root.clone(), source });
        }
        BackendError::file(kind, operation, file).because(At { path: self.path(file), source })
    }

    fn folder_failed(&self, kind: FileKind, source: Fault) -> BackendError {
        let path = self.below_root(kind.folder());
        BackendError::folder(source.kind(), Operation::List, kind).because(At { path, source })
    }
}

impl Backend for SftpBackend {
    fn properties(&self) -> Properties {
        Properties {
            location: self.location.clone(),
            connections: self.connections,
            atomic_replace: self.pool.known().is_some_and(|server| server.offered.replace),
        }
    }

    fn create(&self) -> Result<(), BackendError> {
        let failed = |kind| BackendError::repository(kind, Operation::Create);
        let lease = self.connect(0).map_err(|loss| failed(loss.kind()).because(loss))?;
        self.make_all_folders(&lease).map_err(|fault| {
            let source = self.explained(&lease, fault, 1);
            failed(source.kind()).because(At { path: self.root.clone(), source })
        })
    }

    fn write(&self, file: FileId, content: &[u8]) -> Result<(), BackendError> {
        let lease = self.lease(Operation::Write, file, content.len() as u64)?;
        self.tidy_up(&lease);
        let stored = self.store(&lease, file, content).or_else(|fault| {
            if !fault.is_not_found() {
                return Err(fault);
            }
            self.make_folder_of(&lease, file)?;
            self.store(&lease, file, content)
        });
        let Err(fault) = stored else { return Ok(()) };
        let fault = self.explained(&lease, fault, content.len() as u64);
        // The file may be there already and protected against any change.
        if fault.kind() == ErrorKind::Denied
            && file.kind != FileKind::Config
            && self.holds(&lease, file, content)
        {
            return Ok(());
        }
        if fault.has_code(Status::FAILURE) {
            // No reason, and space is there (again): the next try may find out.
            let cause = At { path: self.path(file), source: fault };
            return Err(BackendError::file(ErrorKind::Transient, Operation::Write, file).because(cause));
        }
        Err(self.failed(&lease, Operation::Write, file, fault))
    }

    fn read(&self, file: FileId, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        buffer.clear();
        let lease = self.lease(Operation::Read, file, range.end.saturating_sub(range.start))?;
        get(&lease, &self.pace(file), &self.path(file), &Part::Range(range), buffer).map_err(|fault| {
            buffer.clear();
            self.failed(&lease, Operation::Read, file, fault)
        })
    }

    fn read_all(&self, file: FileId, limit: u64, buffer: &mut Vec<u8>) -> Result<(), BackendError> {
        let bytes = if file.kind == FileKind::Pack { limit.min(PACK_BYTES) } else { 0 };
        let lease = self.lease(Operation::Read, file, bytes)?;
        let mut tries = 0..TRIES_WHILE_REPLACED;
        loop {
            tries.next();
            buffer.clear();
            match get(&lease, &self.pace(file), &self.path(file), &Part::UpTo(limit), buffer) {
                Err(Fault::Replaced) if !tries.is_empty() => {}
                Ok(()) => return Ok(()),
                Err(fault) => {
                    buffer.clear();
                    return Err(self.failed(&lease, Operation::Read, file, fault));
                }
            }
        }
    }

    fn size(&self, file: FileId) -> Result<u64, BackendError> {
        let lease = self.lease(Operation::Size, file, 0)?;
        self.size_of(&lease, file).map_err(|fault| self.failed(&lease, Operation::Size, file, fault))
    }

    fn written_at(&self, file: FileId) -> Result<Option<Timestamp>, BackendError> {
        let lease = self.lease(Operation::Size, file, 0)?;
        let attributes = Self::stat(&lease, &self.path(file));
        let attributes = attributes.map_err(|fault| self.failed(&lease, Operation::Size, file, fault))?;
        Ok(attributes.modified.map(|seconds| Timestamp { seconds: seconds.into(), nanos: 0 }))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, BackendError> {
        let no_connection =
            |loss: Arc<Loss>| BackendError::folder(loss.kind(), Operation::List, kind).because(loss);
        let lease = self.connect(0).map_err(no_connection)?;
        let folder = self.below_root(kind.folder());
        let listed = match kind {
            FileKind::Config => self.size_of(&lease, FileId::CONFIG).map_or_else(
                |fault| match fault {
                    Fault::NotAFile => Ok(Listing::default()),
                    fault if fault.is_not_found() => Ok(Listing { files: Vec::new(), missing: 1 }),
                    fault => Err(fault),
                },
                |size| Ok(Listing { files: vec![Listed { id: FileId::CONFIG.id, size }], missing: 0 }),
            ),
            FileKind::Pack => {
                let below = |shard| Folder { path: format!("{folder}/{shard}"), shard: Some(shard) };
                list::list(&lease, &layout::shards().map(below).collect::<Vec<_>>())
            }
            _ => list::list(&lease, &[Folder { path: folder, shard: None }]),
        };
        let listed = listed.map_err(|fault| self.folder_failed(kind, fault))?;
        if listed.files.is_empty() && listed.missing > 0 {
            // A folder that is missing in a repository is empty; a repository that is missing is an error.
            Self::stat(&lease, &self.root).map_err(|fault| self.folder_failed(kind, fault))?;
        }
        Ok(listed.files)
    }

    fn remove(&self, file: FileId) -> Result<(), BackendError> {
        let lease = self.lease(Operation::Remove, file, 0)?;
        let path = self.path(file);
        match Calls::new(&lease).ask(&Request::Remove { path: &path }) {
            Ok(_) => Ok(()),
            Err(fault) if fault.is_not_found() => Ok(()),
            Err(fault) => match Self::stat(&lease, &path) {
                Err(gone) if gone.is_not_found() => Ok(()),
                _ => Err(self.failed(&lease, Operation::Remove, file, fault)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
