//! A server for tests, in a thread: files in memory, and whatever misbehaviour a test plans.
//!
//! It speaks through the same two pipes as ssh does. Each request may be answered otherwise than it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use super::cause::Ended;
use super::link::{Link, Process};

/// What happens to a request.
pub(super) enum Act {
    /// It is answered as it should be.
    Properly,
    /// These bytes are sent instead.
    Say(Vec<u8>),
    /// It is carried out, and what it is answered with is changed.
    Change(fn(Vec<u8>) -> Vec<u8>),
    /// It is never answered.
    Nothing,
    /// The connection ends.
    HangUp,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) kind: u8,
    pub(super) id: u32,
    /// The name of an extension.
    pub(super) extension: String,
    body: Vec<u8>,
}

type Plan = Box<dyn FnMut(&Asked) -> Act + Send>;

/// What all connections to the server see.
pub(super) struct Server {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) folders: BTreeSet<String>,
    pub(super) extensions: Vec<(&'static str, &'static str)>,
    /// Bytes that fit on its disk.
    pub(super) disk: usize,
    /// What is sent before anything else.
    pub(super) greeting: &'static [u8],
    /// What the process says if it ends before the conversation begins.
    pub(super) refusal: &'static str,
    pub(super) connections: usize,
    pub(super) plan: Plan,
    open: BTreeMap<Vec<u8>, Open>,
    handles: u32,
}

/// What a handle stands for: a file, or what is still to be told of a folder.
struct Open {
    path: String,
    entries: Vec<String>,
}

pub(super) type Shared = Arc<Mutex<Server>>;

/// A refusal that is not the server's but the user's.
pub(super) const INTERRUPTED: &str = "^C";

pub(super) fn server() -> Shared {
    Arc::new(Mutex::new(Server {
        files: BTreeMap::new(),
        folders: BTreeSet::from(["repo".to_owned(), String::new()]),
        extensions: vec![
            ("posix-rename@openssh.com", "1"),
            ("fsync@openssh.com", "1"),
            ("limits@openssh.com", "1"),
            ("statvfs@openssh.com", "2"),
        ],
        disk: usize::MAX,
        greeting: b"",
        refusal: "",
        connections: 0,
        plan: Box::new(|_| Act::Properly),
        open: BTreeMap::new(),
        handles: 0,
    }))
}

/// A new connection to it.
pub(super) fn dial(server: &Shared) -> Link {
    let (output, from_client) = UnixStream::pair().unwrap();
    let (input, to_client) = UnixStream::pair().unwrap();
    let ends = [from_client.try_clone().unwrap(), to_client.try_clone().unwrap()];
    server.lock().unwrap().connections += 1;
    let refusal = server.lock().unwrap().refusal;
    let process = Box::new(Thread { ends, said: refusal.into() });
    let server = Arc::clone(server);
    thread::spawn(move || {
        serve(&server, from_client.try_clone().unwrap(), to_client.try_clone().unwrap());
        let _ = from_client.shutdown(std::net::Shutdown::Both);
        let _ = to_client.shutdown(std::net::Shutdown::Both);
    });
    Link { input: Box::new(input), output: Box::new(output), process }
}

#[derive(Debug)]
struct Thread {
    ends: [UnixStream; 2],
    said: Vec<u8>,
}

impl Process for Thread {
    fn begun(&self) -> Ended {
        Ended::default()
    }

