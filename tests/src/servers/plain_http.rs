//! One HTTP request without any library: to see whether a server answers, and to prepare it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Sends a request without a body; returns the status.
pub fn request(address: SocketAddr, method: &str, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = String::from_utf8_lossy(&answer);
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    status.filter(|_| head.starts_with("HTTP/1.")).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether something there speaks HTTP, whatever it says.
pub fn answers(address: SocketAddr) -> bool {
    request(address, "GET", "/").is_ok()
}
