//! One HTTP request without any library: to see whether a server answers, and to prepare it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Sends a request without a body; returns the status.
pub fn request(address: SocketAddr, method: &str, path: &str) -> io::Result<u16> {
    exchange(address, method, path, Duration::from_secs(30)).map(|(status, _)| status)
}

/// Sends a request without a body; returns status and body. Waits at most that long for each byte.
pub fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    patience: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = BufReader::new(stream);
    let (mut line, mut status, mut length) = (String::new(), None, None);
    while answer.read_line(&mut line)? > 0 && !line.trim_end().is_empty() {
        if status.is_none() {
            let number = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
            status = Some(number.ok_or(ErrorKind::InvalidData)?);
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().ok();
        }
        line.clear();
    }
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            answer.read_exact(&mut body)?;
        }
        None => drop(answer.read_to_end(&mut body)?),
    }
    Ok((status.ok_or(ErrorKind::UnexpectedEof)?, body))
}

/// Whether something there speaks HTTP, whatever it says.
pub fn answers(address: SocketAddr) -> bool {
    request(address, "GET", "/").is_ok()
}
