//! A bad line between client and server: late, slow, cut, stalled, refused.
//!
//! In: where the server listens, how the line is, and what befalls the connection with which number. Out: an
//! address to connect to instead. Bytes that pass are never changed; [`http_proxy`](crate::http_proxy) does that.
//! Ends with its value, and all its connections with it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A thread that waits for the other side looks so often whether the connection has been ended.
const GLANCE: Duration = Duration::from_millis(100);
/// At most so many pieces are on their way in one direction.
const PIECES_MAX: usize = 512;
/// The longest piece, in bytes.
const PIECE_MAX: usize = 1 << 18;
/// On a long line small writes of a moment travel together, which spares the processor that others measure on.
const MOMENT: Duration = Duration::from_millis(1);
/// A line is long if a moment more or less does not count.
const LONG: Duration = Duration::from_millis(10);

/// How the line is while nothing befalls it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// How long each byte travels, in each direction; a round trip takes twice as long.
    pub one_way: Duration,
    /// How many bytes per second pass in each direction of each connection; `None` for as many as come.
    pub bytes_per_second: Option<u64>,
}

/// Which bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From client to server.
    Up,
    /// From server to client.
    Down,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a reset, as if a machine had been switched off and on.
    Reset,
    /// In order, but too early.
    Close,
    /// Not at all: nothing passes any more, in either direction.
    Stall,
}

/// What befalls a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is reset before a byte has passed.
    Refuse,
    /// It ends after that many bytes of one direction.
    Cut {
        /// Whose bytes are counted.
        direction: Direction,
        /// How many still pass.
        after: u64,
        /// How it ends then.
        end: End,
    },
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    line: Line,
    stopped: AtomicBool,
    accepted: AtomicU64,
    trouble: Mutex<Box<dyn FnMut(u64) -> Option<Trouble> + Send>>,
    connections: Mutex<Vec<std::sync::Weak<Connection>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("target", &self.target)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// Both ends of a connection. The sockets close when the last thread lets go of them.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    dead: AtomicBool,
    stalled: AtomicBool,
}

impl Proxy {
    /// A line on which nothing happens.
    pub fn quiet(target: SocketAddr, line: Line) -> Self {
        Self::start(target, line, |_| None)
    }

    /// A line to `target`; `trouble` says what befalls each connection, of which the first has the number 0.
    pub fn start(
        target: SocketAddr,
        line: Line,
        trouble: impl FnMut(u64) -> Option<Trouble> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            target,
            line,
            stopped: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            trouble: Mutex::new(Box::new(trouble)),
            connections: Mutex::default(),
        });
        let theirs = shared.clone();
        thread::spawn(move || theirs.accept(&listener));
        Self { address, shared }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Ends all connections of this moment with a reset.
    pub fn reset_all(&self) {
        let connections =
            std::mem::take(&mut *self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in connections.iter().filter_map(std::sync::Weak::upgrade) {
            connection.end(End::Reset);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the next connection.
        let _ = TcpStream::connect(self.address);
        self.reset_all();
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            let trouble = (self.trouble.lock().unwrap_or_else(PoisonError::into_inner))(number);
            let server = match trouble {
                Some(Trouble::Refuse) => None,
                _ => TcpStream::connect(self.target).ok(),
            };
            // No server behind the line looks like a refusal too.
            let Some(server) = server else {
                reset_on_close(&client);
                continue;
            };
            // A connection that is gone already shows with its first byte.
            let _ = self.run(client, server, trouble);
        }
    }

    /// Starts four threads: for each direction one that reads and one that writes when the time has come.
    fn run(&self, client: TcpStream, server: TcpStream, trouble: Option<Trouble>) -> io::Result<()> {
        for socket in [&client, &server] {
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(GLANCE))?;
            socket.set_write_timeout(Some(GLANCE))?;
        }
        let connection = Arc::new(Connection {
            client,
            server,
            dead: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
        });
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|one| one.strong_count() > 0);
        connections.push(Arc::downgrade(&connection));
        for direction in [Direction::Up, Direction::Down] {
            let cut = match trouble {
                Some(Trouble::Cut { direction: counted, after, end }) if counted == direction => {
                    Some((after, end))
                }
                _ => None,
            };
            let (sender, receiver) = sync_channel(PIECES_MAX);
            let (reader, writer, line) = (connection.clone(), connection.clone(), self.line);
            thread::spawn(move || reader.read(direction, line, cut, &sender));
            thread::spawn(move || writer.write(direction, &receiver));
        }
        Ok(())
    }
}

