//! A server that misbehaves on the level of HTTP: it answers with errors, late, short, twice or not at all.
//!
//! In: where the real server listens, and what befalls which request. Out: an address to connect to instead. Each
//! request and each answer is taken as a whole before it is passed on, so bodies are to be small. HTTP/1.1 only.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::proxy::reset_on_close;

/// A connection on which nothing has happened for so long is given up, so that no test hangs on one.
const PATIENCE: Duration = Duration::from_mins(1);

/// What befalls a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// It is not passed on, but answered with this status, and perhaps `Retry-After` in seconds.
    Answer(u16, Option<u32>),
    /// It is not passed on, but answered with this status and an error of S3 with this code.
    Refuse(u16, &'static str),
    /// It is not passed on, and the connection is reset.
    Reset,
    /// It is passed on, and then the connection is reset instead of an answer.
    LoseAnswer,
    /// It is passed on twice; the second answer counts.
    Twice,
    /// The answer's body ends in the middle, in contradiction to its length.
    Truncate,
    /// The answer's body ends in the middle, and its length agrees with that.
    Shorten,
    /// The answer's head comes, and half of the body, and then nothing any more.
    Stall,
    /// The answer comes this much later.
    Late(Duration),
}

/// A request as the plan sees it.
#[derive(Debug, Clone)]
pub struct Request {
    /// How many came before, over all connections.
    pub number: u64,
    /// `GET`, `PUT` …
    pub method: String,
    /// Path and query.
    pub path: String,
}

/// A running proxy.
#[derive(Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

type Plan = Box<dyn FnMut(&Request) -> Option<Misdeed> + Send>;

struct Shared {
    target: SocketAddr,
    plan: Mutex<Plan>,
    requests: AtomicU64,
    misdeeds: AtomicU64,
    stopped: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("target", &self.target).finish_non_exhaustive()
    }
}

impl HttpProxy {
    /// Stands before `target`; `plan` says what befalls each request.
    pub fn start(target: SocketAddr, plan: impl FnMut(&Request) -> Option<Misdeed> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            target,
            plan: Mutex::new(Box::new(plan)),
            requests: AtomicU64::new(0),
            misdeeds: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), shared) = (client, theirs.clone()) else { continue };
                // Whatever ends a connection early is for the client to notice.
                thread::spawn(move || drop(shared.serve(&client)));
            }
        });
        Self { address, shared }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have come.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many of them something befell.
    pub fn misdeeds(&self) -> u64 {
        self.shared.misdeeds.load(Ordering::SeqCst)
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Answers one connection's requests, one after the other.
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut from_client = BufReader::new(client);
        while let Some(message) = Message::request(&mut from_client, client)? {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            let mut words = message.first.split_whitespace().map(str::to_owned);
            let method = words.next().unwrap_or_default();
            let request = Request { number, method, path: words.next().unwrap_or_default() };
            let misdeed = (self.plan.lock().unwrap_or_else(PoisonError::into_inner))(&request);
            self.misdeeds.fetch_add(u64::from(misdeed.is_some()), Ordering::SeqCst);
            self.answer(client, &message, request.method == "HEAD", misdeed)?;
        }
        Ok(())
    }

    fn answer(
        &self,
        mut client: &TcpStream,
        request: &Message,
        is_head: bool,
        misdeed: Option<Misdeed>,
    ) -> io::Result<()> {
        match misdeed {
            Some(Misdeed::Answer(status, wait)) => {
                let wait = wait.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
                return client.write_all(
                    format!("HTTP/1.1 {status} No\r\n{wait}Content-Length: 0\r\n\r\n").as_bytes(),
                );
            }
            Some(Misdeed::Refuse(status, code)) => {
                let body = format!("<Error><Code>{code}</Code><Message>No.</Message></Error>");
                let length = body.len();
                let body = if is_head { "" } else { &body };
                return client.write_all(
                    format!(
                        "HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n{body}"
                    )
                    .as_bytes(),
                );
            }
            Some(Misdeed::Reset) => {
                reset_on_close(client);
                return Err(ErrorKind::ConnectionReset.into());
            }
            Some(Misdeed::Twice) => drop(self.pass(request, is_head)?),
            _ => {}
        }
        let answer = self.pass(request, is_head)?;
        match misdeed {
            Some(Misdeed::LoseAnswer) => {
                reset_on_close(client);
                Err(ErrorKind::ConnectionReset.into())
            }
            // There is nothing to cut from an answer without a body: it is lost instead.
            Some(Misdeed::Truncate | Misdeed::Stall) if answer.body.is_empty() => {
                Err(ErrorKind::UnexpectedEof.into())
            }
            Some(Misdeed::Truncate) => {
                client.write_all(&answer.bytes(answer.body.len(), answer.body.len() / 2, is_head))?;
                Err(ErrorKind::UnexpectedEof.into())
            }
            Some(Misdeed::Shorten) => {
                let half = answer.body.len() / 2;
                client.write_all(&answer.bytes(half, half, is_head))
            }
            Some(Misdeed::Stall) => {
                client.write_all(&answer.bytes(answer.body.len(), answer.body.len() / 2, is_head))?;
                // Until the client has had enough.
                client.read_exact(&mut [0])?;
                Err(ErrorKind::TimedOut.into())
            }
            late => {
                if let Some(Misdeed::Late(span)) = late {
                    thread::sleep(span);
                }
                client.write_all(&answer.bytes(answer.body.len(), answer.body.len(), is_head))
            }
        }
    }

    /// Passes a request on, over a connection of its own.
    fn pass(&self, request: &Message, is_head: bool) -> io::Result<Message> {
        let mut server = TcpStream::connect(self.target)?;
        server.set_read_timeout(Some(PATIENCE))?;
        server.set_nodelay(true)?;
        server.write_all(&request.bytes(request.body.len(), request.body.len(), false))?;
        Message::answer(&mut BufReader::new(server), is_head)
    }
}

