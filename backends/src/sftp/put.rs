//! Writes a file that is whole and durable, or not there: three round trips, and in between as fast as the line is.
//!
//! Open a temporary name that must not exist; write all pieces, make it read-only, sync it and compare its size;
//! then rename it at once over what has its name, sync it again (on the usual file systems that makes the new
//! name durable, which SFTP has no call for) and close it. Any answer other than "ok" before the name is there
//! leaves nothing but a temporary name, which is removed. Content is sent from where it lies.

use super::cause::Fault;
use super::connection::Calls;
use super::limits::Pace;
use super::pool::Lease;
use super::wire::{CREATE_NEW, Reply, Request, Status, WireError};

/// So many pieces may be unanswered.
const OUTSTANDING: usize = 64;

/// What to store, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) temporary: &'a str,
    pub(super) path: &'a str,
    pub(super) content: &'a [u8],
    pub(super) mode: u32,
}

/// How far it came.
#[derive(Debug)]
pub(super) enum Put {
    Stored,
    /// All is there and durable under the temporary name, but the server does not replace a file at once.
    NotRenamed(Fault),
}

/// Stores a file. After an error there is at most a temporary name, if the server could not be told to remove it.
pub(super) fn put(lease: &Lease, pace: &Pace<'_>, file: File<'_>) -> Result<Put, Fault> {
    let mut calls = Calls::new(lease);
    let open = Request::Open { path: file.temporary, flags: CREATE_NEW, mode: Some(0o600) };
    let Reply::Handle(handle) = calls.ask(&open)? else {
        return Err(calls.odd(WireError::OtherKind));
    };
    let mut writing = Writing { lease, calls, handle: &handle, first_fault: None };
    if let Err(fault) = writing.fill(pace, &file) {
        let calls = Calls::new(lease);
        calls.mention(&Request::Close { handle: &handle });
        calls.mention(&Request::Remove { path: file.temporary });
        return Err(fault);
    }
    writing.rename(&file)
}

/// A file that is being written under its temporary name.
struct Writing<'a> {
    lease: &'a Lease,
    calls: Calls<'a>,
    handle: &'a [u8],
    first_fault: Option<Fault>,
}

/// What a server that knows no such call, or does not want it, may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    Succeed,
    BeKnown,
    BeTried,
}

impl Writing<'_> {
    /// Writes and syncs everything, and looks at how much is there.
    fn fill(&mut self, pace: &Pace<'_>, file: &File<'_>) -> Result<(), Fault> {
        let handle = self.handle;
        let piece_max = pace.piece(self.lease.server.limits.write) as usize;
        let mut offset = 0;
        for content in file.content.chunks(piece_max) {
            pace.pay_to_send(content.len() as u64)?;
            while self.calls.owed() >= OUTSTANDING {
                self.answer(&[])?;
            }
            if self.first_fault.is_some() {
                break;
            }
            self.calls.send(&Request::Write { handle, offset, content })?;
            offset += content.len() as u64;
        }
        let mode = self.calls.send(&Request::SetFileMode { handle, mode: file.mode })?;
        let mut special = vec![(mode, Must::BeTried)];
        if self.lease.server.offered.sync {
            special.push((self.calls.send(&Request::Sync { handle })?, Must::BeKnown));
        }
        let stat = self.calls.send(&Request::FileStat { handle })?;
        let mut size = None;
        while self.calls.owed() > 0 {
            if let Some((id, attributes)) = self.answer(&special)?
                && id == stat
            {
                size = attributes.size;
            }
        }
        let sent = file.content.len() as u64;
        match (self.first_fault.take(), size) {
            (Some(fault), _) => Err(fault),
            (None, Some(size)) if size == sent => Ok(()),
            (None, Some(size)) => Err(Fault::Torn { sent, size }),
            (None, None) => Err(Fault::Odd(WireError::NoAttributes)),
        }
    }

    /// Takes one answer. All are waited for even after one is bad: only then nothing more will be written.
    fn answer(&mut self, special: &[(u32, Must)]) -> Result<Option<(u32, super::wire::Attributes)>, Fault> {
        let (id, reply) = self.calls.next()?;
        let must = special.iter().find(|(other, _)| *other == id).map_or(Must::Succeed, |(_, must)| *must);
        match reply {
            Reply::Attributes(attributes) => return Ok(Some((id, attributes))),
            Reply::Status(status) if status.code == Status::OK || must == Must::BeTried => {}
            Reply::Status(status) if status.code == Status::UNSUPPORTED && must == Must::BeKnown => {}
            Reply::Status(status) => {
                self.first_fault.get_or_insert(Fault::Refused(status));
            }
            _ => return Err(self.calls.odd(WireError::OtherKind)),
        }
        Ok(None)
    }

    /// Gives the file its name.
    fn rename(mut self, file: &File<'_>) -> Result<Put, Fault> {
        let (from, to, handle) = (file.temporary, file.path, self.handle);
        let offered = self.lease.server.offered;
        let rename =
            if offered.replace { Request::Replace { from, to } } else { Request::Rename { from, to } };
        let rename = self.calls.send(&rename)?;
        let sync = if offered.sync { Some(self.calls.send(&Request::Sync { handle })?) } else { None };
        self.calls.send(&Request::Close { handle })?;
        let (mut renamed, mut synced) = (None, Ok(()));
        while self.calls.owed() > 0 {
            let (id, Reply::Status(status)) = self.calls.next()? else {
                return Err(self.calls.odd(WireError::OtherKind));
            };
            let ok = status.code == Status::OK;
            if id == rename {
                renamed = Some(if ok { Ok(()) } else { Err(Fault::Refused(status)) });
            } else if Some(id) == sync && !ok && status.code != Status::UNSUPPORTED {
                synced = Err(Fault::Refused(status));
            }
        }
        match renamed {
            Some(Ok(())) => synced.map(|()| Put::Stored),
            Some(Err(fault)) => Ok(Put::NotRenamed(fault)),
            None => Err(self.calls.odd(WireError::OtherKind)),
        }
    }
}