/// What travels: bytes and when they arrive, or the end.
enum Piece {
    Bytes(Instant, Vec<u8>),
    End(Instant, End),
}

impl Connection {
    fn read(
        &self,
        direction: Direction,
        line: Line,
        mut cut: Option<(u64, End)>,
        sender: &SyncSender<Piece>,
    ) {
        let mut from = match direction {
            Direction::Up => &self.client,
            Direction::Down => &self.server,
        };
        let mut buffer = vec![0; PIECE_MAX];
        let mut free_at = Instant::now();
        let mut is_sparse = false;
        loop {
            if is_sparse && line.one_way >= LONG {
                thread::sleep(MOMENT);
            }
            let count = match from.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if passing(&error) && !self.dead.load(Ordering::SeqCst) => continue,
                Err(_) => return self.end(End::Reset),
            };
            is_sparse = count < PIECE_MAX / 2;
            if self.dead.load(Ordering::SeqCst) {
                // This end was made by us; the other side is to see a reset and no orderly end before it.
                return;
            }
            // The line is busy with a piece for as long as its bytes take.
            let begins = free_at.max(Instant::now());
            free_at = line.bytes_per_second.map_or(begins, |rate| {
                begins
                    + Duration::from_secs_f64(
                        f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / rate_of(rate),
                    )
            });
            let arrives = free_at + line.one_way;
            let passes =
                cut.as_ref().map_or(count, |(left, _)| count.min(usize::try_from(*left).unwrap_or(count)));
            let mut pieces = vec![Piece::Bytes(arrives, buffer[..passes].to_vec())];
            if count == 0 {
                pieces = vec![Piece::End(arrives, End::Close)];
            }
            let mut over = count == 0;
            if let Some((left, end)) = &mut cut {
                *left -= passes as u64;
                if *left == 0 && count > 0 {
                    pieces.push(Piece::End(arrives, *end));
                    over = true;
                }
            }
            if pieces.into_iter().any(|piece| sender.send(piece).is_err()) || over {
                return;
            }
        }
    }

    fn write(&self, direction: Direction, receiver: &Receiver<Piece>) {
        let mut to = match direction {
            Direction::Up => &self.server,
            Direction::Down => &self.client,
        };
        for piece in receiver {
            let (Piece::Bytes(arrives, _) | Piece::End(arrives, _)) = &piece;
            thread::sleep(arrives.saturating_duration_since(Instant::now()));
            match piece {
                // What one side said to its end still reaches the other, which may go on talking.
                Piece::End(_, End::Close) => drop(to.shutdown(Shutdown::Write)),
                Piece::End(_, end) => return self.end(end),
                Piece::Bytes(_, bytes) => {
                    let mut rest = &bytes[..];
                    while !rest.is_empty() && !self.stalled.load(Ordering::SeqCst) {
                        match to.write(rest) {
                            Ok(count) => rest = &rest[count..],
                            Err(error) if passing(&error) && !self.dead.load(Ordering::SeqCst) => {}
                            Err(_) => return self.end(End::Reset),
                        }
                    }
                }
            }
        }
    }

    /// Ends both sides; a stall keeps them open and silent.
    fn end(&self, end: End) {
        match end {
            End::Stall => {
                self.stalled.store(true, Ordering::SeqCst);
                // Until the client gives up, or the proxy ends: then reading fails.
                let mut byte = [0; 4096];
                while !self.dead.load(Ordering::SeqCst) {
                    match (&self.client).read(&mut byte) {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(error) if passing(&error) => {}
                        Err(_) => break,
                    }
                }
                self.end(End::Reset);
            }
            End::Close => {
                for socket in [&self.client, &self.server] {
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
            End::Reset => {
                self.dead.store(true, Ordering::SeqCst);
                for socket in [&self.client, &self.server] {
                    reset_on_close(socket);
                    // Sends nothing, but ends whoever reads.
                    let _ = socket.shutdown(Shutdown::Read);
                }
            }
        }
    }
}

/// When the socket is closed, the other side gets a reset.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    // If it is gone already, there is nobody to reset.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[allow(clippy::cast_precision_loss, reason = "a rate need not be exact")]
fn rate_of(bytes_per_second: u64) -> f64 {
    bytes_per_second as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, to its end.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                thread::spawn(move || io::copy(&mut client.try_clone().unwrap(), &mut client));
            }
        });
        address
    }

    /// Sends a megabyte through and says how much came back, and whether either half met a reset.
    fn through(proxy: &Proxy) -> (usize, bool) {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        let mut sending = stream.try_clone().unwrap();
        let sender = thread::spawn(move || {
            let sent = sending.write_all(&vec![7; 1 << 20]);
            let _ = sending.shutdown(Shutdown::Write);
            sent
        });
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut back = Vec::new();
        let received = (&stream).read_to_end(&mut back);
        drop(stream);
        // Whoever touches the socket first gets to know.
        let mut ends = [received.err(), sender.join().unwrap().err()].into_iter().flatten();
        (back.len(), ends.any(|error| error.kind() == ErrorKind::ConnectionReset))
    }

    #[test]
    fn a_quiet_line_passes_everything_late() {
        let line = Line { one_way: Duration::from_millis(20), bytes_per_second: Some(10 << 20) };
        let proxy = Proxy::quiet(echo(), line);
        let begun = Instant::now();
        assert_eq!(through(&proxy), (1 << 20, false));
        // A tenth of a second for the bytes, 40 ms for the way.
        assert!(begun.elapsed() >= Duration::from_millis(130), "{:?}", begun.elapsed());
    }

    #[test]
    fn trouble_befalls_the_connection_it_is_meant_for() {
        let cut = |direction, end| Some(Trouble::Cut { direction, after: 1000, end });
        let troubles = [
            Some(Trouble::Refuse),
            cut(Direction::Up, End::Reset),
            cut(Direction::Down, End::Reset),
            cut(Direction::Down, End::Close),
            None,
        ];
        let proxy =
            Proxy::start(echo(), Line::default(), move |number| troubles[usize::try_from(number).unwrap()]);
        assert_eq!(through(&proxy), (0, true));
        for _ in 0..2 {
            let (count, reset) = through(&proxy);
            assert!(count <= 1000 && reset, "{count}");
        }
        let (count, _) = through(&proxy);
        assert_eq!(count, 1000);
        assert_eq!(through(&proxy), (1 << 20, false));
        assert_eq!(proxy.accepted(), 5);
    }

    #[test]
    fn a_stalled_line_is_silent_until_the_client_goes() {
        let stall = Trouble::Cut { direction: Direction::Down, after: 1000, end: End::Stall };
        let proxy = Proxy::start(echo(), Line::default(), move |_| Some(stall));
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(&[7; 5000]).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut back = [0; 1000];
        stream.read_exact(&mut back).unwrap();
        let error = stream.read(&mut back).unwrap_err();
        assert!(passing(&error), "{error}");
        proxy.reset_all();
        let end = stream.read(&mut back);
        assert!(matches!(&end, Err(error) if error.kind() == ErrorKind::ConnectionReset), "{end:?}");
    }
}