/// A request or an answer.
struct Message {
    /// The first line, without its end.
    first: String,
    /// The other lines of the head, without those about the connection and the body's framing.
    head: Vec<String>,
    /// The length that stands in the head of an answer to `HEAD`.
    told: Option<usize>,
    body: Vec<u8>,
}

impl Message {
    /// The next request; `None` when the client is done.
    fn request(from: &mut impl BufRead, mut client: &TcpStream) -> io::Result<Option<Self>> {
        let Some((mut message, framing)) = Self::read_head(from)? else { return Ok(None) };
        if framing.continues {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        message.body = match framing.length {
            _ if framing.chunked => read_chunks(from)?,
            Some(length) => read_exactly(from, length)?,
            None => Vec::new(),
        };
        Ok(Some(message))
    }

    fn answer(from: &mut impl BufRead, is_head: bool) -> io::Result<Self> {
        loop {
            let (mut message, framing) = Self::read_head(from)?.ok_or(ErrorKind::UnexpectedEof)?;
            let status = message.first.split_whitespace().nth(1).unwrap_or_default().to_owned();
            if status.starts_with('1') {
                continue;
            }
            message.told = framing.length;
            message.body = match framing.length {
                _ if is_head || status == "204" || status == "304" => Vec::new(),
                _ if framing.chunked => read_chunks(from)?,
                Some(length) => read_exactly(from, length)?,
                None => {
                    let mut body = Vec::new();
                    from.read_to_end(&mut body)?;
                    body
                }
            };
            return Ok(message);
        }
    }

    fn read_head(from: &mut impl BufRead) -> io::Result<Option<(Self, Framing)>> {
        let Some(first) = read_line(from)? else { return Ok(None) };
        let mut message = Self { first, head: Vec::new(), told: None, body: Vec::new() };
        let mut framing = Framing::default();
        loop {
            let line = read_line(from)?.ok_or(ErrorKind::UnexpectedEof)?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => framing.length = value.trim().parse().ok(),
                "transfer-encoding" => framing.chunked = true,
                "expect" => framing.continues = true,
                "connection" | "keep-alive" => {}
                _ => message.head.push(line),
            }
        }
        Ok(Some((message, framing)))
    }

    /// As bytes that tell a length of `told` and hold the first `kept` bytes of the body.
    fn bytes(&self, told: usize, kept: usize, is_head: bool) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first);
        for line in &self.head {
            let _ = write!(text, "{line}\r\n");
        }
        // What `HEAD` tells is the length of a body that does not come.
        let told = if is_head { self.told.unwrap_or_default() } else { told };
        let has_body = !self.first.contains(" 204 ") && !self.first.contains(" 304 ");
        if has_body {
            let _ = write!(text, "Content-Length: {told}\r\n");
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body[..kept]);
        bytes
    }
}

/// How a body is delimited.
#[derive(Default)]
struct Framing {
    length: Option<usize>,
    chunked: bool,
    continues: bool,
}

/// A line without its end; `None` at the end of everything.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let count = from.read_line(&mut line)?;
    Ok((count > 0).then(|| line.trim_end().to_owned()))
}

fn read_exactly(from: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(from)?.ok_or(ErrorKind::UnexpectedEof)?;
        let digits = line.split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits, 16).map_err(|_| ErrorKind::InvalidData)?;
        if length == 0 {
            // Trailers, and the empty line after them.
            while read_line(from)?.is_some_and(|line| !line.is_empty()) {}
            return Ok(body);
        }
        body.extend_from_slice(&read_exactly(from, length)?);
        read_line(from)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::plain_http::exchange;

    /// A server that answers every request with ten bytes, and counts.
    fn ten_bytes() -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let count = served.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let request = Message::request(&mut BufReader::new(&client), &client).unwrap();
                count.fetch_add(u64::from(request.is_some()), Ordering::SeqCst);
                let body = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n";
                (&client).write_all(body.as_bytes()).unwrap();
            }
        });
        (address, served)
    }

    #[test]
    fn misdeeds_befall_the_requests_they_are_meant_for() {
        let check = |misdeed: Option<Misdeed>, expected: Result<(u16, usize), ()>, reached: u64| {
            let (target, served) = ten_bytes();
            let proxy = HttpProxy::start(target, move |request| {
                assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/path?query"));
                misdeed
            });
            let answer = exchange(proxy.address(), "POST", "/path?query", Duration::from_millis(300));
            assert_eq!(
                answer.map(|(status, body)| (status, body.len())).map_err(drop),
                expected,
                "{misdeed:?}"
            );
            assert_eq!(served.load(Ordering::SeqCst), reached, "{misdeed:?}");
            assert_eq!((proxy.requests(), proxy.misdeeds()), (1, u64::from(misdeed.is_some())));
        };
        check(None, Ok((200, 10)), 1);
        check(Some(Misdeed::Answer(503, Some(2))), Ok((503, 0)), 0);
        check(Some(Misdeed::Refuse(400, "InvalidRequest")), Ok((400, 64)), 0);
        check(Some(Misdeed::Reset), Err(()), 0);
        check(Some(Misdeed::LoseAnswer), Err(()), 1);
        check(Some(Misdeed::Twice), Ok((200, 10)), 2);
        check(Some(Misdeed::Truncate), Err(()), 1);
        check(Some(Misdeed::Shorten), Ok((200, 5)), 1);
        check(Some(Misdeed::Stall), Err(()), 1);
        check(Some(Misdeed::Late(Duration::from_millis(20))), Ok((200, 10)), 1);
    }
}
