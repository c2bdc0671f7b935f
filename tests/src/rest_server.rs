//! A strict REST server in this process: restic's protocol as rest-server speaks it, and the manners of others.
//!
//! In: how it behaves, and what trouble it makes when. Out: files in a folder, in the layout of a local repository,
//! so that anybody can look at them. It refuses to overwrite, checks that packs hash to their names, and knows when
//! it is full. One thread per connection; all end with the process.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use repo_core::backend::layout;
use repo_core::id::{FileId, FileKind};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// How a server behaves where servers differ. The default is rest-server.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Whether listings have sizes (version 2 of the protocol).
    pub lists_sizes: bool,
    /// Whether only locks may be removed.
    pub append_only: bool,
    /// Who may come in.
    pub login: Option<(&'static str, &'static str)>,
    /// What uploading a file that exists does.
    pub existing: Existing,
    /// What asking for a range does.
    pub ranges: Ranges,
    /// Whether reading a missing file is a fault of the server; asking for its size never is.
    pub missing_is_fault: bool,
    /// How many bytes fit.
    pub room: u64,
}

/// What a server does when a file is uploaded that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Says 403, as rest-server.
    Forbidden,
    /// Takes the new bytes, as rclone.
    Overwritten,
    /// Says 500, as rustic-server.
    Fault,
    /// Says 200 and keeps the old bytes, as none should.
    Kept,
}

/// What a server does when a range is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges {
    /// Gives it, or 416 if it begins past the end.
    Exact,
    /// Gives the whole file, as a proxy may.
    Ignored,
    /// Says 206 whatever was asked, with nothing past the end.
    NeverRefused,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            lists_sizes: true,
            append_only: false,
            login: None,
            existing: Existing::Forbidden,
            ranges: Ranges::Exact,
            missing_is_fault: false,
            room: u64::MAX,
        }
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing is done, this status is the answer, perhaps with the seconds to wait.
    Refused(u16, Option<u32>),
    /// The connection ends in the middle of the answer's body.
    Truncated,
    /// The answer has fewer bytes than were asked for, and says so.
    Shorter,
    /// All is done, and the answer never comes; the connection stays open.
    Stalled,
    /// The connection is reset in the middle of the request's body.
    Reset,
    /// All is done, and the connection ends before the answer.
    AnswerLost,
}

/// A running server.
#[derive(Debug)]
pub struct RestServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    manners: Manners,
    folder: TempDir,
    /// Method, part of the path, what goes wrong.
    troubles: Mutex<Vec<(&'static str, String, Trouble)>>,
    requests: Mutex<Vec<String>>,
    used: AtomicU64,
}

impl RestServer {
    /// Starts it on a free port of the loopback address.
    pub fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            manners,
            folder: tempfile::tempdir().expect("a temporary folder"),
            troubles: Mutex::default(),
            requests: Mutex::default(),
            used: AtomicU64::new(0),
        });
        let server = Self { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                // A client that goes away is no fault of ours.
                thread::spawn(move || serve(&shared, &stream).ok());
            }
        });
        server
    }

    /// A repository on it, as a location; the login is not in it.
    pub fn location(&self, name: &str) -> String {
        format!("rest:http://{}/{name}/", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the files of a repository lie.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.shared.folder.path().join(name)
    }

    /// Makes trouble with the next request of this method whose path holds this text.
    pub fn make_trouble(&self, method: &'static str, path: impl Into<String>, trouble: Trouble) {
        self.shared.troubles.lock().expect("no panic").push((method, path.into(), trouble));
    }

    /// Whether all trouble has been made.
    pub fn is_out_of_trouble(&self) -> bool {
        self.shared.troubles.lock().expect("no panic").is_empty()
    }

    /// The requests since the last call, as `METHOD /path`.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.requests.lock().expect("no panic"))
    }
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn read(stream: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
        let mut headers = Vec::new();
        loop {
            line.clear();
            // What breaks off before the empty line is no request; a half of an address is another one.
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        Ok(Some(Self { method, path, query, headers }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn len(&self) -> usize {
        self.header("content-length").map_or(0, |len| len.parse().expect("a length is a number"))
    }

    fn body(&self, stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
        if self.header("transfer-encoding") != Some("chunked") {
            let mut body = vec![0; self.len()];
            stream.read_exact(&mut body)?;
            return Ok(body);
        }
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let len = usize::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
            let mut chunk = vec![0; len + 2];
            stream.read_exact(&mut chunk)?;
            if len == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..len]);
        }
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, headers: String::new(), body: Vec::new() }
    }

    fn with(status: u16, headers: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: headers.into(), body: body.into() }
    }
}

