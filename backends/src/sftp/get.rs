//! Reads a file or a range of it: two round trips, and then as fast as the line is.
//!
//! First open the file and ask for its size, then ask for all pieces, a window of them at a time, and for the
//! size of what was opened. A piece that comes short is asked for again from where it ended. Closing is not
//! waited for. The bytes are right and complete, or it is an error.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::cause::Fault;
use super::connection::Calls;
use super::limits::Pace;
use super::pool::Lease;
use super::wire::{READ, Reply, Request, Status, Type, WireError};

/// How many bytes are asked for ahead: twice what OpenSSH lets be on the way, so that it never runs dry, and
/// not more, so that a small request behind them is answered soon.
const WINDOW: u64 = 4 << 20;

/// What to read.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// Exactly these bytes.
    Range(Range<u64>),
    /// Everything, if it is not more than so many bytes.
    UpTo(u64),
}

/// Reads into an empty buffer. What is in it after an error is meaningless.
pub(super) fn get(
    lease: &Lease,
    pace: &Pace<'_>,
    path: &str,
    part: &Part,
    buffer: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut calls = Calls::new(lease);
    let (handle, size) = open(&mut calls, path)?;
    let range = match part.clone() {
        Part::Range(range) if range.end > size => Err(Fault::TooShort { size }),
        Part::Range(range) => Ok(range),
        Part::UpTo(limit) if size > limit => Err(Fault::TooLong { size }),
        Part::UpTo(_) => Ok(0..size),
    };
    let read = range.and_then(|range| {
        let mut reading = Reading { lease, calls, handle: &handle, file_size: None };
        let fetched = reading.fetch(pace, range, buffer);
        match (part, reading.file_size) {
            // It was replaced between the question and the opening: this would be a part of the new one.
            (Part::UpTo(_), Some(now)) if now != size => Err(Fault::Replaced),
            _ => fetched,
        }
    });
    Calls::new(lease).mention(&Request::Close { handle: &handle });
    read
}

/// Opens a file and asks for its size, at once.
fn open(calls: &mut Calls<'_>, path: &str) -> Result<(Vec<u8>, u64), Fault> {
    let stat = calls.send(&Request::Stat { path })?;
    calls.send(&Request::Open { path, flags: READ, mode: None })?;
    let (mut handle, mut size) = (None, None);
    while calls.owed() > 0 {
        match calls.next()? {
            (id, Reply::Attributes(attributes)) if id == stat => {
                size = Some(match attributes.kind() {
                    Some(Type::File) | None => attributes.size.ok_or(Fault::Odd(WireError::NoAttributes)),
                    Some(_) => Err(Fault::NotAFile),
                });
            }
            (id, Reply::Handle(opened)) if id != stat => handle = Some(Ok(opened)),
            (id, Reply::Status(status)) if status.code != Status::OK => {
                let refused = Fault::Refused(status);
                if id == stat { size = Some(Err(refused)) } else { handle = Some(Err(refused)) }
            }
            _ => return Err(calls.odd(WireError::OtherKind)),
        }
    }
    match (handle, size) {
        (Some(Ok(handle)), Some(Ok(size))) => Ok((handle, size)),
        (Some(Ok(handle)), Some(Err(fault))) => {
            calls.mention(&Request::Close { handle: &handle });
            Err(fault)
        }
        (Some(Err(_)), Some(Err(fault @ Fault::NotAFile))) | (Some(Err(fault)), _) => Err(fault),
        _ => Err(calls.odd(WireError::OtherKind)),
    }
}

/// A file that is being read.
struct Reading<'a> {
    lease: &'a Lease,
    calls: Calls<'a>,
    handle: &'a [u8],
    file_size: Option<u64>,
}

impl Reading<'_> {
    /// Appends a range to the buffer.
    fn fetch(&mut self, pace: &Pace<'_>, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), Fault> {
        let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
        let len = len.ok_or(Fault::Range)?;
        buffer.try_reserve_exact(len).map_err(|_| Fault::Range)?;
        let piece_max = u64::from(pace.piece(self.lease.server.limits.read));
        let stat = self.calls.send(&Request::FileStat { handle: self.handle })?;
        let mut asked: HashMap<u32, Range<u64>> = HashMap::new();
        let mut early: BTreeMap<u64, Vec<u8>> = BTreeMap::new(); // what came before its turn
        let mut on_the_way = 0;
        let mut next = range.start;
        let mut done = range.start;
        while done < range.end || self.calls.owed() > 0 {
            // What came early waits in memory, so it counts too.
            while next < range.end && (on_the_way == 0 || next - done < WINDOW) {
                let piece = next..range.end.min(next + piece_max);
                pace.pay_to_receive(piece.end - piece.start)?;
                on_the_way += 1;
                asked.insert(self.ask(&piece)?, piece.clone());
                next = piece.end;
            }
            let (id, reply) = self.calls.next()?;
            if id == stat {
                self.file_size = Some(self.size_of_opened(reply)?);
                continue;
            }
            let Some(piece) = asked.remove(&id) else { return Err(self.calls.odd(WireError::OtherKind)) };
            on_the_way -= 1;
            let bytes = self.bytes(reply, &piece)?;
            let got = piece.start + bytes.len() as u64;
            if got < piece.end {
                let rest = got..piece.end;
                on_the_way += 1;
                asked.insert(self.ask(&rest)?, rest);
            }
            early.insert(piece.start, bytes);
            while let Some(first) = early.first_entry().filter(|first| *first.key() == done) {
                let bytes = first.remove();
                buffer.extend_from_slice(&bytes);
                done += bytes.len() as u64;
            }
        }
        Ok(())
    }

    fn ask(&mut self, piece: &Range<u64>) -> Result<u32, Fault> {
        let len = u32::try_from(piece.end - piece.start).map_err(|_| Fault::Range)?;
        Ok(self.calls.send(&Request::Read { handle: self.handle, offset: piece.start, len })?)
    }

    fn bytes(&self, reply: Reply, piece: &Range<u64>) -> Result<Vec<u8>, Fault> {
        match reply {
            Reply::Data(bytes) if bytes.is_empty() || bytes.len() as u64 > piece.end - piece.start => {
                Err(self.calls.odd(WireError::WrongLength))
            }
            Reply::Data(bytes) => Ok(bytes),
            Reply::Status(status) if status.code == Status::EOF => {
                Err(Fault::TooShort { size: self.file_size.unwrap_or(piece.start).min(piece.start) })
            }
            Reply::Status(status) if status.code != Status::OK => Err(Fault::Refused(status)),
            _ => Err(self.calls.odd(WireError::OtherKind)),
        }
    }

    fn size_of_opened(&self, reply: Reply) -> Result<u64, Fault> {
        match reply {
            Reply::Attributes(attributes) => attributes.size.ok_or(Fault::Odd(WireError::NoAttributes)),
            Reply::Status(status) if status.code != Status::OK => Err(Fault::Refused(status)),
            _ => Err(self.calls.odd(WireError::OtherKind)),
        }
    }
}