    fn kill(&self) {
        for end in &self.ends {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }

    fn reap(&self) -> Ended {
        self.kill();
        Ended { code: Some(255), interrupted: self.said == INTERRUPTED.as_bytes(), said: self.said.clone() }
    }
}

fn serve(server: &Shared, mut input: UnixStream, mut output: UnixStream) {
    let greeting = server.lock().unwrap().greeting;
    if !server.lock().unwrap().refusal.is_empty() || output.write_all(greeting).is_err() {
        return;
    }
    while let Some(asked) = next(&mut input) {
        let mut server = server.lock().unwrap();
        let act = (server.plan)(&asked);
        let reply = match act {
            Act::Properly => server.answer(&asked),
            Act::Change(change) => change(server.answer(&asked)),
            Act::Say(bytes) => bytes,
            Act::Nothing => continue,
            Act::HangUp => return,
        };
        drop(server);
        if output.write_all(&reply).is_err() {
            return;
        }
    }
}

fn next(input: &mut UnixStream) -> Option<Asked> {
    let mut len = [0; 4];
    input.read_exact(&mut len).ok()?;
    let mut packet = vec![0; u32::from_be_bytes(len) as usize];
    input.read_exact(&mut packet).ok()?;
    let mut rest = &packet[1..];
    let id = number(&mut rest);
    let extension = if packet[0] == 200 { text(&mut rest) } else { String::new() };
    Some(Asked { kind: packet[0], id, extension, body: rest.to_vec() })
}

impl Server {
    fn answer(&mut self, asked: &Asked) -> Vec<u8> {
        let (id, mut rest) = (asked.id, &asked.body[..]);
        let reply = match (asked.kind, asked.extension.as_str()) {
            (1, _) => {
                let mut body = Vec::new();
                for (name, value) in &self.extensions {
                    body.extend([string(name.as_bytes()), string(value.as_bytes())].concat());
                }
                return packet(2, &[3_u32.to_be_bytes().to_vec(), body].concat());
            }
            (3, _) => {
                let (path, flags) = (text(&mut rest), number(&mut rest));
                let makes = flags & 8 != 0;
                match self.files.contains_key(&path) {
                    true if makes => Err(4),
                    false if !makes || !self.folders.contains(parent(&path)) => Err(2),
                    _ => {
                        self.files.entry(path.clone()).or_default();
                        Ok(self.handle(path))
                    }
                }
            }
            (4, _) => self.open.remove(text(&mut rest).as_bytes()).map_or(Err(4), |_| Err(0)),
            (5, _) => {
                let file = self.opened(&mut rest);
                let offset = place(&mut rest).min(file.len());
                let end = file.len().min(offset + number(&mut rest) as usize);
                if offset == end { Err(1) } else { Ok((103, string(&file[offset..end]))) }
            }
            (6, _) => {
                let path = self.open[text(&mut rest).as_bytes()].path.clone();
                let (offset, content) = (place(&mut rest), bytes(&mut rest));
                let used: usize = self.files.values().map(Vec::len).sum();
                let Some(file) = self.files.get_mut(&path) else { return status(id, 4) };
                if used + (offset + content.len()).saturating_sub(file.len()) > self.disk {
                    return status(id, 4);
                }
                file.resize(file.len().max(offset + content.len()), 0);
                file[offset..offset + content.len()].copy_from_slice(content);
                Err(0)
            }
            (8, _) => Ok((105, attributes(self.opened(&mut rest).len(), 0o100_600))),
            (9 | 10, _) | (200, "fsync@openssh.com") => Err(0),
            (11, _) => {
                let path = text(&mut rest);
                if self.folders.contains(&path) { Ok(self.handle(path)) } else { Err(2) }
            }
            (12, _) => self.entries(&text(&mut rest)),
            (13, _) => self.files.remove(&text(&mut rest)).map_or(Err(2), |_| Err(0)),
            (14, _) => {
                let path = text(&mut rest);
                let has_parent = self.folders.contains(parent(&path));
                if has_parent && self.folders.insert(path) {
                    Err(0)
                } else {
                    Err(if has_parent { 4 } else { 2 })
                }
            }
            (17, _) => {
                let path = text(&mut rest);
                match self.files.get(&path) {
                    Some(file) => Ok((105, attributes(file.len(), 0o100_600))),
                    None if self.folders.contains(&path) => Ok((105, attributes(0, 0o040_700))),
                    None => Err(2),
                }
            }
            (18, _) | (200, "posix-rename@openssh.com") => {
                let (from, to) = (text(&mut rest), text(&mut rest));
                if asked.kind == 18 && self.files.contains_key(&to) {
                    return status(id, 4);
                }
                for open in self.open.values_mut().filter(|open| open.path == from) {
                    open.path.clone_from(&to);
                }
                self.files.remove(&from).map_or(Err(2), |file| {
                    self.files.insert(to, file);
                    Err(0)
                })
            }
            (200, "limits@openssh.com") => {
                Ok((201, [34_000_u64, 4096, 4096, 100].map(u64::to_be_bytes).concat()))
            }
            (200, "statvfs@openssh.com") => {
                let used: usize = self.files.values().map(Vec::len).sum();
                let free = self.disk.saturating_sub(used) as u64;
                Ok((201, [1, 1, 0, 0, free, 0, 0, 0, 0, 0, 255].map(u64::to_be_bytes).concat()))
            }
            _ => Err(8),
        };
        match reply {
            Ok((kind, body)) => packet(kind, &[id.to_be_bytes().to_vec(), body].concat()),
            Err(code) => status(id, code),
        }
    }

    fn handle(&mut self, path: String) -> (u8, Vec<u8>) {
        self.handles += 1;
        let handle = self.handles.to_string().into_bytes();
        let inside = |other: &&String| parent(other) == path && **other != path;
        let entries = self.files.keys().chain(&self.folders).filter(inside).cloned().collect();
        self.open.insert(handle.clone(), Open { path, entries });
        (102, string(&handle))
    }

    fn opened(&self, rest: &mut &[u8]) -> &[u8] {
        self.files.get(&self.open[text(rest).as_bytes()].path).map(Vec::as_slice).unwrap_or_default()
    }

    /// Three entries at a time.
    fn entries(&mut self, handle: &str) -> Result<(u8, Vec<u8>), u32> {
        let rest = &mut self.open.get_mut(handle.as_bytes()).unwrap().entries;
        let some: Vec<_> = rest.drain(..rest.len().min(3)).collect();
        let mut body = u32::try_from(some.len()).unwrap().to_be_bytes().to_vec();
        for path in &some {
            body.extend(string(path.rsplit('/').next().unwrap().as_bytes()));
            body.extend(string(b"long"));
            body.extend(match self.files.get(path) {
                Some(file) => attributes(file.len(), 0o100_600),
                None => attributes(0, 0o040_700),
            });
        }
        if some.is_empty() { Err(1) } else { Ok((104, body)) }
    }
}

pub(super) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len() + 1).unwrap().to_be_bytes()[..], &[kind], body].concat()
}

pub(super) fn status(id: u32, code: u32) -> Vec<u8> {
    packet(101, &[&id.to_be_bytes()[..], &code.to_be_bytes(), &string(b"as planned"), &string(b"")].concat())
}

pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

pub(super) fn attributes(size: usize, mode: u32) -> Vec<u8> {
    [&5_u32.to_be_bytes()[..], &(size as u64).to_be_bytes(), &mode.to_be_bytes()].concat()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn number(rest: &mut &[u8]) -> u32 {
    let (number, after) = rest.split_first_chunk().unwrap();
    *rest = after;
    u32::from_be_bytes(*number)
}

fn place(rest: &mut &[u8]) -> usize {
    assert_eq!(number(rest), 0, "no test has a file of 4 GiB");
    number(rest) as usize
}

fn bytes<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = number(rest) as usize;
    let (text, after) = rest.split_at(len);
    *rest = after;
    text
}

fn text(rest: &mut &[u8]) -> String {
    String::from_utf8(bytes(rest).to_vec()).unwrap()
}