/// Serves one connection to its end.
fn serve(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (BufReader::new(stream), stream);
    loop {
        let request = match Request::read(&mut input) {
            Ok(Some(request)) => request,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return output.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            }
            ended => return ended.map(drop),
        };
        shared.requests.lock().expect("no panic").push(format!("{} {}", request.method, request.path));
        let trouble = shared.trouble(&request);
        if trouble == Some(Trouble::Reset) {
            // What stays unread makes of closing a reset.
            return input.read_exact(&mut vec![0; request.len() / 2]);
        }
        let body = request.body(&mut input)?;
        let answer = match trouble {
            Some(Trouble::Refused(status, after)) => {
                let after = after.map_or(String::new(), |seconds| format!("Retry-After: {seconds}\r\n"));
                Answer::with(status, after, "trouble")
            }
            _ => shared.answer(&request, &body),
        };
        match trouble {
            Some(Trouble::Stalled) => return input.read_to_end(&mut Vec::new()).map(drop),
            Some(Trouble::AnswerLost) => return Ok(()),
            _ => {}
        }
        let mut body = answer.body;
        if trouble == Some(Trouble::Shorter) {
            body.pop();
        }
        let Answer { status, mut headers, .. } = answer;
        if !headers.contains("Content-Length") {
            let _ = write!(headers, "Content-Length: {}\r\n", body.len());
        }
        output.write_all(format!("HTTP/1.1 {status} X\r\n{headers}\r\n").as_bytes())?;
        if trouble == Some(Trouble::Truncated) {
            return output.write_all(&body[..body.len() / 2]);
        }
        if request.method != "HEAD" {
            output.write_all(&body)?;
        }
    }
}

impl Shared {
    fn trouble(&self, request: &Request) -> Option<Trouble> {
        let mut troubles = self.troubles.lock().expect("no panic");
        let wanted = |(method, path, _): &(&str, String, Trouble)| {
            *method == request.method && request.path.contains(path)
        };
        let at = troubles.iter().position(wanted)?;
        Some(troubles.remove(at).2)
    }

    fn answer(&self, request: &Request, body: &[u8]) -> Answer {
        if let Some((user, password)) = self.manners.login {
            let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            if request.header("authorization") != Some(&expected) {
                return Answer::with(401, "Content-Type: text/plain\r\n", "Unauthorized");
            }
        }
        let Some((name, rest)) = request.path.trim_start_matches('/').split_once('/') else {
            return Answer::status(404);
        };
        let root = self.folder.path().join(name);
        match (request.method.as_str(), rest) {
            ("POST", "") if request.query == "create=true" => {
                for kind in layout::FOLDERS {
                    fs::create_dir_all(root.join(kind.folder())).expect("a folder can be made");
                }
                Answer::status(200)
            }
            ("GET", folder) if folder.ends_with('/') => self.list(&root, folder.trim_end_matches('/')),
            (method, rest) => {
                let Some(file) = file(rest) else { return Answer::status(404) };
                let path = root.join(layout::path(file));
                match method {
                    "HEAD" | "GET" => self.read(request, &path),
                    "POST" => self.write(file, &path, body),
                    "DELETE" => self.remove(file, &path),
                    _ => Answer::status(405),
                }
            }
        }
    }

