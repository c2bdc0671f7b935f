//! Lists folders: names and sizes, everything or an error.
//!
//! Many folders are read at once and each is asked for its next entries before it has given the last ones, so
//! that 256 folders of packs take a few round trips and not a thousand. The server gives sizes beside names;
//! only links are asked for by name. An entry that vanishes in between was removed by somebody.

use std::collections::HashMap;

use repo_core::backend::{Listed, layout};
use repo_core::id::Id;

use super::cause::Fault;
use super::connection::Calls;
use super::pool::Lease;
use super::wire::{Attributes, Entry, Reply, Request, Status, Type, WireError};

/// So many folders are read at once, if the server can have as many open.
const FOLDERS: usize = 64;
/// So many times a large folder is asked for entries in advance.
const AHEAD: usize = 16;

/// A folder to list, and which files belong there.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: String,
    /// The first two digits of every name, where that decides.
    pub(super) shard: Option<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<Listed>,
    /// How many of the folders do not exist.
    pub(super) missing: usize,
}

/// Lists all these folders on one connection.
pub(super) fn list(lease: &Lease, folders: &[Folder]) -> Result<Listing, Fault> {
    let mut lister = Lister {
        calls: Calls::new(lease),
        folders,
        asked: HashMap::new(),
        open: HashMap::new(),
        found: Listing::default(),
    };
    let at_once = FOLDERS.min(lease.server.limits.handles / 2).max(1);
    let mut waiting = 0..folders.len();
    let mut first_fault = None;
    loop {
        while first_fault.is_none()
            && lister.open.len() < at_once
            && let Some(at) = waiting.next()
        {
            lister.begin(at)?;
        }
        if lister.calls.owed() == 0 {
            break;
        }
        // After a fault the answers that are owed are still taken: folders that were opened get closed.
        if let Err(fault) = lister.answer(first_fault.is_some()) {
            if matches!(fault, Fault::Lost(_) | Fault::Odd(_)) {
                return Err(fault);
            }
            first_fault.get_or_insert(fault);
        }
    }
    match first_fault {
        Some(fault) => Err(fault),
        None => Ok(lister.found),
    }
}

struct Lister<'a> {
    calls: Calls<'a>,
    folders: &'a [Folder],
    asked: HashMap<u32, Asked>,
    open: HashMap<usize, Open>,
    found: Listing,
}

/// What an answer is about.
enum Asked {
    /// The handle of a folder.
    Handle(usize),
    /// Entries of a folder.
    Entries(usize),
    /// Where a link leads.
    Link(Id),
}

/// A folder that is being read.
#[derive(Default)]
struct Open {
    handle: Vec<u8>,
    owed: usize,
    ahead: usize,
    is_over: bool,
}

impl Lister<'_> {
    fn begin(&mut self, at: usize) -> Result<(), Fault> {
        let path = &self.folders[at].path;
        let id = self.calls.send(&Request::OpenFolder { path })?;
        self.asked.insert(id, Asked::Handle(at));
        self.open.insert(at, Open { ahead: 2, ..Open::default() });
        Ok(())
    }

    /// Takes one answer; with `only_end` nothing more is asked for.
    fn answer(&mut self, only_end: bool) -> Result<(), Fault> {
        let (id, reply) = self.calls.next()?;
        match (self.asked.remove(&id), reply) {
            (Some(Asked::Handle(at)), Reply::Handle(handle)) => {
                self.go_on(at, only_end, |open| open.handle = handle)
            }
            (Some(Asked::Handle(at)), Reply::Status(status)) if status.code != Status::OK => {
                self.open.remove(&at);
                if status.code != Status::NO_SUCH_FILE {
                    return Err(Fault::Refused(status));
                }
                self.found.missing += 1;
                Ok(())
            }
            (Some(Asked::Entries(at)), Reply::Names(entries)) if !entries.is_empty() => {
                let taken = self.take(at, entries);
                let only_end = only_end || taken.is_err();
                self.go_on(at, only_end, |open| {
                    open.owed -= 1;
                    open.ahead = AHEAD.min(open.ahead * 2);
                })?;
                taken
            }
            (Some(Asked::Entries(at)), Reply::Status(status)) if status.code != Status::OK => {
                self.go_on(at, true, |open| open.owed -= 1)?;
                if status.code == Status::EOF { Ok(()) } else { Err(Fault::Refused(status)) }
            }
            (Some(Asked::Link(id)), Reply::Attributes(attributes)) => self.add(id, attributes),
            (Some(Asked::Link(_)), Reply::Status(status)) if status.code == Status::NO_SUCH_FILE => Ok(()),
            (Some(Asked::Link(_)), Reply::Status(status)) if status.code != Status::OK => {
                Err(Fault::Refused(status))
            }
            _ => Err(self.calls.odd(WireError::OtherKind)),
        }
    }

    /// Asks for more entries of a folder, or closes it once it is read to its end.
    fn go_on(&mut self, at: usize, is_over: bool, change: impl FnOnce(&mut Open)) -> Result<(), Fault> {
        let Some(open) = self.open.get_mut(&at) else { return Ok(()) };
        change(open);
        open.is_over |= is_over;
        while !open.is_over && open.owed < open.ahead {
            let id = self.calls.send(&Request::ReadFolder { handle: &open.handle })?;
            self.asked.insert(id, Asked::Entries(at));
            open.owed += 1;
        }
        if open.is_over && open.owed == 0 {
            self.calls.mention(&Request::Close { handle: &open.handle });
            self.open.remove(&at);
        }
        Ok(())
    }

    /// Adds the regular files among the entries that are named by an id which belongs here.
    fn take(&mut self, at: usize, entries: Vec<Entry>) -> Result<(), Fault> {
        let folder = &self.folders[at];
        for entry in entries {
            if entry.name.contains(&b'/') || entry.name.is_empty() {
                return Err(self.calls.odd(WireError::Name));
            }
            let name = std::str::from_utf8(&entry.name).unwrap_or_default();
            let belongs = |id: &Id| folder.shard.as_ref().is_none_or(|shard| layout::shard(id) == *shard);
            let Some(id) = layout::parse_name(name).filter(belongs) else { continue };
            if entry.attributes.size.is_some()
                && entry.attributes.kind().is_some_and(|kind| kind != Type::Link)
            {
                self.add(id, entry.attributes)?;
            } else {
                let path = format!("{}/{name}", folder.path);
                let asked = self.calls.send(&Request::Stat { path: &path })?;
                self.asked.insert(asked, Asked::Link(id));
            }
        }
        Ok(())
    }

    fn add(&mut self, id: Id, attributes: Attributes) -> Result<(), Fault> {
        match (attributes.kind(), attributes.size) {
            (Some(Type::File), Some(size)) => self.found.files.push(Listed { id, size }),
            (Some(Type::File) | None, _) => return Err(self.calls.odd(WireError::NoAttributes)),
            _ => {}
        }
        Ok(())
    }
}
