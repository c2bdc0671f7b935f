//! A proxy whose every tunnel ends at one address: so clients reach a server of ours under its famous name.
//!
//! In: where the server listens. Out: the address of a proxy that understands `CONNECT` and nothing else; which host
//! it is asked for does not matter. What goes through a tunnel is never looked at. Ends with its value.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A running proxy.
#[derive(Debug)]
pub struct Tunnel {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Tunnel {
    /// Every tunnel through it ends at `target`.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let stopped = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stopped);
        thread::spawn(move || {
            for client in listener.incoming() {
                if theirs.load(Ordering::SeqCst) {
                    return;
                }
                // A client that is gone already needs no tunnel.
                let Ok(client) = client else { continue };
                thread::spawn(move || dig(&client, target));
            }
        });
        Self { address, stopped }
    }

    /// What `HTTPS_PROXY` has to hold.
    pub fn variable(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the next client.
        let _ = TcpStream::connect(self.address);
    }
}

/// Reads the request, answers it, and moves bytes in both directions until one side ends.
fn dig(client: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut asked = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    asked.read_line(&mut line)?;
    if !line.starts_with("CONNECT ") {
        return Err(ErrorKind::InvalidData.into());
    }
    while line.trim_end() != "" {
        line.clear();
        asked.read_line(&mut line)?;
    }
    let server = TcpStream::connect(target)?;
    let mut client = client;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (from, to) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || copy(&mut &from, &to));
    copy(&mut asked, &server);
    Ok(())
}

/// Moves bytes until there are no more, and says so to the other side.
fn copy(from: &mut impl io::Read, mut to: &TcpStream) {
    // However it ends, the other side sees an end.
    let _ = io::copy(from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