    fn list(&self, root: &std::path::Path, folder: &str) -> Answer {
        let Some(kind) = layout::FOLDERS.into_iter().find(|kind| kind.folder() == folder) else {
            return Answer::status(404);
        };
        let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries(root.join(folder)).collect();
        if files.is_empty() && !root.join(folder).is_dir() {
            return Answer::status(404);
        }
        if kind == FileKind::Pack {
            // Of a file in the wrong subfolder a client would only learn that it is not there.
            let in_place = |shard: &fs::DirEntry, file: &fs::DirEntry| {
                file.file_name().as_encoded_bytes().starts_with(shard.file_name().as_encoded_bytes())
            };
            let inside =
                |shard: fs::DirEntry| entries(shard.path()).filter(move |file| in_place(&shard, file));
            files = files.into_iter().flat_map(inside).collect();
        }
        let entry = |file: &fs::DirEntry| {
            let name = file.file_name().into_string().ok()?;
            let size = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
            let sized = format!("{{\"name\":\"{name}\",\"size\":{size}}}");
            Some(if self.manners.lists_sizes { sized } else { format!("\"{name}\"") })
        };
        let listing: Vec<_> = files.iter().filter_map(entry).collect();
        let version = if self.manners.lists_sizes { "v2" } else { "v1" };
        let headers = format!("Content-Type: application/vnd.x.restic.rest.{version}\r\n");
        Answer::with(200, headers, format!("[{}]", listing.join(",")))
    }

    fn read(&self, request: &Request, path: &std::path::Path) -> Answer {
        let Ok(content) = fs::read(path) else {
            let is_fault = self.manners.missing_is_fault && request.method == "GET";
            return Answer::status(if is_fault { 500 } else { 404 });
        };
        let len = content.len();
        let range = request.header("range").filter(|_| self.manners.ranges != Ranges::Ignored);
        let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) else {
            return Answer::with(200, format!("Content-Length: {len}\r\n"), content);
        };
        let (first, last) = range.split_once('-').expect("a range has two ends");
        let first: usize = first.parse().expect("a range has a first byte");
        let end = last.parse().map_or(len, |last: usize| len.min(last.saturating_add(1)));
        if first >= len && self.manners.ranges == Ranges::Exact {
            return Answer::with(416, format!("Content-Range: bytes */{len}\r\n"), "");
        }
        let part = content.get(first..end).unwrap_or_default();
        let last = end.cast_signed() - 1;
        Answer::with(206, format!("Content-Range: bytes {first}-{last}/{len}\r\n"), part)
    }

    fn write(&self, file: FileId, path: &std::path::Path, body: &[u8]) -> Answer {
        if path.exists() {
            match self.manners.existing {
                Existing::Overwritten if !self.manners.append_only => {}
                Existing::Overwritten | Existing::Forbidden => return Answer::status(403),
                Existing::Fault => return Answer::status(500),
                Existing::Kept => return Answer::status(200),
            }
        }
        if file.kind != FileKind::Config && Sha256::digest(body)[..] != file.id.as_bytes()[..] {
            return Answer::status(400);
        }
        let used = self.used.fetch_add(body.len() as u64, Ordering::Relaxed);
        if used + body.len() as u64 > self.manners.room {
            self.used.fetch_sub(body.len() as u64, Ordering::Relaxed);
            return Answer::status(507);
        }
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("a folder can be made");
        let temporary = tempfile::NamedTempFile::new_in(folder).expect("a temporary file");
        fs::write(temporary.path(), body).expect("a file can be written");
        temporary.persist(path).expect("a file can be renamed");
        Answer::status(200)
    }

    fn remove(&self, file: FileId, path: &std::path::Path) -> Answer {
        if self.manners.append_only && file.kind != FileKind::Lock {
            return Answer::status(403);
        }
        let len = fs::metadata(path).map_or(0, |metadata| metadata.len());
        // It may have come here in another way than through us.
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(len)));
        // One that is not there is removed already.
        let _ = fs::remove_file(path);
        Answer::status(200)
    }
}

/// The file at an address: packs have no subfolders there.
fn file(path: &str) -> Option<FileId> {
    let file = match path.split_once('/') {
        Some(("data", name)) => layout::parse(&format!("data/{}/{name}", name.get(..2)?)),
        _ => layout::parse(path),
    };
    // rest-server knows restic's own folders and no others.
    file.filter(|file| FileKind::ALL.contains(&file.kind))
}
